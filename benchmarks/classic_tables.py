"""What the results of classic control say: Markdown tables, and which targets were met. The README's tables are these."""

from math import nan
from statistics import mean, median
from typing import Any

from tables import Tables, Target, table

__all__ = ["KINDS", "OPTIMIZERS", "TABLES", "targets"]

NAMES = {"gymformer": "gymformer", "sb3": "Stable-Baselines3", "cleanrl": "CleanRL's ppo.py", "numpy": "numpy alone"}
KINDS = {
    "plain": "`gym.make`",
    "one_env_bare": "gymformer's `OneEnv`",
    "one_env": "gymformer's `Envs` of one",
    "native": "native vector of one",
    "native_in_envs": "gymformer's `Envs` around that vector",
    "sync": "`SyncVectorEnv` of one",
}
OPTIMIZERS = {"packed": "PackedAdam", "fused": "Adam(fused=True) + clip_grad_norm_", "plain": "Adam() + clip_grad_norm_"}
IMPORTS = {
    "python": "nothing (Python's own start)",
    "gymnasium": "`import gymnasium`",
    "gymformer": "`import gymformer`",
    "torch": "`import torch`",
    "train_agent": "`from gymformer import train_agent`",
}
# What an agent's mean return over 100 episodes has to exceed, for every seed.
THRESHOLDS = {
    "CartPole-v1": 475,
    "CartPole-v1 (five lines)": 475,
    "Acrobot-v1": -85,
    "LunarLander-v3": 230,
    "Pendulum-v1": -200,
}
# rl-baselines3-zoo, benchmark.md: mean returns of its PPO agents, one run each, the likeliest action (LunarLander is v2).
ZOO = {"CartPole-v1": "500", "Acrobot-v1": "-73.5", "LunarLander-v3": "242", "Pendulum-v1": "-172"}


def rate(record: dict[str, float]) -> float:
    """Environment steps per CPU second of rollout and update together."""
    return record["steps"] / (record["rollout_seconds"] + record["update_seconds"])


def speeds(result: dict, setting: str) -> dict[str, float]:
    """Contender -> median over the rounds."""
    return {name: median(map(rate, records)) for name, records in result["settings"][setting].items()}


def solve_seconds(records: list[dict]) -> float:
    """Median over the seeds; a run that never solved counts as infinitely long."""
    return median(r["seconds"] if r["timesteps"] is not None else float("inf") for r in records)


def targets(name: str, result: dict[str, Any]) -> list[Target]:
    match name:
        case "speed":
            zoo, large = speeds(result, "zoo"), speeds(result, "large")
            return [
                Target("speed, zoo, gymformer / Stable-Baselines3", zoo["gymformer"] / zoo["sb3"], 1.5, True),
                # 35k steps per CPU second where Stable-Baselines3 makes 4.6k at the zoo's settings.
                Target("speed, gymformer at large / Stable-Baselines3 at zoo", large["gymformer"] / zoo["sb3"], 7.6, True),
            ]
        case "solve":
            ratio = solve_seconds(result["runs"]["gymformer"]) / solve_seconds(result["runs"]["sb3"])
            return [Target("solve, CPU seconds of gymformer / Stable-Baselines3", ratio, 0.25, False)]
        case "learning":
            worst = {env: min((r["mean"] for r in part["runs"]), default=nan) for env, part in result["environments"].items()}
            return [Target(f"learning, {env}, worst seed", value, THRESHOLDS[env], True) for env, value in worst.items()]
        case "import":
            return [Target("import gymformer, CPU seconds", median(result["seconds"]["gymformer"]), 0.5, False)]
    raise ValueError(name)


def _speed(result: dict[str, Any]) -> str:
    texts = []
    for setting, title in (("zoo", "8 environments × 32 steps, 20 epochs, minibatches of 256"),
                           ("large", "64 environments × 128 steps, 10 epochs, minibatches of 2048")):  # fmt: skip
        medians, rows = speeds(result, setting), []
        for name, records in result["settings"][setting].items():
            rates = sorted(map(rate, records))
            acting = median(r["steps"] / r["rollout_seconds"] for r in records)
            share = median(r["rollout_seconds"] / (r["rollout_seconds"] + r["update_seconds"]) for r in records)
            span, ratio = f"{rates[0]:,.0f} to {rates[-1]:,.0f}", f"{medians[name] / medians['sb3']:.2f}"
            rows.append(
                [NAMES[name], f"{medians[name]:,.0f}", span, ratio, f"{acting:,.0f}", f"{share:.0%}", f"{1 - share:.0%}"]
            )
        shares = ["rollout alone", "rollout's share", "update's share"]
        texts.append(table([f"`{setting}`: {title}", "steps per CPU second", "range over rounds", "× SB3", *shares], rows))
    one = {kind: median(r["steps"] / r["seconds"] for r in records) for kind, records in result["one"].items()}
    texts.append(table(["one CartPole environment, random actions", "steps per CPU second", "× native vector of one"],
                        [[KINDS[kind], f"{value:,.0f}", f"{value / one['native']:.2f}"] for kind, value in one.items()]))  # fmt: skip
    rows = []
    for size, kinds in result["gradient_step"].items():
        times = {kind: median(r["seconds"] / r["steps"] for r in records) for kind, records in kinds.items()}
        for kind, value in times.items():
            rows.append([f"{OPTIMIZERS[kind]}, minibatch of {size}", f"{value * 1e6:,.0f}", f"{value / times['fused']:.2f}"])
    texts.append(table(["one gradient step of actor and critic (64 × 64)", "CPU microseconds", "× fused Adam"], rows))
    return "\n\n".join(texts)


def _solve(result: dict[str, Any]) -> str:
    base, rows = solve_seconds(result["runs"]["sb3"]), []
    for name, runs in result["runs"].items():
        solved = [r["timesteps"] for r in runs if r["timesteps"] is not None]
        seconds, each = solve_seconds(runs), ", ".join(f"{r['seconds']:.1f}" for r in runs)
        steps = f"{median(solved):,.0f}" if solved else "—"
        rows.append([NAMES[name], f"{seconds:.1f}", f"{seconds / base:.2f}", each, steps, f"{len(solved)} of {len(runs)}"])
    return table(["CartPole-v1", "CPU seconds (median)", "× SB3", "each seed", "environment steps (median)", "solved"], rows)


def _learning(result: dict[str, Any]) -> str:
    trained, rows = {env: part["runs"] for env, part in result["environments"].items() if part["runs"]}, []
    for env in [env for env in THRESHOLDS if env in trained]:
        runs = trained[env]
        for run in runs:
            low, high = run["interval"]
            costs = [f"{run['timesteps']:,}", f"{run['cpu_seconds']:.1f}"]
            rows.append([env, str(run["seed"]), f"{run['mean']:.1f}", f"{low:.1f} to {high:.1f}", *costs, ""])
        returns, worst = mean(run["mean"] for run in runs), min(run["mean"] for run in runs)
        costs = [f"{mean(run['timesteps'] for run in runs):,.0f}", f"{mean(run['cpu_seconds'] for run in runs):.1f}"]
        summary = f"worst {worst:.1f}, target {THRESHOLDS[env]}"
        rows.append([f"**{env}**", "mean", f"**{returns:.1f}**", summary, *costs, ZOO.get(env, "—")])
    missing = [env for env in THRESHOLDS if env not in trained]
    note = f"\n\nNot measured yet: {', '.join(missing)}." if missing else ""
    header = ["environment", "seed", "mean return, 100 sampled episodes", "95% interval", "environment steps", "CPU seconds"]
    return table([*header, "SB3 zoo, published"], rows) + note


def _import(result: dict[str, Any]) -> str:
    rows = [[IMPORTS[name], f"{median(seconds):.2f}"] for name, seconds in result["seconds"].items()]
    return table(["a fresh Python process with", "CPU seconds (median)"], rows)


TABLES = Tables("classic", "", "", {"speed": _speed, "solve": _solve, "learning": _learning, "import": _import}, targets)
