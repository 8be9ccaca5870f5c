"""What the READMEs tell of results: Markdown tables between two marks, and the targets that were met or missed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Tables", "Target", "fill", "table", "where"]


@dataclass(frozen=True)
class Target:
    """A figure that was promised, and the one that was measured."""

    what: str
    figure: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def __str__(self) -> str:
        verdict, side = "met" if self.met else "MISSED", "least" if self.at_least else "most"
        return f"{verdict}: {self.what}: {self.figure:.4g} (target: at {side} {self.bound:g})"


@dataclass(frozen=True)
class Tables:
    """What benchmarks/README.md tells of the results of benchmarks/<script>.py, between the marks that bear the script's name."""

    script: str
    title: str  # before a command's name in its heading
    files: str  # before it in the name of its result's file
    bodies: dict[str, Callable[[dict[str, Any]], str]]  # command -> its tables
    targets: Callable[[str, dict[str, Any]], list[Target]]  # of a command's result
    arguments: dict[str, str] = field(default_factory=dict)  # that measure it, where they are not the command's name alone
    bullet: str = "*"

    def section(self, name: str, result: dict[str, Any]) -> str:
        """The tables of one command, its targets, and what it was measured on."""
        promised = "\n".join(f"{self.bullet} {target}" for target in self.targets(name, result))
        return "\n\n".join(filter(None, (f"### {self.title}{name}", self.bodies[name](result), promised, where(result))))

    def render(self, results: dict[str, dict[str, Any]]) -> str:
        """All results as one Markdown text; what has not been measured is named."""
        return "\n\n".join(
            self.section(name, results[name]) if name in results
            else f"### {self.title}{name}\n\nNot measured yet: `python benchmarks/{self.script}.py {self.arguments.get(name, name)}`."
            for name in self.bodies
        )  # fmt: skip


def fill(readme: Path, marker: str, text: str, check: bool = False) -> bool:
    """Puts `text` between the README's markers; with `check`, only says whether it stands there."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, _, rest = readme.read_text().partition(begin)
    _, _, after = rest.partition(end)
    filled = f"{before}{begin}\n{text}\n{end}{after}"
    if check:
        return readme.read_text() == filled
    readme.write_text(filled)
    return True


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---", *["---:"] * (len(header) - 1)], *rows])


def where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    cores = f"{machine['cores']} cores (load {machine['load']:.1f} at the start)"
    return f"_{machine['date']}, {machine['cpu']}, {cores}, Python {machine['python']}, {versions}._"
