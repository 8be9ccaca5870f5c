"""News about the people of the small world: facts in several wordings, what only sounds like one, and questions about them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from gymformer.data.world.grammar import SLOT, VOWEL_ARTICLE, tidy
from gymformer.data.world.requests import pick
from gymformer.data.world.words import MOODS, PLACES, WORDS, about

__all__ = ["CATEGORIES", "Category", "Fact", "ask", "deny", "draw_fact", "read_fact", "read_question", "small_talk", "state"]


@dataclass(frozen=True, slots=True)
class Fact:
    """What is true of a person since a day, until there is other news of the same category."""

    person: str
    category: str
    value: str
    day: int

    @property
    def key(self) -> tuple[str, str]:
        """What can have one value at a time."""
        return self.person, self.category


@dataclass(frozen=True, slots=True)
class Category:
    """What can be true of a person, and how it is said and asked; the first wording is the plain one."""

    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    denial: str  # names a value, and says nothing about which one is true


CATEGORIES: Mapping[str, Category] = MappingProxyType({
    "hat": Category(
        ("red", "blue", "green", "yellow", "black", "white", "brown", "pink", "grey", "purple", "orange", "golden"),
        ("{person}'s hat is {value}.", "{person} wears a {value} hat.", "The thing on {person}'s head is {value}."),
        ("What colour is {person}'s hat?", "Which colour does {person} wear on {her} head?"),
        "{person} would not wear a {value} hat."),
    "pet": Category(
        ("cat", "dog", "parrot", "rabbit", "horse", "goat", "hen", "turtle", "mouse", "duck", "donkey", "owl"),
        ("{person}'s pet is a {value}.", "{person} lives with a {value}.", "A {value} belongs to {person}."),
        ("What is {person}'s pet?", "Which animal does {person} keep?"),
        "{person} has never had a {value}."),
    "food": Category(
        ("bread", "soup", "honey", "rice", "cheese", "cake", "fish", "salad", "eggs", "beans", "pasta", "corn"),
        ("{person}'s favourite food is {value}.", "{person} likes {value} best.", "To {person}, {value} tastes better than anything."),
        ("What is {person}'s favourite food?", "What does {person} enjoy eating most?"),
        "{person} cannot stand {value}."),
    "home": Category(
        WORDS["town"],
        ("{person}'s home is in {value}.", "{person} lives in {value}.", "{value} is the town of {person}."),
        ("Where is {person}'s home?", "In which town can one visit {person}?"),
        "{person} has never been to {value}."),
    "trip": Category(
        WORDS["place"],
        ("{person}'s trip went to the {value}.", "{person} travelled to the {value}.", "The {value} is what {person} went to see."),
        ("Where did {person}'s trip go?", "What place did {person} visit?"),
        "{person} did not go to the {value}."),
    "room": Category(
        tuple(f"{floor}{letter}" for floor in range(1, 6) for letter in "abcdef"),
        ("{person}'s room is {value}.", "{person} sleeps in {value}.", "The key to {value} belongs to {person}."),
        ("Which one is {person}'s room?", "Behind which door does {person} sleep?"),
        "{person} was not let into {value}."),
    "instrument": Category(
        ("violin", "flute", "drum", "piano", "harp", "trumpet", "guitar", "cello", "organ", "banjo", "tuba", "oboe"),
        ("{person}'s instrument is the {value}.", "{person} plays the {value}.", "The {value} is played by {person}."),
        ("What is {person}'s instrument?", "What does {person} make music on?"),
        "{person} cannot play the {value}."),
})  # fmt: skip
DATED = ("{question} Answer for day {day}.", "Think of day {day}. {question}")

# What a reader looks for in place of a slot.
SLOTS = {"person": "(?P<person>[A-Z][a-z]+)", "her": "(?:her|his)", "question": "(?P<question>.+)", "day": r"(?P<day>\d+)"}


def draw_fact(rng: np.random.Generator, day: int, category: str) -> Fact:
    return Fact(pick(rng, WORDS["person"]), category, pick(rng, CATEGORIES[category].values), day)


def state(rng: np.random.Generator, fact: Fact, *, reworded: bool) -> str:
    """The fact as a sentence: in plain words, or in others."""
    return _say(_wording(rng, CATEGORIES[fact.category].statements, reworded), fact)


def ask(rng: np.random.Generator, fact: Fact, *, reworded: bool, dated: bool) -> str:
    """A question that the value answers and does not occur in: what is true now or, `dated`, what became true on that day."""
    question = _say(_wording(rng, CATEGORIES[fact.category].questions, reworded), fact)
    return _wording(rng, DATED, reworded).format(question=question, day=fact.day) if dated else question


def deny(rng: np.random.Generator, fact: Fact) -> str:
    """A sentence that names the person and another value of the category, and tells nothing that can be asked."""
    category = CATEGORIES[fact.category]
    other = pick(rng, category.values, other_than=fact.value)
    return _say(category.denial, Fact(fact.person, fact.category, other, fact.day))


def small_talk(rng: np.random.Generator) -> str:
    """A sentence about nobody."""
    place, mood, when = pick(rng, tuple(PLACES)), pick(rng, sum(MOODS, ())), pick(rng, WORDS["when"])
    return f"The {place} was {mood} {when}."


def read_fact(sentence: str) -> tuple[str, str, str] | None:
    """Person, category and value of what `state` wrote; None for any other sentence."""
    plain = VOWEL_ARTICLE.sub(r"\1 ", sentence)
    for name, category in CATEGORIES.items():
        for wording in category.statements:
            if match := _pattern(wording, category.values).fullmatch(plain):
                return match["person"], name, match["value"]
    return None


def read_question(text: str) -> tuple[str, str, int | None] | None:
    """Person, category and, where it is dated, the day of what `ask` wrote; None for any other text."""
    day = None
    for wording in DATED:
        if match := _pattern(wording).fullmatch(text):
            text, day = match["question"], int(match["day"])
            break
    for name, category in CATEGORIES.items():
        for wording in category.questions:
            if match := _pattern(wording).fullmatch(text):
                return match["person"], name, day
    return None


def _wording(rng: np.random.Generator, wordings: tuple[str, ...], reworded: bool) -> str:
    return pick(rng, wordings[1:]) if reworded else wordings[0]


def _say(wording: str, fact: Fact) -> str:
    return tidy(wording.format(value=fact.value, **about(fact.person)))


@cache
def _pattern(wording: str, values: tuple[str, ...] = ()) -> re.Pattern[str]:
    slots = SLOTS | {"value": f"(?P<value>{'|'.join(values)})"}
    pieces = SLOT.split(wording)  # text, slot, text, …
    return re.compile("".join(slots[piece] if n % 2 else re.escape(piece) for n, piece in enumerate(pieces)))
