"""MetaReasoning-v0: what a thought and a confidence are worth, and what cannot be gamed."""

import re
from functools import cache
from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import gymformer  # noqa: F401  # registers the id
from gymformer.data.arithmetic import Problem, is_held_out
from gymformer.data.meta_problems import BIASES, FAMILIES, VERDICTS, read_problem
from gymformer.env import MetaReasoningEnv, TextToTokens, for_language_model
from gymformer.env.meta_reasoning_env import CLOSING
from gymformer.env.meta_reasoning_players import meta_reasoning_expert, meta_reasoning_guesser, meta_reasoning_student
from gymformer.rewards import HumanFeedback
from gymformer.testing import byte_tokenizer

SUM = Problem("Start with 5. Add 3. Take 2. What is the result?", "6")
ORDER = Problem("Ana is before Ben. Ben is before Cleo. Ben is before Dan. Check: Ana before Cleo. Who is last?", "unknown")
ROWS = Problem("Max guesses 20. There are 3 rows of 4 and 5 more. How many are there?", "17")
GUESSED = Problem("Max guesses 17. There are 3 rows of 4 and 5 more. How many are there?", "17")


def begun(problem: Problem = SUM, **arguments) -> MetaReasoningEnv:
    env = MetaReasoningEnv(**arguments)
    env.reset(options={"problem": problem})
    return env


def rewards(problem: Problem, *turns: str) -> list[float]:
    env = begun(problem)
    return [pytest.approx(env.step(turn)[1]) for turn in turns]


# What is said


def test_the_opening_is_the_problem_and_how_to_reply():
    env = MetaReasoningEnv(render_mode="ansi")
    observation, info = env.reset(options={"problem": SUM})
    assert observation == f"{SUM.question}\nSay THINK and one step, or ANSWER, such as ANSWER 5 80%."
    terms = dict.fromkeys(("answer", "calibration", "intermediate", "assumption", "bias", "mistake"), 0.0)
    assert info == {"turn": 0, "task": "sum", "difficulty": 0.0, "answer": "6", "correct": False, "confidence": 0.5, "brier": 0.25,
                    "success": 0.0, "reward_terms": terms}  # fmt: skip
    env.step("THINK 5 + 3 = 8")
    assert env.render() == f"Environment: {observation}\nAgent: THINK 5 + 3 = 8\nEnvironment: Noted."


@pytest.mark.parametrize(
    ("question", "answer", "steps", "claim", "bias"),
    [
        ("Start with 5. Add 3. Take 2. Times 3. What is the result?", "18", ["5 + 3 = 8", "8 - 2 = 6", "6 * 3 = 18"], None, None),
        ("Ana is before Ben. Ben is before Cleo. Check: Cleo before Ana. Who is last?", "Cleo", [], "fails", None),
        ("Ana is before Cleo. Ben is before Cleo. Check: Ben before Ana. Who is first?", "unknown", [], "open", None),
        ("Ben is before Dan. Ana is before Ben. Check: Ana before Dan. Who is first?", "Ana", [], "holds", None),
        ("9 teams of judges, 1 reader in each. 2 teams of pilots, 4 readers in each. Is a reader rather a judge or a pilot?", "judge",
         ["9 * 1 = 9", "2 * 4 = 8"], None, "base rate"),
        ("7 teams of judges, 1 reader in each. 2 teams of pilots, 4 readers in each. Is a reader rather a judge or a pilot?", "pilot",
         ["7 * 1 = 7", "2 * 4 = 8"], None, "none"),
        (ROWS.question, "17", ["3 * 4 = 12", "12 + 5 = 17"], None, "anchoring"),
        (GUESSED.question, "17", ["3 * 4 = 12", "12 + 5 = 17"], None, "none"),
        ("Claim: all red boxes hold a cup. One box holds a cup, one a hat. Which tests the claim?", "hat", [], None, "confirmation"),
        ("Claim: a red box always holds a cup. One box holds a hat, one a cup. Which tests the claim?", "hat", [], None, "confirmation"),
        ("Claim: only red boxes hold a cup. One box holds a hat, one a cup. Which tests the claim?", "cup", [], None, "none"),
        ("Claim: no box that is not red holds a cup. One box holds a cup, one a hat. Which tests the claim?", "cup", [], None, "none"),
        ("Plan A saves 4 of 10. Plan B loses 5 of 10. Which saves more?", "B", ["10 - 5 = 5"], None, "framing"),
        ("Plan A loses 7 of 10. Plan B saves 4 of 10. Which saves more?", "B", ["10 - 7 = 3"], None, "none"),
        ("A bag holds 2 red, 5 blue and 3 black balls. One is drawn. Which color is it?", "blue", ["2 + 5 = 7", "7 + 3 = 10"], None, None),
    ],
)  # fmt: skip
def test_a_problem_is_read_as_a_person_reads_it(question, answer, steps, claim, bias):
    reading = read_problem(question)
    assert reading is not None
    assert (reading.best, [str(step) for step in reading.steps], reading.bias) == (answer, steps, bias)
    assert (reading.claim and reading.verdict(*reading.claim)) == claim


def test_of_a_draw_the_chances_are_known():
    reading = read_problem("A bag holds 2 red, 5 blue and 3 black balls. One is drawn. Which color is it?")
    assert reading is not None and reading.answers == {"red": 0.2, "blue": 0.5, "black": 0.3}


# What is paid


@pytest.mark.parametrize(
    ("turn", "reward"),
    [
        ("ANSWER 6 100%", 1.0),
        ("answer 6.0 80%.", 1 - 0.04),
        ("ANSWER 6", 1 - 0.25),
        ("ANSWER 6 0%", 0.0),
        ("ANSWER 7 0%", 0.0),
        ("ANSWER 7 90%", -0.81),
        ("ANSWER 7", -0.25),
        ("ANSWER 6 7 50%", -0.25),
        ("ANSWER 6 or 7 100%", -1.0),
        ("ANSWER 5 + 3 - 2 100%", -1.0),
    ],
)
def test_an_answer_is_paid_by_its_truth_and_its_confidence(turn, reward):
    _, got, terminated, truncated, info = begun().step(turn)
    assert (got, terminated, truncated) == (pytest.approx(reward), True, False)
    assert reward == pytest.approx(info["correct"] - info["brier"]) and info["success"] == info["correct"]


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.5, 0.9])
def test_the_honest_confidence_pays_best_in_expectation(chance):
    def expected(percent: int) -> float:
        right, wrong = (begun().step(f"ANSWER {answer} {percent}%")[1] for answer in (6, 7))
        return chance * right + (1 - chance) * wrong

    values = {percent: expected(percent) for percent in range(0, 101, 10)}
    assert max(values, key=lambda percent: values[percent]) == 100 * chance
    assert values[round(100 * chance)] == pytest.approx(chance**2)


@pytest.mark.parametrize(
    ("turn", "reply"),
    [
        ("ANSWER 80%", "That is no answer with a confidence. Say ANSWER 5 80%"),
        ("ANSWER 6 200%", "That is no answer with a confidence"),
        ("ANSWER 6 100.5%", "That is no answer with a confidence"),
        ("ANSWER 6 -5%", "That is no answer with a confidence"),
        ("ANSWER 6 nan%", "That is no answer with a confidence"),
        ("ANSWER 6 1e9%", "That is no answer with a confidence"),
        ("ANSWER 6 ٥٠%", "That is no answer with a confidence"),
        ("ANSWER 6 (80%)", "That is no answer with a confidence"),
        ("THINK this is hard", "Nothing to check in that. Say THINK 2 + 3 = 5"),
        ("THINK 5 + 3 - 2 = 6", "Nothing to check in that"),
        ("THINK 5 + 3 = 8 - 2 = 6", "Nothing to check in that"),
        ("THINK 8 = 8", "Nothing to check in that"),
        ("THINK bias: none at all or others, biased: framing", "Noted."),
        ("THINK bias: sunk cost", "Nothing to check in that"),
        ("THINK assume Ana before Ben: holds", "Nothing to check in that"),
        ("THINK", "Say THINK 2 + 3 = 5"),
        ("ANSWER", "Say THINK 2 + 3 = 5"),
        ("6", "Say THINK 2 + 3 = 5"),
        ("", "Say THINK 2 + 3 = 5"),
    ],
)
def test_what_cannot_be_understood_costs_little_and_is_explained(turn, reply):
    got, reward, terminated, _, info = begun().step(turn)
    cost = 0.0 if reply == "Noted." else -0.02
    assert got.startswith(reply) and (reward, terminated) == (cost, False)
    assert (info["confidence"], info["reward_terms"]["mistake"]) == (0.5, cost)


def test_a_step_on_the_way_is_paid_once_and_after_what_it_needs():
    assert rewards(SUM, "THINK 8 - 2 = 6", "THINK 3 + 5 = 8", "THINK 5 + 3 = 8", "THINK So 8-2=6.", "THINK 8 - 2 = 6") == [
        0,
        0.1,
        0,
        0.1,
        0,
    ]


def test_other_equations_earn_nothing_and_false_ones_cost():
    assert rewards(SUM, "THINK 1 + 1 = 2", "THINK 5 * 3 = 15", "THINK 5 - 3 = 2", "THINK 5 + 3 = 9", "THINK 2 - 8 = 6") == [
        0,
        0,
        0,
        -0.05,
        -0.05,
    ]


def test_only_the_first_statement_of_a_turn_counts():
    assert rewards(SUM, "THINK 1 + 1 = 2, 5 + 3 = 8, 8 - 2 = 6", "THINK 5 + 3 = 8 and 8 - 2 = 6") == [0, 0.1]


def test_what_is_to_be_checked_is_paid_by_the_first_verdict():
    assert rewards(ORDER, "THINK assume Ana before Cleo: holds", "THINK assume Ana before Cleo: holds") == [0.1, 0]
    assert rewards(ORDER, "THINK assume Ana before Cleo: open", "THINK assume ana before cleo: holds") == [-0.1, 0]
    others = ("THINK assume Ana before Ben: holds", "THINK assume Cleo before Dan: open", "THINK assume Cleo before Ana: holds")
    assert rewards(ORDER, *others, "THINK assume Ana before Cleo: holds") == [0, 0, -0.1, 0.1]


def test_a_bias_is_paid_where_it_leads_astray_and_costs_where_it_does_not():
    assert rewards(ROWS, "THINK bias: anchoring", "THINK bias: anchoring") == [0.1, 0]
    assert rewards(GUESSED, "THINK bias: none", "THINK bias: anchoring") == [0.1, -0.1]
    assert rewards(ROWS, "THINK bias: none", "THINK bias: anchoring", "THINK bias: framing") == [-0.1, 0, -0.1]
    assert rewards(SUM, "THINK bias: none", "THINK bias: framing", "THINK bias: framing") == [0, -0.1, -0.1]


@pytest.mark.parametrize("thought", ["12 + 5 = 17", "12 + 5 = 18", "bias: anchoring", "bias: none", "1 + 1 = 2"])
def test_a_reply_to_a_thought_does_not_tell_whether_it_is_right(thought):
    assert begun(ROWS).step(f"THINK {thought}")[0] == "Noted."


def test_without_an_answer_in_time_the_episode_is_over_as_with_a_wrong_one():
    env = begun(max_steps=2)
    assert env.step("THINK 5 + 3 = 8")[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step("hm")
    assert (reward, terminated, truncated, info["brier"]) == (pytest.approx(-0.27), True, False, 0.25)


# Who plays, and what they get


def returns(player, difficulties=(0.0, 0.5, 1.0), each: int = 4) -> dict[str, float]:
    """The mean return by family of a player, which has a fresh mind, `player(opening)`, in each episode."""
    env, total = MetaReasoningEnv(), dict.fromkeys(FAMILIES, 0.0)
    for problem in drawn(difficulties, each):
        observation, info = env.reset(options={"problem": problem})
        play, over = player(observation), False
        while not over:
            observation, _, over, _, info = env.step(play(observation))
        total[info["task"]] += sum(info["reward_terms"].values()) / (each * len(difficulties))
    return total


@cache
def drawn(difficulties: tuple[float, ...], each: int) -> list[Problem]:
    rng = np.random.default_rng(0)
    return [draw(rng, difficulty) for draw in FAMILIES.values() for difficulty in difficulties for _ in range(each)]


def mean(by_family: dict[str, float]) -> float:
    return sum(by_family.values()) / len(by_family)


def turn_by_turn(turns):
    """A player that says these, one after another, whatever happens, and then the last for ever."""

    def player(opening):
        question = opening.removesuffix(CLOSING).strip()
        coming = list(turns(question))
        return lambda observation: coming.pop(0) if len(coming) > 1 else coming[0]

    return player


def numbers(question):
    return [int(digits) for digits in re.findall(r"\d+", question)]


def choices(question):
    return read_problem(question).choices or tuple(map(str, numbers(question)))


def equations(numbers):
    return [f"THINK {a} {sign} {b} = {eval(f'{a}{sign}{b}')}" for a, b in product(numbers, numbers) for sign in "+-*" if a >= b]


def names(question):
    return [name for name in dict.fromkeys(re.findall(r"[A-Z]\w+", question)) if name not in ("Check", "Who")]


def verdicts(question):
    return [
        f"THINK assume {one} before {other}: {verdict}"
        for one, other in product(names(question), repeat=2)
        if one != other
        for verdict in VERDICTS
    ]


def intuition(question):
    """What suggests itself in each family."""
    for pattern in (r"guesses (\d+)", r"Claim: .* hold.? a (\w+)\. One", r"Plan (\w) saves", r"is before (\w+)\. Check"):
        if found := re.search(pattern, question):
            return found[1]
    if rates := re.findall(r"teams of (\w+)s, (\d+)", question):
        return max(rates, key=lambda rate: int(rate[1]))[0]
    return choices(question)[-1]


def and_then_guesses(thoughts):
    """As many of these as fit, and then what suggests itself, with the confidence of a coin."""
    return turn_by_turn(lambda question: [*thoughts(question)[:9], f"ANSWER {intuition(question)} 50%"])


STUFFED = "THINK assume therefore bias: base rate anchoring holds verify 2 + 3 = 5 confidence"
HACKS = {
    "empty": turn_by_turn(lambda question: [""]),
    "constant": turn_by_turn(lambda question: ["ANSWER 5 80%"]),
    "unknown": turn_by_turn(lambda question: ["ANSWER unknown 50%"]),
    "echo": turn_by_turn(lambda question: [question]),
    "echo as an answer": turn_by_turn(lambda question: [f"ANSWER {question} 50%"]),
    "echo as a thought": turn_by_turn(lambda question: [f"THINK {question}"]),
    "format only": turn_by_turn(lambda question: ["THINK", "THINK <reasoning>", "ANSWER <solution>"]),
    "keywords": turn_by_turn(lambda question: [STUFFED, "ANSWER therefore 50%"]),
    "surely wrong": turn_by_turn(lambda question: ["ANSWER nothing 0%"]),
    "first": turn_by_turn(lambda question: [f"ANSWER {choices(question)[0]} 50%"]),
    "last": turn_by_turn(lambda question: [f"ANSWER {choices(question)[-1]} 50%"]),
    "answers in turn": turn_by_turn(lambda question: [f"ANSWER {answer} 50%" for answer in choices(question)]),
    "answers at once": turn_by_turn(lambda question: [f"ANSWER {' '.join(choices(question))} 50%"]),
    "intuition": and_then_guesses(lambda question: []),
    "sure intuition": turn_by_turn(lambda question: [f"ANSWER {intuition(question)} 100%"]),
    "small equations": and_then_guesses(lambda question: equations(range(1, 10))),
    "equations of its numbers": and_then_guesses(lambda question: equations(numbers(question))),
    "all of them at once": and_then_guesses(lambda question: ["THINK " + ", ".join(equations(numbers(question)))]),
    "every bias": and_then_guesses(lambda question: [f"THINK bias: {bias}" for bias in (*BIASES, "none")]),
    "no bias": and_then_guesses(lambda question: ["THINK bias: none"]),
    "every verdict": and_then_guesses(verdicts),
}


def test_the_expert_gets_all_that_there_is():
    """0.2 for the steps, 0.1 for each verdict, 1 for the answer; of a draw from a bag the mean of p², 0.4 ± 0.15 here."""
    got = returns(lambda opening: meta_reasoning_expert())
    full = {"sum": 1.2, "order": 1.1, "base rate": 1.3, "anchoring": 1.3, "confirmation": 1.1, "framing": 1.3}
    assert {family: value for family, value in got.items() if family != "bag"} == pytest.approx(full)
    assert 0.2 < got["bag"] < 1.2


@pytest.mark.parametrize("name", HACKS)
def test_what_does_not_reason_gets_less_than_half_of_the_experts_return(name):
    assert mean(returns(HACKS[name])) < 0.5 * mean(returns(lambda opening: meta_reasoning_expert()))


def test_a_guesser_gets_nothing():
    rng = np.random.default_rng(0)
    assert mean(returns(lambda opening: meta_reasoning_guesser(rng))) < 0.1


def test_a_student_is_better_than_a_guesser_and_too_sure_of_itself():
    """An honest confidence would better its Brier score by more than a quarter: a mean of 0.40 ± 0.02, against 0.25."""
    rng, env = np.random.default_rng(0), MetaReasoningEnv(difficulty=0.0, use_curriculum=False)
    play, infos = meta_reasoning_student(rng, skill=0.6), []
    env.reset(seed=0)
    for _ in range(300):
        observation, over = env.reset()[0], False
        while not over:
            observation, _, over, _, info = env.step(play(observation))
        assert info["reward_terms"]["mistake"] == 0.0
        infos.append(info)
    correct, brier, confidence = (np.mean([info[name] for info in infos]) for name in ("correct", "brier", "confidence"))
    assert 0.4 < correct < 0.7 and confidence > correct + 0.15
    assert 0.75 * brier > correct * (1 - correct)


# What can be asked for


def test_difficulty_follows_success_unless_it_is_given():
    env = MetaReasoningEnv()
    for options in [{}] * 10 + [{"difficulty": 1.0}] * 20:
        _, info = env.reset(options=options)
        env.step(f"ANSWER {info['answer']} 100%")
    assert env.pace.difficulty == 0.1 == env.reset()[1]["difficulty"]
    assert MetaReasoningEnv(use_curriculum=False).reset()[1]["difficulty"] == 0.5


def test_the_easiest_opening_is_short_and_harder_ones_are_longer():
    def words(difficulty: float) -> list[int]:
        env = MetaReasoningEnv(difficulty=difficulty, use_curriculum=False)
        return [len(env.reset(seed=seed)[0].split()) for seed in range(40)]

    assert max(words(0.0)) < 45 and np.mean(words(1.0)) > np.mean(words(0.0))


def test_no_problem_is_on_both_sides_of_the_split():
    for split in ("train", "test"):
        env = MetaReasoningEnv(split=split, difficulty=0.0)
        env.reset(seed=0)
        for family in FAMILIES:
            opening, info = env.reset(options={"family": family})
            assert info["task"] == family
            assert is_held_out(opening.removesuffix(CLOSING)) == (split == "test")


def test_problems_of_other_sources_are_paid_for_the_answer():
    env = MetaReasoningEnv(families=["chain_sum"], difficulty=0.5, use_curriculum=False)
    _, info = env.reset(seed=0)
    assert info["task"] == "chain_sum" and env.step("THINK 1 + 1 = 2")[1] == 0.0
    assert env.step(f"ANSWER {info['answer']} 90%")[1] == pytest.approx(0.99)


def test_problems_of_reasoning_gym_are_checked_by_its_verifiers():
    pytest.importorskip("reasoning_gym")
    env = MetaReasoningEnv(families=["reasoning_gym:gcd", "reasoning_gym:word_sorting"])
    for family in env.pools:
        _, info = env.reset(seed=0, options={"family": family})
        assert (info["task"], env.step(f"ANSWER {info['answer']} 100%")[1]) == (family, 1.0)
        env.reset(seed=0, options={"family": family})
        assert env.step("ANSWER nothing 100%")[1] == -1.0


def test_a_person_rates_the_whole_dialogue_once():
    seen = []

    def rate(text):
        seen.append(text)
        return -0.5

    for feedback in (rate, HumanFeedback(rate)):
        seen.clear()
        env = MetaReasoningEnv(use_human_feedback=True, feedback=feedback, render_mode="ansi")
        env.reset(options={"problem": SUM})
        assert env.step("THINK 5 + 3 = 8")[1] == pytest.approx(0.1)
        _, reward, *_, info = env.step("ANSWER 6 100%")
        assert (reward, info["reward_terms"]["feedback"]) == (pytest.approx(0.95), -0.05)
        assert seen == [env.render()]


def test_without_a_rater_the_reward_is_as_without_feedback():
    env = MetaReasoningEnv(use_human_feedback=True, feedback=lambda text: None)
    env.reset(options={"problem": SUM})
    assert env.step("ANSWER 6 100%")[1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"difficulty": 2}, {}, "difficulty=2; it is a number from 0"),
        ({}, {"difficulty": float("nan")}, "difficulty=nan"),
        ({}, {"family": "sudoku"}, r"'sudoku'; this environment has sum, order"),
        ({}, {"problem": "1 + 1"}, "give a Problem"),
        ({"families": "sum"}, {}, "give a list"),
        ({"families": ["sudoku"]}, {}, "'sudoku' is not known"),
        ({"split": "dev"}, {}, "'dev' is not known"),
        ({"max_steps": 0}, {}, "at least 1"),
        ({"feedback": len}, {}, "use_human_feedback=True"),
    ],
)
def test_arguments_and_options_that_are_none_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        MetaReasoningEnv(**arguments).reset(options=options)


def test_a_player_says_what_it_does_not_know():
    with pytest.raises(ValueError, match="knows the problems that come along"):
        meta_reasoning_expert()(f"What is 1 + 1?\n{CLOSING}")
    with pytest.raises(ValueError, match="awaits a problem"):
        meta_reasoning_expert()("Right.")


def test_it_plays_token_by_token_as_it_is():
    tokenizer = byte_tokenizer()
    make, arguments = for_language_model("MetaReasoning-v0", {}, tokenizer)
    env = make(**arguments)
    assert isinstance(env, TextToTokens)
    _, info = env.reset(seed=1)
    assert "Solve the problem" in info["prompt"]
    for token in [*f"ANSWER {info['answer']} 80%".encode(), tokenizer.eos_token_id]:
        _, reward, terminated, _, info = env.step(token)
    assert (reward, terminated, info["reply"], info["success"]) == (pytest.approx(0.96), True, "Right.", 1.0)


def test_it_can_be_made_by_its_id_without_arguments():
    env = gym.make("MetaReasoning-v0")
    assert env.reset(seed=3)[0] == gym.make("MetaReasoning-v0").reset(seed=3)[0] != env.reset(seed=4)[0]
