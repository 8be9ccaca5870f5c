"""What a model learns in the environments that speak: puzzles, memory, calibration, manners; benchmarks/README.md explains every figure.

python benchmarks/text_environments.py learning|all [--quick] [--task NAME] [--out FOLDER]
python benchmarks/text_environments.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import sys
from typing import Any

import text_tables
from driver import arguments, drive
from running import measured_before, side_by_side

SEEDS = 3
MODEL = "models/speaker"
EPISODES = 200  # held out, before and after
LEARNER = {
    "algorithm": "grpo",
    "config": {"lr_actor": 5e-4, "lr_schedule": "linear"},
    "update_interval": 128,
}  # in all else the defaults
TASKS = {"logic": 50_000, "memory": 80_000, "meta": 40_000, "dialogue": 200_000}  # sampled tokens
QUICK = {"tokens": 500, "episodes": 4}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Every task from the same model. With --task one task is measured, and takes its place among the results that are there."""
    tasks = measured_before(options.out, "text_learning", "tasks") if options.task else {}
    quick = QUICK if options.quick else {}
    for task, tokens in TASKS.items():
        if options.task in (None, task):
            asked = {"task": task, "model": MODEL, "episodes": EPISODES, "tokens": tokens, **LEARNER, **quick}
            each = [asked | {"seed": seed} for seed in range(1 if options.quick else SEEDS)]
            runs = side_by_side(options.at_once, "text_learning.py", "learn", each)
            (players,) = side_by_side(1, "text_learning.py", "players", [asked])
            tasks[task] = {"settings": asked, "runs": runs, "players": players}
    found = {"tasks": tasks}
    text_tables.draw(found, options.out / "text_learning.png")
    return found


COMMANDS = {"learning": learning}


def main() -> int:
    parser = arguments(__doc__, COMMANDS)
    parser.add_argument("--task", choices=list(TASKS), help="only this task")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    return drive(parser.parse_args(), COMMANDS, text_tables.TABLES)


if __name__ == "__main__":
    sys.exit(main())
