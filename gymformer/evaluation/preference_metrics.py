"""How well scores agree with preferences: accuracy, rank, loss, calibration, and what length has to do with it.

Everywhere scores, lengths and log-probabilities are (N, K), and so is the target y: 1 at the best candidate, 1/m at each of m
that are tied for it (`targets_of`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Bin", "brier_score", "calibration", "calibration_error", "credits_of", "length_correlations", "log_softmax",
           "losses_of", "reciprocal_ranks", "targets_of"]  # fmt: skip

BINS = 10  # of the reliability plot


def targets_of(best: Sequence[Sequence[int]], count: int) -> np.ndarray:
    """(N, K) from the indices of the best of each of N rows."""
    target = np.zeros((len(best), count))
    for row, indices in zip(target, best, strict=True):
        row[list(indices)] = 1 / len(indices)
    return target


def credits_of(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) how right the highest score is: 1 at the best candidate, 0 at another.

    Where m candidates share the highest score, each is chosen with probability 1/m; where m are tied for the best, each is it
    with probability 1/m. So a tie of two has 1/2 either way.
    """
    highest = scores == scores.max(1, keepdims=True)
    return (highest / highest.sum(1, keepdims=True) * target).sum(1)


def reciprocal_ranks(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) 1 / rank of the best candidate by score, from 1; equal scores share the mean of their ranks."""
    others = scores[:, None, :]
    rank = 1 + (others > scores[:, :, None]).sum(2) + ((others == scores[:, :, None]).sum(2) - 1) / 2
    return (target / rank).sum(1)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def losses_of(log_probs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) -Σ_k y_k log p_k, in nats."""
    return -(target * log_probs).sum(1)


def brier_score(probs: np.ndarray, target: np.ndarray) -> float:
    """Mean of Σ_k (p_k - y_k)² (Brier 1950, Monthly Weather Review 78, p. 1): 0 is perfect, 1 - 1/K a uniform guess."""
    return float(np.square(probs - target).sum(1).mean())


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose highest probability lies in one interval."""

    low: float
    high: float
    count: int
    confidence: float  # mean of the highest probability
    accuracy: float  # mean credit


def calibration(probs: np.ndarray, credit: np.ndarray) -> list[Bin]:
    """The rows by their highest probability, in equal intervals from 1/K to 1; those without rows are left out."""
    confidence, lowest = probs.max(1), 1 / probs.shape[1]
    edges = np.linspace(lowest, 1, BINS + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, BINS - 1)
    return [
        Bin(float(edges[b]), float(edges[b + 1]), int(inside.sum()), float(confidence[inside].mean()), float(credit[inside].mean()))
        for b in range(BINS)
        if (inside := which == b).any()
    ]  # fmt: skip


def calibration_error(bins: Sequence[Bin]) -> float:
    """ECE = Σ_b n_b/N · |accuracy_b - confidence_b|  (arXiv:1706.04599, eq. 3)."""
    total = sum(b.count for b in bins)
    return sum(b.count / total * abs(b.accuracy - b.confidence) for b in bins)


def length_correlations(scores: np.ndarray, lengths: np.ndarray, target: np.ndarray) -> dict[str, float | None]:
    """Pearson correlations with the lengths of candidates; None where one of the two is constant.

    `score`: over all candidates. `score_within_rows` and `label_within_rows`: of deviations from the row's mean, of the score and
    of the target; a score that follows length more than the label does is biased towards (or against) length.
    """

    def within(values: np.ndarray) -> np.ndarray:
        return values - values.mean(1, keepdims=True)

    return {
        "score": _correlation(scores, lengths),
        "score_within_rows": _correlation(within(scores), within(lengths)),
        "label_within_rows": _correlation(within(target), within(lengths)),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return None
    return float(np.corrcoef(a, b)[0, 1])
