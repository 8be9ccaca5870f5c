"""Checkpoints of a training run: safetensors and JSON, complete or absent."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gymformer.files import new_folder, read_json, remove_leftovers, sha256, verify, write_file, write_json

__all__ = ["latest_checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT, VERSION = "gymformer-checkpoint", 1
KEPT = 2  # the newest, and the one before in case a disk loses the newest


def save_checkpoint(folder: Path, number: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> Path:
    """Writes checkpoint `number` and deletes all but the newest two. A process killed at any moment leaves a complete one."""
    path = folder / f"checkpoint-{number:06d}"
    content = safetensors.torch.save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
    with new_folder(path) as unfinished:
        write_file(unfinished / "tensors.safetensors", content)
        write_json(unfinished / "state.json", {"format": FORMAT, "version": VERSION, "state": state,
                                               "sha256": {"tensors.safetensors": sha256(content)}})  # fmt: skip
    for old in sorted(folder.glob("checkpoint-*"))[:-KEPT]:
        shutil.rmtree(old)
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run, or None before the first; what a killed process left unfinished is removed."""
    remove_leftovers(folder)
    found = sorted(folder.glob("checkpoint-*"))
    return found[-1] if found else None


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and state, as they were given to `save_checkpoint`. Raises ValueError if the files are damaged or foreign."""
    manifest = read_json(path / "state.json")
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise ValueError(f"{path} is of format {manifest.get('format')!r}, version {manifest.get('version')!r}; this gymformer "
                         f"reads {FORMAT!r}, version {VERSION}")  # fmt: skip
    try:
        verify(path, manifest["sha256"])
    except ValueError as error:
        raise ValueError(
            f"{error}. The checkpoint before it is kept beside it: delete {path} to go on from that one"
        ) from error
    return safetensors.torch.load((path / "tensors.safetensors").read_bytes()), manifest["state"]


def flatten(state: dict[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """Nested dictionaries of tensors as one, keys joined by "/"."""
    flat: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        flat |= flatten(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def unflatten(flat: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What `flatten` took apart."""
    state: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split("/")
        inner = state
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return state


def part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors below `name/`, without that prefix."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


@contextlib.contextmanager
def run_lock(folder: Path):
    """One process at a time writes to a run's folder; the lock goes with the process, however it ends."""
    lock = (folder / ".lock").open("w")
    try:
        with contextlib.suppress(ImportError):  # Windows has no fcntl: there two processes must be told apart by their user
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RuntimeError(f"another process is writing to {folder}; wait for it, or start a run of its own") from error
        yield
    finally:
        lock.close()
