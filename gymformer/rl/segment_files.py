"""Segments in files: JSON Lines or safetensors, given back equal to the last bit."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch.distributed as dist

from gymformer.files import write_file
from gymformer.rl.segment import Segment

__all__ = ["SaveRollouts", "load_segments", "save_segments"]

FORMAT, VERSION = "gymformer-segments", 1
ARRAYS = ("rows", "actions", "log_probs", "rewards", "row", "col", "values", "legal", "penalties", "weights")
PLAIN = {
    "terminated": (bool,),
    "group": (int,),
    "reward_scale": (float, int),
    "episode_return": (float, int),
    "episode_length": (int,),
    "info": (dict,),
    "noted": (dict,),
    "options": (dict,),
}
KNOWN = (*ARRAYS, *PLAIN)
REQUIRED = {field.name for field in fields(Segment) if field.default is MISSING and field.default_factory is MISSING}
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
CASTS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}  # kinds of numbers that JSON may hold for a type


def save_segments(segments: list[Segment], path: str | Path) -> None:
    """Writes all that the segments hold; `load_segments` gives them back equal, in type and to the last bit.

    The suffix decides: ".jsonl" is text, a header and one segment a line, where an array is {"float32": [...]} and a row of a
    mask "0110"; ".safetensors" is faster and, where segments are long, smaller. What JSON cannot give back equal of an `info`
    (arrays, tuples, objects) is left out, with a warning that names it. The file is complete or as it was before. Raises
    ValueError for a segment that is malformed or, as text, not finite.
    """
    path = Path(path)
    suffix, dropped = _suffix(path), dict[str, str]()
    records = []
    for i, segment in enumerate(segments):
        with _naming(f"segment {i}"):
            _require_sound(segment)
            values = {name: getattr(segment, name) for name in KNOWN}
            records.append({name: _native(value, dropped) for name, value in values.items() if value is not None})
    write_file(path, _as_lines(records) if suffix == ".jsonl" else _as_tensors(records))
    if dropped:
        named = ", ".join(f"{key!r} ({kind})" for key, kind in dropped.items())
        warnings.warn(f"{path} is without some of what infos or options say, because JSON would not give it back equal: {named}. "
                      "Let the environment put plain numbers, strings and lists there if it is to be kept", stacklevel=2)  # fmt: skip


def load_segments(path: str | Path) -> list[Segment]:
    """The segments that `save_segments` wrote. Raises ValueError naming the file, and the line or segment, where anything in it is
    unknown, missing, of another version, or does not fit together."""
    path, segments = Path(path), []
    for where, record in (_from_lines if _suffix(path) == ".jsonl" else _from_tensors)(path):
        with _naming(where):
            if unknown := sorted(record.keys() - set(KNOWN)):
                raise ValueError(f"it has the field {unknown[0]!r}, but a segment's fields are {', '.join(KNOWN)}")
            if missing := sorted(REQUIRED - record.keys()):
                raise ValueError(f"it lacks {', '.join(missing)}")
            segment = Segment(**record, replayed=True)
            _require_sound(segment)
            segments.append(segment)
    return segments


def _suffix(path: Path) -> str:
    if path.suffix not in (".jsonl", ".safetensors"):
        raise ValueError(f'{path} has the suffix "{path.suffix}"; segments are kept in ".jsonl" or ".safetensors"')
    return path.suffix


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Errors inside say where."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error


def _native(value: Any, dropped: dict[str, str]) -> Any:
    """A field's value without NumPy's scalars; of an info what JSON gives back equal."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        try:
            plain = json.loads(json.dumps(item, allow_nan=False, default=_item))
        except (TypeError, ValueError, RecursionError):
            plain = None
        if isinstance(key, str) and (plain is not None or item is None) and plain == item:
            kept[key] = plain
        else:
            dropped[str(key)] = type(item).__name__
    return kept


def _item(value: Any) -> Any:
    """What `json` asks of a value that it does not know."""
    if not isinstance(value, np.generic):
        raise TypeError(f"a {type(value).__name__} is not JSON")
    return value.item()


def _as_lines(records: list[dict[str, Any]]) -> bytes:
    lines = [json.dumps({"format": FORMAT, "version": VERSION, "segments": len(records)})]
    for i, record in enumerate(records):
        with _naming(f"segment {i} cannot be written as JSON (.safetensors holds numbers that are not finite)"):
            packed = {name: _as_json(value) if name in ARRAYS else value for name, value in record.items()}
            lines.append(json.dumps(packed, allow_nan=False))
    return ("\n".join(lines) + "\n").encode()


def _as_json(value: Any) -> Any:
    if isinstance(value, list):  # rows of tokens
        return [_as_json(row) for row in value]
    if value.dtype == bool and value.ndim == 2:
        return {"bool": [(row.astype(np.uint8) + ord("0")).tobytes().decode() for row in value]}
    return {str(value.dtype): value.tolist()}


def _from_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    header, *lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    with _naming(f"{path}, line 1"):
        found = json.loads(header)
        count = _checked_header(found if isinstance(found, dict) else {})["segments"]
        if count != len(lines):
            raise ValueError(
                f"the header counts {count} segments, but {len(lines)} lines follow; the file is damaged, copy it again"
            )
    for number, line in enumerate(lines, 2):
        with _naming(f"{path}, line {number}"):
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"a {type(record).__name__} stands where a segment is expected, an object in braces")
            record = {name: _from_json(value) if name in ARRAYS else value for name, value in record.items()}
        yield f"{path}, line {number}", record


def _checked_header(found: dict[str, Any]) -> dict[str, Any]:
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise ValueError(f"format {found.get('format')!r}, version {found.get('version')!r}; this gymformer reads {FORMAT!r}, "
                         f"version {VERSION}, as save_segments writes it")  # fmt: skip
    return found


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(row) for row in value]
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in DTYPES:
        raise ValueError(
            f'an array must be written as {{"float32": [...]}}, with a type of {", ".join(DTYPES)}; found {str(value)[:80]}'
        )
    ((dtype, numbers),) = value.items()
    if dtype == "bool" and numbers and isinstance(numbers[0], str):
        if any(set(row) - {"0", "1"} for row in numbers):
            raise ValueError("the rows of a mask are written with 0 and 1 alone")
        numbers = [[letter == "1" for letter in row] for row in numbers]
    array = np.array(numbers)
    if array.size and array.dtype.kind not in CASTS[np.dtype(dtype).kind]:
        raise ValueError(f"{dtype} numbers are expected, but these are not: {str(numbers)[:80]}")
    return np.array(numbers, dtype)


def _as_tensors(records: list[dict[str, Any]]) -> bytes:
    tensors: dict[str, np.ndarray] = {}
    for i, record in enumerate(records):
        for name in ARRAYS:
            value = record.get(name)
            if isinstance(value, list):
                tensors |= {f"{i}/{name}/{k}": np.ascontiguousarray(row) for k, row in enumerate(value)}
            elif value is not None:
                tensors[f"{i}/{name}"] = np.ascontiguousarray(value)
    plain = [{name: value for name, value in record.items() if name not in ARRAYS} for record in records]
    header = {"format": FORMAT, "version": VERSION, "segments": plain}
    return safetensors.numpy.save(tensors, {"header": json.dumps(header)})


def _from_tensors(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    content = path.read_bytes()
    try:
        tensors = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from error
    length = int.from_bytes(content[:8], "little")  # of the file's own header, which is JSON and ends where the numbers begin
    with _naming(str(path)):
        own = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("header", "{}")
        records: list[dict[str, Any]] = _checked_header(json.loads(own))["segments"]
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError("the header does not list its segments")
        for key in sorted(tensors, key=lambda key: [int(part) if part.isdecimal() else part for part in key.split("/")]):
            number, name, *place = key.split("/")
            if not number.isdecimal() or int(number) >= len(records) or name not in ARRAYS or len(place) > 1:
                raise ValueError(f"the array {key!r} belongs to none of its {len(records)} segments")
            if place:
                records[int(number)].setdefault(name, []).append(tensors[key])
            else:
                records[int(number)][name] = tensors[key]
    yield from ((f"{path}, segment {i}", record) for i, record in enumerate(records))


def _require_sound(segment: Segment) -> None:
    """Raises ValueError naming the first field that is not as `Segment` says."""
    for name in ARRAYS:
        value = getattr(segment, name)
        if value is None and name in REQUIRED:
            raise ValueError(f"it has no {name}")
        for array in value if name == "rows" and isinstance(value, list) else [] if value is None else [value]:
            if not isinstance(array, np.ndarray) or str(array.dtype) not in DTYPES:
                kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise ValueError(f"{name} is of type {kind}; a NumPy array of {', '.join(DTYPES)} is expected")
    for name, types in PLAIN.items():
        value, optional = getattr(segment, name), name not in ("terminated", "reward_scale", "info")
        plain = value.item() if isinstance(value, np.generic) else value
        if not (plain is None and optional) and (
            not isinstance(plain, types) or (isinstance(plain, bool) and bool not in types)
        ):
            raise ValueError(f"{name} is {value!r}; {' or '.join(kind.__name__ for kind in types)} is expected")
    count = len(segment.actions) if segment.actions.ndim else 0
    if count == 0:
        raise ValueError("it has no decisions; leave it out")
    shapes = dict.fromkeys(("log_probs", "rewards", "penalties", "weights"), (count,))
    shapes |= dict.fromkeys(("values", "row", "col"), (count + 1,))
    for name, shape in shapes.items():
        array = getattr(segment, name)
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; with {count} actions {shape} is expected")
    if segment.legal is not None and not (
        segment.legal.dtype == bool and segment.legal.ndim == 2 and len(segment.legal) == count
    ):
        raise ValueError(
            f"legal is {segment.legal.dtype} of shape {segment.legal.shape}; bool of ({count}, actions) is expected"
        )
    rows, row, col = segment.rows, segment.row, segment.col
    if not isinstance(rows, list):
        if len(rows) != count + 1 or row is not None or col is not None:
            raise ValueError(
                f"rows has shape {rows.shape}; of vectors, which have neither row nor col, ({count + 1}, ...) is expected"
            )
        return
    if row is None or col is None or any(tokens.ndim != 1 or tokens.dtype.kind not in "iu" for tokens in rows):
        raise ValueError("rows of tokens must be lists of whole numbers, with row and col saying where in them the states are")
    lengths = np.array([len(tokens) for tokens in rows])
    if row.dtype.kind not in "iu" or col.dtype.kind not in "iu" or not (row.min() >= 0 and row.max() < len(rows)):
        raise ValueError(f"row and col must be whole numbers, and row less than {len(rows)}, the number of rows")
    if not ((col >= 0) & (col < lengths[row])).all():
        raise ValueError(f"col says that a state ends at token {col.max()}, but the rows have {lengths.tolist()} tokens")


class SaveRollouts:
    """Writes what each update of a training learns from: `train_agent(..., transforms=[SaveRollouts("rollouts")])`.

    Files are `update_000001.jsonl` and so on, or with `suffix=".safetensors"`; of several processes each but the first adds its
    rank. A run that is resumed goes on with the number that is due, and writes what it plays again over what was there. Only the
    newest `keep` stay, where that is given. What other transforms wrote before (penalties) is in them.
    """

    def __init__(self, folder: str | Path, suffix: str = ".jsonl", keep: int | None = None):
        if keep is not None and keep < 1:
            raise ValueError(f"SaveRollouts(keep={keep}); at least 1 file must stay, or None for all")
        self.folder, self.suffix, self.keep, self.updates = Path(folder), suffix, keep, 0
        _suffix(self._path(0))

    def __call__(self, segments: list[Segment]) -> dict[str, float]:
        self.updates += 1
        save_segments(segments, self._path(self.updates))
        if self.keep is not None:
            self._path(self.updates - self.keep).unlink(missing_ok=True)
        return {}

    def _path(self, update: int) -> Path:
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        return self.folder / f"update_{update:06d}{f'_rank{rank}' if rank else ''}{self.suffix}"

    def state_dict(self) -> dict[str, int]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.updates = state["updates"]
