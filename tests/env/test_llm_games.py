"""The games that language models play: they are their originals, in words."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

import gymformer
from gymformer.env.llm_env import LLMEnv, choices, fields
from gymformer.registration import GAMES

gym.register_envs(gymformer)
every_game = pytest.mark.parametrize("env_id", GAMES)
ORIGINALS = {"BlackjackLLM-v1": "Blackjack-v1", "CartPoleLLM-v1": "CartPole-v1", "LunarLanderLLM-v2": "LunarLander-v3"}


@every_game
def test_it_passes_gymnasiums_own_check_without_a_warning(env_id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gym.make(env_id, render_mode="rgb_array").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*A Box observation space m.*infinity")  # CartPole's own
        check_env(env, skip_render_check=True)
    env.close()


def play(env: gym.Env, seed: int, steps: int = 60) -> list:
    env.action_space.seed(seed)
    seen: list = [env.reset(seed=seed)]
    for _ in range(steps):
        seen.append(env.step(env.action_space.sample()))
        if seen[-1][2] or seen[-1][3]:
            seen.append(env.reset())
    return seen


@every_game
def test_the_same_seed_gives_the_same_episodes_and_another_seed_others(env_id):
    first, again, other = (play(gym.make(env_id), seed) for seed in (7, 7, 8))
    assert repr(first) == repr(again)
    assert repr(first) != repr(other)


@every_game
def test_every_part_of_an_observation_and_every_action_is_described(env_id):
    env = gym.make(env_id).unwrapped
    assert isinstance(env, LLMEnv)
    assert list(env.get_observation_schema()["properties"]) == list(env.observation_space.spaces)
    assert env.get_action_schema()["enum"] == list(range(env.action_space.n))
    assert len(env.get_goal_description()) > 40 and env.get_reward_description()


@every_game
def test_an_episode_that_has_ended_says_whether_it_succeeded_and_takes_no_further_step(env_id):
    env = gym.make(env_id)
    env.action_space.seed(0)
    env.reset(seed=0)
    ends = False
    while not ends:
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        ends = terminated or truncated
        assert ("is_success" in info) == ends
    assert type(info["is_success"]) is bool
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\)"):
        env.step(0)


@every_game
def test_it_works_in_vectors(env_id):
    envs = SyncVectorEnv([lambda: gym.make(env_id)] * 2)
    envs.action_space.seed(0)
    observations, _ = envs.reset(seed=[1, 2])
    for _ in range(20):
        observations, rewards, *_ = envs.step(envs.action_space.sample())
    assert rewards.shape == (2,) and observations in envs.observation_space
    envs.close()


@pytest.mark.parametrize(("env_id", "original"), ORIGINALS.items())
def test_it_is_the_original_game(env_id, original):
    named, plain = gym.make(env_id), gym.make(original)
    rng = np.random.default_rng(0)
    observation, there = named.reset(seed=5)[0], plain.reset(seed=5)[0]
    for _ in range(100):
        np.testing.assert_array_equal(np.hstack(list(observation.values())), np.hstack(there))
        action = int(rng.integers(plain.action_space.n))
        observation, reward, *ends, _ = named.step(action)
        there, other_reward, *other_ends, _ = plain.step(action)
        assert (reward, ends) == (other_reward, other_ends)
        if any(ends):
            observation, there = named.reset()[0], plain.reset()[0]


def test_every_number_has_its_own_name():
    lander, cart = gym.make("LunarLanderLLM-v2"), gym.make("CartPoleLLM-v1")
    observation, _ = lander.reset(seed=0)
    assert observation["y"] == pytest.approx(1.4, abs=0.1)  # it begins high above the pad
    for _ in range(20):
        observation, *_ = lander.step(1)
    assert observation["velocity_y"] < 0 and observation["left_leg"] == 0  # and falls
    cart.reset(seed=0)
    for _ in range(5):
        observation, *_ = cart.step(1)
    assert observation["velocity"] > 0.5 and observation["angular_velocity"] < -0.5
    hand, _ = gym.make("BlackjackLLM-v1").reset(seed=0)
    assert list(hand) == ["player_sum", "dealer_card", "usable_ace"]


def test_the_taxi_is_where_the_number_says():
    env = gym.make("TaxiLLM-v3")
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        game = env.unwrapped.game.unwrapped
        assert game.encode(*observation.values()) == game.s
    rows = env.unwrapped.get_goal_description().splitlines()[-7:]
    assert rows[0] == "+---------+" and rows[1] == "|R: | : :G|"


def test_the_lake_is_drawn_and_slippery_only_where_it_is():
    env = gym.make("FrozenLakeLLM-v1", is_slippery=False).unwrapped
    assert env.get_goal_description().endswith("SFFF\nFHFH\nFFFH\nHFFG")
    assert "slippery" not in env.get_goal_description()
    assert "slippery" in gym.make("FrozenLakeLLM-v1").unwrapped.get_goal_description()
    env.reset(seed=0)
    for action in (1, 1, 2, 2, 1, 2):
        observation, reward, terminated, _, info = env.step(action)
    assert (observation, reward, terminated, info["is_success"]) == ({"row": 3, "column": 3}, 1.0, True, True)


def test_the_goal_of_the_grid_is_where_it_is_said_to_be():
    env = gym.make("MiniGridEmptyLLM-v0")
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        for _ in range(40):
            if observation["goal_visible"] and observation["goal_ahead"]:
                action = 2
            elif observation["goal_visible"] and observation["goal_right"]:
                action = 1 if observation["goal_right"] > 0 else 0
            else:
                action = 1
            observation, reward, terminated, _, info = env.step(action)
            if terminated:
                break
        assert terminated and reward > 0 and info["is_success"]


class Pendulum(LLMEnv):
    def __init__(self, game):
        super().__init__(game)

    def get_observation_schema(self):
        return fields()

    def get_action_schema(self):
        return choices()

    def get_goal_description(self):
        return ""


def test_a_game_without_names_or_without_choices_is_refused():
    with pytest.raises(TypeError, match="Dict space; this game gives Discrete"):
        Pendulum(gym.make("FrozenLake-v1"))
    with pytest.raises(TypeError, match=r"Discrete\(n\); this game has Box"):
        LLMEnv.__init__(Pendulum.__new__(Pendulum), gym.make("Pendulum-v1"), spaces.Dict())


def test_an_action_outside_the_space_is_refused():
    env = gym.make("BlackjackLLM-v1").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"2 is not an action; expected one of Discrete\(2\)"):
        env.step(2)
