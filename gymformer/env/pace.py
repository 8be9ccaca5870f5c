"""Pace: the difficulty that an environment chooses for itself, from how its last episodes went."""

from collections import deque

__all__ = ["Pace"]

WINDOW = 5  # episodes
RAISE_AT, LOWER_AT = 0.8, 0.4  # mean success of these
STEPS = 10  # from the easiest to the hardest


class Pace:
    """Starts at 0. When the mean success of the last 5 episodes is at least 0.8, the difficulty rises by 0.1; when it is at
    most 0.4, it falls by 0.1; within 0 and 1. After a change, 5 new episodes are waited for."""

    def __init__(self):
        self._level = 0
        self._last: deque[float] = deque(maxlen=WINDOW)

    @property
    def difficulty(self) -> float:
        return self._level / STEPS

    def observe(self, success: float) -> None:
        """An episode has ended; success lies between 0 and 1."""
        self._last.append(success)
        if len(self._last) < WINDOW:
            return
        mean = sum(self._last) / WINDOW
        change = (mean >= RAISE_AT) - (mean <= LOWER_AT)
        level = min(max(self._level + change, 0), STEPS)
        if level != self._level:
            self._level = level
            self._last.clear()
