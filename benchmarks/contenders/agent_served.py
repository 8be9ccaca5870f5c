"""models/player behind a server of the OpenAI protocol that is not ours, `transformers serve`, plays games from a configuration."""

import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measure

from gymformer.agents import run_experiment

ROOT = Path(__file__).parents[2]
MODEL = "models/player"  # for the server, which runs in ROOT
PATIENCE = 300  # seconds until the server must answer
AGENT = {
    "backend": "openai", "model": MODEL, "api_key_env": "", "temperature": 0.8, "max_tokens": 200,
    "response_format": "text",  # this server enforces no schema
    "answer_retries": 1, "fallback": 0,
}  # fmt: skip


@contextmanager
def served(python: str) -> Iterator[str]:
    """The base_url of `transformers serve`, run by that interpreter until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        python,
        "-m",
        "transformers.cli.transformers",
        "serve",
        MODEL,
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT) as server:
        try:
            deadline = time.monotonic() + PATIENCE
            while not _is_well(f"http://127.0.0.1:{port}/health"):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(command)} does not answer; it says:\n{log.read().decode()[-2000:]}")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def play(base_url: str, game: str, episodes: int, max_steps: int, seed: int) -> dict[str, Any]:
    """How many questions were answered by an action at once, after one correction, and not at all."""
    with tempfile.TemporaryDirectory() as folder:
        results = run_experiment({
            "agent": {**AGENT, "base_url": base_url},
            "environment": {"name": game},
            "experiment": {"parent": folder, "name": game, "seed": seed, "num_runs": episodes, "max_steps": max_steps, "save_gif": False,
                           "verbose": False},
        })  # fmt: skip
    asked, rejected, fallbacks = (results["answers"][name] for name in ("asked", "rejected", "fallbacks"))
    corrected = rejected - 2 * fallbacks  # where nothing was accepted, two answers were rejected; else at most one
    return {"game": game, "episodes": episodes, "at_once": asked - corrected - fallbacks, "corrected": corrected, "fallbacks": fallbacks,
            "mean_return": results["avg_reward"]}  # fmt: skip


def serve(settings: dict[str, Any]) -> dict[str, Any]:
    """All games, at one server."""
    with served(settings["python"]) as base_url:
        started = time.monotonic()
        games = [
            play(base_url, game, episodes, settings["max_steps"], settings["seed"])
            for game, episodes in settings["games"].items()
        ]
        return {"games": games, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(serve(measure.task()[1]))
