"""Segments as flat tensors: states, decisions, and parts of them that a network reads at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from gymformer.rl.segment import Segment

__all__ = [
    "DecisionBatch",
    "States",
    "importance_weights",
    "legal_actions",
    "minibatches",
    "padded",
    "parts",
    "per_decision",
    "weighted",
]


@dataclass(frozen=True, slots=True)
class States:
    """N states that a network can read at once: N vectors, or N places in R rows of tokens.

    Token state n is row `row[n]` read up to and including index `col[n]`. Rows are padded on their right, where a causal
    network cannot look, so no mask is needed.
    """

    inputs: Tensor  # (N, *observation_shape) float32, or (R, L) int64
    row: Tensor | None = None  # (N,) int64, of token rows only
    col: Tensor | None = None  # (N,) int64, of token rows only

    def __len__(self) -> int:
        return len(self.inputs if self.row is None else self.row)

    @classmethod
    def of(cls, segments: list[Segment], device: torch.device | str = "cpu") -> Self:
        """All T+1 states of every segment, one segment after another."""
        if not segments[0].reads_tokens:
            return cls(torch.from_numpy(np.concatenate([np.asarray(segment.rows) for segment in segments])).to(device))
        inputs, place = padded([row for segment in segments for row in segment.rows])
        first = np.cumsum([0, *(len(segment.rows) for segment in segments[:-1])])
        row = place[np.concatenate([n + np.asarray(segment.row) for n, segment in zip(first, segments, strict=True)])]
        col = np.concatenate([np.asarray(segment.col) for segment in segments])
        return cls(*(torch.from_numpy(array).to(device) for array in (inputs, row, col)))

    def __getitem__(self, index: Tensor | slice) -> Self:
        """Some of the states; of token rows only those that they lie in, cut to the longest that is read."""
        if self.row is None or self.col is None:
            return type(self)(self.inputs[index])
        rows, row = torch.unique(self.row[index], return_inverse=True)
        col = self.col[index]
        length = int(col.max()) + 1 if len(col) else 0
        return type(self)(self.inputs[rows, :length], row, col)

    def to(self, device: torch.device | str) -> Self:
        row, col = (None if index is None else index.to(device) for index in (self.row, self.col))
        return type(self)(self.inputs.to(device), row, col)

    def groups(self, size: int, order: Tensor) -> list[Tensor]:
        """Token rows taken in `order` (R,), as indices of states: parts of about `size` states; a row is never split."""
        assert self.row is not None
        counts = torch.bincount(self.row, minlength=len(self.inputs))
        before = counts[order].cumsum(0) - counts[order]
        number = max(1, round(len(self) / size))
        part_of_row = torch.empty_like(counts).index_copy_(0, order, before * number // len(self))
        part = part_of_row[self.row]
        return list(torch.argsort(part, stable=True).split([n for n in torch.bincount(part).tolist() if n]))


def padded(rows: Sequence[np.ndarray | list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of tokens as (R, L) int64, padded on the right, and for each row given where it lies: equal ones are there once."""
    arrays = [np.asarray(row, np.int64) for row in rows]
    distinct: dict[bytes, int] = {}
    place = np.array([distinct.setdefault(row.tobytes(), len(distinct)) for row in arrays])
    inputs = np.zeros((len(distinct), max(map(len, arrays))), np.int64)
    for row, content in enumerate(distinct):
        tokens = np.frombuffer(content, np.int64)
        inputs[row, : len(tokens)] = tokens
    return inputs, place


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


def importance_weights(segments: list[Segment], device: torch.device | str = "cpu") -> Tensor | None:
    """(N,) float32, or None where no segment has weights; a decision of one without them counts once."""
    if all(segment.weights is None for segment in segments):
        return None
    weights = [np.ones(len(s), np.float32) if s.weights is None else s.weights for s in segments]
    return torch.from_numpy(np.concatenate(weights).astype(np.float32)).to(device)


def weighted(advantages: Tensor, weights: Tensor | None) -> Tensor:
    """Advantages (N,), those of an older policy's decisions times their importance."""
    return advantages if weights is None else advantages * weights


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

    The last part may be smaller; a part of one decision alone is joined to the part before, because it has no spread. A row
    of tokens is never split, so parts of token rows hold about `size` decisions: each row is read once an epoch.
    """
    count, states = len(batch), batch.states
    if size == -1 or size >= count:
        yield batch
        return
    if states.row is not None:
        order = torch.randperm(len(states.inputs), generator=generator).to(states.inputs.device)
        for index in states.groups(size, order):
            yield batch[index]
        return
    shuffled = batch[torch.randperm(count, generator=generator).to(states.inputs.device)]  # one gather an epoch
    bounds = [*range(0, count, size), count]
    if bounds[-1] - bounds[-2] == 1:
        del bounds[-2]
    for start, stop in pairwise(bounds):
        yield shuffled[start:stop]


def parts(states: States, size: int) -> list[Tensor | slice]:
    """Which states are read together where all are read once and memory is the limit: rows of like length, about `size`
    states at a time. Vectors are read all at once."""
    if states.row is None or states.col is None or len(states) <= size:
        return [slice(None)]
    lengths = torch.zeros(len(states.inputs), dtype=torch.int64, device=states.col.device)
    lengths.scatter_reduce_(0, states.row, states.col, "amax")
    return list(states.groups(size, lengths.argsort()))
