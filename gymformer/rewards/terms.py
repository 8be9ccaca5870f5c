"""Terms that any task can use: completion, efficiency, novelty, safety, human feedback."""

import re
from collections import Counter, deque
from collections.abc import Callable, Sized
from typing import Any, Literal

from gymformer.rewards.component import RewardComponent

__all__ = ["Novelty", "completion_term", "efficiency_term", "feedback_term", "safety_term"]

WORD = re.compile(r"[^\W_]+")

Rating = Callable[[str], float | None]


def completion_term(weight: float = 1.0, key: str = "success") -> RewardComponent:
    """At the end of an episode state["success"], from 0 to 1: how far the goal was attained; before that, 0."""
    return RewardComponent("completion", weight, lambda state: _success(state, key))


def efficiency_term(most: int, weight: float = 1.0, *, unit: Literal["turn", "words", "tokens"] = "turn",
                    key: str = "success") -> RewardComponent:  # fmt: skip
    """At the end success · max(0, 1 - used / most): the same success pays more with fewer turns, words or tokens, and nothing
    pays without success. `used` is state[unit]: `Rewarded` counts turns and words, token environments tokens."""
    if most < 1:
        raise ValueError(f"most={most}; efficiency is measured against at least 1 {unit}")
    return RewardComponent("efficiency", weight, lambda state: _success(state, key) and
                           _success(state, key) * max(0.0, 1 - _told(state, unit) / most))  # fmt: skip


def safety_term(check: Callable[[str], Sized | float], weight: float = 1.0) -> RewardComponent:
    """Minus the violations in state["text"]; `check` lists or counts them (`SafetyMonitor.check`)."""

    def cost(state: dict[str, Any]) -> float:
        found = check(state["text"])
        return -float(len(found) if isinstance(found, Sized) else found)

    return RewardComponent("safety", weight, cost)


def feedback_term(rate: Rating, weight: float = 1.0, unrated: float = 0.0) -> RewardComponent:
    """At the end what a person, or a function, says of all that was written; `unrated` where that is None: nobody was there."""

    def rated(state: dict[str, Any]) -> float:
        if not _has_ended(state):
            return 0.0
        rating = rate(_written(state))
        return unrated if rating is None else rating

    return RewardComponent("feedback", weight, rated)


class Novelty(RewardComponent):
    """At the end success · (new n-grams of words / all n-grams): saying it in another way pays, and only where it succeeds.

    An n-gram is new if none of the last `memory` texts has it, and counts once in a text however often it is repeated. Its
    words must all be known: from the prompt, or from a text that has succeeded. So noise earns nothing (its words are unknown),
    and neither does length (it is a share). What still pays is a new order of known words in a text that succeeds: where a
    task accepts any padding around a right answer, take efficiency beside it.

    One object is one memory, shared by all environments that it is given to. Checkpoints of a training run do not hold it; who
    wants it again keeps `state_dict()`.
    """

    def __init__(self, weight: float = 1.0, *, n: int = 3, memory: int = 1000, key: str = "success"):
        super().__init__("novelty", weight, self._novelty)
        if n < 1 or memory < 1:
            raise ValueError(f"n={n} and memory={memory}; n-grams have at least 1 word, and at least 1 text is remembered")
        self.n, self.memory, self.key = n, memory, key
        self._texts: deque[list[str]] = deque()
        self._seen: Counter[tuple[str, ...]] = Counter()  # n-grams -> how many of the texts have them
        self._known: set[str] = set()  # words of texts that have succeeded

    def _novelty(self, state: dict[str, Any]) -> float:
        if not _has_ended(state):
            return 0.0
        success, words, prompt = _success(state, self.key), _words(_written(state)), state.get("prompt")
        known = self._known | set(_words(prompt) if isinstance(prompt, str) else [])
        new = {gram for gram in self._grams(words) if gram not in self._seen and known.issuperset(gram)}
        share = len(new) / max(1, len(words) - self.n + 1)
        self._remember(words)
        if success > 0:
            self._known |= set(words)
        return success * share

    def state_dict(self) -> dict[str, Any]:
        """The memory as JSON holds it."""
        return {"texts": list(self._texts), "known": sorted(self._known)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._texts, self._seen, self._known = deque(), Counter(), set(state["known"])
        for words in state["texts"]:
            self._remember(words)

    def _remember(self, words: list[str]) -> None:
        self._texts.append(words)
        self._seen.update(set(self._grams(words)))
        if len(self._texts) > self.memory:
            for gram in set(self._grams(self._texts.popleft())):  # `-=` would go through all that was ever seen
                self._seen[gram] -= 1
                if not self._seen[gram]:
                    del self._seen[gram]

    def _grams(self, words: list[str]) -> list[tuple[str, ...]]:
        return list(zip(*(words[i:] for i in range(self.n)), strict=False))


def _has_ended(state: dict[str, Any]) -> bool:
    return state.get("ended", True)  # token environments ask only then


def _success(state: dict[str, Any], key: str) -> float:
    return float(_told(state, key)) if _has_ended(state) else 0.0


def _told(state: dict[str, Any], key: str) -> Any:
    if key not in state:
        raise ValueError(f"the environment does not tell {key!r}, but {', '.join(map(repr, sorted(state)))}; let its last info have it, "
                         "or name another key")  # fmt: skip
    return state[key]


def _written(state: dict[str, Any]) -> str:
    """All that the policy has written in the episode."""
    return "\n".join(state["said"]) if "said" in state else state["text"]


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
