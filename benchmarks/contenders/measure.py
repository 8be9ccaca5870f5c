"""The clock that every contender is measured with, and what stops it. Imports only what all of them have."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np

Act = Callable[[np.ndarray], np.ndarray]  # observations (B, 4) -> sampled actions (B,)

ENV_ID = "CartPole-v1"
EPISODES = 100  # that the policy is evaluated over
PACKAGES = ("gymformer", "stable_baselines3", "trl", "transformers", "torch", "gymnasium", "numpy")


class Laps:
    """Seconds of each iteration's rollout and update, by `clock`; CPU seconds unless told otherwise.

    The first `warm_up` iterations are not counted.
    """

    def __init__(self, warm_up: int, clock: Callable[[], float] = time.process_time):
        self.warm_up, self.clock, self.records, self.marks = warm_up, clock, [], [clock()]

    def mark(self) -> None:
        """The rollout has ended, or the update has."""
        self.marks.append(self.clock())

    def end(self, steps: int) -> None:
        """An iteration of `steps` environment steps is over, and the next begins, unless `begin` is called later."""
        self.mark()
        started, acted, updated = self.marks
        self.records.append((steps, acted - started, updated - acted))
        self.begin()

    def begin(self) -> None:
        self.marks = [self.clock()]

    def report(self) -> dict[str, float]:
        """Environment steps, and the seconds of rollout and update, of the counted iterations together."""
        steps, rollout, update = (float(sum(column)) for column in zip(*self.records[self.warm_up :], strict=True))
        return {"steps": steps, "rollout_seconds": rollout, "update_seconds": update}


class SolveClock:
    """CPU seconds of training until the sampled policy's mean return over 100 episodes reaches `threshold`.

    The clock stands while the policy is evaluated, every `every` environment steps.
    """

    def __init__(self, every: int = 2048, threshold: float = 475.0):
        import gymnasium as gym  # which TRL's environments lack

        self.every, self.threshold = every, threshold
        self.envs = [gym.make(ENV_ID) for _ in range(EPISODES)]
        self.evaluations, self.evaluated_at, self.solved_at = 0, 0, None
        self.paused, self.started = 0.0, time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self.started - self.paused

    def is_solved(self, timesteps: int, act: Act) -> bool:
        """To be asked after every update."""
        if timesteps - self.evaluated_at < self.every:
            return False
        stopped = time.process_time()
        self.evaluated_at, self.evaluations = timesteps, self.evaluations + 1
        solved = self._reaches_threshold(act)
        self.paused += time.process_time() - stopped
        if solved:
            self.solved_at = timesteps
        return solved

    def _reaches_threshold(self, act: Act) -> bool:
        """Plays the episodes, the same 100 starts each time, and gives up once the mean cannot be reached any more."""
        observations = np.stack([env.reset(seed=1_000_000 + i)[0] for i, env in enumerate(self.envs)])
        live, length = list(range(EPISODES)), 0
        missing = (500 - self.threshold) * EPISODES  # return that may be lost in all episodes together
        while live:
            length += 1
            actions, still = np.asarray(act(observations)), []
            for row, i in enumerate(live):
                observations[row], _, terminated, truncated, _ = self.envs[i].step(int(actions[row]))
                if not (terminated or truncated):
                    still.append(row)
                elif terminated:
                    missing -= 500 - length
            if missing < 0:
                return False
            observations, live = observations[still], [live[row] for row in still]
        return True

    def report(self) -> dict[str, float | int | None]:
        return {"seconds": self.seconds, "timesteps": self.solved_at, "evaluations": self.evaluations}


def task() -> tuple[str, dict]:
    """What this process is asked to measure: a name and its settings."""
    return sys.argv[1], json.loads(sys.argv[2])


def peak_bytes() -> int:
    """The most memory that this process has held at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kilobytes on Linux


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise RuntimeError("OMP_NUM_THREADS must be 1 before numpy is imported; start this through benchmarks/classic.py")


def answer(report: dict) -> None:
    """Hands the report to classic.py: the last line of stdout."""
    print(json.dumps(report | {"versions": _versions()}), flush=True)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
