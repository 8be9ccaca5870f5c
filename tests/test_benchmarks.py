"""The benchmarks still run with the library as it is, and their README says what they measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY = {"seed": 0, "num_envs": 2, "rollout_steps": 8, "epochs": 1, "minibatch_size": 16, "gamma": 0.98, "lam": 0.8, "lr": 1e-3,
        "warm_up": 1, "iterations": 1}  # fmt: skip


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, BENCHMARKS / script, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_readmes_tables_are_those_of_the_results():
    run("classic.py", "tables", "--check")


@pytest.mark.parametrize(
    ("script", "task", "settings"),
    [
        ("contenders/gymformer_ppo.py", "speed", TINY),
        ("contenders/numpy_ppo.py", "speed", TINY),
        ("contenders/parts.py", "gradient_step", {"seed": 0, "kind": "fused", "minibatch_size": 64, "steps": 10}),
        ("contenders/parts.py", "gradient_step", {"seed": 0, "kind": "packed", "minibatch_size": 64, "steps": 10}),
    ],
)
def test_a_contender_runs(script, task, settings):
    answer = json.loads(run(script, task, json.dumps(settings)).splitlines()[-1])
    assert answer["steps"] > 0
