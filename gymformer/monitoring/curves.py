"""Learning curves drawn from the metrics of a run, or from the episodes of an evaluation."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Chart", "plot_evaluation", "plot_training", "running_mean"]

INK, RETURNS, MEAN = "#333333", "#9db7d5", "#1f5fa8"
PLAYERS = (MEAN, "#c8641e", "#3c8d5a", "#8a5fb0", "#a23b4a", "#5b6770")
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


def plot_evaluation(returns: Mapping[str, Sequence[float]], progression: Mapping[str, Mapping[str, Sequence[float]]], title: str = "",
                    window: int = 20) -> Chart:  # fmt: skip
    """Of each player the returns of its episodes with their running mean; and below it the mean success so far, and the difficulty
    where it changes, if `progression` has them ("success", "difficulty")."""
    difficulties = {level for series in progression.values() for level in series.get("difficulty", ())}
    shown = ["success"] if any("success" in series for series in progression.values()) else []
    shown += ["difficulty"] if len(difficulties) > 1 else []
    chart = Chart(figsize=(9, 3.6 + 1.8 * len(shown)), layout="constrained")
    panels = chart.add_gridspec(1 + len(shown), 1, height_ratios=[2.2, *[1] * len(shown)])
    axes = chart.add_subplot(panels[0])
    for n, (player, values) in enumerate(returns.items()):
        colour, episodes = PLAYERS[n % len(PLAYERS)], np.arange(1, len(values) + 1)
        axes.plot(episodes, values, ".", markersize=4, color=colour, alpha=0.45)
        axes.plot(
            episodes, running_mean(values, window), color=colour, linewidth=2, label=f"{player}, mean of the last {window}"
        )
    axes.set(ylabel="return", title=title)
    axes.legend(frameon=False)
    _plain_frame(axes)
    for row, name in enumerate(shown, start=1):
        axes = chart.add_subplot(panels[row])
        for n, series in enumerate(progression.values()):
            values = series.get(name, ())
            axes.plot(np.arange(1, len(values) + 1), values, color=PLAYERS[n % len(PLAYERS)], linewidth=1.5)
        axes.set(ylabel="success so far" if name == "success" else name)
        if name == "success":
            axes.set_ylim(-0.03, 1.03)
        _plain_frame(axes)
    axes.set_xlabel("episode")
    return chart


def _plain_frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
