"""What the results of the algorithms say: Markdown tables, pictures, and which targets were met. The README's tables are these."""

from math import nan
from pathlib import Path
from statistics import mean, median
from typing import Any

from language_tables import TITLES, Runs, middle, rate, ratios, seconds
from tables import Tables, Target, table

__all__ = ["TABLES", "draw_control", "draw_learning", "targets"]

NAMES = {"ppo": "PPO", "grpo": "GRPO", "rloo": "RLOO", "reinforce_stable": "ReinforceStable", "reinforce": "Reinforce",
         "a2c": "A2C"}  # fmt: skip
PROMISED = ("ppo", "grpo", "rloo", "reinforce_stable")  # of which three must gain so much in every seed, in so many CPU seconds
MOST_GAIN, GAIN, SECONDS = 3, 0.25, 300
TASKS = {"sums": "`sums`: reasoner, CoTEnv-v0", "words": "`words`: solver, GSM8K-v0"}
CONTENDERS = {
    "grpo": "gymformer: GRPO",
    "trl_grpo": "TRL's GRPO",
    "hand_grpo": "by hand: GRPO",
    "rloo": "gymformer: RLOO, reference",
    "trl_rloo": "TRL's RLOO, reference",
    "hand_rloo": "by hand: RLOO, reference",
}
RATIOS = {"S": 1.25, "M": 1.1}  # to TRL's
COLOURS = {name: f"C{number}" for number, name in enumerate(NAMES)}


def targets(name: str, result: dict[str, Any]) -> list[Target]:
    """What every seed must reach; the worst seed's figure stands. A ratio that was not measured is missed, a task has no targets."""
    match name:
        case "learning":
            return [target for task in TASKS for target in _learning_targets(task, result["tasks"].get(task, {}))]
        case "control":
            return []
        case "speed":
            found = []
            for setting, bound in RATIOS.items():
                runs: Runs = result["settings"].get(setting, {})
                for own in ("grpo", "rloo"):
                    peer = f"trl_{own}"
                    figure = middle(ratios(runs[own], runs[peer])) if {own, peer} <= runs.keys() else nan
                    what = f"speed, {setting}, gymformer / {CONTENDERS[peer].partition(',')[0]}"
                    found.append(Target(what, figure, bound, True))
            return found
    raise ValueError(name)


def _learning_targets(task: str, runs: Runs) -> list[Target]:
    asked = [runs[name] for name in PROMISED if name in runs]
    if not asked:
        return []
    gaining = sum(min(map(gain, of_one)) >= GAIN and max(r["seconds"] for r in of_one) <= SECONDS for of_one in asked)
    lowest = min(r["after"][how] - r["before"][how] for of_one in asked for r in of_one for how in ("greedy", "sampled"))
    of = ", ".join(NAMES[name] for name in PROMISED)
    return [Target(f"learning, {task}, of {of}: how many gain {GAIN:.0%} in {SECONDS} CPU seconds", gaining, MOST_GAIN, True),
            Target(f"learning, {task}, lowest end above the start, greedy or sampled", lowest, 0.0, True)]  # fmt: skip


def gain(run: dict[str, Any]) -> float:
    """Of the sampled policy's accuracy."""
    return run["after"]["sampled"] - run["before"]["sampled"]


def _learning(result: dict[str, Any]) -> str:
    texts = ["![accuracy over tokens](results/algorithms_learning.png)"]
    for task in (task for task in TASKS if task in result["tasks"]):
        rows = []
        for name, runs in result["tasks"][task].items():
            for r in runs:
                before, after = r["before"], r["after"]
                rows.append([NAMES[name], str(r["seed"]), f"{before['greedy']:.1%}", f"{after['greedy']:.1%}", f"{before['sampled']:.1%}",
                             f"{after['sampled']:.1%}", f"{100 * gain(r):.1f}", f"{r['tokens']:,}", f"{r['seconds']:.0f}"])  # fmt: skip
            gains, spent = list(map(gain, runs)), mean(r["seconds"] for r in runs)
            greedy, sampled = (f"{mean(r['after'][how] for r in runs):.1%}" for how in ("greedy", "sampled"))
            rows.append([f"**{NAMES[name]}**, {settings(runs[0])}", "mean", "", greedy, "", sampled,
                         f"**{100 * mean(gains):.1f}**, worst {100 * min(gains):.1f}", "", f"{spent:.0f}"])  # fmt: skip
        header = ["seed", "greedy before", "after", "sampled before", "after", "gain of sampled, points", "tokens",
                  "CPU seconds"]  # fmt: skip
        texts.append(table([TASKS[task], *header], rows))
    missing = [f"`python benchmarks/algorithms.py learning --task {task}`" for task in TASKS if task not in result["tasks"]]
    return "\n\n".join(texts + [f"Not measured yet: {command}." for command in missing])


def settings(run: dict[str, Any]) -> str:
    """What differs from the defaults: in the config, and in the other arguments of `train_agent`."""
    others = run.get("run", {})
    return (
        "preset"
        if others is None
        else ", ".join(f"{name} {value}" for name, value in (others | run["config"]).items()) or "defaults"
    )


def _control(result: dict[str, Any]) -> str:
    rows = []
    for name, runs in result["runs"].items():
        for r in runs:
            low, high = r["interval"]
            rows.append([NAMES[name], str(r["seed"]), f"{r['mean']:.1f}", f"{low:.1f} to {high:.1f}", f"{r['timesteps']:,}",
                         f"{r['seconds']:.0f}"])  # fmt: skip
        reached, costs = [r["mean"] for r in runs], [mean(r[name] for r in runs) for name in ("timesteps", "seconds")]
        rows.append([f"**{NAMES[name]}**, {settings(runs[0])}", "mean", f"**{mean(reached):.1f}**", f"worst {min(reached):.1f}",
                     f"{costs[0]:,.0f}", f"{costs[1]:.0f}"])  # fmt: skip
    header = ["CartPole-v1", "seed", "mean return, 100 sampled episodes", "95% interval", "environment steps", "CPU seconds"]
    return "![returns over steps](results/algorithms_control.png)\n\n" + table(header, rows)


def _speed(result: dict[str, Any]) -> str:
    return "\n\n".join(_setting(TITLES[setting], runs) for setting, runs in result["settings"].items())


def _setting(title: str, runs: Runs) -> str:
    rows = []
    for name in (name for name in CONTENDERS if name in runs):
        records, own, times = runs[name], runs.get(name.rpartition("_")[2]), ""
        rates = sorted(map(rate, records))
        if own is not None:
            each = sorted(ratios(own, records))
            times = f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"
        acting = median(r["steps"] / r["rollout_seconds"] for r in records)
        part = median(r["rollout_seconds"] / seconds(r) for r in records)
        rows.append([CONTENDERS[name], f"{median(rates):,.0f}", f"{rates[0]:,.0f} to {rates[-1]:,.0f}", times, f"{acting:,.0f}",
                     f"{part:.0%}"])  # fmt: skip
    header = ["tokens per CPU second", "range over rounds", "gymformer's is × (range)", "rollout alone", "rollout's share"]
    return table([title, *header], rows)


def draw_learning(result: dict[str, Any], path: Path) -> None:
    """The sampled policy's accuracy over the tokens that it has learned from: each seed, and their mean."""
    tasks = [task for task in TASKS if task in result["tasks"]]
    figure, panes = _figure(len(tasks))
    for task, pane in zip(tasks, panes, strict=True):
        for name, runs in result["tasks"][task].items():
            _curves(pane, name, [r["curve"] for r in runs])
        pane.set(title=TASKS[task].replace("`", ""), xlabel="sampled tokens", ylabel="accuracy on held-out problems, sampled")
    figure.savefig(path, dpi=80, metadata={"Software": None})


def draw_control(result: dict[str, Any], path: Path) -> None:
    """The mean return of the last 100 training episodes over environment steps: each seed, and their mean."""
    figure, (pane,) = _figure(1)
    for name, runs in result["runs"].items():
        _curves(pane, name, [r["curve"] for r in runs])
    pane.set(title="CartPole-v1", xlabel="environment steps", ylabel="mean return of the last 100 episodes")
    figure.savefig(path, dpi=80, metadata={"Software": None})


def _figure(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * count, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panes = list(figure.subplots(1, count, squeeze=False)[0])
    for pane in panes:
        pane.grid(alpha=0.3)
    return figure, panes


def _curves(pane: Any, name: str, curves: list[list[list[float]]]) -> None:
    """Each curve thinly, and the mean of all where each of them has been."""
    import numpy as np

    first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    at = np.linspace(first, last, 100)
    of_all = []
    for curve in curves:
        x, y = zip(*curve, strict=True)
        pane.plot(x, y, color=COLOURS[name], linewidth=0.7, alpha=0.35)
        of_all.append(np.interp(at, x, y))
    pane.plot(at, np.mean(of_all, 0), color=COLOURS[name], linewidth=2, label=NAMES[name])
    pane.legend()


TABLES = Tables(
    "algorithms",
    "algorithms: ",
    "algorithms_",
    {"learning": _learning, "control": _control, "speed": _speed},
    targets,
)
