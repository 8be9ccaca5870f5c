import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gymformer.rl.policy import Categorical, DiagonalGaussian, MultiCategorical, check_masks, distribution_for
from tests.helpers import ACTION_SPACES

LOGITS = torch.tensor([0.3, -1.0, 2.0, 0.0, 1.1])
ONE, ONES = np.ones(1, np.float32), np.ones(2, np.float32)
LEGAL = torch.tensor([True, False, False, True, True])


def rows(vector: Tensor, count: int) -> Tensor:
    return vector.expand(count, -1)


@pytest.mark.parametrize("legal", [None, LEGAL], ids=["all legal", "masked"])
def test_sampled_frequencies_are_the_stored_probabilities(legal, generator):
    """1e5 draws; every frequency within 5 standard deviations. Unseeded, 5 · 5.7e-7 < 3e-6 of runs would fail."""
    count = 100_000
    actions, log_probs = Categorical(5).sample(rows(LOGITS, count), generator, None if legal is None else rows(legal, count))
    masked = LOGITS if legal is None else torch.where(legal, LOGITS, torch.tensor(-math.inf))
    expected = masked.double().exp() / masked.double().exp().sum()
    frequencies = torch.bincount(actions, minlength=5) / count
    assert ((frequencies - expected).abs() <= 5 * (expected * (1 - expected) / count).sqrt()).all()
    torch.testing.assert_close(log_probs.exp().double(), expected[actions], rtol=1e-5, atol=0)


@pytest.mark.parametrize("distribution", [Categorical(4), MultiCategorical([2, 2]), DiagonalGaussian(-ONE, ONE, 0.3)], ids=repr)
def test_the_update_computes_the_log_probs_that_sampling_stored(distribution, generator):
    outputs = torch.randn(100, distribution.num_outputs, generator=generator)
    actions, log_probs = distribution.sample(outputs, generator)
    torch.testing.assert_close(distribution.log_probs_and_entropy(outputs, actions)[0], log_probs)
    assert actions.shape == (100, *distribution.action_shape)
    assert actions.detach().numpy().dtype == distribution.action_dtype


@pytest.mark.parametrize(("distribution", "legal"), [
    (Categorical(4), [1, 0, 1, 0]),
    (MultiCategorical([2, 3]), [1, 0, 0, 1, 1]),
], ids=["categorical", "multi"])  # fmt: skip
def test_masks_are_the_same_in_sampling_and_in_the_update(distribution, legal, generator):
    outputs = torch.randn(500, distribution.num_outputs, generator=generator)
    legal = rows(torch.tensor(legal, dtype=torch.bool), 500)
    actions, log_probs = distribution.sample(outputs, generator, legal)
    torch.testing.assert_close(distribution.log_probs_and_entropy(outputs, actions, legal)[0], log_probs)
    assert not torch.allclose(distribution.log_probs_and_entropy(outputs, actions)[0], log_probs)


def test_an_illegal_action_has_probability_zero_even_with_the_largest_logit(generator):
    outputs, legal = rows(torch.tensor([1e4, 0.0, 0.0]), 1000), rows(torch.tensor([False, True, True]), 1000)
    distribution = Categorical(3)
    actions, log_probs = distribution.sample(outputs, generator, legal)
    assert set(actions.tolist()) == {1, 2}
    assert log_probs.tolist() == pytest.approx([-math.log(2)] * 1000)
    assert distribution.mode(outputs, legal)[0] in (1, 2)
    assert distribution.log_probs_and_entropy(outputs, torch.zeros(1000, dtype=torch.long), legal)[0][0] == -math.inf


@pytest.mark.parametrize("num_legal", [1, 2, 5])
def test_entropy_of_a_uniform_policy_is_the_log_of_the_number_of_legal_actions(num_legal):
    legal = torch.arange(5)[None] < num_legal
    assert Categorical(5).log_probs_and_entropy(torch.zeros(1, 5), torch.tensor([0]), legal)[1].item() == pytest.approx(
        math.log(num_legal), abs=1e-6
    )


def test_entropy_equals_torch(generator):
    outputs = torch.randn(10, 5, generator=generator)
    entropy = Categorical(5).log_probs_and_entropy(outputs, torch.zeros(10, dtype=torch.long))[1]
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=outputs).entropy())


@pytest.mark.parametrize("distribution", [Categorical(5), MultiCategorical([2, 3])], ids=["categorical", "multi"])
def test_gradients_are_finite_with_masks_and_zero_for_illegal_actions(distribution):
    outputs = torch.tensor([[0.3, -1.0, 2.0, 0.0, 50.0]], requires_grad=True)
    legal = torch.tensor([[True, False, True, False, True]])
    actions = torch.tensor([0] if isinstance(distribution, Categorical) else [[0, 0]])
    log_probs, entropy = distribution.log_probs_and_entropy(outputs, actions, legal)
    (log_probs + entropy).sum().backward()
    assert outputs.grad.isfinite().all()
    assert (outputs.grad[~legal] == 0).all() and outputs.grad[legal].abs().sum() > 0


def test_half_precision_logits_are_normalised_in_float32():
    logits = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    log_probs, _ = Categorical(1000).log_probs_and_entropy(logits, torch.tensor([3]))
    assert log_probs.dtype == torch.float32
    assert log_probs.item() == pytest.approx(torch.log_softmax(logits.double(), -1)[0, 3].item(), abs=1e-5)


def test_several_choices_are_the_sum_of_independent_ones(generator):
    outputs, actions = torch.randn(50, 9, generator=generator), torch.randint(0, 2, (50, 3), generator=generator)
    log_probs, entropy = MultiCategorical([2, 3, 4]).log_probs_and_entropy(outputs, actions)
    parts = [torch.distributions.Categorical(logits=part) for part in outputs.split([2, 3, 4], dim=1)]
    torch.testing.assert_close(log_probs, sum(part.log_prob(actions[:, k]) for k, part in enumerate(parts)))
    torch.testing.assert_close(entropy, sum(part.entropy() for part in parts))


def test_several_choices_are_drawn_independently(generator):
    """Uniform over 2 · 3 pairs, 6e4 draws: each within 5 standard deviations, flake rate unseeded 6 · 5.7e-7 < 4e-6."""
    count = 60_000
    actions, _ = MultiCategorical([2, 3]).sample(torch.zeros(count, 5), generator)
    frequencies = torch.bincount(actions[:, 0] * 3 + actions[:, 1], minlength=6) / count
    assert ((frequencies - 1 / 6).abs() < 5 * math.sqrt(1 / 6 * 5 / 6 / count)).all()


@pytest.mark.parametrize(
    "distribution", [Categorical(3), MultiCategorical([3, 3]), DiagonalGaussian(-np.ones(3), np.ones(3))], ids=repr
)
def test_the_mode_is_the_likeliest_action(distribution, generator):
    outputs = torch.randn(20, distribution.num_outputs, generator=generator)
    best = distribution.log_probs_and_entropy(outputs, distribution.mode(outputs))[0]
    for _ in range(10):
        assert (distribution.sample(outputs, generator)[1] <= best + 1e-6).all()


# --- Gaussian ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_dependent", [False, True])
def test_gaussian_equals_torch(state_dependent, generator):
    distribution = DiagonalGaussian(-ONES, ONES, log_std=-0.7, state_dependent_std=state_dependent)
    outputs = torch.randn(50, distribution.num_outputs, generator=generator)
    mean, std = outputs[:, :2], outputs[:, 2:].exp() if state_dependent else torch.full((50, 2), math.exp(-0.7))
    actions, stored = distribution.sample(outputs, generator)
    normal = torch.distributions.Normal(mean, std)
    log_probs, entropy = distribution.log_probs_and_entropy(outputs, actions)
    torch.testing.assert_close(log_probs, normal.log_prob(actions).sum(-1))
    torch.testing.assert_close(stored, log_probs)
    torch.testing.assert_close(entropy, normal.entropy().sum(-1))
    assert distribution.mode(outputs).equal(mean)


def test_gaussian_samples_have_the_stated_mean_and_spread(generator):
    """1e5 draws: mean within 5 σ/√n, spread within 5 σ/√(2n); flake rate unseeded 4 · 5.7e-7."""
    distribution, count = DiagonalGaussian(-ONES, ONES, state_dependent_std=True), 100_000
    actions, _ = distribution.sample(torch.tensor([[1.0, -2.0, 0.0, math.log(0.1)]]).expand(count, -1), generator)
    std = torch.tensor([1.0, 0.1])
    assert ((actions.mean(0) - torch.tensor([1.0, -2.0])).abs() < 5 * std / math.sqrt(count)).all()
    assert ((actions.std(0) - std).abs() < 5 * std / math.sqrt(2 * count)).all()


@pytest.mark.parametrize(
    ("low", "high", "pairs"),
    [
        (-2, 2, {0: 0, 0.5: 1, 1: 2, -3: -2}),
        (0, 1, {0: 0.5, 1: 1, -1: 0, -5: 0, 0.5: 0.75}),
        (-np.inf, np.inf, {7.5: 7.5, -100: -100}),
        (0, np.inf, {-1: 0, 5: 5}),
        (-np.inf, 3, {-8: -8, 4: 3}),
    ],
)
def test_actions_are_scaled_to_the_bounds_and_clipped(low, high, pairs):
    space = spaces.Box(low, high, (1,))
    actions = distribution_for(space).to_env(np.array([[a] for a in pairs], np.float32))
    assert actions.ravel().tolist() == list(pairs.values())
    assert all(action in space for action in actions)


def test_bounds_may_differ_between_components_and_actions_have_the_spaces_shape():
    space = spaces.Box(np.array([[0, -2], [-np.inf, 0]], np.float32), np.array([[1, 2], [np.inf, 4]], np.float32))
    actions = distribution_for(space).to_env(np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.float32))
    assert actions.tolist() == [[[1, 2], [1, 4]], [[0.5, 0], [0, 2]]]


def test_the_stored_action_is_the_unclipped_sample(generator):
    actions, _ = DiagonalGaussian(-ONE, ONE).sample(torch.full((100, 1), 5.0), generator)
    assert (actions > 1).all()


# --- spaces -----------------------------------------------------------------------------------------------------------


@given(space=ACTION_SPACES, seed=st.integers(0, 1000))
def test_every_sample_is_an_action_of_its_space(space, seed):
    distribution, generator = distribution_for(space), torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(20, distribution.num_outputs, generator=generator)
    sampled, log_probs = distribution.sample(outputs, generator)
    assert log_probs.shape == (20,) and log_probs.isfinite().all()
    actions = distribution.to_env(sampled.detach().numpy())
    assert len(actions) == 20
    for action in actions:
        assert action in space, f"{action!r} is not in {space}"


@pytest.mark.parametrize(
    ("space", "sampled", "expected"),
    [
        (spaces.Discrete(3, start=5), [0, 2], [5, 7]),
        (spaces.Discrete(3), [0, 2], [0, 2]),
        (spaces.MultiDiscrete([2, 3], start=[10, -1]), [[0, 0], [1, 2]], [[10, -1], [11, 1]]),
        (spaces.MultiDiscrete([[2, 2], [3, 3]]), [[0, 1, 2, 0]], [[[0, 1], [2, 0]]]),
        (spaces.MultiBinary(2), [[0, 1]], [[0, 1]]),
        (spaces.MultiBinary([2, 2]), [[0, 1, 1, 0]], [[[0, 1], [1, 0]]]),
    ],
    ids=str,
)
def test_discrete_actions_as_the_environment_takes_them(space, sampled, expected):
    actions = distribution_for(space).to_env(np.array(sampled))
    assert actions.tolist() == expected
    assert all(action in space for action in actions)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0.1, 0.3, (2,), np.float64),  # float32(0.3) lies above
        spaces.Box(-1, 1, (2,), np.float16),
        spaces.MultiDiscrete(np.array([2, 3], np.int32), dtype=np.int32),
    ],
    ids=lambda space: str(space.dtype),
)
def test_actions_have_the_spaces_type_and_precision(space):
    distribution = distribution_for(space)
    for sampled in (np.full((1, 2), 0), np.full((1, 2), 1)):
        assert distribution.to_env(sampled.astype(distribution.action_dtype))[0] in space


@pytest.mark.parametrize("num_outputs", [2, 4])
def test_twice_as_many_outputs_for_a_box_choose_a_state_dependent_spread(num_outputs):
    distribution = distribution_for(spaces.Box(-1, 1, (2,)), num_outputs)
    assert (distribution.log_std is None) == (num_outputs == 4)
    assert distribution.num_outputs == num_outputs


@pytest.mark.parametrize(
    ("space", "num_outputs", "needed"),
    [
        (spaces.Discrete(3), 4, 3),
        (spaces.MultiDiscrete([2, 3]), 6, 5),
        (spaces.MultiBinary(3), 3, 6),
        (spaces.Box(-1, 1, (2,)), 3, 2),
    ],
)
def test_a_wrong_number_of_outputs_is_refused(space, num_outputs, needed):
    with pytest.raises(
        ValueError, match=rf"the actor has {num_outputs} outputs, .* needs {needed}; give the actor {needed} outputs"
    ):
        distribution_for(space, num_outputs)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Dict(a=spaces.Discrete(2)),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Box(0, 5, (1,), np.int32),
    ],
    ids=str,
)
def test_other_action_spaces_are_refused(space):
    with pytest.raises(TypeError, match=r"no policy over the action space .*gymnasium\.wrappers\.TransformAction"):
        distribution_for(space)


def test_masks_are_checked():
    assert check_masks([[1, 0], [1, 1]], 2, 2).tolist() == [[True, False], [True, True]]
    with pytest.raises(ValueError, match="action mask of 3 entries came, but the policy has 2 logits"):
        check_masks([[1, 0, 1]], 1, 2)
    with pytest.raises(ValueError, match="the action mask of environment 1 allows no action"):
        check_masks([[1, 0], [0, 0]], 2, 2)
