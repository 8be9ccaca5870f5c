"""What the results of preferences say: Markdown tables, a picture, and which targets were met. The README's tables are these."""

from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

from tables import Tables, Target, table

__all__ = ["TABLES", "draw", "targets"]

GAP = 0.03  # between the accuracy that the noise allows and a reward model's
LATE = 5  # updates whose mean is a point of the tables


def targets(name: str, result: dict[str, Any]) -> list[Target]:
    """What every seed must reach; the worst seed's figure stands."""
    match name:
        case "reward":
            found = []
            for data, runs in result["runs"].items():
                gap = max(r["ceiling"] - r["expected"] for r in runs)
                found.append(Target(f"reward, {data}, what the noise allows - expected accuracy", gap, GAP, False))
                found.append(Target(f"reward, {data}, CPU seconds", max(r["seconds"] for r in runs), 180, False))
            return found
        case "rlhf":
            runs = result["runs"]
            rise = min((r["after"]["gold"] - r["before"]["gold"]) / r["before"]["gold_std"] for r in runs)
            return [Target("rlhf, rise of gold in standard deviations of the reference's", rise, 1.0, True),
                    Target("rlhf, nats from the reference", max(r["after"]["kl"] for r in runs), 15, False),
                    Target("rlhf, CPU seconds", max(r["seconds"] for r in runs), 360, False)]  # fmt: skip
        case "overoptimisation":
            free = [smooth(r["curve"]) for r in result["ppo"] if r["kl_coef"] == 0]
            fall = min(peak(curve)["gold"] - curve[-1]["gold"] for curve in free)
            rise = min(curve[-1]["proxy"] - peak(curve)["proxy"] for curve in free)
            # The difference of two means of LATE updates of 256 episodes has a standard error of 0.03 to 0.04.
            return [Target("overoptimisation, without a price of divergence, fall of gold from its peak", fall, 0.1, True),
                    Target("overoptimisation, rise of the proxy meanwhile", rise, 0.1, True)]  # fmt: skip
        case "summaries":
            rise = min(r["after"][how] / r["before"][how] - 1 for r in result["runs"] for how in ("greedy", "sampled"))
            return [Target("summaries, rise of ROUGE-L", rise, 0.3, True)]
    raise ValueError(name)


def peak(curve: list[dict[str, float]]) -> dict[str, float]:
    return max(curve, key=lambda point: point["gold"])


def smooth(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    """Running means of LATE points: the highest of many noisy ones would be a peak even where nothing changes."""
    return [
        {name: mean(point[name] for point in curve[max(0, end - LATE) : end]) for name in curve[0]}
        for end in range(1, len(curve) + 1)
    ]


def _reward(result: dict[str, Any]) -> str:
    rows = [[data, str(r["seed"]), f"{r['rows']:,}", f"{r['expected']:.1%}", f"{r['ceiling']:.1%}", f"{r['agreement']:.1%}",
             f"{r['gold_agreement']:.1%}", f"{r['correlation']:.3f}", f"{r['seconds']:.0f}"]
            for data, runs in result["runs"].items() for r in runs]  # fmt: skip
    return table(["preferences", "seed", "held-out rows", "expected accuracy", "what the noise allows", "labels met", "met by gold",
                  "correlation with gold", "CPU seconds"], rows)  # fmt: skip


def _rlhf(result: dict[str, Any]) -> str:
    rows = []
    for r in result["runs"]:
        before, after = r["before"], r["after"]
        rise = (after["gold"] - before["gold"]) / before["gold_std"]
        rows.append([f"kl_coef {r['kl_coef']:g}", str(r["seed"]), f"{before['gold']:.2f} ± {before['gold_std']:.2f}",
                     f"{after['gold']:.2f} ± {after['gold_std']:.2f}", f"{rise:.2f}", f"{before['proxy']:.2f}", f"{after['proxy']:.2f}",
                     f"{after['kl']:.1f}", f"{after['tokens']:.0f}", f"{r['seconds']:.0f}"])  # fmt: skip
    return table(["writer, PPO", "seed", "gold before", "gold after", "rise, standard deviations", "proxy before", "after",
                  "nats from the reference", "tokens", "CPU seconds"], rows)  # fmt: skip


def _overoptimisation(result: dict[str, Any]) -> str:
    rows = []
    for r in sorted(result["ppo"], key=lambda r: (r["kl_coef"], r["seed"])):
        curve = smooth(r["curve"])
        best, last = peak(curve), curve[-1]
        rows.append([f"PPO, kl_coef {r['kl_coef']:g}, seed {r['seed']}", f"{best['gold']:.2f}", f"{best['proxy']:.2f}", f"{best['kl']:.1f}",
                     f"{last['gold']:.2f}", f"{last['proxy']:.2f}", f"{last['kl']:.1f}"])  # fmt: skip
    curve = result["dpo"]["curve"]
    best, last = peak(curve), curve[-1]
    rows.append([f"DPO, beta {result['dpo']['beta']:g}", f"{best['gold']:.2f}", f"{best['proxy']:.2f}", f"{best['kl']:.1f}",
                 f"{last['gold']:.2f}", f"{last['proxy']:.2f}", f"{last['kl']:.1f}"])  # fmt: skip
    rows += [[f"best of {point['n']}", f"{point['gold']:.2f}", f"{point['proxy']:.2f}", f"{point['kl']:.1f}", "", "", ""]
             for point in result["best_of_n"]["curve"]]  # fmt: skip
    header = ["", "gold at its peak", "proxy there", "nats there", "gold at the end", "proxy", "nats"]
    return "![proxy, gold and divergence](results/overoptimisation.png)\n\n" + table(header, rows)


def _summaries(result: dict[str, Any]) -> str:
    rows = [[f"seed {r['seed']}", *(f"{r[when][how]:.3f}" for how in ("greedy", "sampled") for when in ("before", "after")),
             f"{r['seconds']:.0f}"] for r in result["runs"]]  # fmt: skip
    return table(["writer, PPO on ROUGE-L", "greedy before", "after", "sampled before", "after", "CPU seconds"], rows)


def draw(result: dict[str, Any], path: Path) -> None:
    """Proxy, gold and divergence over training for every price of divergence; and both scores over the distance, after figure 1
    of arXiv:2210.10760, where best-of-n and DPO have a place too."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    panes = figure.subplot_mosaic([["proxy", "way"], ["gold", "way"], ["kl", "way"]], width_ratios=[1, 1.15])
    runs = sorted((r for r in result["ppo"] if r["seed"] == 0), key=lambda r: r["kl_coef"])
    for number, r in enumerate(runs):
        colour, label = f"C{number}", f"PPO, kl_coef {r['kl_coef']:g}"
        episodes = [point["episodes"] for point in r["curve"]]
        for name in ("proxy", "gold", "kl"):
            panes[name].plot(episodes, [point[name] for point in r["curve"]], color=colour, label=label)
        _way(panes["way"], r["curve"], colour, label)
    _way(panes["way"], result["dpo"]["curve"], "black", f"DPO, beta {result['dpo']['beta']:g}", marker=".")
    _way(panes["way"], result["best_of_n"]["curve"], "grey", "best of n", marker=".")
    for name, title in (
        ("proxy", "proxy: its score"),
        ("gold", "gold: the truth"),
        ("kl", "nats from the reference"),
    ):
        panes[name].set_ylabel(title)
        panes[name].grid(alpha=0.3)
    panes["kl"].set_xlabel("episodes")
    panes["way"].set(xlabel="√(nats from the reference)", ylabel="score: gold solid, proxy dotted")
    panes["way"].grid(alpha=0.3)
    panes["way"].legend()
    figure.savefig(path, dpi=90, metadata={"Software": None})


def _way(axes: Any, curve: list[dict[str, float]], colour: str, label: str, **style: Any) -> None:
    distance = [sqrt(max(0.0, point["kl"])) for point in curve]
    axes.plot(distance, [point["gold"] for point in curve], color=colour, label=label, **style)
    axes.plot(distance, [point["proxy"] for point in curve], ":", color=colour, **style)


TABLES = Tables(
    "preferences",
    "preferences: ",
    "preferences_",
    {"reward": _reward, "rlhf": _rlhf, "overoptimisation": _overoptimisation, "summaries": _summaries},
    targets,
)
