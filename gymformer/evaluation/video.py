"""One episode to look at: its frames, and a GIF of them."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image

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
    if not frames:
        raise ValueError('there are no frames; make the environment with render_mode="rgb_array"')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One palette for all frames, from eight of them: a palette for each takes ten times as long and flickers.
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 8)])[::2, ::2])
    palette = sample.quantize(256, dither=Image.Dither.NONE)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / fps, loop=0)
    return path
