"""What an algorithm is: segments in, a better actor and statistics out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Protocol

from torch import Tensor, nn

from gymformer.rl.batch import Batch
from gymformer.rl.segment import Segment

__all__ = ["Algorithm", "Alone", "Together"]


class Together(Protocol):
    """How processes that each have a part of the data learn as one: they take every gradient step at the same time."""

    def in_step(self, minibatches: Iterable[Batch]) -> Iterator[Batch]:
        """One epoch's minibatches; every process gets as many."""
        ...

    def average(self, gradient: Tensor) -> None:
        """Overwrites a gradient, or a part of one, by its mean over all processes' current minibatches."""
        ...

    def mean(self, statistic: float) -> float:
        """Of a mean over the decisions of the current minibatch: that over all processes'."""
        ...


class Alone:
    """`Together` for one process: its minibatches, gradients and statistics are all that there are."""

    def in_step(self, minibatches: Iterable[Batch]) -> Iterator[Batch]:
        return iter(minibatches)

    def average(self, gradient: Tensor) -> None: ...

    def mean(self, statistic: float) -> float:
        return statistic


class Algorithm(ABC):
    """Improves its networks by what the actor did. `progress`, in [0, 1], is how much of the training is over; the trainer
    sets it before each update, and schedules follow it. The trainer sets `together` where several processes train one agent."""

    progress: float = 0.0
    together: Together = Alone()

    @abstractmethod
    def update(self, segments: list[Segment]) -> dict[str, float]:
        """One round of learning; returns statistics by name (monitoring/README.md)."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks that learn, by name: what a checkpoint holds."""

    @abstractmethod
    def state_dict(self) -> dict:
        """Everything else that the next update depends on: optimisers, random states."""

    @abstractmethod
    def load_state_dict(self, state: dict) -> None:
        """Goes on from a `state_dict`."""
