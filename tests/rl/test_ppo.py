import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymformer.rl.batch import States
from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import make_envs
from gymformer.rl.errors import NonFiniteError, RatioError
from gymformer.rl.networks import ActorNetwork, CriticNetwork, match_actions, match_critic
from gymformer.rl.ppo import (
    PPO,
    PPOConfig,
    check_ratio_is_one,
    clipped_objective,
    clipped_value_loss,
    explained_variance,
    normalized,
)
from gymformer.rl.rollouts import collect
from tests.helpers import FunctionActor, a_segment, parameters_of, ppo_for, uniform_actor
from tests.toy_envs import Anything, Broken, Wanderer


class FirstEntryCritic(CriticNetwork):
    """V(s) is the first entry of s, times a weight of 1 that can be trained."""

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, state: Tensor) -> Tensor:
        return self.weight * state[:, 0]

    def evaluate(self, states: States) -> Tensor:
        return self.forward(states.inputs)


def learner(env=Wanderer, num_envs: int = 2, seed: int = 0, steps: int = 40, **config):
    """Environments, a small PPO and its first rollout."""
    envs, weights = make_envs(env, num_envs), torch.Generator().manual_seed(seed)
    actor, critic = (kind.for_spaces(envs, 8, generator=weights) for kind in (MLPActorNetwork, MLPCriticNetwork))
    ppo = ppo_for(actor, critic, seed, **{"update_epochs": 2, "minibatch_size": 16} | config)
    return envs, ppo, collect(envs, actor, steps=steps, generator=torch.Generator().manual_seed(seed + 1))


# --- the formulas -----------------------------------------------------------------------------------------------------


# ε = 0.2, A = ±2. L = min(ρA, clip(ρ, 0.8, 1.2)·A); where ρA is the smaller, dL/d(log ρ) = ρA, else 0.
@pytest.mark.parametrize(
    ("advantage", "ratio", "value", "gradient"),
    [
        (2.0, 0.5, 1.0, 1.0),  # min(1, 1.6): below the range, but the action was good: come back
        (2.0, 1.0, 2.0, 2.0),
        (2.0, 1.5, 2.4, 0.0),  # min(3, 2.4): far enough
        (-2.0, 0.5, -1.6, 0.0),  # min(-1, -1.6): far enough
        (-2.0, 1.0, -2.0, -2.0),
        (-2.0, 1.5, -3.0, -3.0),  # min(-3, -2.4): above the range, but the action was bad: come back
    ],
)
def test_clipped_objective_by_hand(advantage, ratio, value, gradient):
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    objective = clipped_objective(log_ratio, torch.tensor([advantage]), 0.2)
    objective.sum().backward()
    assert objective.item() == pytest.approx(value, rel=1e-6)
    assert log_ratio.grad.item() == pytest.approx(gradient, rel=1e-6, abs=0)


# V_old = 1, c = 0.5.
@pytest.mark.parametrize(
    ("value", "target", "clip", "loss", "gradient"),
    [
        (3.0, 2.0, None, 1.0, 2.0),
        (3.0, 2.0, 0.5, 1.0, 2.0),  # max((3-2)², (1.5-2)²)
        (2.0, 2.25, 0.5, 0.5625, 0.0),  # max((2-2.25)², (1.5-2.25)²): the value has moved far enough
        (1.25, 2.0, 0.5, 0.5625, -1.5),  # within the range both are the same
        (0.0, -1.0, 0.5, 2.25, 0.0),  # max((0+1)², (0.5+1)²)
    ],
)
def test_clipped_value_loss_by_hand(value, target, clip, loss, gradient):
    values = torch.tensor([value], requires_grad=True)
    result = clipped_value_loss(values, torch.tensor([1.0]), torch.tensor([target]), clip)
    result.sum().backward()
    assert (result.item(), values.grad.item()) == (loss, gradient)


def test_normalized_has_mean_zero_and_standard_deviation_one():
    assert normalized(torch.tensor([1.0, 3.0])).tolist() == pytest.approx([-1.0, 1.0], rel=1e-6)
    result = normalized(torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 7 + 3)
    assert result.mean().item() == pytest.approx(0, abs=1e-6)
    assert result.std(correction=0).item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7, 1000.1, 12345.678])
@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_normalized_constants_are_exactly_zero(constant, count):
    assert normalized(torch.full((count,), constant)).tolist() == [0.0] * count


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 2.0, 3.0], 1.0), ([2.0, 2.0, 2.0], 0.0), ([3.0, 2.0, 1.0], -3.0), ([11.0, 12.0, 13.0], 1.0)],
)
def test_explained_variance(values, expected):
    """Var(R) = 2/3; for V = (3, 2, 1), R - V = (-2, 0, 2) of variance 8/3: 1 - 4."""
    assert explained_variance(torch.tensor(values), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(expected, abs=1e-6)


def test_explained_variance_of_constant_returns_is_zero():
    assert explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([5.0, 5.0])) == 0.0


# --- the config -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("lr_actor", 0, "lr_actor=0; it must be greater than 0$"),
        ("lr_critic", -1e-3, "lr_critic=-0.001; it must be greater than 0$"),
        ("lr_actor", math.nan, "lr_actor=nan; it must be greater than 0$"),
        ("eps_clip", 0, "eps_clip=0; it must be greater than 0$"),
        ("update_epochs", 0, "update_epochs=0; it must be greater than 0$"),
        ("value_clip", 0, "value_clip=0; .* or None to leave it out"),
        ("max_grad_norm", -1, "max_grad_norm=-1; .* or None to leave it out"),
        ("max_grad_norm", math.nan, "max_grad_norm=nan; .* or None to leave it out"),
        ("target_kl", 0, "target_kl=0; .* or None to leave it out"),
        ("gamma", 1.1, r"gamma=1.1; it must lie in \[0, 1\]"),
        ("gamma", -0.1, r"gamma=-0.1; it must lie in \[0, 1\]"),
        ("lam", math.nan, r"lam=nan; it must lie in \[0, 1\]"),
        ("minibatch_size", 1, "minibatch_size=1; it must be at least 2, or -1"),
        ("minibatch_size", -2, "minibatch_size=-2; it must be at least 2, or -1"),
        ("value_coef", -0.5, "value_coef=-0.5; it must not be negative"),
        ("entropy_coef", math.nan, "entropy_coef=nan; it must not be negative"),
        ("lr_schedule", "cosine", 'lr_schedule="cosine"; it must be "constant" or "linear"'),
        ("clip_schedule", "", 'clip_schedule=""; it must be "constant" or "linear"'),
    ],
)
def test_config_refuses(field, value, match):
    with pytest.raises(ValueError, match=match):
        PPOConfig(**{field: value})


def test_config_is_frozen_and_a_typo_raises():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PPOConfig().gamma = 0.5
    with pytest.raises(TypeError, match="lr_acter"):
        PPOConfig(lr_acter=1e-3)


def test_for_control_fills_what_was_left_open_and_nothing_else():
    filled = PPOConfig(gamma=0.5, update_epochs=3).for_control()
    assert (filled.gamma, filled.update_epochs, filled.lr_actor, filled.minibatch_size) == (0.5, 3, 3e-4, 64)
    assert None not in (filled.lr_critic, filled.lr_actor)
    assert filled.for_control() == filled


# --- what an update changes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,))])
def test_every_trainable_parameter_changes(action_space):
    _, ppo, segments = learner(lambda: Anything(spaces.Box(-1, 1, (3,)), action_space), lr_actor=1e-2, entropy_coef=0.01)
    before = parameters_of(ppo)
    ppo.update(segments)
    assert any("log_std" in name for name in before) == isinstance(action_space, spaces.Box)
    assert [name for name, value in parameters_of(ppo).items() if value.equal(before[name])] == []


def test_frozen_parameters_stay():
    _, ppo, segments = learner()
    ppo.actor.layers[0].requires_grad_(False)
    ppo.critic.layers[2].bias.requires_grad_(False)
    frozen = {"actor.layers.0.weight", "actor.layers.0.bias", "critic.layers.2.bias"}
    ppo = ppo_for(ppo.actor, ppo.critic, update_epochs=1)
    before = parameters_of(ppo)
    ppo.update(segments)
    assert {name for name, value in parameters_of(ppo).items() if value.equal(before[name])} == frozen


class OnTrunk(nn.Module):
    def __init__(self, trunk: nn.Module, outputs: int):
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(8, outputs)

    def forward(self, state: Tensor) -> Tensor:
        return self.head(self.trunk(state).tanh())


def test_a_shared_trunk_has_one_optimiser_that_holds_every_parameter_once():
    envs = make_envs(Wanderer)
    trunk = nn.Linear(5, 8)
    actor = match_actions(OnTrunk(trunk, 3), envs.action_space, envs.encoder.shape)
    critic = match_critic(OnTrunk(trunk, 1), envs.encoder.shape)
    ppo = ppo_for(actor, critic, update_epochs=1)
    expected = {id(p) for p in (*actor.parameters(), *critic.parameters())}
    assert len(ppo.optimizers) == 1
    assert sorted(map(id, ppo.optimizers[0].parameters)) == sorted(expected)
    before = parameters_of(ppo)
    stats = ppo.update(collect(envs, actor, steps=40))
    assert not any(value.equal(before[name]) for name, value in parameters_of(ppo).items())
    assert stats["grad_norm_actor"] == stats["grad_norm_critic"] > 0


def test_separate_networks_have_an_optimiser_each_with_its_own_learning_rate():
    _, ppo, _ = learner(lr_actor=1e-4, lr_critic=1e-2)
    assert [optimizer.lr for optimizer in ppo.optimizers] == [1e-4, 1e-2]
    assert [len(optimizer.parameters) for optimizer in ppo.optimizers] == [6, 6]


def test_an_actor_without_a_distribution_is_refused():
    with pytest.raises(ValueError, match=r"no action distribution yet; call match_actions"):
        PPO(MLPActorNetwork(2, 8, 2), MLPCriticNetwork(2, 8))


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_one_step_follows_the_gradient_of_the_whole_loss():
    """-L_clip + c_v · value loss - c_e · entropy, by autograd on the formula, against what the optimisers are given."""
    _, ppo, segments = learner(entropy_coef=0.1, value_coef=0.25, max_grad_norm=None, value_clip=0.1)
    batch, given = ppo.prepare(segments), []
    for optimizer in ppo.optimizers:
        optimizer.step = lambda one=optimizer: given.append(one.gradient.clone())
    ppo.step(batch, is_first=True)

    log_probs = torch.log_softmax(ppo.actor(batch.states.inputs), -1)
    ratio = (log_probs.gather(1, batch.actions[:, None])[:, 0] - batch.log_probs).exp()
    a = (batch.advantages - batch.advantages.mean()) / batch.advantages.std(correction=0)
    values = ppo.critic(batch.states.inputs)
    near = batch.values + (values - batch.values).clamp(-0.1, 0.1)
    value_loss = torch.maximum((values - batch.returns) ** 2, (near - batch.returns) ** 2).mean()
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    loss = -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a).mean() + 0.25 * value_loss - 0.1 * entropy
    for network, gradient in zip((ppo.actor, ppo.critic), given, strict=True):
        parts = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
        expected = torch.cat([part.reshape(-1) for part in parts])
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_equal_advantages_give_no_policy_gradient():
    """Constant rewards of 0.1 and a critic of 0: nothing to prefer, and no NaN."""
    segments = [a_segment([0.1]) for _ in range(37)]
    for i, segment in enumerate(segments):
        segment.actions[0] = i % 3 == 0
    ppo = ppo_for(uniform_actor(spaces.Discrete(2)), FirstEntryCritic(0.0), lr_actor=1.0, lr_critic=1e-9)
    stats = ppo.update(segments)
    assert stats["grad_norm_actor"] == 0.0
    assert ppo.actor.bias.tolist() == [0.0, 0.0]
    assert all(math.isfinite(value) for value in stats.values())


def test_a_good_action_becomes_likelier_and_a_bad_one_less_likely():
    ppo = ppo_for(uniform_actor(spaces.Discrete(2)), FirstEntryCritic(), lr_actor=1e-2, update_epochs=1)
    ppo.update([a_segment([1.0, -1.0])])  # action 0 paid, action 1 cost
    assert ppo.actor.bias[0] > 0 > ppo.actor.bias[1]


def test_the_entropy_bonus_makes_the_policy_more_uniform():
    segment = a_segment([0.0, 0.0])
    actor = uniform_actor(spaces.Discrete(2))
    with torch.no_grad():
        actor.bias[0] = 1.0
    segment.log_probs = torch.log_softmax(actor.bias, 0).detach().numpy()[segment.actions]
    ppo = ppo_for(actor, FirstEntryCritic(), lr_actor=1e-2, entropy_coef=1.0, update_epochs=1)
    ppo.update([segment])
    assert abs(actor.bias[0] - actor.bias[1]) < 1.0


def test_gradients_are_clipped_for_each_network_and_their_norms_reported_before():
    _, ppo, segments = learner(max_grad_norm=1e-3)
    given = []
    for optimizer in ppo.optimizers:
        optimizer.step = lambda one=optimizer: given.append(one.gradient.norm().item())
    stats = ppo.step(ppo.prepare(segments))
    assert given == pytest.approx([1e-3, 1e-3], rel=1e-4)
    assert min(stats["grad_norm_actor"], stats["grad_norm_critic"]) > 1e-3


def test_a_single_decision_is_learned_from_without_nan():
    ppo = ppo_for(uniform_actor(spaces.Discrete(2)), FirstEntryCritic())
    assert all(math.isfinite(value) for value in ppo.update([a_segment([1.0])]).values())


# --- epochs and schedules ---------------------------------------------------------------------------------------------


def test_every_epoch_takes_every_minibatch():
    _, ppo, segments = learner(steps=50, update_epochs=3, minibatch_size=16)
    decisions = sum(map(len, segments))
    assert ppo.update(segments)["gradient_steps"] == 3 * math.ceil(decisions / 16)


def test_target_kl_stops_the_epochs_once_the_policy_has_moved():
    _, ppo, segments = learner(lr_actor=0.1, update_epochs=10, minibatch_size=-1, target_kl=0.02)
    stats = ppo.update(segments)
    assert stats["gradient_steps"] == 2  # the first step is on the policy itself, the second sees that it has moved
    _, patient, segments = learner(lr_actor=0.1, update_epochs=10, minibatch_size=-1, target_kl=None)
    assert patient.update(segments)["gradient_steps"] == 10


def test_approx_kl_is_the_k3_estimate_over_decisions():
    """ρ - 1 - log ρ with log ρ = log ½ - log ¼ = log 2 for every decision: 1 - log 2."""
    ppo = ppo_for(uniform_actor(spaces.Discrete(2)), FirstEntryCritic(), update_epochs=1)
    segment = a_segment([0.0, 0.0])
    segment.log_probs[:] = -math.log(4)
    stats = ppo.step(ppo.prepare([segment]))
    assert stats["approx_kl"] == pytest.approx(1 - math.log(2), rel=1e-5)
    assert stats["clip_fraction"] == 1.0


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (1.0, 0.0)])
def test_schedules_follow_progress(progress, factor):
    schedules = {"lr_schedule": "linear", "clip_schedule": "linear", "entropy_schedule": "linear"}
    _, ppo, segments = learner(lr_actor=1e-3, lr_critic=2e-3, eps_clip=0.4, entropy_coef=0.1, **schedules)
    ppo.progress = progress
    assert ppo.update(segments)["lr_actor"] == pytest.approx(1e-3 * factor)
    assert [optimizer.lr for optimizer in ppo.optimizers] == pytest.approx([1e-3 * factor, 2e-3 * factor])
    assert ppo.eps_clip == pytest.approx(0.4 * factor)
    assert ppo.entropy_coef == pytest.approx(0.1 * factor)


def test_constant_schedules_ignore_progress():
    _, ppo, segments = learner(lr_actor=1e-3, eps_clip=0.4)
    ppo.progress = 0.9
    assert (ppo.update(segments)["lr_actor"], ppo.eps_clip) == (1e-3, 0.4)


def test_state_dict_makes_the_next_update_identical():
    envs, ppo, segments = learner()
    ppo.update(segments)
    more = collect(envs, ppo.actor, steps=30, generator=torch.Generator().manual_seed(5))
    _, other, _ = learner(seed=77)
    for name, network in ppo.networks().items():
        other.networks()[name].load_state_dict(network.state_dict())
    other.load_state_dict(ppo.state_dict())
    assert ppo.update(more) == other.update(more)
    assert all(value.equal(parameters_of(other)[name]) for name, value in parameters_of(ppo).items())


def test_without_its_state_dict_the_next_update_differs():
    """The counterpart of the test above: it would notice a state that is not restored."""
    envs, ppo, segments = learner()
    ppo.update(segments)
    more = collect(envs, ppo.actor, steps=30, generator=torch.Generator().manual_seed(5))
    _, other, _ = learner(seed=77)
    for name, network in ppo.networks().items():
        other.networks()[name].load_state_dict(network.state_dict())
    assert ppo.update(more) != other.update(more)


# --- the ratio is one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(4, start=2),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(-2, 2, (2,)),
        spaces.Box(0, np.inf, (1,)),
    ],
    ids=str,
)
def test_the_ratio_is_one_before_the_first_step(action_space, num_envs):
    _, ppo, segments = learner(lambda: Anything(spaces.Box(-1, 1, (3,)), action_space), num_envs, steps=100)
    batch = ppo.prepare(segments)
    log_probs, _ = ppo.actor.distribution.log_probs_and_entropy(ppo.actor.evaluate(batch.states), batch.actions, batch.legal)
    assert (log_probs - batch.log_probs).abs().max() < 1e-4


def test_a_changed_actor_is_noticed():
    _, ppo, segments = learner()
    with torch.no_grad():
        ppo.actor.layers[-1].bias[0] += 0.5
    with pytest.raises(RatioError, match=r"must be what the rollout stored.*the actor changed in between"):
        ppo.update(segments)


def test_active_dropout_is_noticed():
    envs = make_envs(Wanderer)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))
    actor = match_actions(module, envs.action_space, envs.encoder.shape)
    assert module.training
    ppo = ppo_for(actor, MLPCriticNetwork.for_spaces(envs))
    with pytest.raises(RatioError, match="dropout or batch normalisation"):
        ppo.update(collect(envs, actor, steps=50))


def test_wrong_masks_are_noticed():
    _, ppo, segments = learner()
    for segment in segments:
        segment.legal = np.eye(3, dtype=bool)[segment.actions]  # as if every action had been forced
    with pytest.raises(RatioError, match="another mask"):
        ppo.update(segments)


def test_check_ratio_says_that_nan_is_no_matter_of_ratios():
    with pytest.raises(NonFiniteError, match="NaN in the update"):
        check_ratio_is_one(torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize("bad", [math.inf, -math.inf, 1e-2])
def test_check_ratio_refuses(bad):
    check_ratio_is_one(torch.tensor([0.0, 1e-4]))
    with pytest.raises(RatioError, match=r"tolerance 0\.001"):
        check_ratio_is_one(torch.tensor([0.0, bad]))


# --- what is not finite -----------------------------------------------------------------------------------------------


def assert_refuses_and_leaves_the_networks(ppo: PPO, segments, what: str, match: str) -> NonFiniteError:
    before = parameters_of(ppo)
    with pytest.raises(NonFiniteError, match=match) as caught:
        ppo.update(segments)
    assert caught.value.what == what
    assert all(value.equal(before[name]) for name, value in parameters_of(ppo).items())
    return caught.value


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_an_overflowing_loss_stops_before_the_networks_change():
    _, ppo, segments = learner()
    for segment in segments:
        segment.rewards = segment.rewards * 1e38
    error = assert_refuses_and_leaves_the_networks(ppo, segments, "loss", "the loss is not finite.*lower learning rates")
    assert error.evidence["returns"].shape == error.evidence["actions"].shape


def test_a_nan_gradient_of_a_finite_loss_stops_before_the_networks_change():
    """The square root's slope at 0 is infinite, and 0 · ∞ is NaN."""

    class Rooted(FirstEntryCritic):
        def forward(self, state):
            return (self.weight * 0.0).sqrt() + 0.0 * state[:, 0]

    ppo = ppo_for(uniform_actor(spaces.Discrete(2)), Rooted())
    assert_refuses_and_leaves_the_networks(ppo, [a_segment([1.0, 2.0])], "gradient", "the gradient is not finite")


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("what", ["reward", "observation"])
def test_what_an_environment_gives_must_be_finite(what, value, truncated, continuous, num_envs):
    """In the middle of an episode and as its last, where the column of the rollout goes on with the next episode."""
    fine, broken = (
        lambda: Broken("nothing", 0.0, continuous=continuous),
        lambda: Broken(what, value, 3, continuous, truncated),
    )
    made = iter([fine] * (num_envs - 1) + [broken])
    envs = make_envs(lambda: next(made)(), num_envs)
    actor = MLPActorNetwork.for_spaces(envs, 8, generator=torch.Generator().manual_seed(0))
    step = 2 if what == "reward" else 3  # rewards are counted by decisions, observations by states: both from 0
    match = f"gave the {what} .*{value}.* at step {step} of this rollout in environment {num_envs - 1};.*Mend"
    with pytest.raises(NonFiniteError, match=match) as caught:
        collect(envs, actor, steps=8)
    assert caught.value.what == what
    assert not np.isfinite(caught.value.evidence[f"{what}s"][-1]).all()


def test_an_actor_that_is_not_finite_is_named_as_the_cause():
    envs = make_envs(lambda: Broken("nothing", 0.0, continuous=True))
    actor = FunctionActor(lambda state: torch.full((len(state), 1), math.nan), envs.action_space)
    with pytest.raises(FloatingPointError, match="the actor's outputs are not finite"):
        collect(envs, actor, steps=8)


# --- any module -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("critic_shape", ["(B, 1)", "(B,)"])
def test_any_module_with_a_forward_learns(critic_shape):
    envs = make_envs(Wanderer, 2)
    actor = match_actions(nn.Linear(5, 3), envs.action_space, envs.encoder.shape)
    layers = [nn.Linear(5, 1)] if critic_shape == "(B, 1)" else [nn.Linear(5, 1), nn.Flatten(0)]
    critic = match_critic(nn.Sequential(*layers), envs.encoder.shape)
    assert isinstance(actor, ActorNetwork) and isinstance(critic, CriticNetwork)
    ppo = ppo_for(actor, critic)
    before = parameters_of(ppo)
    ppo.update(collect(envs, actor, steps=30))
    assert not any(value.equal(before[name]) for name, value in parameters_of(ppo).items())


def test_images_go_through_a_convolution():
    envs = make_envs(lambda: Anything(spaces.Box(0, 255, (3, 8, 8), np.uint8), spaces.Discrete(2)), 2)
    assert isinstance(envs.observation_space, gym.spaces.Box)
    body = lambda outputs: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))  # noqa: E731
    actor = match_actions(body(2), envs.action_space, envs.encoder.shape)
    ppo = ppo_for(actor, match_critic(body(1), envs.encoder.shape), update_epochs=1)
    segments = collect(envs, actor, steps=10)
    assert segments[0].rows.shape[1:] == (3, 8, 8) and 0.5 < segments[0].rows.max() <= 1.0
    ppo.update(segments)
