"""Environments in worker processes do what they do in one process; who dies or hangs is replaced, and nothing hangs with it."""

import contextlib
import multiprocessing
import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymformer import PPOConfig, train_agent
from gymformer.rl.envs import make_envs
from gymformer.rl.networks import match_tokens
from gymformer.rl.rollouts import collect
from gymformer.rl.segment import Segment
from gymformer.rl.workers import Workers
from tests.helpers import assert_same_segments, scripted_actor, uniform_actor
from tests.language import TOKENS, Chatter, Table
from tests.toy_envs import Masked, Wanderer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX")


class Telling(Wanderer):
    """Its last info tells terms of the reward, and what a monitor has counted, as nested dictionaries."""

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info | {"reward_terms": {"walk": 0.5 * self.t}, "safety": {"rules": self.t % 2}, "task": "stroll"}


class Counter(gym.Env):
    """Six steps, of which step t shows t and pays t; so an episode pays 21. At its step 4, `befalls` happens, once in all processes."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(2)

    def __init__(self, once=None, befalls=None):
        self.once, self.befalls = once, befalls

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        if self.t == 4 and self.once is not None and happens(self.once):
            self.befalls()
        return np.array([self.t], np.float32), float(self.t), False, self.t == 6, {}


class Fragile(Chatter):
    """Its process is killed in the third step of one episode."""

    def __init__(self, once):
        super().__init__(longest=8)
        self.once = once

    def step(self, action):
        if len(self.seen) == 3 and happens(self.once):
            die()
        return super().step(action)


def happens(once) -> bool:
    """In the first process that asks."""
    try:
        once.unlink()
    except FileNotFoundError:
        return False
    return True


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hang_here():
    time.sleep(60)


@pytest.fixture
def once(tmp_path):
    file = tmp_path / "once"
    file.touch()
    return file


def played(env, vectorization, group_size: int = 1, **budget) -> list[Segment]:
    """Two rollouts of five token environments, whose resets are asked for numbered options."""
    with contextlib.closing(make_envs(env, 5, vectorization=vectorization)) as envs:
        envs.group_size, numbers = group_size, iter(range(1000))
        envs.options = lambda: {"number": next(numbers)}
        actor = match_tokens(Table(TOKENS, TOKENS), TOKENS)
        return [segment for _ in range(2) for segment in collect(envs, actor, **budget)]


# --- the same as in one process ---------------------------------------------------------------------------------------


class Numbered(Chatter):
    """Its infos tell the options of its reset."""

    def reset(self, *, seed=None, options=None):
        self.number = options["number"]
        return super().reset(seed=seed, options=options)

    def look(self):
        tokens, info = super().look()
        return tokens, info | {"number": self.number}


@pytest.mark.parametrize("budget", [{"episodes": 12, "group_size": 2}, {"steps": 7}], ids=["groups", "steps"])
def test_token_environments_play_the_same_episodes_in_workers(budget):
    def env():
        return Numbered(rewrites=True, masks="method")

    here, there = (played(env, where, **budget, generator=torch.Generator().manual_seed(0)) for where in ("sync", Workers(2)))
    assert_same_segments(here, there)
    for one, other in zip(here, there, strict=True):
        assert (one.group, one.row.tolist(), one.col.tolist()) == (other.group, other.row.tolist(), other.col.tolist())
    assert any(len(segment.rows) > 1 for segment in here) and any(segment.info for segment in here)


@pytest.mark.parametrize("env", [Telling, lambda: Masked("method")], ids=["infos", "masks"])
def test_other_environments_play_the_same_episodes_in_workers(env, generator):
    found = []
    for vectorization in ("sync", Workers(2)):
        with contextlib.closing(make_envs(env, 3, vectorization=vectorization)) as envs:
            actor = scripted_actor() if env is Telling else uniform_actor(envs.action_space)
            found.append([s for _ in range(2) for s in collect(envs, actor, steps=11, generator=generator.manual_seed(0))])
    assert_same_segments(*found)
    assert env is not Telling or {"reward_terms", "safety", "task"} <= found[1][0].info.keys()


# --- death ------------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_named_and_cuts_its_episodes_at_their_last_observations(once):
    makers: list[int] = []

    def env():  # the second one of a process is environment 2, in worker 0
        makers.append(os.getpid())
        return Counter(once if makers.count(os.getpid()) == 2 else None, die)

    report = (
        r"worker process 0 of env died \(exit code -9, SIGKILL.*environment 0 \(seed \d+, options None, step 4\), environment 2 .*"
        "started again"
    )
    with contextlib.closing(make_envs(env, 3, vectorization=Workers(2))) as envs, pytest.warns(RuntimeWarning, match=report):
        segments = collect(envs, uniform_actor(envs.action_space), steps=10)
    whole, pieces = [s for s in segments if s.ended], [s for s in segments if not s.ended]
    # Environments 0 and 2 lose step 4 of their first episodes, and so begin the second after 4 ticks; 1 is at step 4 again.
    assert [s.rewards.tolist() for s in whole] == [[1, 2, 3, 4, 5, 6]] * 3
    assert sorted(s.rewards.tolist() for s in pieces) == [[1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]
    assert all(s.rows[:, 0].tolist() == [0, *s.rewards] and not s.terminated for s in segments)
    assert all(s.episode_return == 21 for s in whole) and all(s.episode_return is None for s in pieces)


def test_training_goes_on_and_counts_only_what_was_played(once):
    with pytest.warns(RuntimeWarning, match="died"):
        result = train_agent(lambda: Counter(once, die), num_envs=2, vectorization=Workers(1), max_episodes=8, update_interval=4, seed=0,
                             save_path=None, progress=False, ppo_config=PPOConfig(update_epochs=1), normalize_rewards=True)  # fmt: skip
    assert list(result) == [21.0] * 8
    assert result.timesteps == 8 * 6 + 2 * 3


def test_an_episode_lost_with_its_worker_is_dropped_with_its_group_and_others_are_played(once, generator):
    with pytest.warns(RuntimeWarning, match=r"worker process \d of environment died"):
        segments = played(lambda: Fragile(once), Workers(2), group_size=2, episodes=6, generator=generator)
    groups = [segment.group for segment in segments]
    assert len(segments) == 12 and all(groups.count(group) == 2 for group in groups)
    assert sorted(set(groups)) != list(range(6)), "no group was dropped"
    for segment in segments:
        env = Chatter()
        env.reset(seed=segment.info["seed"])
        assert [env.step(int(action))[1] for action in segment.actions] == segment.rewards.tolist()


def test_a_worker_that_hangs_is_killed_and_says_where(once, capfd):
    with (
        contextlib.closing(make_envs(lambda: Counter(once, hang_here), 2, vectorization=Workers(2, timeout=2.0))) as envs,
        pytest.warns(RuntimeWarning, match=r"did not answer in 2 seconds, was killed \(exit code -6, SIGABRT\)"),
    ):
        segments = collect(envs, uniform_actor(envs.action_space), steps=8)
    assert sorted(len(s) for s in segments if not s.ended) == [2, 3, 4]
    assert "in hang_here" in capfd.readouterr().err


def test_an_exception_in_an_environment_reaches_the_caller_with_its_place(once):
    def fail():
        raise FileNotFoundError("no such puzzle")

    with contextlib.closing(make_envs(lambda: Counter(once, fail), 2, vectorization=Workers(1))) as envs:
        with pytest.raises(FileNotFoundError, match="no such puzzle") as caught:
            collect(envs, uniform_actor(envs.action_space), steps=8)
        assert "environment 0" in caught.value.__notes__[0] and "worker process 0" in caught.value.__notes__[0]
        assert "in fail" in str(caught.value.__cause__)
        assert collect(envs, uniform_actor(envs.action_space), steps=2, seed=1)  # the others' answers were not mixed up


# --- nothing hangs ----------------------------------------------------------------------------------------------------


def test_a_rollout_broken_off_in_the_midst_of_a_step_leaves_no_process_behind(once):
    envs = make_envs(lambda: Counter(once, hang_here), 2, vectorization=Workers(2))
    processes = [worker.process for worker in envs.vector.pool.workers]

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            collect(envs, uniform_actor(envs.action_space), steps=8)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(RuntimeError, match="make the environments anew"):
        collect(envs, uniform_actor(envs.action_space), steps=1)
    envs.close()


def test_workers_end_with_the_process_that_asks_them_also_in_a_step_that_hangs(tmp_path):
    reader, writer = multiprocessing.Pipe(duplex=False)  # EOF when nobody holds the writer any more

    def ask():
        once = tmp_path / "once"
        once.touch()
        envs = make_envs(lambda: Counter(once, hang_here), 3, vectorization=Workers(3))
        collect(envs, uniform_actor(envs.action_space), steps=3)
        writer.send("about to hang")
        collect(envs, uniform_actor(envs.action_space), steps=1)

    process = multiprocessing.get_context("fork").Process(target=ask)
    process.start()
    writer.close()
    assert reader.poll(60) and reader.recv() == "about to hang"
    assert not reader.poll(0.3)
    process.kill()
    process.join()
    assert reader.poll(20), "a worker outlives the process that started it"
    with pytest.raises(EOFError):
        reader.recv()


def test_what_workers_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"one instance .* was given; give its id"):
        make_envs(Counter(), vectorization="async")
    with pytest.raises(ValueError, match="count and deaths are at least 1"):
        Workers(count=0)
