"""LLMEnv: a game of Gymnasium with words for what is seen, what can be done and what is wanted."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.error import ResetNeeded

__all__ = ["LLMEnv", "choices", "fields"]


def fields(**meanings: str) -> dict[str, Any]:
    """The JSON schema of an observation with these numbers, each with what it means."""
    properties = {name: {"type": "number", "description": meaning} for name, meaning in meanings.items()}
    return {"type": "object", "properties": properties}


def choices(*meanings: str, start: int = 0) -> dict[str, Any]:
    """The JSON schema of an action that is one of these, numbered from `start`."""
    numbered = dict(enumerate(meanings, start))
    return {"type": "integer", "enum": list(numbered), "description": "; ".join(f"{n}: {text}" for n, text in numbered.items())}


class LLMEnv(gym.Env[dict[str, Any], int], ABC):
    """Description: `game` as it is, its observations named (`observe`), and described in words for a language model.

    A subclass builds the game and says the three things that a player must be told. Agents without language train in it too.

    Action: the game's, which is Discrete.
    Observation: a Dict, the game's own or what `observe` makes of it.
    Reward: the game's.
    Episode end: the game's, its limit of steps included. A further step raises ResetNeeded.
    Info: the game's, and in the last one "is_success" where `is_success` can tell.
    Arguments: game: a Gymnasium environment of one's own making, which is closed with this one. observation_space: of what
        `observe` returns, if that is not the game's own.
    """

    metadata = {"render_modes": ["human", "rgb_array", "ansi"]}  # noqa: RUF012 - of the class; an instance has its game's

    def __init__(self, game: gym.Env, observation_space: spaces.Dict | None = None):
        space = game.observation_space if observation_space is None else observation_space
        if not isinstance(space, spaces.Dict):
            raise TypeError(f"the observations of an LLMEnv have names, in a Dict space; this game gives {space}. Pass "
                            "observation_space=Dict(...) and define observe(observation)")  # fmt: skip
        if not isinstance(game.action_space, spaces.Discrete):
            raise TypeError(f"a language model chooses one of several actions, Discrete(n); this game has {game.action_space}. "
                            "Wrap it in gymnasium.wrappers.TransformAction, or choose another game")  # fmt: skip
        self.game, self.observation_space, self.action_space = game, space, game.action_space
        self.metadata, self.render_mode = game.metadata, game.render_mode
        self._playing, self._return = False, 0.0

    @abstractmethod
    def get_observation_schema(self) -> dict[str, Any]:
        """A JSON schema of the observation: its names, and what each means. `fields` makes one."""

    @abstractmethod
    def get_action_schema(self) -> dict[str, Any]:
        """A JSON schema of the action, an integer, and what each means. `choices` makes one."""

    @abstractmethod
    def get_goal_description(self) -> str:
        """What the game is, and what the player should achieve."""

    def get_reward_description(self) -> str | None:
        """What is rewarded, for a player that shall know (`describe_reward: true`)."""
        return None

    def observe(self, observation: Any) -> dict[str, Any]:
        """The named observation. May look at `self.game.unwrapped`."""
        return observation

    def is_success(self, episode_return: float, terminated: bool) -> bool | None:
        """Whether an episode that ended so was a success: it reached the game's own threshold, where it names one."""
        threshold = None if self.game.spec is None else self.game.spec.reward_threshold
        return None if threshold is None else episode_return >= threshold

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self.game.reset(seed=seed, options=options)
        self._np_random, self._np_random_seed = self.game.unwrapped.np_random, self.game.unwrapped.np_random_seed
        self._playing, self._return = True, 0.0
        return self.observe(observation), dict(info)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not an action; expected one of {self.action_space}")
        observation, reward, terminated, truncated, info = self.game.step(action)
        self._return += float(reward)
        self._playing = not (terminated or truncated)
        success = None if self._playing else self.is_success(self._return, bool(terminated))
        told: Mapping[str, Any] = {} if success is None else {"is_success": bool(success)}
        return self.observe(observation), float(reward), bool(terminated), bool(truncated), {**info, **told}

    def render(self) -> Any:
        return self.game.render()

    def close(self) -> None:
        self.game.close()
