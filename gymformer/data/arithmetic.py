"""Arithmetic problems with their worked solutions, drawn from a generator."""

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = ["HELD_OUT_SHARE", "Problem", "chain_sum", "is_held_out"]

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, its answer, and the steps that lead there, in order ("12+7=19", "19-5=14"); none where they are unknown."""

    question: str
    answer: str
    steps: tuple[str, ...] = ()


def chain_sum(rng: np.random.Generator, terms: tuple[int, int] = (4, 5), maximum: int = 9) -> Problem:
    """ "What is 12 + 7 - 5 + 9?", worked from left to right.

    The number of terms is uniform in `terms` (both ends included), each term in 1..`maximum`, each sign even; a term that
    would make the running total negative is added instead, so that totals lie in 0..terms·maximum.
    """
    fewest, most = terms
    if not 2 <= fewest <= most:
        raise ValueError(f"terms is {terms}, but a sum has at least 2 terms and the first number is the smaller; try (4, 5)")
    if maximum < 1:
        raise ValueError(f"maximum is {maximum}, but terms are drawn from 1..maximum; give at least 1")
    first, *rest = rng.integers(1, maximum, size=int(rng.integers(fewest, most, endpoint=True)), endpoint=True).tolist()
    total, expression, steps = first, str(first), []
    for term in rest:
        sign = "-" if rng.random() < 0.5 and term <= total else "+"
        result = total + term if sign == "+" else total - term
        steps.append(f"{total}{sign}{term}={result}")
        expression, total = f"{expression} {sign} {term}", result
    return Problem(f"What is {expression}?", str(total), tuple(steps))


def is_held_out(question: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether `question` belongs to the held-out `share` of all questions: decided by its words alone, so that no order,
    seed, file, process or spacing can move it to the other side."""
    digest = hashlib.sha256(" ".join(question.split()).encode()).hexdigest()
    return int(digest[:8], 16) / 2**32 < share
