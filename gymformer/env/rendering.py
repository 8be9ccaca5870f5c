"""What a person sees of a text that a model wrote: escaped, and coloured token by token."""

import html
import unicodedata
from collections.abc import Sequence

from gymformer.env.codec import Codec

__all__ = ["ansi", "indented", "printable", "token_html"]

HUES = (210, 35, 130, 285)  # degrees, of neighbouring tokens


def printable(text: str) -> str:
    """The text with control codes as what they are called ("\\x1b"), so that a terminal does not obey them. Spaces of all widths
    are spaces, and Windows' line ends are line ends."""
    text = text.replace("\r\n", "\n")
    if (
        text.replace("\n", "").replace("\t", "").isprintable()
    ):  # as most are; one character at a time takes twelve times as long
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def indented(text: str) -> str:
    """A speaker's text in a dialogue that has one line for each: further lines are set in, so that none passes for another speaker's."""
    return text.replace("\n", "\n    ")


def ansi(prompt: str, text: str) -> str:
    """Prompt and continuation for a terminal, the prompt dim."""
    return f"\x1b[2m{printable(prompt)}\x1b[0m{printable(text)}"


def token_html(codec: Codec, prompt: Sequence[int], new: Sequence[int]) -> str:
    """Prompt and continuation as HTML: the prompt grey, every new token on a colour of its own, its id in the tooltip."""
    tokens = [f'<span style="color:#888">{html.escape(printable(codec.text(prompt)))}</span>'] if prompt else []
    for index, token in enumerate(new):
        piece = html.escape(printable(codec.piece(token)))
        shown = piece.replace("\n", "⏎\n") or "∅"
        tokens.append(f'<span style="background:hsl({HUES[index % len(HUES)]} 70% 88%)" title="token {token}">{shown}</span>')
    return f'<pre style="white-space:pre-wrap;color:#111;background:#fff">{"".join(tokens)}</pre>'


def _escaped(char: str) -> str:
    if unicodedata.category(char) in ("Zs", "Zl", "Zp"):
        return " "
    return char.encode("unicode_escape").decode() if char != "\ufffd" else char
