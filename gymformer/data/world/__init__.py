"""A small world and the simple English that is written about it: requests, and answers of every quality."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from gymformer.data.world import articles, descriptions, letters, reviews, stories
from gymformer.data.world.features import Features, features
from gymformer.data.world.grammar import Grammar
from gymformer.data.world.requests import Request

__all__ = ["KINDS", "Features", "Kind", "Request", "features", "is_well_formed", "reply", "request"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How something is asked for, how it is written, and the grammar that its sentences come from."""

    ask: Callable[[np.random.Generator], Request]
    write: Callable[[np.random.Generator, Request], str]
    grammar: Grammar


KINDS: Mapping[str, Kind] = MappingProxyType({
    "description": Kind(descriptions.ask, descriptions.write, descriptions.GRAMMAR),
    "story": Kind(stories.ask, stories.write, stories.GRAMMAR),
    "review": Kind(reviews.ask, reviews.write, reviews.GRAMMAR),
    "letter": Kind(letters.ask_letter, letters.write_letter, letters.GRAMMAR),
    "answer": Kind(letters.ask_answer, letters.write_answer, letters.GRAMMAR),
    "article": Kind(articles.ask_article, articles.write_article, articles.GRAMMAR),
    "summary": Kind(articles.ask_summary, articles.write_summary, articles.GRAMMAR),
})  # fmt: skip


def request(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> Request:
    """A request of `kind` from one side of the split, which its subject alone decides. ValueError for an unknown kind."""
    while (drawn := known(kind).ask(rng)).held_out != held_out:
        pass
    return drawn


def reply(rng: np.random.Generator, request: Request) -> str:
    """One of the many texts that `request` can be answered with, good or not."""
    return known(request.kind).write(rng, request)


def is_well_formed(kind: str, text: str) -> bool:
    """Whether every sentence of `text` is one that the world writes in texts of this kind."""
    return known(kind).grammar.accepts(text)


def known(kind: str) -> Kind:
    if kind not in KINDS:
        raise ValueError(f"there is no kind of text called {kind!r}; choose one of {', '.join(KINDS)}")
    return KINDS[kind]
