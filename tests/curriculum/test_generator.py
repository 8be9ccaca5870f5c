"""CurriculumGenerator: what it asks for, what it learns from, and that it goes on where it was."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gymformer.curriculum import Asked, CurriculumGenerator
from gymformer.data.puzzles import Puzzle

TASKS = """
logic_puzzle: {templates: ["If A then B", "If A then not B", "Not both A and B"], variables: [["Sunny", "Warm", "Dry", "Calm"]]}
dialogue: {scenarios: [{type: negotiation, context: Rent}, {type: debate, context: Zoos}]}
"""


@dataclass
class Episode:
    options: dict[str, Any]
    info: dict[str, Any] = field(default_factory=dict)
    episode_return: float | None = 0.0
    terminated: bool = True


def ended(asked: Asked, success: float) -> Episode:
    return Episode(asked, {"success": success})


def play(generator: CurriculumGenerator, rollouts: int, skill, size: int = 10) -> list[Asked]:
    """Rollouts of episodes that succeed where skill(options) says so; all options that were asked for."""
    every = []
    for _ in range(rollouts):
        asked = [generator.options() for _ in range(size)]
        generator.observe(ended(one, float(skill(one))) for one in asked)
        every += asked
    return every


def test_difficulty_goes_up_with_success_and_down_with_failure():
    generator = CurriculumGenerator(initial_difficulty=0.1)
    assert generator.options() == {"difficulty": 0.1}
    play(generator, 3, lambda asked: True)
    assert generator.options() == {"difficulty": 0.4}
    play(generator, 2, lambda asked: False)
    assert generator.options() == {"difficulty": 0.2}
    play(generator, 1, lambda asked: True, size=256)  # one rollout moves it once, however many episodes it has
    assert generator.options() == {"difficulty": 0.3}


def test_it_finds_the_difficulty_that_can_just_be_solved():
    generator = CurriculumGenerator()
    asked = play(generator, 40, lambda asked: asked["difficulty"] < 0.65)
    assert {one["difficulty"] for one in asked[-200:]} == {0.6, 0.7}


def test_episodes_that_were_asked_for_at_another_level_do_not_move_it():
    generator = CurriculumGenerator()
    early = [generator.options() for _ in range(20)]
    generator.observe(ended(one, 1.0) for one in early[:10])
    generator.observe(ended(one, 0.0) for one in early[10:])
    assert generator.difficulty("all") == 0.2
    generator.observe([Episode({"difficulty": 0.2})] * 20)  # nobody's
    generator.observe([Episode(generator.options(), episode_return=None)] * 20)  # which go on
    assert generator.difficulty("all") == 0.2 and generator.progress["all"].episodes == 20


def test_each_attribute_has_a_level_of_its_own():
    """Long premises are no trouble, three houses are the most that can be solved."""
    generator = CurriculumGenerator(attributes={"premises": (2, 12), "houses": (2, 6), "slack": (1.0, 0.0)})
    asked = play(generator, 150, lambda asked: asked["houses"] <= 3)
    levels = generator.summary()["all"]["levels"]
    assert levels["premises"] == levels["slack"] == 1.0 and levels["houses"] <= 0.5
    assert {type(one["premises"]) for one in asked} == {int} and {one["premises"] for one in asked[-500:]} == set(range(2, 13))
    assert all(0 <= one["slack"] <= 1 for one in asked) and min(one["slack"] for one in asked[-200:]) == 0.0


def test_only_whole_numbers_more_than_one_apart_are_rounded():
    generator = CurriculumGenerator(0.3, attributes={"difficulty": (0, 1)})
    assert generator.options()["difficulty"] == 0.3
    assert CurriculumGenerator(0.3, attributes={"length": (2, 5)}).options()["length"] == 3


def test_tasks_are_selected_by_the_variance_of_their_success():
    """Of three tasks with success 1, 1/2 and 0, and 20 episodes each, p = 21/22, 1/2 and 1/22, so that p (1 - p) = 21/484,
    121/484 and 21/484."""
    generator = CurriculumGenerator(tasks={name: {"difficulty": 0.5, "kind": name} for name in ("easy", "fit", "hard")})
    assert generator.chances() == pytest.approx({"easy": 1 / 3, "fit": 1 / 3, "hard": 1 / 3})
    for name, share in (("easy", 1.0), ("fit", 0.5), ("hard", 0.0)):
        generator.observe(ended(generator.generate(name), float(n < 20 * share)) for n in range(20))
    expected = {"easy": 0.2 / 3 + 0.8 * 21 / 163, "fit": 0.2 / 3 + 0.8 * 121 / 163, "hard": 0.2 / 3 + 0.8 * 21 / 163}
    assert generator.chances() == pytest.approx(expected)
    drawn = [generator.options()["kind"] for _ in range(1000)]  # standard deviation of a share: 1.5 points
    assert drawn.count("fit") / 1000 == pytest.approx(expected["fit"], abs=0.06)
    assert generator.options()["difficulty"] == 0.5  # what a task says itself stays


def test_success_where_the_info_tells_none():
    def told(goal, value):
        generator = CurriculumGenerator(goal=goal)
        generator.observe([Episode(generator.options(), {}, value)] * 10)
        return generator.difficulty("all")

    assert (told(195.0, 195.0), told(195.0, 194.0)) == (0.2, 0.0)
    generator = CurriculumGenerator(0.1)
    generator.observe([Episode(generator.options(), terminated=False)] * 10)  # cut off
    assert generator.difficulty("all") == 0.0
    with pytest.raises(ValueError, match=r'neither "success" nor "is_success".*goal='):
        told(None, 1.0)


def test_a_resumed_generator_goes_on_as_the_one_that_was_saved():
    def made():
        return CurriculumGenerator(tasks={"a": {"kind": "a"}, "b": {"size": (1, 9)}}, seed=3)

    rng = np.random.default_rng(0)
    one, other = made(), made()
    play(one, 7, lambda asked: rng.random() < 0.8, size=7)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    skill = {"a": True, "b": False}
    assert play(one, 9, lambda asked: skill[asked.task], 7) == play(other, 9, lambda asked: skill[asked.task], 7)
    assert one.summary() == other.summary() and one.state_dict() == other.state_dict()
    with pytest.raises(ValueError, match="the state is of the tasks"):
        CurriculumGenerator(tasks=["a"]).load_state_dict(one.state_dict())


def test_the_sections_of_a_file_are_its_tasks(tmp_path, monkeypatch):
    path = tmp_path / "tasks.yaml"
    path.write_text(TASKS)
    generator = CurriculumGenerator(0.5, path)
    assert generator.tasks == ["logic_puzzle", "negotiation: Rent", "debate: Zoos"]
    puzzle = generator.generate("logic_puzzle")["puzzle"]
    assert isinstance(puzzle, Puzzle) and {"Sunny", "Warm", "Dry", "Calm"} & set(str(puzzle).replace(".", " ").split())
    assert generator.generate("debate: Zoos") == {"difficulty": 0.5, "scenario": {"type": "debate", "context": "Zoos"}}
    monkeypatch.chdir(tmp_path)
    assert CurriculumGenerator(0.1).tasks == generator.tasks  # the default name, found here
    assert CurriculumGenerator(0.1, path, tasks=["Dialogue-v0"]).generate("Dialogue-v0") == {
        "difficulty": 0.1,
        "task": "Dialogue-v0",
    }


def test_without_a_file_the_built_in_tasks_serve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CurriculumGenerator(task_templates_path="tasks.yaml").tasks == ["all"]
    generator = CurriculumGenerator(tasks=["logic_puzzle", "dialogue"])
    assert len(generator.tasks) == 4 and {"puzzle", "scenario"} <= {
        key for t in generator.tasks for key in generator.generate(t)
    }
    hard = CurriculumGenerator(0.0, tasks=["logic_puzzle"], attributes={"difficulty": (1.0, 1.0)})
    asked = [one.generate("logic_puzzle") for one in [hard] * 5 + [CurriculumGenerator(0.0, tasks=["logic_puzzle"])] * 5]
    sizes = [len(str(one["puzzle"])) for one in asked]  # as difficult as the options say
    assert min(sizes[:5]) > max(sizes[5:]) and {one["difficulty"] for one in asked[:5]} == {1.0}
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml was not found.*Give the path"):
        CurriculumGenerator(task_templates_path="mine.yaml")
    (tmp_path / "tasks.yaml").write_text("dialogue: {scenarios: [{type: debate, context: A}]}\nlogic: {}")
    with pytest.raises(ValueError, match=r"line 2: there is no section 'logic'"):
        CurriculumGenerator()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_difficulty": 1.1}, "difficulty=1.1"),
        ({"tasks": "logic_puzzle"}, r"give a list of names, such as \['logic_puzzle'\]|give a list"),
        ({"attributes": {"premises": 3}}, r"'premises' is 3; give \(easiest, hardest\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        CurriculumGenerator(**arguments)
    with pytest.raises(ValueError, match="there is no task 'x'; there are all"):
        CurriculumGenerator().generate("x")
