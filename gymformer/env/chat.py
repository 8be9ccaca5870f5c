"""What a chat template puts around turns, as token ids that are only ever appended."""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from gymformer.env.codec import Codec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["ChatFormat", "chat_format"]

Message = tuple[str, Sequence[int]]  # role, ids of the content

# For models that were trained on no dialogue: a turn is a line.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ {'system': '', 'user': 'User: ', 'assistant': 'Assistant: '}[message['role']] }}"
    "{{ message['content'] }}{{ '\n\n' if message['role'] == 'system' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
MARK = "gymformer{}mark"  # stands for a message's content while a template is rendered
MARKS = re.compile(r"gymformer\d+mark")


@lru_cache(maxsize=16)
def _shared(tokenizer: "PreTrainedTokenizerBase", system_prompt: str | None, template: str | None) -> "ChatFormat":
    return ChatFormat(tokenizer, system_prompt)


def chat_format(tokenizer: "PreTrainedTokenizerBase", system_prompt: str | None = None) -> "ChatFormat":
    """One format for all environments with this tokenizer and prompt: what the first has worked out the others know."""
    return _shared(tokenizer, system_prompt, str(tokenizer.chat_template))


class ChatFormat:
    """Dialogues as token ids, in the chat format of a tokenizer.

    What the template writes around contents is obtained once for each sequence of roles, by rendering marks in their place;
    contents are encoded by themselves, so that a turn that was sampled stays the ids that were sampled, and text from
    elsewhere cannot produce control tokens. A tokenizer without a template speaks in lines, "User: …" and "Assistant: …".
    Where a template knows no system role, the system prompt stands before the first user message. `end_of_text` holds the
    tokenizer's end of text and the first control token that the template puts after a turn.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", system_prompt: str | None = None):
        self.codec = Codec(tokenizer)
        self.system = self.codec.trusted(system_prompt) if system_prompt else None
        self._template = None if tokenizer.chat_template else PLAIN_TEMPLATE
        self._literals: dict[tuple[str, ...], list[list[int]]] = {}  # ids of what stands around contents of these roles
        self.end_of_text = self._ends()

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The dialogue, and what the template puts before the assistant's next turn. `messages` are (role, ids of the
        content), the system prompt not among them."""
        if self.system is not None:
            try:
                return self._joined([("system", self.system), *messages])
            except _NoSystemRole:
                (role, content), *others = messages
                messages = [(role, [*self.system, *self.codec.trusted("\n\n"), *content]), *others]
        return self._joined(messages)

    def opening(self, text: str) -> list[int]:
        """The dialogue that begins with the user's `text`, up to the assistant's first turn."""
        return self.ids([("user", self.codec.plain(text))])

    def reply(self, text: str, turn: Sequence[int]) -> list[int]:
        """What follows the ids of an assistant's `turn`: its end as far as the turn lacks it, the user's `text`, and what
        precedes the next turn.

        Raises ValueError if the template would render what came before differently (it is not prefix-preserving).
        """
        close, after = self._surroundings_of_a_reply
        if turn and turn[-1] in self.end_of_turn and turn[-1] in close:
            close = close[close.index(turn[-1]) + 1 :]
        return [*close, *self.codec.plain(text), *after]

    @cached_property
    def end_of_turn(self) -> frozenset[int]:
        """The tokens that end a turn: `end_of_text`, and where a turn is a line, all tokens that hold a line's end."""
        if self._template is None:
            return self.end_of_text
        return self.end_of_text | {token for token in range(self.codec.size) if "\n" in self.codec.piece(token)}

    @cached_property
    def _surroundings_of_a_reply(self) -> tuple[list[int], list[int]]:
        """The ids between an assistant's turn and the user's next text, and those after it, up to the next turn.

        They are the difference between a dialogue with and without one more exchange.
        """
        before, generation = self._around(("user",))
        *begin, close, after = self._around(("user", "assistant", "user"))
        # Nothing but space may stand between what invites a turn and the turn.
        if begin[0] != before or not begin[1].startswith(generation) or begin[1][len(generation) :].strip():
            raise ValueError("this tokenizer's chat template is not prefix-preserving: a turn that was invited by "
                             f"{before + '…' + generation!r} is later rendered after {begin[0] + '…' + begin[1]!r}, so what was "
                             "sampled would no longer be what is read. Set tokenizer.chat_template to one that only appends")  # fmt: skip
        return self.codec.trusted(close), self.codec.trusted(after)

    def _ends(self) -> frozenset[int]:
        """The end of text, and the first control token after an assistant's turn: its end, or the mark of the next speaker."""
        after_turn = self.codec.trusted(self._around(("user", "assistant", "user"))[2])
        return self.codec.eos | set([token for token in after_turn if token in self.codec.control][:1])

    def _joined(self, messages: Sequence[Message]) -> list[int]:
        roles = tuple(role for role, _ in messages)
        if roles not in self._literals:
            self._literals[roles] = [self.codec.trusted(literal) for literal in self._around(roles)]
        first, *others = self._literals[roles]
        ids = list(first)
        for (_, content), literal in zip(messages, others, strict=True):
            ids += [*content, *literal]
        return ids

    def _around(self, roles: tuple[str, ...]) -> list[str]:
        """What the template writes before, between and after contents of these roles: one text more than there are roles."""
        from jinja2.exceptions import TemplateError

        messages = [{"role": role, "content": MARK.format(n)} for n, role in enumerate(roles)]
        try:
            rendered: Any = self.codec.tokenizer.apply_chat_template(
                messages, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            if roles[0] == "system":
                raise _NoSystemRole from error
            raise ValueError(f"this tokenizer's chat template cannot render the roles {list(roles)}: {error}") from error
        found = MARKS.findall(rendered)
        if found != [message["content"] for message in messages]:
            if roles[0] == "system":
                raise _NoSystemRole
            raise ValueError(f"this tokenizer's chat template renders {len(roles)} messages as {rendered!r}: not each content once and "
                             "in order. Set tokenizer.chat_template to one that does")  # fmt: skip
        return MARKS.split(rendered)


class _NoSystemRole(Exception):
    """The template refuses a system message, or leaves it out."""
