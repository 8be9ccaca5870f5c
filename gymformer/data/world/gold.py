"""The known truth of the small world's preferences: how good a text really is, by a formula that no reward model is shown."""

import math
import re

import numpy as np

from gymformer.data.world.features import features
from gymformer.data.world.grammar import Grammar, sentences_of
from gymformer.data.world.reviews import GRAMMAR as REVIEWS
from gymformer.data.world.reviews import RULES

__all__ = ["chances", "descriptiveness", "sentiment"]

LONG = 40  # words, after which a text begins to ramble
PRAISE = frozenset(RULES["praise"] + RULES["praise_feeling"] + ("loved", "recommend", "worth"))
BLAME = frozenset(RULES["blame"] + RULES["blame_feeling"] + ("hated", "waste"))
ASPECTS = frozenset(RULES["aspect"])
PHRASES = {("no", "better"): 1, ("no", "worse"): -1, ("not", "like"): -1}
STARS = {"one star": 1, "three stars": 3, "five stars": 5}
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
    """How favourable a review is, g, with the counts of `features` (w words, r share of repetition) and of its own:

        g = (2 - e^(-d/2)) tanh(b/2) + (s - 3)/4 - 3 r - (max(0, w - 40)/15)² - (share of sentences that are none of the world's)

    b: words of praise less words of blame; "not" or "no" up to three words before one turns it round, "no better" praises, "no
    worse" and "not like" blame, and what follows a "but" counts twice. d: different things that are judged, such as the service or
    the ending; a verdict with reasons weighs more.
    s: stars, 3 where none are given. Repeating oneself, rambling and broken sentences cost.
    """
    f, sentences = features(text), sentences_of(text) if text else [""]
    balance, stars, judged = 0.0, 3, set()
    for sentence in sentences:
        words = [word.lower() for word in re.findall(r"[\w']+", sentence)]
        weight = 1.0
        for i, word in enumerate(words):
            weight = 2.0 if word == "but" else weight
            value = (word in PRAISE) - (word in BLAME)
            balance += weight * value * (-1 if NEGATIONS & set(words[max(0, i - 3) : i]) else 1)
            balance += weight * PHRASES.get((words[i - 1] if i else "", word), 0)
        judged |= ASPECTS & set(words)
        stars = STARS.get(" ".join(words), stars)
    broken = sum(not REVIEWS.accepts_sentence(sentence) for sentence in sentences) / len(sentences)
    verdict = (2 - math.exp(-len(judged) / 2)) * math.tanh(balance / 2) + (stars - 3) / 4
    return verdict - 3 * f.repetition - (max(0, f.words - LONG) / 15) ** 2 - broken


def chances(gold: np.ndarray, noise: float) -> np.ndarray:
    """(N, K) -> (N, K), softmax(gold / noise): how likely each of K candidates is labelled the best where Gumbel noise of this
    standard scale is added to their gold scores."""
    odds = np.exp((gold - gold.max(1, keepdims=True)) / noise)
    return odds / odds.sum(1, keepdims=True)


def saturated(x: float) -> float:
    """1 - e^(-x): the first of a kind counts most."""
    return 1 - math.exp(-x)
