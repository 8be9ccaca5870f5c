"""Who plays MemoryBufferEnv without learning: an expert, and one that acts at random. They see what any policy sees."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gymformer.data.world.grammar import sentences_of
from gymformer.data.world.news import CATEGORIES, draw_fact, read_fact, read_question, state

__all__ = ["expert", "random_player"]


def expert(observation: str, info: dict[str, Any]) -> str:
    """Stores the fact of each piece of news under its person and category, looks up each question by these (and by the day that
    it names), and answers with the value of the first entry found. It knows all the wordings, and attains a return of 1."""
    *above, last = observation.split("\n")
    heading, _, text = last.partition(": ")
    if heading.startswith("News"):
        for sentence in sentences_of(text):
            if fact := read_fact(sentence):
                person, category, _ = fact
                return f"STORE topic:{person} category:{category} {sentence}"
    question = read_question(text) if heading.startswith("Question") else None
    if question is None:
        raise ValueError(f"the expert understands only what MemoryBufferEnv says in its own words; it got {observation!r}")
    if not above or not above[0].startswith("Found"):
        person, category, day = question
        return f"RETRIEVE topic:{person} category:{category}" + ("" if day is None else f" day:{day}")
    if len(above) == 1:
        return "ANSWER unknown"
    found = read_fact(above[1].partition("] ")[2])
    return f"ANSWER {found[2]}" if found else "ANSWER unknown"


def random_player(rng: np.random.Generator) -> Callable[[str, dict[str, Any]], str]:
    """A player of well-formed turns that have nothing to do with what it reads: each verb with a third of the chance, facts of
    its own invention to be stored, and any value of any category for an answer."""

    def act(observation: str, info: dict[str, Any]) -> str:
        fact = draw_fact(rng, 1, str(rng.choice(list(CATEGORIES))))
        if (verb := int(rng.integers(3))) == 0:
            return f"STORE {state(rng, fact, reworded=False)}"
        if verb == 1:
            return f"RETRIEVE {fact.person} {fact.category}"
        return f"ANSWER {rng.choice(CATEGORIES[fact.category].values)}"

    return act
