"""One thread, quiet settings and a generator for every test."""

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
# The same examples in every run, and no limit of time for one of them: a slow machine is not a failure.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None,
                          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
settings.load_profile("repeatable")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Files that take longest, in this order. One that begins last would leave the other process with nothing to do at the end.
LONGEST = ("test_notebooks", "test_benchmarks", "test_learning", "test_distributed", "test_packaging", "test_shipped")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.path.name.startswith(name)), len(LONGEST))

    items.sort(key=rank)
