"""The command line of a benchmark: its commands measure, `tables` writes what the README tells of their results."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from running import HERE, PACKAGES, QUICK_RESULTS, RESULTS, machine, results_in, write
from tables import Tables, fill

Command = Callable[[argparse.Namespace], dict[str, Any]]  # options -> what was measured


def arguments(doc: str | None, commands: Iterable[str], aside: Sequence[str] = ("quick",)) -> argparse.ArgumentParser:
    """What every benchmark's command line has; its own options are added to it. Results go to a folder of their own where one of
    the options `aside` is given."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*commands, "all", "tables"])
    parser.add_argument(
        "--quick", action="store_true", help="everything once and briefly, to see that it works; figures mean nothing"
    )
    given = " or ".join(f"--{name}" for name in aside)
    parser.add_argument(
        "--out", type=Path, help=f"where the results go (benchmarks/results; with {given} a folder git ignores)"
    )
    parser.add_argument("--check", action="store_true", help="tables: fail if the README differs from the results")
    parser.set_defaults(aside=aside)
    return parser


def wanted(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Those that --only leaves."""
    return [name for name in names if not options.only or name in options.only]


def drive(
    options: argparse.Namespace, commands: Mapping[str, Command], tables: Tables, packages: Iterable[str] = PACKAGES
) -> int:
    """Does what was asked for. Returns the exit status: 0 if all targets were met; of `tables`, if the README has the tables."""
    set_aside = any(vars(options)[name] for name in options.aside)
    options.out = options.out or (QUICK_RESULTS if set_aside else RESULTS)
    if options.command == "tables":
        same = write_tables(tables, options.out, options.check)
        if not same:
            print(
                f"benchmarks/README.md differs from the results; run: python benchmarks/{tables.script}.py tables",
                file=sys.stderr,
            )
        return int(not same)
    names = commands if options.command == "all" else [options.command]
    met = [measure(name, commands[name], options, tables, packages) for name in names]
    if options.command == "all" and options.out == RESULTS:
        write_tables(tables, options.out)
    return int(not all(met))


def measure(name: str, command: Command, options: argparse.Namespace, tables: Tables, packages: Iterable[str]) -> bool:
    """Measures, writes the result in <out>, prints its tables; whether all targets were met. A command may tell of its machine itself."""
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(packages)} | command(options)  # in this order: the machine's load is that of the start
    write(f"{tables.files}{name}", result, options.out)
    print("\n" + tables.section(name, result))
    return all(target.met for target in tables.targets(name, result))


def write_tables(tables: Tables, out: Path, check: bool = False) -> bool:
    """The README's tables from the results; with `check`, only whether they are what the README has."""
    found = results_in(out, [f"{tables.files}{name}" for name in tables.bodies])
    results = {name.removeprefix(tables.files): result for name, result in found.items()}
    return fill(HERE / "README.md", tables.script, tables.render(results), check)
