"""What a curriculum is worth: hard sums, learned from as many tokens with it, with every difficulty alike, and from hard ones alone;
benchmarks/README.md explains every figure.

python benchmarks/curriculum.py learning|all [--quick] [--only PLAN ...] [--out FOLDER]
python benchmarks/curriculum.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import sys
from typing import Any

from curriculum_tables import PLANS, TABLES
from driver import arguments, drive, wanted
from running import side_by_side

SEEDS = 3
SETTINGS = {"tokens": 120_000, "update_interval": 256, "initial_difficulty": 0.5, "longest": 128,
            "difficulties": [0.5, 0.6, 0.75, 1.0], "problems": 300}  # fmt: skip
QUICK = {"tokens": 1000, "update_interval": 8, "problems": 4}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Each plan with the same number of sampled tokens, and the model as it is before."""
    settings = SETTINGS | (QUICK if options.quick else {})
    each = [settings | {"plan": plan, "seed": seed} for plan in wanted(options, PLANS)
            for seed in range(1 if options.quick else SEEDS)]  # fmt: skip
    (before,) = side_by_side(1, "cur_learning.py", "start", [settings])
    return {"settings": settings, "before": before, "runs": side_by_side(options.at_once, "cur_learning.py", "learn", each)}


COMMANDS = {"learning": learning}


def main() -> int:
    parser = arguments(__doc__, COMMANDS, aside=("quick", "only"))
    parser.add_argument("--only", nargs="+", choices=list(PLANS), help="only these plans")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    return drive(parser.parse_args(), COMMANDS, TABLES)


if __name__ == "__main__":
    sys.exit(main())
