"""One episode to look at: its frames, and a GIF of them."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

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
        mask = info.get("action_mask")
        if mask is None and env.has_wrapper_attr("action_masks"):
            mask = env.get_wrapper_attr("action_masks")()
        action = agent.act(observation, greedy=greedy, action_mask=mask, generator=generator)
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        if draws:
            frames.append(env.render())
        if terminated or truncated:
            break
    return total, frames


def save_gif(frames: list[np.ndarray], path: str | Path, fps: int = 30) -> Path:
    """Writes the frames (H, W, 3) uint8 as an endless GIF."""
    try:
        import imageio.v3 as imageio
    except ImportError as error:
        raise ImportError('writing a GIF needs imageio: pip install "gymformer[envs]"') from error
    if not frames:
        raise ValueError('there are no frames; make the environment with render_mode="rgb_array"')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, np.stack(frames), extension=".gif", duration=1000 / fps, loop=0)
    return path
