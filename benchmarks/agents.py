"""Language models that play: what models/player learns from words, how fast, and whether what it says over HTTP is an action.
benchmarks/README.md explains every figure.

python benchmarks/agents.py learning|speed|server|all [--quick] [--only NAME ...] [--out FOLDER]
python benchmarks/agents.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import sys
from functools import partial
from typing import Any

from agent_tables import TABLES
from driver import arguments, drive, wanted
from running import ask, in_turn, measured_before, side_by_side
from venvs import python_of

SEEDS = 3
PPO = {"lr_actor": 1e-3, "lr_critic": 1e-2, "minibatch_size": -1, "update_epochs": 4, "lr_schedule": "linear",
       "entropy_schedule": "linear"}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "blackjack": {"episodes": 122_880, "update_interval": 2048, "num_envs": 1024, "every": 5, "config": PPO | {"entropy_coef": 0.15}},
    "lake": {"episodes": 5120, "update_interval": 128, "num_envs": 128, "every": 5,
             "config": PPO | {"entropy_coef": 0.02, "gamma": 0.95, "lam": 0.95}},
}  # fmt: skip
ROUNDS = 3
CONTENDERS = {  # the peer plays fewer episodes, for the time it takes; both are measured a step
    "gymformer": ("agent_gymformer.py", {"episodes": 32, "updates": 4, "num_envs": 32}),
    "loop": ("agent_loop.py", {"episodes": 3}),
}
SPEED = {"turns": 20, "epochs": 2}
SERVER = {  # episodes of each game, which are cut off after so many steps
    "games": {"BlackjackLLM-v1": 40, "FrozenLakeLLM-v1": 8, "TaxiLLM-v3": 2, "CartPoleLLM-v1": 4, "LunarLanderLLM-v2": 2,
              "MiniGridEmptyLLM-v0": 2},
    "max_steps": 40, "seed": 0,
}  # fmt: skip
QUICK = {
    "learning": {"episodes": 16, "update_interval": 8, "num_envs": 8, "every": 2},
    "speed": {"turns": 3, "episodes": 2, "updates": 1, "num_envs": 2},
    "server": {"games": {"BlackjackLLM-v1": 2}},
}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Every task with three seeds. With --only, these tasks take their places among the results that are there."""
    found = measured_before(options.out, "agents_learning", "tasks") if options.only else {}
    quick = QUICK["learning"] if options.quick else {}
    for task in wanted(options, TASKS):
        each = [{"task": task, "seed": seed, **TASKS[task], **quick} for seed in range(1 if options.quick else SEEDS)]
        found[task] = side_by_side(options.at_once, "agent_learning.py", "learn", each)
    return {"tasks": found}


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Acting and learning, each in a process of its own, one after the other in turn."""
    quick = QUICK["speed"] if options.quick else {}
    chosen = {name: CONTENDERS[name] for name in wanted(options, CONTENDERS)}
    asked = {name: partial(_asked, script, own | quick) for name, (script, own) in chosen.items()}
    return {"rounds": in_turn(1 if options.quick else ROUNDS, asked, SPEED | quick, "speed")}


def _asked(script: str, own: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return ask(sys.executable, script, "speed", settings | own)


def server(options: argparse.Namespace) -> dict[str, Any]:
    """All games, over HTTP."""
    settings = SERVER | (QUICK["server"] if options.quick else {}) | {"python": str(python_of("server"))}
    return ask(sys.executable, "agent_served.py", "serve", settings)


COMMANDS = {"learning": learning, "speed": speed, "server": server}


def main() -> int:
    parser = arguments(__doc__, COMMANDS)
    parser.add_argument("--only", nargs="+", choices=[*TASKS, *CONTENDERS], help="only these tasks or contenders")
    parser.add_argument("--at-once", type=int, default=2, help="learning: runs side by side")
    return drive(parser.parse_args(), COMMANDS, TABLES)


if __name__ == "__main__":
    sys.exit(main())
