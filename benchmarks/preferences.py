"""Preferences with a known truth: reward models, RLHF, over-optimisation, summaries; benchmarks/README.md explains every figure.

python benchmarks/preferences.py reward|rlhf|overoptimisation|summaries|all [--quick] [--out FOLDER]
python benchmarks/preferences.py tables [--check]    write the README's tables from the results, or compare them
"""

import argparse
import sys
from typing import Any

import preference_tables
from driver import arguments, drive
from running import side_by_side

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


def main() -> int:
    parser = arguments(__doc__, COMMANDS)
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side")
    return drive(parser.parse_args(), COMMANDS, preference_tables.TABLES)


if __name__ == "__main__":
    sys.exit(main())
