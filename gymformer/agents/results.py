"""The results of many experiments in one table."""

import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

from gymformer.agents.settings import check_config
from gymformer.env.rendering import printable
from gymformer.files import read_json, write_file

__all__ = ["ResultsTable", "results_table"]

COLUMNS = ("Environment", "LLM", "Reward", "Total steps", "Action rate", "Initial seed", "% of successful runs", "GIF")
STYLE = "table{border-collapse:collapse;font:14px sans-serif}td,th{border:1px solid #ccc;padding:4px 8px}img{max-height:160px}"


@dataclass(frozen=True, slots=True)
class ResultsTable:
    """A row for each experiment: the entries of COLUMNS as text, the last one the path of a GIF or empty."""

    rows: list[tuple[str, ...]]

    def __str__(self) -> str:
        return self.markdown()

    def markdown(self, folder: Path = Path()) -> str:
        """A Markdown table whose links to the GIFs start at `folder`."""
        lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        for *texts, gif in self.rows:
            picture = f"![GIF]({_link(gif, folder)})" if gif else ""
            lines.append(f"| {' | '.join([*(_in_markdown(text) for text in texts), picture])} |")
        return "\n".join(lines) + "\n"

    def html(self, folder: Path = Path()) -> str:
        """A page with the table; texts are escaped, links to the GIFs start at `folder`."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
        body = ""
        for *texts, gif in self.rows:
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
            picture = f'<img src="{html.escape(_link(gif, folder))}" alt="an episode">' if gif else ""
            body += f"<tr>{cells}<td>{picture}</td></tr>\n"
        return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Results</title><style>{STYLE}</style></head>\n'
                f"<body><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></body></html>\n")  # fmt: skip

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Writes `results_table.md` and `results_table.html` into the folder."""
        paths = Path(folder) / "results_table.md", Path(folder) / "results_table.html"
        write_file(paths[0], self.markdown(Path(folder)).encode())
        write_file(paths[1], self.html(Path(folder)).encode())
        return paths


def results_table(folders: str | Path | Iterable[str | Path]) -> ResultsTable:
    """All complete experiments in these folders, at any depth, sorted by environment and then by reward, best first.

    Trained agents (`backend: trained`) stand between the language models. Raises FileNotFoundError if there are none.
    """
    places = [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
    found = sorted(
        {path.parent for place in places for path in place.rglob("results.json") if (path.parent / "config.yaml").exists()}
    )
    if not found:
        raise FileNotFoundError(
            f"no complete experiment in {', '.join(map(str, places))}; run one first: gymformer play config.yaml"
        )
    rows = [_row(folder) for folder in found]
    return ResultsTable([row for _, row in sorted(rows, key=lambda pair: pair[0])])


def _row(folder: Path) -> tuple[tuple[str, float], tuple[str, ...]]:
    try:
        config = check_config(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
        results = read_json(folder / "results.json")
        reward, rate = float(results["avg_reward"]), results["success_rate"]
        steps = sum(results["total_steps"])
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{folder} is not an experiment that run_experiment wrote: {error}") from error
    agent, environment, experiment = config["agent"], config["environment"], config["experiment"]
    who = f"{Path(agent['model']).name} (trained)" if agent["backend"] == "trained" else agent["model"]
    gif = next(iter(sorted(folder.glob("run_*.gif"))), None)
    success = "" if rate is None else f"{100 * rate:.0f}"
    row = (environment["name"], who, f"{reward:.4g}", str(steps), str(agent["action_rate"]), str(experiment["seed"]), success,
           "" if gif is None else str(gif))  # fmt: skip
    return (environment["name"], -reward), row


def _in_markdown(text: str) -> str:
    """The text as itself: nothing in it ends a cell, opens a tag or a link."""
    escaped = " ".join(printable(text).split())
    for char in "\\`*_[]<>|":
        escaped = escaped.replace(char, f"\\{char}")
    return escaped


def _link(path: str, folder: Path) -> str:
    return quote(os.path.relpath(path, folder).replace(os.sep, "/"))
