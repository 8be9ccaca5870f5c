"""Evaluation: fair, repeatable, and with intervals that mean something."""

import gymnasium as gym
import numpy as np
import pytest

from gymformer import LMActorNetwork, PPOConfig, evaluate, train_agent
from gymformer.evaluation import play_episode, play_tokens, save_gif
from gymformer.evaluation.metrics import bootstrap_interval
from gymformer.rl.agent import language_agent


@pytest.fixture(scope="module")
def agent():
    config = PPOConfig(update_epochs=1)
    return train_agent("CartPole-v1", ppo_config=config, max_episodes=4, seed=0, save_path=None, progress=False).agent


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """400 intervals of 60 normal values at 95%: covered 0.945 (the percentile bootstrap is a little narrow);
    fewer than 0.9 or more than 0.99 has a chance below 1e-3."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(2.0, 1.0, 60), resamples=1000, seed=i) for i in range(400)]
    covered = np.mean([low <= 2.0 <= high for low, high in intervals])
    assert 0.9 < covered < 0.99


def test_constant_values_have_an_interval_of_no_width_and_none_have_none():
    assert bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


def test_one_seed_gives_the_same_episodes(agent):
    assert evaluate(agent, episodes=6, seed=3).returns == evaluate(agent, episodes=6, seed=3).returns
    assert evaluate(agent, episodes=6, seed=3).returns != evaluate(agent, episodes=6, seed=4).returns


@pytest.mark.parametrize("episodes", [1, 7, 16])
def test_as_many_episodes_as_asked_are_played(agent, episodes):
    result = evaluate(agent, episodes=episodes)
    assert len(result.returns) == len(result.lengths) == episodes
    assert result.returns == [float(n) for n in result.lengths]  # CartPole pays 1 a step: resets are not counted
    assert result.mean == pytest.approx(np.mean(result.returns))


class TwoLengths(gym.Env):
    """Every second environment made has long episodes: 1 step pays 1, 30 steps pay 30."""

    observation_space, action_space = gym.spaces.Box(-5, 5, (4,)), gym.spaces.Discrete(2)
    made = 0

    def __init__(self):
        TwoLengths.made += 1
        self.length = 30 if TwoLengths.made % 2 else 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(4, np.float32), 1.0, self.t == self.length, False, {}


def test_short_episodes_are_not_preferred(agent):
    """The first ten to end would nearly all be short ones."""
    agent = train_agent(TwoLengths, max_episodes=4, num_envs=2, seed=0, save_path=None, progress=False).agent
    TwoLengths.made = 0
    assert evaluate(agent, TwoLengths, episodes=10, num_envs=2).mean == 15.5


def test_the_success_rate_is_the_share_at_or_above_the_threshold(agent):
    result = evaluate(agent, episodes=4)
    assert result.threshold == gym.spec("CartPole-v1").reward_threshold == 475
    assert result.success_rate == np.mean([r >= 475 for r in result.returns])
    assert evaluate(agent, lambda: gym.make("CartPole-v1").unwrapped, episodes=1, max_timesteps=5).success_rate is None
    assert "over 4 sampled episodes" in str(result)


def test_evaluation_leaves_a_normalising_agent_as_it_is():
    agent = train_agent(
        "Pendulum-v1", max_episodes=1, max_timesteps=20, seed=0, save_path=None, progress=False, normalize_observations=True
    ).agent
    before = agent.encoder.moments.count
    evaluate(agent, episodes=1, max_timesteps=20)
    assert agent.encoder.moments.count == before > 0


def test_another_environment_is_refused(agent):
    with pytest.raises(ValueError, match="evaluate it in the environment that it was trained in"):
        evaluate(agent, "Pendulum-v1")
    with pytest.raises(ValueError, match="episodes=0"):
        evaluate(agent, episodes=0)


def test_an_episode_becomes_a_gif(agent, tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    score, frames = play_episode(agent, gym.make("CartPole-v1", render_mode="rgb_array"), seed=1)
    assert len(frames) == score + 1
    assert save_gif(frames, tmp_path / "deep" / "a.gif").read_bytes().startswith(b"GIF89a")
    with pytest.raises(ValueError, match="there are no frames"):
        save_gif([], tmp_path / "b.gif")


def test_an_id_with_a_module_is_found_as_gymnasium_finds_it(agent):
    for env in ("gymnasium:CartPole-v1", "CartPole"):
        assert evaluate(agent, env, episodes=4, num_envs=2).threshold == 475


@pytest.mark.parametrize("play", [evaluate, play_tokens])
def test_a_module_that_an_agents_folder_names_is_not_imported_unasked(play, tmp_path, monkeypatch):
    (tmp_path / "from_elsewhere.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    agent = language_agent(LMActorNetwork("models/reasoner"), "from_elsewhere:CoTEnv-v0")
    with pytest.raises(ValueError, match=rf"name it yourself: {play.__name__}\(agent, 'from_elsewhere:CoTEnv-v0'\)"):
        play(agent)
