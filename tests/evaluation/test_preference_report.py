"""The statistics of a reward model, worked by hand, and the pages that show them."""

import json
import math

import numpy as np
import pytest

from gymformer.evaluation.metrics import wilson_interval
from gymformer.evaluation.preference_metrics import (
    Bin,
    brier_score,
    calibration,
    calibration_error,
    credits_of,
    length_correlations,
    log_softmax,
    losses_of,
    reciprocal_ranks,
    targets_of,
)
from gymformer.evaluation.preference_report import Judged, preference_report


def test_wilsons_interval_by_hand():
    """p = 0.8, n = 10, z = 1.959964, z² = 3.841459: middle 0.8 + 3.841459/20 = 0.992073, half z √(0.016 + 0.009604) = 0.313615,
    divisor 1.384146: [0.490162, 0.943318] (also in Newcombe 1998). At p = 1 it does not shrink to a point."""
    assert wilson_interval(0.8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson_interval(1.0, 10) == pytest.approx((1 / 1.3841459, 1.0))
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 1 - 1 / 1.3841459))
    with pytest.raises(ValueError, match="has no interval"):
        wilson_interval(0.5, 0)


def test_a_target_is_shared_by_what_is_tied():
    assert targets_of([(2,), (0, 1), (0, 1, 2)], 3).tolist() == [[0, 0, 1], [0.5, 0.5, 0], [1 / 3] * 3]


def test_credit_is_half_where_labels_or_scores_are_tied():
    scores = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [2.0, 1.0]])
    assert credits_of(scores, targets_of([(0,), (0,), (0,), (0, 1)], 2)).tolist() == [1, 0, 0.5, 0.5]
    four = np.array([[3.0, 3.0, 3.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    assert credits_of(four, targets_of([(1,), (0, 3)], 4)) == pytest.approx([1 / 3, 1 / 2])


def test_reciprocal_ranks_share_the_rank_of_equal_scores():
    """The best is first, third, second of two equals at ranks 2 and 3 (mean 2.5), or tied for the label at ranks 1 and 4."""
    scores = np.array([[4.0, 3, 2, 1], [2.0, 4, 3, 1], [3.0, 3, 4, 1], [4.0, 3, 2, 1]])
    ranks = reciprocal_ranks(scores, targets_of([(0,), (0,), (1,), (0, 3)], 4))
    assert ranks == pytest.approx([1, 1 / 3, 1 / 2.5, (1 + 1 / 4) / 2])


def test_loss_and_brier_score_by_hand():
    """Probabilities 0.1, 0.2, 0.3, 0.4 and the third is the best: -log 0.3; 0.01 + 0.04 + 0.49 + 0.16 = 0.7."""
    scores, target = np.log([[1.0, 2.0, 3.0, 4.0]]), targets_of([(2,)], 4)
    assert losses_of(log_softmax(scores), target) == pytest.approx([-math.log(0.3)])
    assert brier_score(np.exp(log_softmax(scores)), target) == pytest.approx(0.7)
    assert np.isfinite(log_softmax(np.array([[1e4, 0.0]]))).all()


def test_calibration_bins_and_error_by_hand():
    """Confidences 0.52, 0.54 (bin 0.5-0.55) with credits 1, 0 and 0.97, 1.0 (bin 0.95-1) with credits 1, 1: the error is
    2/4·|0.5 - 0.53| + 2/4·|1 - 0.985| = 0.0225."""
    confidence = np.array([0.52, 0.54, 0.97, 1.0])
    bins = calibration(np.stack([confidence, 1 - confidence], 1), np.array([1.0, 0.0, 1.0, 1.0]))
    low, high = bins
    assert (low.count, high.count) == (2, 2) and (low.low, low.high) == pytest.approx((0.5, 0.55))
    assert (low.confidence, low.accuracy, high.confidence, high.accuracy) == pytest.approx((0.53, 0.5, 0.985, 1.0))
    assert calibration_error(bins) == pytest.approx(0.0225)
    assert calibration_error([Bin(0, 1, 7, 0.6, 0.6)]) == 0


def test_probabilities_that_are_true_are_found_calibrated():
    """20,000 pairs drawn from the model's own probabilities: the error's standard deviation is below 0.003 in each of ten bins,
    so it stays below 0.01; of scores three times too large it is above 0.1."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (20_000, 2))
    first = rng.random(20_000) < np.exp(log_softmax(scores))[:, 0]
    rows = [Judged("", "", ("a", "b"), (0 if won else 1,)) for won in first]
    lengths = rng.integers(1, 9, (20_000, 2))
    assert preference_report(scores, rows, lengths).calibration_error < 0.01
    assert preference_report(3 * scores, rows, lengths).calibration_error > 0.1
    assert preference_report(3 * scores, rows, lengths, spread=1 / 3).calibration_error < 0.01


def test_length_correlations_tell_a_bias_from_what_the_labels_ask_for():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 50, (2000, 2))
    target = targets_of([(0,)] * 2000, 2)
    found = length_correlations(2.0 * lengths, lengths, target)
    assert found["score"] == pytest.approx(1) and found["score_within_rows"] == pytest.approx(1)
    assert abs(found["label_within_rows"]) < 0.1  # three standard deviations are 0.07
    # A level that a prompt's rows share hides what happens within them.
    level = rng.normal(0, 1000, (2000, 1))
    hidden = length_correlations(level - lengths, lengths, target)
    assert abs(hidden["score"]) < 0.1 and hidden["score_within_rows"] == pytest.approx(-1)
    assert length_correlations(np.ones((5, 2)), lengths[:5], target[:5])["score"] is None


def a_report():
    rows = [
        Judged("row 1", "p", ("good", "bad"), (0,)),
        Judged("row 2", "q", ("ok", "so"), (0, 1)),
        Judged("row 3", "````\n# not a title", ("right", "![x](http://example.org)"), (0,)),
        Judged("row 4", "s", ("same", "same"), (1,)),
        Judged("row 5", "t", ("a", "b"), (0,)),
    ]
    scores = np.array([[1.0, -1.0], [0.5, 0.0], [-2.0, 2.0], [0.1, 0.1], [0.0, 0.5]])
    return preference_report(scores, rows, np.array([[4, 3], [2, 2], [5, 9], [4, 4], [1, 1]]))


def test_a_report_counts_and_names_the_worst_mistakes():
    report = a_report()
    assert (report.rows, report.candidates, report.ties, report.identical) == (5, 2, 1, 1)
    assert report.accuracy == (1 + 0.5 + 0 + 0.5 + 0) / 5
    assert [mistake.place for mistake in report.mistakes] == ["row 3", "row 5"]  # the more confident one first
    assert report.mistakes[0].probability == pytest.approx(1 / (1 + math.exp(-4)))
    assert report.mistakes[0].best == "right" and report.mistakes[0].preferred.startswith("![x]")
    assert report.longest_accuracy == (1 + 0.5 + 0 + 0.5 + 0.5) / 5


def test_a_report_is_saved_as_numbers_a_page_and_pictures(tmp_path):
    report = a_report()
    page = report.save(tmp_path, title="a title", preface="What it is.")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["accuracy"] == report.accuracy and stored["mistakes"][0]["place"] == "row 3"
    text = page.read_text()
    assert text.startswith("# a title: report\n\nWhat it is.\n")
    for name in ("reliability.png", "scores.png", "lengths.png"):
        assert f"({name})" in text
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    # What the data say stays inside blocks of code: the fence is longer than any in the text.
    assert "`````text\n````\n# not a title\n`````" in text
    assert f"{report.accuracy:.3f}" in str(report) and "None: every row" not in text


def test_a_report_without_mistakes_says_so():
    report = preference_report(np.array([[1.0, 0.0]]), [Judged("row 1", "p", ("a", "b"), (0,))], np.array([[1, 2]]))
    assert report.mistakes == [] and "None: every row is right" in report.markdown()


def test_scores_that_fit_no_rows_are_refused():
    with pytest.raises(ValueError, match="needs finite scores"):
        preference_report(np.array([[np.nan, 0.0]]), [Judged("", "", ("a", "b"), (0,))], np.array([[1, 2]]))
    with pytest.raises(ValueError, match="needs finite scores"):
        preference_report(np.zeros((0, 2)), [], np.zeros((0, 2)))
