import numpy as np

from tests.helpers import a_segment


def test_length_counts_decisions_not_states():
    segment = a_segment([1.0, 2.0, 3.0])
    assert (len(segment), len(segment.rows)) == (3, 4)


def test_a_piece_that_goes_on_has_not_ended():
    segment = a_segment([1.0], terminated=False)
    assert not segment.ended
    segment.episode_return = 0.0  # also an episode that paid nothing has ended
    assert segment.ended


def test_learning_rewards_are_scaled_after_the_penalties():
    segment = a_segment([1.0, 2.0])
    segment.penalties, segment.reward_scale = np.array([1.0, -1.0]), 0.5
    assert segment.learning_rewards.tolist() == [1.0, 0.5]
