"""What training tells its user: each moment to a callback, and the result at the end."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from gymformer.rl.agent import TrainedAgent
from gymformer.rl.segment import Segment

if TYPE_CHECKING:
    from gymformer.monitoring.curves import Chart

__all__ = ["Curriculum", "Moment", "Outcome", "TrainingResult", "outcomes_of", "summary_of"]

KINDS = 32  # of tasks in one update; where there are more, each episode has a task of its own, and they are no kinds


class Curriculum(Protocol):
    """Chooses what the next episodes are like, and learns from how the last ones went.

    Where it also has `state_dict` and `load_state_dict` (of JSON values), a checkpoint holds them.
    """

    def options(self) -> dict[str, Any]:
        """What `env.reset(options=...)` is asked for at the next reset."""
        ...

    def observe(self, segments: list[Segment]) -> dict[str, float] | None:
        """Takes notice of a rollout; may return statistics for the log."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of one environment, as a callback sees it. A callback that returns False stops training."""

    episode: int  # episodes that had ended in all environments before this step
    timestep: int  # steps in all environments so far, this one included
    environment: int  # which of the environments
    observation: Any  # what the action was chosen for, as the environment gave it
    action: Any  # as the environment took it
    reward: float
    terminated: bool  # the environment ended the episode
    truncated: bool  # the episode was cut off
    running_reward: float | None  # mean return of the last 100 episodes; None before the first has ended
    statistics: dict[str, Any]  # of the latest update; empty before the first

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated


class TrainingResult(list[float]):
    """The returns of all episodes, in the order of their ends (in token environments of their starts, rollout by rollout); and the
    agent, the metrics of every update, and a plot."""

    def __init__(self, returns: Iterable[float], *, agent: TrainedAgent, metrics: list[dict[str, Any]], path: Path | None,
                 seed: int, timesteps: int, stopped: Literal["finished", "callback", "interrupted"]):  # fmt: skip
        super().__init__(returns)
        self.agent, self.metrics, self.path, self.seed = agent, metrics, path, seed
        self.timesteps, self.stopped = timesteps, stopped

    @property
    def running_reward(self) -> float | None:
        """Mean return of the last 100 episodes; None if no episode has ended."""
        last = self[-100:]
        return sum(last) / len(last) if last else None

    def plot(self, path: str | Path | None = None) -> "Chart":
        """The learning curve; a notebook shows it by itself. With `path`, also written there."""
        from gymformer.monitoring.curves import plot_training

        chart = plot_training(self, self.metrics, title=self.agent.env_id or "")
        if path is not None:
            chart.savefig(path)
        return chart


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the environment's last info says of an episode; None where it does not say."""

    task: str | None  # its kind
    success: float | None  # how far the goal was attained, from 0 to 1
    difficulty: float | None  # from 0 to 1


def outcomes_of(segments: Iterable[Segment]) -> list[Outcome]:
    """Of the episodes that ended."""
    return [
        Outcome(task if isinstance(task := segment.info.get("task"), str) else None,
                *(_number(segment.info.get(name)) for name in ("success", "difficulty")))
        for segment in segments if segment.ended
    ]  # fmt: skip


def summary_of(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Columns of the log: the means `success` and `difficulty`; for each kind of task T `task/T`, the number of its episodes,
    `success/T` and `difficulty/T`. What no episode knows is left out."""
    outcomes = list(outcomes)
    summary = _means(outcomes)
    tasks = sorted({outcome.task for outcome in outcomes if outcome.task is not None})
    for task in tasks if len(tasks) <= KINDS else []:
        its = [outcome for outcome in outcomes if outcome.task == task]
        summary |= {f"task/{task}": len(its)} | {f"{name}/{task}": mean for name, mean in _means(its).items()}
    return summary


def _means(outcomes: list[Outcome]) -> dict[str, float]:
    columns = {name: [value for outcome in outcomes if (value := getattr(outcome, name)) is not None]
               for name in ("success", "difficulty")}  # fmt: skip
    return {name: sum(values) / len(values) for name, values in columns.items() if values}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, bool | int | float | np.bool_ | np.number) else None
