"""How a prompt and a reply become the row of tokens that a reward model reads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

__all__ = ["RowFormat", "Template"]

Template = Literal["plain", "chat"]

MARK = "gymformer{}mark"  # stands for a message's content while a template is rendered
MARKS = re.compile(r"gymformer\d+mark")


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A row is the prompt's tokens, then the reply's, then `end_token_id` unless the row ends so already (None: nothing).

    Prompt and reply are encoded apart, because that is what a policy leaves behind: a prompt, and tokens sampled after it.
    (Encoding them as one text may join letters across the seam, to tokens that no policy has sampled.) Ids stay as they are.
    With the template "chat" a prompt is a dialogue, in the tokenizer's chat format up to where the assistant speaks; a prompt
    of text is what the user said. Names of special tokens inside texts are spelled out, and no other is added.
    """

    tokenizer: PreTrainedTokenizerBase | None
    template: Template = "plain"
    end_token_id: int | None = None

    def __post_init__(self) -> None:
        if self.template not in ("plain", "chat"):
            raise ValueError(f'template={self.template!r} is not known; use "plain" or "chat"')
        if self.template == "chat" and not getattr(self.tokenizer, "chat_template", None):
            raise ValueError('template="chat" needs a tokenizer with a chat template, and this one has none; set tokenizer.chat_template, '
                             'or use template="plain" with prompts of text')  # fmt: skip

    def row(self, prompt: Any, reply: str | Sequence[int]) -> list[int]:
        return self.closed([*self.prompt_ids(prompt), *self._ids(reply)])

    def prompt_ids(self, prompt: Any) -> list[int]:
        """Of a text, of ids, or of a dialogue: messages of (role, content), contents being texts or ids."""
        if not isinstance(prompt, str) and prompt and not isinstance(prompt[0], int):
            if self.template != "chat":
                raise ValueError('a prompt of chat messages needs template="chat"')
            return self._dialogue(prompt)
        return self._dialogue([("user", prompt)]) if isinstance(prompt, str) and self.template == "chat" else self._ids(prompt)

    def closed(self, ids: Sequence[int]) -> list[int]:
        """The row with its end."""
        ends = self.end_token_id is None or (len(ids) > 0 and ids[-1] == self.end_token_id)
        return [*ids] if ends else [*ids, self.end_token_id]  # type: ignore[list-item]

    def _ids(self, part: str | Sequence[int]) -> list[int]:
        if not isinstance(part, str):
            return [int(token) for token in part]
        text = part.encode("utf-8", "replace").decode("utf-8")  # halves of characters, which JSON can hold
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _dialogue(self, messages: Sequence[tuple[str, str | Sequence[int]]]) -> list[int]:
        """What the template writes becomes tokens with its special ones, contents without."""
        from jinja2.exceptions import TemplateError

        marked = [{"role": role, "content": MARK.format(n)} for n, (role, _) in enumerate(messages)]
        try:
            rendered: Any = self._tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise ValueError(f"the chat template cannot render the roles {[role for role, _ in messages]}: {error}") from error
        if MARKS.findall(rendered) != [message["content"] for message in marked]:
            raise ValueError(f"the chat template does not write each of {len(marked)} messages once and in order: {rendered!r}")
        first, *others = [
            self._tokenizer.encode(literal, add_special_tokens=False, split_special_tokens=False)
            for literal in MARKS.split(rendered)
        ]
        for (_, content), literal in zip(messages, others, strict=True):
            first += [*self._ids(content), *literal]
        return first

    @property
    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ValueError(
                "texts need a tokenizer, and this reward model has none; give it lists of token ids, or a tokenizer"
            )
        return self.tokenizer
