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
