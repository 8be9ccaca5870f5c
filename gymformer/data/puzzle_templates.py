"""Logic puzzles written from templates such as "If A then B"."""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from gymformer.data.logic import Formula, Truth, atoms, evaluate, parse
from gymformer.data.puzzles import Puzzle, read
from gymformer.data.task_file import TaskFile

__all__ = ["ANSWERS", "PuzzleTemplates", "load_puzzle_templates", "templates_puzzle"]

ANSWERS = ("yes", "no", "unknown")
TEMPLATES = (
    "If A then B",
    "If A then not B",
    "If not A then B",
    "A or B",
    "A if and only if B",
    "Either A or B but not both",
    "Not both A and B",
    "If A and B then C",
    "If A or B then C",
)
VARIABLES = (
    ("Raining", "Wet", "Cold", "Windy"),
    ("Hungry", "Tired", "Happy", "Angry"),
    ("Open", "Full", "Locked", "Clean"),
    ("Red", "Round", "Heavy", "Sweet"),
    ("Early", "Loud", "Dark", "Busy"),
)
USUAL = 0.5  # the difficulty where none is given
RELATED = 0.7  # the share of distractors that relate something to what is asked; the others are facts
MOST_TRIES = 1000
EXAMPLE = 'logic_puzzle: {templates: ["If A then B"], variables: [["Raining", "Wet"]]}'


@dataclass(frozen=True, slots=True)
class PuzzleTemplates:
    """templates: statements about A, B and C that relate these. variables: groups of propositions that belong together."""

    templates: tuple[str, ...] = TEMPLATES
    variables: tuple[tuple[str, ...], ...] = VARIABLES

    def __post_init__(self):
        for template in self.templates:
            check_template(template)
        for name in (name for group in self.variables for name in group):
            check_name(name)
        names = {name.casefold() for group in self.variables for name in group}
        if not self.templates or len(names) < 2:
            raise ValueError(
                f"{len(self.templates)} templates and {len(names)} different variables; a puzzle needs 1 and 2 at least"
            )


def templates_puzzle(
    rng: np.random.Generator, difficulty: float | None = None, source: PuzzleTemplates | None = None
) -> tuple[Puzzle, str]:
    """A puzzle and its answer: a fact, a chain of statements that leads from it to what is asked, and distractors.

    Each statement of the chain is needed, so that the answer follows from all premises and from no single one. "yes", "no" and
    "unknown" are equally frequent; for the last, one statement of the chain is one that does not lead on. The chain has 1
    statement at difficulty 0 and 5 at 1, beside which there are 0 to 3 distractors; None is as 0.5. Fewer, where there are not
    enough variables.
    """
    source = source or PuzzleTemplates()
    difficulty = USUAL if difficulty is None else difficulty
    answer = ANSWERS[int(rng.integers(len(ANSWERS)))]
    for _ in range(MOST_TRIES):
        names = _names(rng, source.variables, most=2 + round(4 * difficulty) + round(3 * difficulty))
        links = min(1 + round(4 * difficulty), len(names) - 1)
        written = _Writer(rng, source.templates).premises(names[: links + 1], names[links + 1 :], answer)
        if written is None:
            continue
        order, question = rng.permutation(len(written)), f"Is this true: {names[links]}?"
        puzzle = Puzzle(tuple(written[place] for place in order), question, ANSWERS)
        reading = read(puzzle)
        if not reading.is_trivial() and reading.solution() == answer and _needs(puzzle, written[: links + 1], answer):
            return puzzle, answer
    raise ValueError(f"no puzzle with the answer {answer!r} was found in {MOST_TRIES} tries with the templates "
                     f'{", ".join(source.templates)}; add others, such as "If A then B" and "If not A then B"')  # fmt: skip


def _needs(puzzle: Puzzle, chain: list[str], answer: str) -> bool:
    """Without any one statement of the chain, "yes" or "no" does not follow."""
    without = (tuple(premise for premise in puzzle.premises if premise != left_out) for left_out in chain)
    return answer == "unknown" or all(
        read(Puzzle(premises, puzzle.question, ANSWERS)).solution() == "unknown" for premises in without
    )


def _names(rng: np.random.Generator, groups: tuple[tuple[str, ...], ...], most: int) -> list[str]:
    """Different variables, of as few groups as have enough."""
    found: dict[str, str] = {}
    for number in rng.permutation(len(groups)):
        for name in rng.permutation(np.array(groups[number], dtype=object)):
            if len(found) < most:
                found.setdefault(name.casefold(), name)
    return list(found.values())


class _Writer:
    """Premises that are all true in one world, which is chosen as they are written."""

    def __init__(self, rng: np.random.Generator, templates: tuple[str, ...]):
        self.rng, self.templates = rng, templates
        self.world: dict[str, bool] = {}

    def premises(self, chain: list[str], others: list[str], answer: str) -> list[str] | None:
        """The fact and the links of the chain, then the distractors; None if no template fits the values that came up."""
        written = [self.fact(chain[0])]
        broken = int(self.rng.integers(1, len(chain))) if answer == "unknown" else None
        for place in range(1, len(chain)):
            wanted = {"yes": True, "no": False}.get(answer) if place == len(chain) - 1 else None
            link = self.statement(chain[place], chain[place - 1], place != broken, wanted)
            if link is None:
                return None
            written.append(link)
        for name in others:
            leads_on = bool(self.rng.integers(2))
            placed = list(self.world)
            anchor = placed[int(self.rng.integers(len(placed)))]
            related = self.statement(name, anchor, leads_on, None) if self.rng.random() < RELATED else None
            written.append(related or self.fact(name))
        return written

    def fact(self, name: str) -> str:
        self.world[name] = bool(self.rng.integers(2))
        return name if self.world[name] else f"Not {name}"

    def statement(self, new: str, anchor: str, leads_on: bool, wanted: bool | None) -> str | None:
        """One about `new`, `anchor` and perhaps another, which decides `new` (not without `anchor`), or leaves it open."""
        values = [bool(value) for value in self.rng.permutation(2)] if wanted is None else [wanted]
        others = [name for name in self.world if name != anchor]
        for number in self.rng.permutation(len(self.templates)):
            template = self.templates[number]
            roles = [(role, value) for role in _roles(template) for value in values]
            for place in self.rng.permutation(len(roles)):
                (new_letter, anchor_letter, *rest), value = roles[place]
                if len(rest) > len(others):
                    continue
                more = [others[int(i)] for i in self.rng.choice(len(others), size=len(rest), replace=False)] if rest else []
                names = {new_letter: new, anchor_letter: anchor} | dict(zip(rest, more))
                known = {letter: self.world[name] for letter, name in names.items() if name != new}
                if _holds(template, known | {new_letter: value}) and leads_on == _decides(
                    template, known, new_letter, anchor_letter, value
                ):
                    self.world[new] = value
                    return " ".join(_filled(word, names) for word in template.split())
        return None


def _filled(word: str, names: dict[str, str]) -> str:
    letter = word.strip("(),")
    return word.replace(letter, names.get(letter, letter))


@cache
def _formula(template: str) -> Formula:
    return parse(template)


def _holds(template: str, values: dict[str, bool]) -> bool:
    worlds: dict[str, Truth] = {letter: np.array([value]) for letter, value in values.items()}
    return bool(evaluate(_formula(template), worlds)[0])


def _decides(template: str, known: dict[str, bool], new: str, anchor: str, value: bool) -> bool:
    """The template says that `new` has its value given what is known, and says nothing of it without `anchor`."""
    other = {new: not value}
    return not _holds(template, known | other) and _holds(template, known | other | {anchor: not known[anchor]})


@cache
def _roles(template: str) -> list[tuple[str, ...]]:
    """Letters in orders (a new one, the one it is derived from, the rest) such that the template alone says nothing of the
    rest, whatever they are, and sometimes decides the new one."""
    letters = atoms(_formula(template))
    orders = []
    for order in permutations(letters):
        worlds = [dict(zip(order[1:], values)) for values in product([False, True], repeat=len(order) - 1)]
        options = [{_holds(template, world | {order[0]: value}) for value in (False, True)} for world in worlds]
        if all(True in option for option in options) and any(False in option for option in options):
            orders.append(order)
    return orders


def check_template(text: str) -> None:
    """Raises ValueError unless `text` relates two or three propositions, called A, B, C or by other capitals."""
    letters = atoms(parse(text))
    wrong = [letter for letter in letters if len(letter) != 1 or not letter.isascii() or not letter.isupper()]
    if wrong:
        raise ValueError(f"{text!r} names {wrong[0]!r}; a template's propositions are single capitals, as in 'If A then B'")
    if not 2 <= len(letters) <= 3:
        raise ValueError(
            f"{text!r} has {len(letters)} different propositions; a template relates 2 or 3, as 'If A then B' does"
        )
    if not _roles(text):
        raise ValueError(
            f"{text!r} says what is so by itself, or nothing; a template relates propositions, as 'If A then B' does"
        )


def check_name(text: str) -> None:
    """Raises ValueError unless `text` can stand for a proposition, whatever sentence it is put into."""
    if not text.isprintable() or any(mark in text for mark in ".:?,()\n") or parse(text) != Formula("atom", name=text):
        raise ValueError(
            f"{text!r} is no name of a proposition; use words without if, then, or, and, not, brackets or full stops"
        )


def load_puzzle_templates(path: str | Path) -> PuzzleTemplates:
    """The section `logic_puzzle` of a YAML file: {templates: ["If A then B", …], variables: [["Raining", "Wet"], …]}.

    What a list lacks comes from the default; other sections are left alone. Nothing in the file can name something to import.
    Raises ValueError with the lines of all that is wrong, FileNotFoundError.
    """
    file, content = TaskFile(path), dict[str, Any]()
    section = file.section("logic_puzzle", EXAMPLE)
    for key, node in file.entries(section, "logic_puzzle") if section else ():
        if key == "templates":
            content[key] = tuple(file.text(item, check_template) for item in file.items(node, key))
        elif key == "variables":
            content[key] = tuple(
                tuple(file.text(name, check_name) for name in file.items(group, "a group of variables"))
                for group in file.items(node, key)
            )
        else:
            file.refuse(node, f"logic_puzzle has no {key!r}; it has templates and variables")
    file.require_sound()
    try:
        return PuzzleTemplates(**content)
    except ValueError as error:
        raise ValueError(f"{file.path}, line {section.start_mark.line + 1 if section else 1}: {error}") from error
