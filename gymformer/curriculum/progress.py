"""How a task went over its episodes: is it rising, has it stopped, is it mastered?"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Point", "Progress", "as_table"]

SPAN = 200  # episodes that a slope is of
ENOUGH = 100  # of them, so that a slope can be told to be none
FLAT = 0.02  # change in 100 episodes that counts as none
MASTERED = 0.8  # success at the highest difficulty


class Point(NamedTuple):
    """A task after a rollout."""

    episodes: int  # of the task so far
    newest: int  # of them in this rollout
    success: float  # their mean, from 0 to 1
    difficulty: float  # from 0 to 1, after it


class Progress:
    """The points of one task, in order, and what they say."""

    def __init__(self, points: list[Point] | None = None):
        self.points: list[Point] = points or []

    @property
    def episodes(self) -> int:
        return self.points[-1].episodes if self.points else 0

    def add(self, count: int, success: float, difficulty: float) -> None:
        self.points.append(Point(self.episodes + count, count, success, difficulty))

    def latest(self) -> list[Point]:
        """Those of the last 200 episodes, at least one."""
        return [p for n, p in enumerate(self.points, start=1) if p.episodes > self.episodes - SPAN or n == len(self.points)]

    def slope(self, what: str) -> float:
        """Change of "difficulty" or "success" in 100 episodes, by least squares over the points of the last 200 episodes, each
        weighted by its episodes; 0 where there are not two points."""
        points = self.latest()
        if len(points) < 2:
            return 0.0
        x = np.array([p.episodes for p in points], float)
        y, weights = np.array([getattr(p, what) for p in points]), np.array([p.newest for p in points], float)
        x -= np.average(x, weights=weights)
        return float(100 * (weights * x * y).sum() / (weights * x * x).sum())

    def summary(self) -> dict[str, Any]:
        """episodes: so far. success, its mean over the last 200 episodes; difficulty, now. difficulty_slope, success_slope
        (`slope`). state: "new" before 100 episodes; "mastered" at difficulty 1 with a success of at least 0.8; "plateau" where
        difficulty and success both changed by less than 0.02 in 100 episodes; else "rising" or "falling", as the sum of the two
        slopes is."""
        latest = self.latest()
        success = float(np.average([p.success for p in latest], weights=[p.newest for p in latest])) if latest else 0.0
        difficulty = latest[-1].difficulty if latest else 0.0
        slopes = {what: self.slope(what) for what in ("difficulty", "success")}
        if self.episodes < ENOUGH:
            state = "new"
        elif difficulty == 1 and success >= MASTERED:
            state = "mastered"
        elif all(abs(slope) < FLAT for slope in slopes.values()):
            state = "plateau"
        else:
            state = "rising" if sum(slopes.values()) > 0 else "falling"
        return {"episodes": self.episodes, "success": success, "difficulty": difficulty,
                **{f"{what}_slope": slope for what, slope in slopes.items()}, "state": state}  # fmt: skip


def as_table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """A summary of tasks as lines of text, which a person can read."""
    header = ["task", "episodes", "difficulty", "per 100", "success", "per 100", "chance", "state"]
    rows = [[task, str(s["episodes"]), f"{s['difficulty']:.2f}", f"{s['difficulty_slope']:+.2f}", f"{s['success']:.0%}",
             f"{s['success_slope']:+.0%}", f"{s['chance']:.0%}", s["state"]] for task, s in summary.items()]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]
    )
