"""Randomness with an owner: every draw comes from a generator derived from one seed and a name."""

import contextlib
import random
import zlib
from collections.abc import Iterator

import numpy as np

__all__ = ["derive_seed", "fresh_seed", "seeded_globals"]


def derive_seed(seed: int, name: str, *index: int) -> int:
    """An integer in [0, 2**32) that depends on all arguments: streams of different names or indices are independent
    (numpy's SeedSequence; https://numpy.org/doc/stable/reference/random/parallel.html)."""
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), *index))
    return int(sequence.generate_state(1)[0])


def fresh_seed() -> int:
    """A seed from the operating system, for runs that named none; it is recorded, so the run can be repeated."""
    return int(np.random.SeedSequence().generate_state(1)[0])


@contextlib.contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Inside, the global generators of `random`, numpy and torch start from `seed`; afterwards they are as before.

    Only for environments that ignore `reset(seed=...)` and draw from the global generators.
    """
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        seed_globals(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def seed_globals(seed: int) -> None:
    """The global generators of `random`, numpy and torch start from `seed`, for good."""
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
