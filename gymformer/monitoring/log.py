"""The metrics log: one JSON line for each update."""

import json
import math
import os
from pathlib import Path
from typing import Any

__all__ = ["MetricsLog", "read_metrics"]


class MetricsLog:
    """Appends records to a file, one line each. `truncate` cuts the file back, so that a resumed run writes no line twice."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps({name: _plain(value) for name, value in record.items()}, allow_nan=False) + "\n")
        self._file.flush()

    def offset(self) -> int:
        """Bytes written so far, all of them on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def truncate(self, offset: int) -> None:
        """Forgets everything after `offset` bytes."""
        size = self.path.stat().st_size
        if size < offset:
            raise ValueError(f"{self.path} has {size} bytes, but the checkpoint was written after {offset}; the log was cut or "
                             "replaced. Restore it, or start a new run")  # fmt: skip
        self._file.truncate(offset)
        self._file.seek(offset)

    def close(self) -> None:
        self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a log file, or of a run's folder; a last line that a killed process left unfinished is left out. What others have
    written as NaN or Infinity is None."""
    path = Path(path)
    file = path / "metrics.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file} was not found; give a training run's folder or its metrics.jsonl")
    records = []
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(
                f"{file}, line {number}: not a JSON record ({error}); restore the file or delete the line"
            ) from error
    return records


def _record(line: str) -> dict[str, Any]:
    record = json.loads(line, parse_constant=lambda _: None)
    if not isinstance(record, dict):
        raise ValueError(f"it is a {type(record).__name__}, not an object of names and values")
    return record


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor numpy's scalars: None and plain numbers instead."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
