"""The algorithms behind one seam: what they learn of equally many tokens, CartPole, speed; benchmarks/README.md explains every figure.

python benchmarks/algorithms.py learning|control|speed|all [--quick] [--only NAME ...] [--task NAME] [--setting NAME] [--out FOLDER]
python benchmarks/algorithms.py tables [--check]     write the README's tables from the results, or compare them
"""

import argparse
import sys
from typing import Any

import algorithm_tables
import language
from driver import arguments, drive, wanted
from language import Contender
from running import in_turn, measured_before, side_by_side

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
    tasks = measured_before(options.out, "algorithms_learning", "tasks") if options.task else {}
    for task, of_task in TASKS.items():
        if options.task in (None, task):
            each = [{"task": task, "algorithm": name, "config": LEARNERS[name], "seed": seed, **LEARNING, **of_task}
                    for name in wanted(options, LEARNERS) if name not in LEFT_OUT.get(task, ()) for seed in seeds(options)]  # fmt: skip
            tasks[task] = by_algorithm(answers(options, "alg_learning.py", "learning", each))
    found = {"tasks": tasks}
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
    settings = measured_before(options.out, "algorithms_speed", "settings") if options.setting else {}
    asked = {name: CONTENDERS[name].asked("speed") for name in wanted(options, CONTENDERS)}
    for setting, plan in SETTINGS.items():
        if options.setting in (None, setting):
            rounds = 1 if options.quick else language.ROUNDS.get(setting, 3)
            plan = plan | (QUICK["speed"] if options.quick else {})
            settings[setting] = in_turn(rounds, asked, plan, f"speed, {setting}")
    return {"settings": settings}


def seeds(options: argparse.Namespace) -> range:
    return range(1 if options.quick else SEEDS)


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


def main() -> int:
    parser = arguments(__doc__, COMMANDS, aside=("quick", "only"))
    everyone = dict.fromkeys([*LEARNERS, *CONTROL, *CONTENDERS])
    parser.add_argument("--only", nargs="+", choices=list(everyone), help="only these algorithms or contenders")
    parser.add_argument("--task", choices=list(TASKS), help="learning: only this task")
    parser.add_argument("--setting", choices=list(SETTINGS), help="speed: only this setting")
    parser.add_argument("--at-once", type=int, default=2, help="learning and control: runs side by side")
    return drive(parser.parse_args(), COMMANDS, algorithm_tables.TABLES)


if __name__ == "__main__":
    sys.exit(main())
