"""CleanRL's ppo.py, run as it is from a clone of its repository (`--cleanrl PATH`); nothing of it is part of this project.

Its SummaryWriter is replaced by one that only watches the clock, so that no event file is written on CleanRL's account.
"""

import contextlib
import os
import runpy
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import measure
import numpy as np
import torch

OnIteration = Callable[[int, dict], None]  # environment steps so far, and the script's globals


class Over(Exception):
    """Ends the script."""


def run(s: dict, total_timesteps: int, on_update: OnIteration, on_rollout_end: Callable[[], None]) -> None:
    """The script's training loop. CleanRL logs "charts/SPS" once in each iteration, and explained variance before it."""

    class Writer:
        def __init__(self, *args, **kwargs): ...
        def add_text(self, *args, **kwargs): ...
        def close(self): ...

        def add_scalar(self, name: str, value: float, step: int) -> None:
            if name == "charts/SPS":
                on_update(step, sys._getframe(1).f_globals)

    sys.modules["torch.utils.tensorboard"] = types.SimpleNamespace(SummaryWriter=Writer)
    batch_size = s["num_envs"] * s["rollout_steps"]
    flags = {"num-envs": s["num_envs"], "num-steps": s["rollout_steps"], "num-minibatches": batch_size // s["minibatch_size"],
             "update-epochs": s["epochs"], "gamma": s["gamma"], "gae-lambda": s["lam"], "learning-rate": s["lr"], "ent-coef": 0.0,
             "total-timesteps": total_timesteps, "env-id": measure.ENV_ID, "seed": s["seed"]}  # fmt: skip
    sys.argv = ["ppo.py", *(f"--{name}={value}" for name, value in flags.items()), "--no-clip-vloss", "--no-cuda"]
    # The update is the only part that shuffles with numpy, once an epoch, so the first shuffle ends the rollout.
    shuffle = np.random.shuffle

    def shuffle_and_tell(array) -> None:
        on_rollout_end()
        shuffle(array)

    np.random.shuffle = shuffle_and_tell
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.suppress(Over):
            runpy.run_path(s["script"], run_name="__main__")
    finally:
        np.random.shuffle = shuffle


def speed(s: dict) -> dict:
    steps = s["num_envs"] * s["rollout_steps"]
    laps = measure.Laps(s["warm_up"])

    def on_rollout_end() -> None:
        if len(laps.marks) == 1:
            laps.mark()

    run(s, steps * (s["warm_up"] + s["iterations"]), lambda step, script: laps.end(steps), on_rollout_end)
    return laps.report()


def solve(s: dict) -> dict:
    run(s, 1024, lambda step, script: None, lambda: None)
    clock = measure.SolveClock()

    def on_update(step: int, script: dict) -> None:
        @torch.no_grad()
        def act(observations: np.ndarray) -> np.ndarray:
            return script["agent"].get_action_and_value(torch.from_numpy(observations))[0].numpy()

        if clock.is_solved(step, act):
            raise Over

    run(s, s["total_timesteps"], on_update, lambda: None)
    return clock.report()


if __name__ == "__main__":
    measure.one_thread()
    warnings.filterwarnings("ignore", module="tyro")  # of annotations in the script
    name, settings = measure.task()
    measure.answer({"speed": speed, "solve": solve}[name](settings))
