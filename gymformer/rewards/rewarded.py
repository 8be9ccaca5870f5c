"""Rewarded: any environment with further terms in its reward."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from gymformer.rewards.component import RewardComponent, RewardSum, failing_in

__all__ = ["Rewarded"]

ENVIRONMENT = "environment"  # the term's name of what the environment pays by itself


class Rewarded(gym.Wrapper):
    """Description: an environment, of texts as a rule, whose steps are also paid by components.

    Action, Observation, Episode end: the environment's.
    Reward: the environment's (`keep=True`) plus the components'. Each is asked at every step, and sees as its state: "action", "text"
        (the turn, where the action is a text), "observation" (the answer), "prompt" (the first observation), "reward"
        (the environment's), "terminated", "truncated", "ended" (either), "turn" (the steps so far), "said" (all turns), "words"
        (in all turns), and whatever the info holds.
    Info: the environment's, and "reward_terms": what each term has paid so far in the episode, by name; their sum is the return so
        far. What the environment pays is the term "environment", less what terms of its own account for.

    A component that fails raises RewardError, with its name and the environment's. Give one list of components to several
    environments where they shall share weights and memory.
    """

    def __init__(self, env: gym.Env, components: RewardSum | Sequence[RewardComponent], *, keep: bool = True):
        super().__init__(env)
        self.total, self.keep = components if isinstance(components, RewardSum) else RewardSum(components), keep
        names = [component.name for component in self.total.components]
        if ENVIRONMENT in names:
            raise ValueError(f'a component is called "{ENVIRONMENT}", which is what the environment itself pays; rename it')
        self._own = dict.fromkeys(names, 0.0)
        self._terms: dict[str, float] = {}
        self._return = 0.0  # the environment's
        self._prompt: Any = None
        self._said: list[str] = []
        self._turn = self._words = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._prompt, info = self.env.reset(seed=seed, options=options)
        self._own, self._terms = dict.fromkeys(self._own, 0.0), {}
        self._return, self._said, self._turn, self._words = 0.0, [], 0, 0
        return self._prompt, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._turn += 1
        state: dict[str, Any] = {
            "action": action, "observation": observation, "prompt": self._prompt, "reward": float(reward), "terminated": terminated,
            "truncated": truncated, "ended": bool(terminated or truncated), "turn": self._turn,
        }  # fmt: skip
        if isinstance(action, str):
            self._said.append(action)
            self._words += len(action.split())
            state |= {"text": action, "said": list(self._said), "words": self._words}
        with failing_in(str(self.env)):
            paid = self.total.terms(state | info)
        self._own = {name: so_far + paid[name] for name, so_far in self._own.items()}
        total = sum(paid.values())
        if self.keep:
            self._return += float(reward)
            self._terms = self._of_environment(info)
            total += float(reward)
        return observation, total, terminated, truncated, info | {"reward_terms": self._terms | self._own}

    def _of_environment(self, info: dict[str, Any]) -> dict[str, float]:
        """The environment's own terms, the last ones told where this info is silent, and what is left of its return."""
        told = info.get("reward_terms", {name: paid for name, paid in self._terms.items() if name != ENVIRONMENT})
        if shared := sorted(told.keys() & self._own.keys()):
            raise ValueError(f"{self.env} has a reward term {shared[0]!r} of its own; give the component another name")
        return {ENVIRONMENT: self._return - sum(told.values()), **told}
