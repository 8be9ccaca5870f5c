"""What training tells its user: each moment to a callback, and the result at the end."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gymformer.rl.agent import TrainedAgent
from gymformer.rl.segment import Segment

if TYPE_CHECKING:
    from gymformer.monitoring.curves import Chart

__all__ = ["Curriculum", "Moment", "TrainingResult"]


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
