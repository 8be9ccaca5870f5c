"""Pictures of a reward model: how reliable its probabilities are, how scores are spread, and what length does."""

from collections.abc import Sequence

import numpy as np

from gymformer.monitoring.curves import INK, MEAN, RETURNS, Chart, _plain_frame

__all__ = ["plot_lengths", "plot_reliability", "plot_scores"]

MOST_POINTS = 2000  # of a scatter plot; more are a blot


def plot_reliability(confidence: Sequence[float], accuracy: Sequence[float], counts: Sequence[int], chance: float) -> Chart:
    """How often the model is right when it is so sure; on the diagonal it is as often right as it says."""
    chart = Chart(figsize=(5, 4.6), layout="constrained")
    axes = chart.add_subplot()
    axes.plot([chance, 1], [chance, 1], color=INK, linewidth=1, linestyle="--", label="perfectly calibrated")
    axes.plot(confidence, accuracy, "-", color=MEAN, linewidth=1)
    axes.scatter(confidence, accuracy, s=20 + 280 * np.asarray(counts) / max(sum(counts), 1), color=MEAN, alpha=0.7,
                 label="rows (area: how many)")  # fmt: skip
    axes.set(xlabel="probability of the preferred candidate", ylabel="share in which it is the best", title="Reliability")
    axes.legend(frameon=False, loc="upper left")
    _plain_frame(axes)
    return chart


def plot_scores(best: np.ndarray, others: np.ndarray) -> Chart:
    """The scores of the candidates that were judged the best, (N,), and of the others, (M,)."""
    chart = Chart(figsize=(6, 3.6), layout="constrained")
    axes = chart.add_subplot()
    edges = np.histogram_bin_edges(np.concatenate([best, others]), bins=40).tolist()
    axes.hist(others, edges, density=True, color=RETURNS, alpha=0.8, label="not the best")
    axes.hist(best, edges, density=True, histtype="step", color=MEAN, linewidth=2, label="judged the best")
    axes.set(xlabel="score", ylabel="density", title="Scores on held-out rows")
    axes.legend(frameon=False)
    _plain_frame(axes)
    return chart


def plot_lengths(lengths: np.ndarray, scores: np.ndarray, correlation: float | None) -> Chart:
    """Score against length, (N,) each."""
    chart = Chart(figsize=(6, 3.6), layout="constrained")
    axes = chart.add_subplot()
    every = max(1, len(lengths) // MOST_POINTS)
    axes.plot(lengths[::every], scores[::every], ".", color=MEAN, markersize=3, alpha=0.5)
    said = "" if correlation is None else f" (correlation {correlation:+.2f})"
    axes.set(xlabel="length of the candidate in tokens", ylabel="score", title=f"Score and length{said}")
    _plain_frame(axes)
    return chart
