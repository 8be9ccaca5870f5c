"""LinesToTokens: an environment of a solution's lines as an environment of tokens."""

from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded

from gymformer.env.chat import ChatFormat
from gymformer.env.codec import RunningText, load_tokenizer
from gymformer.env.text_env import WritesLines, writes_lines

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

__all__ = ["MAX_LINE_TOKENS", "LinesToTokens"]

MAX_LINE_TOKENS = 128


class LinesToTokens(gym.Wrapper[tuple[int, ...], Any, str, str]):
    """Description: an environment whose actions are the lines of one message (`WritesLines`), in which an action is one token.

    The dialogue and the beginning of the message are in the tokenizer's chat format. A line is over with the token that ends
    it; or after `max_line_tokens`, and then the environment writes the line's end. Empty lines are nobody's: the environment
    gets none of them; but as many tokens of nothing else say that nothing more comes. Where the environment writes into a line
    (a calculator), its tokens follow the policy's; they are nobody's decisions. What was sampled stays as it was sampled.

    Action: `Discrete(V)`. Observation: `Sequence(Discrete(V))`, the dialogue and the message so far.
    Reward: what the environment pays for the line, on its last token; 0 within it.
    Episode end: the environment's. A token that ends the text says that nothing more comes.
    Info: within a line empty; at its end the environment's, with "text", the message so far.
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        tokenizer: "str | Path | PreTrainedTokenizerBase",
        *,
        max_line_tokens: int = MAX_LINE_TOKENS,
        system_prompt: str | None = None,  # None: the environment's own, if it has one
    ):
        if not writes_lines(env):
            raise TypeError(f"LinesToTokens wraps an environment whose actions are lines of one message (WritesLines), which {env} is not; "
                            "for turns of a dialogue there is TextToTokens")  # fmt: skip
        if max_line_tokens < 1:
            raise ValueError(f"max_line_tokens={max_line_tokens}; a line has at least 1 token")
        super().__init__(env)  # type: ignore[arg-type]  # its own annotation confuses inner and outer types
        self._texts = env
        self._writer: WritesLines = env.unwrapped  # type: ignore[assignment]
        if system_prompt is None and env.has_wrapper_attr("system_prompt"):
            system_prompt = env.get_wrapper_attr("system_prompt")
        self.tokenizer = load_tokenizer(tokenizer)
        self.format = ChatFormat(self.tokenizer, system_prompt)
        self.codec, self.max_line_tokens = self.format.codec, max_line_tokens
        self.action_space = spaces.Discrete(self.codec.size)
        self.observation_space = spaces.Sequence(spaces.Discrete(self.codec.size))
        self._prompt: tuple[int, ...] = ()
        self._message: list[int] = []
        self._running = RunningText(self.codec)
        self._begin = 0  # of the line that is being written, in the message's text
        self._tokens = 0  # of that line
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[int, ...], dict[str, Any]]:
        observation, info = self._texts.reset(seed=seed, options=options)
        *messages, (_, begun) = self._writer.dialogue(observation)
        self._prompt = (*self.format.ids([(role, self.codec.plain(text)) for role, text in messages]), *self.codec.plain(begun))
        self._message, self._running = [], RunningText(self.codec)
        self._begin, self._tokens, self._playing = 0, 0, True
        return self._prompt, {"prompt": self.codec.text(self._prompt), **info}

    def step(self, action: int) -> tuple[tuple[int, ...], float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        token = self.codec.token(action)
        self._tokens += 1
        ends_text = token in self.format.end_of_text
        if ends_text:
            self._message.append(token)
        else:
            self._write([token])
            added = self._writer.splice(self._line)
            if self._tokens >= self.max_line_tokens and "\n" not in self._line:
                added += "\n"
            if added:
                self._write(self.codec.plain(added))
        lines = self._lines_that_are_over()
        if ends_text:
            lines += [self._line, ""] if self._line.strip() else [""]
        elif self._tokens >= self.max_line_tokens:  # of nothing but empty lines
            lines.append("")
        return self._take(lines)

    @property
    def spec(self) -> EnvSpec | None:
        """The environment's, without its limit of turns: it does not limit tokens."""
        spec = super().spec
        if spec is not None:
            spec.max_episode_steps = None
        return spec

    @property
    def _line(self) -> str:
        """What there is of the line that is being written."""
        return self._running.text[self._begin :]

    def _write(self, tokens: list[int]) -> None:
        self._message += tokens
        for token in tokens:
            self._running.append(token)

    def _lines_that_are_over(self) -> list[str]:
        """Those that the newest tokens have ended. Empty ones are none: they set paragraphs apart."""
        *over, _ = self._line.split("\n")
        self._begin += sum(len(line) + 1 for line in over)
        over = [line for line in over if line.strip()]
        if over:
            self._tokens = 0
        return over

    def _take(self, lines: list[str]) -> tuple[tuple[int, ...], float, bool, bool, dict[str, Any]]:
        """The environment gets the lines, one after another, until it has had enough."""
        total, terminated, truncated, info = 0.0, False, False, {}
        for line in lines:
            _, reward, terminated, truncated, info = self._texts.step(line.strip())
            total += float(reward)
            if terminated or truncated:
                break
        self._playing = not (terminated or truncated)
        if lines:
            info = {"text": self._running.text, **info}
        return (*self._prompt, *self._message), total, bool(terminated), bool(truncated), info
