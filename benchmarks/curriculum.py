"""What a curriculum is worth: hard sums, learned from as many tokens with it, with every difficulty alike, and from hard ones alone;
benchmarks/README.md explains every figure.

python benchmarks/curriculum.py learning|all [--quick] [--only PLAN ...] [--out FOLDER]
python benchmarks/curriculum.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, machine, results_in, side_by_side, write
from tables import Target, fill, table, where

MARKER = "curriculum"  # of the README's part that these tables fill
SEEDS = 3
PLANS = {
    "curriculum": "`CurriculumGenerator`, from 0.5",
    "uniform": "every difficulty alike",
    "hard": "difficulty 1 alone",
}
SETTINGS = {"tokens": 120_000, "update_interval": 256, "initial_difficulty": 0.5, "longest": 128,
            "difficulties": [0.5, 0.6, 0.75, 1.0], "problems": 300}  # fmt: skip
QUICK = {"tokens": 1000, "update_interval": 8, "problems": 4}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Each plan with the same number of sampled tokens, and the model as it is before."""
    settings = SETTINGS | (QUICK if options.quick else {})
    each = [settings | {"plan": plan, "seed": seed} for plan in PLANS if not options.only or plan in options.only
            for seed in range(1 if options.quick else SEEDS)]  # fmt: skip
    (before,) = side_by_side(1, "cur_learning.py", "start", [settings])
    return {"settings": settings, "before": before, "runs": side_by_side(options.at_once, "cur_learning.py", "learn", each)}


def targets(result: dict[str, Any]) -> list[Target]:
    """What is promised: that the mean of the seeds is not worse with the curriculum than without."""
    means = {
        plan: mean(mean(run["after"].values()) for run in of_plan(result, plan)) for plan in PLANS if of_plan(result, plan)
    }
    if len(means) < len(PLANS):
        return []
    best = max(means["uniform"], means["hard"])
    return [
        Target(
            "sums right with the curriculum, mean of the difficulties, less the better of the two others",
            means["curriculum"] - best,
            0.0,
            True,
        )
    ]


def of_plan(result: dict[str, Any], plan: str) -> list[dict[str, Any]]:
    return [run for run in result["runs"] if run["plan"] == plan]


def render(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown; what has not been measured is named."""
    if "curriculum_learning" not in results:
        return "### curriculum: learning\n\nNot measured yet: `python benchmarks/curriculum.py learning`."
    return section(results["curriculum_learning"])


def section(result: dict[str, Any]) -> str:
    difficulties = list(result["runs"][0]["after"])
    rows = [["before", "", *(f"{result['before'][d]:.1%}" for d in difficulties), "", "", ""]]
    for plan, title in PLANS.items():
        runs = of_plan(result, plan)
        for run in runs:
            reached = run["updates"][-1][2]
            rows.append([title, str(run["seed"]), *(f"{run['after'][d]:.1%}" for d in difficulties),
                         "" if reached is None else f"{reached:.1f}", f"{run['tokens']:,}", f"{run['seconds']:.0f}"])  # fmt: skip
        if runs:
            means = [f"**{mean(run['after'][d] for run in runs):.1%}**" for d in difficulties]
            rows.append([f"**{title}**", "mean", *means, "", "", f"{mean(run['seconds'] for run in runs):.0f}"])
    header = ["difficulties trained on", "seed", *(f"right at {d}" for d in difficulties), "difficulty reached", "tokens",
              "CPU seconds"]  # fmt: skip
    promised = "\n".join(f"* {target}" for target in targets(result))
    return "\n\n".join(filter(None, ("### curriculum: learning", table(header, rows), promised, where(result))))


def run(options: argparse.Namespace) -> bool:
    """Measures, writes <out>/curriculum_learning.json, prints the table; whether all targets were met."""
    result = learning(options) | {"machine": machine((*PACKAGES, "transformers"))}
    write("curriculum_learning", result, options.out)
    print("\n" + section(result))
    return all(target.met for target in targets(result))


def write_tables(out: Path, check: bool) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    return fill(HERE / "README.md", MARKER, render(results_in(out, ["curriculum_learning"])), check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["learning", "all", "tables"])
    parser.add_argument("--quick", action="store_true", help="one short run of each; figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=list(PLANS), help="only these plans")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    parser.add_argument(
        "--out", type=Path, help="where the results go (benchmarks/results; with --quick or --only a folder git ignores)"
    )
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    options = parser.parse_args()
    options.out = options.out or (QUICK_RESULTS if options.quick or options.only else RESULTS)
    if options.command == "tables":
        ok = write_tables(options.out, options.check)
        if not ok:
            print("benchmarks/README.md differs from the results; run: python benchmarks/curriculum.py tables", file=sys.stderr)
        return int(not ok)
    met = run(options)
    if options.command == "all" and options.out == RESULTS:
        write_tables(options.out, check=False)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
