"""Sample episodes of a training run: token traces, in a file of its folder."""

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gymformer.files import write_file
from gymformer.monitoring.trace import TokenTrace, TracedToken

__all__ = ["read_samples", "write_samples"]

FILE = "samples.jsonl"  # one line for each trace
DIGITS = 5  # of every number, which is more than a colour or a tooltip shows
COLUMNS = [column.name for column in fields(TracedToken)]


def write_samples(folder: Path, update: int, traces: Sequence[TokenTrace]) -> None:
    """Adds the traces of an update. Those of this and of later updates, which a resumed run has forgotten, go. The file is as it
    was, or complete."""
    kept = [(number, trace) for number, trace in read_samples(folder) if number < update]
    lines = [json.dumps(_record(number, trace), ensure_ascii=False, allow_nan=False) + "\n"
             for number, trace in [*kept, *((update, trace) for trace in traces)]]  # fmt: skip
    write_file(folder / FILE, "".join(lines).encode("utf-8", "surrogatepass"))


def read_samples(folder: Path) -> list[tuple[int, TokenTrace]]:
    """(number of the update, trace) in the order of the updates; nothing where the run has written none."""
    file = folder / FILE
    if not file.is_file():
        return []
    text = file.read_bytes().decode("utf-8", "surrogatepass")
    try:
        return [_sample(json.loads(line)) for line in text.split("\n") if line]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} does not hold the samples of a run ({error}); restore or delete it") from error


def _record(update: int, trace: TokenTrace) -> dict[str, Any]:
    """By columns, each name once; columns that nothing is known of are left out."""
    columns = {name: [_short(getattr(token, name)) for token in trace.tokens] for name in COLUMNS}
    known = {name: column for name, column in columns.items() if any(value is not None for value in column)}
    return {"update": update, "title": trace.title, "return": trace.episode_return, "ended": trace.ended, "info": trace.info,
            "tokens": known}  # fmt: skip


def _sample(record: dict[str, Any]) -> tuple[int, TokenTrace]:
    columns = record["tokens"]
    rows = zip(*columns.values(), strict=True)
    tokens = tuple(TracedToken(**dict(zip(columns, row, strict=True))) for row in rows)
    return int(record["update"]), TokenTrace(tokens, record["title"], record["return"], record["ended"], record["info"])


def _short(value: Any) -> Any:
    """JSON has no NaN and no infinity: such a number is unknown."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
