"""Virtual environments of the peers: made here when first needed, outside of the project's own dependencies."""

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["python_of"]

HOME = Path(__file__).parent / ".peers"
TORCH = "torch==2.13.0"  # what the project's own lock holds
PINS = {
    "sb3": [TORCH, "stable-baselines3==2.9.2", "gymnasium==1.4.0", "numpy==2.4.6"],
    # CleanRL's ppo.py is written for Gymnasium 0.29.1: later versions reset a vector's environments one step later.
    "cleanrl": [TORCH, "gymnasium==0.29.1", "numpy==2.4.6", "tyro==1.0.17"],
    # TRL's newest, for its GRPO; and 1.11.0, the last that has a PPO (trl.experimental.ppo).
    "trl_grpo": [TORCH, "trl==1.16.0", "transformers==5.23.0", "accelerate==1.15.0", "numpy==2.4.6"],
    "trl_ppo": [TORCH, "trl==1.11.0", "transformers==5.23.0", "accelerate==1.15.0", "numpy==2.4.6"],
    # `transformers serve`, a server of the OpenAI protocol.
    "server": [TORCH, "transformers[serving]==5.23.0", "openai==3.52.0", "fastapi==0.165.0", "uvicorn==0.54.0", "accelerate==1.15.0",
               "numpy==2.4.6"],
}  # fmt: skip


def python_of(peer: str) -> Path:
    """The interpreter of a peer's virtual environment, which is made if it is not there with these versions.

    TORCH_INDEX names a further package index to take torch from, as in the Makefile.
    """
    folder = HOME / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed, wanted = folder / "installed.txt", "\n".join([sys.version, *PINS[peer]])
    if not installed.is_file() or installed.read_text() != wanted:
        print(f"installing {', '.join(PINS[peer])} in {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        index = os.environ.get("TORCH_INDEX")
        extra = ["--extra-index-url", index] if index else []
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *extra, *PINS[peer]], check=True
        )
        installed.write_text(wanted)
    return python
