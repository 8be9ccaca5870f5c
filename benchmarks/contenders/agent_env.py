"""What the contenders of agents.py play: a grid world in words, twenty turns an episode, no end before."""

import gymnasium as gym
from gymnasium.wrappers import TimeLimit

from gymformer.env import ToText

ENV_ID, ACTIONS = "CliffWalking-v1", ("up", "right", "down", "left")
MODEL, MAX_NEW_TOKENS = "models/player", 8


def cliff(turns: int) -> gym.Env:
    game = gym.make(ENV_ID, disable_env_checker=True, max_episode_steps=-1)
    return TimeLimit(ToText(game, actions=ACTIONS, retries=0), turns)
