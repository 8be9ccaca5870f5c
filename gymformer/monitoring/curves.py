"""Learning curves drawn from the metrics of a run."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Chart", "plot_progress", "plot_training", "running_mean"]

INK, RETURNS, MEAN = "#333333", "#9db7d5", "#1f5fa8"
STATISTICS = ("explained_variance", "entropy", "approx_kl", "clip_fraction")


class Chart(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot and its global state."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def running_mean(values: Sequence[float], window: int = 100) -> np.ndarray:
    """(N,) the mean of the last `window` values (fewer at the start)."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, np.float64)]))
    stop = np.arange(1, len(sums))
    start = np.maximum(stop - window, 0)
    return (sums[stop] - sums[start]) / (stop - start)


def plot_training(returns: Sequence[float], metrics: Sequence[dict[str, Any]], title: str = "", window: int = 100) -> Chart:
    """Returns of all episodes with their running mean, and below it the statistics that tell whether learning is healthy."""
    shown = [name for name in STATISTICS if any(record.get(name) is not None for record in metrics)]
    chart = Chart(figsize=(9, 5.2 if shown else 3.6), layout="constrained")
    grid = chart.add_gridspec(2 if shown else 1, max(len(shown), 1), height_ratios=[2.2, 1] if shown else [1])
    axes = chart.add_subplot(grid[0, :])
    episodes = np.arange(1, len(returns) + 1)
    axes.plot(episodes, returns, ".", markersize=3, color=RETURNS, label="return of an episode")
    if len(returns) > 1:
        axes.plot(episodes, running_mean(returns, window), color=MEAN, linewidth=2, label=f"mean of the last {window}")
    axes.set(xlabel="episode", ylabel="return", title=title)
    axes.legend(frameon=False)
    _plain_frame(axes)
    for i, name in enumerate(shown):
        axes = chart.add_subplot(grid[1, i])
        axes.plot(
            [record["timesteps"] for record in metrics],
            np.array([record.get(name) for record in metrics], float),
            color=INK,
            linewidth=1,
        )
        axes.set(title=name.replace("_", " "), xlabel="timesteps")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        _plain_frame(axes)
    return chart


def plot_progress(tasks: Mapping[str, Sequence[tuple[int, float, float]]]) -> Chart:
    """Of each task (episodes, difficulty, success), by rollouts: the difficulty above, the success below."""
    chart = Chart(figsize=(9, 5.2), layout="constrained")
    for row, (what, column) in enumerate((("difficulty", 1), ("success", 2))):
        axes = chart.add_subplot(2, 1, row + 1)
        for task, points in tasks.items():
            axes.plot([p[0] for p in points], [p[column] for p in points], marker=".", linewidth=1, label=task)
        axes.set(ylabel=what, ylim=(-0.03, 1.03), xlabel="episodes of the task" if row else "")
        if not row and len(tasks) > 1:
            axes.legend(frameon=False)
        _plain_frame(axes)
    return chart


def _plain_frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
