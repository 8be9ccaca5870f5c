"""Environments of a few lines, each of which fails loudly when it is used wrongly."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Wanderer(gym.Env):
    """Random episodes of 1 to `longest` steps, some terminated, some truncated; a step after the end raises.

    Observation: who this copy is (drawn from its seed), the episode's number, the step, the last action, a draw.
    With `in_place`, every observation is the same array, changed.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (5,))
    action_space = spaces.Discrete(3)

    def __init__(self, longest: int = 6, in_place: bool = False):
        self.longest, self.in_place, self.seen = longest, in_place, np.zeros(5, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        if seed is not None:
            self.who, self.episode = self.np_random.random(), 0
        self.episode += 1
        self.length, self.terminates = (
            int(self.np_random.integers(1, self.longest + 1)),
            bool(self.np_random.integers(2)),
        )
        self.t, self.action = 0, -1
        return self.look(), {"t": 0}

    def step(self, action):
        assert self.t < self.length, "a step after the episode's end"
        assert self.action_space.contains(action)
        self.t, self.action = self.t + 1, int(action)
        over = self.t == self.length
        reward = float(self.np_random.normal())
        return self.look(), reward, over and self.terminates, over and not self.terminates, {"t": self.t}

    def look(self) -> np.ndarray:
        seen = np.array([self.who, self.episode, self.t, self.action, self.np_random.normal()], np.float32)
        if not self.in_place:
            return seen
        self.seen[:] = seen
        return self.seen


class Masked(gym.Env):
    """Two of four actions are legal at step t: t and t + 1 (mod 4); an illegal one raises. In the last state none is.

    `source` says who tells: "info" always, "steps" only the info of `step`, "reset" only the info of `reset`, "odd" the
    info of odd steps (even ones allow everything), "method" `action_masks()`.
    """

    observation_space = spaces.Box(0, 20, (1,))
    action_space = spaces.Discrete(4)

    def __init__(self, source: str = "info", length: int = 5):
        self.source, self.length = source, length
        if source == "method":
            self.action_masks = self.mask

    def mask(self) -> np.ndarray:
        mask = np.zeros(4, np.int8)
        if self.t < self.length:
            mask[[self.t % 4, (self.t + 1) % 4]] = 1
        return mask

    def told(self) -> bool:
        return {"info": True, "steps": self.t > 0, "reset": self.t == 0, "odd": self.t % 2 == 1, "method": True}[self.source]

    def look(self):
        return np.array([self.t], np.float32), {"action_mask": self.mask()} if self.told() and self.source != "method" else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.look()

    def step(self, action):
        assert self.mask()[action] or not self.told(), f"action {action} is illegal at step {self.t}"
        self.t += 1
        observation, info = self.look()
        return observation, 1.0, self.t == self.length, False, info


class MaskedPair(gym.Env):
    """MultiDiscrete([2, 3]): the second component must not be 0, told as one mask for each component."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.MultiDiscrete([2, 3])
    info = {"action_mask": (np.array([1, 1], np.int8), np.array([0, 1, 1], np.int8))}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), self.info

    def step(self, action):
        assert action[1] != 0
        return np.zeros(1, np.float32), 0.0, False, False, self.info


class MaskedBox(gym.Env):
    """Gives an action mask for continuous actions, which nothing can be done with."""

    observation_space = action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {"action_mask": np.ones(2, np.int8)}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {"action_mask": np.ones(2, np.int8)}


class Broken(gym.Env):
    """Gives `value` as the `what` ("reward" or "observation") of step `at` (counted from 1); episodes last 10 steps."""

    observation_space = spaces.Box(-1, 1, (2,))

    def __init__(self, what: str, value: float, at: int = 3, continuous: bool = False, truncated: bool = False):
        self.what, self.value, self.at, self.ends_there = what, value, at, truncated
        self.action_space = spaces.Box(-1, 1, (1,)) if continuous else spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        observation, reward, here = np.zeros(2, np.float32), 0.0, self.t == self.at
        if here and self.what == "observation":
            observation[1] = self.value
        elif here:
            reward = self.value
        return observation, reward, False, self.t == 10 or (here and self.ends_there), {}


class OneState(gym.Env):
    """Reward 1 for ever in a single state; the episode is cut after 8 steps, or terminates there."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, terminates: bool = False):
        self.terminates = terminates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 8
        return np.ones(1, np.float32), 1.0, over and self.terminates, over and not self.terminates, {}


class Bandit(gym.Env):
    """Four arms, one pull an episode; arm 2 pays most."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(4)
    pays = (0.0, 0.5, 1.0, 0.2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), self.pays[int(action)], True, False, {}


class Anything(gym.Env):
    """Random observations of any space, episodes of four steps; an action outside the action space raises."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.t += 1
        return self.observation_space.sample(), float(self.np_random.normal()), self.t == 4, False, {}


class Forever(gym.Env):
    """Never ends by itself. Reward 1; observation: the step."""

    observation_space = spaces.Box(0, np.inf, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.t], np.float32), 1.0, False, False, {}
