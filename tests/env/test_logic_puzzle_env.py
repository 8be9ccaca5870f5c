"""LogicPuzzle-v0: what a turn is worth, what cannot be gamed, and how difficulty follows success."""

from functools import cache

import gymnasium as gym
import numpy as np
import pytest

import gymformer  # noqa: F401  # registers the id
from gymformer.data.puzzles import Puzzle, read_puzzle
from gymformer.env import LogicPuzzleEnv, TextToTokens, for_language_model
from gymformer.env.logic_puzzle_env import logic_puzzle_expert, logic_puzzle_guesser
from gymformer.testing import byte_tokenizer

CHAIN = Puzzle(
    ("If Wet then Cold", "Wet", "If Cold then Dark", "Red or Sweet"), "Is this true: Dark?", ("yes", "no", "unknown")
)


def begun(**arguments) -> LogicPuzzleEnv:
    env = LogicPuzzleEnv(**arguments)
    env.reset(options={"puzzle": CHAIN})
    return env


def test_the_observation_is_the_puzzle():
    env = LogicPuzzleEnv(render_mode="ansi")
    observation, info = env.reset(options={"puzzle": CHAIN})
    assert observation == ("1. If Wet then Cold.\n2. Wet.\n3. If Cold then Dark.\n4. Red or Sweet.\nIs this true: Dark?\n"
                           "Answers: yes, no, unknown")  # fmt: skip
    assert info == {"turn": 0, "task": "given", "difficulty": 0.0, "answer": "yes", "success": 0.0, "hints": 0}
    env.step("QUERY Cold")
    assert env.render() == f"Environment: {observation}\nAgent: QUERY Cold\nEnvironment: Cold."


@pytest.mark.parametrize("turn", ["SOLVE yes", "solve Yes.", "  SOLVE   yes \n"])
def test_the_right_solution_is_paid_and_ends_the_episode(turn):
    env = begun()
    reply, reward, terminated, truncated, info = env.step(turn)
    assert (reply, reward, terminated, truncated, info["success"]) == ("Right.", 1.0, True, False, 1.0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(turn)


@pytest.mark.parametrize(
    "turn",
    ["SOLVE no", "SOLVE yes no", "SOLVE yes, no, unknown", "SOLVE yes\nSOLVE no", "SOLVE yes or unknown", "SOLVE probably yes",
     "SOLVE yes yes", "SOLVE <yes>", "SOLVE Dark", "SOLVE SOLVE yes", "SOLVE answer", f"SOLVE {CHAIN}"],
)  # fmt: skip
def test_any_other_solution_gets_nothing_and_ends_it_too(turn):
    reply, reward, terminated, _, info = begun().step(turn)
    assert (reply, reward, terminated, info["success"]) == ("Wrong.", 0.0, True, 0.0)


@pytest.mark.parametrize(
    ("turn", "reply"),
    [
        ("QUERY Wet", "Wet."),
        ("QUERY Is it cold?", "Cold."),
        ("query red", "Nothing follows about Red."),
    ],
)
def test_a_hint_follows_from_the_premises_and_has_a_price(turn, reply):
    got, reward, terminated, truncated, info = begun().step(turn)
    assert (got, reward, terminated, truncated, info["hints"]) == (reply, -0.2, False, False, 1)


@pytest.mark.parametrize(
    ("turn", "reply"),
    [
        ("QUERY Dark", "Dark is what you are asked about."),
        ("QUERY Is it so that Dark", "Dark is what you are asked about."),
        ("QUERY Cold and Dark", "Name one of: Wet, Cold, Red, Sweet."),
        ("QUERY Darkness", "Name one of: Wet, Cold, Red, Sweet."),
        ("QUERY everything", "Name one of: Wet, Cold, Red, Sweet."),
        ("QUERY", "Say SOLVE and an answer, or QUERY and a name."),
        ("SOLVE", "Say SOLVE and an answer, or QUERY and a name."),
        ("SOLVE: yes", "Say SOLVE and an answer, or QUERY and a name."),
        ("yes", "Say SOLVE and an answer, or QUERY and a name."),
        ("", "Say SOLVE and an answer, or QUERY and a name."),
    ],
)
def test_a_turn_that_is_not_understood_costs_little_and_is_explained(turn, reply):
    got, reward, terminated, truncated, info = begun().step(turn)
    assert (got, reward, terminated, truncated, info["hints"]) == (reply, -0.02, False, False, 0)


def test_without_a_solution_in_time_the_episode_is_over_and_not_cut_off():
    env = begun(max_steps=3)
    ends = [env.step("QUERY Wet")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]


# Who plays, and what they get


@cache
def drawn(family: str, episodes: int, difficulties: tuple[float, ...]) -> list[Puzzle]:
    env = LogicPuzzleEnv(families=[family])
    env.reset(seed=0)
    return [read_puzzle(env.reset(options={"difficulty": difficulties[n % len(difficulties)]})[0]) for n in range(episodes)]


def returns(player, episodes: int, family: str = "templates", difficulties=(0.0, 0.5, 1.0)) -> float:
    """The mean return of a player, which has a fresh mind, `player(observation)`, in each episode."""
    env, total = LogicPuzzleEnv(), 0.0
    for puzzle in drawn(family, episodes, difficulties):
        observation, _ = env.reset(options={"puzzle": puzzle})
        play, over = player(observation), False
        while not over:
            observation, reward, over, _, _ = env.step(play(observation))
            total += reward
    return total / episodes


def turn_by_turn(turns):
    """A player that says these, one after another, whatever happens, and then the last for ever."""

    def player(opening):
        coming = list(turns(read_puzzle(opening), opening))
        return lambda observation: coming.pop(0) if len(coming) > 1 else coming[0]

    return player


def names_in(premise):
    return [word for word in premise.split() if word[0].isupper() and word not in ("If", "Not", "Either")]


def query_all(puzzle):
    names = {name for premise in puzzle.premises for name in names_in(premise)}
    return [f"QUERY {name}" for name in sorted(names)]


def reads_hints(opening):
    """Asks for everything; says unknown if anything is open, and else what most of the hints are: positive or negative."""
    coming, replies = query_all(read_puzzle(opening)), []

    def play(observation):
        replies.append(observation)
        if coming and len(replies) < 9:
            return coming.pop()
        if any("Nothing" in reply for reply in replies):
            return "SOLVE unknown"
        return "SOLVE no" if sum("Not " in reply for reply in replies) * 2 > len(replies) else "SOLVE yes"

    return play


def asks_a_neighbour(opening):
    """Asks for what stands beside the thing in question: if that is open, "unknown", else a guess."""
    puzzle = read_puzzle(opening)
    asked = puzzle.question.removeprefix("Is this true: ").removesuffix("?")
    near = [word for premise in puzzle.premises if asked in premise for word in names_in(premise) if word != asked]
    told = []

    def play(observation):
        told.append(observation)
        if near and len(told) == 1:
            return f"QUERY {near[0]}"
        return "SOLVE unknown" if told[-1].startswith("Nothing") else "SOLVE yes"

    return play


def by_keyword(opening):
    """Counts a word: many negations, so "no"."""
    return lambda observation: "SOLVE no" if opening.casefold().count("not") >= 2 else "SOLVE yes"


def last_fact(opening):
    """Repeats the sign of the fact that stands in the premises."""
    facts = [premise for premise in read_puzzle(opening).premises if len(premise.split()) <= 2]
    return lambda observation: "SOLVE no" if facts[-1].startswith("Not ") else "SOLVE yes"


HACKS = {
    "empty": turn_by_turn(lambda puzzle, text: [""]),
    "yes": turn_by_turn(lambda puzzle, text: ["SOLVE yes"]),
    "no": turn_by_turn(lambda puzzle, text: ["SOLVE no"]),
    "unknown": turn_by_turn(lambda puzzle, text: ["SOLVE unknown"]),
    "constant": turn_by_turn(lambda puzzle, text: ["True"]),
    "echo": turn_by_turn(lambda puzzle, text: [text]),
    "echo as a solution": turn_by_turn(lambda puzzle, text: [f"SOLVE {text}"]),
    "format only": turn_by_turn(lambda puzzle, text: ["SOLVE", "QUERY", "SOLVE <solution>"]),
    "keywords": turn_by_turn(lambda puzzle, text: ["SOLVE yes therefore logic premise conclusion follows QUERY no unknown"]),
    "all at once": turn_by_turn(lambda puzzle, text: [f"SOLVE {' '.join(puzzle.answers)}"]),
    "every answer in turn": turn_by_turn(lambda puzzle, text: [f"SOLVE {answer}" for answer in puzzle.answers]),
    "every query": turn_by_turn(lambda puzzle, text: [*query_all(puzzle), "SOLVE yes"]),
    "every query, read": reads_hints,
    "a neighbour": asks_a_neighbour,
    "counts a word": by_keyword,
    "repeats a fact": last_fact,
}
EPISODES = 60


def test_the_expert_gets_everything_and_a_guesser_a_third():
    """The guesser's mean over 60 episodes is 1/3 ± 0.06."""
    assert returns(lambda opening: logic_puzzle_expert, EPISODES) == 1.0
    rng = np.random.default_rng(0)
    assert abs(returns(lambda opening: logic_puzzle_guesser(rng), EPISODES) - 1 / 3) < 0.15


@pytest.mark.parametrize("name", HACKS)
def test_what_does_not_reason_gets_less_than_half_of_the_experts_return(name):
    assert returns(HACKS[name], EPISODES) < 0.5


@pytest.mark.parametrize(
    ("family", "chance"),
    [("propositional_logic", 1 / 3), ("knights_knaves", 1 / 2), ("zebra_puzzles", 1 / 3), ("syllogism", 1 / 3)],
)
def test_other_families_are_played_and_not_gamed(family, chance):
    """A constant is worth its chance, ± 0.13 or less in the mean of 15 episodes; the bound is 2.5 deviations above."""
    pytest.importorskip("reasoning_gym")
    assert returns(lambda opening: logic_puzzle_expert, 15, family, (0.0,)) == 1.0
    for place in (0, -1):
        constant = turn_by_turn(lambda puzzle, text, place=place: [f"SOLVE {puzzle.answers[place]}"])
        assert returns(constant, 15, family, (0.0,)) < chance + 0.33
    for name in ("empty", "echo as a solution", "all at once", "format only"):
        assert returns(HACKS[name], 15, family, (0.0,)) <= 0


def test_families_are_mixed_and_one_can_be_asked_for():
    pytest.importorskip("reasoning_gym")
    env = LogicPuzzleEnv(families=["templates", "syllogism"])
    assert {env.reset(seed=seed)[1]["task"] for seed in range(10)} == {"templates", "syllogism"}
    assert {env.reset(options={"family": "syllogism"})[1]["task"] for _ in range(5)} == {"syllogism"}


# Difficulty


def episodes(env: LogicPuzzleEnv, solved: list[bool], **options) -> None:
    for right in solved:
        _, info = env.reset(options=options)
        env.step(f"SOLVE {info['answer'] if right else 'neither'}")


def test_difficulty_follows_success():
    env = LogicPuzzleEnv()
    episodes(env, [True] * 9)
    env.reset(seed=3)  # abandoned: does not count, and begins nothing anew
    assert env.pace.difficulty == 0.0
    episodes(env, [True])
    assert env.pace.difficulty == 0.1
    episodes(env, [True] * 8 + [False] * 2)
    assert env.pace.difficulty == 0.2
    episodes(env, [True] * 5 + [False] * 5)
    assert env.pace.difficulty == 0.2
    episodes(env, [True] * 4 + [False] * 6)
    assert env.pace.difficulty == 0.1
    assert env.reset()[1]["difficulty"] == 0.1


def test_difficulty_stays_within_its_bounds():
    env = LogicPuzzleEnv(difficulty=1.0)
    episodes(env, [True] * 10)
    assert env.pace.difficulty == 1.0
    env = LogicPuzzleEnv()
    episodes(env, [False] * 10)
    assert env.pace.difficulty == 0.0


def test_running_out_of_turns_is_no_success():
    env = LogicPuzzleEnv(max_steps=1, difficulty=0.5)
    for _ in range(10):
        env.reset()
        env.step("hm")
    assert env.pace.difficulty == 0.4


def test_difficulty_that_is_given_is_used_and_counts_for_nothing():
    env = LogicPuzzleEnv()
    episodes(env, [True] * 10, difficulty=1.0)
    assert env.pace.difficulty == 0.0
    observation, info = env.reset(options={"difficulty": 1.0})
    assert info["difficulty"] == 1.0 and len(read_puzzle(observation).premises) == 9


def test_without_a_curriculum_it_is_constant():
    env = LogicPuzzleEnv(use_curriculum=False)
    episodes(env, [True] * 10)
    assert env.reset()[1]["difficulty"] == env.pace.difficulty == 0.5
    assert LogicPuzzleEnv(use_curriculum=False, difficulty=0.2).reset()[1]["difficulty"] == 0.2


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"difficulty": 2}, {}, "difficulty=2; it is a number from 0"),
        ({}, {"difficulty": "hard"}, "difficulty='hard'"),
        ({}, {"difficulty": float("nan")}, "difficulty=nan"),
        ({}, {"family": "sudoku"}, r"'sudoku'; this environment has templates"),
        ({}, {"puzzle": "Wet"}, "give a Puzzle"),
        ({"families": "templates"}, {}, "give a list"),
        ({"families": ["sudoku"]}, {}, "there are templates, propositional_logic"),
        ({"max_steps": 0}, {}, "at least 1"),
    ],
)
def test_arguments_and_options_that_are_none_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        LogicPuzzleEnv(**arguments).reset(options=options)


def test_templates_come_from_a_file(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text('logic_puzzle: {templates: ["If A then B"], variables: [["Raining", "Wet"]]}')
    env = gym.make("LogicPuzzle-v0", task_templates_path=path)
    assert {env.reset(seed=seed)[0].split("\n")[2] for seed in range(20)} == {"Is this true: Raining?", "Is this true: Wet?"}


def test_it_plays_token_by_token_as_it_is():
    tokenizer = byte_tokenizer()
    make, arguments = for_language_model("LogicPuzzle-v0", {}, tokenizer)
    env = make(**arguments)
    assert isinstance(env, TextToTokens)
    _, info = env.reset(seed=1)
    assert "Say SOLVE and the answer" in info["prompt"] and info["prompt"].endswith("unknown<|end|><|assistant|>")
    for token in [*f"SOLVE {info['answer']}".encode(), tokenizer.eos_token_id]:
        _, reward, terminated, _, info = env.step(token)
    assert (reward, terminated, info["reply"], info["success"]) == (1.0, True, "Right.", 1.0)
    assert info["text"] == f"SOLVE {info['answer']}"
