"""The guided tour behind `gymformer demo`: stage by stage, agents learn from nothing on this machine."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from gymformer.evaluation import evaluate, play_episode, save_gif
from gymformer.monitoring.curves import running_mean
from gymformer.presets import preset
from gymformer.trainer import TrainingResult, load_agent, train_agent

__all__ = ["FULL", "QUICK", "Stage", "learn_control", "run_demo", "text_curve"]

EPISODES = 100  # of an evaluation
LINES = 100  # a line of progress every so many episodes, where no bar can be shown


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to see. `run(save_path, seed)` prints what it does, and returns whether it went as it should."""

    title: str
    run: Callable[[Path, int], bool]


def run_demo(stages: Sequence[Stage], save_path: Path, seed: int) -> bool:
    """Runs all stages, and returns whether each of them went as it should."""
    started, good = time.perf_counter(), []
    print("Everything you are about to see is computed now, on this machine. Nothing is downloaded.")
    for number, stage in enumerate(stages, start=1):
        print(f"\n[{number}/{len(stages)}] {stage.title}\n", flush=True)
        good.append(stage.run(save_path, seed))
    failed = [stage.title for stage, ok in zip(stages, good, strict=True) if not ok]
    print(f"\nThe demo took {time.perf_counter() - started:.0f} seconds.", end=" ")
    print(f"It missed its goal in {'; '.join(failed)}." if failed else "What next? gymformer envs, or gymformer train --help")
    return not failed


def learn_control(env_id: str, story: str, save_path: Path, seed: int, settings: dict[str, Any] | None = None) -> bool:
    """Trains with the preset (or `settings`), saves, loads, evaluates and films an agent; whether its mean return of 100
    sampled episodes reaches the environment's threshold."""
    threshold = gym.spec(env_id).reward_threshold
    assert threshold is not None
    print(f"{story}\nIt counts as solved at a mean return of {threshold:g} over {EPISODES} episodes.\n", flush=True)
    started = time.perf_counter()
    settings = preset(env_id) if settings is None else settings
    result = train_agent(env_id, **settings, seed=seed, save_path=save_path, log_interval=LINES)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    seconds = time.perf_counter() - started
    assert result.path is not None
    print(
        f"\nThe agent has played {len(result)} episodes, {result.timesteps:,} steps, in {seconds:.0f} seconds. How it learned:\n"
    )
    print(text_curve(running_mean(result), "mean return of the last 100 episodes", "episode"))
    curve = result.path / "learning_curve.png"
    result.plot(curve)
    agent = load_agent(result.path)
    print(f"\nThe agent, loaded again from its folder, plays {EPISODES} new episodes each way:\n")
    sampled = evaluate(agent, episodes=EPISODES, seed=seed)
    print(f"  actions sampled from its policy:  {sampled}")
    print(f"  always its likeliest action:      {evaluate(agent, episodes=EPISODES, greedy=True, seed=seed)}", flush=True)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures for a file need no screen, and pygame looks for one
    film = result.path / "episode.gif"
    with_pictures = gym.make(env_id, render_mode="rgb_array")
    total, frames = play_episode(agent, with_pictures, seed=seed)
    with_pictures.close()
    # Every second picture: half the file, and no less to see.
    save_gif(frames[::2], film, fps=with_pictures.metadata["render_fps"] // 2)
    solved = sampled.mean >= threshold
    print(f"\n{'Solved' if solved else 'Not solved'}: {sampled.mean:.1f}, and {threshold:g} is asked for.\n")
    _tell(env_id, result, curve, film, total, seed)
    return solved


def _tell(env_id: str, result: TrainingResult, curve: Path, film: Path, total: float, seed: int) -> None:
    """Where everything is, and how to do it oneself."""
    for what, where in (("the agent", result.path), ("its learning curve", curve), (f"an episode of return {total:.0f}", film)):
        print(f"  {what:<28}{where}")
    print(f"\nThe same in Python:\n\n  from gymformer import evaluate, preset, train_agent\n"
          f'  result = train_agent("{env_id}", **preset("{env_id}"), seed={seed})\n'
          f"  print(evaluate(result.agent))")  # fmt: skip


def text_curve(values: Sequence[float] | np.ndarray, ylabel: str = "", xlabel: str = "", *, width: int = 64,
               height: int = 10) -> str:  # fmt: skip
    """A curve of plain characters: `values` from left to right, the axis labelled with the lowest and the highest."""
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return "(no episode has ended yet)"
    columns = np.interp(np.linspace(0, len(values) - 1, width), np.arange(len(values)), values)  # (width,)
    low, high = columns.min(), columns.max()
    rows = np.round((columns - low) / (high - low or 1) * (height - 1)).astype(int)  # 0 is the lowest line
    lines = []
    for row in reversed(range(height)):
        label = f"{low + (high - low) * row / (height - 1):.1f}" if row in (0, height - 1) else ""
        lines.append(f"{label:>9} |" + "".join("*" if row == at else " " for at in rows).rstrip())
    axis = f"{'':>9} +{'-' * width}"
    count = f"{xlabel} {len(values)}".strip()
    return "\n".join([f"{'':>11}{ylabel}", *lines, axis, f"{'':>11}1{count:>{width - 1}}"])


QUICK = [
    Stage("CartPole-v1: balance a pole", partial(
        learn_control, "CartPole-v1",
        "A cart can push left or right; a pole stands on it and must not fall. Every step it stands gives 1 point, 500 at most.\n"
        "The agent knows none of this: it sees four numbers, tries, and learns from its points (PPO, two small networks).",
    )),
]  # fmt: skip
FULL = [
    Stage("LunarLander-v3: land between the flags", partial(
        learn_control, "LunarLander-v3",
        "A lander falls towards the moon; it can fire its main engine or one at its side. A soft landing gives about 250 points,\n"
        "a crash costs 100, and so does a little of every drop of fuel.",
    )),
]  # fmt: skip
