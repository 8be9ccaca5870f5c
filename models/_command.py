"""The command line of the scripts that make the models, and what they leave beside the weights: a card and the scores on it."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

__all__ = ["options_of", "write_card"]


def options_of(model: str, doc: str | None, count: str = "steps", of: str = "of training") -> argparse.Namespace:
    """Where to write the model, its seed, and for a trial how many `count` to take, else None. From here on torch has one thread:
    with more, other weights would be made."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / model)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(f"--{count}", type=int, help=f"{of}, for a trial that teaches nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    return options


def write_card(folder: Path, card: str, scores: dict[str, Any]) -> None:
    """Writes the card and the scores, which are printed too, with the CPU seconds of the process."""
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print(f"{time.process_time():.0f} CPU s in all", json.dumps(scores, indent=2))
