"""Segments as flat tensors: states, decisions, and shuffled parts of them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from gymformer.rl.segment import Segment

__all__ = ["DecisionBatch", "States", "legal_actions", "minibatches", "per_decision"]


@dataclass(frozen=True, slots=True)
class States:
    """N states that a network can read at once."""

    inputs: Tensor  # (N, *observation_shape) float32

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def of(cls, segments: list[Segment], device: torch.device | str = "cpu") -> Self:
        """All T+1 states of every segment, one segment after another."""
        return cls(torch.from_numpy(np.concatenate([segment.rows for segment in segments])).to(device))

    def __getitem__(self, index: Tensor | slice) -> Self:
        return type(self)(self.inputs[index])


def decision_index(segments: list[Segment]) -> Tensor:
    """(N,) where `States.of(segments)` holds the states in which an action was chosen: all but each segment's last."""
    lengths = np.array([len(segment) for segment in segments])
    return torch.arange(int(lengths.sum())) + torch.from_numpy(np.repeat(np.arange(len(segments)), lengths))


def per_decision(segments: list[Segment], field: str, device: torch.device | str = "cpu") -> Tensor:
    """One field of every segment as one tensor (N, ...), N = Σ T."""
    return torch.from_numpy(np.concatenate([getattr(segment, field) for segment in segments])).to(device)


def legal_actions(segments: list[Segment], num_outputs: int, device: torch.device | str = "cpu") -> Tensor | None:
    """(N, num_outputs) bool, or None where no segment has a mask; a segment without one allows everything."""
    if all(segment.legal is None for segment in segments):
        return None
    masks = [np.ones((len(s), num_outputs), bool) if s.legal is None else s.legal for s in segments]
    return torch.from_numpy(np.concatenate(masks)).to(device)


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """Base of the flat records that algorithms make of segments: every field is None or holds N decisions."""

    states: States

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: Tensor | slice) -> Self:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        part: dict[str, Any] = {name: None if value is None else value[index] for name, value in values.items()}
        return type(self)(**part)


Batch = TypeVar("Batch", bound=DecisionBatch)


def minibatches(batch: Batch, size: int, generator: torch.Generator | None) -> Iterator[Batch]:
    """The batch in shuffled parts of `size` decisions, each decision once. -1, or a size of at least N, is the whole batch.

    The last part may be smaller; a part of one decision alone is joined to the part before, because it has no spread.
    """
    count = len(batch)
    if size == -1 or size >= count:
        yield batch
        return
    shuffled = batch[torch.randperm(count, generator=generator).to(batch.states.inputs.device)]  # one gather an epoch
    bounds = [*range(0, count, size), count]
    if bounds[-1] - bounds[-2] == 1:
        del bounds[-2]
    for start, stop in pairwise(bounds):
        yield shuffled[start:stop]
