"""Language models that play: what models/player learns from words, how fast, and whether what it says over HTTP is an action.
benchmarks/README.md explains every figure.

python benchmarks/agents.py learning|speed|server|all [--quick] [--only NAME ...] [--out FOLDER]
python benchmarks/agents.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import agent_tables
import tables
from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, ask, in_turn, machine, results_in, side_by_side, write
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
    path = options.out / "agents_learning.json"
    found = json.loads(path.read_text())["tasks"] if options.only and path.is_file() else {}
    for task, settings in TASKS.items():
        if options.only and task not in options.only:
            continue
        quick = QUICK["learning"] if options.quick else {}
        each = [{"task": task, "seed": seed, **settings, **quick} for seed in range(1 if options.quick else SEEDS)]
        found[task] = side_by_side(options.at_once, "agent_learning.py", "learn", each)
    return {"tasks": found}


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Acting and learning, each in a process of its own, one after the other in turn."""
    quick = QUICK["speed"] if options.quick else {}
    asked = {
        name: partial(_asked, script, own | quick)
        for name, (script, own) in CONTENDERS.items()
        if not options.only or name in options.only
    }
    return {"rounds": in_turn(1 if options.quick else ROUNDS, asked, SPEED | quick, "speed")}


def _asked(script: str, own: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return ask(sys.executable, script, "speed", settings | own)


def server(options: argparse.Namespace) -> dict[str, Any]:
    """All games, over HTTP."""
    settings = SERVER | (QUICK["server"] if options.quick else {}) | {"python": str(python_of("server"))}
    return ask(sys.executable, "agent_served.py", "serve", settings)


COMMANDS = {"learning": learning, "speed": speed, "server": server}


def run(name: str, options: argparse.Namespace) -> bool:
    """Measures, writes <out>/agents_<name>.json, prints the tables; whether all targets were met."""
    options.out.mkdir(parents=True, exist_ok=True)
    result = COMMANDS[name](options) | {"machine": machine((*PACKAGES, "transformers"))}
    write(f"agents_{name}", result, options.out)
    print("\n" + agent_tables.section(name, result))
    return all(target.met for target in agent_tables.targets(name, result))


def write_tables(out: Path, check: bool) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    results = {
        name.removeprefix("agents_"): result
        for name, result in results_in(out, [f"agents_{name}" for name in COMMANDS]).items()
    }
    return tables.fill(HERE / "README.md", agent_tables.MARKER, agent_tables.render(results), check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all", "tables"])
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, to see that everything works; figures mean nothing"
    )
    parser.add_argument("--only", nargs="+", choices=[*TASKS, *CONTENDERS], help="only these tasks or contenders")
    parser.add_argument("--at-once", type=int, default=2, help="learning: runs side by side")
    parser.add_argument("--out", type=Path, help="where the results go (benchmarks/results; with --quick a folder git ignores)")
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    options = parser.parse_args()
    options.out = options.out or (QUICK_RESULTS if options.quick else RESULTS)
    if options.command == "tables":
        ok = write_tables(options.out, options.check)
        if not ok:
            print("benchmarks/README.md differs from the results; run: python benchmarks/agents.py tables", file=sys.stderr)
        return int(not ok)
    met = [run(name, options) for name in (COMMANDS if options.command == "all" else [options.command])]
    if options.command == "all" and options.out == RESULTS:
        write_tables(options.out, check=False)
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
