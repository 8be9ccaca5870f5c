"""gymformer's PPO on language models beside TRL, `generate` and a loop by hand; benchmarks/README.md explains every figure.

python benchmarks/language.py speed|memory|length|learning|all [--quick] [--only NAME ...] [--setting NAME] [--out FOLDER]
python benchmarks/language.py speed --device cuda    the same on a GPU, with larger models in bfloat16
python benchmarks/language.py tables [--check]       write the README's tables from the results, or compare them
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from driver import arguments, drive, wanted
from language_tables import TABLES
from running import Ask, ask, cpu_info, in_turn, machine, measured_before
from venvs import python_of


@dataclass(frozen=True)
class Contender:
    script: str
    peer: str | None = None  # whose virtual environment it runs in; None: the project's
    settings: dict[str, Any] = field(default_factory=dict)  # that differ from the others'

    def asked(self, task: str, **own: Any) -> Ask:
        python = sys.executable if self.peer is None else python_of(self.peer)
        return lambda settings: ask(python, self.script, task, settings | self.settings | own)


CONTENDERS = {
    "gymformer": Contender("lang_gymformer.py"),
    "trl_ppo": Contender("lang_trl_ppo.py", "trl_ppo"),
    "trl_ppo_scored": Contender("lang_trl_ppo.py", "trl_ppo", {"reward_model": True}),
    "trl_grpo": Contender("lang_trl_grpo.py", "trl_grpo"),
    "trl_grpo_default": Contender("lang_trl_grpo.py", "trl_grpo", {"checkpointing": True}),
    "hand": Contender("lang_hand.py"),
    "generate": Contender("lang_generate.py"),
    # Its cost per token does not depend on the batch, and a whole one would take minutes.
    "naive": Contender("lang_naive.py", settings={"batch": 2, "iterations": 1}),
}
PLAN = {"prompt": 32, "tokens": 64, "dtype": "float32", "device": "cpu", "warm_up": 1}
S = PLAN | {"shape": "S", "batch": 32, "iterations": 6}
M = PLAN | {"shape": "M", "batch": 8, "iterations": 1}
SETTINGS = {  # name -> who is measured with what
    "S": (list(CONTENDERS), S),
    "M": (["gymformer", "trl_ppo", "trl_grpo", "hand", "generate"], M),
    "M_bf16": (["gymformer", "hand"], M | {"dtype": "bfloat16"}),
}
ROUNDS = {"S": 5}  # of a setting; 3 where an iteration takes long
GPU = PLAN | {"dtype": "bfloat16", "device": "cuda", "batch": 64, "warm_up": 2, "iterations": 4}
GPU_SETTINGS = {
    "gpt2": (["gymformer", "trl_grpo", "hand", "generate"], GPU | {"shape": "M"}),
    "qwen2": (["gymformer", "trl_grpo", "hand", "generate"], GPU | {"shape": "L"}),
}
LEARNING = {"episodes": 2560, "problems": 500, "curve_problems": 300, "critic": "head", "lora": None, "config": {}}
LEARNERS = {  # all else is default
    "head": {},
    "critic": {"critic": "own"},
    "lora": {"lora": 8, "episodes": 5120, "config": {"lr_actor": 1e-3}},
}
LENGTHS = {64: {"iterations": 3}, 512: {"iterations": 1}}  # sampled tokens
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86 and of ARM processors in /proc/cpuinfo
QUICK = {"tokens": 4, "iterations": 1}


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Whole iterations of everyone, and the product of matrices that the machine is measured with. With --setting one setting
    is measured, and takes its place among the results that are there."""
    parts = ("settings", "left_out")
    found = {part: measured_before(options.out, "language_speed", part) if options.setting else {} for part in parts}
    for setting, (names, plan) in SETTINGS.items():
        if options.setting not in (None, setting):
            continue
        if plan["dtype"] == "bfloat16" and not has_bf16():
            why = f"this processor has no bfloat16 instructions ({', '.join(sorted(BF16_FLAGS))})"
            print(f"speed, {setting}, is left out: {why}", flush=True)
            found["left_out"][setting] = why
            continue
        found["settings"][setting] = measured(options, names, plan, f"speed, {setting}")
    return found


def has_bf16() -> bool:
    return not BF16_FLAGS.isdisjoint((cpu_info("flags") or cpu_info("Features")).split())


def measured(options: argparse.Namespace, names: list[str], plan: dict[str, Any], what: str) -> dict[str, list[dict]]:
    asked = {name: CONTENDERS[name].asked("speed") for name in wanted(options, names)}
    on_gpu = plan["device"] == "cuda"
    product = {"size": 8192, "repeats": 50} if on_gpu else {"size": 2048, "repeats": 10}
    asked["peak"] = lambda s: ask(sys.executable, "lang_peak.py", "peak", s | product)
    rounds = 1 if options.quick else ROUNDS.get(plan["shape"], 3)
    return in_turn(rounds, asked, plan | (QUICK if options.quick else {}), what)


def gpu(options: argparse.Namespace) -> dict[str, Any]:
    """`speed` on a GPU, and where the time goes there."""
    name, host = name_of_gpu(), machine()
    result: dict[str, Any] = {"machine": host | {"cpu": f"{name}, {host['cpu']}"}, "settings": {}, "profiles": {}}
    for setting, (names, plan) in GPU_SETTINGS.items():
        result["settings"][setting] = measured(options, names, plan, f"speed, {setting}")
        profiled = {name: CONTENDERS[name].asked("profile") for name in wanted(options, ("gymformer", "hand"))}
        result["profiles"][setting] = {name: one(plan | {"seed": 0}) for name, one in profiled.items()}
    return result


def name_of_gpu() -> str:
    """The GPU's name. Exits where there is none that torch can use."""
    code = (
        "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '', torch.__version__, sep='\\n')"
    )
    name, torch = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    if not name:
        sys.exit(f"--device cuda needs a GPU, and torch {torch} sees none here; run it on a machine that has one and a build of torch "
                 "for it, or leave out --device to measure the processor")  # fmt: skip
    return name


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """The peak of each contender's process in the middle setting."""
    names, plan = SETTINGS["M"]
    asked = {name: CONTENDERS[name].asked("speed") for name in wanted(options, names)}
    return {"runs": in_turn(1, asked, plan | (QUICK if options.quick else {}), "memory, M")}


def length(options: argparse.Namespace) -> dict[str, Any]:
    """The cost of a token in short and in long continuations."""
    asked = {f"{name} {tokens}": CONTENDERS[name].asked("speed", tokens=tokens // 16 if options.quick else tokens, **own)
             for name in wanted(options, ("gymformer", "hand")) for tokens, own in LENGTHS.items()}  # fmt: skip
    return {"runs": in_turn(1 if options.quick else 3, asked, S, "length")}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """The reasoner trained with PPO, three seeds of each kind of actor and critic, one after another."""
    short = {"episodes": 256, "problems": 20, "curve_problems": 20} if options.quick else {}
    runs = {
        name: [ask(sys.executable, "lang_learning.py", "learn", LEARNING | kind | short | {"seed": seed})
               for seed in range(1 if options.quick else 3)]
        for name, kind in LEARNERS.items()
    }  # fmt: skip
    return {"runs": runs}


COMMANDS = {"speed": speed, "memory": memory, "length": length, "learning": learning}


def main() -> int:
    parser = arguments(__doc__, COMMANDS, aside=("quick", "only"))
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="only these contenders")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="speed: cuda measures a GPU's settings instead"
    )
    parser.add_argument("--setting", choices=list(SETTINGS), help="speed: only this setting")
    options = parser.parse_args()
    if options.device == "cpu":
        return drive(options, COMMANDS, TABLES)
    if options.command != "speed":
        parser.error(f"--device cuda is for speed, not for {options.command}")
    options.command = "gpu"  # the name of its result
    return drive(options, {"gpu": gpu}, TABLES)


if __name__ == "__main__":
    sys.exit(main())
