"""Problems to think about twice: what they ask, what leads there, and what leads astray, all decided from their text."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gymformer.data.arithmetic import Problem
from gymformer.data.problems import Draw

__all__ = ["BIASES", "FAMILIES", "NO_BIAS", "VERDICTS", "Equation", "Reading", "read_problem"]

NO_BIAS = "none"
BIASES = ("base rate", "anchoring", "confirmation", "framing")
HOLDS, FAILS, OPEN = VERDICTS = ("holds", "fails", "open")
UNKNOWN = "unknown"

NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana")
JOBS = ("farmer", "pilot", "baker", "nurse", "judge", "singer")
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
THINGS = ("cup", "hat", "book", "key", "pen", "ring")

SIGNS: dict[str, Callable[[int, int], int]] = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
WORDS = {"Add": "+", "Take": "-", "Times": "*"}


class Equation(NamedTuple):
    """left sign right = result."""

    left: int
    sign: str
    right: int
    result: int

    @classmethod
    def of(cls, left: int, sign: str, right: int) -> "Equation":
        return cls(left, sign, right, SIGNS[sign](left, right))

    @property
    def is_true(self) -> bool:
        return SIGNS[self.sign](self.left, self.right) == self.result

    def ordered(self) -> "Equation":
        """The same for 3 + 4 = 7 and 4 + 3 = 7."""
        return self._replace(left=self.right, right=self.left) if self.sign in "+*" and self.left > self.right else self

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right} = {self.result}"


Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """What follows from a problem's text.

    answers: each possible answer and how likely it is the right one (one of them alone, but for draws from a bag).
    choices: what could be answered, right or wrong; empty for a number. steps: the equations on the way, in order.
    before: all pairs (one, other) of which it follows that one is before the other, among `names`. claim: the pair that is to
    be checked. bias: which one leads astray here, "none" where it could have, and None where nothing does.
    """

    family: str
    answers: dict[str, float]
    choices: tuple[str, ...] = ()
    steps: tuple[Equation, ...] = ()
    names: tuple[str, ...] = ()
    before: frozenset[Pair] = frozenset()
    claim: Pair | None = None
    bias: str | None = None

    @property
    def best(self) -> str:
        """The likeliest answer."""
        return max(self.answers, key=lambda answer: self.answers[answer])

    def verdict(self, one: str, other: str) -> str | None:
        """Whether it holds, fails or is open that one is before the other; None unless they are two who are named."""
        if one == other or not {one, other} <= set(self.names):
            return None
        return HOLDS if (one, other) in self.before else FAILS if (other, one) in self.before else OPEN


def read_problem(question: str) -> Reading | None:
    """What follows from the text of a problem of these families; None for any other text."""
    for form, family in FORMS:
        if match := form.fullmatch(question):
            return family(match)
    return None


# sum: "Start with 5. Add 3. Take 2. What is the result?"

SUM = re.compile(r"Start with (\d+)\.((?: (?:Add|Take|Times) \d+\.)+) What is the result\?")


def draw_sum(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """2 to 5 operations on numbers of up to 9 to 49; multiplications by 2 or 3 from difficulty 0.3 on. Totals are positive."""
    level = _level(difficulty)
    total = int(rng.integers(1, 9, endpoint=True))
    text = f"Start with {total}."
    for _ in range(2 + round(3 * level)):
        term = int(rng.integers(1, 9 + round(40 * level), endpoint=True))
        word = str(rng.choice(list(WORDS)[: 3 if level >= 0.3 else 2]))
        if word == "Times":
            term = int(rng.integers(2, 4))
        elif term >= total:
            word = "Add"
        total = SIGNS[WORDS[word]](total, term)
        text += f" {word} {term}."
    return _settled(f"{text} What is the result?")


def _read_sum(match: re.Match[str]) -> Reading:
    total, steps = int(match[1]), []
    for word, term in re.findall(r"(\w+) (\d+)", match[2]):
        steps.append(Equation.of(total, WORDS[word], int(term)))
        total = steps[-1].result
    return Reading("sum", {str(total): 1.0}, steps=tuple(steps))


# order: "Ana is before Ben. Ben is before Cleo. Check: Cleo before Ana. Who is last?"

ORDER = re.compile(r"((?:\w+ is before \w+\. )+)Check: (\w+) before (\w+)\. Who is (first|last)\?")


def draw_order(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """3 to 6 people, each but one before or after another. What is to be checked is no premise, nor the reverse of one, and
    holds, fails or is open with a chance of a third each."""
    count = 3 + round(3 * _level(difficulty))
    wanted = str(rng.choice(VERDICTS))
    while True:
        names = [str(name) for name in rng.permutation(NAMES)[:count]]
        upwards = bool(rng.integers(2))
        pairs = [(names[int(rng.integers(place))], names[place]) for place in range(1, count)]
        pairs = [pairs[place] if upwards else pairs[place][::-1] for place in rng.permutation(count - 1)]
        one, other = (str(name) for name in rng.permutation(names)[:2])
        premises = " ".join(f"{first} is before {second}." for first, second in pairs)
        question = f"{premises} Check: {one} before {other}. Who is {rng.choice(['first', 'last'])}?"
        reading = _reading(question)
        if not {(one, other), (other, one)} & set(pairs) and reading.verdict(one, other) == wanted:
            return Problem(question, reading.best)


def _read_order(match: re.Match[str]) -> Reading:
    before = set(re.findall(r"(\w+) is before (\w+)\.", match[1]))
    names = tuple(sorted({name for pair in before for name in pair}))
    while new := {(one, last) for one, middle in before for other, last in before if middle == other} - before:
        before |= new
    ends = [
        name
        for name in names
        if all(((name, other) if match[4] == "first" else (other, name)) in before for other in names if other != name)
    ]
    answer = ends[0] if ends else UNKNOWN
    return Reading("order", {answer: 1.0}, (*names, UNKNOWN), names=names, before=frozenset(before), claim=(match[2], match[3]))


# base rate: many teams with few readers each, against few teams with many

BASE_RATE = re.compile(
    r"(\d+) teams of (\w+)s, (\d+) readers? in each\. (\d+) teams of (\w+)s, (\d+) readers? in each\. "
    r"Is a reader rather a \w+ or a \w+\?"
)


def draw_base_rate(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """2 to 9 (at difficulty 1: 29) teams; in half of the problems those with more readers in a team have fewer in all."""
    most, tempting = 9 + round(20 * _level(difficulty)), bool(rng.integers(2))
    one, other = (str(job) for job in rng.permutation(JOBS)[:2])
    while True:
        teams, more_teams = (int(number) for number in rng.integers(2, most, size=2, endpoint=True))
        readers, more_readers = (int(number) for number in rng.integers(1, 9, size=2, endpoint=True))
        question = (
            f"{teams} teams of {one}s, {_readers(readers)} in each. {more_teams} teams of {other}s, {_readers(more_readers)} in each. "
            f"Is a reader rather a {one} or a {other}?"
        )
        if readers != more_readers and teams * readers != more_teams * more_readers:
            reading = _reading(question)
            if (reading.bias != NO_BIAS) == tempting:
                return Problem(question, reading.best)


def _readers(count: int) -> str:
    return "1 reader" if count == 1 else f"{count} readers"


def _read_base_rate(match: re.Match[str]) -> Reading:
    teams, job, readers, other_teams, other, other_readers = (int(g) if g.isdigit() else g for g in match.groups())
    steps = Equation.of(int(teams), "*", int(readers)), Equation.of(int(other_teams), "*", int(other_readers))
    right = job if steps[0].result > steps[1].result else other
    tempting = job if int(readers) > int(other_readers) else other
    return Reading("base rate", {str(right): 1.0}, (str(job), str(other)), steps,
                   bias=NO_BIAS if right == tempting else "base rate")  # fmt: skip


# anchoring: a number is in the room before the problem is

ANCHORING = re.compile(r"\w+ guesses (\d+)\. There are (\d+) rows of (\d+) and (\d+) more\. How many are there\?")


def draw_anchoring(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """Rows of up to 5 (at difficulty 1: 20); in half of the problems the guess is right, else it is up to 10 away."""
    most = 5 + round(15 * _level(difficulty))
    rows, width, more = (int(number) for number in rng.integers(2, most, size=3, endpoint=True))
    count = rows * width + more
    guess = (
        count
        if rng.integers(2)
        else max(0, count - int(rng.integers(1, 11)))
        if rng.integers(2)
        else count + int(rng.integers(1, 11))
    )
    return _settled(
        f"{rng.choice(NAMES)} guesses {guess}. There are {rows} rows of {width} and {more} more. How many are there?"
    )


def _read_anchoring(match: re.Match[str]) -> Reading:
    guess, rows, width, more = map(int, match.groups())
    inner = Equation.of(rows, "*", width)
    outer = Equation.of(inner.result, "+", more)
    bias = NO_BIAS if guess == outer.result else "anchoring"
    return Reading("anchoring", {str(outer.result): 1.0}, steps=(inner, outer), bias=bias)


# confirmation: which box could refute a claim (Wason's selection task, doi:10.1080/14640746808400161)

CLAIMS = {
    "all": ("all {} boxes hold a {}", "a {} box always holds a {}"),
    "only": ("only {} boxes hold a {}", "no box that is not {} holds a {}"),
}
CONFIRMATION = re.compile(
    r"Claim: (?:(?P<all>all (?:\w+) boxes hold a (?P<a>\w+)|a \w+ box always holds a (?P<b>\w+))|"
    r"only \w+ boxes hold a (?P<c>\w+)|no box that is not \w+ holds a (?P<d>\w+))\. "
    r"One box holds a (?P<one>\w+), one a (?P<other>\w+)\. Which tests the claim\?"
)


def draw_confirmation(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """A claim that all boxes of a color hold something: only a box with something else can refute it. In the other half, only
    boxes of that color hold it: then the box that holds it can. From difficulty 0.5 on also in other words."""
    forms = CLAIMS["all" if rng.integers(2) else "only"]
    claim = forms[int(rng.integers(len(forms))) if _level(difficulty) >= 0.5 else 0]
    thing, other = (str(word) for word in rng.permutation(THINGS)[:2])
    one, two = (str(word) for word in rng.permutation([thing, other]))
    return _settled(
        f"Claim: {claim.format(rng.choice(COLOURS), thing)}. One box holds a {one}, one a {two}. Which tests the claim?"
    )


def _read_confirmation(match: re.Match[str]) -> Reading:
    claimed = next(match[name] for name in "abcd" if match[name])
    choices = match["one"], match["other"]
    refutable = bool(match["all"])  # by what is not what the claim names
    right = next(thing for thing in choices if (thing != claimed) == refutable)
    return Reading("confirmation", {right: 1.0}, choices, bias="confirmation" if refutable else NO_BIAS)


# framing: a gain against a loss

FRAMING = re.compile(r"Plan A (saves|loses) (\d+) of (\d+)\. Plan B (saves|loses) (\d+) of (\d+)\. Which saves more\?")


def draw_framing(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """One plan saves so many of 6 to 12 (at difficulty 1: to 99), the other loses so many; in half of the problems it is the
    one that loses which saves more."""
    tempting, losing_first = bool(rng.integers(2)), bool(rng.integers(2))
    while True:
        total = int(rng.integers(6, 12 + round(87 * _level(difficulty)), endpoint=True))
        plans = [("saves", int(rng.integers(1, total))), ("loses", int(rng.integers(1, total)))]
        (one, first), (two, second) = plans[::-1] if losing_first else plans
        question = f"Plan A {one} {first} of {total}. Plan B {two} {second} of {total}. Which saves more?"
        if plans[0][1] + plans[1][1] != total and (_reading(question).bias != NO_BIAS) == tempting:
            return _settled(question)


def _read_framing(match: re.Match[str]) -> Reading:
    saved, steps = [], []
    for verb, number, total in (match.groups()[:3], match.groups()[3:]):
        if verb == "loses":
            steps.append(Equation.of(int(total), "-", int(number)))
        saved.append(steps[-1].result if verb == "loses" else int(number))
    right, tempting = "A" if saved[0] > saved[1] else "B", "A" if match[1] == "saves" else "B"
    return Reading("framing", {right: 1.0}, ("A", "B"), tuple(steps), bias=NO_BIAS if right == tempting else "framing")


# bag: nobody can know, but everybody can know how likely it is

BAG = re.compile(r"A bag holds ((?:\d+ \w+(?:, | and | balls))+)\. One is drawn\. Which color is it\?")


def draw_bag(rng: np.random.Generator, difficulty: float | None) -> Problem:
    """2 colors (from difficulty 0.5 on 3) of up to 9 balls each, one of them the most frequent. The answer is drawn."""
    colours = [str(colour) for colour in rng.permutation(COLOURS)[: 3 if _level(difficulty) >= 0.5 else 2]]
    while True:
        counts = [int(count) for count in rng.integers(1, 9, size=len(colours), endpoint=True)]
        if counts.count(max(counts)) == 1:
            break
    *parts, last = (f"{count} {colour}" for count, colour in zip(counts, colours))
    drawn = colours[int(rng.choice(len(colours), p=np.array(counts) / sum(counts)))]
    return Problem(f"A bag holds {', '.join(parts)} and {last} balls. One is drawn. Which color is it?", drawn)


def _read_bag(match: re.Match[str]) -> Reading:
    counts = {colour: int(count) for count, colour in re.findall(r"(\d+) (\w+)", match[1])}
    sums = np.cumsum(list(counts.values())).tolist()
    steps = tuple(Equation(one, "+", other - one, other) for one, other in pairwise(sums))
    return Reading("bag", {colour: count / sums[-1] for colour, count in counts.items()}, tuple(counts), steps)


FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Reading]], ...] = (
    (SUM, _read_sum), (ORDER, _read_order), (BASE_RATE, _read_base_rate), (ANCHORING, _read_anchoring),
    (CONFIRMATION, _read_confirmation), (FRAMING, _read_framing), (BAG, _read_bag),
)  # fmt: skip
FAMILIES: dict[str, Draw] = {
    "sum": draw_sum, "order": draw_order, "base rate": draw_base_rate, "anchoring": draw_anchoring,
    "confirmation": draw_confirmation, "framing": draw_framing, "bag": draw_bag,
}  # fmt: skip


def _level(difficulty: float | None) -> float:
    return 0.5 if difficulty is None else difficulty


def _reading(question: str) -> Reading:
    reading = read_problem(question)
    assert reading is not None, question
    return reading


def _settled(question: str) -> Problem:
    """The problem, with the answer that follows from its text."""
    return Problem(question, _reading(question).best)
