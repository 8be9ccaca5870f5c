"""PhrasesToTokens: an environment of turns in which each action is one of a few phrases."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded

from gymformer.env.chat import chat_format
from gymformer.env.codec import load_tokenizer
from gymformer.env.text_env import is_text_env

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

__all__ = ["PhrasesToTokens"]


class PhrasesToTokens(gym.Wrapper[tuple[int, ...], Any, str, str]):
    """Description: an environment over texts, played by choosing one of `phrases` as a turn, for a policy that reads tokens and
    chooses among actions (`PhraseActor`).

    Action: `Discrete(A)`, the number of the phrase. Observation: `Sequence(Discrete(V))`, the dialogue, in the tokenizer's chat
        format, up to where the next turn begins.
    Reward, info: the environment's, "action_mask" included, and "text", the phrase.
    Episode end: the environment's; `truncated` where the next observation would not fit into `context`.
    Arguments: window: exchanges that the dialogue keeps before the newest observation; None: all that fit into `context`, the most
        tokens that the model reads; 0: each observation is a prompt of its own.
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        tokenizer: "str | Path | PreTrainedTokenizerBase",
        phrases: Sequence[str],
        *,
        window: int | None = None,
        system_prompt: str | None = None,  # None: the environment's own, if it has one
        context: int | None = None,  # tokens
    ):
        if not is_text_env(env):
            raise TypeError(f"PhrasesToTokens wraps an environment whose actions and observations are spaces.Text, but {env} takes "
                            f"{env.action_space} and gives {env.observation_space}; put ToText around it")  # fmt: skip
        if len(phrases) < 2 or len(set(phrases)) < len(phrases) or (window is not None and window < 0):
            raise ValueError(
                f"phrases={list(phrases)}, window={window}; at least two phrases, all different, and no negative window"
            )
        super().__init__(env)  # type: ignore[arg-type]  # its own annotation confuses inner and outer types
        self._texts = env
        if system_prompt is None and env.has_wrapper_attr("system_prompt"):
            system_prompt = env.get_wrapper_attr("system_prompt")
        self.tokenizer = load_tokenizer(tokenizer)
        self.format = chat_format(self.tokenizer, system_prompt)
        self.phrases, self.window, self.context = tuple(phrases), window, context
        self._ids = [self.format.codec.plain(phrase) for phrase in self.phrases]
        self.action_space = spaces.Discrete(len(self.phrases))
        self.observation_space = spaces.Sequence(spaces.Discrete(self.format.codec.size))
        self._exchanges: list[tuple[str, list[int]]] = []  # what was said to the player, and its turn with what follows
        self._told = ""  # the newest
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[int, ...], dict[str, Any]]:
        self._told, info = self._texts.reset(seed=seed, options=options)
        self._exchanges, self._playing = [], True
        return self._history(), info

    def step(self, action: int) -> tuple[tuple[int, ...], float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not the number of one of the {len(self.phrases)} phrases {list(self.phrases)}")
        text, reward, terminated, truncated, info = self._texts.step(self.phrases[action].strip())
        turn = self._ids[action]
        if self.window != 0:
            self._exchanges.append((self._told, [*turn, *self.format.reply(text, turn)]))
            if self.window is not None:
                self._exchanges = self._exchanges[-self.window :]
        self._told = text
        history = self._history()
        while self.context is not None and len(history) >= self.context and self._exchanges:
            del self._exchanges[0]
            history = self._history()
        truncated = bool(truncated) or (not terminated and self.context is not None and len(history) >= self.context)
        self._playing = not (terminated or truncated)
        return history, float(reward), bool(terminated), truncated, {"text": self.phrases[action], **info}

    @property
    def spec(self) -> EnvSpec | None:
        return self._texts.spec

    def _history(self) -> tuple[int, ...]:
        if not self._exchanges:
            return tuple(self.format.opening(self._told))
        said = (token for _, exchange in self._exchanges for token in exchange)
        return (*self.format.opening(self._exchanges[0][0]), *said)
