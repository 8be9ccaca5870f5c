"""Writing files so that a reader finds the old ones or the new ones, never half of either."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["new_folder", "read_json", "replaced_folder", "safe_name", "sha256", "write_file", "write_json"]


def safe_name(name: str) -> str:
    """`name` as one component of a path: everything but letters, digits, dot, dash and underscore becomes "-"."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"


def write_file(path: Path, content: bytes) -> None:
    """The file holds `content`, all of it and on the disk, or is as it was before (also if the process is killed)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes files that only their owner reads
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which stands at `path` only once it is complete and on the disk. `path` must not exist."""
    if path.exists():
        raise FileExistsError(f"{path} exists already; nothing is overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    temporary.chmod(0o755)
    try:
        yield temporary
        _sync_folder(temporary)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of what stands at `path`, if anything does, once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    temporary.chmod(0o755)
    try:
        yield temporary
        _sync_folder(temporary)
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Deletes what `new_folder` and `write_file` left unfinished in `folder` when a process was killed."""
    for leftover in folder.glob(".*.*"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def verify(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raises ValueError naming the first file of `folder` whose content is not what its hash says."""
    for name, expected in hashes.items():
        if safe_name(name) != name:
            raise ValueError(
                f"{folder} lists the file {name!r}, which is not a plain file name; the folder was not written by gymformer"
            )
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; the folder is incomplete, copy it again as a whole")
        if sha256(path.read_bytes()) != expected:
            raise ValueError(
                f"{path} is damaged: its SHA-256 is not the one recorded when it was written; copy the folder again"
            )


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
