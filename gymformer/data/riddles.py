"""Problems that reasoning-gym generates, with its verifiers made strict."""

import difflib
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gymformer.data.arithmetic import Problem
from gymformer.rewards.answers import is_correct

__all__ = ["CheckedProblem", "Riddles"]

# Where the package keeps a right answer: `answer`, or one of these entries of its metadata.
ANSWERS = ("example_answer", "example_correct_answer", "possible_answer")
# Their verifiers evaluate an answer as code, which nobody may do with what a model wrote.
EVALUATED = frozenset({"binary_matrix", "intermediate_integration", "polynomial_multiplication", "simple_integration",
                       "spiral_matrix", "string_insertion"})  # fmt: skip
EVALUATED_WITHOUT_ONE_ANSWER = frozenset({"countdown", "n_queens", "puzzle24"})
# Their questions hold what equals the answer and is to be written otherwise: comparison alone would pay for repeating it.
AS_WRITTEN = frozenset({"fraction_simplification"})
MULTIPLIED_OUT = frozenset({"polynomial_multiplication"})
EXPONENT = re.compile(r"\^\s*\{\s*\d+\s*\}")
ONE_WORD = re.compile(r"[\w+./-]{1,60}")
LONGEST = 200  # characters of an answer, or four times as many as the right one has


@dataclass(frozen=True, slots=True)
class CheckedProblem(Problem):
    """A problem with several right answers: `accepts` knows all of them, `answer` is one."""

    accepts: Callable[[str], bool] = field(default=lambda answer: False, compare=False, repr=False)


class Riddles:
    """Draws problems of one of reasoning-gym's data sets: `riddles(rng, difficulty)`.

    A difficulty sets every attribute of the data set's curriculum to that part of its levels; None is its configuration by
    default. The package's verifiers give a little for nonsense: only what scores fully is accepted, and an answer that is a
    number or a word is left to comparison.

    Raises ImportError without the extra "tasks", ValueError for an unknown name, and for the three whose answers could only
    be checked by evaluating them.
    """

    def __init__(self, name: str):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # one of its own dependencies
                from reasoning_gym.factory import DATASETS
        except ImportError as error:
            raise ImportError(f"reasoning_gym:{name} needs reasoning-gym; install gymformer[tasks]") from error
        if name not in DATASETS:
            near = difflib.get_close_matches(name, DATASETS) or sorted(DATASETS)[:5]
            raise ValueError(f"reasoning-gym has no data set {name!r}; did you mean {', '.join(near)}?")
        if name in EVALUATED_WITHOUT_ONE_ANSWER:
            raise ValueError(f"reasoning-gym checks answers to {name} by evaluating them as code, which is not done with what a model "
                             "wrote; choose another data set")  # fmt: skip
        self.name, self.__name__ = name, f"reasoning_gym:{name}"
        self._dataset, self._config = DATASETS[name]
        self._configs: dict[float | None, Any] = {None: self._config()}

    def __call__(self, rng: np.random.Generator, difficulty: float | None = None) -> Problem:
        try:
            config = replace(self._config_at(difficulty), seed=int(rng.integers(2**31)), size=1)
            dataset = self._dataset(config)
        except AssertionError as error:  # how its configurations say no
            raise ValueError(f"reasoning-gym has no {self.name} at difficulty {difficulty}: {error}") from error
        entry = dataset[0]
        answers = [entry["answer"], *(entry["metadata"].get(key) for key in ANSWERS)]
        answer = next((found for found in answers if found), None)
        if answer is None:
            raise ValueError(f"reasoning-gym gives no answer with the problems of {self.name}; choose another data set")
        text = answer if isinstance(answer, str) else json.dumps(answer)
        if self.name in MULTIPLIED_OUT:
            return CheckedProblem(entry["question"], text, accepts=partial(is_multiplied_out, text))
        if self.name in EVALUATED or (ONE_WORD.fullmatch(text) and self.name not in AS_WRITTEN):
            return Problem(entry["question"], text)
        return CheckedProblem(entry["question"], text, accepts=partial(scores_fully, dataset, entry, len(text)))

    def _config_at(self, difficulty: float | None) -> Any:
        """The configuration of the data set at a difficulty."""
        from reasoning_gym.factory import create_curriculum, has_curriculum

        if difficulty is not None:
            difficulty = round(difficulty, 2)  # finer than any curriculum's levels, and a bound for what is kept
        if difficulty is not None and difficulty not in self._configs:
            if not has_curriculum(self.name):
                raise ValueError(f"reasoning-gym's {self.name} comes in one difficulty only; leave difficulty at None")
            curriculum = create_curriculum(self.name)
            for attribute in curriculum.attributes.values():
                curriculum.set_attr_level(attribute.name, round(difficulty * (len(attribute.levels) - 1)))
            self._configs[difficulty] = curriculum.generate_configuration()
        return self._configs[difficulty]


def is_multiplied_out(gold: str, answer: str) -> bool:
    """Whether `answer` equals `gold` and has no brackets left."""
    return not set("()[]{}") & set(EXPONENT.sub("", answer)) and is_correct(answer, gold)


def scores_fully(dataset: Any, entry: dict[str, Any], length: int, answer: str) -> bool:
    """Whether reasoning-gym's verifier gives all it has to give. A verifier that stumbles over a text has not accepted it."""
    if len(answer) > max(LONGEST, 4 * length):
        return False
    try:
        return bool(dataset.score_answer(answer, entry) >= 1.0)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError):
        return False
