"""gymformer's PPO on language models beside TRL, `generate` and a loop by hand; benchmarks/README.md explains every figure.

python benchmarks/language.py speed|memory|length|learning|all [--quick] [--only NAME ...] [--setting NAME] [--out FOLDER]
python benchmarks/language.py speed --device cuda    the same on a GPU, with larger models in bfloat16
python benchmarks/language.py tables [--check]       write the README's tables from the results, or compare them
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import language_tables
import tables
from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, Ask, ask, cpu_info, in_turn, machine, results_in, write
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
    path = options.out / "language_speed.json"
    there = json.loads(path.read_text()) if options.setting and path.is_file() else {"settings": {}, "left_out": {}}
    result: dict[str, Any] = there | {"machine": machine((*PACKAGES, "transformers"))}
    for setting, (names, plan) in SETTINGS.items():
        if options.setting not in (None, setting):
            continue
        if plan["dtype"] == "bfloat16" and not has_bf16():
            why = f"this processor has no bfloat16 instructions ({', '.join(sorted(BF16_FLAGS))})"
            print(f"speed, {setting}, is left out: {why}", flush=True)
            result["left_out"][setting] = why
            continue
        result["settings"][setting] = measured(options, names, plan, f"speed, {setting}")
    return result


def has_bf16() -> bool:
    return not BF16_FLAGS.isdisjoint((cpu_info("flags") or cpu_info("Features")).split())


def measured(options: argparse.Namespace, names: list[str], plan: dict[str, Any], what: str) -> dict[str, list[dict]]:
    asked = {name: CONTENDERS[name].asked("speed") for name in names if name in options.only}
    on_gpu = plan["device"] == "cuda"
    product = {"size": 8192, "repeats": 50} if on_gpu else {"size": 2048, "repeats": 10}
    asked["peak"] = lambda s: ask(sys.executable, "lang_peak.py", "peak", s | product)
    rounds = 1 if options.quick else ROUNDS.get(plan["shape"], 3)
    return in_turn(rounds, asked, plan | (QUICK if options.quick else {}), what)


def gpu(options: argparse.Namespace) -> dict[str, Any]:
    """`speed` on a GPU, and where the time goes there."""
    name = name_of_gpu()
    result: dict[str, Any] = {"machine": machine((*PACKAGES, "transformers")), "settings": {}, "profiles": {}}
    result["machine"]["cpu"] = f"{name}, {result['machine']['cpu']}"
    for setting, (names, plan) in GPU_SETTINGS.items():
        result["settings"][setting] = measured(options, names, plan, f"speed, {setting}")
        profiled = {name: CONTENDERS[name].asked("profile") for name in ("gymformer", "hand") if name in options.only}
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
    asked = {name: CONTENDERS[name].asked("speed") for name in names if name in options.only}
    runs = in_turn(1, asked, plan | (QUICK if options.quick else {}), "memory, M")
    return {"machine": machine((*PACKAGES, "transformers")), "runs": runs}


def length(options: argparse.Namespace) -> dict[str, Any]:
    """The cost of a token in short and in long continuations."""
    names = [name for name in ("gymformer", "hand") if name in options.only]
    asked = {f"{name} {tokens}": CONTENDERS[name].asked("speed", tokens=tokens // 16 if options.quick else tokens, **own)
             for name in names for tokens, own in LENGTHS.items()}  # fmt: skip
    runs = in_turn(1 if options.quick else 3, asked, S, "length")
    return {"machine": machine((*PACKAGES, "transformers")), "runs": runs}


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """The reasoner trained with PPO, three seeds of each kind of actor and critic, one after another."""
    short = {"episodes": 256, "problems": 20, "curve_problems": 20} if options.quick else {}
    runs = {
        name: [ask(sys.executable, "lang_learning.py", "learn", LEARNING | kind | short | {"seed": seed})
               for seed in range(1 if options.quick else 3)]
        for name, kind in LEARNERS.items()
    }  # fmt: skip
    return {"machine": machine((*PACKAGES, "transformers")), "runs": runs}


COMMANDS = {"speed": speed, "memory": memory, "length": length, "learning": learning}


def run(name: str, options: argparse.Namespace) -> bool:
    """Measures, writes <out>/language_<name>.json, prints the tables; whether all targets were met."""
    result = gpu(options) if name == "gpu" else COMMANDS[name](options)
    write(f"language_{name}", result, options.out)
    print("\n" + language_tables.section(name, result))
    return all(target.met for target in language_tables.targets(name, result))


def write_tables(out: Path, check: bool) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    names = [f"language_{name}" for name in language_tables.SECTIONS]
    results = {name.removeprefix("language_"): result for name, result in results_in(out, names).items()}
    return tables.fill(HERE / "README.md", language_tables.MARKER, language_tables.render(results), check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all", "tables"])
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to see that everything runs; figures mean little"
    )
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="only these contenders")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="speed: cuda measures a GPU's settings instead"
    )
    parser.add_argument("--setting", choices=list(SETTINGS), help="speed: only this setting")
    parser.add_argument(
        "--out", type=Path, help="where the results go (benchmarks/results; with --quick or --only a folder git ignores)"
    )
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    options = parser.parse_args()
    options.out = options.out or (QUICK_RESULTS if options.quick or options.only else RESULTS)
    options.only = options.only or list(CONTENDERS)
    if options.device == "cuda" and options.command != "speed":
        parser.error(f"--device cuda is for speed, not for {options.command}")
    if options.command == "tables":
        ok = write_tables(options.out, options.check)
        if not ok:
            print("benchmarks/README.md differs from the results; run: python benchmarks/language.py tables", file=sys.stderr)
        return int(not ok)
    chosen = "gpu" if options.device == "cuda" else options.command
    met = [run(name, options) for name in (COMMANDS if chosen == "all" else [chosen])]
    if chosen == "all" and options.out == RESULTS:
        write_tables(options.out, check=False)
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
