"""Gaps of outcomes between groups."""

import numpy as np
import pytest

from gymformer.rl.segment import Segment
from gymformer.safety import OutcomeGaps


def gaps(**shares: float) -> OutcomeGaps:
    found = OutcomeGaps("group")
    for group, share in shares.items():
        for n in range(200):
            found.observe(group, n < 200 * share)
    return found


def test_a_gap_is_max_minus_min_with_an_interval_and_a_p_value():
    """Two shares of 200: the standard error of their difference is √(0.8·0.2/200 + 0.5·0.5/200) = 0.045, so 0.3 ± 0.09."""
    found = gaps(a=0.8, b=0.5, c=0.6).report()
    assert found.gap == pytest.approx(0.3) and found.counts == {"a": 200, "b": 200, "c": 200}
    assert found.interval == pytest.approx((0.21, 0.39), abs=0.02)
    assert found.p_value == pytest.approx(1 / 1001)
    assert str(found).startswith("gap 0.300 (95% interval ")


def test_groups_that_fare_alike_have_a_gap_that_chance_explains():
    found = gaps(a=0.5, b=0.52).report()
    assert found.gap == pytest.approx(0.02) and found.p_value > 0.5


def test_episodes_are_grouped_by_what_their_last_info_says():
    def episode(group: str | None, success: float) -> Segment:
        blank, told = np.zeros(1), {} if group is None else {"group": group}
        return Segment([], blank, blank, blank, True, episode_return=2 * success, info=told | {"success": success})

    by_success, by_return = OutcomeGaps("group"), OutcomeGaps("group", "return", window=1)
    assert by_success([episode("a", 1.0), episode(None, 0.0)]) == {}
    stats = by_success([episode("b", 0.0), episode("b", 1.0)])
    assert stats["gap/group"] == 0.5 and stats["outcome/group/a"] == 1.0 and stats["outcome/group/b"] == 0.5
    assert set(stats) == {
        "gap/group",
        "gap/group/low",
        "gap/group/high",
        "gap/group/p_value",
        "outcome/group/a",
        "outcome/group/b",
    }
    assert by_return([episode("a", 0.5), episode("b", 0.0), episode("b", 1.0)])["outcome/group/b"] == 2.0
    again = OutcomeGaps("group")
    again.load_state_dict(by_success.state_dict())
    assert again.report() == by_success.report()
    with pytest.raises(ValueError, match="outcome='tips' is not in the last info"):
        OutcomeGaps("group", "tips")([episode("a", 1.0)])
    with pytest.raises(ValueError, match="a gap is between groups"):
        OutcomeGaps("group").report()
