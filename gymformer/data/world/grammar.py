"""Grammars of a few lines: sentences are drawn from one, and recognised by it."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

__all__ = ["Facts", "Grammar", "sentences_of", "tidy"]

Facts = Mapping[str, str | tuple[str, ...]]  # what a symbol stands for in one text: one thing, or any of several
Rules = Mapping[str, Sequence[str]]

SLOT = re.compile(r"\{(\w+)\}")
ITEM = re.compile(r"\{\w+\}|[\w'-]+|[.,?!:]")
ENDS = re.compile(r"(?<=[.?!]) ")
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")
VOWEL_ARTICLE = re.compile(r"\b([Aa])n (?=[aeiou])")


def sentences_of(text: str) -> list[str]:
    return ENDS.split(text)


def tidy(text: str) -> str:
    """`text` with single blanks, "an" before a vowel, and capitals at the beginning of its sentences."""
    text = ARTICLE.sub(r"\1n ", " ".join(text.split()))
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences_of(text))


class Grammar:
    """Rules `symbol: alternatives`; an alternative is text with other symbols in braces: "the {colour} {animal} sleeps."

    No symbol may contain itself. `sentences` names the symbols that whole sentences come from; ValueError for a symbol
    without a rule.
    """

    def __init__(self, rules: Rules, sentences: Iterable[str]):
        self.rules = rules
        self.sentences = tuple(sentences)
        self._items = {
            symbol: [tuple(ITEM.findall(VOWEL_ARTICLE.sub(r"\1 ", text))) for text in texts] for symbol, texts in rules.items()
        }
        used = {symbol for texts in rules.values() for text in texts for symbol in SLOT.findall(text)} | set(self.sentences)
        if missing := sorted(used - set(rules)):
            raise ValueError(f"the grammar's rules use {', '.join(missing)}, but none says what that is; add a rule for each")

    def draw(self, rng: np.random.Generator, symbol: str, facts: Facts | None = None) -> str:
        """A phrase of `symbol`, tidied into sentences."""
        return tidy(self.phrase(rng, symbol, facts))

    def phrase(self, rng: np.random.Generator, symbol: str, facts: Facts | None = None) -> str:
        """What `symbol` may stand for, each alternative as likely as the next one. A symbol that occurs twice is not drawn
        alike twice where there is a choice; `facts` decide symbols instead of their rules."""
        drawn: dict[str, set[str]] = {}
        facts = facts or {}

        def expand(symbol: str) -> str:
            texts = facts.get(symbol, self.rules[symbol])
            if isinstance(texts, str):
                return texts
            seen = drawn.setdefault(symbol, set())
            fresh = [text for text in texts if text not in seen] or texts
            text = fresh[int(rng.integers(len(fresh)))]
            seen.add(text)
            return SLOT.sub(lambda match: expand(match[1]), text)

        return expand(symbol)

    def accepts(self, text: str) -> bool:
        """Whether `text` consists of sentences of this grammar, tidily written. Facts are not checked: "Mia lost his hat"
        is a sentence."""
        return bool(text) and all(self.accepts_sentence(sentence) for sentence in sentences_of(text))

    def accepts_sentence(self, sentence: str) -> bool:
        if not sentence or tidy(sentence) != sentence or re.search(r" [.,?!:]|\b[Aa]n (?![aeiou])", sentence):
            return False
        plain = VOWEL_ARTICLE.sub(r"\1 ", sentence)
        return any(self._derives(start + plain[1:]) for start in {plain[0], plain[0].lower()})

    def _derives(self, sentence: str) -> bool:
        words = ITEM.findall(sentence)
        if "".join(words) != sentence.replace(" ", ""):
            return False
        known: dict[tuple[str, int], frozenset[int]] = {}

        def ends(symbol: str, start: int) -> frozenset[int]:
            """Where texts of `symbol` that begin at word `start` may end."""
            if (symbol, start) not in known:
                found: set[int] = set()
                for items in self._items[symbol]:
                    places = {start}
                    for item in items:
                        if item[0] == "{":
                            places = {end for place in places for end in ends(item[1:-1], place)}
                        else:
                            places = {place + 1 for place in places if place < len(words) and words[place] == item}
                        if not places:
                            break
                    found |= places
                known[symbol, start] = frozenset(found)
            return known[symbol, start]

        return any(len(words) in ends(symbol, 0) for symbol in self.sentences)
