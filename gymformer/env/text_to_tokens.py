"""TextToTokens: an environment of turns as an environment of tokens, whose history only grows."""

from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded

from gymformer.env.chat import ChatFormat, chat_format
from gymformer.env.codec import load_tokenizer
from gymformer.env.text_env import is_text_env, writes_lines

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

__all__ = ["MAX_TURN_TOKENS", "ChatFormat", "TextToTokens"]

MAX_TURN_TOKENS = 128


class TextToTokens(gym.Wrapper[tuple[int, ...], Any, str, str]):
    """Description: an environment over texts, in which an action is one token of a turn.

    Tokens are collected until one ends the turn (`ChatFormat.end_of_turn`) or there are `max_turn_tokens`. The environment
    gets the turn's text, without the token that ended it and the space around it; its reply follows as a user's message. What
    was sampled stays as it was sampled: no past turn is rendered or encoded again. The environment gets what the policy
    wrote also where its `Text` space lists fewer characters, as Gymnasium's default lists no space.

    Action: `Discrete(V)`. Observation: `Sequence(Discrete(V))`, the dialogue so far, in the tokenizer's chat format.
    Reward: 0 within a turn, the environment's on the turn's last token.
    Episode end: the environment's. With `context`, the most tokens that the model reads: before a turn that might not fit, the
        oldest whole exchanges leave (the opening and the last exchange stay); if even that is too long, `truncated`.
    Info: within a turn empty; at its end the environment's, with "text" (the turn) and "reply" where it has no such keys.
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        tokenizer: "str | Path | PreTrainedTokenizerBase",
        *,
        max_turn_tokens: int = MAX_TURN_TOKENS,
        system_prompt: str | None = None,  # None: the environment's own, if it has one
        context: int | None = None,  # tokens
    ):
        if not is_text_env(env):
            raise TypeError(f"TextToTokens wraps an environment whose actions and observations are spaces.Text, but {env} takes "
                            f"{env.action_space} and gives {env.observation_space}")  # fmt: skip
        if writes_lines(env):
            raise TypeError(f"the actions of {env} are lines of one message, not turns of a dialogue; wrap it in LinesToTokens")
        if max_turn_tokens < 1:
            raise ValueError(f"max_turn_tokens={max_turn_tokens}; a turn has at least 1 token")
        super().__init__(env)  # type: ignore[arg-type]  # its own annotation confuses inner and outer types
        self._texts = env
        if system_prompt is None and env.has_wrapper_attr("system_prompt"):
            system_prompt = env.get_wrapper_attr("system_prompt")
        self.tokenizer = load_tokenizer(tokenizer)
        self.format = chat_format(self.tokenizer, system_prompt)
        self.format.reply("", [])  # a template that cannot is found out here, not after the first turn
        self.codec, self.max_turn_tokens, self.context = self.format.codec, max_turn_tokens, context
        self.action_space = spaces.Discrete(self.codec.size)
        self.observation_space = spaces.Sequence(spaces.Discrete(self.codec.size))
        self._opening: list[int] = []
        self._exchanges: list[list[int]] = []  # a turn, and all that follows up to the next
        self._turn: list[int] = []
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[int, ...], dict[str, Any]]:
        text, info = self._texts.reset(seed=seed, options=options)
        self._opening, self._exchanges, self._turn, self._playing = self.format.opening(text), [], [], True
        return self._history(), {"prompt": self.codec.text(self._opening), **info}

    def step(self, action: int) -> tuple[tuple[int, ...], float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        token = self.codec.token(action)
        self._turn.append(token)
        if token not in self.format.end_of_turn and len(self._turn) < self.max_turn_tokens:
            return self._history(), 0.0, False, False, {}
        text = self.codec.text_until(self._turn, self.format.end_of_turn).strip()
        reply, reward, terminated, truncated, info = self._texts.step(text)
        self._exchanges.append([*self._turn, *self.format.reply(reply, self._turn)])
        self._turn = []
        truncated = bool(truncated) or (not terminated and not self._fits())
        self._playing = not (terminated or truncated)
        return self._history(), float(reward), bool(terminated), truncated, {"text": text, "reply": reply, **info}

    @property
    def spec(self) -> EnvSpec | None:
        """The environment's, without its limit of turns: it does not limit tokens."""
        spec = super().spec
        if spec is not None:
            spec.max_episode_steps = None
        return spec

    def _history(self) -> tuple[int, ...]:
        return (*self._opening, *(token for exchange in self._exchanges for token in exchange), *self._turn)

    def _fits(self) -> bool:
        """Another turn fits into the context; oldest exchanges have left if that was needed."""
        if self.context is None:
            return True
        while len(self._history()) + self.max_turn_tokens > self.context:
            if len(self._exchanges) <= 1:
                return False
            del self._exchanges[0]
        return True
