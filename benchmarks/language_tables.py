"""What the results of language models say: Markdown tables, and which targets were met. The README's tables are these."""

from collections.abc import Callable
from math import nan
from statistics import median
from typing import Any

from tables import Tables, Target, table

__all__ = ["TABLES", "targets"]

NAMES = {
    "gymformer": "gymformer: PPO, reference, value head",
    "trl_ppo": "TRL's last PPO: reference, value model",
    "trl_ppo_scored": "the same with a reward model",
    "trl_grpo": "TRL's GRPO: neither reference nor critic",
    "trl_grpo_default": "the same with activation checkpointing, its default",
    "hand": "by hand: PPO, reference, value head",
    "generate": "`generate`: the rollout alone",
    "naive": "naive: a row per decision, no cache",
}
TITLES = {
    "S": "`S`: GPT-2 of 4 layers, width 128, vocabulary 512; 32 rows",
    "M": "`M`: GPT-2 small (124M); 8 rows",
    "M_bf16": "`M` in bfloat16",
    "gpt2": "GPT-2 small (124M), bfloat16; 64 rows",
    "qwen2": "Qwen2-0.5B, bfloat16; 64 rows",
}
LEARNERS = {
    "head": "value head on the trunk, default settings",
    "critic": "critic of its own, default settings",
    "lora": "LoRA of rank 8, value head, lr_actor 1e-3",
}
ON_GPU = {"gpt2", "qwen2"}  # where the clock on the wall counts
RATIOS = {("S", "trl_ppo"): 2.2, ("S", "trl_grpo"): 1.0, ("M", "trl_ppo"): 1.8, ("M", "trl_grpo"): 0.9}
BF16_RATIO, MEMORY_SHARE, LENGTH_RATIO = 1.3, 0.6, 1.5
SHORT, LONG = 64, 512  # sampled tokens
UNKNOWN = "—"

Runs = dict[str, list[dict[str, Any]]]  # contender -> its answers, round by round


def seconds(record: dict[str, float]) -> float:
    return record["rollout_seconds"] + record["update_seconds"]


def rate(record: dict[str, float]) -> float:
    """Sampled tokens per second of rollout, scoring and update together."""
    return record["steps"] / seconds(record)


def ratios(records: list[dict], others: list[dict]) -> list[float]:
    """How many times as fast, round by round."""
    return [rate(a) / rate(b) for a, b in zip(records, others, strict=True)]


def middle(numbers: list[float]) -> float:
    """The median; NaN of what was not measured."""
    return median(numbers) if numbers else nan


def targets(name: str, result: dict[str, Any]) -> list[Target]:
    match name:
        case "speed":
            settings: dict[str, Runs] = result["settings"]
            found = []
            for (setting, peer), bound in RATIOS.items():
                runs = settings.get(setting, {})
                figure = middle(ratios(runs["gymformer"], runs[peer])) if {"gymformer", peer} <= runs.keys() else nan
                found.append(Target(f"speed, {setting}, gymformer / {NAMES[peer].partition(':')[0]}", figure, bound, True))
            if {"M", "M_bf16"} <= settings.keys() and all("gymformer" in settings[setting] for setting in ("M", "M_bf16")):
                figure = middle(ratios(settings["M_bf16"]["gymformer"], settings["M"]["gymformer"]))
                found.append(Target("speed, M, gymformer in bfloat16 / float32", figure, BF16_RATIO, True))
            return found
        case "memory":
            peaks = {contender: records[0]["peak_bytes"] for contender, records in result["runs"].items()}
            share = peaks.get("gymformer", nan) / peaks.get("trl_ppo", nan)
            return [Target("memory, M, peak of gymformer / TRL's last PPO", share, MEMORY_SHARE, False)]
        case "length":
            figure = middle(length_ratios(result["runs"], "gymformer", seconds))
            return [Target(f"length, gymformer, cost of a token at {LONG} / at {SHORT}", figure, LENGTH_RATIO, False)]
        case "learning":
            return _learning_targets(result["runs"])
        case "gpu":
            return []
    raise ValueError(name)


def _speed(result: dict[str, Any]) -> str:
    texts = [_setting(setting, runs) for setting, runs in result["settings"].items()]
    left_out = [f"{TITLES[setting]}: not measured, because {why}." for setting, why in result.get("left_out", {}).items()]
    return "\n\n".join(texts + left_out + [_profile(*each) for each in result.get("profiles", {}).items()])


def _setting(setting: str, runs: Runs) -> str:
    peaks, rows = [r["flops"] / r["seconds"] for r in runs["peak"]], []
    for name in (name for name in NAMES if name in runs):
        records, times = runs[name], UNKNOWN
        rates = sorted(map(rate, records))
        if "gymformer" in runs:
            each = sorted(ratios(runs["gymformer"], records))
            times = f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"
        share = middle([r["flops"] / seconds(r) / peak for r, peak in zip(records, peaks, strict=True) if "flops" in r])
        acting = [r["steps"] / r["rollout_seconds"] for r in records]
        part = median(r["rollout_seconds"] / seconds(r) for r in records)
        rows.append([NAMES[name], f"{median(rates):,.0f}", f"{rates[0]:,.0f} to {rates[-1]:,.0f}", times, f"{median(acting):,.0f}",
                     f"{part:.0%}", UNKNOWN if share != share else f"{share:.0%}"])  # fmt: skip
    header = [
        TITLES[setting],
        "tokens per second",
        "range over rounds",
        "gymformer is × (range)",
        "rollout alone",
        "rollout's share",
    ]
    peak = f"Peak of a product of matrices: {median(peaks) / 1e9:,.0f} GFLOP/s ({min(peaks) / 1e9:,.0f} to {max(peaks) / 1e9:,.0f})."
    return table([*header, "of the matmul peak"], rows) + f"\n\n{peak}"


def _profile(setting: str, profiles: dict[str, dict[str, list]]) -> str:
    """Where the time of one iteration goes, operation by operation."""
    texts = []
    for name, halves in profiles.items():
        rows = [[half, f"`{operation}`", f"{1e3 * spent:,.1f}", f"{calls:,}"]
                for half in ("rollout", "update") for operation, spent, calls in halves[half]]  # fmt: skip
        texts.append(table([f"{TITLES[setting]}: {NAMES[name].partition(':')[0]}", "operation", "milliseconds", "calls"], rows))
    return "\n\n".join(texts)


def _memory(result: dict[str, Any]) -> str:
    peaks = {name: records[0]["peak_bytes"] for name, records in result["runs"].items()}
    base = peaks.get("trl_ppo", nan)
    rows = [[NAMES[name], f"{peak / 1e9:.2f}", f"{peak / base:.2f}"] for name, peak in peaks.items()]
    return table([f"{TITLES['M']}; one process", "most memory at once, GB", "× TRL's last PPO"], rows)


def length_ratios(runs: Runs, name: str, part: Callable[[dict], float]) -> list[float]:
    """The cost of a token in long continuations over that in short ones, round by round."""
    pairs = zip(runs.get(f"{name} {LONG}", []), runs.get(f"{name} {SHORT}", []), strict=True)
    return [part(long) / long["steps"] / (part(short) / short["steps"]) for long, short in pairs]


def _length(result: dict[str, Any]) -> str:
    runs, rows = result["runs"], []
    for name in ("gymformer", "hand"):
        if f"{name} {LONG}" not in runs:
            continue
        costs = [f"{1e6 * median(seconds(r) / r['steps'] for r in runs[f'{name} {tokens}']):,.0f}" for tokens in (SHORT, LONG)]
        each = sorted(length_ratios(runs, name, seconds))
        halves = [
            f"{median(length_ratios(runs, name, lambda r, key=key: r[key])):.2f}"
            for key in ("rollout_seconds", "update_seconds")
        ]
        rows.append([NAMES[name], *costs, f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})", *halves])
    header = [TITLES["S"], f"CPU microseconds a token, {SHORT} sampled", f"{LONG} sampled", "ratio (range)"]
    return table([*header, "of the rollout", "of scoring and update"], rows)


def _learning_targets(runs: Runs) -> list[Target]:
    """What every seed of each kind must reach; the worst seed's figure stands."""
    found = []
    for name, records in runs.items():
        rise = min(r["after"]["sampled"] - r["before"]["sampled"] for r in records)
        lowest = min(min(accuracy for _, accuracy in r["curve"]) - r["before"]["greedy"] for r in records)
        found += [
            Target(f"learning, {LEARNERS[name]}, greedy accuracy", min(r["after"]["greedy"] for r in records), 0.85, True),
            Target(f"learning, {LEARNERS[name]}, rise of sampled accuracy", rise, 0.25, True),
            Target(f"learning, {LEARNERS[name]}, lowest greedy accuracy on the way above the start", lowest, 0.0, True),
        ]
        if name == "head":
            found.append(Target(f"learning, {LEARNERS[name]}, CPU seconds", max(r["seconds"] for r in records), 180, False))
    return found


def _learning(result: dict[str, Any]) -> str:
    rows = []
    for name, records in result["runs"].items():
        for r in records:
            curve = ", ".join(f"{accuracy:.0%}" for _, accuracy in r["curve"])
            rows.append([LEARNERS[name], str(r["seed"]), f"{r['before']['greedy']:.1%}", f"{r['after']['greedy']:.1%}",
                         f"{r['before']['sampled']:.1%}", f"{r['after']['sampled']:.1%}", f"{r['seconds']:.0f}", curve])  # fmt: skip
    header = ["reasoner, PPO", "seed", "greedy before", "after", "sampled before", "after", "CPU seconds",
              "greedy after every second update"]  # fmt: skip
    return table(header, rows)


TABLES = Tables(
    "language",
    "language: ",
    "language_",
    {"speed": _speed, "memory": _memory, "length": _length, "learning": _learning, "gpu": _speed},
    targets,
    arguments={"gpu": "speed --device cuda"},
)
