"""Estimates and their intervals: of a mean by bootstrap, of a share by Wilson's formula; pass@k."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

__all__ = ["bootstrap_interval", "paired_interval", "pass_at_k", "wilson_interval"]


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, section 13.3). values: (N,), N at least 1."""
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise ValueError("no values were given; an interval of the mean needs at least one")
    rng = np.random.default_rng(seed)
    means = array[rng.integers(0, len(array), (resamples, len(array)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def wilson_interval(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` cases (JASA 22, 1927, p. 209):
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Half cases may count in `share`; the interval is then a little too wide."""
    if count < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share of {share} of {count} cases has no interval; it lies in [0, 1] and needs at least one case")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, (middle - half) / (1 + z * z / count)), min(1.0, (middle + half) / (1 + z * z / count))


def paired_interval(
    these: Sequence[float], those: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of these_i - those_i: pairs are drawn, never the two apart, so what both have in
    common cancels (Efron & Tibshirani 1993, section 13.3, on the differences). Both (N,), N at least 1."""
    if len(these) != len(those):
        raise ValueError(f"{len(these)} values and {len(those)} values do not make pairs; give one of each for every pair")
    differences = np.asarray(these, np.float64) - np.asarray(those, np.float64)
    return bootstrap_interval(differences.tolist(), confidence, resamples, seed)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that at least one of k samples is right, estimated without bias from n samples of which c are right:
    1 - C(n-c, k) / C(n, k)   (arXiv:2107.03374, eq. 1)."""
    if not (1 <= k <= samples and 0 <= right <= samples):
        raise ValueError(
            f"pass@{k} of {samples} samples of which {right} are right; needed is 1 <= k <= samples, 0 <= right <= samples"
        )
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)
