"""From an observation of any space to the float32 array that a network reads."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

__all__ = ["ObservationEncoder", "RunningMoments", "flat_size"]

Encode = Callable[[Any], np.ndarray]


def encoder_of(space: gym.Space) -> tuple[Encode, tuple[int, ...]]:
    """A function from a batch of B observations to (B, *shape) float32, and that shape. Raises TypeError otherwise."""
    match space:
        case spaces.Box(dtype=dtype) if dtype == np.uint8 and space.shape:
            scale = np.maximum(space.high, 1).astype(np.float32)  # images: 0..255 to 0..1
            return lambda batch: np.asarray(batch, np.float32) / scale, space.shape
        case spaces.Box(shape=()):
            return lambda batch: np.asarray(batch, np.float32).reshape(-1, 1), (1,)
        case spaces.Box():
            return lambda batch: np.asarray(batch, np.float32), space.shape
        case spaces.Discrete():
            n, offset = int(space.n), np.array([-int(space.start)])
            return lambda batch: _several_hot(batch, offset, n), (n,)
        case spaces.MultiDiscrete():
            sizes = space.nvec.reshape(-1).astype(np.int64)
            offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]) - np.asarray(space.start).reshape(-1)
            return lambda batch: _several_hot(batch, offsets, int(sizes.sum())), (int(sizes.sum()),)
        case spaces.MultiBinary():
            size = int(np.prod(space.shape))
            return lambda batch: np.asarray(batch, np.float32).reshape(-1, size), (size,)
        case spaces.Dict():
            return _concatenated([(encoder_of(part), key) for key, part in space.spaces.items()])
        case spaces.Tuple():
            return _concatenated([(encoder_of(part), index) for index, part in enumerate(space.spaces)])
    raise TypeError(f"{space} cannot be turned into a fixed number of values for a network; observations may be Box, Discrete, "
                    "MultiDiscrete, MultiBinary, and Dict or Tuple of these. Wrap the environment in "
                    "gymnasium.wrappers.TransformObservation to turn its observations into one of them")  # fmt: skip


def _several_hot(batch: Any, offsets: np.ndarray, size: int) -> np.ndarray:
    """(B, *shape) integers -> (B, size): one 1 for each component."""
    values = np.asarray(batch, np.int64)
    values = values.reshape(len(values), -1)
    hot = np.zeros((len(values), size), np.float32)
    np.put_along_axis(hot, values + offsets, 1.0, axis=1)
    return hot


def _concatenated(parts: list[tuple[tuple[Encode, tuple[int, ...]], Any]]) -> tuple[Encode, tuple[int, ...]]:
    """The parts of a Dict or Tuple one after another, as gymnasium.spaces.flatten orders them."""
    encoders = [(encode, int(np.prod(shape)), key) for (encode, shape), key in parts]
    size = sum(width for _, width, _ in encoders)

    def encode(batch: Any) -> np.ndarray:
        return np.concatenate([one(batch[key]).reshape(-1, width) for one, width, key in encoders], axis=1)

    return encode, (size,)


def one_as_batch(space: gym.Space, observation: Any) -> Any:
    """One observation as a batch of one, in the structure that Gymnasium's vector environments use."""
    match space:
        case spaces.Dict():
            return {key: one_as_batch(part, observation[key]) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(one_as_batch(part, value) for part, value in zip(space.spaces, observation, strict=True))
    return np.asarray(observation)[None]


def flat_size(space: gym.Space) -> int:
    """How many values an encoded observation of `space` has."""
    return int(np.prod(encoder_of(space)[1]))


class RunningMoments:
    """Mean and variance of all rows seen, merged batch by batch (Chan, Golub, LeVeque 1979, eq. 2.1)."""

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 0.0

    def update(self, batch: np.ndarray) -> None:
        """batch: (B, *shape)."""
        if len(batch) == 0:
            return
        self.merge(batch.mean(0, dtype=np.float64), batch.var(0, dtype=np.float64), len(batch))

    def merge(self, mean: np.ndarray, var: np.ndarray, count: float) -> None:
        """Takes in `count` rows of which only mean and variance are known."""
        if self.count == 0:
            self.mean, self.var, self.count = mean, var, float(count)
            return
        total = self.count + count
        delta = mean - self.mean
        self.var = (self.var * self.count + var * count + delta**2 * self.count * count / total) / total
        self.mean = self.mean + delta * count / total
        self.count = total

    @property
    def scale(self) -> float:
        """1 / standard deviation, of moments of single numbers."""
        return float(1 / np.sqrt(self.var + 1e-8))

    def state(self) -> dict[str, np.ndarray]:
        return {"mean": np.asarray(self.mean), "var": np.asarray(self.var), "count": np.asarray(self.count)}

    def load(self, state: dict[str, np.ndarray]) -> None:
        self.mean, self.var, self.count = (np.array(state[k], np.float64) for k in ("mean", "var", "count"))
        self.count = float(self.count)


class ObservationEncoder:
    """Encodes a batch of observations of `space` as (B, *shape) float32, normalised if asked.

    Discrete parts become one-hot, Dict and Tuple are concatenated as gymnasium.spaces.flatten does, a Box keeps its shape
    (uint8 is divided by its upper bound). With `normalize`, (x - mean) / std of the observations seen so far, clipped to ±`clip`;
    the statistics are part of the agent and are saved with it.
    """

    def __init__(self, space: gym.Space, normalize: bool = False, clip: float = 10.0):
        self.space, self.clip = space, clip
        self._encode, self.shape = encoder_of(space)
        self.moments = RunningMoments(self.shape) if normalize else None

    def __call__(self, batch: Any, learn: bool = False) -> np.ndarray:
        """(B, *shape). With `learn`, a normalising encoder first adds the batch to its statistics."""
        encoded = self._encode(batch)
        if encoded.shape[1:] != self.shape:
            raise ValueError(f"an observation of shape {encoded.shape[1:]} came from an environment whose observation space "
                             f"is {self.space}; make the environment return what its observation_space says")  # fmt: skip
        if self.moments is None:
            return encoded
        if learn:
            self.moments.update(encoded)
        scaled = (encoded - self.moments.mean) / np.sqrt(self.moments.var + 1e-8)
        # An infinity must not hide behind the clipping: the rollout looks for it and stops.
        return np.where(np.isfinite(scaled), np.clip(scaled, -self.clip, self.clip), np.nan).astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {"space": self.space, "clip": self.clip, "moments": self.moments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._encode, self.shape = encoder_of(self.space)
