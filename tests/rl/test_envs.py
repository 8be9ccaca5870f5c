import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gymformer.rl.envs import Envs, OneEnv, make_envs
from gymformer.rl.rollouts import collect
from gymformer.rl.workers import WorkerVector
from gymformer.seeding import derive_seed
from tests.helpers import uniform_actor
from tests.toy_envs import Anything, Forever, Wanderer


def resets_of(envs: Envs, seed: int) -> np.ndarray:
    envs.reset(seed)
    return envs.observations.copy()


# --- how environments are made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "num_envs", "vectorization", "kind"),
    [
        ("CartPole-v1", 1, "auto", OneEnv),
        ("CartPole-v1", 2, "sync", SyncVectorEnv),
        ("CartPole-v1", 2, "async", WorkerVector),
        ("Acrobot-v1", 2, "auto", SyncVectorEnv),
        (Wanderer, 1, "auto", OneEnv),
        (Wanderer, 2, "auto", SyncVectorEnv),
        (lambda: Wanderer(), 2, "async", WorkerVector),
    ],
)
def test_the_kind_of_vector(env, num_envs, vectorization, kind):
    envs = make_envs(env, num_envs, vectorization=vectorization)
    assert type(envs.vector) is kind
    assert envs.num_envs == num_envs
    envs.close()


@pytest.mark.parametrize("vectorization", ["auto", "native"])
def test_an_environments_own_vector_is_used_where_it_registers_one(vectorization):
    envs = make_envs("CartPole-v1", 4, vectorization=vectorization)
    assert type(envs.vector.unwrapped).__name__ == "CartPoleVectorEnv"
    assert envs.mode is AutoresetMode.NEXT_STEP


def test_a_ready_vector_is_taken_as_it_is():
    vector = SyncVectorEnv([Wanderer] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    envs = make_envs(vector)
    assert (envs.vector, envs.num_envs, envs.mode) == (vector, 3, AutoresetMode.SAME_STEP)


def test_sync_and_async_reset_when_told_by_default():
    assert make_envs(Wanderer, 2).mode is AutoresetMode.DISABLED
    assert make_envs(Wanderer).mode is AutoresetMode.DISABLED


NAMED = [
    ("CartPole-v1", "CartPole-v1"),
    (gym.make("CartPole-v1"), "CartPole-v1"),
    (Wanderer, "Wanderer"),
    (Wanderer(), "Wanderer"),
]


@pytest.mark.parametrize(("env", "name"), NAMED)
def test_names(env, name):
    assert make_envs(env).id == name


@pytest.mark.parametrize("num_envs", [1, 2])
def test_env_kwargs_reach_the_environment(num_envs):
    envs = make_envs(Wanderer, num_envs, env_kwargs={"longest": 1})
    assert {s.episode_length for s in collect(envs, uniform_actor(spaces.Discrete(3)), steps=5)} == {1}


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_env_kwargs_reach_a_registered_environment(vectorization):
    envs = make_envs("CartPole-v1", 2, env_kwargs={"sutton_barto_reward": True}, vectorization=vectorization)
    segments = collect(envs, uniform_actor(spaces.Discrete(2)), episodes=2)
    assert {s.episode_return for s in segments if s.ended} == {-1.0}


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((Wanderer, 0), ValueError, "num_envs=0; at least 1"),
        ((Wanderer(), 2), ValueError, "num_envs=2 needs as many environments, but one instance .* a callable"),
        ((SyncVectorEnv([Wanderer] * 3), 2), ValueError, "num_envs=2, but the vector environment given holds 3"),
        ((lambda: "no environment",), TypeError, r"expected a gymnasium\.Env, got str \('no environment'\)"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        make_envs(*arguments)


@pytest.mark.parametrize(
    ("env", "options", "match"),
    [
        (Wanderer, {"vectorization": "threads"}, 'vectorization="threads" is not one of auto, native, sync, async'),
        ("Acrobot-v1", {"vectorization": "native"}, "Acrobot-v1 registers no vector version of its own; use"),
    ],
)
def test_what_cannot_be_vectorised_is_refused(env, options, match):
    with pytest.raises(ValueError, match=match):
        make_envs(env, 2, **options)


def test_kwargs_for_an_instance_are_refused():
    with pytest.raises(ValueError, match="env_kwargs are for an environment that is still to be made"):
        make_envs(Wanderer(), env_kwargs={"longest": 3})


def test_environments_are_closed_when_their_observations_cannot_be_read():
    class Closing(Anything):
        closed = False

        def close(self):
            Closing.closed = True

    with pytest.raises(TypeError, match="cannot be turned into a fixed number of values"):
        make_envs(lambda: Closing(spaces.Text(5), spaces.Discrete(2)))
    assert Closing.closed


# --- seeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("env", "num_envs", "vectorization"), [
    (Wanderer, 1, "auto"), (Wanderer, 3, "sync"), (Wanderer, 3, "async"), ("CartPole-v1", 3, "native"),
])  # fmt: skip
def test_a_seed_decides_where_all_environments_start_and_no_two_start_alike(env, num_envs, vectorization):
    envs = make_envs(env, num_envs, vectorization=vectorization)
    first, again, other = resets_of(envs, 1), resets_of(envs, 1), resets_of(envs, 2)
    envs.close()
    assert np.array_equal(first, again)
    assert not (first == other).all(axis=1).any()
    assert len(np.unique(first, axis=0)) == num_envs


def test_an_environments_seed_does_not_depend_on_how_many_there_are():
    one, three = resets_of(make_envs(Wanderer), 5), resets_of(make_envs(Wanderer, 3), 5)
    assert np.array_equal(one[0], three[0])
    by_hand = [Wanderer().reset(seed=derive_seed(5, "environment", i))[0] for i in range(3)]
    assert np.array_equal(three, by_hand)


# --- one environment --------------------------------------------------------------------------------------------------


def test_a_single_environment_gets_a_plain_int():
    """User code appends actions to lists and compares them."""
    seen = []

    class Picky(Forever):
        def step(self, action):
            seen.append(type(action))
            return super().step(action)

    collect(make_envs(Picky), uniform_actor(spaces.Discrete(2)), steps=3)
    assert seen == [int] * 3


def test_rewards_and_ends_of_any_type_are_understood():
    class Loose(Forever):
        def step(self, action):
            observation, _, _, _, info = super().step(action)
            return observation, np.array(2), np.bool_(self.t == 2), 0, info

    segments = collect(make_envs(Loose), uniform_actor(spaces.Discrete(2)), steps=5)
    assert [(len(s), s.terminated, s.episode_return) for s in segments] == [
        (2, True, 4.0),
        (2, True, 4.0),
        (1, False, None),
    ]


def test_terminated_wins_over_truncated():
    class Both(Forever):
        def step(self, action):
            return *super().step(action)[:2], True, True, {}

    segments = collect(make_envs(Both), uniform_actor(spaces.Discrete(2)), steps=2)
    assert [segment.terminated for segment in segments] == [True, True]


def test_nested_infos_are_taken_apart_by_environment():
    class Telling(Forever):
        def step(self, action):
            observation, reward, *_ = super().step(action)
            return observation, reward, self.t == 2, False, {"deep": {"step": self.t}, "name": "x"}

    for mode in AutoresetMode:
        segments = collect(make_envs(Telling, 2, autoreset_mode=mode), uniform_actor(spaces.Discrete(2)), steps=2)
        assert [segment.info for segment in segments] == [{"deep": {"step": 2}, "name": "x"}] * 2, mode
