"""The examples run, in small."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("way", ["learn", "play"])
def test_blackjack_is_learned_from_words(way, capsys):
    """A few hands, too short to learn: the policy is a policy, and no better than the best."""
    example = runpy.run_path(str(EXAMPLES / "blackjack.py"))
    greedy, sampled = example["report"](example[way](episodes=8, seed=0))
    assert -1 < greedy < -0.0431 and -0.6 < sampled < -0.0431
    assert "the best there is: -0.0431" in capsys.readouterr().out
