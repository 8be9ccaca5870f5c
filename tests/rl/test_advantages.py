import numpy as np
import pytest
import torch

from gymformer.rl.advantages import gae
from gymformer.rl.ppo import PPO
from tests.helpers import FunctionActor, a_segment, ppo_for
from tests.rl.test_ppo import FirstEntryCritic


def gae_by_definition(rewards, values, terminated, gamma, lam) -> np.ndarray:
    """A_t = Σ_l (γλ)^l δ_{t+l}, in O(T²)."""
    after = [*values[1:-1], 0.0 if terminated else values[-1]]
    deltas = [r + gamma * v_next - v for r, v_next, v in zip(rewards, after, values)]
    return np.array([sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(rewards))])


# γ = λ = 1/2, rewards 1 2 3, values 4 2 1 and 8 of the last state.
# Cut off:    δ = (1 + ½·2 - 4, 2 + ½·1 - 2, 3 + ½·8 - 1) = (-2, ½, 6); A₂ = 6, A₁ = ½ + ¼·6 = 2, A₀ = -2 + ¼·2 = -1.5
# Terminated: δ₂ = 3 + 0 - 1 = 2;                                        A₂ = 2, A₁ = ½ + ¼·2 = 1, A₀ = -2 + ¼·1 = -1.75
@pytest.mark.parametrize(("terminated", "expected"), [(False, [-1.5, 2.0, 6.0]), (True, [-1.75, 1.0, 2.0])])
def test_three_steps_worked_by_hand(terminated, expected):
    assert gae([1, 2, 3], [4, 2, 1, 8], terminated, gamma=0.5, lam=0.5).tolist() == expected


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("gamma", [0.9, 1.0])
@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("length", [1, 2, 37])
def test_equals_the_definition(length, lam, gamma, terminated):
    rng = np.random.default_rng(length)
    rewards, values = rng.normal(size=length), rng.normal(size=length + 1)
    expected = gae_by_definition(rewards, values, terminated, gamma, lam)
    np.testing.assert_allclose(gae(rewards, values, terminated, gamma, lam), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_lambda_one_is_the_monte_carlo_return_minus_the_value(gamma):
    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=20), rng.normal(size=21)
    returns = [sum(gamma**k * r for k, r in enumerate(rewards[t:])) for t in range(20)]
    np.testing.assert_allclose(gae(rewards, values, True, gamma, 1.0), returns - values[:-1], rtol=1e-5, atol=1e-5)


def test_lambda_zero_is_the_temporal_difference():
    assert gae([1, 2], [3, 4, 5], False, gamma=1.0, lam=0.0).tolist() == [1 + 4 - 3, 2 + 5 - 4]


def zero_ppo(**config) -> PPO:
    actor = FunctionActor(lambda state: torch.zeros(len(state), 2), discrete_two())
    return ppo_for(actor, FirstEntryCritic(), **config)


def discrete_two():
    from gymnasium.spaces import Discrete

    return Discrete(2)


def test_segments_do_not_leak_into_each_other():
    first, second, rich = a_segment([1, 2], False), a_segment([3, 4, 5]), a_segment([300, 400, 500])
    ppo = zero_ppo()
    poor_batch, rich_batch = ppo.prepare([first, second]), ppo.prepare([first, rich])
    assert poor_batch.advantages[:2].equal(rich_batch.advantages[:2])
    assert not poor_batch.advantages[2:].equal(rich_batch.advantages[2:])


@pytest.mark.parametrize("terminated", [False, True])
def test_prepare_gives_every_decision_the_advantage_of_its_own_segment(terminated):
    """V(s) is the first entry of s, so the three segments' values are known."""
    rows = [np.array([[v, 0] for v in values], np.float32) for values in ([4, 2, 1, 8], [7, 9], [1, 2, 3])]
    segments = [
        a_segment([1, 2, 3], terminated, rows[0]),
        a_segment([5], True, rows[1]),
        a_segment([1, 1], False, rows[2]),
    ]
    batch = zero_ppo(gamma=0.5, lam=0.5).prepare(segments)
    # The second: 5 - 7. The third: δ = (1 + 1 - 1, 1 + 1.5 - 2) = (1, ½), A₀ = 1 + ¼·½.
    expected = [*([-1.75, 1.0, 2.0] if terminated else [-1.5, 2.0, 6.0]), -2.0, 1.125, 0.5]
    assert batch.advantages.tolist() == expected
    assert batch.values.tolist() == [4, 2, 1, 7, 1, 2]
    assert batch.returns.tolist() == [a + v for a, v in zip(expected, [4, 2, 1, 7, 1, 2])]
    assert batch.states.inputs[:, 0].tolist() == [4, 2, 1, 7, 1, 2]


def test_penalties_and_the_reward_scale_are_learned_from_but_the_rewards_stay():
    segment = a_segment([1.0, 2.0])
    segment.penalties, segment.reward_scale = np.array([-0.5, 0.0]), 10.0
    assert zero_ppo(gamma=1.0, lam=1.0).prepare([segment]).returns.tolist() == [25.0, 20.0]
    assert segment.rewards.tolist() == [1.0, 2.0]
