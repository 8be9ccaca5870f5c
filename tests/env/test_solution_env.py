"""Problems that are solved line by line: what is asked, what is paid, and when it is over."""

import re

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymformer.data.arithmetic import Problem, is_held_out
from gymformer.data.problems import load_problems
from gymformer.data.word_problems import word_problem
from gymformer.env import GSM8KEnv, MATHEnv
from gymformer.rewards import RewardComponent

CLIPS = Problem("Natalia sold 48 clips in April and half as many in May. How many in all?", "72",
                ("In May she sold 48/2 = <<48/2=24>>24 clips.", "In all it is 48+24 = <<48+24=72>>72 clips."))  # fmt: skip
OTHERS = [Problem(f"How much is {n} + 1?", str(n + 1), (f"It is {n}+1 = <<{n}+1={n + 1}>>{n + 1}.",)) for n in range(8)]


def asked(problem: Problem = CLIPS, **arguments) -> GSM8KEnv:
    env = GSM8KEnv([problem], n_few_shot_examples=0, **arguments)
    env.reset()
    return env


def test_a_solution_is_written_line_by_line_and_its_answer_paid():
    env = GSM8KEnv([CLIPS], 1, train_data_file=OTHERS[:1])
    observation, info = env.reset(seed=0)
    example = "Question: How much is 0 + 1?\nSolution:\nIt is 0+1 = <<0+1=1>>1.\n#### 1\n\n"
    opening = f"{example}Question: {CLIPS.question}\nSolution:\n"
    assert observation == opening and info["question"] == CLIPS.question and info["final_answer"] is None
    observation, reward, terminated, truncated, info = env.step("In May she sold 48/2 = <<48/2=24>>24 clips.")
    assert observation == opening + "In May she sold 48/2 = <<48/2=24>>24 clips.\n"
    assert (reward, terminated, truncated, info["turn"]) == (0.0, False, False, 1)
    observation, reward, terminated, truncated, info = env.step("#### 72")
    assert (reward, terminated, truncated, info["correct"], info["final_answer"]) == (1.0, True, False, True, "72")
    assert info["solution"] == "In May she sold 48/2 = <<48/2=24>>24 clips.\n#### 72"
    with pytest.raises(gym.error.ResetNeeded):
        env.step("#### 72")


@pytest.mark.parametrize(("line", "right"), [("#### 72", True), ("#### 72.0", True), ("It is clear. #### $72", True), ("#### 72 or 73", False),
                                             ("#### 72 #### 73", False), ("#### 73", False), ("#### inf", False), ("#### nan", False),
                                             ("#### 48+24", False), ("#### seventy-two", False)])  # fmt: skip
def test_the_first_answer_ends_it_whatever_it_is(line, right):
    *_, reward, terminated, _, info = asked().step(line)
    assert (reward, terminated, info["correct"]) == (float(right), True, right)


def test_nothing_but_an_answer_is_paid():
    """Empty, echoing and babbling policies earn nothing, and come to an end."""
    for line in ("", CLIPS.question, "The answer is 72.", "72", "\\boxed{72}", "<<48+24=72>>"):
        env, total, steps, terminated = asked(max_lines=5), 0.0, 0, False
        while not terminated:
            _, reward, terminated, truncated, _ = env.step(line)
            total, steps = total + reward, steps + 1
            assert not truncated and steps <= 5
        assert total == 0.0


def test_the_calculator_writes_the_results_that_are_missing():
    env = asked()
    assert env.splice("In May 48/2 = <<48/2=") == "24>>" and env.splice("In May 48/2 =") == ""
    env.step("In May 48/2 = <<48/2=>>24, and <<7*6=")
    assert env.lines == ["In May 48/2 = <<48/2=24>>24, and <<7*6=42>>"]
    env.step("<<1/0=>> and <<48/2=25>> stay as they are")
    assert env.lines[1] == "<<1/0=>> and <<48/2=25>> stay as they are"
    without = asked(calculator=False)
    without.step("<<48/2=>>24")
    assert without.lines == ["<<48/2=>>24"] and without.splice("<<48/2=") == ""


def test_several_lines_at_once_count_as_several():
    env = asked(max_lines=2)
    *_, reward, terminated, _, info = env.step("One.\n\n  Two.  \n#### 72")
    assert (reward, terminated, info["solution"]) == (0.0, True, "One.\nTwo.")


def test_lines_can_be_paid_each_by_several_judges():
    def short(state):
        return float(len(state["line"]) < 10)

    terms = [RewardComponent("short", 0.5, short), RewardComponent("count", 1.0, lambda state: len(state["lines"]))]
    env = asked(line_rewards=terms)
    assert [env.step(line)[1] for line in ("Short.", "A long line it is.", "#### 72")] == [1.5, 2.0, 4.5]
    assert env.facts()["reward_terms"] == {"short": 1.0, "count": 6.0}


def test_in_order_means_the_order_of_the_file_and_a_seed_begins_again():
    env = GSM8KEnv(OTHERS, 2, deterministic=True, max_samples=3)
    questions = [env.reset(seed=seed)[1]["question"] for seed in (5, None, None, None, 7, None)]
    assert questions == [OTHERS[n].question for n in (0, 1, 2, 0, 0, 1)]
    observation, _ = env.reset(options={"task": 4})  # the fourth of three
    assert [role for role, _ in env.dialogue(observation)] == ["user", "assistant"] * 3
    assert [text for role, text in env.dialogue(observation) if role == "user"] == [OTHERS[n].question for n in (0, 2, 1)]


def test_examples_never_show_the_question():
    env = GSM8KEnv(OTHERS, 7)
    for _ in range(20):
        observation, info = env.reset()
        *shown, question = [text for role, text in env.dialogue(observation) if role == "user"]
        assert question == info["question"] and question not in shown and len(set(shown)) == 7


def test_what_is_drawn_stays_on_its_side_of_the_split():
    for split in ("train", "test"):
        env = GSM8KEnv(word_problem, 2, split=split)
        for _ in range(10):
            observation, info = env.reset()
            assert is_held_out(info["question"]) == (split == "test")
            *shown, _ = [text for role, text in env.dialogue(observation) if role == "user"]
            assert not any(map(is_held_out, shown))


lines = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30).filter(str.strip), max_size=4)
question = st.one_of(
    st.text(min_size=1, max_size=40), st.sampled_from(["Question: \nSolution:\n", "a\nSolution:", "\n\nQuestion: x\n"])
)


@given(question.filter(str.strip), lines)
def test_an_observation_can_be_read_back_as_messages(text, written):
    env = GSM8KEnv([Problem(text, "1")], 1, train_data_file=[CLIPS, OTHERS[0]], max_lines=50)
    observation, info = env.reset(seed=0)
    for line in written:
        if env.answered is None:
            observation, *_, info = env.step(line)
    dialogue = env.dialogue(observation)
    assert [role for role, _ in dialogue] == ["user", "assistant"] * 2
    assert dialogue[2][1].replace(" ", "") == repr_free(info["question"])
    assert dialogue[3][1].replace(" ", "") == repr_free("".join(f"{line}\n" for line in env.lines))


def repr_free(text: str) -> str:
    """As it is shown, but for spaces."""
    from gymformer.env.rendering import printable

    return printable(text).replace(" ", "")


@pytest.mark.parametrize(("make", "name"), [(GSM8KEnv, "gsm8k_sample"), (MATHEnv, "math_sample")])
def test_every_reference_solution_that_comes_along_is_right(make, name):
    path = f"data/{name}/test.jsonl"
    env = make(path, 0, deterministic=True)
    for problem in load_problems(path):
        assert env.reset()[1]["question"] == problem.question
        rewards = [env.step(line)[1:3] for line in env.solved(problem)]
        assert rewards == [(0.0, False)] * (len(rewards) - 1) + [(1.0, True)]


def test_a_formula_of_the_question_is_no_answer():
    """Of the problems that come along, a third are solved by an equal formula, which their question has."""
    env = MATHEnv("data/math_sample/test.jsonl", 0)
    echoes = 0
    for problem in load_problems("data/math_sample/test.jsonl"):
        for formula in re.findall(r"\$([^$]*)\$", problem.question):
            if not formula.isdigit():
                echoes += 1
                env.reset(options={"problem": problem})
                assert env.step(f"\\boxed{{{formula}}}")[1] == 0.0, problem
    assert echoes > 100
    root = Problem("Simplify $\\sqrt{8}$.", "2\\sqrt{2}")
    env.reset(options={"problem": root})
    assert env.step("\\boxed{2 \\sqrt{2}}")[1] == 1.0
    env.reset(options={"problem": Problem("Which is larger, $\\pi$ or $3$?", "\\pi")})
    assert env.step("\\boxed{\\pi}")[1] == 1.0


def test_a_box_that_spans_lines_is_answered_on_one_line():
    problem = Problem(
        "The column?",
        "\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}",
        ("It is \\boxed{\\begin{pmatrix} 1 \\\\", "2 \\end{pmatrix}}."),
    )
    env = MATHEnv([problem], 0)
    env.reset()
    rewards = [env.step(line)[1:3] for line in env.solved(problem)]
    assert rewards == [(0.0, False), (0.0, False), (1.0, True)]


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="only 1 other problems with a worked solution"):
        GSM8KEnv([CLIPS, OTHERS[0]], 2).reset(options={"problem": CLIPS})
    with pytest.raises(ValueError, match="drawn without end"):
        GSM8KEnv(word_problem, deterministic=True)
    with pytest.raises(ValueError, match="max_lines=0"):
        GSM8KEnv([CLIPS], max_lines=0)
    with pytest.raises(ValueError, match=r'options\["task"\]'):
        GSM8KEnv(word_problem, 0).reset(options={"task": 1})
