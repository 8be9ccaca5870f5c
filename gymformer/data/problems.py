"""Problems with answers: read from files, or drawn by name and difficulty, on one side of a split."""

import json
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gymformer.data.arithmetic import HELD_OUT_SHARE, Problem, chain_sum, is_held_out
from gymformer.resources import resource
from gymformer.rewards.answers import boxed_answer, hash_answer

__all__ = ["Draw", "ProblemPool", "Split", "chain_sums", "load_problems"]

Draw = Callable[[np.random.Generator, float | None], Problem]  # generator, difficulty in [0, 1] or None for the source's normal
Split = Literal["train", "test"]

MOST_DRAWS = 10_000  # until a problem falls on the side that is wanted
FILES = 8  # whose problems are kept after the first reading
MOST_NAMED = 10  # refused rows that a message describes


class ProblemPool:
    """The problems of one side of the split, to draw from.

    `source`: "chain_sum" (sums, needs nothing else), "reasoning_gym:<name>" (needs the extra "tasks"), the path of a JSON or
    JSON Lines file, a list of problems, or a function of (generator, difficulty). Which side a question is on follows from
    its text alone (`is_held_out`), so that no order, seed, process or copy in another file can move it: about `share` of all
    questions are "test", and none of them is ever drawn for "train".
    """

    def __init__(self, source: str | Path | Sequence[Problem] | Draw, split: Split = "train", share: float = HELD_OUT_SHARE):
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is not known; use "train" or "test"')
        if not 0 <= share < 1 or (share == 0 and split == "test"):
            raise ValueError(
                f"the test split's share is {share}, with split={split!r}; it must lie in [0, 1), and above 0 to test"
            )
        self.split, self.share = split, share
        self.name = str(source) if isinstance(source, str | Path) else getattr(source, "__name__", "the problems given")
        self.problems: list[Problem] | None = None  # None where they are drawn without end
        match source:
            case "chain_sum":
                self._draw: Draw = chain_sums
            case str() if source.startswith("reasoning_gym:"):
                from gymformer.data.riddles import Riddles

                self._draw = Riddles(source.removeprefix("reasoning_gym:"))
            case str() if Path(source).suffix not in (".json", ".jsonl"):
                raise ValueError(f'problems={source!r} is not known; use "chain_sum", "reasoning_gym:<name>" (such as reasoning_gym:gcd), '
                                 "or the path of a .json or .jsonl file")  # fmt: skip
            case str() | Path():
                self._keep(load_problems(source))
            case Sequence():
                self._keep(source)
            case _:
                self._draw = source

    def draw(self, rng: np.random.Generator, difficulty: float | None = None) -> Problem:
        """One problem of this side. A difficulty is a number from 0 to 1; problems from a file have none, and ignore it."""
        if difficulty is not None and not (isinstance(difficulty, int | float | np.number) and 0 <= difficulty <= 1):
            raise ValueError(f"difficulty={difficulty!r}; it is a number from 0 (easiest) to 1, or None for what is normal")
        if self.problems is not None:
            return self.problems[int(rng.integers(len(self.problems)))]
        for _ in range(MOST_DRAWS):
            problem = self._draw(rng, difficulty)
            if self._is_ours(problem):
                return problem
        raise ValueError(f"none of {MOST_DRAWS} problems that {self.name} drew at difficulty {difficulty} is on the side {self.split!r} "
                         f"(share {self.share} held out): there are too few different ones. Raise the difficulty or the share")  # fmt: skip

    def _keep(self, problems: Sequence[Problem]) -> None:
        self.problems = [problem for problem in problems if self._is_ours(problem)]
        if not self.problems:
            raise ValueError(f"none of the {len(problems)} problems of {self.name} is on the side {self.split!r} (share {self.share} "
                             "held out); give more problems or another share")  # fmt: skip

    def _is_ours(self, problem: Problem) -> bool:
        return self.share == 0 or is_held_out(problem.question, self.share) == (self.split == "test")


def chain_sums(rng: np.random.Generator, difficulty: float | None = None) -> Problem:
    """A sum (`chain_sum`): 2 or 3 terms up to 3 at difficulty 0, 6 or 7 terms up to 27 at 1; None is as 0.5, the usual sum."""
    if difficulty is None:
        return chain_sum(rng)
    fewest = 2 + round(4 * difficulty)
    return chain_sum(rng, terms=(fewest, fewest + 1), maximum=round(3 * 9**difficulty))


def load_problems(path: str | Path) -> list[Problem]:
    """The problems of a JSON file (a list of records) or a JSON Lines file (one record a line).

    A record is {"question": text, "answer": text or number}, or {"problem": text, "solution": text or number}; what else it has,
    such as an id, is left out. Where a text marks its answer, by \\boxed{…} or by a line "#### 72", that is the answer, and the
    lines that are not blank are the steps: all of them, or those before the mark ####. A text without a mark is the answer
    itself; a solution of several lines needs one. Raises ValueError that names the rows that are none of this.
    """
    path = resource(path)
    state = path.stat()
    return list(_read(path.absolute(), state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=FILES)  # the environments of a vector read the same file
def _read(path: Path, _changed: int, _size: int) -> tuple[Problem, ...]:
    text = path.read_text(encoding="utf-8-sig")  # a mark of the byte order, which Windows puts in front, is no text
    lines = path.suffix == ".jsonl"
    problems, refused = [], []
    for number, row in enumerate(text.split("\n") if lines else _list_of(text, path), start=1):
        if lines and not row.strip():
            continue
        try:
            problems.append(_problem(json.loads(row) if lines else row))
        except ValueError as error:
            refused.append(f"row {number}: {error}")
    if refused:
        more = [f"and {len(refused) - MOST_NAMED} more"] if len(refused) > MOST_NAMED else []
        raise ValueError(f'{path}: {len(refused)} of {len(refused) + len(problems)} rows are not {{"question": text, "answer": text or '
                         f'number}} or {{"problem": text, "solution": text or number}}: {"; ".join(refused[:MOST_NAMED] + more)}. '
                         "Mend or remove them")  # fmt: skip
    if not problems:
        raise ValueError(f"{path} holds no problem")
    return tuple(problems)


def _list_of(text: str, path: Path) -> list[Any]:
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a JSON {type(rows).__name__}; it must be a list of records (or name JSON Lines .jsonl)")
    return rows


def _problem(row: Any) -> Problem:
    if not isinstance(row, dict):
        raise ValueError(f"it is a {type(row).__name__}")
    asked, answered = ("problem", "solution") if "problem" in row else ("question", "answer")
    question, answer = row.get(asked), row.get(answered)
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"its {asked} is {question!r}")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float) or not str(answer).strip():
        raise ValueError(f"its {answered} is {answer!r}")
    if isinstance(answer, float):
        if not math.isfinite(answer):
            raise ValueError(f"its {answered} is {answer!r}, which is no number")
        answer = format(Decimal(repr(answer)), "f")  # as a person writes it: answers with exponents are no numbers
    text = str(answer).strip()
    if boxed := boxed_answer(text):
        return Problem(question, boxed, _lines(text))
    before, *marked = text.split("####")
    if marked:
        if len(marked) > 1 or (last := hash_answer(text)) is None:
            raise ValueError(
                f"its {answered} has {len(marked)} marks #### and {marked[0].strip()!r} behind the first, not one answer"
            )
        return Problem(question, last, _lines(before))
    if answered == "solution" and "\n" in text:
        raise ValueError("its solution has several lines, and no \\boxed{…} or #### says which of them is the answer")
    return Problem(question, text)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split("\n") if line.strip())
