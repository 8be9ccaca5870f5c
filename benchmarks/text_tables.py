"""What the results of the environments that speak say: Markdown tables, a picture, and which targets were met."""

from pathlib import Path
from statistics import mean
from typing import Any

from tables import Tables, Target, table

__all__ = ["TABLES", "draw", "targets"]

SECONDS = 600  # CPU seconds of a run, at most
AT_MOST, AT_LEAST = 0.35, 0.6  # of the expert's success: before, and after
BETTER_CALIBRATED, MORE_ELEMENTS = 0.75, 1.5  # times what it was before
TASKS = {"logic": "LogicPuzzle-v0", "memory": "MemoryBuffer-v0", "meta": "MetaReasoning-v0", "dialogue": "Dialogue-v0"}
NAMES = {"success": "success", "brier": "Brier score", "elements": "required elements", "return": "return", "tokens": "tokens",
         "stored": "entries stored", "hints": "hints", "turns": "turns"}  # fmt: skip
SHARES = ("success", "elements")  # shown in percent

Result = dict[str, Any]


def targets(_: str, result: Result) -> list[Target]:
    """What every seed must reach, sampled tokens throughout: the worst seed's figure stands. A task that was not measured has none."""
    return [target for task, one in result["tasks"].items() for target in [*_learned(task, one), _in_time(task, one)]]


def _learned(task: str, one: Result) -> list[Target]:
    runs, name = one["runs"], TASKS[task]
    if task in ("logic", "memory"):
        expert = one["players"]["expert"]["success"]
        before, after = ([r[when]["sampled"]["success"] / expert for r in runs] for when in ("before", "after"))
        return [Target(f"{name}, success before / the expert's", max(before), AT_MOST, False),
                Target(f"{name}, success after / the expert's", min(after), AT_LEAST, True)]  # fmt: skip
    if task == "meta":
        return [Target(f"{name}, Brier score after / before", max(ratio(r, "brier") for r in runs), BETTER_CALIBRATED, False)]
    return [Target(f"{name}, required elements after / before", min(ratio(r, "elements") for r in runs), MORE_ELEMENTS, True),
            Target(f"{name}, success after / before", min(ratio(r, "success") for r in runs), 1.0, True)]  # fmt: skip


def _in_time(task: str, one: Result) -> Target:
    return Target(f"{TASKS[task]}, CPU seconds of the longest run", max(r["seconds"] for r in one["runs"]), SECONDS, False)


def ratio(run: Result, measure: str) -> float:
    return run["after"]["sampled"][measure] / run["before"]["sampled"][measure]


def _learning(result: Result) -> str:
    parts = [_task(task, result["tasks"][task]) for task in TASKS if task in result["tasks"]]
    missing = [f"Not measured yet: `python benchmarks/text_environments.py learning --task {task}`."
               for task in TASKS if task not in result["tasks"]]  # fmt: skip
    return "\n\n".join(["![learning curves](results/text_learning.png)", *parts, *missing])


def _task(task: str, one: Result) -> str:
    measures = list(one["runs"][0]["after"]["sampled"])
    rows = []
    for name in ("expert", "random"):
        rows.append([f"{name} player", *(_shown(measure, one["players"][name].get(measure)) for measure in measures), ""])
    for how in ("sampled", "greedy"):
        rows.append([f"before, {how}", *(_shown(measure, one["runs"][0]["before"][how][measure]) for measure in measures), ""])
    for how in ("sampled", "greedy"):
        for r in one["runs"]:
            seconds = f"{r['seconds']:.0f}"
            rows.append([f"after, {how}, seed {r['seed']}", *(_shown(m, r["after"][how][m]) for m in measures), seconds])
        means = [_shown(m, mean(r["after"][how][m] for r in one["runs"])) for m in measures]
        rows.append([f"**after, {how}, mean**", *(f"**{text}**" for text in means), ""])
    s = one["settings"]
    config = ", ".join(f"{name} {value}" for name, value in s["config"].items())
    title = f"{TASKS[task]}: {s['algorithm'].upper()}{f' ({config})' if config else ''}, {one['runs'][0]['tokens']:,} sampled tokens"
    return table([title, *(NAMES[measure] for measure in measures), "CPU seconds"], rows)


def _shown(measure: str, value: float | None) -> str:
    return (
        ""
        if value is None
        else f"{value:.1%}"
        if measure in SHARES
        else f"{value:.3f}"
        if measure in ("brier", "return")
        else f"{value:.1f}"
    )


def draw(result: Result, path: Path) -> None:
    """What the policy does in the episodes that it learns from, rollout by rollout: each seed, the expert and the random player."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = [task for task in TASKS if task in result["tasks"]]
    figure = Figure(figsize=(4.2 * len(tasks), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for task, pane in zip(tasks, figure.subplots(1, len(tasks), squeeze=False)[0], strict=True):
        one = result["tasks"][task]
        measure = next(iter(one["runs"][0]["after"]["sampled"]))
        for run in one["runs"]:
            pane.plot(*zip(*run["curve"], strict=True), color="C0", linewidth=1.2, alpha=0.7)
        for name, style in (("expert", "--"), ("random", ":")):
            pane.axhline(one["players"][name][measure], color="#555555", linestyle=style, linewidth=1, label=name)
        pane.set(title=TASKS[task], xlabel="sampled tokens", ylabel=NAMES[measure], ylim=(0, None))
        pane.grid(alpha=0.3)
        pane.legend(frameon=False)
    figure.savefig(path, dpi=80, metadata={"Software": None})


TABLES = Tables("text_environments", "text environments: ", "text_", {"learning": _learning}, targets)
