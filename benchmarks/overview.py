"""The README's table of everything that was learned, from the results of the other benchmarks.

python benchmarks/overview.py tables [--check]     write the table, or compare it with the results
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from running import HERE, RESULTS
from tables import fill, table

MARKER = "overview"
README = HERE.parent / "README.md"
CLASSIC = (("CartPole-v1", "four numbers"), ("LunarLander-v3", "eight numbers"))
TEXTS = {"logic": ("`LogicPuzzle-v0`", "success", True), "memory": ("`MemoryBuffer-v0`", "success", True),
         "meta": ("`MetaReasoning-v0`", "brier", False), "dialogue": ("`Dialogue-v0`", "elements", True)}  # fmt: skip
NAMES = {"success": "success", "brier": "Brier score, the lower the better", "elements": "required elements shown"}

Row = list[str]
Share = Callable[[float], str]


def percent(share: float) -> str:
    return f"{share:.0%}"


def row(task: str, reads: str, learner: str, what: str, runs: list[dict[str, Any]], before: float, after: list[float],
        shown: Share, high: bool = True) -> Row:  # fmt: skip
    """The worst of the seeds stands; CPU seconds are their mean."""
    seconds = sum(run["seconds"] for run in runs) / len(runs)
    worst = min(after) if high else max(after)
    return [task, reads, learner, what, shown(before), f"**{shown(worst)}**", f"{seconds:.0f}"]


def rows(results: dict[str, dict[str, Any]]) -> list[Row]:
    """One for each task whose results are there."""
    return [*_classic(results["learning"]), *_games(results.get("agents_learning")), *_reasoning(results),
            *_texts(results.get("text_learning")), *_preferences(results)]  # fmt: skip


def _classic(result: dict[str, Any]) -> list[Row]:
    found = []
    for name, reads in CLASSIC:
        runs = [run | {"seconds": run["cpu_seconds"]} for run in result["environments"][name]["runs"]]
        made = row(
            name, reads, "two layers", "return", runs, 0.0, [run["mean"] for run in runs], lambda figure: f"{figure:.0f}"
        )
        found.append([*made[:4], "", *made[5:]])  # what a random one gets was not measured
    return found


def _games(result: dict[str, Any] | None) -> list[Row]:
    if result is None:
        return []
    jack, lake = result["tasks"]["blackjack"], result["tasks"]["lake"]
    return [row("Blackjack-v1, in words", "tokens", "`models/player`", "exact return, below the optimum", jack,
                -jack[0]["before"]["sampled"], [-run["after"]["sampled"] for run in jack], lambda gap: f"{gap:.3f}", high=False),
            row("FrozenLake-v1, in words", "tokens", "`models/player`", "episodes at the goal", lake,
                lake[0]["before"]["sampled"], [run["after"]["sampled"] for run in lake], percent)]  # fmt: skip


def _reasoning(results: dict[str, dict[str, Any]]) -> list[Row]:
    sums, words = results["language_learning"]["runs"]["head"], results["algorithms_learning"]["tasks"]["words"]["rloo"]
    return [row(name, "tokens", f"`models/{model}`", "right answers", runs, runs[0]["before"]["sampled"],
                [run["after"]["sampled"] for run in runs], percent)
            for name, model, runs in (("`CoTEnv-v0`, sums", "reasoner", sums), ("`GSM8K-v0`, word problems", "solver", words))]  # fmt: skip


def _texts(result: dict[str, Any] | None) -> list[Row]:
    found = []
    for task, one in ({} if result is None else result["tasks"]).items():
        name, measure, high = TEXTS[task]
        runs = one["runs"]
        before, after = runs[0]["before"]["sampled"][measure], [run["after"]["sampled"][measure] for run in runs]
        shown = percent if high else "{:.3f}".format
        found.append(row(name, "tokens", "`models/speaker`", NAMES[measure], runs, before, after, shown, high))
    return found


def _preferences(results: dict[str, dict[str, Any]]) -> list[Row]:
    tuned, summaries = results["preferences_rlhf"]["runs"], results["preferences_summaries"]["runs"]
    return [row("`Summarization-v0`", "tokens", "`models/writer`", "ROUGE-L", summaries, summaries[0]["before"]["sampled"],
                [run["after"]["sampled"] for run in summaries], "{:.2f}".format),
            row("`RLHFEnv-v0`", "tokens", "`models/writer`", "true quality (gold score)", tuned, tuned[0]["before"]["gold"],
                [run["after"]["gold"] for run in tuned], "{:.2f}".format)]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["tables"])
    parser.add_argument("--check", action="store_true", help="fail if the README differs from the results")
    results = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    header = ["environment", "what is read", "who learns", "measured", "before", "after, worst seed", "CPU seconds"]
    text = table(header, rows(results)).replace("---:", "---", 3)
    ok = fill(README, MARKER, text, parser.parse_args().check)
    if not ok:
        print("README.md differs from the results; run: python benchmarks/overview.py tables", file=sys.stderr)
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
