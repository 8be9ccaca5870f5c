"""MemoryBufferEnv: what is told is asked, what is stored is found, and nothing but a right answer pays."""

import re
import subprocess
import sys
from itertools import count

import gymnasium as gym
import numpy as np
import pytest

from gymformer.data.world.news import CATEGORIES, DATED, Fact, ask, deny, draw_fact, read_fact, read_question, small_talk, state
from gymformer.data.world.words import WORDS
from gymformer.env import MemoryBufferEnv, TextToTokens, for_language_model
from gymformer.env.memory_buffer_players import expert, random_player
from gymformer.testing import byte_tokenizer

LEVELS = (0.0, 0.5, 1.0)
every_level = pytest.mark.parametrize("difficulty", LEVELS)
VALUES = [value for category in CATEGORIES.values() for value in category.values]


def play(env, player, episodes: int, seed: int = 0, **options) -> list[float]:
    """The returns of episodes that follow each other, the first one reset with a seed."""
    returns = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None, options=options)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, info = env.step(player(observation, info))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return returns


# Who plays well


@every_level
@pytest.mark.parametrize("arguments", [{}, {"memory_size": 1}, {"memory_size": 7, "max_steps": 5}, {"max_steps": 400}])
def test_the_expert_earns_everything(difficulty, arguments):
    returns = play(MemoryBufferEnv(difficulty=difficulty, **arguments), expert, 2 if arguments.get("max_steps") == 400 else 20)
    assert returns == pytest.approx([1.0] * len(returns))


@every_level
def test_the_random_player_earns_nothing(difficulty):
    assert -0.2 < np.mean(play(MemoryBufferEnv(difficulty=difficulty), random_player(np.random.default_rng(0)), 40)) < 0.02


class Remembers:
    """Keeps a table of its own of all that was ever said, and needs no store."""

    def __init__(self):
        self.table: dict[tuple[str, str], dict[int, str]] = {}
        self.day, self.stale, self.dated = 0, 0, 0

    def __call__(self, observation, info):
        if match := re.match(r"Day (\d+)", observation):
            self.day = int(match[1])
        heading, _, text = observation.split("\n")[-1].partition(": ")
        if heading.startswith("News"):
            [(person, category, value)] = [fact for sentence in re.split(r"(?<=\.) ", text) if (fact := read_fact(sentence))]
            self.table.setdefault((person, category), {})[self.day] = value
            return "STORE nothing much"
        person, category, day = read_question(text)
        values = self.table[person, category]
        self.dated += day is not None
        self.stale += day is None and len(values) > 1
        return f"ANSWER {values[max(values) if day is None else day]}"


def test_asked_is_the_latest_state_or_that_of_the_day_which_is_named():
    player = Remembers()
    assert play(MemoryBufferEnv(difficulty=1.0), player, 50) == pytest.approx([1.0] * 50)
    assert player.stale > 5 and player.dated > 5


def test_who_stores_nothing_cannot_answer_about_earlier_days():
    def forgetful(observation, info):
        turn = expert(observation, info)
        return "STORE nothing much" if turn.startswith("STORE") else turn

    assert max(play(MemoryBufferEnv(difficulty=1.0), forgetful, 30)) <= -0.09


# Who does not


def in_turn():
    numbers = count()
    return lambda observation, info: f"ANSWER {VALUES[next(numbers) % len(VALUES)]}"


def echo(observation, info):
    return observation


def last_value_heard():
    """Answers with the last value of the category that is asked for, whoever's it was."""
    heard: list[str] = []

    def act(observation, info):
        if "News" in observation:
            heard.extend(word for word in re.findall(r"\w+", observation) if word in VALUES)
            return f"STORE {heard[-1]}"
        _, category, _ = read_question(observation.split("\n")[-1].partition(": ")[2])
        return f"ANSWER {([word for word in heard if word in CATEGORIES[category].values] or ['red'])[-1]}"

    return act


def finds_and_repeats(observation, info):
    """Uses the memory, and leaves it to the environment to find the answer in what it found."""
    last = observation.split("\n")[-1].partition(": ")[2]
    if "News" in observation:
        return f"STORE {last}"
    return f"ANSWER {observation}" if "Found" in observation else f"RETRIEVE {last}"


CHEATS = {
    "empty": lambda: lambda observation, info: "",
    "constant": lambda: lambda observation, info: "ANSWER red",
    "echo": lambda: echo,
    "echo as an answer": lambda: lambda observation, info: f"ANSWER {observation}",
    "stuffing": lambda: lambda observation, info: f"ANSWER {' '.join(VALUES)}",
    "stuffing the memory": lambda: lambda observation, info: f"STORE {' '.join(VALUES)}"[:300],
    "all verbs": lambda: lambda observation, info: "STORE RETRIEVE ANSWER red\nANSWER red",
    "form only": lambda: lambda observation, info: "ANSWER hat",
    "in turn": in_turn,
    "finds and repeats": lambda: finds_and_repeats,
}


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_a_cheat_earns_no_more_than_a_guess(cheat, difficulty):
    """A guess within the right category is right once in twelve; one of any category, more seldom."""
    assert np.mean(play(MemoryBufferEnv(difficulty=difficulty), cheat(), 30)) < 0.05


@every_level
def test_repeating_the_last_value_heard_stays_below_half_of_the_experts(difficulty):
    """At the easiest, one of three facts is asked: 1/3 - 0.1 * 2/3 = 0.27 are expected, 0.06 is the standard error."""
    assert np.mean(play(MemoryBufferEnv(difficulty=difficulty), last_value_heard(), 80)) < 0.5


@every_level
def test_a_question_does_not_contain_its_answer(difficulty):
    env, seen = MemoryBufferEnv(difficulty=difficulty), 0
    for day in range(20):
        play(env, expert, 1) if day == 0 else play_on(env)
        for fact, question in env._asked:
            assert not set(re.findall(r"\w+", fact.value.lower())) & set(re.findall(r"\w+", question.lower()))
            seen += 1
    assert seen >= 20


def play_on(env):
    observation, info = env.reset()
    while "over" not in observation:
        observation, *_, info = env.step(expert(observation, info))


def test_nothing_is_found_but_what_was_stored():
    env = MemoryBufferEnv(difficulty=1.0)
    env.reset(seed=0)
    env.step("STORE a secret")
    for query in ("hat", "Mia", "day:1-9", "secret", "category:home", "is the"):
        reply, *_ = env.step(f"RETRIEVE {query}")
        found = re.findall(r"\[day \d+\] (.*)", reply)
        assert found == (["a secret"] if query in ("secret", "day:1-9") else [])


def test_a_search_finds_three_entries_at_most():
    env = MemoryBufferEnv()
    env.reset(seed=0)
    for number in range(6):
        env.step(f"STORE thing {number}")
    reply = env.step("RETRIEVE thing")[0].split("\n")
    assert reply[:4] == ["Found 3.", "[day 1] thing 5", "[day 1] thing 4", "[day 1] thing 3"]


# Rewards, turns and replies


def asked(env, seed=0, difficulty=1.0, **options):
    """The environment, its news over."""
    observation, _ = env.reset(seed=seed, options={"difficulty": difficulty, **options})
    while "Question" not in observation:
        observation, *_ = env.step("STORE something")
    return observation


def test_what_answers_pay():
    env = MemoryBufferEnv()
    first = asked(env)
    assert first.split("\n")[1].startswith("Question 1 of 3: ")
    right = env._asked[0][0].value
    observation, reward, terminated, *_, info = env.step(f"ANSWER {right}")
    assert (reward, terminated, info["right"]) == (pytest.approx(1 / 3), False, 1)
    assert observation.startswith("Right.\nQuestion 2 of 3: ")
    observation, reward, *_ = env.step("ANSWER nobody knows")
    assert reward == pytest.approx(-0.1 / 3)
    assert observation.startswith("Wrong.\nQuestion 3 of 3: ")  # one answer to each
    observation, reward, terminated, truncated, info = env.step(f"answer: The {env._asked[2][0].value.upper()}.")
    assert (reward, terminated, truncated) == (pytest.approx(1 / 3), True, False)
    assert observation == "Right.\nThe day is over: 2 of 3 right."
    assert info == {
        "turn": 7,
        "day": 1,
        "task": "memory",
        "difficulty": 1.0,
        "questions": 3,
        "right": 2,
        "success": 0.0,
        "stored": 4,
    }


@pytest.mark.parametrize(
    ("response", "right"),
    [("harbour", True), ("at the harbour", True), ("The Harbour!", True), ("harbour harbour", False), ("not the harbour", False),
     ("harbour, mill", False), ("the", False), ("Mia went to the harbour", False)],
)  # fmt: skip
def test_an_answer_is_the_value_and_nothing_beside_it(response, right):
    env = MemoryBufferEnv()
    asked(env)
    env._asked[0] = (Fact("Mia", "trip", "harbour", 1), "Where did Mia's trip go?")
    assert (env.step(f"ANSWER {response}")[1] > 0) == right


@pytest.mark.parametrize(
    ("turn", "explanation"),
    [
        ("", "a turn begins with STORE, RETRIEVE or ANSWER"),
        ("red", "a turn begins with STORE, RETRIEVE or ANSWER"),
        ("STORED red", "a turn begins with STORE, RETRIEVE or ANSWER"),
        ("STORE", "STORE needs something to be stored"),
        ("STORE topic:Mia", "STORE needs something to be stored"),
        ("STORE " + "long " * 70, "an entry has up to 300 characters, this has 349"),
        ("STORE day:3 red", "the day of an entry is noted by itself; leave out day: where you store"),
        ("RETRIEVE", "RETRIEVE needs words, or topic:, category: or day:"),
        ("RETRIEVE day:soon", "day:soon is no day; write day:3, or day:2-5 for several"),
        ("ANSWER ?!", "ANSWER needs a value"),
    ],
)
def test_a_turn_that_is_none_costs_little_and_is_explained(turn, explanation):
    env = MemoryBufferEnv()
    question = asked(env).split("\n")[1]
    observation, reward, terminated, _, info = env.step(turn)
    assert observation == f"Not understood: {explanation}.\n{question}"  # which waits
    assert (reward, terminated, info["stored"]) == (-0.02, False, 4)


def test_news_passes_with_any_turn_and_an_answer_before_the_question_is_none():
    env = MemoryBufferEnv(difficulty=0.0)
    observation, _ = env.reset(seed=0)
    assert re.fullmatch(r"Day 1\.\nNews 1 of 3: .+\.", observation)
    observation, reward, *_ = env.step("ANSWER red")
    assert observation.startswith("Not understood: nothing was asked.\nNews 2 of 3: ") and reward == -0.02
    assert env.step("RETRIEVE day:1")[0].startswith("Found 0.\nNews 3 of 3: ")
    observation, reward, *_ = env.step("STORE topic:Mia red category:hat things")
    assert observation.startswith("Stored (1 of 100).\nQuestion 1 of 1: ") and reward == 0
    assert env.step("RETRIEVE things category:HAT topic:mia day:1-2")[0].startswith("Found 1.\n[day 1] red things\nQuestion 1")
    assert env.step("RETRIEVE topic:Tom")[0].startswith("Found 0.\n")


def test_who_never_answers_is_cut_off():
    env = MemoryBufferEnv(max_steps=6)
    env.reset(seed=0)
    ends = [env.step("RETRIEVE hat")[2:4] for _ in range(6)]
    assert ends == [(False, False)] * 5 + [(False, True)]


# Days, and what lasts


def test_a_seed_begins_again_and_without_one_the_next_day_comes():
    env = MemoryBufferEnv(difficulty=0.0)
    play(env, expert, 3)
    _, info = env.reset()
    assert (info["day"], info["stored"]) == (4, 9)
    assert env.step("RETRIEVE day:2")[0].startswith("Found 3.\n[day 2]")
    _, info = env.reset(seed=5, options={"keep_memory": True})
    assert (info["day"], info["stored"]) == (5, 9)  # a day began and one piece of news was heard
    first, info = env.reset(seed=5)
    assert (info["day"], info["stored"]) == (1, 0)
    assert env.step("RETRIEVE day:1-9")[0].startswith("Found 0.")
    assert MemoryBufferEnv(difficulty=0.0, seed=5).reset()[0] == first


def test_only_what_there_was_a_turn_to_store_is_asked():
    env = MemoryBufferEnv(difficulty=1.0)
    env.reset(seed=0)
    env.step("STORE x")
    for _ in range(30):
        _, info = env.reset()
    assert info["day"] == 2 and len(env._told) == 1


KILLED = """
import os, signal, sys
from gymformer.env import MemoryBufferEnv
from gymformer.env.memory_buffer_players import expert
env = MemoryBufferEnv(difficulty=1.0, memory_path=sys.argv[1])
for day in range(8):
    observation, info = env.reset(seed=day)
    while "over" not in observation and day < 7:
        observation, *_, info = env.step(expert(observation, info))
env.step(expert(observation, info))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_with_a_file_another_process_goes_on_after_one_was_killed(tmp_path):
    path = tmp_path / "memory.sqlite"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stderr) == (-9, "")
    env = MemoryBufferEnv(difficulty=1.0, memory_path=path)
    assert play(env, expert, 10) == pytest.approx([1.0] * 10)
    assert env.day == 8 + 10
    assert min(fact.day for fact, _ in env._asked) <= 8  # of the process before
    _, info = env.reset(options={"keep_memory": False})
    assert (info["day"], info["stored"]) == (1, 0)
    env.close()


def test_two_environments_never_share_a_memory_by_accident(tmp_path):
    path = tmp_path / "memory.sqlite"
    first = gym.make("MemoryBuffer-v0", memory_path=path)
    with pytest.raises(RuntimeError, match=r"in use by another environment.*give each environment a memory_path of its own"):
        gym.make("MemoryBuffer-v0", memory_path=path)
    first.close()
    gym.make("MemoryBuffer-v0", memory_path=path).close()
    one, other = MemoryBufferEnv(difficulty=0.0), MemoryBufferEnv(difficulty=0.0)
    one.reset(seed=0), other.reset(seed=0)
    one.step("STORE a secret")
    assert other.step("RETRIEVE secret")[0].startswith("Found 0.")


# Difficulty


def test_difficulty_brings_more_of_everything():
    told, easiest, hardest = [], MemoryBufferEnv(difficulty=0.0), MemoryBufferEnv(difficulty=1.0)
    for env in (easiest, hardest):
        play(env, expert, 20)
        told.append((len(env._news), env.questions, [len(re.split(r"(?<=\.) ", text)) for _, text in env._news]))
    assert told == [(3, 1, [1, 1, 1]), (4, 3, [4, 4, 4, 4])]
    assert all(fact.day == easiest.day for fact, _ in easiest._asked)
    for env, plain in ((easiest, True), (hardest, False)):
        rng = np.random.default_rng(0)
        assert all((state(rng, fact, reworded=False) in text) == plain for fact, text in env._news)
        assert all((ask(rng, fact, reworded=False, dated=False) in text) == plain for fact, text in env._asked)
    play_on(hardest), play_on(hardest)
    assert any(fact.day < hardest.day - 5 for fact, _ in hardest._asked)


@every_level
@pytest.mark.parametrize("max_steps", [5, 10, 40])
def test_neither_value_nor_category_tells_the_facts_of_a_day_apart(difficulty, max_steps):
    env = MemoryBufferEnv(difficulty=difficulty, max_steps=max_steps)
    for seed in range(20):
        env.reset(seed=seed)
        facts = [fact for fact, _ in env._news]
        assert len({fact.key for fact in facts}) == len({fact.value for fact in facts}) == len(facts) >= 3
        kinds = [fact.category for fact in facts]
        assert min(kinds.count(kind) for kind in kinds) >= 3


def test_the_curriculum_follows_its_own_episodes_and_nobody_elses():
    env = MemoryBufferEnv()
    play(env, expert, 10)
    assert env.reset(seed=0)[1]["difficulty"] == 0.1  # a seed does not change what was learned
    play(env, expert, 10, difficulty=0.7)
    assert env.reset()[1]["difficulty"] == 0.1
    for arguments, expected in [({"difficulty": 0.3}, 0.3), ({"use_curriculum": False}, 0.5)]:
        env = MemoryBufferEnv(**arguments)
        play(env, expert, 7)
        assert env.reset()[1]["difficulty"] == expected
        assert env.reset(options={"difficulty": 0})[1]["difficulty"] == 0.0


# Token by token


def test_a_language_model_plays_it_token_by_token():
    tokenizer = byte_tokenizer()
    make, arguments = for_language_model("MemoryBuffer-v0", {"difficulty": 1.0}, tokenizer)
    env = make(**arguments)
    assert isinstance(env, TextToTokens)
    for day in range(2):
        tokens, info = env.reset(seed=3 if day == 0 else None)
        text = tokenizer.decode(tokens)
        assert "ANSWER <one value>" in text
        total, over, observation = 0.0, False, text.split("<|user|>")[-1].split("<|end|>")[0]
        while not over:
            for token in [*tokenizer.encode(expert(observation, info)), tokenizer.eos_token_id]:
                tokens, reward, terminated, truncated, info = env.step(token)
            total, over, observation = total + reward, terminated or truncated, info["reply"]
        assert total == pytest.approx(1.0)


# The news itself


def test_every_wording_of_a_fact_and_of_a_question_is_understood():
    rng = np.random.default_rng(0)
    said: dict[str, set[str]] = {}
    for person in WORDS["person"][::5]:
        for name, category in CATEGORIES.items():
            for number, value in enumerate(category.values):
                fact = Fact(person, name, value, number)
                for reworded in (False, True):
                    sentence = state(rng, fact, reworded=reworded)
                    said.setdefault(name, set()).add(sentence)
                    assert read_fact(sentence) == (person, name, value)
                    for dated in (False, True):
                        question = ask(rng, fact, reworded=reworded, dated=dated)
                        assert read_question(question) == (person, name, number if dated else None)
                assert value not in deny(rng, fact).split() and read_fact(deny(rng, fact)) is None
    assert "Leo lives with an owl." in said["pet"] or "An owl belongs to Leo." in said["pet"]
    assert all(read_fact(small_talk(rng)) is None for _ in range(50))
    assert read_question("What?") is None and len(DATED) == 2


def test_other_words_are_other_words():
    rng = np.random.default_rng(0)
    for category in [*CATEGORIES] * 5:
        fact = draw_fact(rng, 1, category)
        assert state(rng, fact, reworded=True) != state(rng, fact, reworded=False)
        assert ask(rng, fact, reworded=True, dated=False) != ask(rng, fact, reworded=False, dated=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_steps": 4}, "max_steps=4; an episode needs at least 5"),
        ({"memory_size": 0}, "memory_size=0; a memory holds at least 1 entry"),
        ({"difficulty": 1.5}, "difficulty=1.5; it is a number from 0"),
        ({"difficulty": "hard"}, "difficulty='hard'; it is a number from 0"),
        ({"render_mode": "human"}, "render_mode='human'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MemoryBufferEnv(**arguments)


def test_a_difficulty_of_an_episode_is_checked_and_the_expert_says_what_it_does_not_understand():
    with pytest.raises(ValueError, match="difficulty=-1; it is a number from 0"):
        MemoryBufferEnv().reset(options={"difficulty": -1})
    with pytest.raises(ValueError, match="understands only what MemoryBufferEnv says"):
        expert("How are you?", {})
