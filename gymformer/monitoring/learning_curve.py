"""What a learning curve says in numbers: how steep, how high, how soon, how sure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LearningCurve", "Spread", "analyse", "common_threshold", "running_mean", "spread"]

EDGE = 0.1  # share of the updates that make up the beginning, the end, and the window of the running mean
NEAR = 0.1  # of the curve's range: so near to its end is a plateau
SHORT = 0.2  # of the run: a plateau that fills no more than this is none yet


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Of the mean return of each update, over the episodes played so far. Defined in monitoring/README.md."""

    first: float
    last: float
    best: float
    best_update: int
    slope: float  # return per 100 episodes, over the whole run
    late_slope: float  # the same over the last third
    plateau: int | None  # episodes after which the curve stays near its end; None: it still moves
    area: float  # mean height
    reached: int | None  # episodes until the threshold; None: never
    reached_seconds: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the ends of runs that differ in their seed only."""

    runs: int
    mean: float
    deviation: float  # standard deviation, n - 1
    least: float
    most: float
    area: float  # mean over the runs


def running_mean(values: Sequence[float] | np.ndarray, window: int = 100) -> np.ndarray:
    """(N,) the mean of the last `window` values (fewer at the start)."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, np.float64)]))
    stop = np.arange(1, len(sums))
    start = np.maximum(stop - window, 0)
    return (sums[stop] - sums[start]) / (stop - start)


def analyse(records: Sequence[dict[str, Any]], threshold: float | None = None) -> LearningCurve | None:
    """The numbers of a run's metrics; None where no update has ended an episode."""
    seconds = np.cumsum([record.get("seconds") or 0.0 for record in records])
    known = [i for i, record in enumerate(records) if record.get("return_mean") is not None]
    if not known:
        return None
    episodes = np.array([records[i]["episodes"] for i in known], np.float64)
    returns = np.array([records[i]["return_mean"] for i in known], np.float64)
    edge = _edge(len(known))
    smooth = running_mean(returns, edge)
    best, third = int(np.argmax(returns)), max(2, len(known) // 3)
    hit = np.flatnonzero(smooth >= threshold) if threshold is not None else np.empty(0, np.int64)
    return LearningCurve(
        first=float(returns[:edge].mean()), last=float(returns[-edge:].mean()),
        best=float(returns[best]), best_update=int(records[known[best]]["update"]),
        slope=_slope(episodes, returns), late_slope=_slope(episodes[-third:], returns[-third:]),
        plateau=_plateau(episodes, smooth), area=_mean_height(episodes, returns),
        reached=int(episodes[hit[0]]) if len(hit) else None,
        reached_seconds=float(seconds[known[int(hit[0])]]) if len(hit) else None,
    )  # fmt: skip


def common_threshold(runs: Sequence[Sequence[dict[str, Any]]]) -> float | None:
    """Nine tenths of the way from the lowest beginning to the highest point of the running means of all runs."""
    curves = [
        returns for records in runs if (returns := [r["return_mean"] for r in records if r.get("return_mean") is not None])
    ]
    if not curves:
        return None
    low = min(statistics.fmean(returns[: _edge(len(returns))]) for returns in curves)
    high = max(float(running_mean(returns, _edge(len(returns))).max()) for returns in curves)
    return low + 0.9 * (high - low) if high > low else None


def spread(curves: Sequence[LearningCurve]) -> Spread:
    """Of at least one run; the deviation of a single one is 0."""
    ends = [curve.last for curve in curves]
    return Spread(len(ends), statistics.fmean(ends), statistics.stdev(ends) if len(ends) > 1 else 0.0, min(ends), max(ends),
                  statistics.fmean(curve.area for curve in curves))  # fmt: skip


def _edge(count: int) -> int:
    return max(1, round(EDGE * count))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the least-squares line, for 100 of x; 0 where there is one point only."""
    centred = x - x.mean()
    square = float((centred**2).sum())
    return 0.0 if square == 0 else 100 * float((centred * y).sum()) / square


def _mean_height(x: np.ndarray, y: np.ndarray) -> float:
    """∫ y dx / (x_N - x_1), by trapezoids."""
    width = x[-1] - x[0]
    return float(y.mean() if width == 0 else ((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / width)


def _plateau(episodes: np.ndarray, smooth: np.ndarray) -> int | None:
    far = np.flatnonzero(np.abs(smooth - smooth[-1]) > NEAR * (smooth.max() - smooth.min()))
    start = int(far[-1]) + 1 if len(far) else 0
    remaining = episodes[-1] - episodes[start]
    return int(episodes[start]) if remaining > SHORT * episodes[-1] else None
