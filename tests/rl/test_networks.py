import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymformer.rl.batch import States
from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import make_envs
from gymformer.rl.networks import Recompute, RecomputeCritic, match_actions, match_critic
from tests.toy_envs import Anything

DISCRETE, BOX = spaces.Discrete(3), spaces.Box(-1, 1, (2,))


def test_a_module_is_wrapped_and_evaluates_as_its_forward(generator):
    actor, critic = match_actions(nn.Linear(4, 3), DISCRETE, (4,)), match_critic(nn.Linear(4, 1), (4,))
    assert isinstance(actor, Recompute) and isinstance(critic, RecomputeCritic)
    states = torch.randn(5, 4, generator=generator)
    assert actor.evaluate(States(states)).equal(actor.module(states))
    assert critic.evaluate(States(states)).equal(critic.module(states)[:, 0])


def test_an_actor_network_stays_itself():
    actor, critic = MLPActorNetwork(4, 8, 3), MLPCriticNetwork(4, 8)
    assert match_actions(actor, DISCRETE, (4,)) is actor
    assert match_critic(critic, (4,)) is critic


def test_matching_again_keeps_a_trained_spread():
    actor = match_actions(nn.Linear(4, 2), BOX, (4,))
    with torch.no_grad():
        actor.distribution.log_std.fill_(-1.5)
    assert match_actions(actor, BOX, (4,)).distribution.log_std.tolist() == [-1.5, -1.5]


def test_matching_another_space_of_the_same_size_takes_its_bounds():
    actor = match_actions(nn.Linear(4, 2), BOX, (4,))
    match_actions(actor, spaces.Box(-3, 3, (2,)), (4,))
    assert actor.distribution.to_env(np.ones((1, 2), np.float32)).tolist() == [[3, 3]]


def test_the_spread_is_trained_and_saved_with_the_actor():
    actor = match_actions(nn.Linear(4, 2), BOX, (4,))
    assert "distribution.log_std" in dict(actor.named_parameters())
    assert "distribution.log_std" in actor.state_dict()


@pytest.mark.parametrize(
    ("actor", "match"),
    [
        (nn.Linear(5, 3), r"the actor cannot read a batch of observations of shape \(4,\)"),
        (
            nn.Linear(4, 2),
            r"the actor has 2 outputs, but the action space Discrete\(3\) needs 3; give the actor 3 outputs",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))),
            r"into outputs of shape \(2, 3, 1\); expected \(2, number",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), nn.Flatten(0)),
            r"into outputs of shape \(6,\); expected \(2, number of outputs\)",
        ),
    ],
)
def test_an_actor_that_does_not_fit_is_refused(actor, match):
    with pytest.raises(ValueError, match=match):
        match_actions(actor, DISCRETE, (4,))


class ColumnCritic(MLPCriticNetwork):
    """Forgets to squeeze."""

    def forward(self, state):
        return super().forward(state)[:, None]


@pytest.mark.parametrize(
    ("critic", "match"),
    [
        (nn.Linear(5, 1), r"the critic cannot read a batch of observations of shape \(4,\)"),
        (nn.Linear(4, 3), r"values of shape \(2, 3\) for 2 observations; expected \(2,\)"),
        (ColumnCritic(4, 8), r"values of shape \(2, 1\) for 2 observations; expected \(2,\)"),
    ],
)
def test_a_critic_that_does_not_fit_is_refused(critic, match):
    with pytest.raises(ValueError, match=match):
        match_critic(critic, (4,))


def test_the_probe_leaves_a_batch_norm_and_the_training_mode_as_they_were():
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    match_actions(module, DISCRETE, (4,))
    assert module.training
    assert module[0].num_batches_tracked == 0


# --- multi-layer perceptrons ------------------------------------------------------------------------------------------


def linears(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.layers if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(("network", "gain"), [(MLPActorNetwork(4, 16, 3), 0.01), (MLPCriticNetwork(4, 16), 1.0)])
def test_weights_are_orthogonal_with_the_papers_gains_and_biases_zero(network, gain):
    for layer, expected in zip(linears(network), [math.sqrt(2), math.sqrt(2), gain], strict=True):
        assert torch.linalg.svdvals(layer.weight).tolist() == pytest.approx([expected] * min(layer.weight.shape), rel=1e-4)
        assert not layer.bias.any()


@pytest.mark.parametrize(("hidden", "widths"), [(16, [4, 16, 16, 3]), ([8], [4, 8, 3]), ((5, 6, 7), [4, 5, 6, 7, 3])])
def test_widths_follow_hidden_dim(hidden, widths):
    layers = linears(MLPActorNetwork(4, hidden, 3))
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == widths


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match='activation="swish" is not one of tanh, relu, silu, gelu'):
        MLPActorNetwork(4, 8, 2, activation="swish")


@pytest.mark.parametrize("make", [lambda kw: MLPActorNetwork(4, 16, 3, **kw), lambda kw: MLPCriticNetwork(4, [5, 6], **kw)])
def test_the_config_rebuilds_the_network(make):
    network = make({"activation": "relu"})
    twin = type(network)(**network.config)
    twin.load_state_dict(network.state_dict())
    assert twin(torch.ones(2, 4)).equal(network(torch.ones(2, 4)))


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize(
    ("observation_space", "action_space", "sizes"),
    [
        (spaces.Box(-1, 1, (3,)), spaces.Discrete(4), (3, 4)),
        (spaces.Box(0, 255, (2, 2), np.uint8), spaces.MultiDiscrete([2, 3]), (4, 5)),
        (spaces.Dict(a=spaces.Discrete(3), b=spaces.MultiBinary(2)), spaces.Box(-1, 1, (2,)), (5, 2)),
    ],
)
def test_for_spaces_fits_an_environment_a_vector_and_ours(observation_space, action_space, sizes, num_envs):
    make = lambda: Anything(observation_space, action_space)  # noqa: E731
    for env in (make(), gym.vector.SyncVectorEnv([make] * 2), make_envs(make, num_envs)):
        actor, critic = MLPActorNetwork.for_spaces(env, 8), MLPCriticNetwork.for_spaces(env, 8)
        assert (actor.config["input_dim"], actor.config["output_dim"]) == sizes
        assert critic.config["input_dim"] == sizes[0]
        assert match_actions(actor, action_space, make_envs(make).encoder.shape) is actor
