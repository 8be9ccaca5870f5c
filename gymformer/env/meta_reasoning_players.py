"""Who plays MetaReasoningEnv without learning: an expert, one that guesses, and one that knows half and believes it knows all."""

from collections.abc import Callable

import numpy as np

from gymformer.data.meta_problems import BIASES, NO_BIAS, VERDICTS, Equation, Reading, read_problem
from gymformer.env.meta_reasoning_env import CLOSING

__all__ = ["meta_reasoning_expert", "meta_reasoning_guesser", "meta_reasoning_student"]

Player = Callable[[str], str]  # an observation -> a turn

LARGEST_GUESS = 20
LARGEST_SLIP = 3  # by how much a wrong calculation is wrong, at most
# How often the student states which confidence, in percent, whatever it knows.
STATED = {100: 0.3, 90: 0.25, 80: 0.2, 70: 0.1, 60: 0.05, 50: 0.05, 30: 0.05}


def meta_reasoning_expert() -> Player:
    """A player that states all steps, checks what is to be checked, and answers what is likeliest, with its probability. It
    needs up to 6 turns, and attains what can be attained: on average 1.1 of the families that come along."""

    def turns(reading: Reading) -> list[str]:
        said = [f"THINK {step}" for step in reading.steps]
        if reading.claim:
            said.append(f"THINK {_assumption(reading, str(reading.verdict(*reading.claim)))}")
        if reading.bias:
            said.append(f"THINK bias: {reading.bias}")
        return [*said, f"ANSWER {reading.best} {100 * reading.answers[reading.best]:.0f}%"]

    return _player(turns)


def meta_reasoning_guesser(rng: np.random.Generator) -> Player:
    """A player that knows how to write an answer: at once any of those that the text offers, or a number up to 20, with any
    confidence."""

    def turns(reading: Reading) -> list[str]:
        return [f"ANSWER {rng.choice(reading.choices or range(LARGEST_GUESS))} {10 * int(rng.integers(11))}%"]

    return _player(turns)


def meta_reasoning_student(rng: np.random.Generator, skill: float = 0.6, thoughts: float = 0.7) -> Player:
    """A player that gets each thing right with probability `skill`: a calculation, a verdict, the choice of an answer. It says a
    thing that it thinks of with probability `thoughts`, and is sure of itself without regard to any of this (`STATED`).

    A wrong calculation is carried on; so a number comes out right with probability skill to the power of the steps.
    """
    if not 0 <= skill <= 1 or not 0 <= thoughts <= 1:
        raise ValueError(f"skill={skill} and thoughts={thoughts}; each is a probability")

    def knows() -> bool:
        return rng.random() < skill

    def other(options: tuple[str, ...], right: str) -> str:
        return str(rng.choice([option for option in options if option != right]))

    def turns(reading: Reading) -> list[str]:
        said, believed = [], {}  # results, by what they should be
        for step in reading.steps:
            left, right = believed.get(step.left, step.left), believed.get(step.right, step.right)
            result = Equation.of(left, step.sign, right).result
            if not knows():
                result = max(0, result + int(rng.integers(1, LARGEST_SLIP + 1)) * (1 if rng.integers(2) else -1))
            believed[step.result] = result
            said.append(str(Equation(left, step.sign, right, result)))
        if reading.claim:
            verdict = str(reading.verdict(*reading.claim))
            said.append(_assumption(reading, verdict if knows() else other(VERDICTS, verdict)))
        if reading.bias:
            named = reading.family if reading.bias == NO_BIAS else NO_BIAS
            said.append(f"bias: {reading.bias if knows() else named if rng.random() < 0.8 else other(BIASES, reading.bias)}")
        if not reading.choices:
            answer = str(believed.get(int(reading.best), reading.best))
        else:
            answer = reading.best if knows() else other(reading.choices, reading.best)
        confidence = int(rng.choice(list(STATED), p=list(STATED.values())))
        return [*(f"THINK {thought}" for thought in said if rng.random() < thoughts), f"ANSWER {answer} {confidence}%"]

    return _player(turns)


def _player(turns: Callable[[Reading], list[str]]) -> Player:
    """A player that, where it sees an opening, makes up all its turns, and then takes them one after another."""
    coming: list[str] = []

    def play(observation: str) -> str:
        if observation.endswith(CLOSING):
            reading = read_problem(observation.removesuffix(CLOSING).strip())
            if reading is None:
                raise ValueError(f"this player knows the problems that come along; it got {observation!r}")
            coming[:] = turns(reading)
        if not coming:
            raise ValueError(f"this player has answered, and awaits a problem; it got {observation!r}")
        return coming.pop(0)

    return play


def _assumption(reading: Reading, verdict: str) -> str:
    assert reading.claim is not None
    return f"assume {reading.claim[0]} before {reading.claim[1]}: {verdict}"
