"""What a model learns in the environments that speak: puzzles, memory, calibration, manners; benchmarks/README.md explains every figure.

python benchmarks/text_environments.py learning|all [--quick] [--task NAME] [--out FOLDER]
python benchmarks/text_environments.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import tables
import text_tables
from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, machine, results_in, side_by_side, write

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
    path = options.out / "text_learning.json"
    found = json.loads(path.read_text()) if options.task and path.is_file() else {"tasks": {}}
    quick = QUICK if options.quick else {}
    for task, tokens in TASKS.items():
        if options.task in (None, task):
            asked = {"task": task, "model": MODEL, "episodes": EPISODES, "tokens": tokens, **LEARNER, **quick}
            each = [asked | {"seed": seed} for seed in range(1 if options.quick else SEEDS)]
            runs = side_by_side(options.at_once, "text_learning.py", "learn", each)
            (players,) = side_by_side(1, "text_learning.py", "players", [asked])
            found["tasks"][task] = {"settings": asked, "runs": runs, "players": players}
    text_tables.draw(found, options.out / "text_learning.png")
    return found


COMMANDS = {"learning": learning}


def run(name: str, options: argparse.Namespace) -> bool:
    """Measures, writes <out>/text_<name>.json, prints the tables; whether all targets were met."""
    options.out.mkdir(parents=True, exist_ok=True)
    result = COMMANDS[name](options) | {"machine": machine((*PACKAGES, "transformers"))}
    write(f"text_{name}", result, options.out)
    print("\n" + text_tables.section(result))
    return all(target.met for target in text_tables.targets(result))


def write_tables(out: Path, check: bool) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    found = results_in(out, ["text_learning"])
    return tables.fill(HERE / "README.md", text_tables.MARKER, text_tables.render(found.get("text_learning")), check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all", "tables"])
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, to see that everything works; figures mean nothing"
    )
    parser.add_argument("--task", choices=list(TASKS), help="only this task")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    parser.add_argument("--out", type=Path, help="where the results go (benchmarks/results; with --quick a folder git ignores)")
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    options = parser.parse_args()
    options.out = options.out or (QUICK_RESULTS if options.quick else RESULTS)
    if options.command == "tables":
        ok = write_tables(options.out, options.check)
        if not ok:
            print(
                "benchmarks/README.md differs from the results; run: python benchmarks/text_environments.py tables",
                file=sys.stderr,
            )
        return int(not ok)
    met = [run(name, options) for name in COMMANDS]
    if options.command == "all" and options.out == RESULTS:
        write_tables(options.out, check=False)
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
