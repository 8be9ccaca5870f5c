import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import make_envs
from gymformer.rl.rollouts import collect
from gymformer.rl.space_json import space_from_json, space_to_json
from tests.helpers import ACTION_SPACES, OBSERVATION_SPACES, ppo_for
from tests.toy_envs import Anything


@given(OBSERVATION_SPACES, ACTION_SPACES, st.sampled_from([1, 2]), st.booleans())
@settings(max_examples=60)
def test_an_environment_of_any_spaces_can_be_learned_in(observation_space, action_space, num_envs, normalize):
    """Every action lies in its space (`Anything` checks), and before the first step the ratio is one."""
    envs = make_envs(lambda: Anything(observation_space, action_space), num_envs, normalize_observations=normalize)
    generator = torch.Generator().manual_seed(0)
    actor, critic = (kind.for_spaces(envs, 8, generator=generator) for kind in (MLPActorNetwork, MLPCriticNetwork))
    segments = collect(envs, actor, steps=11, generator=generator)
    assert sum(map(len, segments)) == 11 * num_envs
    ppo = ppo_for(actor, critic, update_epochs=2, minibatch_size=8)
    batch = ppo.prepare(segments)
    log_probs, _ = actor.distribution.log_probs_and_entropy(actor.evaluate(batch.states), batch.actions)
    assert (log_probs - batch.log_probs).abs().max() < 1e-4
    ppo.update(segments)


@given(st.one_of(OBSERVATION_SPACES, ACTION_SPACES))
def test_any_space_survives_json(space):
    assert space_from_json(space_to_json(space)) == space
