"""What the results of the curriculum say: a Markdown table, and whether its target was met. The README's table is this."""

from statistics import mean
from typing import Any

from tables import Tables, Target, table

__all__ = ["PLANS", "TABLES", "targets"]

PLANS = {
    "curriculum": "`CurriculumGenerator`, from 0.5",
    "uniform": "every difficulty alike",
    "hard": "difficulty 1 alone",
}


def targets(_: str, result: dict[str, Any]) -> list[Target]:
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


def _learning(result: dict[str, Any]) -> str:
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
    return table(header, rows)


TABLES = Tables("curriculum", "curriculum: ", "curriculum_", {"learning": _learning}, targets)
