"""The report: training runs side by side, on one page that needs nothing from outside."""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from gymformer.files import read_json, write_file
from gymformer.monitoring.learning_curve import LearningCurve, analyse, common_threshold, spread
from gymformer.monitoring.log import read_metrics
from gymformer.monitoring.samples import read_samples
from gymformer.monitoring.trace import TokenTrace, visible
from gymformer.monitoring.trace_html import SCRIPT, STYLE, heat_map

__all__ = ["RunRecord", "explanations", "find_runs", "page", "page_data", "samples_html", "save_report"]

POINTS = 600  # of a curve; longer ones are drawn by the means of neighbouring updates
SAMPLED = 6  # updates of a run whose episodes are shown
EXCERPT = 120  # characters of an episode that stand in its line
COUNTED = ("task/", "safety/")  # columns that count: neighbouring updates are summed, not averaged
PLACES = ("update", "timesteps", "episodes", "step", "epoch")  # columns that say how far the run is
CURVE = ("update", "episodes", "return_mean")  # columns that a record needs to be a point of a learning curve
OWN = {"seed", "launch", "device", "threads", "versions"}  # of a config, what may differ between runs that are repeated
SAMPLES = ("The best and the worst paid episode of an update, token by token, the newest first. Choose what colours the tokens; point at "
           "one for its numbers.")  # fmt: skip
HERE = Path(__file__).parent


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says."""

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: list[tuple[int, TokenTrace]]

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Raises FileNotFoundError or ValueError where the folder is not that of a run."""
        config, metrics = folder / "config.json", read_metrics(folder)
        told = read_json(config) if config.is_file() else {}
        if not isinstance(told, dict):
            raise ValueError(f"{config} holds a {type(told).__name__}, not the settings of a run; restore or delete it")
        for number, record in enumerate(metrics, start=1):
            needed = () if record.get("return_mean") is None else CURVE
            for name in (*needed, *(["seconds"] if record.get("seconds") is not None else [])):
                if not _is_number(record.get(name)):
                    raise ValueError(f"{folder / 'metrics.jsonl'}, record {number}: {name!r} is {record.get(name)!r}, but a learning "
                                     "curve needs a number; restore the file, or leave this folder out")  # fmt: skip
        return cls(folder, told, metrics, read_samples(folder))

    @property
    def name(self) -> str:
        parts = (self.config.get("env", self.folder.name), self.config.get("algorithm", ""),
                 f"seed {self.config['seed']}" if "seed" in self.config else "")  # fmt: skip
        return " ".join(str(part) for part in parts if part)

    @cached_property
    def flat_config(self) -> dict[str, Any]:
        return dict(_flat(self.config))

    def curve(self, threshold: float | None) -> LearningCurve | None:
        return analyse(self.metrics, threshold)


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """The folders of runs that the paths are, or that lie up to two levels below them, oldest name first.

    Raises FileNotFoundError naming the path where there is none."""
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        runs = (
            [path] if _is_run(path) else sorted(f.parent for depth in ("*", "*/*") for f in path.glob(f"{depth}/metrics.jsonl"))
        )
        if not runs:
            raise FileNotFoundError(f"{path} holds no run: neither it nor a folder in it has a metrics.jsonl; give the folder that training "
                                    "printed, such as runs/CartPole-v1/20260101-120000-seed0")  # fmt: skip
        found |= dict.fromkeys(runs)
    return list(found)


def save_report(runs: Iterable[str | Path], path: str | Path, *, title: str = "", threshold: float | None = None) -> Path:
    """Writes the page of the runs (their folders, or folders that hold them), which any browser opens without a network.

    `threshold`: the return whose time is measured; None: nine tenths of the way from the lowest beginning to the highest point."""
    path, records = Path(path), [RunRecord.read(folder) for folder in find_runs(runs)]
    write_file(path, page(records, title=title, threshold=threshold).encode())
    return path


def page(runs: Sequence[RunRecord], *, title: str = "", threshold: float | None = None, live: bool = False) -> str:
    """The whole document. `live`: it asks the server it came from for `data.json`, and draws itself anew; otherwise it may not
    ask anyone for anything."""
    data = page_data(runs, threshold=threshold) | {"live": live}
    title = visible(title or _title(runs))
    scripts = (_asset("report.js"), SCRIPT)
    allowed = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    policy = (f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
              f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}")  # fmt: skip
    holes = {"TITLE": escape(title), "POLICY": escape(policy), "STYLE": _asset("report.css") + STYLE, "SAMPLES": samples_html(runs),
             "DATA": _as_script(data), "SCRIPT": scripts[0], "TRACE": scripts[1]}  # fmt: skip
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda hole: holes[hole[1]], _asset("report.html"))


def page_data(runs: Sequence[RunRecord], *, threshold: float | None = None) -> dict[str, Any]:
    """Everything that the page's script draws, as JSON holds it."""
    names, thresholds = _names(runs), _thresholds(runs, threshold)
    groups: dict[str, list[tuple[str, LearningCurve]]] = {}
    shown = []
    for name, run in zip(names, runs, strict=True):
        goal = thresholds[str(run.config.get("env"))]
        curve = run.curve(goal)
        step, columns = _columns(run.metrics)
        shown.append({
            "name": name, "folder": str(run.folder), "every": step, "updates": len(run.metrics), "columns": columns,
            "config": {key: _text(value) for key, value in run.flat_config.items()}, "threshold": _short(goal),
            "curve": None if curve is None else {key: _short(value) for key, value in asdict(curve).items()},
            "seconds": _short(sum(record.get("seconds") or 0.0 for record in run.metrics)), "totals": _totals(run.metrics),
        })  # fmt: skip
        if curve is not None:
            groups.setdefault(_repeated(run), []).append((run.name.rpartition(" seed ")[0] or run.name, curve))
    spreads = [{"name": group[0][0], **{key: _short(value) for key, value in asdict(spread([curve for _, curve in group])).items()}}
               for group in groups.values()]  # fmt: skip
    known = explanations()
    columns = sorted({column for run in shown for column in run["columns"]})
    return {"runs": shown, "spreads": spreads, "made": time.strftime("%Y-%m-%d %H:%M"),
            "explained": {column: found for column in columns if (found := _explained(column, known))}}  # fmt: skip


def samples_html(runs: Sequence[RunRecord]) -> str:
    """The sample episodes, newest first, the first run's unfolded; everything in them is escaped."""
    parts = []
    for number, (name, run) in enumerate(zip(_names(runs), runs, strict=True)):
        shown = _spaced(sorted({update for update, _ in run.samples}), SAMPLED)
        by_update = {
            update: [trace for number, trace in run.samples if number == update] for update in sorted(shown, reverse=True)
        }
        episodes = [_sample(update, trace, is_open=not parts and update == max(shown) and place == 0)
                    for update, traces in by_update.items() for place, trace in enumerate(traces)]  # fmt: skip
        if episodes:
            parts.append(f'<details class="of-run" data-run="{number}"{"" if parts else " open"}><summary><h3>{escape(visible(name))}</h3>'
                         f"</summary>{''.join(episodes)}</details>")  # fmt: skip
    if not parts:
        return '<p class="none">These runs have none; training writes them where an agent acts in tokens.</p>'
    return f'<p class="lead">{SAMPLES}</p>{"".join(parts)}'


def explanations() -> dict[str, tuple[str, str]]:
    """Definition and healthy range of every statistic, from the tables of monitoring/README.md."""
    text = (HERE / "README.md").read_text(encoding="utf-8").partition("# The token trace")[0]
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found.setdefault(name, (_plain(cells[1]), _plain(cells[2])))
    return found


def _explained(column: str, known: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """Of `success/knights` that of `success/TASK`: capitals in the tables stand for any name."""
    parts = column.split("/")
    for name, explanation in known.items():
        pattern = name.split("/")
        if len(pattern) == len(parts) and all(p.isupper() or p == part for p, part in zip(pattern, parts, strict=True)):
            return explanation
    return None


def _plain(cell: str) -> str:
    return cell.replace("`", "")


def _is_run(path: Path) -> bool:
    return (path / "metrics.jsonl").is_file()


def _title(runs: Sequence[RunRecord]) -> str:
    return ", ".join(dict.fromkeys(str(run.config.get("env", run.folder.name)) for run in runs))


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """A name for each run, none twice: what its config says that the others of its name do not, or else its folder."""
    names = []
    for run in runs:
        alike = [other for other in runs if other.name == run.name]
        differing = [key for key in dict.fromkeys(key for other in alike for key in other.flat_config)
                     if key.split(".")[0] not in OWN and len({_text(other.flat_config.get(key)) for other in alike}) > 1]  # fmt: skip
        said = [f"{key}={_text(run.flat_config.get(key)) or 'none'}" for key in differing[:2]]
        names.append(" ".join([run.name, *said]))
    return [name if names.count(name) == 1 else f"{name} ({run.folder.name})" for name, run in zip(names, runs, strict=True)]


def _thresholds(runs: Sequence[RunRecord], threshold: float | None) -> dict[str, float | None]:
    """One for each environment: returns of different ones are not comparable."""
    kinds = dict.fromkeys(str(run.config.get("env")) for run in runs)
    if threshold is not None:
        return dict.fromkeys(kinds, threshold)
    return {env: common_threshold([run.metrics for run in runs if str(run.config.get("env")) == env]) for env in kinds}


def _repeated(run: RunRecord) -> str:
    """Equal for runs that differ in nothing but their seed and the machine."""
    return json.dumps({key: value for key, value in run.config.items() if key not in OWN} or str(run.folder), sort_keys=True)


def _columns(metrics: Sequence[dict[str, Any]]) -> tuple[int, dict[str, list[float | None]]]:
    """So many updates make a point, and the points of every column of numbers."""
    step = max(1, -(-len(metrics) // POINTS))
    names = dict.fromkeys(name for record in metrics for name, value in record.items() if _is_number(value))
    blocks = [metrics[i : i + step] for i in range(0, len(metrics), step)]
    columns = {name: [_point(name, block) for block in blocks] for name in names}
    total, wall = 0.0, []
    for block in blocks:
        total += sum(record.get("seconds") or 0.0 for record in block)
        wall.append(_short(total))
    return step, columns | {"wall time": wall}


def _point(name: str, block: Sequence[dict[str, Any]]) -> float | None:
    values: list[float] = [record[name] for record in block if _is_number(record.get(name))]
    if not values:
        return None
    if name in PLACES:
        return values[-1]
    return _short(sum(values) if name.startswith(COUNTED) else sum(values) / len(values))


def _totals(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for record in metrics:
        for name, value in record.items():
            if name.startswith(COUNTED) and _is_number(value):
                totals[name] = totals.get(name, 0) + value
    return totals


def _sample(update: int, trace: TokenTrace, is_open: bool) -> str:
    paid = "" if trace.episode_return is None else f" · return {trace.episode_return:g}"
    said = "".join(token.text for token in trace.decisions)
    excerpt = escape(visible(said[:EXCERPT])) + ("…" if len(said) > EXCERPT else "")
    return (
        f'<details class="sample"{" open" if is_open else ""}><summary>update {update}{paid} · {len(trace.decisions)} tokens '
        f"<code>{excerpt}</code></summary>{heat_map(trace, trace.first_metric())}</details>"
    )


def _spaced(values: Sequence[int], most: int) -> set[int]:
    """The first, the last, and evenly between them."""
    return {values[round(i * (len(values) - 1) / max(1, most - 1))] for i in range(most)} if values else set()


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> Any:
    """Six digits, more than a chart shows."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _as_script(data: Any) -> str:
    """JSON that no text inside can end: `</script>` and `<!--` begin with a sign that is written as its number."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
