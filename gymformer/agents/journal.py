"""What an experiment has done so far: a file of JSON lines that survives a kill at any moment."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


class Journal:
    """The records of `path`, and more of them. One process at a time; a half-written last line is dropped."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("a+b")
        try:
            _lock(self._file.fileno(), path)
            self.records = self._read()
        except BaseException:
            self._file.close()
            raise

    def write(self, record: dict[str, Any]) -> None:
        """The record is on the disk."""
        self._file.write(json.dumps(record, ensure_ascii=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def close(self, *, delete: bool = False) -> None:
        if delete:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        records, kept = [], 0
        for line in self._file:
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            records.append(record)
            kept += len(line)
        self._file.truncate(kept)
        return records


def _lock(handle: int, path: Path) -> None:
    """Until the file is closed, also by a kill. Where the system has no such locks, nothing is done."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RuntimeError(
            f"{path.parent} is being played by another process; wait for it, or give the experiment another name"
        ) from error
