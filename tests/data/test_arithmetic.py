"""Sums of several terms, their solutions, and the split that questions decide by themselves."""

import hashlib
import re

import numpy as np
import pytest

from gymformer.data.arithmetic import HELD_OUT_SHARE, Problem, chain_sum, is_held_out


def problems(count: int, **settings) -> list[Problem]:
    rng = np.random.default_rng(0)
    return [chain_sum(rng, **settings) for _ in range(count)]


def test_steps_lead_from_the_question_to_the_answer():
    for problem in problems(300):
        first, *rest = re.findall(r"[+-]?\d+", problem.question.replace(" ", ""))
        total = int(first)
        assert len(problem.steps) == len(rest)
        for signed, step in zip(rest, problem.steps, strict=True):
            assert step == f"{total}{signed}={total + int(signed)}"
            total += int(signed)
        assert problem.answer == str(total)


def test_terms_and_totals_stay_within_their_bounds():
    lengths = set()
    for problem in problems(500, terms=(3, 5), maximum=9):
        numbers = [int(number) for number in re.findall(r"\d+", problem.question)]
        totals = [int(step.split("=")[1]) for step in problem.steps]
        lengths.add(len(numbers))
        assert re.fullmatch(r"What is \d+( [+-] \d+)+\?", problem.question)
        assert 1 <= min(numbers) <= max(numbers) <= 9
        assert 0 <= min(totals) <= max(totals) <= 45
    assert lengths == {3, 4, 5}


def test_the_generator_decides_the_problems():
    assert problems(20) == problems(20)
    assert len({problem.question for problem in problems(200)}) > 195


@pytest.mark.parametrize("settings", [{"terms": (1, 3)}, {"terms": (4, 3)}, {"maximum": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"; (try|give)"):
        chain_sum(np.random.default_rng(0), **settings)


def test_the_split_is_decided_by_the_text_alone():
    """The rule written out, on both sides of it; the surrounding blanks do not count."""
    for question in ("What is 1 + 2?", "What is 12 + 7 - 5 + 9?", "What is 3 + 4?", "What is 9 - 4?"):
        share = int(hashlib.sha256(question.encode()).hexdigest()[:8], 16) / 2**32
        assert is_held_out(question, share=share + 1e-6)
        assert not is_held_out(question, share=share - 1e-6)
        assert is_held_out(f" {question}\n".replace(" ", " \t"), share=share + 1e-6)


def test_a_tenth_is_held_out():
    """Standard deviation of the share: sqrt(0.1 · 0.9 / 5000) = 0.0042; five of them."""
    assert HELD_OUT_SHARE == 0.1
    assert np.mean([is_held_out(problem.question) for problem in problems(5000)]) == pytest.approx(0.1, abs=0.021)
