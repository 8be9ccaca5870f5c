"""SolutionEnv: a base for environments in which one action is one line of a problem's solution."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from gymformer.data.arithmetic import HELD_OUT_SHARE, Problem
from gymformer.data.problems import Draw, ProblemPool, Split
from gymformer.env.rendering import printable
from gymformer.env.text_env import Dialogue, TextEnv
from gymformer.rewards.answers import is_correct, plain_number
from gymformer.rewards.calculator import splice
from gymformer.rewards.component import RewardComponent, RewardSum

__all__ = ["SolutionEnv", "Source", "as_dialogue"]

MAX_LINES = 20
LONGEST_LINE = 2000  # characters
MOST_TRIES = 100  # to find another example

QUESTION = "Question: "
BOUNDARY = re.compile(r"\n\nQuestion: |\nSolution:\n")
LIKE_A_MARK = re.compile(r"^(?=Question: |Solution:$)", re.MULTILINE)

Source = str | Path | Sequence[Problem] | Draw


class SolutionEnv(TextEnv):
    """Description: a problem, whose solution is written line by line.

    Problems come from a file (`load_problems` says which), or are given or drawn. A subclass says what in a line is the answer
    (`final_answer`). Before the question stand solved examples, of which none is the question.

    Action: a line of the solution, a text; several lines at once are taken one after another; the empty text says that nothing
        more comes. With `calculator`, the environment writes the result of an annotation that lacks it: "48/2 = <<48/2=" is
        continued "24>>". A result that is there stays, right or wrong.
    Observation: a text, the examples, the question, and the lines so far. `dialogue` gives it as chat messages.
    Reward: 1 for the line with the right answer, 0 for all else, also for an equal formula that the question itself has; plus, for
        every line, what `line_rewards` make of the state: "question", "answer" (the right one), "lines" (those so far) and
        "line" (the newest, and the last of them).
    Episode end: `terminated` by the first line with an answer, right or wrong; by the empty action; and after `max_lines` lines,
        for an answer that does not come in time is none.
    Info: "question", "answer", "solution" (the lines so far), "final_answer" (None where there is none yet), "correct",
        "success" (1.0 if correct, else 0.0), "task" (the name of the problems), "difficulty" (where one was asked for), "turn",
        and, where there are `line_rewards`, "reward_terms", what each has paid so far.
    Reset options: "problem" (a Problem, or {"question", "answer"}) to be asked instead of a drawn one; "task", the number of a
        problem in the order of the file; "difficulty", where problems are drawn.

    Arguments:
    data_file: a file of problems, a list of them, or a function that draws them (generator, difficulty) -> Problem; None: the
        problems that come along, `sample`.
    train_data_file: where the examples are taken from; None: from the same.
    n_few_shot_examples: how many. deterministic: the problems come in the order of the file, and the examples are its first
        ones; reset(seed=...) begins again. `train_agent` and `evaluate`, which seed each reset, go on with the next.
    max_samples: only so many problems, the first ones of the file.
    split, test_split: on which side of a split drawn problems are (`ProblemPool`); a file is on one side as a whole.
    seed: of the first reset that brings none of its own.
    """

    sample: str  # the problems that come along
    reset_options = ("difficulty", "problem", "task")

    def __init__(
        self,
        data_file: Source | None = None,
        n_few_shot_examples: int = 5,
        deterministic: bool = False,
        max_samples: int | None = None,
        train_data_file: Source | None = None,
        *,
        calculator: bool = True,
        max_lines: int = MAX_LINES,
        line_rewards: Sequence[RewardComponent] = (),
        system_prompt: str | None = None,
        difficulty: float | None = None,
        split: Split = "train",
        test_split: float = HELD_OUT_SHARE,
        seed: int | None = 42,
        render_mode: str | None = None,
    ):
        if n_few_shot_examples < 0 or max_lines < 1 or (max_samples is not None and max_samples < 1):
            raise ValueError(f"n_few_shot_examples={n_few_shot_examples}, max_lines={max_lines}, max_samples={max_samples}; examples may be 0, "
                             "the others are at least 1")  # fmt: skip
        super().__init__(max_turns=max_lines + 1, max_turn_chars=LONGEST_LINE, render_mode=render_mode)
        data_file = self.sample if data_file is None else data_file
        self.pool = _pool(data_file, split, test_split)
        self.problems = self.pool.problems if self.pool.problems is None else self.pool.problems[:max_samples]
        if self.problems is None and (deterministic or max_samples is not None):
            raise ValueError(f"problems of {self.pool.name} are drawn without end, so they have no order and no first ones; leave out "
                             "deterministic and max_samples, or give a file")  # fmt: skip
        self.examples = _pool(data_file if train_data_file is None else train_data_file, "train", test_split)
        self.n_few_shot_examples, self.deterministic, self.difficulty = n_few_shot_examples, deterministic, difficulty
        self.calculator, self.max_lines, self.line_rewards = calculator, max_lines, RewardSum(line_rewards)
        if system_prompt is not None:
            self.system_prompt = system_prompt
        self.problem = Problem("", "")
        self.lines: list[str] = []
        self.answered: str | None = None
        self.correct = False
        self._shown: list[Problem] = []
        self._terms: dict[str, float] = {}
        self._asked_difficulty: float | None = None  # of this episode
        self._first_seed, self._next = seed, 0

    @abstractmethod
    def final_answer(self, line: str) -> str | None:
        """What a line gives as the answer; None if it gives none."""

    @abstractmethod
    def solved(self, problem: Problem) -> list[str]:
        """The lines of a problem's solution, of which the last gives the answer."""

    @property
    def in_order(self) -> bool:
        """The option "task", a number, says which problem is asked; who resets with a seed each time should give it."""
        return self.deterministic

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        if seed is not None:
            self._next = 0
        observation, info = super().reset(seed=self._first_seed if seed is None else seed, options=options)
        self._first_seed = None
        return observation, info

    def opening(self, options: dict[str, Any]) -> str:
        difficulty = options.get("difficulty", self.difficulty)
        self.problem = self._asked(options, difficulty)
        self._asked_difficulty = None if difficulty is None else float(difficulty)
        self._shown = self._few_shot_examples(difficulty)
        self.lines, self.answered, self.correct = [], None, False
        self._terms = dict.fromkeys((component.name for component in self.line_rewards.components), 0.0)
        return self._observation()

    def answer(self, turn: str) -> tuple[str, float, bool]:
        written = [line.strip() for line in turn.split("\n") if line.strip()]
        reward = sum(self._write(line) for line in written)
        over = not written or self.answered is not None or len(self.lines) >= self.max_lines
        return self._observation(), reward, over

    def facts(self) -> dict[str, Any]:
        facts = {"question": self.problem.question, "answer": self.problem.answer, "solution": "\n".join(self.lines),
                 "final_answer": self.answered, "correct": self.correct, "success": float(self.correct),
                 "task": self.pool.name} | ({} if self._asked_difficulty is None else {"difficulty": self._asked_difficulty})  # fmt: skip
        return facts | ({"reward_terms": dict(self._terms)} if self._terms else {})

    def dialogue(self, observation: str) -> Dialogue:
        return as_dialogue(observation)

    def splice(self, line: str) -> str:
        return splice(line) if self.calculator else ""

    def _write(self, line: str) -> float:
        """A line is written; what it is paid. After the answer, nothing is written."""
        if self.answered is not None or len(self.lines) >= self.max_lines:
            return 0.0
        self.lines.append(self._completed(line))
        self.answered = self.final_answer(self.lines[-1])
        state = {
            "question": self.problem.question,
            "answer": self.problem.answer,
            "lines": list(self.lines),
            "line": self.lines[-1],
        }
        terms = self.line_rewards.terms(state)
        self._terms = {name: self._terms[name] + value for name, value in terms.items()}
        self.correct = self.answered is not None and _is_solved(self.problem, self.answered)
        return self.correct + sum(terms.values())

    def _completed(self, line: str) -> str:
        """The line with the results of annotations that lack them: <<48/2=>>, or <<48/2= at its end."""
        first, *others = line.split("=>>")
        completed = first
        for part in others:
            completed += "="
            completed += (self.splice(completed) or ">>") + part
        return completed + self.splice(completed)

    def _observation(self) -> str:
        shown = [(example.question, "\n".join(self.solved(example))) for example in self._shown]
        blocks = [*shown, (self.problem.question, "".join(f"{line}\n" for line in self.lines))]
        return "\n\n".join(
            f"{QUESTION}{_unmarked(question)}\nSolution:\n{_unmarked(solution)}" for question, solution in blocks
        )

    def _asked(self, options: dict[str, Any], difficulty: float | None) -> Problem:
        match options:
            case {"problem": Problem() as problem}:
                return problem
            case {"problem": {"question": question, "answer": answer}}:
                return Problem(str(question), str(answer))
            case {"problem": problem}:
                raise ValueError(f'options["problem"] is {problem!r}; give a Problem or {{"question": text, "answer": text}}')
        if self.problems is None:
            if "task" in options:
                raise ValueError(f'options["task"] names a problem of a file, but those of {self.pool.name} are drawn')
            return self.pool.draw(self.np_random, difficulty)
        if self.deterministic or "task" in options:
            self._next, number = self._next + 1, int(options.get("task", self._next))
            return self.problems[number % len(self.problems)]
        return self.problems[int(self.np_random.integers(len(self.problems)))]

    def _few_shot_examples(self, difficulty: float | None) -> list[Problem]:
        """Different solved problems, none of which is the one that is asked."""
        if self.deterministic and self.examples.problems is not None:
            candidates = iter(self.examples.problems)
        else:
            candidates = (self.examples.draw(self.np_random, difficulty) for _ in range(self.n_few_shot_examples * MOST_TRIES))
        found: dict[str, Problem] = {}
        while len(found) < self.n_few_shot_examples:
            example = next(candidates, None)
            if example is None:
                raise ValueError(f"n_few_shot_examples={self.n_few_shot_examples}, but {self.examples.name} has only {len(found)} other "
                                 "problems with a worked solution; ask for fewer, or name a train_data_file that has them")  # fmt: skip
            if example.steps and example.question.strip() != self.problem.question.strip():
                found.setdefault(example.question.strip(), example)
        return list(found.values())


def as_dialogue(observation: str) -> Dialogue:
    """[("user", question), ("assistant", solution), …], the last solution as far as it is written."""
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    texts = BOUNDARY.split(observation.removeprefix(QUESTION))
    return [(roles[n % 2], text) for n, text in enumerate(texts)]


def _is_solved(problem: Problem, answer: str) -> bool:
    """Whether the answer is right, and more than a formula of the question: "Simplify √8." is not solved by √8."""
    bare, gold, question = ("".join(text.split()).strip("$") for text in (answer, problem.answer, problem.question))
    if plain_number(answer) is None and bare != gold and bare in question:
        return False
    return is_correct(answer, problem.answer)


def _pool(source: Source, split: Split, share: float) -> ProblemPool:
    drawn = callable(source) or (isinstance(source, str) and Path(source).suffix not in (".json", ".jsonl"))
    return ProblemPool(source, split, share) if drawn else ProblemPool(source, "train", 0.0)


def _unmarked(text: str) -> str:
    """Text of which no line reads like one that separates question and solution, so that `dialogue` finds these again."""
    return LIKE_A_MARK.sub(" ", printable(text))
