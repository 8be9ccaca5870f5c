"""Logic puzzles of reasoning-gym, asked so that every answer is equally frequent, and decided anew from their text."""

import warnings
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

from gymformer.data.logic import Connective, Formula, parse
from gymformer.data.puzzles import ISLAND, KINDS, STREET, Puzzle, Reading, read

__all__ = ["riddle_puzzles"]

Draw = Callable[[np.random.Generator, float | None], tuple[Puzzle, str]]
Entry = dict[str, Any]  # of a data set of reasoning-gym

YES_OR_NO, OR_UNKNOWN = ("yes", "no"), ("yes", "no", "unknown")
OPERATORS = {"¬": " not ", "∧": " and ", "∨": " or ", "→": " only if ", "↔": " if and only if "}
CONNECTIVES: dict[str, Connective] = {"not": "not", "and": "and", "or": "or", "->": "implies", "<=>": "iff"}
CONTRADICTION = {"All": "Some", "Some": "No", "No": "Some", "Some not": "All"}
STREETS = ((3, 2), (3, 3), (4, 3), (4, 4))  # houses and properties, from easy to hard
USUAL = 0.5  # the difficulty where none is given
MOST_TRIES = 1000


def riddle_puzzles(name: str) -> Draw:
    """Draws puzzles and their answers: (generator, difficulty from 0 to 1 or None, which is as 0.5).

    "propositional_logic": 2 to 4 propositions in 2 to 5 formulas; yes, no or unknown.
    "knights_knaves": 2 to 4 people, who all say something; whether one of them is a knight, yes or no.
    "zebra_puzzles": 3 or 4 houses with 2 to 4 properties; who lives in one of them.
    "syllogism": two premises on three kinds; yes, no or unknown. There is one difficulty.

    Raises ValueError for another name, ImportError without the extra "tasks".
    """
    if name not in FAMILIES:
        raise ValueError(f"there are no puzzles {name!r}; there are templates, {', '.join(FAMILIES)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # one of its own dependencies
            import reasoning_gym  # noqa: F401
    except ImportError as error:
        raise ImportError(f"puzzles {name} need reasoning-gym; install gymformer[tasks]") from error
    ask, answers = FAMILIES[name]

    def draw(rng: np.random.Generator, difficulty: float | None = None) -> tuple[Puzzle, str]:
        difficulty = USUAL if difficulty is None else difficulty
        possible = answers(difficulty)
        wanted = possible[int(rng.integers(len(possible)))]
        for _ in range(MOST_TRIES):
            for puzzle in ask(rng, difficulty, wanted):
                if _is_sound(reading := read(puzzle)) and reading.solution() == wanted:
                    return puzzle, wanted
        raise ValueError(
            f"no puzzle {name} with the answer {wanted!r} at difficulty {difficulty} was found in {MOST_TRIES} tries"
        )

    draw.__name__ = name
    return draw


def _is_sound(reading: Reading) -> bool:
    """Its premises do not contradict each other (reasoning-gym's may), and no single one decides it."""
    return bool(reading.possible().any()) and not reading.is_trivial()


def propositional_logic(rng: np.random.Generator, difficulty: float, wanted: str) -> Sequence[Puzzle]:
    """Its formulas in words, and the question whether a proposition holds."""
    propositions, statements = 2 + round(2 * difficulty), 2 + round(3 * difficulty)
    entry = _entry(rng, "propositional_logic", min_vars=propositions, max_vars=propositions, min_statements=statements,
                   max_statements=statements, min_complexity=1, max_complexity=2 + round(difficulty))  # fmt: skip
    premises = tuple(str(_in_words(premise)) for premise in entry["metadata"]["premises"])
    met = [name for name in entry["metadata"]["variables"] if any(name in premise.split() for premise in premises)]
    return [Puzzle(premises, f"Is this true: {met[place]}?", OR_UNKNOWN) for place in rng.permutation(len(met))]


def _in_words(text: str) -> Formula:
    for symbol, words in OPERATORS.items():
        text = text.replace(symbol, words)
    return parse(text)


def knights_knaves(rng: np.random.Generator, difficulty: float, wanted: str) -> Sequence[Puzzle]:
    """What its people say, and the question whether one of them is a knight. There is one solution."""
    data = _entry(rng, "knights_knaves", n_people=2 + round(2 * difficulty))["metadata"]
    names = [str(name) for name in data["names"]]
    premises = tuple(f"{name} says: {_statement(said, names)}" for name, said in zip(names, data["statements"]))
    return [Puzzle(premises, f"Is this true: {names[place]} is a knight?", YES_OR_NO, ISLAND)
            for place in rng.permutation(len(names)) if data["solution"][place] == (wanted == "yes")]  # fmt: skip


def _statement(said: tuple[Any, ...], names: list[str]) -> Formula:
    match said:
        case ("not", ("telling-truth" | "lying" as role, person)):
            return _statement(("lying" if role == "telling-truth" else "telling-truth", person), names)
        case ("telling-truth" | "lying" as role, person):
            return Formula("atom", name=f"{names[person]} is a {'knight' if role == 'telling-truth' else 'knave'}")
        case (operator, *parts):
            return Formula(CONNECTIVES[operator], tuple(_statement(part, names) for part in parts))
    raise TypeError(f"reasoning-gym gave a statement {said!r}, which is not known; it is newer than this module")


def zebra_puzzles(rng: np.random.Generator, difficulty: float, wanted: str) -> Sequence[Puzzle]:
    """Its clues in plain words, and the question who lives in one of the houses. There is one solution."""
    from reasoning_gym.logic.contrib.logic_puzzle.clues import beside, consecutive, found_at, same_house
    from reasoning_gym.logic.contrib.logic_puzzle.generate import generate_puzzle

    houses, properties = _street(difficulty)
    found = generate_puzzle(Random(int(rng.integers(2**31))), houses, properties)[1]

    def label(value: Any) -> str:
        return f"{type(value).__name__} {value.name.replace('_', ' ')}"

    def words(clue: Any) -> str:
        match clue:
            case found_at():
                return f"{label(clue.value)} is in house {clue.house}"
            case same_house():
                return f"{label(clue.value1)} and {label(clue.value2)} are in the same house"
            case consecutive():
                return f"{label(clue.value1)} is directly left of {label(clue.value2)}"
            case beside():
                return f"{label(clue.value1)} and {label(clue.value2)} are next to each other"
        raise TypeError(f"reasoning-gym gave a clue {clue!r}, which is not known; it is newer than this module")

    clues = sorted(map(words, found.clues))
    premises = tuple(clues[place] for place in rng.permutation(len(clues)))
    values = {kind.__name__: sorted(value.name.replace("_", " ") for value in found.literals if isinstance(value, kind))
              for kind in found.element_classes}  # fmt: skip
    rules = STREET.format(houses, ", one ".join(f"{kind} ({', '.join(names)})" for kind, names in values.items()))
    house = {label(value): house for value, house in found.solution.items()}[f"Name {wanted}"]  # type: ignore[union-attr]
    return [Puzzle(premises, f"Which Name is in house {house}?", tuple(values["Name"]), rules)]


def _street(difficulty: float) -> tuple[int, int]:
    return STREETS[round(difficulty * (len(STREETS) - 1))]


def _neighbours(difficulty: float) -> tuple[str, ...]:
    """Who lives in a street: the same names in all streets of a length."""
    from reasoning_gym.logic.contrib.logic_puzzle.literals import Name

    return tuple(name.name for name in sorted(Name)[: _street(difficulty)[0]])


def syllogism(rng: np.random.Generator, difficulty: float, wanted: str) -> Sequence[Puzzle]:
    """Its premises, and its conclusion or, for the answer "no", the contradiction of that."""
    data = _entry(rng, "syllogism", inversion_probability=0.0, invalid_ratio=float(wanted == "unknown"))["metadata"]
    quantifier, one, _, *rest = data["conclusion"].split()
    negated, other = rest[0] == "not", rest[-1]
    if wanted == "no":
        quantifier = CONTRADICTION["Some not" if negated else quantifier]
        negated = data["conclusion"].startswith("All")
    asked = f"{quantifier} {one} are {'not ' if negated else ''}{other}"
    return [Puzzle((data["premise1"], data["premise2"]), f"Is this true: {asked}?", OR_UNKNOWN, KINDS)]


def _entry(rng: np.random.Generator, name: str, **settings: Any) -> Entry:
    from reasoning_gym.factory import DATASETS

    dataset, config = DATASETS[name]
    return dataset(config(seed=int(rng.integers(2**31)), size=1, **settings))[0]


Ask = Callable[[np.random.Generator, float, str], Sequence[Puzzle]]
# How each is asked, and its answers at a difficulty.
FAMILIES: dict[str, tuple[Ask, Callable[[float], tuple[str, ...]]]] = {
    "propositional_logic": (propositional_logic, lambda difficulty: OR_UNKNOWN),
    "knights_knaves": (knights_knaves, lambda difficulty: YES_OR_NO),
    "zebra_puzzles": (zebra_puzzles, _neighbours),
    "syllogism": (syllogism, lambda difficulty: OR_UNKNOWN),
}
