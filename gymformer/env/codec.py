"""A tokenizer's ways in and out: trusted text, text that must not act as control tokens, and ids back to text."""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymformer.plain_text import PlainText
from gymformer.resources import folder_or_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Codec", "RunningText", "load_tokenizer"]

REMEMBERED = 4096  # texts whose ids are kept
LONGEST_CHARACTER = 8  # tokens; more than that without a whole character is no character at all


def load_tokenizer(source: "str | Path | PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """The tokenizer itself if `source` is one; else that of a folder, of a model that comes along ("models/reasoner"), or of
    a hub id. No weights are loaded and no code from the hub is run.

    Raises FileNotFoundError for a path that leads nowhere, and what transformers raises for an id that it cannot load.
    """
    if not isinstance(source, str | Path):
        return source
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder_or_id(source), trust_remote_code=False)


class Codec:
    """How text becomes token ids and ids become text, with one tokenizer.

    `size` is the number of ids, V; `control` maps the ids of the added tokens that read like markup (`<|end|>`, `</think>`)
    to their names. Only `trusted` ever produces these.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self.tokenizer = tokenizer
        added: dict[str, int] = tokenizer.get_added_vocab()  # type: ignore[operator]  # declared as a property's value
        self.size = max(len(tokenizer), 1 + max(added.values(), default=-1))  # an id may lie above a hole
        self._pieces: dict[int, str] = {}
        self._plain = PlainText(tokenizer)
        self._known: dict[str, list[int]] = {}  # texts come again: a game has few observations, or few parts that differ
        self.control = self._plain.control

    def trusted(self, text: str) -> list[int]:
        """The ids of text that we wrote: the names of control tokens in it become those tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False)

    def plain(self, text: str) -> list[int]:
        """The ids of text from elsewhere: no control token is among them, whatever the text says.

        Halves of characters (lone surrogates, which JSON can hold) read "?".
        """
        if text not in self._known:
            if len(self._known) == REMEMBERED:
                self._known.clear()
            self._known[text] = self._plain(text)
        return list(self._known[text])

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids`, control tokens by their names; what is no UTF-8 reads U+FFFD."""
        decoded: Any = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return decoded

    def piece(self, token: int) -> str:
        """The text of one token by itself."""
        if token not in self._pieces:
            self._pieces[token] = self.text([token])
        return self._pieces[token]

    @property
    def eos(self) -> frozenset[int]:
        """The id of the tokenizer's end of text, if it has one."""
        token: Any = self.tokenizer.eos_token_id
        return frozenset() if token is None else frozenset({token})

    def text_until(self, ids: Sequence[int], ends: frozenset[int]) -> str:
        """The text of `ids`, without the one of `ends` that may stand last."""
        return self.text(ids[:-1] if ids and ids[-1] in ends else ids)

    def token(self, action: Any) -> int:
        """The action as an id of this tokenizer: an int, a numpy integer, or a tensor that holds one.

        Raises TypeError for anything else and ValueError for an id that the tokenizer does not have.
        """
        try:
            token = operator.index(action)
        except TypeError as error:
            raise TypeError(f"an action is one token id, an integer; got {type(action).__name__} ({action!r})") from error
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is not one of this environment's {self.size} (0 to {self.size - 1}). A model may have more "
                             "rows than its tokenizer has tokens: cut its logits to env.action_space.n")  # fmt: skip
        return token


class RunningText:
    """The text of a sequence that grows token by token, at a cost per token that does not grow with it.

    Decoders may look at a token's neighbours, so each token is decoded together with the one before it. Characters that
    lack bytes wait for them.
    """

    def __init__(self, codec: Codec):
        self.codec, self.text = codec, ""
        self._known: list[int] = []  # the tokens that came before those that wait
        self._waiting: list[int] = []
        self._before = ""  # the text of the known ones

    def append(self, token: int) -> str:
        """The text so far, `token` included."""
        self._waiting.append(token)
        now = self.codec.text(self._known + self._waiting)
        if not now.endswith("\ufffd") or len(self._waiting) >= LONGEST_CHARACTER:
            self.text += now[len(self._before) :]
            self._known, self._waiting = self._waiting, []
            self._before = self.codec.piece(token) if len(self._known) == 1 else self.codec.text(self._known)
        return self.text
