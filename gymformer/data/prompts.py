"""Prompts to be answered: given, read from files, or drawn from the small world, on one side of a split."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gymformer.data.arithmetic import HELD_OUT_SHARE, is_held_out
from gymformer.data.problems import Split
from gymformer.data.tables import read_table

__all__ = ["Prompt", "PromptPool", "describe_a_place"]

Prompt = str | tuple[int, ...]  # a text, or token ids
Draw = Callable[[np.random.Generator, Split], Prompt]

COLUMNS = ("prompt", "query", "question")  # where rows keep their prompt


def describe_a_place(rng: np.random.Generator, split: Split) -> str:
    """A request to describe a place of the small world, which models/writer knows."""
    from gymformer.data.world import request

    return request(rng, "description", held_out=split == "test").prompt


class PromptPool:
    """The prompts of one side of the split, to draw from.

    `source`: texts or lists of token ids; a JSON, JSON Lines or Parquet file, or a folder of `datasets`, whose rows have a
    "prompt" (or "query", or "question"), preference data among them; or a function of (generator, split). The side of a prompt
    that was given follows from itself alone, as of `ProblemPool`'s questions.
    """

    def __init__(self, source: str | Path | Sequence[Any] | Draw, split: Split = "train", share: float = HELD_OUT_SHARE):
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is not known; use "train" or "test"')
        self.split: Split = split
        self._draw = source if callable(source) else None
        self.prompts: list[Prompt] = []
        if callable(source):
            return
        given = _read(source) if isinstance(source, str | Path) else [_checked(p, f"prompt {n}") for n, p in enumerate(source)]
        self.prompts = [prompt for prompt in dict.fromkeys(given) if is_held_out(_key(prompt), share) == (split == "test")]
        if not self.prompts:
            name = source if isinstance(source, str | Path) else "the prompts given"
            raise ValueError(f"none of the {len(given)} prompts of {name} is on the side {split!r} (share {share} held out); give more "
                             "prompts or another test_split")  # fmt: skip

    def draw(self, rng: np.random.Generator) -> Prompt:
        if self._draw is not None:
            return _checked(self._draw(rng, self.split), "the prompt drawn")
        return self.prompts[int(rng.integers(len(self.prompts)))]


def _read(path: str | Path) -> list[Prompt]:
    table = read_table(path)
    prompts = []
    for row in table.rows:
        content = row.content if isinstance(row.content, dict) else {}
        name = next((column for column in COLUMNS if content.get(column) is not None), None)
        if row.problem is not None or name is None:
            raise ValueError(
                f"{table.source}: {row.place}: {row.problem or 'it has none of ' + ', '.join(COLUMNS)}; mend or remove it"
            )
        prompts.append(_checked(content[name], f"{table.source}: {row.place}: its {name}"))
    return prompts


def _checked(prompt: Any, where: str) -> Prompt:
    if isinstance(prompt, str) and prompt:
        return prompt
    if (
        isinstance(prompt, list | tuple)
        and prompt
        and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in prompt)
    ):
        return tuple(prompt)
    raise ValueError(f"{where} is {str(prompt)[:60]!r}; a text or a list of token ids is expected, not an empty one")


def _key(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt)
