"""Action masks, from the environment through sampling into the update."""

from itertools import chain

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import Envs, make_envs
from gymformer.rl.rollouts import collect
from gymformer.rl.segment import Segment
from tests.helpers import ppo_for, uniform_actor
from tests.toy_envs import Masked, MaskedBox, MaskedPair

RUNS = [(1, "auto", AutoresetMode.DISABLED)] + [(3, "sync", mode) for mode in AutoresetMode]
EVERY_RUN = pytest.mark.parametrize(("num_envs", "vectorization", "mode"), RUNS, ids=["one", *(m.name for m in AutoresetMode)])


TAXI = "Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3"


def rolled_out(env, num_envs, vectorization, mode, rollouts: int = 4) -> tuple[Envs, MLPActorNetwork, list[list[Segment]]]:
    envs = make_envs(env, num_envs, vectorization=vectorization, autoreset_mode=mode)
    actor, generator = (
        MLPActorNetwork.for_spaces(envs, 8, generator=torch.Generator().manual_seed(0)),
        torch.Generator(),
    )
    return envs, actor, [collect(envs, actor, steps=17, generator=generator) for _ in range(rollouts)]


def legal_at(t: int, told: bool = True) -> list[bool]:
    return [not told or a in (t % 4, (t + 1) % 4) for a in range(4)]


def assert_the_update_uses_the_masks(actor, envs, segments: list[Segment]) -> None:
    """The ratio is one, and would not be without them."""
    ppo = ppo_for(actor, MLPCriticNetwork.for_spaces(envs, 8), update_epochs=2)
    batch = ppo.prepare(segments)
    evaluate = ppo.actor.distribution.log_probs_and_entropy
    outputs = ppo.actor.evaluate(batch.states)
    assert (evaluate(outputs, batch.actions, batch.legal)[0] - batch.log_probs).abs().max() < 1e-4
    assert batch.legal.all() or (evaluate(outputs, batch.actions)[0] - batch.log_probs).abs().max() > 0.1
    ppo.update(segments)


@EVERY_RUN
@pytest.mark.parametrize("source", ["info", "method", "steps", "reset", "odd"])
def test_no_illegal_action_is_taken_and_what_was_legal_is_stored(source, num_envs, vectorization, mode):
    envs, actor, rollouts = rolled_out(lambda: Masked(source), num_envs, vectorization, mode)
    env = Masked(source)
    for segments in rollouts:
        for segment in segments:
            for row, legal, action in zip(segment.rows, segment.legal, segment.actions):
                env.t = int(row[0])
                assert legal.tolist() == legal_at(env.t, env.told())
                assert legal[action]
        assert_the_update_uses_the_masks(actor, envs, segments)
        break  # an update changes the actor
    assert {int(s.episode_length) for segments in rollouts for s in segments if s.ended} == {5}


def test_asynchronous_environments_are_asked_too():
    for source in ("info", "method"):
        envs, _, rollouts = rolled_out(lambda source=source: Masked(source), 2, "async", AutoresetMode.DISABLED, rollouts=2)
        envs.close()
        for segment in chain(*rollouts):
            assert [legal.tolist() for legal in segment.legal] == [legal_at(int(row[0])) for row in segment.rows[:-1]]


@EVERY_RUN
def test_taxi(num_envs, vectorization, mode):
    """Its mask forbids what would change nothing; the state tells where the walls are."""
    envs, actor, rollouts = rolled_out(TAXI, num_envs, vectorization, mode)
    segments = rollouts[0]
    assert segments[0].rows.shape[1] == 500
    for segment in segments:
        assert segment.legal.shape == (len(segment), 6)
        assert segment.legal[np.arange(len(segment)), segment.actions].all()
        assert (segment.rows[1:] != segment.rows[:-1]).any(axis=1).all()  # so every legal action changes the state
    assert_the_update_uses_the_masks(actor, envs, segments)


@pytest.mark.parametrize("num_envs", [1, 2])
def test_masks_of_several_choices_are_put_together(num_envs):
    envs, actor, rollouts = rolled_out(MaskedPair, num_envs, "sync", AutoresetMode.DISABLED)
    for segment in rollouts[0]:
        assert segment.legal.tolist() == [[True, True, False, True, True]] * len(segment)
    assert_the_update_uses_the_masks(actor, envs, rollouts[0])


def test_environments_without_masks_store_none():
    envs = make_envs("CartPole-v1", 2)
    assert all(segment.legal is None for segment in collect(envs, uniform_actor(spaces.Discrete(2)), steps=5))


def test_a_mask_for_continuous_actions_is_refused():
    envs = make_envs(MaskedBox)
    with pytest.raises(ValueError, match="actions are continuous; only discrete actions can be masked"):
        collect(envs, uniform_actor(envs.action_space), steps=2)


def test_a_mask_of_the_wrong_size_is_refused():
    class Wrong(Masked):
        def mask(self):
            return np.ones(3, np.int8)

    with pytest.raises(ValueError, match="action mask has 3 entries, but the policy has 4"):
        collect(make_envs(Wrong), uniform_actor(spaces.Discrete(4)), steps=2)


def test_a_mask_that_allows_nothing_is_refused():
    class Stuck(Masked):
        def mask(self):
            return np.zeros(4, np.int8)

    with pytest.raises(ValueError, match="the action mask of environment 0 allows no action"):
        collect(make_envs(Stuck), uniform_actor(spaces.Discrete(4)), steps=2)
