"""Scripted partners of a dialogue: what they want is hidden, and what they hear changes it by rules."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["SCENARIOS", "Answers", "Debate", "Heard", "Negotiation", "Partner"]

WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
LONGEST_NUMBER = 9  # digits; what follows is cut
NEGATIONS = frozenset({"no", "not", "never", "nor", "neither", "cannot", "without"})
POLITE = frozenset({"please", "thanks", "thank", "kindly", "sorry", "pardon", "appreciate", "grateful"})
MOST_POLITE_WORDS = 2  # of a turn; more are flattery
INSULTS = frozenset({"stupid", "idiot", "idiots", "idiotic", "fool", "fools", "foolish", "liar", "liars", "dumb", "moron", "ridiculous",
                     "silly", "pathetic"})  # fmt: skip
ACCEPTANCE = frozenset({"deal", "accept", "agreed", "agree"})
INSULTED = "Do not talk to me like that."

BOTH_SIDES = 0.3  # from this difficulty on, the player may also buy, or be against
HARD = 0.6  # from this one on, numbers have three digits, and some partners are firm
ROUNDS = 2, 4  # questions or claims of a partner, at difficulty 0 and 1
PATIENCE = 2  # turns without a deal until a partner leaves; one more where some are firm
UNKNOWN_SHARE = 0.25  # of the questions
REBUTTABLE_SHARE = 0.7  # of the partner's claims
BESIDE_THE_POINT = 0.5  # points for a claim with its evidence that leaves the partner's claim alone, though it need not

GOODS = {  # and what is said about them
    "bicycle": ("wheel", "brake", "frame", "lamp"),
    "guitar": ("neck", "sound", "bridge", "case"),
    "table": ("wood", "leg", "edge", "drawer"),
    "boat": ("sail", "motor", "deck", "mast"),
}
OF_ANYTHING = ("plan", "risk", "budget", "schedule")
WEAK, STRONG = ("old", "weak", "worn", "small"), ("new", "strong", "fine", "large")

TOPICS = ("a new tram", "a night bus", "a city park", "a larger market")
ISSUES = ("air", "noise", "trade", "safety", "traffic", "health", "housing", "tourism")

PLACES = ("a hotel", "a village", "a harbour", "a campus")
SUBJECTS = ("pool", "museum", "library", "garden", "cinema", "bakery", "chapel", "gallery")
# kind of fact: how it is told, how it is asked, the words that stand for it, and its values
FACTS = {
    "opening": ("The {} opens at {}.", "When does the {} open?", ("open", "opens", "opened"), (6, 13)),
    "closing": ("The {} closes at {}.", "When does the {} close?", ("close", "closes", "closed"), (13, 24)),
    "price": ("The {} costs {}.", "What does the {} cost?", ("cost", "costs", "price"), (2, 50)),
    "distance": ("The {} is {} minutes away.", "How far is the {}?", ("far", "away", "minutes", "minute"), (2, 50)),
}


@dataclass(frozen=True)
class Heard:
    """A text as the rules hear it: whole words, without capitals."""

    text: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(WORD.findall(self.text.replace("’", "'").casefold()))

    @property
    def numbers(self) -> list[int]:
        return [int(word[:LONGEST_NUMBER]) for word in self.words if word.isascii() and word.isdigit()]

    @property
    def is_insulting(self) -> bool:
        return not INSULTS.isdisjoint(self.words)

    @property
    def is_polite(self) -> bool:
        """It has one or two polite words, and no insult."""
        return 1 <= sum(word in POLITE for word in self.words) <= MOST_POLITE_WORDS and not self.is_insulting

    @property
    def denies(self) -> bool:
        return any(word in NEGATIONS or word.endswith("n't") for word in self.words)

    def named(self, things: Iterable[str]) -> set[str]:
        """Those of the things (words, or several with a space between) that are named, as whole words."""
        said = f" {' '.join(self.words)} "
        return {thing for thing in things if f" {thing.casefold()} " in said}


class Partner(ABC):
    """One who talks about `title`. `brief` is what the player is told of it, `line` what they say next, `about` the thing that this
    is about, one of `things`. `success`, from 0 to 1, is how far the player's goal is attained; `over`, whether they have done."""

    things: tuple[str, ...]
    title: str
    brief: str
    line: str
    about: str
    success: float = 0.0
    over: bool = False

    @abstractmethod
    def hear(self, turn: Heard) -> None:
        """They take in a turn; afterwards `line` is their reply."""

    @abstractmethod
    def keeps_to(self, turn: Heard) -> bool:
        """Whether a turn refers to what `line` is about, and to nothing else that has no business there."""


class Negotiation(Partner):
    """A price. The player sells (or buys) what is worth `limit` to them; the partner would go up (down) to `best`, which is hidden.

    An offer within that is taken. Another one is refused, and answered by a concession: a share of the way to `best`, 1/2, or
    1/4 if the partner is firm, and half of that if the offer was not polite. There is none for an offer that is no better
    than the last one, nor for one that is not serious (more than twice, or less than half of, the partner's first offer).
    A yes ("deal", "accept") takes the partner's offer. After 2 turns without a deal they leave, after 3 where partners may be firm.

    success = (price - limit) / (best - limit), at least 0; 0 without a deal.
    """

    def __init__(self, rng: np.random.Generator, difficulty: float, context: str | None):
        self.rng = rng
        thing = list(GOODS)[int(rng.integers(len(GOODS)))]
        self.things = GOODS[thing] if context is None else OF_ANYTHING
        self.title = f"a {thing}" if context is None else context
        hard = difficulty >= HARD
        self.sells = difficulty < BOTH_SIDES or bool(rng.random() < 0.5)
        self._up = 1 if self.sells else -1
        scale = 10 if hard else 1
        self.first = self.offer = 4 * scale * int(rng.integers(8, 17) if self.sells else rng.integers(16, 25))
        gap = 8 * scale * int(rng.integers(1, 4))
        self.best = self.first + self._up * gap
        self.limit = self.first + self._up * (gap // 4 * int(rng.integers(3)) if hard else 0)
        self._share = 4 if hard and rng.random() < 0.5 else 2  # the concession's denominator
        self._asked: int | None = None
        self._patience = PATIENCE + hard
        self.brief = f"You {'sell' if self.sells else 'buy'}. {'Minimum' if self.sells else 'Maximum'}: {self.limit}."
        self._say("")

    def hear(self, turn: Heard) -> None:
        numbers = turn.numbers
        if turn.is_insulting:
            self._refuse(INSULTED)
        elif not numbers and turn.named(ACCEPTANCE) and not turn.denies:
            self._close(self.offer)
        elif len(numbers) != 1 or turn.denies:
            self._refuse("Name one price.")
        elif self._up * (numbers[0] - self.best) <= 0:
            self._close(numbers[0])
        else:
            self._refuse(self._concede(numbers[0], turn.is_polite))

    def keeps_to(self, turn: Heard) -> bool:
        return turn.named(self.things) == {self.about}

    def _concede(self, asked: int, polite: bool) -> str:
        if not self.first <= 2 * asked <= 4 * self.first:
            return "That is not serious."
        if self._asked is not None and self._up * (self._asked - asked) <= 0:
            return "You did not move."
        self._asked = asked
        share = self._share if polite else 2 * self._share
        self.offer += self._up * (abs(self.best - self.offer) // share)
        return "Too much." if self.sells else "Too little."

    def _close(self, price: int) -> None:
        self.success = min(1.0, max(0.0, (price - self.limit) / (self.best - self.limit)))
        self.over, self.line = True, f"Agreed: {price}."

    def _refuse(self, said: str) -> None:
        self._patience -= 1
        self._say(f"{said} ")
        if self._patience == 0:
            self.over, self.line = True, "I must go."

    def _say(self, before: str) -> None:
        self.about = str(self.rng.choice(self.things))
        how = self.rng.choice(WEAK if self.sells else STRONG)
        self.line = f"{before}The {self.about} is {how}. I {'offer' if self.sells else 'ask'} {self.offer}."


class Debate(Partner):
    """Claims against claims. In each round the partner claims that some issue gets worse (or better, if they are for the thing);
    the evidence is known to both, which claims come is hidden.

    A turn makes a point if it names one piece of evidence by its number, its issue, and the direction that it shows, which must
    be the player's; each piece counts once. If the partner's claim can be rebutted, by a piece on that very issue, any other
    makes half a point. Nothing else that is listed may be named, and nothing denied.

    success = points / rounds.
    """

    things = ISSUES

    def __init__(self, rng: np.random.Generator, difficulty: float, context: str | None):
        self.rng = rng
        self.title = str(rng.choice(TOPICS)) if context is None else context
        is_for = difficulty < BOTH_SIDES or bool(rng.random() < 0.5)
        self.mine, self.theirs = ("better", "worse") if is_for else ("worse", "better")
        self._rounds = _rounds(difficulty)
        issues = [str(issue) for issue in rng.permutation(ISSUES)]
        supported, others = issues[: self._rounds], issues[self._rounds :]
        against = others[:2] + (supported[:2] if difficulty >= HARD else [])
        shown = dict.fromkeys([*((issue, self.mine) for issue in supported), *((issue, self.theirs) for issue in against)])
        pieces = [list(shown)[int(place)] for place in rng.permutation(len(shown))]
        numbers = rng.choice(np.arange(10, 100), len(pieces), replace=False)
        self.evidence = {int(number): piece for number, piece in zip(numbers, pieces)}
        self._others = others
        self._used: set[int] = set()
        self._points, self._round = 0.0, 0
        told = " ".join(f"Study {number}: {issue} {direction}." for number, (issue, direction) in self.evidence.items())
        self.brief = f"You are {'for' if is_for else 'against'} it. {told}"
        self._claim("")

    def hear(self, turn: Heard) -> None:
        number = turn.numbers[0] if len(turn.numbers) == 1 else None
        said, earned = "That proves nothing. ", 0.0
        if turn.is_insulting:
            said = f"{INSULTED} "
        elif number in self._used:
            said = "You said that. "
        elif number is not None and self._proves(turn, number):
            earned = 1.0 if self.evidence[number][0] == self.about or not self._can_be_rebutted() else BESIDE_THE_POINT
            said = "Good point. " if earned == 1 else "That is no answer. "
            self._used.add(number)
        self._points += earned
        self._round += 1
        self.success = self._points / self._rounds
        if self._round == self._rounds:
            self.over, self.line = True, f"{said}That is all."
        else:
            self._claim(said)

    def keeps_to(self, turn: Heard) -> bool:
        meant = {self.evidence[number][0] for number in turn.numbers if number in self.evidence}
        return self.about in (named := turn.named(ISSUES)) and len(meant) <= 1 and named <= {self.about, *meant}

    def _proves(self, turn: Heard, number: int) -> bool:
        issue, direction = self.evidence.get(number, ("", ""))
        named, directions = turn.named(ISSUES), turn.named(("better", "worse"))
        return (direction == self.mine and directions == {direction} and issue in named and named <= {issue, self.about}
                and not turn.denies)  # fmt: skip

    def _can_be_rebutted(self) -> bool:
        return self.about in self._unused()

    def _unused(self) -> list[str]:
        return [i for number, (i, way) in self.evidence.items() if way == self.mine and number not in self._used]

    def _claim(self, before: str) -> None:
        """A claim on an issue that the player has something to say about, or has not; the same never twice in a row."""
        unused = [issue for issue in self._unused() if not before or issue != self.about]
        rest = [issue for issue in self._others if not before or issue != self.about]
        rebuttable = bool(unused) and self.rng.random() < REBUTTABLE_SHARE
        self.about = str(self.rng.choice(unused if rebuttable else rest))
        self.line = f"{before}I say {self.about} gets {self.theirs}."


class Answers(Partner):
    """Questions about facts that the player has, one after another; which ones is hidden.

    An answer is right if the one number in it is the fact's, and wrong if it names another number, another subject, or another
    kind of fact, or denies. Where the facts do not say, "I do not know" is right, and nothing else. What is no answer makes
    the partner ask again, once for each question.

    success = right answers / questions.
    """

    things = SUBJECTS

    def __init__(self, rng: np.random.Generator, difficulty: float, context: str | None):
        self.title = str(rng.choice(PLACES)) if context is None else context
        subjects = [str(subject) for subject in rng.permutation(SUBJECTS)]
        count = 3 + round(3 * difficulty)
        known = subjects[: count if difficulty < BOTH_SIDES else max(2, count // 2)]
        kinds = list(FACTS)
        self.facts: dict[tuple[str, str], int] = {}
        while len(self.facts) < count:
            key = known[len(self.facts) % len(known)], kinds[int(rng.integers(len(kinds)))]
            value = int(rng.integers(*FACTS[key[1]][3]))
            if key not in self.facts and value not in self.facts.values():
                self.facts[key] = value
        unknown = [(subject, kind) for subject in known for kind in kinds if (subject, kind) not in self.facts]
        self._asks: list[tuple[str, str]] = []
        while len(self._asks) < _rounds(difficulty):
            pool = unknown if rng.random() < UNKNOWN_SHARE else list(self.facts)
            question = pool[int(rng.integers(len(pool)))]
            if question not in self._asks:
                self._asks.append(question)
        self._right, self._done, self._asked_again = 0, 0, False
        self.brief = " ".join(FACTS[kind][0].format(subject, value) for (subject, kind), value in self.facts.items())
        self._ask("")

    def hear(self, turn: Heard) -> None:
        right = None if turn.is_insulting else self._judge(turn)
        if right is None and not self._asked_again:
            self._asked_again = True
            self._ask(f"{INSULTED} " if turn.is_insulting else "Tell me: ")
            return
        self._right += bool(right)
        self._done += 1
        self._asked_again = False
        self.success = self._right / len(self._asks)
        said = "Good. " if right else "That is wrong. "
        if self._done < len(self._asks):
            self._ask(said)
        else:
            self.over, self.line = True, f"{said}That is all."

    def keeps_to(self, turn: Heard) -> bool:
        return turn.named(SUBJECTS) == {self.about}

    def _judge(self, turn: Heard) -> bool | None:
        """Whether a turn is the right answer; None if it is none."""
        subject, kind = self._asks[self._done]
        numbers, is_ignorant = set(turn.numbers), bool(turn.named(("i do not know", "i don't know")))
        if not numbers and not is_ignorant:
            return None
        kinds = {name for name, (_, _, words, _) in FACTS.items() if turn.named(words)}
        if not (turn.named(SUBJECTS) <= {subject} and kinds <= {kind}):
            return False
        value = self.facts.get((subject, kind))
        return not numbers if value is None else numbers == {value} and not turn.denies

    def _ask(self, before: str) -> None:
        self.about, kind = self._asks[self._done]
        self.line = f"{before}{FACTS[kind][1].format(self.about)}"


SCENARIOS: dict[str, type[Negotiation | Debate | Answers]] = {
    "question-answering": Answers,
    "negotiation": Negotiation,
    "debate": Debate,
}


def _rounds(difficulty: float) -> int:
    return ROUNDS[0] + round((ROUNDS[1] - ROUNDS[0]) * difficulty)
