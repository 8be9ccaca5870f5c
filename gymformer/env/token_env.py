"""TokenEnv: a base for environments in which one action is one token."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from gymformer.env.codec import Codec, RunningText, load_tokenizer
from gymformer.env.rendering import ansi, token_html
from gymformer.env.reset_options import require_known
from gymformer.rewards.component import RewardComponent, RewardSum, failing_in

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

__all__ = ["RewardFn", "TokenEnv", "is_token_env"]

RewardFn = Callable[[str], float] | RewardComponent | RewardSum | Sequence[RewardComponent]


def is_token_env(env: gym.Env) -> bool:
    """Whether one action is one token and an observation the tokens so far; no base class is needed for that."""
    observation = env.observation_space
    return (
        isinstance(env.action_space, spaces.Discrete)
        and isinstance(observation, spaces.Sequence)
        and isinstance(observation.feature_space, spaces.Discrete)
    )


class TokenEnv(gym.Env[tuple[int, ...], Any]):
    """Description: an episode begins with a prompt, each action appends one token, and the end pays what the text is worth.

    A subclass says what the prompt is, when the text is over, and what it is worth (`prompt`, `is_over`, `score`); it may
    tell more (`facts`). It draws from `self.np_random` only. `self.codec` turns text into ids and back.

    Action: `Discrete(V)`, a token id; V counts the tokenizer's tokens. A model's spare rows beyond them are refused.
    Observation: `Sequence(Discrete(V))`, a new tuple of the prompt's ids and of all actions so far.
    Reward: 0 until the end; there `reward_fn`, or else `score`, of the text that the actions wrote. `reward_fn` is a function
        of that text, or a `RewardComponent`, several, or a `RewardSum` of the state: "prompt", "text", "tokens" (how many the
        actions wrote), and all `facts`. With `pays="token"` each token is paid what it added to the worth of the text so far
        (the state then says whether it has "ended"), the first one all that there is: the sum over an episode is the same.
    Episode end: `terminated` when `is_over` says so. After `max_generation` tokens without that, the text is cut: with
        `at_limit="truncate"` the step is `truncated` and pays nothing, as the text is not finished (a learner bootstraps its
        value); with "terminate" the limit is part of the task: the step is `terminated` and pays for the text as it stands.
        A further step raises ResetNeeded.
    Info: "prompt" and "text" at reset and at the end, "text" at every step (a character that lacks bytes waits), and `facts`;
        "tokens" at the end; "reward_terms" where components paid: what each of them has paid so far.
    Reset options: "score_later", True: the end of this episode pays 0, and its last info says "score_later". An environment that
        can pay for many episodes at once declares so by a method `score_together`, and the rollout then asks for this.
    Rendering: "ansi", prompt and continuation; "html", the tokens in colours.
    """

    metadata = {"render_modes": ["ansi", "html"], "render_fps": 1}  # noqa: RUF012
    reset_options: tuple[str, ...] | None = None  # as of TextEnv

    def __init__(
        self,
        tokenizer: "str | Path | PreTrainedTokenizerBase",
        *,
        max_generation: int = 64,  # tokens
        at_limit: Literal["truncate", "terminate"] = "truncate",
        reward_fn: RewardFn | None = None,
        pays: Literal["end", "token"] = "end",
        seed: int | None = None,  # of the first reset that brings none of its own
        render_mode: str | None = None,
    ):
        if pays not in ("end", "token"):
            raise ValueError(f'pays={pays!r} is not known; use "end" or "token"')
        if max_generation < 1:
            raise ValueError(f"max_generation={max_generation}; a text has at least 1 token")
        if at_limit not in ("truncate", "terminate"):
            raise ValueError(f'at_limit={at_limit!r} is not known; use "truncate" or "terminate"')
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is not one of {self.metadata['render_modes']}")
        if isinstance(reward_fn, Sequence | RewardComponent) and not isinstance(reward_fn, str):
            reward_fn = RewardSum([reward_fn] if isinstance(reward_fn, RewardComponent) else reward_fn)
        if reward_fn is not None and not callable(reward_fn):
            raise TypeError(f"reward_fn is a {type(reward_fn).__name__}, but must be a function of the text, a RewardComponent, a RewardSum, or "
                            "several components: [RewardComponent.of_text(name, function, weight), ...]")  # fmt: skip
        if reward_fn is not None and not isinstance(reward_fn, RewardSum) and not _takes_a_text(reward_fn):
            raise TypeError(f"reward_fn is called with one argument, the text, but {getattr(reward_fn, '__name__', reward_fn)!r} takes "
                            f"{signature(reward_fn)}; a RewardComponent's function reads the prompt too: "
                            'RewardComponent(name, weight, lambda state: float(... state["prompt"], state["text"]))')  # fmt: skip
        self.tokenizer = load_tokenizer(tokenizer)
        self.codec = Codec(self.tokenizer)
        self.ends = self.codec.eos  # tokens that end a text without being part of it
        self.max_generation, self.at_limit, self.reward_fn, self.render_mode = max_generation, at_limit, reward_fn, render_mode
        self.pays, self._first_seed = pays, seed
        self._paid = 0.0  # of the text's worth
        self._scores_later = False
        self.action_space = spaces.Discrete(self.codec.size)
        self.observation_space = spaces.Sequence(spaces.Discrete(self.codec.size))
        self._prompt: tuple[int, ...] = ()
        self._new: list[int] = []
        self._running = RunningText(self.codec)
        self._playing = False

    @abstractmethod
    def prompt(self, options: dict[str, Any]) -> list[int]:
        """The ids that a new episode begins with, at least one; `options` are those of `reset`."""

    @abstractmethod
    def is_over(self, new: Sequence[int]) -> bool:
        """Whether the text of these tokens, at least one, is finished. `self.text` is the text so far."""

    @abstractmethod
    def score(self, text: str) -> float:
        """What the finished text is worth."""

    def facts(self, text: str | None) -> dict[str, Any]:
        """What else infos, and rewards made of components, shall know: None before the first token, then the final text."""
        return {}

    @property
    def text(self) -> str:
        """What the actions have written so far."""
        return self._running.text

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[int, ...], dict[str, Any]]:
        known = None if self.reset_options is None else (*self.reset_options, "score_later")
        require_known(options or {}, known, type(self).__name__)
        super().reset(seed=self._first_seed if seed is None else seed)
        self._first_seed = None
        self._scores_later = bool((options or {}).get("score_later", False))
        self._prompt = tuple(self.prompt(options or {}))
        if not self._prompt:
            raise ValueError(f"{type(self).__name__}.prompt() gave no token, but a model needs one to read; begin with the "
                             "tokenizer's bos_token_id or eos_token_id")  # fmt: skip
        if not all(0 <= token < self.codec.size for token in self._prompt):
            raise ValueError(f"{type(self).__name__}.prompt() gave an id outside 0 to {self.codec.size - 1}: {self._prompt}; "
                             "encode it with the environment's own tokenizer")  # fmt: skip
        self._new, self._running, self._playing, self._paid = [], RunningText(self.codec), True, 0.0
        return self._prompt, {"prompt": self.codec.text(self._prompt), "text": "", **self.facts(None)}

    def step(self, action: int) -> tuple[tuple[int, ...], float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        token = self.codec.token(action)
        self._new.append(token)
        self._running.append(token)
        observation = (*self._prompt, *self._new)
        over = bool(self.is_over(self._new))
        at_limit = not over and len(self._new) >= self.max_generation
        if not (over or at_limit):
            info = {"text": self.text}
            return observation, self._growth(self.text, info, ended=False) if self.pays == "token" else 0.0, False, False, info
        self._playing = False
        truncated = at_limit and self.at_limit == "truncate"
        text = self.codec.text_until(self._new, self.ends)
        info = {"prompt": self.codec.text(self._prompt), "text": text, "tokens": len(self._new), **self.facts(text)}
        if self.pays == "token":
            reward = self._growth(text, info, ended=True)
        elif self._scores_later and not truncated:
            reward, info["score_later"] = 0.0, True
        else:
            reward = 0.0 if truncated else self._reward(text, info)
        return observation, reward, not truncated, truncated, info

    def _growth(self, text: str, info: dict[str, Any], ended: bool) -> float:
        """What the text is worth beyond what was paid for it already."""
        state = {"prompt": self.codec.text(self._prompt), "tokens": len(self._new), **self.facts(text), **info, "ended": ended}
        worth = self._reward(text, state)
        if "reward_terms" in state:
            info["reward_terms"] = state["reward_terms"]
        growth, self._paid = worth - self._paid, worth
        return growth

    def _reward(self, text: str, info: dict[str, Any]) -> float:
        match self.reward_fn:
            case None:
                return float(self.score(text))
            case RewardSum() as total:
                with failing_in(type(self).__name__):
                    info["reward_terms"] = total.terms(info)
                return sum(info["reward_terms"].values(), 0.0)
            case function:
                reward = function(text)
                if reward is None:
                    raise TypeError(
                        f"reward_fn gave None for the text {text[:60]!r}; it must return a number (is a return missing?)"
                    )
                return float(reward)

    def render(self) -> str | None:  # type: ignore[override]
        if self.render_mode == "html":
            return token_html(self.codec, self._prompt, self._new)
        if self.render_mode == "ansi":
            return ansi(self.codec.text(self._prompt), self.codec.text(self._new))
        return None


def _takes_a_text(function: Callable[..., Any]) -> bool:
    try:
        signature(function).bind("")
    except TypeError:
        return False
    except ValueError:  # some callables written in C do not tell
        return True
    return True
