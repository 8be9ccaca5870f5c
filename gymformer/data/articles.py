"""Articles with reference summaries: read from files, or drawn from the small world."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gymformer.data.arithmetic import HELD_OUT_SHARE, is_held_out
from gymformer.data.problems import Split
from gymformer.data.tables import read_table

__all__ = ["Article", "ArticlePool"]


@dataclass(frozen=True, slots=True)
class Article:
    text: str
    summary: str  # the reference


Draw = Callable[[np.random.Generator, Split], Article]


class ArticlePool:
    """The articles of one side of the split, to draw from.

    `source`: a JSON, JSON Lines or Parquet file, or a folder of `datasets`, with rows {"article", "summary"}; a list of such rows
    or of Articles; or a function of (generator, split). Which side an article is on follows from its text alone.
    """

    def __init__(self, source: str | Path | Sequence[Any] | Draw, split: Split = "train", share: float = HELD_OUT_SHARE):
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is not known; use "train" or "test"')
        self.split: Split = split
        self._draw = source if callable(source) else None
        self.articles: list[Article] = []
        if callable(source):
            return
        if isinstance(source, str | Path):
            table = read_table(source)
            name, rows = table.source, [(row.place, row.problem or row.content) for row in table.rows]
        else:
            name, rows = "the articles given", [(f"row {number}", row) for number, row in enumerate(source, start=1)]
        given = [_article(row, f"{name}: {place}") for place, row in rows]
        self.articles = [article for article in given if is_held_out(article.text, share) == (split == "test")]
        if not self.articles:
            raise ValueError(f"none of the {len(given)} articles of {name} is on the side {split!r} (share {share} held out); give more "
                             "articles or another test_split")  # fmt: skip

    def draw(self, rng: np.random.Generator) -> Article:
        if self._draw is not None:
            return self._draw(rng, self.split)
        return self.articles[int(rng.integers(len(self.articles)))]


def _article(row: Any, where: str) -> Article:
    if isinstance(row, Article):
        return row
    content = row if isinstance(row, dict) else {}
    text, summary = content.get("article"), content.get("summary")
    if not (isinstance(text, str) and text.strip() and isinstance(summary, str) and summary.strip()):
        raise ValueError(f'{where} is not {{"article": text, "summary": text}} ({str(row)[:60]!r}); mend or remove it')
    return Article(text, summary)
