"""Word problems: their solutions are right, line by line, and as long as the difficulty says."""

import numpy as np
import pytest

from gymformer.data.word_problems import in_gsm8k_form, word_problem
from gymformer.rewards.answers import hash_answer
from gymformer.rewards.calculator import agrees, annotations


@pytest.mark.parametrize(("difficulty", "counts"), [(0.0, {1}), (None, {2, 3}), (0.5, {3}), (1.0, {4})])
def test_a_solution_has_a_right_calculation_in_each_line(difficulty, counts):
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(300):
        problem = word_problem(rng, difficulty)
        calculations = [annotations(line) for line in problem.steps]
        assert all(len(one) == 1 and agrees(one[0]) for one in calculations)
        assert calculations[-1][0].result == problem.answer == hash_answer(in_gsm8k_form(problem)["answer"])
        assert int(problem.answer) >= 0
        found.add(len(problem.steps))
    assert found == counts


def test_every_number_of_a_solution_is_in_the_question_or_was_worked_out():
    """So nothing has to be guessed: but for the 2 of doubling and halving."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        problem = word_problem(rng)
        known = {word.strip("$.?,") for word in problem.question.split()} | {"2"}
        for line in problem.steps:
            (calculation,) = annotations(line)
            assert (
                set(calculation.expression.replace("*", " ").replace("+", " ").replace("-", " ").replace("/", " ").split())
                <= known
            )
            known.add(calculation.result)


def test_problems_are_many_and_follow_from_the_seed():
    first, again = ([word_problem(np.random.default_rng(seed)) for seed in range(500)] for _ in range(2))
    assert first == again and len({problem.question for problem in first}) > 490
