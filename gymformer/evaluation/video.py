"""One episode to look at: its frames, and its return."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymformer.evaluation.players import legal_actions
from gymformer.pictures import save_gif
from gymformer.rl.agent import TrainedAgent
from gymformer.seeding import derive_seed

__all__ = ["play_episode", "save_gif"]


def play_episode(agent: TrainedAgent, env: gym.Env, *, greedy: bool = False, seed: int = 0,
                 max_timesteps: int = 10_000) -> tuple[float, list[np.ndarray]]:  # fmt: skip
    """One episode; its return, and its frames where the environment renders "rgb_array"."""
    generator = torch.Generator(next(agent.actor.parameters()).device).manual_seed(derive_seed(seed, "actions"))
    draws = env.render_mode == "rgb_array"
    observation, info = env.reset(seed=seed)
    frames: list[Any] = [env.render()] if draws else []
    total = 0.0
    for _ in range(max_timesteps):
        action = agent.act(observation, greedy=greedy, action_mask=legal_actions(env, info), generator=generator)
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        if draws:
            frames.append(env.render())
        if terminated or truncated:
            break
    return total, frames
