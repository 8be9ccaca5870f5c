"""TextEnv: a base for environments in which one step is one turn of a dialogue."""

from abc import abstractmethod
from typing import Any, Literal, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError, ResetNeeded
from gymnasium.vector.utils import create_shared_memory
from numpy.typing import NDArray

from gymformer.env.rendering import indented, printable
from gymformer.env.reset_options import require_known

__all__ = ["AnyText", "Dialogue", "TextEnv", "WritesLines", "is_text_env", "spoken", "writes_lines"]

LONGEST_OBSERVATION = 1_000_000  # characters
ASCII = "".join(map(chr, range(32, 127))) + "\n\t"
LONGEST_SAMPLE = 40  # characters

Dialogue = list[tuple[Literal["user", "assistant"], str]]  # messages in turn


def is_text_env(env: gym.Env) -> bool:
    """Whether one action is a text, answered by a text; no base class is needed for that."""
    return isinstance(env.action_space, spaces.Text) and isinstance(env.observation_space, spaces.Text)


@runtime_checkable
class WritesLines(Protocol):
    """A text environment whose actions are the lines of one message: an assistant's answer to a dialogue."""

    def dialogue(self, observation: str) -> Dialogue:
        """An observation as messages; the last one is the assistant's, as far as it is written ("" at the beginning)."""
        ...

    def splice(self, line: str) -> str:
        """What the environment writes into a line that has come so far, mostly nothing."""
        ...


def writes_lines(env: gym.Env) -> bool:
    return isinstance(env.unwrapped, WritesLines)


class AnyText(spaces.Text):
    """All texts of up to `max_length` printable characters of any script, line ends and tabs; the empty text too.

    Gymnasium's `Text` holds what its charset lists, by default neither spaces nor full stops. Samples are short and ASCII.
    """

    def __init__(self, max_length: int, seed: int | np.random.Generator | None = None):
        super().__init__(max_length, min_length=0, charset=ASCII, seed=seed)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length and all(c.isprintable() or c in "\n\t" for c in x)

    def sample(
        self,
        mask: tuple[int | None, NDArray[np.int8] | None] | None = None,
        probability: tuple[int | None, NDArray[np.float64] | None] | None = None,
    ) -> str:
        if mask is None and probability is None:
            mask = int(self.np_random.integers(min(self.max_length, LONGEST_SAMPLE) + 1)), None
        return super().sample(mask, probability)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"AnyText({self.max_length})"

    def __eq__(self, other: object, /) -> bool:
        return isinstance(other, AnyText) and self.max_length == other.max_length


@create_shared_memory.register(AnyText)
def _no_shared_memory(space: AnyText, n: int = 1, ctx: Any = None) -> Any:
    """Gymnasium's shared memory reads texts once, when the vector is made, and then shows these for ever."""
    raise CustomSpaceError(f"texts such as {space} cannot lie in shared memory; give AsyncVectorEnv(..., shared_memory=False), or "
                           'gymnasium.make_vec(..., vector_kwargs={"shared_memory": False})')  # fmt: skip


class TextEnv(gym.Env[str, str]):
    """Description: an episode begins with a text, and every action, a text, is answered by one.

    A subclass says how an episode opens and how a turn is answered (`opening`, `answer`), drawing from `self.np_random` only.
    `system_prompt` says what language models are told before the opening.

    Action: a text of up to `max_turn_chars` characters. What is longer is cut, and control characters are spelled out.
    Observation: a text.
    Reward: what `answer` gives.
    Episode end: `terminated` when `answer` says so; `truncated` after `max_turns` turns without. A further step raises
        ResetNeeded.
    Info: "turn", how many have been taken, and all `facts`.
    Rendering: "ansi", the dialogue so far.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012
    system_prompt: str | None = None
    reset_options: tuple[str, ...] | None = None  # the names of those that it looks at, all others are refused; None: not said

    def __init__(self, *, max_turns: int = 10, max_turn_chars: int = 10_000, render_mode: str | None = None):
        if max_turns < 1 or max_turn_chars < 1:
            raise ValueError(f"max_turns={max_turns} and max_turn_chars={max_turn_chars}; each is at least 1")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is not one of {self.metadata['render_modes']}")
        self.max_turns, self.max_turn_chars, self.render_mode = max_turns, max_turn_chars, render_mode
        self.action_space, self.observation_space = AnyText(max_turn_chars), AnyText(LONGEST_OBSERVATION)
        self.turn = 0
        self._dialogue: list[str] = []  # opening, turn, reply, turn, …
        self._playing = False

    @abstractmethod
    def opening(self, options: dict[str, Any]) -> str:
        """The text that a new episode begins with; `options` are those of `reset`."""

    @abstractmethod
    def answer(self, turn: str) -> tuple[str, float, bool]:
        """The reply to a turn, its reward, and whether the episode is over. `self.turn` counts this turn."""

    def facts(self) -> dict[str, Any]:
        """What else the infos shall tell of the moment."""
        return {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        require_known(options or {}, self.reset_options, type(self).__name__)
        super().reset(seed=seed)
        self.turn, self._playing = 0, True
        self._dialogue = [self.opening(options or {})]
        return self._dialogue[0], {"turn": 0, **self.facts()}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        if not isinstance(action, str):
            raise TypeError(f"an action is a text; got {type(action).__name__} ({action!r}). For a policy of tokens, wrap the "
                            "environment: TextToTokens(env, tokenizer)")  # fmt: skip
        turn = printable(action)[: self.max_turn_chars]
        self.turn += 1
        reply, reward, terminated = self.answer(turn)
        truncated = not terminated and self.turn >= self.max_turns
        self._playing = not (terminated or truncated)
        self._dialogue += [turn, reply]
        return reply, float(reward), bool(terminated), truncated, {"turn": self.turn, **self.facts()}

    def render(self) -> str | None:  # type: ignore[override]
        if self.render_mode is None:
            return None
        return spoken(self._dialogue)


def spoken(dialogue: list[str]) -> str:
    """An opening, a turn, a reply, a turn, …, with who says it in front of each. No line of a turn can pass for the environment's."""
    speakers = ("Environment: ", "Agent: ")
    texts = (indented(printable(text)) if n % 2 else printable(text) for n, text in enumerate(dialogue))
    return "\n".join(f"{speakers[n % 2]}{text}" for n, text in enumerate(texts))
