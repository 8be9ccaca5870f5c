from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, pairwise

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from gymformer.rl.envs import Envs, make_envs
from gymformer.rl.rollouts import RewardNormalizer, collect
from gymformer.rl.segment import Segment
from gymformer.rl.workers import WorkerVector
from gymformer.seeding import derive_seed
from tests.helpers import assert_same_segments, scripted_action, scripted_actor, uniform_actor
from tests.toy_envs import Forever, Wanderer

MODES = list(AutoresetMode)


@dataclass
class Played:
    """One episode, put together from its pieces."""

    rows: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    info: dict


def played_by_hand(seed: int, index: int, episodes: int) -> list[Played]:
    """What environment `index` must leave behind: a plain loop over a plain environment, without any of our code's."""
    env, result = Wanderer(), []
    seed = derive_seed(seed, "environment", index)
    for _ in range(episodes):
        observation, _ = env.reset(seed=seed)
        seed, over = None, False
        rows, actions, rewards = [observation], [], []
        while not over:
            actions.append(int(scripted_action(observation[None])[0]))
            observation, reward, terminated, truncated, info = env.step(actions[-1])
            rows.append(observation)
            rewards.append(reward)
            over = terminated or truncated
        result.append(Played(np.array(rows), np.array(actions), np.array(rewards), terminated, info))
    return result


def joined(pieces: list[Segment]) -> Played:
    """The pieces must fit: each begins in the state in which the one before stopped, and sums run over all of them."""
    for one, following in pairwise(pieces):
        np.testing.assert_array_equal(one.rows[-1], following.rows[0])
        assert (one.terminated, one.ended, one.info) == (False, False, {})
    last, rewards = pieces[-1], np.concatenate([piece.rewards for piece in pieces])
    assert last.episode_return == pytest.approx(rewards.sum())
    assert last.episode_length == len(rewards) == sum(map(len, pieces))
    rows = np.concatenate([*(piece.rows[:-1] for piece in pieces), last.rows[-1:]])
    return Played(rows, np.concatenate([piece.actions for piece in pieces]), rewards, last.terminated, last.info)


def histories(rollouts: list[list[Segment]]) -> dict[float, list[Played]]:
    """Every environment's finished episodes in order, by the number that its observations begin with."""
    columns, result = defaultdict(list), defaultdict(list)
    for segment in chain(*rollouts):
        assert len(segment.rows) == len(segment.actions) + 1 == len(segment.rewards) + 1 == len(segment.log_probs) + 1
        assert segment.ended or not segment.terminated
        column = columns[float(segment.rows[0][0])]
        column.append(segment)
        if segment.ended:
            result[float(segment.rows[0][0])].append(joined(column))
            column.clear()
    return result


def assert_played_by_hand(found: dict[float, list[Played]], seed: int, num_envs: int, at_least: int) -> None:
    assert len(found) == num_envs
    for index in range(num_envs):
        expected = played_by_hand(seed, index, 200)
        episodes = found[float(expected[0].rows[0][0])]
        assert len(episodes) >= at_least
        for one, other in zip(episodes, expected):
            np.testing.assert_array_equal(one.rows, other.rows)
            np.testing.assert_array_equal(one.actions, other.actions)
            np.testing.assert_array_equal(one.rewards, other.rewards)
            assert (one.terminated, one.info) == (other.terminated, other.info)


def rollouts_of(envs: Envs, *, times: int = 12, steps: int = 7, seed: int = 3) -> list[list[Segment]]:
    actor = scripted_actor()
    try:
        return [collect(envs, actor, steps=steps, seed=seed) for _ in range(times)]
    finally:
        envs.close()


# --- the same transitions, however the environments are run -----------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True], ids=["fresh", "in place"])
def test_one_environment_is_stepped_as_by_hand(in_place):
    found = histories(rollouts_of(make_envs(lambda: Wanderer(in_place=in_place))))
    assert_played_by_hand(found, seed=3, num_envs=1, at_least=15)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("num_envs", [2, 3])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_vectors_are_stepped_as_by_hand_in_every_autoreset_mode(vectorization, num_envs, mode):
    envs = make_envs(Wanderer, num_envs, vectorization=vectorization, autoreset_mode=mode)
    in_processes = WorkerVector if mode is AutoresetMode.DISABLED else AsyncVectorEnv
    assert type(envs.vector) is {"sync": SyncVectorEnv, "async": in_processes}[vectorization]
    assert_played_by_hand(histories(rollouts_of(envs)), seed=3, num_envs=num_envs, at_least=9)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_vector_of_one_equals_the_plain_environment(mode):
    vector = Envs(SyncVectorEnv([Wanderer], autoreset_mode=mode))
    assert_played_by_hand(histories(rollouts_of(vector)), seed=3, num_envs=1, at_least=9)


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, AutoresetMode.NEXT_STEP], ids=lambda mode: mode.name)
def test_observations_changed_in_place_are_copied(mode):
    envs = make_envs(lambda: Wanderer(in_place=True), 3, vectorization="sync", autoreset_mode=mode)
    assert_played_by_hand(histories(rollouts_of(envs)), seed=3, num_envs=3, at_least=9)


def test_a_later_rollout_does_not_change_an_earlier_one():
    envs, actor = make_envs(lambda: Wanderer(in_place=True), 2), scripted_actor()
    first = collect(envs, actor, steps=9)
    copies = [(s.rows.copy(), s.actions.copy(), s.rewards.copy(), dict(s.info)) for s in first]
    collect(envs, actor, steps=9)
    for segment, (rows, actions, rewards, info) in zip(first, copies):
        assert np.array_equal(segment.rows, rows) and np.array_equal(segment.actions, actions)
        assert np.array_equal(segment.rewards, rewards) and segment.info == info


@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_length_of_a_rollout_changes_nothing(mode, steps):
    """Rollouts of one step meet an episode's end, and its phantom tick, in every possible place."""
    envs = make_envs(Wanderer, 2, autoreset_mode=mode)
    found = histories(rollouts_of(envs, times=100 // steps, steps=steps))
    assert_played_by_hand(found, seed=3, num_envs=2, at_least=10)


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, AutoresetMode.SAME_STEP], ids=lambda mode: mode.name)
def test_every_tick_is_a_decision_where_resets_cost_none(mode):
    segments = collect(make_envs(Wanderer, 3, autoreset_mode=mode), scripted_actor(), steps=20)
    assert sum(map(len, segments)) == 60


def test_a_tick_that_only_resets_is_nobodys_decision():
    envs = make_envs(lambda: Wanderer(longest=1), 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    assert sum(map(len, collect(envs, scripted_actor(), steps=10))) == 10  # every other tick of each of the two


# --- CartPole's own vector --------------------------------------------------------------------------------------------


def random_cartpole(vectorization: str) -> list[Segment]:
    envs = make_envs("CartPole-v1", 8, vectorization=vectorization)
    actor, generator = uniform_actor(spaces.Discrete(2)), torch.Generator().manual_seed(0)
    return collect(envs, actor, episodes=600, generator=generator)


def test_native_cartpole_equals_sync_in_distribution():
    """Episodes of a random policy last 22 ± 12 decisions, so two means of 600 differ by 0.69 (one σ); 4 σ are allowed:
    an unseeded run would fail 6e-5 of the time. Phantom ticks would lengthen episodes by one, and pay 0."""
    lengths = {}
    for vectorization in ("native", "sync"):
        segments = random_cartpole(vectorization)
        assert all((segment.rewards == 1).all() for segment in segments)
        ended = [segment for segment in segments if segment.ended]
        assert all(segment.terminated and segment.episode_return == segment.episode_length for segment in ended)
        lengths[vectorization] = np.mean([segment.episode_length for segment in ended])
    assert abs(lengths["native"] - lengths["sync"]) < 4 * 0.69


def test_native_cartpole_has_only_real_transitions():
    """x' = x + 0.02 ẋ within every segment; a reset or a phantom tick inside one would break it."""
    segments = random_cartpole("native")
    for rows in (segment.rows for segment in segments):
        np.testing.assert_allclose(rows[1:, 0], rows[:-1, 0] + 0.02 * rows[:-1, 1], atol=1e-6)
        assert (np.abs(rows[:-1, 0]) <= 2.4).all()  # nothing is decided in a state that is over
    ended = [segment for segment in segments if segment.terminated]
    assert all(abs(s.rows[-1, 0]) > 2.4 or abs(s.rows[-1, 2]) > 12 * np.pi / 180 for s in ended)


# --- segments ---------------------------------------------------------------------------------------------------------


def test_ended_segments_come_first_in_the_order_of_their_ends_then_the_pieces():
    class Fixed(Wanderer):
        def reset(self, **kwargs):
            result = super().reset(**kwargs)
            self.length = self.lasts
            return result

    lasts = iter([4, 2, 9])

    def make():
        env = Fixed()
        env.lasts = next(lasts)
        return env

    segments = collect(make_envs(make, 3), scripted_actor(), steps=6)
    # Ends at ticks 2 (second), 4 (first, second), 6 (second); then the first's piece of two and the third's of six.
    assert [len(segment) for segment in segments] == [2, 4, 2, 2, 2, 6]
    assert [segment.ended for segment in segments] == [True] * 4 + [False] * 2
    assert [segment.episode_length for segment in segments] == [2, 4, 2, 2, None, None]


@pytest.mark.parametrize("terminates", [False, True])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_last_row_of_an_ended_episode_is_its_final_observation(mode, terminates):
    class Ends(Wanderer):
        def reset(self, **kwargs):
            result = super().reset(**kwargs)
            self.length, self.terminates = 3, terminates
            return result

    segments = collect(make_envs(Ends, 2, autoreset_mode=mode), scripted_actor(), steps=12)
    ended = [segment for segment in segments if segment.ended]
    assert len(ended) >= 6
    for segment in ended:
        assert segment.rows[:, 2].tolist() == [0, 1, 2, 3]  # the step; a reset observation would be at step 0
        assert segment.rows[1:, 3].tolist() == segment.actions.tolist()
        assert segment.terminated == terminates
        assert segment.info == {"t": 3}


def test_episodes_mode_goes_on_until_enough_have_ended():
    envs = make_envs(Wanderer, 3)
    ended = [segment for segment in collect(envs, scripted_actor(), episodes=10) if segment.ended]
    assert 10 <= len(ended) < 13


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_rollout_of_unknown_length_grows(mode):
    """300 episodes of at most 6 steps take far more than the 128 ticks that there is room for at first."""
    envs = make_envs(Wanderer, 2, autoreset_mode=mode)
    segments = collect(envs, scripted_actor(), episodes=300, seed=3)
    assert sum(map(len, segments)) > 4 * 128
    assert_played_by_hand(histories([segments]), seed=3, num_envs=2, at_least=100)


@pytest.mark.parametrize("bounds", [{}, {"steps": 5, "episodes": 1}])
def test_either_steps_or_episodes_must_be_given(bounds):
    with pytest.raises(ValueError, match=r"needs either steps=.* or episodes="):
        collect(make_envs(Wanderer), scripted_actor(), **bounds)


def test_a_callback_that_returns_false_ends_the_rollout():
    ticks = []
    segments = collect(make_envs(Forever, 2), uniform_actor(spaces.Discrete(2)), steps=50,
                       on_tick=lambda tick: ticks.append(tick) or len(ticks) < 3)  # fmt: skip
    assert len(ticks) == 3
    assert [len(segment) for segment in segments] == [3, 3]
    assert all(tick.rewards.tolist() == [1.0, 1.0] for tick in ticks)


def test_an_actor_without_a_distribution_gets_the_environments():
    actor = uniform_actor(spaces.Discrete(3))
    actor.distribution = None
    segments = collect(make_envs(Wanderer), actor, steps=5)
    assert actor.distribution.num_outputs == 3 and sum(map(len, segments)) == 5


def test_a_reset_cuts_what_was_running():
    envs, actor = make_envs(Forever, 2), uniform_actor(spaces.Discrete(2))
    collect(envs, actor, steps=5)
    envs.reset(1)
    segments = collect(envs, actor, steps=3)
    assert [segment.rows[:, 0].tolist() for segment in segments] == [[0, 1, 2, 3]] * 2
    assert envs.episode_lengths.tolist() == [3, 3]


# --- max_timesteps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "num_envs", "vectorization"),
    [
        ("CartPole-v1", 1, "auto"),
        ("CartPole-v1", 3, "native"),
        ("CartPole-v1", 3, "sync"),
        (Forever, 1, "auto"),
        (Forever, 3, "sync"),
        (Forever(), 1, "auto"),
    ],
    ids=["id", "native", "sync id", "callable", "sync callable", "instance"],
)
def test_max_timesteps_truncates(env, num_envs, vectorization):
    envs = make_envs(env, num_envs, max_timesteps=5, vectorization=vectorization)
    segments = [s for s in collect(envs, uniform_actor(spaces.Discrete(2)), steps=30) if s.ended]
    assert len(segments) >= 5 * num_envs
    assert {(segment.terminated, segment.episode_length) for segment in segments} == {(False, 5)}


def test_max_timesteps_never_lengthens_an_episode():
    for env in ("CartPole-v1", lambda: gym.make("CartPole-v1"), gym.make("CartPole-v1")):
        envs = make_envs(env, max_timesteps=10_000)
        limit = envs.vector.env.get_wrapper_attr("_max_episode_steps")
        assert limit == 500


# --- reward normalisation ---------------------------------------------------------------------------------------------


def test_rewards_are_scaled_by_the_spread_of_the_discounted_return_by_hand():
    """γ = ½. Environment 0: 1, 1 + ½ = 1.5, ends, then 4. Environment 1: 2, its end, a phantom, 6."""
    normalizer = RewardNormalizer(0.5, 2)
    rewards = np.array([[1.0, 2.0], [1.0, 0.0], [4.0, 6.0]])
    ended, phantom = np.array([[0, 1], [1, 0], [0, 0]], bool), np.array([[0, 0], [0, 1], [0, 0]], bool)
    normalizer.update(rewards, ended, phantom)
    assert normalizer.scale == pytest.approx(1 / np.std([1.0, 2.0, 1.5, 4.0, 6.0]))


def test_rewards_themselves_are_not_touched_and_all_segments_share_one_scale():
    normalizer = RewardNormalizer(0.9, 2)
    scaled = collect(make_envs(Wanderer, 2), scripted_actor(), steps=30, reward_normalizer=normalizer)
    plain = collect(make_envs(Wanderer, 2), scripted_actor(), steps=30)
    assert {segment.reward_scale for segment in scaled} == {normalizer.scale} != {1.0}
    for segment in scaled:
        np.testing.assert_allclose(segment.learning_rewards, segment.rewards * normalizer.scale)
        segment.reward_scale = 1.0
    assert_same_segments(scaled, plain)


def test_the_discounted_return_starts_again_after_a_cut():
    normalizer = RewardNormalizer(0.9, 1)
    normalizer.update(np.full((3, 1), 5.0), np.zeros((3, 1), bool), np.zeros((3, 1), bool))
    normalizer.restart()
    assert normalizer.returns.tolist() == [0.0]


# --- normalised observations ------------------------------------------------------------------------------------------


def test_normalised_observations_are_stored_as_the_actor_saw_them():
    """The statistics move on while the rollout runs; a piece still begins where the one before stopped."""
    envs, actor = make_envs(Forever, normalize_observations=True), uniform_actor(spaces.Discrete(2))
    first, second = (collect(envs, actor, steps=10)[0] for _ in range(2))
    assert np.array_equal(first.rows[-1], second.rows[0])
    assert envs.encoder.moments.count == 21  # each state once
    assert envs.encoder.moments.mean.item() == pytest.approx(10.0)


def test_statistics_rest_while_evaluating():
    envs = make_envs(Forever, normalize_observations=True)
    envs.learn_statistics = False
    collect(envs, uniform_actor(spaces.Discrete(2)), steps=10)
    assert envs.encoder.moments.count == 0
