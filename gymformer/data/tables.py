"""Rows of records, read from whatever holds them: JSON, JSON Lines, Parquet, a `datasets` folder, or the hub."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymformer.resources import resource

__all__ = ["Row", "Table", "read_table"]

HUB = "hub:"  # what a name of the hub begins with: nothing is downloaded unasked
KINDS = {".parquet": "Parquet", ".jsonl": "JSON Lines", ".json": "JSON"}  # in a folder, the first of which there are files
INSTALL = "install it with: pip install 'gymformer[lm]'"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read; `problem` says why it could not be."""

    place: str  # "row 3", or "train row 3" where there are several parts; counted from 1
    content: Any
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    source: str
    format: str  # in words
    rows: list[Row]


def read_table(source: str | Path, split: str | None = None) -> Table:
    """The rows of a file, of a folder, or (`hub:owner/name`) of a data set of the hub.

    A folder is one that `datasets` saved, or holds files of one kind (.parquet, .jsonl or .json). `split` names the part to
    read, where there are several: of a DatasetDict, or the file "train.jsonl" of a folder; None reads all of them. Lines that
    are no JSON become rows with a `problem`. Raises FileNotFoundError, or ValueError for what holds no rows at all.
    """
    if str(source).startswith(HUB):
        return _of_hub(str(source).removeprefix(HUB), split)
    try:
        path = resource(source)
    except FileNotFoundError as error:
        if str(source).count("/") == 1 and not Path(source).suffix:
            error.args = (f"{error}. If it is a data set of the hub, ask for it: {HUB}{source}",)
        raise
    if path.is_dir():
        form, parts = _parts_of(path)
    elif path.suffix in KINDS:
        form, parts = _file(path)
    else:
        raise ValueError(f"{path} has the suffix {path.suffix!r}; a file of {', '.join(KINDS)} is expected, or a folder")
    return _table(str(path), form, parts, split)


def _parts_of(folder: Path) -> tuple[str, dict[str, list[Row]]]:
    """The format of a folder, and its parts by name."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        try:
            return _of_datasets(_datasets(f"{folder} is a folder of datasets").load_from_disk(str(folder)), "saved by datasets")
        except (OSError, KeyError) as error:
            raise ValueError(f"{folder} is damaged: datasets cannot load it ({error}); save it again") from error
    if (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds a model (config.json), not rows of data; were two arguments exchanged?")
    for suffix, kind in KINDS.items():
        files = sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
        if files:
            read = {path.stem: _file(path)[1][""] for path in files}
            return f"{kind} in a folder", {"": read.popitem()[1]} if len(read) == 1 else read
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise ValueError(
        f"{folder} holds no data: neither what datasets' save_to_disk writes nor files of {', '.join(KINDS)}, but {there}"
    )


def _file(path: Path) -> tuple[str, dict[str, list[Row]]]:
    if path.suffix == ".parquet":
        try:
            from pyarrow import ArrowInvalid, parquet
        except ImportError as error:
            raise ImportError(f"{path} needs pyarrow to be read; {INSTALL}") from error
        try:
            return "Parquet", {"": _numbered(parquet.read_table(path).to_pylist())}
        except ArrowInvalid as error:
            raise ValueError(f"{path} is no Parquet file: {error}") from error
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}); write it again as UTF-8") from error
    if path.suffix == ".json" and text.strip():
        try:
            rows = json.loads(text)
        except ValueError as error:
            if getattr(error, "msg", "") != "Extra data":  # which is what JSON Lines look like to a reader of JSON
                raise ValueError(f"{path} is no JSON: {error}") from error
        else:
            if not isinstance(rows, list):
                raise ValueError(f"{path} holds a JSON {type(rows).__name__}; it must be a list of records (or JSON Lines)")
            return "JSON", {"": _numbered(rows)}
    return "JSON Lines", {"": list(_lines(text))}


def _lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield Row(f"row {number}", json.loads(line))
            except ValueError as error:
                yield Row(f"row {number}", None, f"it is no JSON ({error})")


def _numbered(rows: list[Any]) -> list[Row]:
    return [Row(f"row {number}", row) for number, row in enumerate(rows, start=1)]


def _of_hub(name: str, split: str | None) -> Table:
    datasets = _datasets(f"{HUB}{name} is read by datasets")
    try:
        loaded = datasets.load_dataset(name)
    except (OSError, ValueError) as error:  # offline, unknown, or gated
        raise ValueError(f"the data set {name!r} could not be loaded from the hub ({type(error).__name__}: {error}); is there a network, "
                         "is the name right, and is HF_HUB_OFFLINE unset? Files on this machine need neither") from error  # fmt: skip
    form, parts = _of_datasets(loaded, "of the hub")
    return _table(f"{HUB}{name}", form, parts, split)


def _of_datasets(loaded: Any, origin: str) -> tuple[str, dict[str, list[Row]]]:
    if hasattr(loaded, "keys"):
        return f"DatasetDict {origin}", {str(name): _numbered(part.to_list()) for name, part in loaded.items()}
    return f"Dataset {origin}", {"": _numbered(loaded.to_list())}


def _datasets(what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{what}, and needs it; {INSTALL}") from error
    return datasets


def _table(source: str, form: str, parts: dict[str, list[Row]], split: str | None) -> Table:
    if split is not None and split not in parts:
        known = ", ".join(repr(name) for name in parts if name) or "none: it is all one part"
        raise ValueError(f"{source} has no part named {split!r}; it has {known}")
    chosen = parts if split is None else {split: parts[split]}
    several = len(parts) > 1
    rows = [Row(f"{name} {row.place}" if several else row.place, row.content, row.problem)
            for name, part in chosen.items() for row in part]  # fmt: skip
    if not rows:
        raise ValueError(f"{source} is empty: it holds no row")
    named = f" ({', '.join(name for name in chosen)})" if several else ""
    return Table(source, form + named, rows)
