"""Logic puzzles as texts, and what follows from what they say."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from gymformer.data.arithmetic import HELD_OUT_SHARE, is_held_out
from gymformer.data.logic import Formula, Truth, atoms, evaluate, negation, parse, truth_table

__all__ = ["ISLAND", "KINDS", "DrawPuzzle", "Puzzle", "Reading", "draw_of_split", "read", "read_puzzle", "solution"]

# What holds beside the premises; it tells which kind of puzzle this is.
ISLAND = "Everybody is a knight, who says nothing false, or a knave, who says nothing true."
KINDS = "There is at least one of each kind."
STREET = "There are {} houses in a row, house 1 on the left. In each is one {}."

NUMBERED = re.compile(r"\d+\. (.+)\.")
ASKED = re.compile(r"Is this true: (.+)\?")
ASKED_HOUSE = re.compile(r"Which (.+) is in house (\d+)\?")
SAYS = re.compile(r"(\w+) says: (.+)")
KNIGHT, KNAVE = " is a knight", " is a knave"
QUANTIFIED = re.compile(r"(All|No|Some) (\w+) are (not )?(\w+)")
CATEGORY = re.compile(r"one ([^()]+) \(([^()]+)\)")
MOST_DRAWS = 1000  # until a puzzle falls on the side that is wanted
MOST_WORLDS = 2_000_000  # 4 houses with 4 properties have 331,776


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Premises and a question with its possible answers; as a text it is all that a player sees."""

    premises: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    rules: str = ""

    def __str__(self) -> str:
        premises = [f"{number}. {premise}." for number, premise in enumerate(self.premises, start=1)]
        return "\n".join([*filter(None, [self.rules]), *premises, self.question, f"Answers: {', '.join(self.answers)}"])


DrawPuzzle = Callable[[np.random.Generator, float | None], tuple[Puzzle, str]]  # a puzzle and its answer, at a difficulty


@dataclass(frozen=True, slots=True)
class Reading:
    """What a puzzle says of the worlds that its rules allow.

    claims: each decided answer, and where it is right. relations: of each subject that one may ask about, statements and where
    they hold. asked: subjects that the question itself is about.
    """

    premises: list[Truth]
    claims: dict[str, Truth]
    relations: dict[str, list[tuple[str, Truth]]]
    asked: frozenset[str]

    def possible(self) -> Truth:
        """The worlds in which all premises hold."""
        return np.logical_and.reduce(self.premises)

    def solution(self) -> str:
        """The answer that is right wherever all premises hold; "unknown" if none is.

        Raises ValueError if the premises contradict each other, so that everything would follow.
        """
        possible = self.possible()
        if not possible.any():
            raise ValueError("the premises contradict each other, so that every answer follows; change one")
        return next((answer for answer, claim in self.claims.items() if claim[possible].all()), "unknown")

    def is_trivial(self) -> bool:
        """One premise alone decides the question, or none is needed."""
        return any(claim[premise].all() for premise in self.premises for claim in self.claims.values())

    def derived(self, subject: str) -> str:
        """What follows from the premises about a subject: the first of its relations that does."""
        possible = self.possible()
        found = (statement for statement, truth in self.relations[subject] if truth[possible].all())
        return next((f"{statement}." for statement in found), f"Nothing follows about {subject}.")


def read_puzzle(text: str) -> Puzzle:
    """The puzzle whose text this is: `str` and this are each other's inverse."""
    *lines, question, answers = text.split("\n")
    premises = tuple(match[1] for line in lines if (match := NUMBERED.fullmatch(line)))
    rules = "\n".join(line for line in lines if not NUMBERED.fullmatch(line))
    return Puzzle(premises, question, tuple(answers.removeprefix("Answers: ").split(", ")), rules)


def read(puzzle: Puzzle) -> Reading:
    """What the puzzle's text says. Raises ValueError where it cannot be understood."""
    if puzzle.rules == KINDS:
        return read_kinds(puzzle)
    if puzzle.rules.startswith("There are "):
        return read_street(puzzle)
    return read_propositions(puzzle)


def draw_of_split(
    draw: DrawPuzzle, split: Literal["train", "test"], rng: np.random.Generator, difficulty: float | None
) -> tuple[Puzzle, str]:
    """The first puzzle that `draw` gives on this side of the split.

    The side follows from the puzzle alone (`is_held_out`): from its rules, its question, and which words each premise has. So a
    tenth of all puzzles is "test", and none of them is drawn for "train", in no process, by no seed, and in no other order of its
    premises or of the words in them ("Wet or Cold", "Cold or Wet").
    """
    for _ in range(MOST_DRAWS):
        puzzle, answer = draw(rng, difficulty)
        premises = sorted(" ".join(sorted(premise.casefold().split())) for premise in puzzle.premises)
        if is_held_out("\n".join([puzzle.rules, *premises, puzzle.question.casefold()])) == (split == "test"):
            return puzzle, answer
    raise ValueError(f"none of {MOST_DRAWS} puzzles at difficulty {difficulty} is on the side {split!r}, of which {HELD_OUT_SHARE:.0%} are "
                     "test: there are too few different ones. Give more templates and variables, or another difficulty")  # fmt: skip


def solution(puzzle: Puzzle) -> str:
    """The answer that follows (`Reading.solution`)."""
    return read(puzzle).solution()


def read_propositions(puzzle: Puzzle) -> Reading:
    """Statements that `parse` reads, or, on the island, what its people say."""
    question = ASKED.fullmatch(puzzle.question)
    if question is None:
        raise ValueError(f'the question is {puzzle.question!r}; expected "Is this true: …?"')
    on_island = puzzle.rules == ISLAND
    premises = [(_said if on_island else parse)(premise) for premise in puzzle.premises]
    asked = _roles(parse(question[1])) if on_island else parse(question[1])
    table = truth_table(atoms(*premises, asked))
    claim = evaluate(asked, table)
    relations = {_subject(name): [(name, truth), (_opposite(name), ~truth)] for name, truth in table.items()}
    about = frozenset(map(_subject, atoms(asked)))
    return Reading([evaluate(premise, table) for premise in premises], {"yes": claim, "no": ~claim}, relations, about)


def _subject(name: str) -> str:
    return name.removesuffix(KNIGHT)


def _opposite(name: str) -> str:
    return _subject(name) + KNAVE if name.endswith(KNIGHT) else f"Not {name}"


def _said(premise: str) -> Formula:
    """ "X says: S" holds where X is a knight and S is so, or neither."""
    match = SAYS.fullmatch(premise)
    if match is None:
        raise ValueError(f'{premise!r} is said by nobody; expected "X says: …"')
    return Formula("iff", (Formula("atom", name=match[1] + KNIGHT), _roles(parse(match[2]))))


def _roles(formula: Formula) -> Formula:
    """A knave is who is no knight."""
    if formula.operator == "atom" and formula.name.endswith(KNAVE):
        return negation(Formula("atom", name=formula.name.removesuffix(KNAVE) + KNIGHT))
    return Formula(formula.operator, tuple(map(_roles, formula.parts)), formula.name)


def read_kinds(puzzle: Puzzle) -> Reading:
    """ "All", "No" and "Some … are (not) …", where every kind has a member.

    A world says for each combination of n kinds whether something is of just these: 2^(2^n) worlds.
    """
    question = ASKED.fullmatch(puzzle.question)
    asked = QUANTIFIED.fullmatch(question[1]) if question else None
    premises = [QUANTIFIED.fullmatch(premise) for premise in puzzle.premises]
    if asked is None or None in premises:
        raise ValueError(f'"All", "No" or "Some … are (not) …" is expected of each statement of {str(puzzle)!r}')
    found = [match.groups() for match in [*premises, asked] if match is not None]
    kinds = list(dict.fromkeys(kind for _, one, _, other in found for kind in (one, other)))
    if len(kinds) > 3:
        raise ValueError(f"{len(kinds)} kinds ({', '.join(kinds)}) have 2^{2 ** len(kinds)} worlds; use at most 3")
    combinations = truth_table(kinds)  # kind → (2^n,), which combinations have it
    inhabited = np.stack(list(truth_table([str(number) for number in range(2 ** len(kinds))]).values()))  # (2^n, worlds)
    allowed = np.logical_and.reduce([inhabited[combinations[kind]].any(axis=0) for kind in kinds])
    inhabited = inhabited[:, allowed]

    def truth(quantifier: str, one: str, negated: str | None, other: str) -> Truth:
        inside = ~combinations[other] if negated else combinations[other]
        sought = combinations[one] & (~inside if quantifier == "All" else inside)  # "All": there is nothing outside
        exists = np.logical_or.reduce(inhabited[sought])
        return exists if quantifier == "Some" else ~exists

    claim = truth(*asked.groups())
    forms: Sequence[tuple[str, str | None]] = (("All", None), ("No", None), ("Some", None), ("Some", "not "))
    pairs = [(one, other) for one in kinds for other in kinds if one != other and {one, other} != {asked[2], asked[4]}]
    statements = [(one, other, f"{quantifier} {one} are {negated or ''}{other}", truth(quantifier, one, negated, other))
                  for quantifier, negated in forms for one, other in pairs]  # fmt: skip
    relations = {kind: [(statement, holds) for one, other, statement, holds in statements
                        if kind in (one, other) and statement not in puzzle.premises]
                 for kind in kinds}  # fmt: skip
    return Reading([truth(*groups) for groups in found[:-1]], {"yes": claim, "no": ~claim}, relations, frozenset())


def read_street(puzzle: Puzzle) -> Reading:
    """Houses in a row, each with one value of each category; the clues say where."""
    categories = {match[1]: match[2].split(", ") for match in CATEGORY.finditer(puzzle.rules)}
    question = ASKED_HOUSE.fullmatch(puzzle.question)
    if question is None or question[1] not in categories:
        raise ValueError(f'the question is {puzzle.question!r}; expected "Which {" | ".join(categories)} is in house …?"')
    houses = len(categories[question[1]])
    if math.factorial(houses) ** len(categories) > MOST_WORLDS:
        raise ValueError(f"{houses} houses with {len(categories)} properties have {math.factorial(houses)}^{len(categories)} worlds; use "
                         f"fewer (at most {MOST_WORLDS:,} worlds)")  # fmt: skip
    orders = np.array(list(permutations(range(1, houses + 1))), dtype=np.int8)  # (n!, n)
    chosen = np.indices((len(orders),) * len(categories), dtype=np.int32).reshape(len(categories), -1)
    place = {f"{category} {value}": orders[chosen[number], column]  # (worlds,), of which house it is
             for number, (category, values) in enumerate(categories.items()) for column, value in enumerate(values)}  # fmt: skip

    def truth(clue: str) -> Truth:
        if match := re.fullmatch(r"(.+) is in house (\d+)", clue):
            return place[match[1]] == int(match[2])
        if match := re.fullmatch(r"(.+) and (.+) are in the same house", clue):
            return place[match[1]] == place[match[2]]
        if match := re.fullmatch(r"(.+) is directly left of (.+)", clue):
            return place[match[1]] + 1 == place[match[2]]
        if match := re.fullmatch(r"(.+) and (.+) are next to each other", clue):
            return abs(place[match[1]] - place[match[2]]) == 1
        raise ValueError(f"{clue!r} is no clue that is known")

    claims = {value: place[f"{question[1]} {value}"] == int(question[2]) for value in categories[question[1]]}
    asked = frozenset(f"{question[1]} {value}" for value in claims)
    relations = {label: [(f"{label} is in house {house}", where == house) for house in range(1, houses + 1)]
                 for label, where in place.items()}  # fmt: skip
    return Reading([truth(premise) for premise in puzzle.premises], claims, relations, asked)
