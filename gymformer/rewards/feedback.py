"""Ratings that people give to texts, whenever they come."""

import html
import json
import math
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from gymformer.files import sha256

__all__ = ["HumanFeedback", "text_hash"]

LOWEST, HIGHEST = -1.0, 1.0
QUESTION = "Your rating, from -1 to 1 (Enter for none): "
SLIDER_STEP = 0.1


class HumanFeedback:
    """What a person thinks of a text, from -1 (bad) to 1 (good), or None where nobody has said.

    `source` says where ratings come from:
    None: from nowhere. Every rating is None, which is said once, in a warning.
    a function of the text: what it returns.
    "terminal": a prompt, which waits. Where standard input is no terminal (a job, a worker process), every rating is None, and
        that is said once.
    "notebook": a widget of ipywidgets. It never waits: an unrated text joins its queue, and has a rating from the moment that
        somebody gives it, which a notebook notices between two cells.
    a path: a file of JSON Lines, {"hash": text_hash(text), "rating": 0.5} or {"text": ..., "rating": 0.5}. It never waits: an
        unrated text is appended to a second file, NAME.unrated.jsonl, once, with "rating": null. Fill these in and append the
        lines to the first file; it is read again whenever it has changed. A later line counts more than an earlier one.

    A rating belongs to its text: one that comes late is used when the same text is rated again, never for another.

        >>> HumanFeedback(lambda text: 1.0 if "thank" in text else -0.5).rate("No.")
        -0.5

    Raises ImportError where "notebook" finds no ipywidgets. Copies share the source.
    """

    def __init__(self, source: Callable[[str], float | None] | str | Path | None = None):
        self.source = source
        self._ask: Callable[[str], float | None]
        if source is None:
            self._ask = _nobody
        elif callable(source):
            self._ask = source
        elif source == "terminal":
            self._ask = _terminal
        elif source == "notebook":
            self._ask = _Notebook()
        elif isinstance(source, str | Path):
            self._ask = _File(Path(source))
        else:
            raise TypeError(f'source={source!r}; give a function of a text, a path, "terminal", "notebook" or None')

    def rate(self, text: str) -> float | None:
        """The rating of a text, in [-1, 1], or None. Raises ValueError if the source gives anything else, with the source's name."""
        rating = self._ask(text)
        if rating is None:
            return None
        if not _is_rating(rating):
            raise ValueError(f"{self!r} gave the rating {rating!r}; a rating is a number from -1 to 1, or None")
        return float(rating)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # Gymnasium copies an environment's arguments; a person is not copied

    def __repr__(self) -> str:
        return f"HumanFeedback({self.source!r})"


def text_hash(text: str) -> str:
    """What a text is known by in a file of ratings: the SHA-256 of its UTF-8, in hexadecimal. Halves of characters read "?"."""
    return sha256(text.encode("utf-8", "replace"))


def _is_rating(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(value) and LOWEST <= float(value) <= HIGHEST
    except (TypeError, OverflowError):  # an int of hundreds of digits
        return False


@cache
def _say_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _nobody(text: str) -> None:
    _say_once("nobody rates: human feedback has no source, so its reward is 0. Give HumanFeedback a function, a path, "
              '"terminal" or "notebook", or switch it off (use_human_feedback=False)')  # fmt: skip


def _terminal(text: str) -> float | None:
    if sys.stdin is None or not sys.stdin.isatty():
        return _say_once('HumanFeedback("terminal") finds no terminal at standard input, so nobody rates here; play in the '
                         "main process of a terminal, or give a path and rate later")  # fmt: skip
    print(f"\n{_without_controls(text)}")
    while True:
        try:
            said = input(QUESTION).strip()
        except EOFError:
            return None
        if not said:
            return None
        try:
            rating = float(said)
        except ValueError:
            rating = math.nan
        if _is_rating(rating):
            return rating
        print(f"{said!r} is no number from -1 to 1.")


def _without_controls(text: str) -> str:
    """Models write what a terminal would obey."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


class _File:
    """Ratings in a file, and beside it the texts that wait for one."""

    def __init__(self, path: Path):
        self.path, self.queue = path, path.with_name(f"{path.name}.unrated.jsonl")
        self._read_at: tuple[int, int] | None = None  # time of change in ns, bytes
        self._ratings: dict[str, float] = {}
        self._waiting = set(_lines(self.queue)) if self.queue.exists() else set()

    def __call__(self, text: str) -> float | None:
        if self.path.exists():
            status = self.path.stat()
            changed = status.st_mtime_ns, status.st_size
            if changed != self._read_at:
                self._ratings = {key: rating for key, rating in _lines(self.path).items() if rating is not None}
                self._read_at = changed
        key = text_hash(text)
        if key not in self._ratings and key not in self._waiting:
            self._waiting.add(key)
            line = json.dumps({"hash": key, "rating": None, "text": text})  # ASCII, in one write
            self.queue.parent.mkdir(parents=True, exist_ok=True)
            with self.queue.open("a", encoding="ascii") as file:
                file.write(line + "\n")
        return self._ratings.get(key)


def _lines(path: Path) -> dict[str, float | None]:
    """Hash to rating, of a file of JSON Lines. Raises ValueError with the number of a line that is none."""
    ratings: dict[str, float | None] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, rating = row["hash"] if "hash" in row else text_hash(row["text"]), row["rating"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path}, line {number}: expected {{"hash" or "text": ..., "rating": a number from -1 to 1 or null}}, '
                             f"got {line[:80]!r}; correct or delete the line") from error  # fmt: skip
        if not isinstance(key, str) or (rating is not None and not _is_rating(rating)):
            raise ValueError(
                f"{path}, line {number}: the rating is {rating!r}; it is a number from -1 to 1, or null; correct it"
            )
        ratings[key] = rating
    return ratings


class _Notebook:
    """A widget with the oldest text that nobody has rated, a slider, and two buttons."""

    def __init__(self):
        try:
            ipywidgets: Any = import_module("ipywidgets")
        except ImportError as error:
            raise ImportError('HumanFeedback("notebook") needs ipywidgets; install it: pip install ipywidgets') from error
        self._ratings: dict[str, float] = {}
        self._seen: set[str] = set()
        self._waiting: list[str] = []
        self._shown = False
        self.text: Any = ipywidgets.HTML()
        self.slider: Any = ipywidgets.FloatSlider(value=0.0, min=LOWEST, max=HIGHEST, step=SLIDER_STEP, description="Rating")
        self.rates: Any = ipywidgets.Button(description="Rate", button_style="primary")
        self.skips: Any = ipywidgets.Button(description="Skip")
        self.rates.on_click(lambda button: self._next(self.slider.value))
        self.skips.on_click(lambda button: self._next(None))
        self.box: Any = ipywidgets.VBox([self.text, ipywidgets.HBox([self.slider, self.rates, self.skips])])

    def __call__(self, text: str) -> float | None:
        key = text_hash(text)
        if key not in self._seen:
            self._seen.add(key)
            self._waiting.append(text)
            self._show()
        return self._ratings.get(key)

    def _next(self, rating: float | None) -> None:
        if not self._waiting:
            return
        text = self._waiting.pop(0)
        if rating is not None:
            self._ratings[text_hash(text)] = rating
        self._show()

    def _show(self) -> None:
        first = html.escape(_without_controls(self._waiting[0])) if self._waiting else "No text waits for a rating."
        self.text.value = f'<pre style="white-space:pre-wrap">{first}</pre>{len(self._waiting)} waiting'
        if not self._shown:
            from IPython.display import display

            display(self.box)
            self._shown = True
