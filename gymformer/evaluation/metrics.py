"""Intervals: of a mean by bootstrap, of a share by Wilson's formula."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

__all__ = ["bootstrap_interval", "wilson_interval"]


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
