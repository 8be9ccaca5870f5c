"""CurriculumGenerator: which task comes next, and how difficult it is, by how the last ones went."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gymformer.curriculum.difficulty import Pace, success_of
from gymformer.curriculum.progress import Point, Progress, as_table
from gymformer.data.puzzle_templates import PuzzleTemplates, load_puzzle_templates, templates_puzzle
from gymformer.data.puzzles import draw_of_split
from gymformer.data.scenarios import load_dialogue_scenarios
from gymformer.data.task_file import TaskFile

if TYPE_CHECKING:
    from gymformer.monitoring.curves import Chart

__all__ = ["Asked", "CurriculumGenerator"]

TASKS_FILE = "tasks.yaml"
RECENT = 20  # episodes of a task, by which it is selected
LEAST = 0.2  # share of the episodes that all tasks get alike
SCENARIOS = (
    {"type": "question-answering", "context": "Opening hours of a library"},
    {"type": "negotiation", "context": "Salary discussion"},
    {"type": "debate", "context": "School uniforms"},
)
ALONE = "all"  # the name of the only task, where none are named

Range = tuple[float, float]  # what an attribute is at difficulty 0, and at 1


class Asked(dict[str, Any]):
    """The options of a reset, and for what the outcome of its episode counts."""

    def __init__(self, options: Mapping[str, Any], task: str, attribute: str | None, level: float):
        super().__init__(options)
        self.task, self.attribute, self.level = task, attribute, level


class Ended(Protocol):
    """What the generator reads of an episode; `rl.segment.Segment` is one."""

    options: dict[str, Any]
    info: dict[str, Any]
    episode_return: float | None  # None where it goes on
    terminated: bool  # by the environment; otherwise it was cut off


class CurriculumGenerator:
    """Chooses the options of each next reset, and learns from how its episodes went: `train_agent(curriculum=...)`, or with a loop
    of one's own `env.reset(options=generator.options())` and `generator.observe(segments)`.

    Success. An episode's is `success_of` its last info, a number from 0 to 1. Where that says nothing, and a `goal` is given, it is
    1 if the return was at least the goal, else 0; without a goal it is 0 where the episode was cut off, and where it came
    to its end ValueError is raised, for nothing is guessed.

    Difficulty. Each attribute of each task has a level of its own, from 0 to 1, which follows success by the rule of `Pace`: up by
    0.1 after at least 10 episodes with a mean success of at least 0.8, down below 0.5. An attribute with the range (a, b) is asked
    for as a + level · (b - a), rounded where a and b are whole numbers more than 1 apart. Where a task has several, each episode asks for one of
    them, drawn, at its level, and counts for this one; of the others each is drawn evenly between easiest and its level (automatic
    domain randomization, arXiv:1910.07113, section 5). What counts are episodes at the level that is current when they end.

    Selection. With p_k = (s_k + 1) / (n_k + 2), the success of task k in its last n_k ≤ 20 episodes by Laplace's rule, the next
    task is k with probability

        P(k) = 0.2 / K + 0.8 · p_k (1 - p_k) / Σ_j p_j (1 - p_j).

    p (1 - p) is the variance of success, which is what a policy gradient has to go by: nothing where a task always
    succeeds or always fails (arXiv:2408.15099 selects by it).

    initial_difficulty: the level of every attribute at the start.
    task_templates_path: a YAML file with the sections `logic_puzzle` and `dialogue` (`load_puzzle_templates`,
        `load_dialogue_scenarios`), which is read and checked as a whole. The default need not exist: then what is built in
        serves. Any other that is missing raises FileNotFoundError.
    tasks: their names, or a mapping of name -> reset options. An option that is a tuple of two numbers is an attribute's range,
        as in {"zebra": {"family": "zebra_puzzles"}, "walk": {"length": (5, 50)}}. Of names, "logic_puzzle" makes puzzles of the
        templates, on the training side of their split (the option "puzzle", of LogicPuzzle-v0); "dialogue" is a task for each
        scenario (the option "scenario", {"type", "context"}, of Dialogue-v0); any other is the option "task" (of a `Mixture`).
        None: the sections of the file, where there is one; else a single task that leaves all but the attributes to the
        environment.
    attributes: name -> (easiest, hardest) of what every task has; by default the option "difficulty" that our environments know.
    goal: the return that is a success where the infos do not tell. seed: of all draws.
    """

    def __init__(
        self,
        initial_difficulty: float = 0.1,
        task_templates_path: str | Path = TASKS_FILE,
        *,
        tasks: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
        attributes: Mapping[str, Range] | None = None,
        goal: float | None = None,
        seed: int = 0,
    ):
        attributes = {"difficulty": (0.0, 1.0)} if attributes is None else attributes
        templates, scenarios, sections = _contents(task_templates_path)
        self.goal = goal
        self._rng = np.random.default_rng(seed)
        self._fixed: dict[str, dict[str, Any]] = {}  # task -> options that stay
        self._made: dict[str, Callable[[float], dict[str, Any]]] = {}  # task -> options that are made at a difficulty
        self._ranges: dict[str, dict[str, Range]] = {}
        if isinstance(tasks, str):
            raise TypeError(f'tasks={tasks!r} is a text; give a list of names, such as ["{tasks}"]')
        tasks = sections if tasks is None else tasks
        for name in tasks or [ALONE]:
            if isinstance(tasks, Mapping):
                self._add(name, tasks[name], attributes)
            elif name == "logic_puzzle":
                self._add(name, {}, attributes)
                self._made[name] = partial(self._puzzle, templates)
            elif name == "dialogue":
                for one in scenarios:
                    self._add(f"{one['type']}: {one['context']}", {"scenario": one}, attributes)
            else:
                self._add(name, {"task": name} if tasks else {}, attributes)
        self.paces = {
            task: {attribute: Pace(initial_difficulty) for attribute in ranges} for task, ranges in self._ranges.items()
        }
        self._recent: dict[str, deque[float]] = {task: deque(maxlen=RECENT) for task in self._fixed}
        self.progress = {task: Progress() for task in self._fixed}

    @property
    def tasks(self) -> list[str]:
        return list(self._fixed)

    def difficulty(self, task: str) -> float:
        """From 0 to 1: the mean level of the task's attributes (0 where it has none)."""
        levels = [pace.difficulty for pace in self.paces[task].values()]
        return float(np.mean(levels)) if levels else 0.0

    def chances(self) -> dict[str, float]:
        """P(k), the probability of each task to be the next."""
        p = np.array([(sum(recent) + 1) / (len(recent) + 2) for recent in self._recent.values()])
        spread = p * (1 - p)
        return dict(zip(self._fixed, (LEAST / len(p) + (1 - LEAST) * spread / spread.sum()).tolist(), strict=True))

    def options(self) -> Asked:
        """Those of the next reset: of a task that is drawn."""
        chances = self.chances()
        return self.generate(str(self._rng.choice(list(chances), p=list(chances.values()))))

    def generate(self, task: str) -> Asked:
        """The options of a reset for this task, at its difficulty."""
        if task not in self._fixed:
            raise ValueError(f"there is no task {task!r}; there are {', '.join(self._fixed)}")
        levels = {attribute: pace.difficulty for attribute, pace in self.paces[task].items()}
        tried = str(self._rng.choice(list(levels))) if levels else None
        level = 0.0 if tried is None else levels[tried]
        asked = {name: at if name == tried else float(self._rng.uniform(0, at)) for name, at in levels.items()}
        values = {name: _at(self._ranges[task][name], at) for name, at in asked.items()}
        difficulty = values.get(
            "difficulty", float(np.mean(list(asked.values()) or [0.0]))
        )  # as the options say, where they do
        made = self._made[task](difficulty) if task in self._made else {}
        return Asked({**self._fixed[task], **made, **values}, task, tried, level)

    def observe(self, segments: Iterable[Ended]) -> dict[str, float]:
        """Takes notice of the episodes that ended, of those that `options` asked for. Returns of every task its difficulty, as
        "curriculum/TASK", and where there are several its probability, "chance/TASK"."""
        successes: dict[tuple[str, str | None, float], list[float]] = {}
        for segment in segments:
            if segment.episode_return is not None and isinstance(asked := segment.options, Asked):
                successes.setdefault((asked.task, asked.attribute, asked.level), []).append(self._success(segment))
        of_task: dict[str, list[float]] = {}
        for (task, attribute, level), some in successes.items():
            of_task.setdefault(task, []).extend(some)
            if attribute is not None and level == (pace := self.paces[task][attribute]).difficulty:
                pace.observe(*some)
        for task, some in of_task.items():
            self._recent[task].extend(some)
            self.progress[task].add(len(some), float(np.mean(some)), self.difficulty(task))
        told = {f"curriculum/{task}": self.difficulty(task) for task in self._fixed}
        return told | ({f"chance/{task}": chance for task, chance in self.chances().items()} if len(told) > 1 else {})

    def summary(self) -> dict[str, dict[str, Any]]:
        """Of each task: `Progress.summary`, its chance, and the levels of its attributes."""
        chances = self.chances()
        return {
            task: {**progress.summary(), "difficulty": self.difficulty(task), "chance": chances[task],
                   "levels": {name: pace.difficulty for name, pace in self.paces[task].items()}}
            for task, progress in self.progress.items()
        }  # fmt: skip

    def __str__(self) -> str:
        """The summary as a table, one line for each task."""
        return as_table(self.summary())

    def plot(self, path: str | Path | None = None) -> "Chart":
        """Difficulty and success of each task over its episodes; a notebook shows it by itself. With `path`, also written there."""
        from gymformer.monitoring.curves import plot_progress

        chart = plot_progress({task: [(p.episodes, p.difficulty, p.success) for p in progress.points]
                               for task, progress in self.progress.items()})  # fmt: skip
        if path is not None:
            chart.savefig(path)
        return chart

    def state_dict(self) -> dict[str, Any]:
        """All that it has learned and the state of its draws, as JSON values."""
        return {
            "rng": self._rng.bit_generator.state,
            "tasks": {
                task: {"paces": {name: [pace.difficulty, pace.waiting] for name, pace in self.paces[task].items()},
                       "recent": list(self._recent[task]), "progress": [list(point) for point in self.progress[task].points]}
                for task in self._fixed
            },
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on as the generator would have that gave the state. Raises ValueError if its tasks or attributes were others."""
        theirs = {task: list(one["paces"]) for task, one in state["tasks"].items()}
        ours = {task: list(paces) for task, paces in self.paces.items()}
        if theirs != ours:
            raise ValueError(
                f"the state is of the tasks {theirs}, but this generator has {ours}; make it with the same tasks and attributes"
            )
        self._rng.bit_generator.state = state["rng"]
        for task, one in state["tasks"].items():
            for name, (difficulty, waiting) in one["paces"].items():
                self.paces[task][name].difficulty, self.paces[task][name].waiting = difficulty, list(waiting)
            self._recent[task] = deque(one["recent"], maxlen=RECENT)
            self.progress[task] = Progress([Point(*point) for point in one["progress"]])

    def _add(self, task: str, options: Mapping[str, Any], attributes: Mapping[str, Range]) -> None:
        own = {name: value for name, value in options.items() if _is_range(value)}
        self._fixed[task] = {name: value for name, value in options.items() if name not in own}
        self._ranges[task] = {name: value for name, value in (dict(attributes) | own).items() if name not in self._fixed[task]}
        if wrong := [name for name, value in self._ranges[task].items() if not _is_range(value)]:
            raise ValueError(f"the attribute {wrong[0]!r} is {attributes[wrong[0]]!r}; give (easiest, hardest), two numbers")

    def _puzzle(self, templates: PuzzleTemplates, difficulty: float) -> dict[str, Any]:
        puzzle, _ = draw_of_split(partial(templates_puzzle, source=templates), "train", self._rng, difficulty)
        return {"puzzle": puzzle}

    def _success(self, segment: Ended) -> float:
        told = success_of(segment.info)
        if told is not None:
            return told
        if self.goal is not None:
            return float((segment.episode_return or 0.0) >= self.goal)
        if segment.terminated:
            raise ValueError('the last info of an episode tells neither "success" nor "is_success"; let the environment tell it, or give '
                             "CurriculumGenerator(goal=...), the return from which on an episode is a success")  # fmt: skip
        return 0.0


def _contents(path: str | Path) -> tuple[PuzzleTemplates, Sequence[dict[str, str]], list[str]]:
    """Templates, scenarios, and the sections that the file has; what it lacks is built in."""
    if str(path) == TASKS_FILE and not Path(path).exists():
        return PuzzleTemplates(), SCENARIOS, []
    file = TaskFile(path)
    file.require_sound()
    known = [name for name in ("logic_puzzle", "dialogue") if name in file.sections]
    if unknown := [name for name in file.sections if name not in known]:
        line = file.sections[unknown[0]].start_mark.line + 1
        raise ValueError(f"{file.path}, line {line}: there is no section {unknown[0]!r}; there are logic_puzzle and dialogue")
    templates = load_puzzle_templates(path) if "logic_puzzle" in known else PuzzleTemplates()
    return templates, load_dialogue_scenarios(path) if "dialogue" in known else SCENARIOS, known


def _is_range(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, int | float) for end in value)


def _at(ends: Range, level: float) -> float:
    """What an attribute is at a level; a whole number between whole numbers."""
    value = ends[0] + level * (ends[1] - ends[0])
    whole = all(isinstance(end, int) for end in ends) and abs(ends[1] - ends[0]) > 1
    return round(value) if whole else round(value, 6)
