"""A trained agent, with or without language, in the place of an LLMAgent: for the same table, on the same seeds."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from gymformer.agents.player import RawOutput
from gymformer.agents.settings import section_settings

__all__ = ["TrainedPlayer"]

SAYS = "(a trained agent; it gives no reasons)"


class TrainedPlayer:
    """Plays the likeliest actions of the agent that `train_agent` saved in the folder `model` of the section "agent"."""

    def __init__(self, config: Mapping[str, Any], env: gym.Env):
        from gymformer.rl.agent import load_agent

        self.settings = section_settings("agent", config)
        self.agent = load_agent(self.settings.model)
        for what in ("observation_space", "action_space"):
            has, wants = getattr(env, what), getattr(self.agent, what)
            if has != wants:
                raise ValueError(f"the agent in {self.settings.model} was trained for the {what} {wants} (of {self.agent.env_id}), but "
                                 f"here it is {has}; train one in this environment")  # fmt: skip

    def reset(self, seed: int | None = None) -> None:
        """Nothing is remembered from one observation to the next."""

    def get_action(self, observation: Mapping[str, Any]) -> tuple[RawOutput, int]:
        action = int(self.agent.act(observation, greedy=True))
        return {"reflection": SAYS, "action": action}, action

    def replay(self, observation: Mapping[str, Any], raw_output: RawOutput) -> None:
        """Nothing is remembered."""

    def statistics(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        """There is nothing to close."""
