import random

import numpy as np
import pytest
import torch

from gymformer.seeding import derive_seed, fresh_seed, seed_globals, seeded_globals


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002


def test_derived_seeds_stay_the_same_for_ever():
    """Runs are recorded with their seed: these numbers must never change."""
    assert [derive_seed(0, "environment", i) for i in range(3)] == [1755992661, 1182787810, 378893727]


def test_every_argument_counts():
    seeds = [derive_seed(*key) for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", 0, 0)]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_many_derived_seeds_are_all_different():
    """Collisions of 1000 numbers below 2³²: 1e-4 expected, and the seeds are fixed."""
    assert len({derive_seed(seed, "environment", i) for seed in range(10) for i in range(100)}) == 1000


def test_fresh_seeds_differ():
    """Two of them are equal once in 2³² runs."""
    assert fresh_seed() != fresh_seed()


def test_seeded_globals_start_from_the_seed_and_are_put_back():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    with seeded_globals(3):
        first = draws()
    with seeded_globals(3):
        assert draws() == first
    with seeded_globals(4):
        assert not set(draws()) & set(first)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_seeded_globals_are_put_back_after_an_error():
    state = random.getstate()
    with pytest.raises(KeyError), seeded_globals(3):
        draws()
        raise KeyError
    assert random.getstate() == state


def test_seed_globals_is_for_good():
    with seeded_globals(0):  # so that the tests that follow are not touched
        seed_globals(7)
        first = draws()
        seed_globals(7)
        assert draws() == first
