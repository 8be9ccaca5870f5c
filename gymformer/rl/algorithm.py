"""What an algorithm is: segments in, a better actor and statistics out."""

from abc import ABC, abstractmethod

from torch import nn

from gymformer.rl.segment import Segment

__all__ = ["Algorithm"]


class Algorithm(ABC):
    """Improves its networks by what the actor did. `progress`, in [0, 1], is how much of the training is over; the trainer
    sets it before each update, and schedules follow it."""

    progress: float = 0.0

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
