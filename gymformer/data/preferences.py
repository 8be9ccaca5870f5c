"""Preferences: which of several replies to a prompt was judged the best, from data of any usual layout."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gymformer.data.tables import Row, Table, read_table

__all__ = ["Kind", "Message", "Preference", "Preferences", "Refusal", "load_preferences"]

Message = tuple[str, str]  # role, content
Prompt = str | tuple[int, ...] | tuple[Message, ...]  # a text, token ids, or a dialogue up to the reply
Reply = str | tuple[int, ...]
Kind = Literal["text", "tokens", "chat"]

MOST_NAMED = 5  # refused rows that a message describes
MAX_REFUSED = 0.01  # of all rows; more than that is a wrong format rather than a bad row
SPEAKS = "\n\nAssistant:"  # where a prompt ends in dialogues that are written as one text (Anthropic/hh-rlhf)
LAYOUTS = "query, sample0, sample1, …, best; or prompt, chosen, rejected"


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt, replies to it, and which of them is the best: one index, or the indices of those that are tied for it."""

    prompt: Prompt
    candidates: tuple[Reply, ...]  # K of them
    best: tuple[int, ...]
    margin: float | None = None  # of a pair: how much better the best is, in units of the score
    place: str = ""  # "row 3"

    @property
    def is_tie(self) -> bool:
        return len(self.best) > 1

    @property
    def is_identical(self) -> bool:
        """All candidates are the same, so that there is nothing to prefer."""
        return len(set(self.candidates)) == 1


@dataclass(frozen=True, slots=True)
class Refusal:
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Preferences(Sequence[Preference]):
    """Records of one kind and one K, and what was found where they come from. `print` says it in words."""

    records: tuple[Preference, ...]
    source: str
    format: str  # of the file or folder, in words
    layout: Literal["K-way", "pairs"]
    kind: Kind
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()  # what the owner of the data should know

    @property
    def K(self) -> int:
        """Candidates of each record."""
        return len(self.records[0].candidates)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        return self.records[index]

    def __iter__(self) -> Iterator[Preference]:
        return iter(self.records)

    def __str__(self) -> str:
        what = f"{len(self)} rows of {self.K} candidates" if self.layout == "K-way" else f"{len(self)} pairs"
        of = {"text": "texts", "tokens": "token ids", "chat": "chat messages"}[self.kind]
        prompts = len({_key(record.prompt) for record in self})
        counts = [f"{prompts} prompts"]
        for name, count in (("ties", sum(record.is_tie for record in self)),
                            ("with all candidates the same", sum(record.is_identical for record in self)),
                            ("with a margin", sum(record.margin is not None for record in self))):  # fmt: skip
            counts += [f"{count} {name}"] if count else []
        lines = [f"{self.source}: {what}, {of} ({self.format}); {', '.join(counts)}"]
        if self.refused:
            total = len(self) + len(self.refused)
            lines.append(f"{len(self.refused)} of {total} rows refused: {_first_few(self.refused)}")
        return "\n".join([*lines, *self.notes])

    def split(self, test_size: float = 0.2, seed: int = 42) -> "tuple[Preferences, Preferences]":
        """(train, test), and no prompt in both: about `test_size` of the prompts are held out.

        On which side a prompt is follows from itself and `seed` alone, so that no order of rows and no copy in another file
        can move it. Raises ValueError where a side would be empty.
        """
        if not 0 < test_size < 1:
            raise ValueError(f"test_size={test_size}; it is a share between 0 and 1, such as 0.2")
        held_out = [_is_held_out(record.prompt, test_size, seed) for record in self]
        train = tuple(record for record, out in zip(self, held_out, strict=True) if not out)
        test = tuple(record for record, out in zip(self, held_out, strict=True) if out)
        if not train or not test:
            prompts = len({_key(record.prompt) for record in self})
            raise ValueError(f"{self.source}: with test_size={test_size} and seed={seed} all rows are on one side: they share "
                             f"{prompts} prompt(s), and a prompt is never split; give more prompts, or another test_size")  # fmt: skip
        return replace(self, records=train), replace(self, records=test)


def load_preferences(source: str | Path | Sequence[Mapping[str, Any]], split: str | None = None,
                     max_refused: float = MAX_REFUSED) -> Preferences:  # fmt: skip
    """The preferences of a JSON (a list), JSON Lines or Parquet file, of a folder of such files or one that `datasets` saved, of
    a data set of the hub ("hub:owner/name"), or of a list of rows. `split`: which part, where there are several; None: all.

    Rows are `query, sample0, sample1, …, best` (K-way; `best` is an index, or a list of indices that are tied), or `prompt,
    chosen, rejected` (pairs; optional `margin`, not negative). `"tie": true` in either says that all candidates are as good.
    Prompts and replies are texts, lists of token ids (which stay as they are), or chat messages {"role", "content"}. Without a
    `prompt`, it is what chosen and rejected begin with: shared messages, ids, or text up to the last "\\n\\nAssistant:" in it, or
    else up to its last space.

        >>> rows = [{"prompt": "2+2=", "chosen": "4", "rejected": "5"}, {"prompt": "3+3=", "chosen": "6", "rejected": "5"}]
        >>> print(load_preferences(rows))
        the rows given: 2 pairs, texts (a list); 2 prompts
        >>> load_preferences(rows)[0].candidates
        ('4', '5')

    Rows that are none of this are refused, with a reason. Raises ValueError if they are more than `max_refused` of all rows, or
    if no row tells one candidate from another.
    """
    if isinstance(source, str | Path):
        table = read_table(source, split)
    else:
        rows = [Row(f"row {number}", dict(row)) for number, row in enumerate(source, start=1)]
        table = Table("the rows given", "a list", rows)
        if not rows:
            raise ValueError("the rows given are empty: an empty list holds no preference")
    found, refused = [], []
    for row in table.rows:
        try:
            if row.problem is not None:
                raise ValueError(row.problem)
            found.append((_shape(record := _record(row.content, row.place), row.content), record))
        except ValueError as error:
            refused.append(Refusal(row.place, str(error)))
    usual = Counter(shape for shape, _ in found).most_common(1)[0][0] if found else ("pairs", 2, "text")
    refused += [Refusal(record.place, f"its form is {_words(shape)}, but of most rows {_words(usual)}")
                for shape, record in found if shape != usual]  # fmt: skip
    records = tuple(record for shape, record in found if shape == usual)
    require_few(refused, len(table.rows), table.source, max_refused)
    if all(record.is_identical for record in records):
        raise ValueError(f"{table.source}: in each of its {len(records)} rows all candidates are the same, so there is nothing to prefer; "
                         "were the same replies written into every column?")  # fmt: skip
    if all(len(record.best) == usual[1] for record in records):
        raise ValueError(
            f"{table.source}: each of its {len(records)} rows is a tie of all candidates, so there is nothing to learn"
        )
    layout, _, kind = usual
    return Preferences(records, table.source, table.format, layout, kind, tuple(refused), tuple(_notes(records, layout)))


def require_few(refused: Sequence[Refusal], total: int, source: str, max_refused: float = MAX_REFUSED) -> None:
    """Raises ValueError, naming the first of the rows, if more than `max_refused` of all are refused."""
    if len(refused) > max_refused * total or len(refused) == total:
        raise ValueError(f"{source}: {len(refused)} of {total} rows cannot be used: {_first_few(refused)}. Expected are {LAYOUTS}. Mend or "
                         f"remove these rows, or allow more of them to be left out (max_refused={max_refused:g} of all)")  # fmt: skip


def _record(row: Any, place: str) -> Preference:
    if not isinstance(row, Mapping):
        raise ValueError(f"it is a {type(row).__name__}, not a record")
    tie = row.get("tie")
    if tie is not None and not isinstance(tie, bool):
        raise ValueError(f"its tie is {tie!r}; true or false is expected")
    if "chosen" in row or "rejected" in row or ("prompt" in row and "query" not in row):
        prompt, candidates = _pair(row)
        best: tuple[int, ...] = (0,)
    else:
        prompt, candidates = _samples(row)
        best = _best(row, len(candidates), bool(tie))
    if tie:
        best = tuple(range(len(candidates)))
    return Preference(prompt, candidates, best, _margin(row, len(candidates)), place)


def _samples(row: Mapping[str, Any]) -> tuple[Prompt, tuple[Reply, ...]]:
    """Of a K-way row."""
    numbers = sorted(int(name.removeprefix("sample")) for name in row if re.fullmatch(r"sample\d+", name))
    count = max(2, 1 + max(numbers, default=1))
    missing = [name for name in ("query", *(f"sample{n}" for n in range(count))) if row.get(name) is None]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)} (it has {', '.join(map(str, row)) or 'nothing'})")
    if isinstance(row["query"], str) or _is_ids(row["query"]):
        prompt: Prompt = _text_or_ids(row["query"], "query")
    else:
        prompt = _messages(row["query"], "query")
    return prompt, tuple(_text_or_ids(row[f"sample{n}"], f"sample{n}") for n in range(count))


def _best(row: Mapping[str, Any], count: int, tie: bool) -> tuple[int, ...]:
    best = row.get("best")
    if best is None and tie:
        return tuple(range(count))
    if isinstance(best, float) and best.is_integer():  # what a table with gaps makes of whole numbers
        best = int(best)
    indices: Any = best if isinstance(best, list | tuple) else [best]
    if not indices or not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < count for i in indices):
        raise ValueError(f'its best is {best!r}; it must be an index from 0 to {count - 1}, or a list of those that are tied, or leave it '
                         'out and say "tie": true')  # fmt: skip
    return tuple(sorted(set(indices)))


def _margin(row: Mapping[str, Any], count: int) -> float | None:
    margin = row.get("margin")
    if margin is None:
        return None
    if count != 2:
        raise ValueError(f"it has a margin, which is defined for pairs, and {count} candidates")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin) or margin < 0:
        raise ValueError(f"its margin is {margin!r}; it must be a number of at least 0")
    return float(margin)


def _pair(row: Mapping[str, Any]) -> tuple[Prompt, tuple[Reply, Reply]]:
    missing = [name for name in ("chosen", "rejected") if row.get(name) is None]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)} (it has {', '.join(map(str, row))})")
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if not (_is_text_or_ids(chosen) and _is_text_or_ids(rejected)):
        return _dialogue(prompt, _messages(chosen, "chosen"), _messages(rejected, "rejected"))
    chosen, rejected = _text_or_ids(chosen, "chosen"), _text_or_ids(rejected, "rejected")
    if prompt is None:
        return _implicit(chosen, rejected)
    return (_text_or_ids(prompt, "prompt") if _is_text_or_ids(prompt) else _messages(prompt, "prompt")), (chosen, rejected)


def _dialogue(prompt: Any, chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> tuple[Prompt, tuple[str, str]]:
    """A pair of dialogues, which may or may not repeat their prompt."""
    before: tuple[Message, ...] = ()
    if isinstance(prompt, str) and chosen[0][0] == "assistant":
        before = (("user", prompt),)
    elif prompt is not None and not isinstance(prompt, str):
        before = _messages(prompt, "prompt")
        before = () if chosen[: len(before)] == before else before
    chosen, rejected = before + chosen, before + rejected
    if chosen[:-1] != rejected[:-1] or not chosen[:-1]:
        raise ValueError(
            f"its dialogues, of {len(chosen)} and {len(rejected)} messages, differ in more than the last message, or have no other"
        )
    if chosen[-1][0] != "assistant" or rejected[-1][0] != "assistant":
        raise ValueError(f"its last messages are by {chosen[-1][0]!r} and {rejected[-1][0]!r}; both must be by 'assistant'")
    return chosen[:-1], (chosen[-1][1], rejected[-1][1])


def _implicit(chosen: Reply, rejected: Reply) -> tuple[Prompt, tuple[Reply, Reply]]:
    """What both begin with is the prompt."""
    same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected)))
    if isinstance(chosen, str) and isinstance(rejected, str):
        spoken = chosen[:same].rfind(SPEAKS)
        same = spoken + len(SPEAKS) if spoken >= 0 else max(0, *(chosen[:same].rfind(space) for space in " \n\t"))
    if not same:
        raise ValueError("it has no prompt, and its chosen and rejected begin with nothing in common that could be one")
    return chosen[:same], (chosen[same:], rejected[same:])


def _messages(value: Any, name: str) -> tuple[Message, ...]:
    messages = value if isinstance(value, list | tuple) else ()
    if not messages or not all(isinstance(one, Mapping) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str)
                               for one in messages):  # fmt: skip
        raise ValueError(
            f"its {name} is {_shown(value)}; a text, a list of token ids, or a list of messages with role and content is expected"
        )
    return tuple((one["role"], one["content"]) for one in messages)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in value)


def _is_text_or_ids(value: Any) -> bool:
    return isinstance(value, str) or _is_ids(value)


def _text_or_ids(value: Any, name: str) -> Reply:
    if not _is_text_or_ids(value):
        raise ValueError(f"its {name} is {_shown(value)}; a text or a list of token ids is expected")
    return value if isinstance(value, str) else tuple(value)


def _shape(record: Preference, row: Mapping[str, Any]) -> tuple[Literal["K-way", "pairs"], int, Kind]:
    """Layout, K and kind. Raises ValueError for texts among token ids."""
    parts = [record.prompt, *record.candidates]
    ids = [not isinstance(part, str) and _is_ids(part) for part in parts]
    is_chat = not isinstance(record.prompt, str) and not ids[0]
    if any(ids) and not all(ids):
        raise ValueError("it mixes texts and token ids; give all of them as one or the other")
    kind: Kind = "chat" if is_chat else "tokens" if all(ids) else "text"
    return "pairs" if "chosen" in row else "K-way", len(record.candidates), kind


def _words(shape: tuple[str, int, str]) -> str:
    layout, count, kind = shape
    return f"{layout} of {kind}" if layout == "pairs" else f"{count}-way of {kind}"


def _notes(records: Sequence[Preference], layout: str) -> Iterator[str]:
    if layout == "K-way" and len(records) > 1 and len({record.best for record in records}) == 1:
        yield (f"warning: best is {records[0].best[0]} in every row. A model cannot see a candidate's place, so that does no harm if the "
               "candidates were put in that order on purpose; if not, the labels are broken")  # fmt: skip
    if all(
        isinstance(r.prompt, str) and r.prompt.strip() and all(str(c).startswith(r.prompt) for c in r.candidates)
        for r in records
    ):
        yield "warning: every candidate begins with its prompt, which is then read twice; leave the prompt out of the candidates"


def _key(prompt: Prompt) -> str:
    return prompt.strip() if isinstance(prompt, str) else json.dumps(prompt)


def _is_held_out(prompt: Prompt, share: float, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed}:{_key(prompt)}".encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest[:8], 16) / 2**32 < share


def _first_few(refused: Sequence[Refusal]) -> str:
    more = [f"and {len(refused) - MOST_NAMED} more"] if len(refused) > MOST_NAMED else []
    return "; ".join([*map(str, refused[:MOST_NAMED]), *more])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
