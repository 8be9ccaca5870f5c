"""Propositional logic in English words: reading statements, and what follows from them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Connective",
    "Formula",
    "Truth",
    "atoms",
    "entails",
    "entails_by_sympy",
    "evaluate",
    "negation",
    "parse",
    "truth_table",
]

Truth = NDArray[np.bool_]  # (W,), in which of W possible worlds something holds

Connective = Literal["atom", "not", "and", "or", "implies", "iff"]

PHRASES = {"if and only if": "iff", "only if": "only-if", "but not both": "but-not-both"}
KEYWORDS = frozenset({"if", "then", "iff", "only-if", "unless", "either", "or", "but-not-both", "and", "not", "both"})
MOST_ATOMS = 16  # of a truth table; it has 2^16 rows
NESTING = ("if", "not", "(")
MOST_NESTING = 100  # words that open another level


@dataclass(frozen=True, slots=True)
class Formula:
    """An atom with a name, or an operator with its parts. As text it reads so that `parse` finds it again."""

    operator: Connective
    parts: tuple["Formula", ...] = ()
    name: str = ""

    def __str__(self) -> str:
        parts = [str(part) if part.operator in ("atom", "not") else f"({part})" for part in self.parts]
        match self.operator:
            case "atom":
                return self.name
            case "not":
                return f"not {parts[0]}"
            case "implies":
                return f"if {parts[0]} then {parts[1]}"
            case "iff":
                return f"{parts[0]} if and only if {parts[1]}"
            case _:
                return f" {self.operator} ".join(parts)


def parse(text: str) -> Formula:
    """The formula that a statement says.

    "if X then Y", "X if and only if Y", "X only if Y", "X unless Y" (Y, or else X), "X or Y" (perhaps both), "either X or Y but
    not both", "X and Y", "not X", "not both X and Y", brackets; whatever words are left are atoms, with their capitals. "not"
    binds closer than "and", "and" closer than "or", "or" closer than the others. Raises ValueError that quotes the text.
    """
    words = text.replace(",", " ").replace("(", " ( ").replace(")", " ) ")
    words = " ".join(words.split())
    for phrase, word in PHRASES.items():
        words = re.sub(rf"(?<![^ ]){phrase}(?![^ ])", word, words, flags=re.IGNORECASE)
    reader = _Reader(text, words.split())
    formula = reader.statement()
    if reader.rest:
        raise reader.error(f"nothing is expected before {' '.join(reader.rest)!r}")
    return formula


class _Reader:
    """Recursive descent over words; `rest` is what is not read yet."""

    def __init__(self, text: str, words: list[str]):
        self.text, self.rest = text, words
        if sum(word.casefold() in NESTING for word in words) > MOST_NESTING:
            raise self.error(f"it has more than {MOST_NESTING} times {', '.join(NESTING)}")

    def error(self, what: str) -> ValueError:
        return ValueError(f'{self.text!r} is no statement: {what}. Write such as "If X then Y", "X or Y", "not both X and Y"')

    def takes(self, word: str) -> bool:
        if self.rest and self.rest[0].casefold() == word:
            del self.rest[0]
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.takes(word):
            raise self.error(f"{word!r} is expected {'before ' + repr(self.rest[0]) if self.rest else 'at the end'}")

    def statement(self) -> Formula:
        if self.takes("if"):
            condition = self.statement()
            self.expect("then")
            return Formula("implies", (condition, self.statement()))
        left = self.disjunction()
        if self.takes("iff"):
            return Formula("iff", (left, self.disjunction()))
        if self.takes("only-if"):
            return Formula("implies", (left, self.disjunction()))
        if self.takes("unless"):
            return Formula("or", (left, self.disjunction()))
        return left

    def disjunction(self) -> Formula:
        either = self.takes("either")
        parts = [self.conjunction()]
        while self.takes("or"):
            parts.append(self.conjunction())
        if self.takes("but-not-both"):
            if len(parts) != 2:
                raise self.error(f'"but not both" is said of 2 things, not of {len(parts)}')
            return negation(Formula("iff", (parts[0], parts[1])))
        if either:
            raise self.error('"either … or …" may allow both or not; say "but not both", or leave out "either"')
        return parts[0] if len(parts) == 1 else Formula("or", tuple(parts))

    def conjunction(self) -> Formula:
        parts = [self.unit()]
        while self.takes("and"):
            parts.append(self.unit())
        return parts[0] if len(parts) == 1 else Formula("and", tuple(parts))

    def unit(self) -> Formula:
        if self.takes("not"):
            if not self.takes("both"):
                return negation(self.unit())
            left = self.unit()
            self.expect("and")
            return negation(Formula("and", (left, self.unit())))
        if self.takes("("):
            inner = self.statement()
            self.expect(")")
            return inner
        return self.atom()

    def atom(self) -> Formula:
        name: list[str] = []
        while self.rest and self.rest[0].casefold() not in KEYWORDS | {"(", ")"}:
            name.append(self.rest.pop(0))
        if not name:
            raise self.error(f"a proposition is expected {'before ' + repr(self.rest[0]) if self.rest else 'at the end'}")
        return Formula("atom", name=" ".join(name))


def negation(formula: Formula) -> Formula:
    return Formula("not", (formula,))


def atoms(*formulas: Formula) -> list[str]:
    """The names of all atoms, in the order in which they are first met."""
    found: dict[str, None] = {}
    for formula in formulas:
        found |= dict.fromkeys([formula.name] if formula.operator == "atom" else atoms(*formula.parts))
    return list(found)


def evaluate(formula: Formula, values: Mapping[str, Truth]) -> Truth:
    """In which worlds the formula holds; `values` says the same of its atoms."""
    if formula.operator == "atom":
        return values[formula.name]
    parts = [evaluate(part, values) for part in formula.parts]
    match formula.operator:
        case "not":
            return ~parts[0]
        case "and":
            return np.logical_and.reduce(parts)
        case "or":
            return np.logical_or.reduce(parts)
        case "implies":
            return ~parts[0] | parts[1]
        case _:
            return parts[0] == parts[1]


def truth_table(names: Sequence[str]) -> dict[str, Truth]:
    """Every combination of truth values: for each of n names, in which of 2^n worlds it holds."""
    if len(names) > MOST_ATOMS:
        raise ValueError(f"{len(names)} propositions need a truth table of 2^{len(names)} rows; use at most {MOST_ATOMS}")
    worlds = np.arange(2 ** len(names))
    return {name: (worlds >> place & 1).astype(bool) for place, name in enumerate(names)}


def entails(premises: Sequence[Formula], conclusion: Formula) -> bool:
    """Whether the conclusion holds in every world in which all premises hold, by the truth table."""
    table = truth_table(atoms(*premises, conclusion))
    holds = np.logical_and.reduce([evaluate(premise, table) for premise in premises], initial=True)
    return bool((evaluate(conclusion, table) | ~holds).all())


def entails_by_sympy(premises: Sequence[Formula], conclusion: Formula) -> bool:
    """The same as `entails`, by sympy's solver: the definition that the tests compare with. Needs the extra "tasks"."""
    try:
        from sympy import And, Equivalent, Implies, Not, Or, Symbol
        from sympy.logic.inference import satisfiable
    except ImportError as error:
        raise ImportError("entails_by_sympy needs sympy; install gymformer[tasks], or use entails") from error
    operators = {"not": Not, "and": And, "or": Or, "implies": Implies, "iff": Equivalent}

    def converted(formula: Formula):  # sympy's own types are not annotated
        if formula.operator == "atom":
            return Symbol(formula.name)
        return operators[formula.operator](*map(converted, formula.parts))

    return satisfiable(And(*map(converted, premises), Not(converted(conclusion)))) is False
