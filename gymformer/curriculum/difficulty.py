"""One number from 0 (easiest) to 1 that follows success."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Pace", "checked_difficulty", "success_of"]

# Guessing solves up to a half of what has two answers. Of a guesser's blocks of 10, 5% then bring 8 successes and 38% fewer than
# 5, so that its difficulty stays at 0 nearly always (`tests/curriculum/test_difficulty.py` has the figures).
EPISODES = 10
RAISE_AT, LOWER_BELOW = 0.8, 0.5  # mean success of these
STEP = 0.1


class Pace:
    """A difficulty that follows success: after 10 episodes (or more that ended together) it rises by 0.1 if their mean success was
    at least 0.8, and falls by 0.1 if it was below 0.5, within 0 and 1; then 10 new episodes are waited for."""

    def __init__(self, difficulty: float = 0.0):
        if not 0 <= difficulty <= 1:
            raise ValueError(f"difficulty={difficulty}; it is a number from 0 (easiest) to 1")
        self.difficulty = float(difficulty)
        self.waiting: list[float] = []  # the successes since the last decision

    def observe(self, *successes: float) -> None:
        """Episodes at this difficulty have ended; success lies between 0 and 1. Of many that ended together the mean decides, once."""
        for success in successes:
            if not 0 <= success <= 1:
                raise ValueError(f"success={success}; it is a number from 0 (failed) to 1 (attained)")
        self.waiting += map(float, successes)
        if len(self.waiting) >= EPISODES:
            mean = sum(self.waiting) / len(self.waiting)
            change = STEP if mean >= RAISE_AT else -STEP if mean < LOWER_BELOW else 0.0
            self.difficulty = round(min(max(self.difficulty + change, 0.0), 1.0), 6)
            self.waiting = []


def success_of(info: Mapping[str, Any]) -> float | None:
    """How far an episode attained its goal, from 0 to 1, by its last info: "success", or Gymnasium's customary "is_success"; None
    where neither is told. Raises ValueError for what is no such number."""
    told = info.get("success", info.get("is_success"))
    if told is None:
        return None
    success = float(told)
    if not 0 <= success <= 1:
        raise ValueError(f'info["success"] is {told!r}; it is a number from 0 (failed) to 1 (attained)')
    return success


def checked_difficulty(given: Any) -> float:
    """The same as a float. Raises ValueError for what is no number from 0 to 1."""
    if isinstance(given, bool) or not isinstance(given, int | float | np.number) or not 0 <= given <= 1:
        raise ValueError(f"difficulty={given!r}; it is a number from 0 (easiest) to 1")
    return float(given)
