"""The algorithms behind one seam: what they learn of equally many tokens, CartPole, speed; benchmarks/README.md explains every figure.

python benchmarks/algorithms.py learning|control|speed|all [--quick] [--only NAME ...] [--task NAME] [--setting NAME] [--out FOLDER]
python benchmarks/algorithms.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import algorithm_tables
import language
import tables
from language import Contender
from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, in_turn, machine, results_in, side_by_side, write

SEEDS = 3
LEARNERS = {  # algorithm -> its config, in all else the defaults
    "ppo": {},
    "grpo": {},
    "rloo": {},
    "reinforce_stable": {},
    "reinforce": {},
}
TASKS = {  # what is learned -> sampled tokens, and where there are fewer learners or problems than usual
    "sums": {"tokens": 60_000},
    "words": {"tokens": 100_000, "problems": 300, "curve_problems": 100, "points": 5},
}
LEARNING = {"problems": 500, "curve_problems": 200, "points": 10}
LEFT_OUT = {"words": ("reinforce",)}  # which differs from the stable one by little, and takes as long
CONTROL = {  # algorithm -> its config, and other arguments of train_agent (None: the preset's)
    "ppo": {"config": {}, "run": None},
    "a2c": {"config": {"lam": 0.95, "lr_schedule": "linear"}, "run": {"num_envs": 8, "rollout_steps": 16}},
    "reinforce": {"config": {}, "run": {}},
}
STEPS, EVERY = 100_000, 1000  # environment steps, and between two points of a curve
CONTENDERS = {
    "grpo": Contender("lang_groups.py", settings={"algorithm": "grpo"}),
    "trl_grpo": Contender("lang_trl_grpo.py", "trl_grpo"),
    "hand_grpo": Contender("lang_hand_groups.py", settings={"algorithm": "grpo"}),
    "rloo": Contender("lang_groups.py", settings={"algorithm": "rloo"}),
    "trl_rloo": Contender("lang_trl_rloo.py", "trl_grpo"),
    "hand_rloo": Contender("lang_hand_groups.py", settings={"algorithm": "rloo"}),
}
SETTINGS = {"S": language.S, "M": language.M}
QUICK = {
    "learning": {"tokens": 2000, "problems": 8, "curve_problems": 8, "points": 1},
    "control": {"steps": 2000},
    "speed": language.QUICK,
}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Each algorithm on the same number of sampled tokens. With --task one task is measured, and takes its place among the
    results that are there."""
    found = there(options, "learning", options.task, {"tasks": {}})
    for task, of_task in TASKS.items():
        if options.task in (None, task):
            each = [{"task": task, "algorithm": name, "config": LEARNERS[name], "seed": seed, **LEARNING, **of_task}
                    for name in wanted(options, LEARNERS) if name not in LEFT_OUT.get(task, ()) for seed in seeds(options)]  # fmt: skip
            found["tasks"][task] = by_algorithm(answers(options, "alg_learning.py", "learning", each))
    algorithm_tables.draw_learning(found, options.out / "algorithms_learning.png")
    return found


def control(options: argparse.Namespace) -> dict[str, Any]:
    """CartPole, with as many environment steps for each."""
    each = [{"algorithm": name, **CONTROL[name], "steps": STEPS, "every": EVERY, "seed": seed}
            for name in wanted(options, CONTROL) for seed in seeds(options)]  # fmt: skip
    found = {"runs": by_algorithm(answers(options, "alg_control.py", "control", each))}
    algorithm_tables.draw_control(found, options.out / "algorithms_control.png")
    return found


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Whole iterations of everyone in turn. With --setting one setting is measured, and takes its place among the results that
    are there."""
    found = there(options, "speed", options.setting, {"settings": {}})
    asked = {name: CONTENDERS[name].asked("speed") for name in wanted(options, CONTENDERS)}
    for setting, plan in SETTINGS.items():
        if options.setting in (None, setting):
            rounds = 1 if options.quick else language.ROUNDS.get(setting, 3)
            plan = plan | (QUICK["speed"] if options.quick else {})
            found["settings"][setting] = in_turn(rounds, asked, plan, f"speed, {setting}")
    return found


def wanted(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    return [name for name in names if not options.only or name in options.only]


def seeds(options: argparse.Namespace) -> range:
    return range(1 if options.quick else SEEDS)


def there(options: argparse.Namespace, name: str, part: str | None, nothing: dict[str, Any]) -> dict[str, Any]:
    """The results that a part is added to; nothing where all is measured."""
    path = options.out / f"algorithms_{name}.json"
    return json.loads(path.read_text()) if part and path.is_file() else nothing


def answers(options: argparse.Namespace, script: str, command: str, each: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the settings that they are the answers to."""
    quick = QUICK[command] if options.quick else {}
    asked = [settings | quick for settings in each]
    found = side_by_side(options.at_once, script, "learn", asked)
    names = ("algorithm", "config", "run")
    return [{name: s[name] for name in names if name in s} | answer for s, answer in zip(asked, found, strict=True)]


def by_algorithm(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [run for run in runs if run["algorithm"] == name] for name in dict.fromkeys(run["algorithm"] for run in runs)}


COMMANDS = {"learning": learning, "control": control, "speed": speed}


def run(name: str, options: argparse.Namespace) -> bool:
    """Measures, writes <out>/algorithms_<name>.json, prints the tables; whether all targets were met."""
    options.out.mkdir(parents=True, exist_ok=True)
    result = COMMANDS[name](options) | {"machine": machine((*PACKAGES, "transformers"))}
    write(f"algorithms_{name}", result, options.out)
    print("\n" + algorithm_tables.section(name, result))
    return all(target.met for target in algorithm_tables.targets(name, result))


def write_tables(out: Path, check: bool) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    names = [f"algorithms_{name}" for name in COMMANDS]
    results = {name.removeprefix("algorithms_"): result for name, result in results_in(out, names).items()}
    return tables.fill(HERE / "README.md", algorithm_tables.MARKER, algorithm_tables.render(results), check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all", "tables"])
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, to see that everything works; figures mean nothing"
    )
    everyone = dict.fromkeys([*LEARNERS, *CONTROL, *CONTENDERS])
    parser.add_argument("--only", nargs="+", choices=list(everyone), help="only these algorithms or contenders")
    parser.add_argument("--task", choices=list(TASKS), help="learning: only this task")
    parser.add_argument("--setting", choices=list(SETTINGS), help="speed: only this setting")
    parser.add_argument("--at-once", type=int, default=2, help="learning and control: runs side by side")
    parser.add_argument(
        "--out", type=Path, help="where the results go (benchmarks/results; with --quick or --only a folder git ignores)"
    )
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    options = parser.parse_args()
    options.out = options.out or (QUICK_RESULTS if options.quick or options.only else RESULTS)
    if options.command == "tables":
        ok = write_tables(options.out, options.check)
        if not ok:
            print("benchmarks/README.md differs from the results; run: python benchmarks/algorithms.py tables", file=sys.stderr)
        return int(not ok)
    met = [run(name, options) for name in (COMMANDS if options.command == "all" else [options.command])]
    if options.command == "all" and options.out == RESULTS:
        write_tables(options.out, check=False)
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
