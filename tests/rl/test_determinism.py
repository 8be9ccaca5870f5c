import pickle
import random

import numpy as np
import pytest
import torch

from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import make_envs
from gymformer.rl.rollouts import collect
from tests.helpers import assert_same_segments, parameters_of, ppo_for
from tests.toy_envs import Masked, Wanderer


def three_updates(env, num_envs: int, seed: int = 0, **options):
    """The last rollout and the parameters after it was learned from."""
    envs, weights, sampling = (
        make_envs(env, num_envs, **options),
        *(torch.Generator().manual_seed(seed + i) for i in range(2)),
    )
    actor, critic = (kind.for_spaces(envs, 8, generator=weights) for kind in (MLPActorNetwork, MLPCriticNetwork))
    ppo = ppo_for(actor, critic, seed, minibatch_size=8, update_epochs=2)
    for _ in range(3):
        segments = collect(envs, actor, steps=20, generator=sampling, seed=seed)
        ppo.update(segments)
    envs.close()
    return segments, parameters_of(ppo)


def global_states() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()))  # noqa: NPY002


RUNS = [
    (Wanderer, 1, {}),
    (Wanderer, 3, {}),
    (Wanderer, 2, {"vectorization": "async"}),
    ("CartPole-v1", 4, {"vectorization": "native"}),
    ("Pendulum-v1", 2, {"normalize_observations": True}),
    (Masked, 2, {}),
]


@pytest.mark.parametrize(("env", "num_envs", "options"), RUNS)
def test_the_same_seeds_give_the_same_rollouts_and_the_same_networks(env, num_envs, options):
    (segments, parameters), (again, same) = (three_updates(env, num_envs, **options) for _ in range(2))
    assert_same_segments(segments, again)
    assert all(value.equal(same[name]) for name, value in parameters.items())


def test_another_seed_gives_another_run():
    (_, parameters), (_, other) = (three_updates(Wanderer, 2, seed) for seed in (0, 1))
    assert not any(value.equal(other[name]) for name, value in parameters.items() if "weight" in name)


@pytest.mark.parametrize(("env", "num_envs", "options"), RUNS)
def test_the_global_generators_are_left_alone(env, num_envs, options):
    before = global_states()
    three_updates(env, num_envs, **options)
    assert global_states() == before


def test_the_global_generators_do_not_matter():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        results.append(three_updates(Wanderer, 2)[0])
    assert_same_segments(*results)
