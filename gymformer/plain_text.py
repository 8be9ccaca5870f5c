"""Text from elsewhere as token ids, none of which is a control token."""

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["PlainText"]


class PlainText:
    """The ids of text in which the names of control tokens are mere letters.

    `control` maps the ids of the added tokens that read like markup (`<|end|>`, `</think>`) to their names.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self.tokenizer = tokenizer
        added: dict[str, int] = tokenizer.get_added_vocab()  # type: ignore[operator]  # declared as a property's value
        # An added run of spaces, which some tokenizers have, controls nothing.
        self.control = {token: name for name, token in added.items() if name.strip() and len(name) > 1}
        names = sorted(self.control.values())
        # Wherever a name begins, also within another's; some tokenizers find it in small letters too.
        self._beginnings = re.compile(f"(?={'|'.join(map(re.escape, names)) or '(?!)'})", re.IGNORECASE)

    def __call__(self, text: str) -> list[int]:
        """Halves of characters (lone surrogates, which JSON can hold) read "?". Raises ValueError for text that this tokenizer
        cannot write without its control tokens."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids = self._spelled(text)
        if self.control.keys().isdisjoint(ids):
            return ids
        # Added tokens that are not marked as special are recognised in any text, so their names are cut in two.
        cuts = [0, *(match.start() + 1 for match in self._beginnings.finditer(text)), len(text)]
        ids = [token for begin, end in pairwise(cuts) for token in self._spelled(text[begin:end])]
        if not self.control.keys().isdisjoint(ids):
            raise ValueError(f"{text[:80]!r} cannot be written with this tokenizer without its control tokens "
                             f"{[self.control[token] for token in ids if token in self.control]}; take that text out")  # fmt: skip
        return ids

    def _spelled(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
