"""The real GSM8K, wherever GSM8K_DATA names a folder with its train.jsonl and test.jsonl (gymformer/rewards/README.md)."""

import json
import os
from pathlib import Path

import pytest

from gymformer.data.arithmetic import Problem
from gymformer.data.problems import load_problems
from gymformer.env import GSM8KEnv
from gymformer.env.rendering import printable
from gymformer.rewards.answers import is_correct, plain_number
from gymformer.rewards.calculator import agrees, annotations, calculate, splice

FOLDER = os.environ.get("GSM8K_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="GSM8K_DATA names no folder with GSM8K's train.jsonl and test.jsonl")

ROWS = {"train": 7473, "test": 1319}
ANNOTATIONS = {"train": 23716, "test": 4282}
# Annotations whose result is not their expression's value: (file, row, expression, written, right). The data has none.
EXCEPTIONS: list[tuple[str, int, str, str, str]] = []
ROWS_WITH_BLANK_LINES = {"train": [481, 2618, 2816, 5403], "test": [1043, 1285]}


@pytest.fixture(scope="module", params=ROWS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def problems(name) -> list[Problem]:
    return load_problems(Path(FOLDER or "") / f"{name}.jsonl")


def test_every_row_is_a_problem_with_steps_and_a_plain_number(name, problems):
    assert len(problems) == ROWS[name]
    for problem in problems:
        assert plain_number(problem.answer) is not None, problem
        assert is_correct(problem.answer, problem.answer)
        assert problem.steps and all(step.strip() and "####" not in step and "\n" not in step for step in problem.steps)


def test_steps_and_answer_are_the_whole_solution_without_blank_lines(name, problems):
    text = (Path(FOLDER or "") / f"{name}.jsonl").read_text(encoding="utf-8")
    solutions = [json.loads(row)["answer"] for row in text.strip().split("\n")]
    assert [row for row, solution in enumerate(solutions, start=1) if "\n\n" in solution] == ROWS_WITH_BLANK_LINES[name]
    assert ["\n".join([*problem.steps, f"#### {problem.answer}"]) for problem in problems] == [
        solution.replace("\n\n", "\n") for solution in solutions
    ]


def test_every_annotation_has_its_expressions_value(name, problems):
    found = [
        (row, annotation)
        for row, problem in enumerate(problems, start=1)
        for annotation in annotations("\n".join(problem.steps))
    ]
    assert len(found) == ANNOTATIONS[name]
    wrong = [(name, row, each.expression, each.result) for row, each in found if not agrees(each)]
    assert wrong == [exception[:4] for exception in EXCEPTIONS if exception[0] == name]
    assert [each for _, each in found if calculate(each.expression) != plain_number(each.result)] == []


def test_the_calculator_writes_what_equals_the_data(problems):
    for problem in problems:
        for annotation in annotations("\n".join(problem.steps)):
            spliced = splice(f"<<{annotation.expression}=").removesuffix(">>")
            assert plain_number(spliced) == plain_number(annotation.result), annotation


def test_every_reference_solution_is_right_line_by_line(name, problems):
    """In GSM8K-v0: nothing is paid before the last line, and 1 for that. The calculator changes none of the lines."""
    env = GSM8KEnv(Path(FOLDER or "") / f"{name}.jsonl", 0, deterministic=True, max_lines=30)
    for problem in problems:
        assert env.reset()[1]["question"] == problem.question
        steps = [env.step(line) for line in env.solved(problem)]
        assert [step[1:3] for step in steps] == [(0.0, False)] * (len(steps) - 1) + [(1.0, True)], problem
        assert env.lines == [printable(line.strip()) for line in env.solved(problem)], problem
