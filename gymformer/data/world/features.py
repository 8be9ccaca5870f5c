"""What can be counted in a text of the small world: how much it shows, and how often it repeats itself."""

import re
from dataclasses import dataclass

from gymformer.data.world.grammar import sentences_of
from gymformer.data.world.words import LIGHT, WORDS

__all__ = ["Features", "features"]

NAMES = frozenset(WORDS["person"] + WORDS["town"] + WORDS["surname"])
ADJECTIVES = frozenset(WORDS["mood"] + WORDS["size"] + WORDS["shade"] + WORDS["touch"])
SENSES = frozenset(
    {"smell", "smells", "smelled", "hear", "heard", "tastes", "feel", "felt", "touched", "shine", "shone"}
    | set(WORDS["touch"]) | {light.split()[-1] for light in LIGHT.values() if "light" in light}
)  # fmt: skip
LINKS = frozenset(
    {"however", "meanwhile", "because", "so", "although", "then", "suddenly", "but", "last", "end", "ago", "while"}
)
COMPARISONS = re.compile(r"\b(?:look|are|were|seem|shone) like\b|\bas \w+ as\b")


@dataclass(frozen=True, slots=True)
class Features:
    words: int
    sentences: int
    adjectives: int  # different ones that show something; "nice" and "good" do not
    senses: int  # words of light, hearing, smell, taste and touch
    comparisons: int
    names: int  # different people, towns and landmarks
    links: int  # words that link sentences: "however", "because"
    repetition: float  # share of the sequences of three words that occurred before; 0 in texts of fewer than three words


def features(text: str) -> Features:
    words = re.findall(r"[\w']+", text)
    small = [word.lower() for word in words]
    threes = list(zip(small, small[1:], small[2:]))
    return Features(
        words=len(words),
        sentences=len(sentences_of(text)) if text else 0,
        adjectives=len(ADJECTIVES & set(small)),
        senses=sum(word in SENSES for word in small),
        comparisons=len(COMPARISONS.findall(text)),
        names=len(NAMES & set(words)),
        links=sum(word in LINKS for word in small),
        repetition=(len(threes) - len(set(threes))) / len(threes) if threes else 0.0,
    )
