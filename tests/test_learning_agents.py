"""The reduced learning run of language models that play: one seed, FrozenLake in words."""

import gymnasium as gym

from gymformer import PhraseActor, PPOConfig, evaluate, train_agent
from gymformer.env import PhrasesToTokens, ToText
from gymformer.rl.agent import TrainedAgent

WAYS = ("left", "down", "right", "up")


def test_the_player_finds_its_way_over_the_lake():
    """A small one; by chance it does in 1 of 12 episodes. (In full, and Blackjack: benchmarks/agents.py learning.)"""
    actor = PhraseActor("models/player", WAYS, cached=False)

    def lake() -> gym.Env:
        text = ToText(gym.make("FrozenLake-v1", desc=["SFF", "FHF", "FFG"], is_slippery=False), actions=WAYS, system_prompt="",
                      format_observation=lambda cell: f"row: {cell // 3}, column: {cell % 3}")  # fmt: skip
        return PhrasesToTokens(text, actor.tokenizer, WAYS, window=0)

    config = PPOConfig(lr_actor=1e-3, lr_critic=1e-2, gamma=0.95, lam=0.95, minibatch_size=-1, update_epochs=4, entropy_coef=0.02,
                       lr_schedule="linear", entropy_schedule="linear")  # fmt: skip
    result = train_agent(lake, actor=actor, ppo_config=config, max_episodes=1536, update_interval=128, num_envs=128, seed=0, save_path=None,
                         progress=False)  # fmt: skip
    assert sum(result[:128]) < 32
    env = lake()
    agent = TrainedAgent(actor, None, env.observation_space, env.action_space)
    assert evaluate(agent, lake, episodes=1, greedy=True).mean == 1.0, "nothing is left to chance: one episode is all there are"
    assert evaluate(agent, lake, episodes=50).mean > 0.8
