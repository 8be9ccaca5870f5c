"""The known truth of the small world's preferences: how good a text really is, by a formula that no reward model is shown."""

import math
import re

from gymformer.data.world.features import features
from gymformer.data.world.grammar import Grammar, sentences_of
from gymformer.data.world.reviews import RULES

__all__ = ["descriptiveness", "sentiment"]

LONG = 40  # words, after which a description begins to ramble
PRAISE = frozenset(RULES["praise"] + RULES["praise_feeling"] + ("loved", "recommend", "worth", "better"))
BLAME = frozenset(RULES["blame"] + RULES["blame_feeling"] + ("hated", "waste", "worse"))
NEGATIONS = frozenset({"not", "no", "neither"})


def descriptiveness(text: str, grammar: Grammar | None = None) -> float:
    """How much a description shows, g, with the counts of `features` (a adjectives, s words of the senses, c comparisons,
    n names, l links, w words, r share of repetition):

        g = 2 (1 - e^(-a/3)) + 1.5 (1 - e^(-s/2)) + min(c, 2)/2 + (1 - e^(-n))/2 + (1 - e^(-l))/2 + tanh(a s/6)/2
            - 6 r - (max(0, w - 40)/15)² - 2 (share of sentences that are none of the world's)

    Every kind of detail satisfies; repeating oneself, rambling and broken sentences cost. `grammar` None: descriptions'.
    """
    if grammar is None:
        from gymformer.data.world.descriptions import GRAMMAR as grammar
    f = features(text)
    sentences = sentences_of(text) if text else [""]
    broken = sum(not grammar.accepts_sentence(sentence) for sentence in sentences) / len(sentences)
    detail = 2 * saturated(f.adjectives / 3) + 1.5 * saturated(f.senses / 2) + min(f.comparisons, 2) / 2
    life = saturated(f.names) / 2 + saturated(f.links) / 2 + math.tanh(f.adjectives * f.senses / 6) / 2
    return detail + life - 6 * f.repetition - (max(0, f.words - LONG) / 15) ** 2 - 2 * broken


def sentiment(text: str) -> float:
    """How favourable a review is, from -1 to 1: tanh((p - b)/2) with p words of praise and b of blame. "Not" or "no" up to three
    words before one turns it round, and what follows a "but" counts twice."""
    balance = 0.0
    for sentence in sentences_of(text):
        words = [word.lower() for word in re.findall(r"[\w']+", sentence)]
        weight = 1.0
        for i, word in enumerate(words):
            weight = 2.0 if word == "but" else weight
            value = (word in PRAISE) - (word in BLAME)
            balance += weight * value * (-1 if NEGATIONS & set(words[max(0, i - 3) : i]) else 1)
    return math.tanh(balance / 2)


def saturated(x: float) -> float:
    """1 - e^(-x): the first of a kind counts most."""
    return 1 - math.exp(-x)
