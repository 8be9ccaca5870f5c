"""Mixture: several environments of text as one, each episode in one of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from gymformer.env.text_env import LONGEST_OBSERVATION, AnyText, is_text_env, writes_lines
from gymformer.env.to_text import ToText, has_words

__all__ = ["Mixture"]

LARGEST_SEED = 2**31
LONGEST_TURN = 10_000  # characters, where an environment says no less

Maker = str | gym.Env | Callable[[], gym.Env]


class Mixture(gym.Env[str, str]):
    """Description: each episode is one of another environment, drawn or asked for, so that one policy learns them all.

    Action and observation: a text, as the environment of the episode has it. Its `system_prompt` stands before its opening.
    Reward, episode end: the environment's.
    Info: the environment's; but "task" is its name here, and what it called its own task is "subtask".
    Reset options: "task", the name of an environment; all others go to it.
    Rendering: the environment's.

    Arguments:
    envs: registered ids, or name -> an id, an environment or what makes one. Each is of texts, or one that can be put into words
        (`ToText`); those whose actions are lines of one message (GSM8K-v0) are refused, because their turns are no turns of a
        dialogue.
    weights: how often each is drawn, in proportion; None: equally often.
    seeds: reset(seed=...) seeds the draws, and each environment when it comes next. What an environment keeps over its episodes
        (a memory, its own pace), it keeps.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        envs: Sequence[str] | Mapping[str, Maker],
        weights: Sequence[float] | None = None,
        *,
        render_mode: str | None = None,
    ):
        makers: dict[str, Maker] = dict(envs) if isinstance(envs, Mapping) else {name: name for name in envs}
        if isinstance(envs, str) or len(makers) < 1 or len(makers) < len(envs):
            raise ValueError(
                f'envs={envs!r}; give different names, such as ["LogicPuzzle-v0", "MemoryBuffer-v0"], or name -> environment'
            )
        share = np.ones(len(makers)) if weights is None else np.array(weights, float)
        if share.shape != (len(makers),) or not np.isfinite(share).all() or (share < 0).any() or share.sum() == 0:
            raise ValueError(
                f"weights={weights!r}; give {len(makers)} numbers, one for each environment, of which none is negative"
            )
        self.render_mode, self.shares = render_mode, share / share.sum()
        self.envs = {name: _made(name, maker, render_mode) for name, maker in makers.items()}
        longest = max(int(getattr(env.action_space, "max_length", LONGEST_TURN)) for env in self.envs.values())
        self.action_space, self.observation_space = AnyText(longest), AnyText(LONGEST_OBSERVATION)
        self.task: str | None = None  # of the episode that goes on
        self._seeds: dict[str, int] = {}  # of the next reset of those that have not been reset since the last seed

    @property
    def env(self) -> gym.Env[str, str]:
        """The environment of the episode that goes on."""
        if self.task is None:
            raise ResetNeeded("there is no episode going on (none was begun); call reset()")
        return self.envs[self.task]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._seeds = {name: int(self.np_random.integers(LARGEST_SEED)) for name in self.envs}
        others = dict(options or {})
        asked = others.pop("task", None)
        if asked is None:
            asked = list(self.envs)[int(self.np_random.choice(len(self.envs), p=self.shares))]
        if asked not in self.envs:
            raise ValueError(f'options["task"] is {asked!r}; this mixture has {", ".join(self.envs)}')
        self.task = asked
        observation, info = self.env.reset(seed=self._seeds.pop(asked, None), options=others or None)
        prompt = self.env.get_wrapper_attr("system_prompt") if self.env.has_wrapper_attr("system_prompt") else None
        return f"{prompt}\n\n{observation}" if prompt else observation, self._told(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, self._told(info)

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        for env in self.envs.values():
            env.close()

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        own = {"subtask": info["task"]} if "task" in info else {}
        return {**info, **own, "task": self.task}


def _made(name: str, maker: Maker, render_mode: str | None) -> gym.Env[str, str]:
    match maker:
        case str():
            env = gym.make(maker, disable_env_checker=True, render_mode=render_mode)
        case gym.Env():
            env = maker
        case _:
            env = maker()
    if writes_lines(env):
        raise TypeError(f"the actions of {name} are lines of one message, not turns of a dialogue; train it by itself")
    if is_text_env(env):
        return env
    if has_words(env):
        return ToText(env)
    raise TypeError(f"{name} has the actions {env.action_space} and the observations {env.observation_space}, for which there are no "
                    "words; wrap it so that both are texts (spaces.Text)")  # fmt: skip
