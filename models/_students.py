"""Players that know how a text environment is played well, and often do not: whose transcripts models/speaker learns from.

Each is a factory: (generator, care) -> a player, a function of an observation's text and the info. `care` is how often it does what
it knows to be right, in [0, 1]; else it does something that makes sense, and mostly does not help.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gymformer.data.logic import Formula, Truth, atoms, evaluate, parse, truth_table
from gymformer.data.puzzles import read_puzzle
from gymformer.data.world.grammar import sentences_of
from gymformer.data.world.news import CATEGORIES, read_fact, read_question
from gymformer.env.dialogue_players import dialogue_student as mannered
from gymformer.env.meta_reasoning_players import meta_reasoning_student as skilled

__all__ = ["Player", "dialogue_student", "logic_puzzle_student", "memory_buffer_student", "meta_reasoning_student", "thoughts"]

GOOD_SENSE = 0.9  # how often the student of dialogues says the right thing, whatever its manners

Player = Callable[[str, dict[str, Any]], str]


def logic_puzzle_student(rng: np.random.Generator, care: float) -> Player:
    """Works a puzzle out in a turn of its own (`thoughts`), then solves it; or asks for a hint without need, guesses, or gives a
    statement where one of the answers was asked for."""
    plan: list[str] = []  # the turns that are left

    def act(observation: str, info: dict[str, Any]) -> str:
        if info["turn"] == 0:
            plan[:] = turns(observation)
        return plan.pop(0)

    def turns(text: str) -> list[str]:
        puzzle = read_puzzle(text)
        if rng.random() < care:
            worked_out, answer = thoughts(text)
            return [worked_out, f"SOLVE {answer}"]
        named = atoms(*map(parse, puzzle.premises))
        asked = puzzle.question.removeprefix("Is this true: ").removesuffix("?")
        lapse = rng.random()
        if lapse < 0.75:
            return [f"SOLVE {rng.choice(['', 'Not '])}{asked}"]
        hint = [f"QUERY {rng.choice([name for name in named if name != asked])}"] if lapse < 0.85 else []
        return [*hint, f"SOLVE {rng.choice(puzzle.answers)}"]

    return act


def thoughts(text: str) -> tuple[str, str]:
    """A puzzle of the family "templates" worked out: each premise once, as soon as it says something of a proposition that was open,
    with what it says; then those that say nothing more; then the answer."""
    puzzle = read_puzzle(text)
    asked = puzzle.question.removeprefix("Is this true: ").removesuffix("?")
    waiting = list(puzzle.premises)
    known: dict[str, bool] = {}
    lines: list[str] = []
    while step := next(((premise, found) for premise in waiting if (found := _follows(parse(premise), known))), None):
        premise, found = step
        waiting.remove(premise)
        known |= found
        said = " and ".join(_literal(name, value) for name, value in found.items())
        lines.append(f"{premise}." if premise == said else f"{premise}: {said}.")
    lines += [f"{premise}: nothing." for premise in waiting]
    answer = {True: "yes", False: "no", None: "unknown"}[known.get(asked)]
    return "\n".join([*lines, f"{asked}: {answer}."]), answer


def _follows(premise: Formula, known: dict[str, bool]) -> dict[str, bool]:
    """What a premise says of the propositions that are open, given the others."""
    table = truth_table(atoms(premise))
    possible: Truth = evaluate(premise, table)
    for name, truth in table.items():
        if name in known:
            possible = possible & (truth == known[name])
    decided = {name: set(truth[possible].tolist()) for name, truth in table.items() if name not in known}
    return {name: values.pop() for name, values in decided.items() if len(values) == 1}


def _literal(name: str, value: bool) -> str:
    return name if value else f"Not {name}"


def memory_buffer_student(rng: np.random.Generator, care: float) -> Player:
    """Stores the sentence that matters, searches by the person's name, and answers with what was found; or stores another sentence,
    searches for what it was just told, and guesses an answer without a search."""

    def act(observation: str, info: dict[str, Any]) -> str:
        heading, _, text = observation.split("\n")[-1].partition(": ")
        if heading.startswith("News"):
            return hear(sentences_of(text))
        question = read_question(text)
        assert question is not None
        person, category, _ = question
        if not observation.startswith("Found"):
            return f"RETRIEVE {person}" if rng.random() < care else guess(category)
        found = (read_fact(line.partition("] ")[2]) for line in observation.split("\n")[1:-1])
        return next((f"ANSWER {fact[2]}" for fact in found if fact and fact[:2] == (person, category)), guess(category))

    def hear(sentences: list[str]) -> str:
        facts = {sentence: fact for sentence in sentences if (fact := read_fact(sentence))}
        others = [sentence for sentence in sentences if sentence not in facts]
        ((sentence, (person, _, _)),) = facts.items()
        if rng.random() < care:
            return f"STORE {sentence}"
        return f"STORE {rng.choice(others)}" if others and rng.random() < 0.5 else f"RETRIEVE {person}"

    def guess(category: str) -> str:
        return f"ANSWER {rng.choice(CATEGORIES[category].values)}"

    return act


def meta_reasoning_student(rng: np.random.Generator, care: float) -> Player:
    """Gets each thing right with probability `care`, and is sure of itself without regard to that."""
    act = skilled(rng, skill=care)
    return lambda observation, info: act(observation)


def dialogue_student(rng: np.random.Generator, care: float) -> Player:
    """Nearly always says what helps, and shows each required element in a turn with probability `care`."""
    act = mannered(rng, skill=GOOD_SENSE, manners=care)
    return lambda observation, info: act(observation)
