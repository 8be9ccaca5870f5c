import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from hypothesis import given
from hypothesis import strategies as st

from gymformer.rl.spaces import ObservationEncoder, RunningMoments, flat_size, one_as_batch
from tests.helpers import OBSERVATION_SPACES


def scaled(space: gym.Space, sample):
    """The space and the sample with uint8 Boxes as floats in [0, 1], which gymnasium's `flatten` leaves as they are."""
    match space:
        case spaces.Box(dtype=dtype) if dtype == np.uint8:
            return spaces.Box(0, 1, space.shape), sample.astype(np.float32) / space.high
        case spaces.Dict():
            parts = {key: scaled(part, sample[key]) for key, part in space.items()}
            return spaces.Dict({k: part for k, (part, _) in parts.items()}), {k: value for k, (_, value) in parts.items()}
        case spaces.Tuple():
            parts = [scaled(part, value) for part, value in zip(space, sample)]
            return spaces.Tuple([part for part, _ in parts]), tuple(value for _, value in parts)
    return space, sample


@given(space=OBSERVATION_SPACES, seed=st.integers(0, 1000))
def test_encoding_a_batch_is_flattening_every_sample(space, seed):
    space.seed(seed)
    samples = [space.sample() for _ in range(3)]
    batch = concatenate(space, samples, create_empty_array(space, 3))  # as gymnasium's vector environments do it
    encoder = ObservationEncoder(space)
    encoded = encoder(batch)
    expected = np.stack([spaces.flatten(*scaled(space, sample)) for sample in samples]).astype(np.float32)
    assert encoded.dtype == np.float32
    assert encoder.shape == (space.shape if isinstance(space, spaces.Box) else expected.shape[1:])
    assert flat_size(space) == expected.shape[1]
    np.testing.assert_allclose(encoded.reshape(3, -1), expected, rtol=1e-6)
    for sample, row in zip(samples, encoded):
        np.testing.assert_array_equal(encoder(one_as_batch(space, sample)), row[None])


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (spaces.Discrete(3, start=-1), 1, [0, 0, 1]),
        (spaces.MultiDiscrete([2, 3], start=[5, 0]), [6, 1], [0, 1, 0, 1, 0]),
        (spaces.MultiBinary(3), [1, 0, 1], [1, 0, 1]),
        (spaces.Box(0, 255, (2,), np.uint8), [0, 255], [0, 1]),
        (spaces.Box(-1, 1, ()), 0.5, [0.5]),
        (spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (1, 2))]), (1, [[0.25, 0.5]]), [0, 1, 0.25, 0.5]),
    ],
    ids=str,
)
def test_encodings_by_hand(space, observation, expected):
    assert ObservationEncoder(space)(one_as_batch(space, observation)).tolist() == [expected]


SEQUENCE = spaces.Sequence(spaces.Discrete(2))
GRAPH = spaces.Graph(spaces.Box(0, 1, (2,)), None)


@pytest.mark.parametrize("space", [spaces.Text(5), SEQUENCE, GRAPH, spaces.Dict(words=spaces.Text(5))], ids=str)
def test_spaces_without_a_fixed_size_are_refused_with_a_remedy(space):
    with pytest.raises(TypeError, match=r"fixed number of values.*gymnasium\.wrappers\.TransformObservation"):
        ObservationEncoder(space)


def test_an_observation_of_another_shape_than_the_spaces_is_refused():
    with pytest.raises(ValueError, match=r"an observation of shape \(3,\) .*return what its observation_space says"):
        ObservationEncoder(spaces.Box(0, 1, (2,)))(np.zeros((1, 3)))


# --- statistics -------------------------------------------------------------------------------------------------------


def batches(seed: int = 0) -> list[np.ndarray]:
    """Of different sizes and at different places, one of them empty."""
    rng = np.random.default_rng(seed)
    return [rng.normal(100 * i, 1 + i, (size, 2, 3)) for i, size in enumerate([1, 7, 0, 30, 2])]


def test_running_moments_are_those_of_everything_seen():
    moments = RunningMoments((2, 3))
    for batch in batches():
        moments.update(batch)
    everything = np.concatenate(batches())
    np.testing.assert_allclose(moments.mean, everything.mean(0))
    np.testing.assert_allclose(moments.var, everything.var(0))
    assert moments.count == 40


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_moments_go_on_from_their_state(shape):
    first, second = RunningMoments(shape), RunningMoments(shape)
    data = [batch.reshape(-1) if shape == () else batch for batch in batches()]
    for batch in data[:2]:
        first.update(batch)
    second.load(first.state())
    for moments in (first, second):
        moments.update(data[3])
    assert all(np.array_equal(first.state()[k], second.state()[k]) for k in ("mean", "var", "count"))


def test_a_state_is_not_changed_by_later_updates():
    moments = RunningMoments(())
    moments.update(np.array([1.0, 2.0]))
    state = moments.state()
    moments.update(np.array([50.0]))
    assert state["mean"] == 1.5 and state["count"] == 2


def test_normalised_observations_have_mean_zero_spread_one_and_are_clipped():
    encoder = ObservationEncoder(spaces.Box(-np.inf, np.inf, (1,)), normalize=True, clip=5.0)
    assert encoder(np.array([[2.0], [4.0]]), learn=True).ravel().tolist() == pytest.approx([-1, 1], abs=1e-6)
    assert encoder(np.array([[3.0], [1000.0], [-1000.0]])).ravel().tolist() == pytest.approx([0, 5, -5], abs=1e-6)
    assert encoder.moments.count == 2  # nothing is learned unless asked


def test_a_constant_observation_is_normalised_without_nan():
    encoder = ObservationEncoder(spaces.Box(-1, 1, (1,)), normalize=True)
    assert encoder(np.full((3, 1), 0.5), learn=True).tolist() == [[0.0]] * 3


def test_without_normalisation_there_are_no_statistics():
    assert ObservationEncoder(spaces.Box(-1, 1, (1,))).moments is None
