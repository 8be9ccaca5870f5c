"""Contenders asked in turn, each in a process of its own, and where their answers are kept."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, QUICK_RESULTS = HERE / "results", HERE / ".peers" / "quick-results"
PACKAGES = ("gymformer", "torch", "gymnasium", "numpy", "transformers")
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}  # everything is made here; and TRL need not warn of itself

Ask = Callable[[dict[str, Any]], dict[str, Any]]  # settings -> what the contender's process answers


def ask(python: Path | str, script: str, task: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What contenders/<script> answers, run in a process of its own with one thread, and without a GPU unless asked for."""
    command = [python, HERE / "contenders" / script, task, json.dumps(settings)]
    environment = os.environ | ENVIRONMENT | OFFLINE | ({} if settings.get("device") == "cuda" else NO_GPU)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(rounds: int, asked: dict[str, Ask], settings: dict[str, Any], what: str) -> dict[str, list[dict[str, Any]]]:
    """Every contender's answers, asked A B C A B C ..., so that a machine that drifts drifts for all. The round is the seed."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in asked}
    for number in range(rounds):
        for name, one in asked.items():
            print(f"{what}, round {number + 1} of {rounds}: {name}", flush=True)
            answers[name].append(one(settings | {"seed": number}))
    return answers


def side_by_side(at_once: int, script: str, task: str, each: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The project's own answers to all of these settings, so many at a time: each counts its own CPU seconds, on one thread."""

    def one(settings: dict[str, Any]) -> dict[str, Any]:
        print(f"{task}: {settings}", flush=True)
        return ask(sys.executable, script, task, settings)

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, each))


def machine(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    return {"date": time.strftime("%Y-%m-%d"), "cpu": _cpu(), "cores": os.cpu_count(), "load": os.getloadavg()[0],
            "platform": platform.platform(), "python": platform.python_version(),
            "versions": {name: version(name) for name in packages}}  # fmt: skip


def _cpu() -> str:
    return cpu_info("model name") or platform.processor()


def cpu_info(field: str) -> str:
    """What Linux says of the first processor; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def results_in(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").is_file()}


def measured_before(folder: Path, name: str, part: str) -> dict[str, Any]:
    """A part of a result that is there, to which more is added."""
    return results_in(folder, [name]).get(name, {}).get(part, {})


def write(name: str, result: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
