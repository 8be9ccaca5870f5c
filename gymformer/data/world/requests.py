"""What somebody asks for, and how well it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gymformer.data.arithmetic import is_held_out
from gymformer.data.world.grammar import Facts, Grammar
from gymformer.data.world.words import temper

__all__ = ["Request", "Style", "compose", "pick"]


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, what it is about, and what is known of that."""

    kind: str
    prompt: str
    subject: str  # its content, whatever the wording; by this the held-out tenth is chosen
    mentions: tuple[str, ...]  # words that every text on the subject can be expected to contain
    facts: Facts
    reference: str = ""  # a good reply, where there is one

    @property
    def held_out(self) -> bool:
        return is_held_out(self.subject)


@dataclass(frozen=True, slots=True)
class Style:
    """How a text is written: the share of its sentences that say something, how many there are, the chance that one says
    again what another has said, and whether the choice of adjectives is poor."""

    richness: float
    length: int
    repetition: float
    poor: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator, longest: int = 5) -> "Style":
        """Evenly from the plainest to the richest, from one sentence to `longest`; a third repeat themselves."""
        repetition = 0.5 if rng.random() < 1 / 3 else 0.0
        return cls(rng.random(), int(rng.integers(1, longest, endpoint=True)), repetition, rng.random() < 0.3)


def pick(rng: np.random.Generator, choices: Sequence[str], *, other_than: str = "") -> str:
    left = [choice for choice in choices if choice != other_than]
    return left[int(rng.integers(len(left)))]


def compose(rng: np.random.Generator, grammar: Grammar, facts: Facts, style: Style, stages: list[tuple[str, str]]) -> str:
    """A text of style.length sentences, one of each stage in turn and of the last but one as often as there is room.

    A stage is two symbols: a plain sentence's and a rich one's.
    """
    facts = {**facts, **temper(rng)}
    if style.poor:
        few = {symbol: pick(rng, grammar.rules[symbol]) for symbol in ("size", "shade")}
        moods = facts["mood"]
        facts = {**facts, **few, "look": tuple(few.values()), "mood": (moods[0], moods[1])}
    first, *between, last = stages
    middle = [between[int(rng.integers(len(between)))] for _ in range(style.length - 2)]
    sentences: list[str] = []
    for plain, rich in [first, *middle, last][: style.length]:
        if sentences and rng.random() < style.repetition:
            sentences.append(sentences[-1])
            continue
        symbol = rich if rng.random() < style.richness else plain
        sentence = grammar.draw(rng, symbol, facts)
        if sentence in sentences:  # by chance: one more draw
            sentence = grammar.draw(rng, symbol, facts)
        sentences.append(sentence)
    return " ".join(sentences)
