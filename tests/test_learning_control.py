"""The reduced learning run of classic control; benchmarks/classic.py has the full one, over many seeds and environments."""

import gymnasium as gym

from gymformer import evaluate, preset, train_agent


def test_the_preset_solves_cartpole():
    """Chance of failure: none of the five seeds of the benchmark fails, and this is one of them, with its own seeds fixed."""
    result = train_agent("CartPole-v1", **preset("CartPole-v1"), seed=0, save_path=None, progress=False)
    assert evaluate(result.agent, episodes=100).mean >= 475


def test_a_continuous_policy_improves():
    """Pendulum's return starts near -1200; a tenth of the preset's budget lifts it far beyond what chance would."""
    settings = preset("Pendulum-v1") | {"total_timesteps": 40_000}
    result = train_agent("Pendulum-v1", **settings, seed=0, save_path=None, progress=False)
    first = sum(result[:20]) / 20
    assert evaluate(result.agent, episodes=20).mean > first + 500


def test_three_hundred_episodes_with_everything_default_are_enough_to_see_learning():
    result = train_agent("CartPole-v1", max_episodes=300, seed=0, save_path=None, progress=False)
    assert gym.spec("CartPole-v1").reward_threshold == 475
    assert sum(result[-50:]) / 50 > 2 * sum(result[:50]) / 50
