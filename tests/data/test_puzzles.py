"""Puzzles: what they say, what follows, and what is drawn."""

from collections import Counter

import numpy as np
import pytest

from gymformer.data.logic import entails_by_sympy, negation, parse
from gymformer.data.puzzle_templates import ANSWERS, PuzzleTemplates, load_puzzle_templates, templates_puzzle
from gymformer.data.puzzles import ISLAND, KINDS, STREET, Puzzle, read, read_puzzle, solution
from gymformer.data.riddle_puzzles import riddle_puzzles

LEVELS = (0.0, 0.5, 1.0)
RIDDLES = ("propositional_logic", "knights_knaves", "zebra_puzzles", "syllogism")
STREET_OF_3 = STREET.format(3, "Name (ann, bob, cy), one Drink (milk, tea, wine)")
CLUES = ("Name ann is directly left of Drink tea", "Drink tea and Name cy are in the same house",
         "Name bob and Drink wine are next to each other")  # fmt: skip
BY_HAND = {
    "modus ponens": (("If Wet then Cold", "Wet"), "Is this true: Cold?", "", "yes"),
    "modus tollens": (("If Wet then Cold", "Not Cold"), "Is this true: Wet?", "", "no"),
    "affirming what follows": (("If Wet then Cold", "Cold"), "Is this true: Wet?", "", "unknown"),
    "cases": (("A or B", "If A then C", "If B then C"), "Is this true: C?", "", "yes"),
    # Ann and Bob differ, so that Cy is right; then Bob is not, and Ann is.
    "island": (("Ann says: Bob is a knave", "Bob says: Cy is a knave", "Cy says: Ann is a knave or Bob is a knave"),
               "Is this true: Ann is a knight?", ISLAND, "yes"),
    "one of two": (("Ann says: Bob is a knave", "Bob says: Ann is a knave"), "Is this true: Bob is a knight?", ISLAND, "unknown"),
    "Barbara": (("All dogs are birds", "All birds are ants"), "Is this true: All dogs are ants?", KINDS, "yes"),
    "Barbari": (("All dogs are birds", "All birds are ants"), "Is this true: Some dogs are ants?", KINDS, "yes"),
    "Celarent": (("No birds are ants", "All dogs are birds"), "Is this true: Some dogs are ants?", KINDS, "no"),
    "Ferio": (("No birds are ants", "Some dogs are birds"), "Is this true: Some dogs are not ants?", KINDS, "yes"),
    "undistributed middle": (("All dogs are birds", "All ants are birds"), "Is this true: All dogs are ants?", KINDS, "unknown"),
    # Ann is left of Cy, who has the tea; Bob, who has not the wine, cannot be right of Cy, so that he is on the left of Ann.
    "street, left": (CLUES, "Which Name is in house 1?", STREET_OF_3, "bob"),
    "street, right": (CLUES, "Which Name is in house 3?", STREET_OF_3, "cy"),
    "street, open": (CLUES[:2], "Which Name is in house 1?", STREET_OF_3, "unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("premises", "question", "rules", "answer"), BY_HAND.values(), ids=BY_HAND)
def test_the_answer_is_the_one_worked_out_by_hand(premises, question, rules, answer):
    puzzle = Puzzle(premises, question, ANSWERS, rules)
    assert solution(puzzle) == answer
    assert read_puzzle(str(puzzle)) == puzzle
    assert not read(puzzle).is_trivial()


@pytest.mark.parametrize(
    ("premises", "question", "rules"),
    [
        (("If Wet then Cold", "Not Cold"), "Is this true: Cold?", ""),
        (("Wet",), "Is this true: Wet or not Wet?", ""),
        (("All dogs are birds", "Some ants are dogs"), "Is this true: Some birds are dogs?", KINDS),
        (("Name ann is in house 1",), "Which Name is in house 1?", STREET_OF_3),
    ],
)
def test_what_a_single_premise_says_is_trivial(premises, question, rules):
    assert read(Puzzle(premises, question, ANSWERS, rules)).is_trivial()


def test_from_a_contradiction_nothing_is_concluded():
    with pytest.raises(ValueError, match="contradict each other"):
        solution(Puzzle(("Wet", "Not Wet"), "Is this true: Cold?", ANSWERS))


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [
        (Puzzle(("Wet",), "Why?", ANSWERS), "expected \"Is this true"),
        (Puzzle(("Wet",), "Is this true: Ann is a knight?", ANSWERS, ISLAND), "said by nobody"),
        (Puzzle(("Most dogs are ants",), "Is this true: All dogs are ants?", ANSWERS, KINDS), "is expected of each statement"),
        (Puzzle(("Name ann is far from Drink tea",), "Which Name is in house 1?", ANSWERS, STREET_OF_3), "no clue that is known"),
        (Puzzle((), "Which Pet is in house 1?", ANSWERS, STREET_OF_3), r"Which Name \| Drink is in house"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(puzzle, message):
    with pytest.raises(ValueError, match=message):
        read(puzzle)


def test_what_is_derived_is_true_and_spares_the_question():
    reading = read(Puzzle(("If Wet then Cold", "Wet", "If Cold then Dark", "Red or Blue"), "Is this true: Dark?", ANSWERS))
    told = {subject: reading.derived(subject) for subject in reading.relations if subject not in reading.asked}
    assert told == {"Wet": "Wet.", "Cold": "Cold.", "Red": "Nothing follows about Red.", "Blue": "Nothing follows about Blue."}
    assert reading.asked == {"Dark"}
    kinds = read(Puzzle(("No dogs are birds", "All birds are ants"), "Is this true: Some dogs are ants?", ANSWERS, KINDS))
    assert [kinds.derived(kind) for kind in ("dogs", "ants")] == ["No birds are dogs.", "Some birds are ants."]


@pytest.mark.parametrize("level", LEVELS)
def test_of_templates_the_answer_follows_from_all_premises_and_from_no_single_one(level):
    """Decided by sympy, which the generator does not use."""
    pytest.importorskip("sympy")
    rng = np.random.default_rng(0)
    for _ in range(5):
        puzzle, answer = templates_puzzle(rng, level)
        premises = [parse(premise) for premise in puzzle.premises]
        asked = parse(puzzle.question.removeprefix("Is this true: ").removesuffix("?"))
        claims = {"yes": asked, "no": negation(asked)}
        assert [word for word, claim in claims.items() if entails_by_sympy(premises, claim)] == [answer] * (answer != "unknown")
        assert not any(entails_by_sympy([premise], claim) for premise in premises for claim in claims.values())
        assert any(asked.name in premise for premise in puzzle.premises)


def test_a_chain_needs_all_its_statements():
    """A fact and five links, without any one of which nothing follows; the other premises are distractors."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        puzzle, answer = templates_puzzle(rng, 1.0)
        if answer != "unknown":
            without = [puzzle.premises[:place] + puzzle.premises[place + 1 :] for place in range(len(puzzle.premises))]
            answers = Counter(solution(Puzzle(premises, puzzle.question, ANSWERS)) for premises in without)
            assert answers == {"unknown": 6, answer: 3}


@pytest.mark.parametrize("level", LEVELS)
def test_answers_are_equally_frequent(level):
    """120 draws of three: each count is 40 ± 5.2; 5 deviations are exceeded once in a million draws of a seed."""
    rng = np.random.default_rng(5)
    counts = Counter(templates_puzzle(rng, level)[1] for _ in range(120))
    assert all(abs(counts[answer] - 40) < 26 for answer in ANSWERS)


def test_difficulty_adds_premises_and_propositions():
    rng = np.random.default_rng(0)
    sizes = [[len(templates_puzzle(rng, level)[0].premises) for _ in range(20)] for level in LEVELS]
    assert [set(size) for size in sizes] == [{2}, {6}, {9}]  # a fact, 1, 3, 5 links, 0, 2, 3 distractors


def test_the_generator_decides_what_is_drawn():
    first, again, other = (templates_puzzle(np.random.default_rng(seed), 0.5) for seed in (1, 1, 2))
    assert first == again != other


# tasks.yaml


def test_the_documented_file_is_enough(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text('logic_puzzle: {templates: ["If A then B"], variables: [["Raining", "Wet"]]}\n'
                    'dialogue: {scenarios: [{type: "negotiation", context: "Salary discussion"}]}\n')  # fmt: skip
    source = load_puzzle_templates(path)
    assert source == PuzzleTemplates(("If A then B",), (("Raining", "Wet"),))
    rng = np.random.default_rng(0)
    drawn = [templates_puzzle(rng, 1.0, source) for _ in range(40)]
    assert {answer for _, answer in drawn} == set(ANSWERS)
    assert {premise for puzzle, _ in drawn for premise in puzzle.premises} == {
        "If Raining then Wet", "If Wet then Raining", "Raining", "Wet", "Not Raining", "Not Wet"}  # fmt: skip


def test_what_a_file_leaves_out_comes_from_the_default(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text("logic_puzzle:\n  variables:\n    - [the ground is wet, it rains]\n")
    assert load_puzzle_templates(path) == PuzzleTemplates(variables=(("the ground is wet", "it rains"),))


WRONG = """dialogue: {}
logic_puzzle:
  templates:
    - If A then B
    - If A than B
    - A and B
    - 7
    - If A then if B then if C then D
  variables:
    - [Wet, yes]
    - [If wet, Cold]
    - Dry
  teplates: []
"""


def test_everything_wrong_in_a_file_is_told_by_line(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text(WRONG)
    with pytest.raises(ValueError, match=r"tasks\.yaml: line 5") as caught:
        load_puzzle_templates(path)
    told = dict(part.split(": ", 1) for part in str(caught.value).removeprefix(f"{path}: ").split("; line "))
    assert {key.removeprefix("line "): True for key in told} == dict.fromkeys(
        ["5", "6", "7", "8", "10", "11", "12", "13"], True
    )
    assert "'then' is expected" in told["line 5"] and "says what is so by itself" in told["6"]
    assert "expected a text; put it in quotes" in told["7"] and "relates 2 or 3" in told["8"]
    assert "'yes' (bool)" in told["10"] and "'then' is expected" in told["11"]
    assert "is text, expected a list" in told["12"] and "logic_puzzle has no 'teplates'" in told["13"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is nothing, expected a mapping"),
        ("- 1", "the file is list, expected a mapping"),
        ("tasks: {}", "has no section logic_puzzle: it has tasks"),
        ("logic_puzzle: [", r"no(t a)? YAML.*line 1"),
        ("logic_puzzle: {variables: [[Wet]]}", "line 1: 9 templates and 1 different variables"),
        ("logic_puzzle: {templates: [!!python/object/apply:os.system [ls]]}", "line 1: an entry is .*expected a text"),
        ("logic_puzzle: !!python/name:os.system {}", "line 1: logic_puzzle is .*expected a mapping"),
        ("x: " + "y" * 100_000, "has 100,003 characters"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, text, message):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_puzzle_templates(path)


def test_templates_that_cannot_make_a_puzzle_say_so():
    never = PuzzleTemplates(("A if and only if B",), (("Wet", "Cold"),))
    with pytest.raises(ValueError, match=r"the answer 'unknown' was found in 1000 tries .* add others"):
        for seed in range(20):
            templates_puzzle(np.random.default_rng(seed), 0.0, never)


# reasoning-gym


@pytest.fixture
def with_reasoning_gym():
    pytest.importorskip("reasoning_gym")


@pytest.mark.usefixtures("with_reasoning_gym")
@pytest.mark.parametrize("name", RIDDLES)
def test_riddles_are_sound_and_seeded(name):
    draw = riddle_puzzles(name)
    for level in (0.0, 0.5) if name == "zebra_puzzles" else LEVELS:
        (puzzle, answer), again = draw(np.random.default_rng(3), level), draw(np.random.default_rng(3), level)
        assert (puzzle, answer) == again
        reading = read(read_puzzle(str(puzzle)))
        assert reading.possible().any() and not reading.is_trivial()
        assert reading.solution() == answer in puzzle.answers


@pytest.mark.usefixtures("with_reasoning_gym")
@pytest.mark.parametrize("name", RIDDLES)
def test_answers_of_riddles_are_equally_frequent(name):
    """Counts of n draws of k answers: 5 deviations, sqrt(n (1 - 1/k) / k) each, are exceeded once in a million runs."""
    draw, rng, n = riddle_puzzles(name), np.random.default_rng(0), 12 if name == "zebra_puzzles" else 30
    drawn = [draw(rng, 0.0) for _ in range(n)]
    k = len(drawn[0][0].answers)
    counts = Counter(answer for _, answer in drawn)
    assert all(abs(counts[answer] - n / k) < 5 * (n / k * (1 - 1 / k)) ** 0.5 for answer in drawn[0][0].answers)


@pytest.mark.usefixtures("with_reasoning_gym")
def test_the_one_solution_that_reasoning_gym_names_is_the_one_found():
    from gymformer.data import riddle_puzzles as module

    rng = np.random.default_rng(0)
    for person in ("yes", "no"):
        for puzzle in [p for _ in range(10) for p in module.knights_knaves(rng, 0.5, person)]:
            assert solution(puzzle) == person
    for name in ("alice", "bob"):
        assert solution(module.zebra_puzzles(rng, 0.3, name)[0]) == name


def test_other_riddles_and_a_missing_package_are_explained(monkeypatch):
    with pytest.raises(ValueError, match="there are templates, propositional_logic"):
        riddle_puzzles("sudoku")
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym", None)
    with pytest.raises(ImportError, match=r"install gymformer\[tasks\]"):
        riddle_puzzles("syllogism")
