"""PPO learns what can be worked out by hand."""

import numpy as np
import pytest
import torch

from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import make_envs
from gymformer.rl.ppo import PPO
from gymformer.rl.rollouts import collect
from tests.helpers import ppo_for
from tests.toy_envs import Bandit, OneState


def trained(env, updates: int, seed: int = 0, steps: int = 16, **config) -> PPO:
    envs, generator = make_envs(env, 4), torch.Generator().manual_seed(seed)
    actor, critic = (kind.for_spaces(envs, 16, generator=generator) for kind in (MLPActorNetwork, MLPCriticNetwork))
    ppo = ppo_for(actor, critic, seed, minibatch_size=-1, **config)
    for _ in range(updates):
        ppo.update(collect(envs, actor, steps=steps, generator=generator))
    return ppo


@pytest.mark.parametrize("steps", [16, 5], ids=["whole episodes", "pieces"])
def test_the_value_of_a_cut_off_state_is_that_of_the_infinite_horizon(steps):
    """r / (1 - γ) = 1 / 0.1, though no episode ever pays more than 8."""
    ppo = trained(OneState, 60, steps=steps, gamma=0.9, lr_critic=1e-2)
    assert ppo.critic(torch.ones(1, 1)).item() == pytest.approx(10, rel=0.05)


def test_the_value_of_a_state_that_terminates_is_that_of_what_is_left():
    """With k of 8 steps left the return is (1 - γᵏ) / (1 - γ); one state cannot tell them apart, so V is their mean."""
    ppo = trained(lambda: OneState(terminates=True), 60, gamma=0.9, lam=1.0, lr_critic=1e-2)
    expected = np.mean([(1 - 0.9**k) / 0.1 for k in range(1, 9)])  # 3.59
    assert ppo.critic(torch.ones(1, 1)).item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_of_four_arms_is_found(seed):
    ppo = trained(Bandit, 60, seed, lr_actor=1e-2)
    assert torch.softmax(ppo.actor(torch.ones(1, 1)), -1)[0, 2] > 0.95
