"""LogicPuzzleEnv: puzzles whose answer follows from all premises and from no single one."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gymformer.curriculum.difficulty import Pace, checked_difficulty
from gymformer.data.puzzle_templates import PuzzleTemplates, load_puzzle_templates, templates_puzzle
from gymformer.data.puzzles import DrawPuzzle, Puzzle, Reading, draw_of_split, read, read_puzzle, solution
from gymformer.env.text_env import TextEnv

__all__ = ["LogicPuzzleEnv", "logic_puzzle_expert", "logic_puzzle_guesser"]

RIGHT = 1.0  # reward for the right solution; a wrong one gets nothing, and both end the episode
# Of a QUERY that is answered. That something is open tells "unknown", which is worth up to 4/15 to who only guesses beside it; to
# who reasons from a hint, it is worth up to 2/3.
HINT_PRICE = 0.2
MISTAKE_PRICE = 0.02  # of a turn that cannot be understood
USUAL = 0.5  # the constant difficulty


class LogicPuzzleEnv(TextEnv):
    """Description: premises and a question, whose answer follows from all of them together and from no single one.

    In words of templates ("If A then B") or, with reasoning-gym, of other kinds (`families`). Which answer follows is decided
    from the text, exactly. In each family every answer is equally frequent, so that a guess is worth the share that it has:
    1/3 where the answers are yes, no and unknown (neither follows). The last line of the observation says what may be answered.

    Action: a turn. "SOLVE <solution>" gives the answer: one of the answers that are listed, and nothing beside it (capitals and
        a full stop at the end do not matter). "QUERY <question>" asks for what follows from the premises about one thing that
        they name; what the question itself is about is not told.
    Observation: a text, at first the puzzle; then what a query is answered, "Not Wet." or "Nothing follows about Wet.", or what was
        not understood.
    Reward: 1 for the right solution, 0 for a wrong one; -0.2 for a query that is answered; -0.02 for any other turn.
    Episode end: `terminated` by the first solution, right or wrong; and after `max_steps` turns, for a solution that does not
        come in time is none.
    Info: "task" (the family), "difficulty", "answer" (the right one), "success" (1.0 if solved, else 0.0), "hints" (queries that
        were answered), "turn".
    Reset options: "difficulty", from 0 to 1: longer chains, more propositions and premises, more people and houses; "family", one
        of `families`; "puzzle", a `Puzzle` to be asked instead of a drawn one.
    Rendering: "ansi", the dialogue so far.

    Arguments:
    use_curriculum: where the options name no difficulty, it begins at `difficulty` (None: 0) and follows success (`Pace` has the
        rule). Episodes that were abandoned, or whose difficulty or puzzle was given, do not count. `reset(seed=...)` leaves it as
        it is. If False, it is constant (None: 0.5).
    max_steps: turns.
    families: "templates" needs nothing else; "propositional_logic", "knights_knaves", "zebra_puzzles" and "syllogism" come from
        reasoning-gym (the extra "tasks"). Each is drawn equally often.
    task_templates_path: a YAML file whose section `logic_puzzle` has `templates` and `variables` (`load_puzzle_templates`).
    split: "train" or "test", a tenth of all puzzles, which are on that side by what they say (`draw_of_split`): what is drawn for
        the one is never drawn for the other.
    """

    default_model = "models/speaker"
    system_prompt = "Solve the puzzle. Say SOLVE and the answer, or QUERY and a name for a hint."
    reset_options = ("difficulty", "family", "puzzle")

    def __init__(
        self,
        use_curriculum: bool = True,
        max_steps: int = 10,
        *,
        families: Sequence[str] = ("templates",),
        task_templates_path: str | Path | None = None,
        difficulty: float | None = None,
        split: Literal["train", "test"] = "train",
        render_mode: str | None = None,
    ):
        super().__init__(max_turns=max_steps, render_mode=render_mode)
        if isinstance(families, str) or not families:
            raise ValueError(f'families={families!r}; give a list of at least one, such as ["templates"]')
        templates = PuzzleTemplates() if task_templates_path is None else load_puzzle_templates(task_templates_path)
        self.families: dict[str, DrawPuzzle] = {name: _family(name, templates) for name in families}
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is not known; use "train" or "test"')
        self.use_curriculum = use_curriculum
        self.split: Literal["train", "test"] = split
        usual = 0.0 if use_curriculum else USUAL
        self.pace = Pace(usual if difficulty is None else checked_difficulty(difficulty))
        self._facts: dict[str, Any] = {}
        self._counts = False  # this episode, for the curriculum
        self._question: Reading

    def opening(self, options: dict[str, Any]) -> str:
        family, difficulty = options.get("family"), checked_difficulty(options.get("difficulty", self.pace.difficulty))
        self._counts = self.use_curriculum and not {"difficulty", "puzzle"} & options.keys()
        match options.get("puzzle"):
            case None:
                family = list(self.families)[int(self.np_random.integers(len(self.families)))] if family is None else family
                if family not in self.families:
                    raise ValueError(
                        f'options["family"] is {family!r}; this environment has {", ".join(self.families)} (families=...)'
                    )
                puzzle, answer = draw_of_split(self.families[family], self.split, self.np_random, difficulty)
            case Puzzle() as puzzle:
                family, answer = "given", solution(puzzle)
            case other:
                raise ValueError(f'options["puzzle"] is {other!r}; give a Puzzle (gymformer.data.puzzles)')
        self._question = read(puzzle)
        self._facts = {"task": family, "difficulty": difficulty, "answer": answer, "success": 0.0, "hints": 0}
        return str(puzzle)

    def answer(self, turn: str) -> tuple[str, float, bool]:
        over = self.turn >= self.max_turns
        match turn.split(maxsplit=1):
            case [command, given] if command.upper() == "SOLVE":
                solved = given.strip().removesuffix(".").casefold() == self._facts["answer"].casefold()
                self._facts["success"], over = float(solved), True
                reply, reward = "Right." if solved else "Wrong.", RIGHT * solved
            case [command, question] if command.upper() == "QUERY":
                reply, reward = self._hint(question)
            case _:
                reply, reward = "Say SOLVE and an answer, or QUERY and a name.", -MISTAKE_PRICE
        if over and self._counts:
            self.pace.observe(self._facts["success"])
        return reply, reward, over

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)

    def _hint(self, question: str) -> tuple[str, float]:
        """What follows about the one thing that a question names, at its price."""
        subjects = {subject.casefold(): subject for subject in self._question.relations}
        longest_first = "|".join(map(re.escape, sorted(subjects, key=len, reverse=True)))
        named = set(re.findall(rf"(?<!\w)(?:{longest_first})(?!\w)", question.casefold()))
        if len(named) != 1:
            tellable = [subject for subject in self._question.relations if subject not in self._question.asked]
            return f"Name one of: {', '.join(tellable)}.", -MISTAKE_PRICE
        subject = subjects[named.pop()]
        if subject in self._question.asked:
            return f"{subject} is what you are asked about.", -MISTAKE_PRICE
        self._facts["hints"] += 1
        return self._question.derived(subject), -HINT_PRICE


def logic_puzzle_expert(observation: str) -> str:
    """Solves a puzzle from its text alone, as the first and only turn."""
    return f"SOLVE {solution(read_puzzle(observation))}"


def logic_puzzle_guesser(rng: np.random.Generator) -> Callable[[str], str]:
    """A player that knows how to write a solution, and gives any of the answers that are listed."""

    def guess(observation: str) -> str:
        answers = read_puzzle(observation).answers
        return f"SOLVE {answers[int(rng.integers(len(answers)))]}"

    return guess


def _family(name: str, templates: PuzzleTemplates) -> DrawPuzzle:
    if name == "templates":
        return partial(templates_puzzle, source=templates)
    from gymformer.data.riddle_puzzles import riddle_puzzles

    return riddle_puzzles(name)
