"""Gymnasium spaces as JSON, so that an agent's folder says what it reads and what it does."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

__all__ = ["space_from_json", "space_to_json"]


def space_to_json(space: gym.Space) -> dict[str, Any]:
    match space:
        case spaces.Box():
            return {"type": "Box", "low": _bounds(space.low), "high": _bounds(space.high), "shape": list(space.shape),
                    "dtype": str(space.dtype)}  # fmt: skip
        case spaces.Discrete():
            return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": np.asarray(space.start).tolist(),
                    "dtype": str(space.dtype)}  # fmt: skip
        case spaces.MultiBinary():
            return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
        case spaces.Dict():
            return {"type": "Dict", "spaces": [[key, space_to_json(part)] for key, part in space.spaces.items()]}
        case spaces.Tuple():
            return {"type": "Tuple", "spaces": [space_to_json(part) for part in space.spaces]}
        case spaces.Sequence(feature_space=spaces.Discrete() as tokens):
            return {"type": "Sequence", "space": space_to_json(tokens)}
    raise TypeError(f"{space} cannot be saved; an agent's spaces are Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple, and "
                    "Sequence(Discrete)")  # fmt: skip


def space_from_json(value: dict[str, Any]) -> gym.Space:
    match value:
        case {"type": "Box", "low": low, "high": high, "shape": shape, "dtype": dtype}:
            return spaces.Box(_array(low, shape, dtype), _array(high, shape, dtype), tuple(shape), np.dtype(dtype).type)
        case {"type": "Discrete", "n": n, "start": start}:
            return spaces.Discrete(n, start=start)
        case {"type": "MultiDiscrete", "nvec": nvec, "start": start, "dtype": dtype}:
            return spaces.MultiDiscrete(nvec, dtype=np.dtype(dtype).type, start=start)
        case {"type": "MultiBinary", "n": n}:
            return spaces.MultiBinary(n)
        case {"type": "Dict", "spaces": parts}:
            return spaces.Dict([(key, space_from_json(part)) for key, part in parts])
        case {"type": "Tuple", "spaces": parts}:
            return spaces.Tuple([space_from_json(part) for part in parts])
        case {"type": "Sequence", "space": tokens}:
            return spaces.Sequence(space_from_json(tokens))
    raise ValueError(f"not a space that gymformer saved: {value!r}")


def _bounds(bound: np.ndarray) -> Any:
    """One number where all are equal (images), else nested lists; infinities as strings, which JSON has no numbers for."""
    if bound.size and (bound == bound.flat[0]).all():
        return _number(bound.flat[0].item())
    return [_number(value) for value in bound.reshape(-1).tolist()]


def _number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)


def _array(bound: Any, shape: list[int], dtype: str) -> np.ndarray:
    values = np.array(bound, dtype=object).reshape(-1)
    numbers = np.array([float(v) if isinstance(v, str) else v for v in values], dtype=dtype)
    return np.full(shape, numbers[0], dtype) if numbers.size == 1 else numbers.reshape(shape)
