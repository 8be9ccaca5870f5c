"""Difficulty follows success, and a guesser does not raise it."""

import numpy as np
import pytest

from gymformer.curriculum import Pace, success_of


def told(pace: Pace, successes) -> float:
    for success in successes:
        pace.observe(success)
    return pace.difficulty


def test_after_ten_episodes_the_pace_goes_up_stays_or_goes_down():
    pace = Pace()
    assert told(pace, [1.0] * 9) == 0.0 and told(pace, [1.0]) == 0.1
    assert told(pace, [1.0] * 8 + [0.0] * 2) == 0.2
    assert told(pace, [0.0, 0.0, 0.5] + [1.0] * 7) == 0.2  # 7.5 of 10
    assert told(pace, [1.0] * 5 + [0.0] * 5) == 0.2
    assert told(pace, [1.0] * 4 + [0.5] + [0.0] * 5) == 0.1  # 4.5 of 10


def test_the_pace_stays_within_its_bounds():
    assert told(Pace(1.0), [1.0] * 10) == 1.0
    assert told(Pace(), [0.0] * 10) == 0.0


@pytest.mark.parametrize(("chance", "most"), [(1 / 3, 0.001), (1 / 2, 0.03)])
def test_a_guesser_stays_with_the_easiest(chance, most):
    """A walk on the levels: up with the binomial probability u of 8 or more of 10 (0.0034 and 0.055), down with that of fewer than
    5 (0.787 and 0.377). In the long run the mean level is r / (1 - r) with r = u / d: 0.0044 and 0.17 levels of 0.1. Over 4,000
    episodes the means of these seeds lie below twice that."""
    pace, rng, seen = Pace(), np.random.default_rng(0), []
    for _ in range(4000):
        pace.observe(float(rng.random() < chance))
        seen.append(pace.difficulty)
    assert np.mean(seen) <= most


def test_success_is_read_from_the_last_info():
    assert success_of({"success": 0.25, "is_success": True}) == 0.25
    assert success_of({"is_success": np.True_}) == 1.0
    assert success_of({"reward": 1.0}) is None
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="a number from 0"):
            success_of({"success": wrong})
        with pytest.raises(ValueError, match="from 0"):
            Pace().observe(wrong)
