"""gymformer's PPO beside its peers on Gymnasium's classic environments; benchmarks/README.md explains every figure.

python benchmarks/classic.py speed|solve|learning|import|all [--quick] [--out FOLDER] [--cleanrl CLONE] [--env ID]
python benchmarks/classic.py tables [--check]      write the README's tables from the results, or compare them
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from classic_tables import KINDS, OPTIMIZERS, TABLES
from driver import arguments, drive
from running import ENVIRONMENT, NO_GPU, Ask, ask, in_turn, machine, measured_before, write
from venvs import python_of

from gymformer.presets import preset_names

PACKAGES = ("gymformer", "torch", "gymnasium", "numpy")  # transformers need not be there

# rl-baselines3-zoo, hyperparams/ppo.yml, CartPole-v1.
ZOO = {"num_envs": 8, "rollout_steps": 32, "epochs": 20, "minibatch_size": 256, "gamma": 0.98, "lam": 0.8, "lr": 1e-3}
SETTINGS = {
    "zoo": ZOO | {"warm_up": 8, "iterations": 50},
    "large": ZOO | {"num_envs": 64, "rollout_steps": 128, "epochs": 10, "minibatch_size": 2048, "warm_up": 1, "iterations": 6},
}
SOLVE = ZOO | {"total_timesteps": 100_000}
FIVE_LINES = "CartPole-v1 (five lines)"
LEARNING = {  # what to train -> its environment, settings and seeds
    "CartPole-v1": {"env": "CartPole-v1", "settings": "preset", "seeds": range(5)},
    FIVE_LINES: {"env": "CartPole-v1", "settings": "five lines", "max_episodes": 1000, "seeds": range(5)},
    "Acrobot-v1": {"env": "Acrobot-v1", "settings": "preset", "seeds": range(3)},
    "LunarLander-v3": {"env": "LunarLander-v3", "settings": "preset", "seeds": range(3)},
    "Pendulum-v1": {"env": "Pendulum-v1", "settings": "preset", "seeds": range(3)},
}
IMPORTS = {  # name -> what a fresh process runs
    "python": "pass",
    "gymnasium": "import gymnasium",
    "gymformer": "import gymformer",
    "torch": "import torch",
    "train_agent": "from gymformer import train_agent",
}


def contenders(cleanrl: Path | None) -> dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """Name -> a function of task and settings. CleanRL takes part where the user has a clone of it."""
    found = {
        "gymformer": lambda task, s: ask(sys.executable, "gymformer_ppo.py", task, s),
        "sb3": lambda task, s: ask(python_of("sb3"), "sb3_ppo.py", task, s),
        "numpy": lambda task, s: ask(sys.executable, "numpy_ppo.py", task, s),
    }
    if cleanrl is not None:
        script = str(cleanrl.resolve() / "cleanrl" / "ppo.py")
        found["cleanrl"] = lambda task, s: ask(python_of("cleanrl"), "cleanrl_ppo.py", task, s | {"script": script})
    return found


def speed(options: argparse.Namespace) -> dict[str, Any]:
    rounds, result = 1 if options.quick else 5, {"settings": {}, "gradient_step": {}}
    quick = {"iterations": 3, "warm_up": 1} if options.quick else {}
    everyone = contenders(options.cleanrl)
    for setting, names in (("zoo", everyone.keys()), ("large", ("gymformer", "sb3", "numpy"))):
        asked = {name: lambda s, name=name: everyone[name]("speed", s) for name in names}
        result["settings"][setting] = in_turn(rounds, asked, SETTINGS[setting] | quick, f"speed, {setting}")
    one = {"steps": 3_000 if options.quick else 20_000}
    result["one"] = in_turn(rounds, parts("one", KINDS), one, "one environment")
    for size in (64, 256, 2048):
        steps = (30_000 if options.quick else 1_000_000) // (size + 500)  # about as long for each size
        plan = {"minibatch_size": size, "steps": steps}
        result["gradient_step"][str(size)] = in_turn(rounds, parts("gradient_step", OPTIMIZERS), plan, f"step of {size}")
    return result


def parts(task: str, kinds: Iterable[str]) -> dict[str, Ask]:
    """Each kind's measurement by contenders/parts.py."""
    return {kind: lambda s, kind=kind: ask(sys.executable, "parts.py", task, s | {"kind": kind}) for kind in kinds}


def solve(options: argparse.Namespace) -> dict[str, Any]:
    asked = {name: lambda s, one=one: one("solve", s) for name, one in contenders(options.cleanrl).items()}
    return {"runs": in_turn(1 if options.quick else 5, asked, SOLVE, "solve")}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Adds to the results that are there: one environment can be measured by itself. An environment without a preset has
    no runs, and misses its target."""
    environments = measured_before(options.out, "learning", "environments")
    for name, plan in LEARNING.items():
        if options.env not in (None, name, plan["env"]):
            continue
        trainable = plan["settings"] != "preset" or plan["env"] in preset_names()
        seeds = list(plan["seeds"])[: 1 if options.quick else None] if trainable else []
        if not trainable:
            print(f"learning, {name}: gymformer has no preset for it", flush=True)
        settings = {key: value for key, value in plan.items() if key != "seeds"}
        runs = []
        for seed in seeds:
            print(f"learning, {name}, seed {seed}", flush=True)
            run = ask(sys.executable, "gymformer_ppo.py", "learning", settings | {"seed": seed})
            print(f"  mean {run['mean']:.1f} after {run['timesteps']:,} steps, {run['cpu_seconds']:.0f} CPU s", flush=True)
            runs.append(run)
        environments[name] = {"date": time.strftime("%Y-%m-%d"), "runs": runs}
        # Written each time: the whole takes long, and what is done should survive an interruption.
        write("learning", {"machine": machine(PACKAGES), "environments": environments}, options.out)
    return {"environments": environments}


def import_time(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of a whole Python process that imports and ends, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(3 if options.quick else 10):
        for name, code in IMPORTS.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | ENVIRONMENT | NO_GPU)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if number:  # the first reads the files from the disk
                seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"seconds": seconds}


COMMANDS = {"speed": speed, "solve": solve, "learning": learning, "import": import_time}


def main() -> int:
    parser = arguments(__doc__, COMMANDS)
    parser.add_argument(
        "--cleanrl", type=Path, help="a clone of github.com/vwxyzjn/cleanrl, whose cleanrl/ppo.py then takes part"
    )
    parser.add_argument("--env", choices=list(LEARNING), help="learning: only this one; the others' results stay")
    return drive(parser.parse_args(), COMMANDS, TABLES, PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
