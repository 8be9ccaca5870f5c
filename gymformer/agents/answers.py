"""What a language model answered, and whether it is an action."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["answer_schema", "parse_answer", "plain"]

LONGEST_ANSWER = 20_000  # characters
LONGEST_REFLECTION = 4_000  # characters that are kept
SIGNIFICANT = 4  # digits of a number that is told


def answer_schema(action_schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of {"reflection": text, "action": ...}: thinking comes first, and the action follows from it."""
    properties = {
        "reflection": {"type": "string", "description": "your reasoning, in a few sentences"},
        "action": dict(action_schema),
    }
    return {"type": "object", "properties": properties, "required": ["reflection", "action"], "additionalProperties": False}


def parse_answer(text: str, action_space: spaces.Discrete) -> dict[str, Any]:
    """{"reflection": str, "action": int}, of the first JSON object in `text`. Raises ValueError saying what is wrong with it.

    What a model thought aloud before a </think> is no part of its answer.
    Nothing is guessed: "1", 1.0 and true are no actions, a second object is not looked at, other keys are not allowed.
    """
    if len(text) > LONGEST_ANSWER:
        raise ValueError(f"the answer has {len(text):,} characters; at most {LONGEST_ANSWER:,} are read")
    start = text.find("{", text.rfind("</think>") + 1)
    if start < 0:
        raise ValueError("there is no JSON object in the answer")
    try:
        answer, _ = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_no_number).raw_decode(text, start)
    except RecursionError:
        raise ValueError("the JSON object is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the JSON object is broken: {error.msg}") from None
    if set(answer) != {"reflection", "action"}:
        names = ", ".join(sorted(repr(name[:40]) for name in answer)[:5]) or "none"
        raise ValueError(f'the keys must be "reflection" and "action"; found {names}')
    reflection, action = answer["reflection"], answer["action"]
    if not isinstance(reflection, str):
        raise ValueError(f"the reflection must be a text, not a {type(reflection).__name__}")
    if isinstance(action, bool) or not isinstance(action, int):
        raise ValueError(f"the action must be an integer, not a {type(action).__name__}")
    first, last = int(action_space.start), int(action_space.start + action_space.n) - 1
    if not first <= action <= last:
        raise ValueError(f"the action must be one of {first} to {last}")
    return {"reflection": reflection[:LONGEST_REFLECTION], "action": action}


def plain(observation: Any) -> Any:
    """The observation as what JSON can hold; floats with four significant digits."""
    if isinstance(observation, Mapping):
        return {str(name): plain(part) for name, part in observation.items()}
    if isinstance(observation, np.ndarray):
        return plain(observation.item() if observation.size == 1 else observation.tolist())
    if isinstance(observation, list | tuple):
        return [plain(part) for part in observation]
    if isinstance(observation, bool | np.bool_ | str) or observation is None:
        return bool(observation) if isinstance(observation, np.bool_) else observation
    if isinstance(observation, int | np.integer):
        return int(observation)
    if isinstance(observation, float | np.floating):
        return float(f"{float(observation):.{SIGNIFICANT}g}") if np.isfinite(observation) else str(float(observation))
    raise TypeError(
        f"an observation of type {type(observation).__name__} cannot be told; make it numbers and texts in observe()"
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key of the JSON object is there twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
