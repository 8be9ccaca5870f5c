from dataclasses import dataclass
from itertools import chain

import numpy as np
import pytest
import torch
from torch import Tensor

from gymformer.rl.batch import DecisionBatch, States, decision_index, minibatches, per_decision
from tests.helpers import a_segment


@dataclass(frozen=True, slots=True)
class Numbered(DecisionBatch):
    number: Tensor
    nothing: Tensor | None = None


def numbered(count: int) -> Numbered:
    return Numbered(States(torch.arange(count, dtype=torch.float32)[:, None] * 10), torch.arange(count))


def parts_of(count: int, size: int, seed: int = 0) -> list[list[int]]:
    return [part.number.tolist() for part in minibatches(numbered(count), size, torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("count", [2, 7, 10, 11, 12, 64])
@pytest.mark.parametrize("size", [2, 5, 11, 64, -1])
def test_every_decision_comes_once(count, size):
    assert sorted(chain(*parts_of(count, size))) == list(range(count))


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [
        (10, 5, [5, 5]),
        (12, 5, [5, 5, 2]),  # the last part may be smaller
        (11, 5, [5, 6]),  # but a lone decision is joined
        (3, 2, [3]),
        (10, -1, [10]),
        (10, 10, [10]),
        (10, 64, [10]),
        (1, 64, [1]),
    ],
)
def test_sizes_of_the_parts(count, size, lengths):
    assert [len(part) for part in parts_of(count, size)] == lengths


def test_the_generator_decides_the_order():
    assert parts_of(64, 8, seed=1) == parts_of(64, 8, seed=1) != parts_of(64, 8, seed=2)
    assert list(chain(*parts_of(64, 8))) != list(range(64))


def test_another_epoch_shuffles_again(generator):
    first, second = ([part.number.tolist() for part in minibatches(numbered(64), 8, generator)] for _ in range(2))
    assert first != second


def test_fields_stay_together_and_none_stays_none(generator):
    for part in minibatches(numbered(30), 4, generator):
        assert part.nothing is None
        assert (part.states.inputs[:, 0] == part.number * 10).all()


def test_decisions_are_all_states_but_each_segments_last():
    rows = [np.array([[i, t] for t in range(length + 1)], np.float32) for i, length in enumerate([2, 1, 3])]
    segments = [a_segment([0.5] * (len(r) - 1), True, r) for r in rows]
    states = States.of(segments)
    assert len(states) == 9
    assert states[decision_index(segments)].inputs.tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [2, 2]]
    assert per_decision(segments, "actions").tolist() == [0, 1, 0, 0, 1, 0]
