"""What every environment that comes along promises, whichever it is."""

import os
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

import gymformer
from gymformer.registration import ENVIRONMENTS
from gymformer.resources import resource
from gymformer.testing import byte_tokenizer

gym.register_envs(gymformer)


def has(path: str) -> bool:
    try:
        return resource(path).is_dir()
    except FileNotFoundError:
        return False


TOKENIZER = byte_tokenizer()
# Every id as it comes, and token environments with another tokenizer than the one that comes along.
without_arguments = pytest.mark.skipif(not has("models/reasoner"), reason="models/reasoner is not made yet")
CASES = [
    *(pytest.param(env_id, {}, id=env_id, marks=without_arguments) for env_id in ENVIRONMENTS),
    *(pytest.param(env_id, {"tokenizer": TOKENIZER}, id=f"{env_id} in bytes") for env_id in ["CoTEnv-v0"]),
]
every_env = pytest.mark.parametrize(("env_id", "arguments"), CASES)


@every_env
def test_it_passes_gymnasiums_own_check_without_a_warning(env_id, arguments):
    env = gym.make(env_id, **arguments).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
    env.close()


def play(env: gym.Env, seed: int, steps: int = 200) -> list:
    """Everything that an episode of random actions gives, episodes following each other."""
    env.action_space.seed(seed)
    seen: list = [env.reset(seed=seed)]
    for _ in range(steps):
        seen.append(env.step(env.action_space.sample()))
        if seen[-1][2] or seen[-1][3]:
            seen.append(env.reset())
    return seen


@every_env
def test_the_same_seed_gives_the_same_episodes_and_another_seed_others(env_id, arguments):
    first, again, other = (play(gym.make(env_id, **arguments), seed) for seed in (7, 7, 8))
    assert repr(first) == repr(again)
    assert repr(first) != repr(other)


@every_env
def test_an_episode_that_has_ended_takes_no_further_step(env_id, arguments):
    env = gym.make(env_id, **arguments)
    env.reset(seed=0)
    for _ in range(10_000):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not (terminated and truncated)
        if terminated or truncated:
            break
    else:
        pytest.fail("no end in 10,000 random steps")
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\)"):
        env.step(env.action_space.sample())


@every_env
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_it_works_in_vectors(env_id, arguments, kind):
    def make() -> gym.Env:
        return gym.make(env_id, **arguments)

    envs = SyncVectorEnv([make] * 2) if kind == "sync" else AsyncVectorEnv([make] * 2, shared_memory=False)
    try:
        envs.action_space.seed(0)
        observations, _ = envs.reset(seed=[1, 2])
        assert len(observations) == 2 and observations[0] != observations[1]
        ended = 0
        for _ in range(150):
            observations, rewards, terminated, truncated, _ = envs.step(envs.action_space.sample())
            assert all(one in envs.single_observation_space for one in observations)
            ended += int((terminated | truncated).sum())
        assert rewards.shape == (2,)
        assert ended > 0
    finally:
        envs.close()


@every_env
def test_what_an_environment_gave_stays_as_it_was_given(env_id, arguments):
    env = gym.make(env_id, **arguments)
    env.action_space.seed(3)
    given = [env.reset(seed=3)]
    texts = [repr(given[0])]
    for _ in range(30):
        moment = env.step(env.action_space.sample())
        given.append(moment)
        texts.append(repr(moment))
        if moment[2] or moment[3]:
            given.append(env.reset())
            texts.append(repr(given[-1]))
    assert [repr(moment) for moment in given] == texts


def run(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(resource("models").parent)}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


USERS_OWN = """
import gymnasium as gym
class Mine(gym.Env):
    observation_space = action_space = gym.spaces.Discrete(2)
"""


def test_an_id_that_a_user_registered_first_stays_the_users():
    output = run(
        USERS_OWN + "gym.register('CoTEnv-v0', Mine)\nimport gymformer\nprint(type(gym.make('CoTEnv-v0').unwrapped).__name__)"
    )
    assert output.split() == ["Mine"]  # and nobody is warned of anything


def test_an_id_that_a_user_registers_later_is_the_users_from_then_on():
    output = run(
        "import gymformer\n"
        + USERS_OWN
        + "gym.register('CoTEnv-v0', Mine)\nprint(type(gym.make('CoTEnv-v0').unwrapped).__name__)"
    )
    assert "Mine" in output.split()
    assert "Overriding environment CoTEnv-v0" in output


def test_importing_registers_without_importing_what_is_registered():
    output = run(
        "import sys, gymformer, gymnasium\n"
        f"assert {set(ENVIRONMENTS)!r} <= set(gymnasium.registry)\n"
        "print([name for name in sys.modules if name.startswith(('torch', 'transformers', 'gymformer.env'))])"
    )
    assert output.strip() == "[]"


def test_rewards_are_plain_floats_and_ends_plain_bools():
    env = gym.make("CoTEnv-v0", tokenizer=TOKENIZER)
    env.reset(seed=0)
    _, reward, terminated, truncated, _ = env.step(np.int64(65))
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_a_reset_option_that_it_would_not_look_at_is_refused(env_id):
    """Else a misspelt difficulty would train at another one in silence."""
    env = gym.make(env_id)
    known = env.get_wrapper_attr("reset_options")
    assert known
    misspelt = known[0][:-1]
    with pytest.raises(ValueError, match=f"has no reset option '{misspelt}'; did you mean '{known[0]}'"):
        env.reset(seed=0, options={misspelt: 0.5})
    env.reset(seed=0)
    env.close()
