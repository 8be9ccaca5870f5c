"""What is good about a summary: overlap with a reference, brevity, and words that the article has too."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from gymformer.rewards.component import RewardComponent

__all__ = ["brevity", "brevity_term", "coverage", "coverage_term", "rouge_l", "rouge_term"]

WORD = re.compile(r"[^\W_]+")
MIN_FRAGMENT = 1  # words


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L F1 in [0, 1]: the longest common subsequence of words, as precision and recall (Lin 2004, section 3; by the
    package rouge-score, without stemming). Needs the extra "tasks"."""
    return _scorer().score(reference, text)["rougeL"].fmeasure


def brevity(text: str, article: str) -> float:
    """1 - words of the text / words of the article, at least 0: 1 is saying nothing."""
    return max(0.0, 1 - len(words(text)) / max(1, len(words(article))))


def coverage(text: str, article: str) -> float:
    """The share of the text's words that stand in fragments of the article, found greedily from the left, the longest first
    (arXiv:1804.11283, section 3.1); 0 of an empty text. Words that the article does not have are made up, or paraphrase."""
    said, there = words(text), words(article)
    covered = i = 0
    while i < len(said):
        longest = max((_common(said[i:], there[j:]) for j, word in enumerate(there) if word == said[i]), default=0)
        covered += longest if longest >= MIN_FRAGMENT else 0
        i += max(1, longest)
    return covered / len(said) if said else 0.0


def rouge_term(weight: float = 1.0) -> RewardComponent:
    """ROUGE-L of state["text"] and state["summary"]."""
    return RewardComponent("rouge_l", weight, lambda state: rouge_l(state["text"], state["summary"]))


def brevity_term(weight: float = 1.0) -> RewardComponent:
    return RewardComponent("brevity", weight, lambda state: brevity(state["text"], state["article"]))


def coverage_term(weight: float = 1.0) -> RewardComponent:
    return RewardComponent("coverage", weight, lambda state: coverage(state["text"], state["article"]))


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@cache
def _scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ImportError("ROUGE needs rouge-score; install it with: pip install 'gymformer[tasks]'") from error
    return RougeScorer(["rougeL"], use_stemmer=False)
