"""Preferences with a known truth: reward models, RLHF, over-optimisation, summaries; benchmarks/README.md explains every figure.

python benchmarks/preferences.py reward|rlhf|overoptimisation|summaries|all [--quick] [--out FOLDER]
python benchmarks/preferences.py tables [--check]    write the README's tables from the results, or compare them
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import preference_tables
import tables
from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, machine, results_in, side_by_side, write

SEEDS = 3
REWARD = {"batch_size": 4, "test_size": 0.1, "template": "chat", "eval_interval": 5000}  # one evaluation, at the end
DATA = {"descriptiveness_offline_5k": {"epochs": 1, "learning_rate": 5e-4}, "sentiment_pairs": {"epochs": 2}}
RLHF = {"kl_coef": 0.1, "episodes": 4096, "envs": 128, "prompts": 512}
OVER = RLHF | {"episodes": 3584}
COEFFICIENTS = (0.0, 0.05, 0.2)  # beside RLHF's own
BEST_OF = {"n": [1, 2, 4, 8, 16, 32], "prompts": 100}
DPO = {"beta": 0.1, "lr": 3e-4, "pairs": 9000, "every": 1500, "prompts": 256}
SUMMARIES = {"episodes": 2560, "envs": 128, "articles": 150}
QUICK = {
    "reward": {"settings": REWARD | {"epochs": 1, "batch_size": 512, "max_tokens": 100_000}},
    "rlhf": {"episodes": 256, "prompts": 8},
    "best_of_n": {"n": [1, 2], "prompts": 2},
    "dpo": {"pairs": 32, "every": 32, "prompts": 2},
    "summaries": {"episodes": 256, "articles": 4},
}


def runs(options: argparse.Namespace, task: str, each: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers to all of these settings."""
    quick = QUICK[task] if options.quick else {}
    return side_by_side(options.at_once, "pref_learning.py", task, [settings | quick for settings in each])


def seeds(options: argparse.Namespace) -> range:
    return range(1 if options.quick else SEEDS)


def reward(options: argparse.Namespace) -> dict[str, Any]:
    """Reward models of both sets of preferences."""
    asked = [{"data": data, "settings": REWARD | own, "seed": seed} for data, own in DATA.items() for seed in seeds(options)]
    answers = runs(options, "reward", asked)
    return {"runs": {data: [a for a, s in zip(answers, asked, strict=True) if s["data"] == data] for data in DATA}}


def rlhf(options: argparse.Namespace) -> dict[str, Any]:
    """The writer tuned against the reward model that comes along, at a moderate price of divergence."""
    return {"runs": runs(options, "rlhf", [RLHF | {"seed": seed} for seed in seeds(options)])}


def overoptimisation(options: argparse.Namespace) -> dict[str, Any]:
    """The same at other prices, down to none; best-of-n and DPO beside it."""
    free = [OVER | {"kl_coef": 0.0, "seed": seed} for seed in seeds(options)]
    others = [OVER | {"kl_coef": beta, "seed": 0} for beta in (*COEFFICIENTS[1:], RLHF["kl_coef"])]
    ppo = runs(options, "rlhf", [*free, *others])
    result = {
        "ppo": ppo,
        "best_of_n": runs(options, "best_of_n", [BEST_OF])[0],
        "dpo": runs(options, "dpo", [DPO | {"seed": 0}])[0],
    }
    preference_tables.draw(result, options.out / "overoptimisation.png")
    return result


def summaries(options: argparse.Namespace) -> dict[str, Any]:
    """The writer trained on ROUGE-L with the reference summaries."""
    return {"runs": runs(options, "summaries", [SUMMARIES | {"seed": seed} for seed in seeds(options)])}


COMMANDS = {"reward": reward, "rlhf": rlhf, "overoptimisation": overoptimisation, "summaries": summaries}


def run(name: str, options: argparse.Namespace) -> bool:
    """Measures, writes <out>/preferences_<name>.json, prints the tables; whether all targets were met."""
    options.out.mkdir(parents=True, exist_ok=True)
    result = COMMANDS[name](options) | {"machine": machine((*PACKAGES, "transformers"))}
    write(f"preferences_{name}", result, options.out)
    print("\n" + preference_tables.section(name, result))
    return all(target.met for target in preference_tables.targets(name, result))


def write_tables(out: Path, check: bool) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    names = [f"preferences_{name}" for name in COMMANDS]
    results = {name.removeprefix("preferences_"): result for name, result in results_in(out, names).items()}
    return tables.fill(HERE / "README.md", preference_tables.MARKER, preference_tables.render(results), check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all", "tables"])
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, to see that everything works; figures mean nothing"
    )
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    parser.add_argument("--out", type=Path, help="where the results go (benchmarks/results; with --quick a folder git ignores)")
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    options = parser.parse_args()
    options.out = options.out or (QUICK_RESULTS if options.quick else RESULTS)
    if options.command == "tables":
        ok = write_tables(options.out, options.check)
        if not ok:
            print(
                "benchmarks/README.md differs from the results; run: python benchmarks/preferences.py tables", file=sys.stderr
            )
        return int(not ok)
    met = [run(name, options) for name in (COMMANDS if options.command == "all" else [options.command])]
    if options.command == "all" and options.out == RESULTS:
        write_tables(options.out, check=False)
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
