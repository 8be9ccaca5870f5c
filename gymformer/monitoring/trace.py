"""The token trace: every token of an episode, and what the policy, its reference and its critic say of it."""

import math
import statistics
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from gymformer.files import write_file

__all__ = ["METRICS", "Metric", "Scale", "TokenTrace", "TracedToken", "number", "save_traces", "visible"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the trace, and how it becomes a colour."""

    name: str  # the field of TracedToken
    label: str
    meaning: str
    kind: Literal["signed", "ratio", "surprise", "amount"]  # from where it is measured: 0, 1, certainty, 0 upwards
    least: float  # the scale ends no nearer than here, so that rounding is not painted
    family: str = ""  # metrics of one family share a scale

    def coordinate(self, value: float) -> float:
        """What is painted: 0 stays blank."""
        if self.kind == "ratio":
            return math.log(value) if value else -math.inf
        return -value if self.kind == "surprise" else value

    def value(self, coordinate: float) -> float:
        """The inverse of `coordinate`."""
        if self.kind == "ratio":
            return math.exp(coordinate)
        return -coordinate if self.kind == "surprise" else coordinate

    @property
    def is_diverging(self) -> bool:
        return self.kind in ("signed", "ratio")


METRICS = (
    Metric("advantage", "advantage", "how much better this token turned out than the critic expected", "signed", 1e-3),
    Metric("value", "value", "what the critic expects to be earned from before this token on", "signed", 1e-3),
    Metric("reward", "reward", "what the environment paid for this token", "signed", 1e-3),
    Metric("penalty", "penalty", "what was added to the reward for learning, such as the price of leaving the reference",
           "signed", 1e-4),
    Metric("log_prob", "log-prob", "how surprising the token is to the policy; blank is certain", "surprise", 0.1, "log_prob"),
    Metric("reference_log_prob", "reference", "how surprising the token is to the reference; blank is certain", "surprise", 0.1,
           "log_prob"),
    Metric("kl", "KL", "log π − log π_ref: blue where the policy likes the token more than the reference does", "signed", 0.01),
    Metric("entropy", "entropy", "how undecided the policy was before this token, in nats", "amount", 0.1),
    Metric("ratio", "ratio", "π / π_old: how much likelier the token is by now than when it was sampled", "ratio", 0.01),
)  # fmt: skip
UNFINISHED = "\ufffd"  # the text of a token that ends within a character
NOT_KEPT = "the row does not go on with it"
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class TracedToken:
    """One token. `decision` is None for tokens that the environment wrote; a number is None where it is unknown."""

    text: str
    id: int
    row: int = 0  # of the segment's rows
    decision: int | None = None  # t, from 0
    kept: bool = True  # False: the environment took the action, and wrote no such token into the row
    log_prob: float | None = None  # log π(a|s) of the policy as it is now, in nats
    reference_log_prob: float | None = None
    kl: float | None = None
    entropy: float | None = None
    reward: float | None = None
    penalty: float | None = None
    value: float | None = None
    advantage: float | None = None
    ratio: float | None = None
    noted: dict[str, float] = field(default_factory=dict)  # "reward/NAME", "safety/POLICY": what is not 0 here


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the colours of a metric end. `clipped`: a few values lie beyond, and have the colour of the end."""

    end: float  # coordinate, greater than 0
    clipped: bool

    def __call__(self, coordinate: float) -> float:
        """In [-1, 1]; NaN is 0."""
        return 0.0 if math.isnan(coordinate) else max(-1.0, min(1.0, coordinate / self.end))


@dataclass(frozen=True, repr=False)
class TokenTrace:
    """Every token of one segment. A notebook shows it as a heat map by itself, a terminal (`print`) as a table."""

    tokens: Sequence[TracedToken]
    title: str = ""
    episode_return: float | None = None  # None: the segment is a piece of an episode that went on
    ended: str = ""  # how: "terminated", "truncated", "cut"
    info: dict[str, str] = field(default_factory=dict)  # what the environment said at the end, readable

    @property
    def decisions(self) -> list[TracedToken]:
        """In the order in which they were taken, which is that of the text unless the environment went back."""
        return sorted((token for token in self.tokens if token.decision is not None), key=lambda token: token.decision or 0)

    @property
    def metrics(self) -> list[Metric]:
        """Those that at least one decision knows."""
        return [metric for metric in METRICS if any(getattr(token, metric.name) is not None for token in self.decisions)]

    @property
    def noted(self) -> list[str]:
        """Terms of the reward and policies of safety for which something was paid or counted, in the order of their names."""
        return sorted({name for token in self.decisions for name in token.noted})

    def values_of(self, metric: Metric) -> list[float]:
        """Of the decisions that know it."""
        values = (getattr(token, metric.name) for token in self.decisions)
        return [value for value in values if value is not None]

    @property
    def summary(self) -> dict[str, str | int | float]:
        """The episode in a few numbers; means are over decisions."""
        decisions = self.decisions
        facts: dict[str, str | int | float | None] = {
            "return": self.episode_return,
            "ended": self.ended or None,
            "tokens decided": len(decisions),
            "tokens read": sum(token.decision is None for token in self.tokens),
        }
        for name, label in (("kl", "mean KL"), ("entropy", "mean entropy"), ("log_prob", "mean log-prob")):
            known = self.values_of(BY_NAME[name])
            facts[label] = statistics.fmean(known) if known else None
        return {name: value for name, value in facts.items() if value is not None}

    def scale_of(self, metric: Metric) -> Scale:
        """Symmetric around "blank"; it ends where all but the 2% farthest of the values that are not blank lie."""
        family = [m for m in METRICS if m is metric or (metric.family and m.family == metric.family)]
        sizes = sorted(abs(m.coordinate(v)) for m in family for v in self.values_of(m) if not math.isnan(v))
        sizes = [size for size in sizes if 0 < size < math.inf]
        end = max(metric.least, sizes[math.ceil(0.98 * len(sizes)) - 1] if sizes else 0.0)
        return Scale(end, any(size > end for size in sizes))

    def table(self) -> list[dict[str, Any]]:
        """One record for each token, as `pandas.DataFrame` takes them; None where a number is unknown."""
        return [asdict(token) for token in self.tokens]

    def html(self, metric: str | None = None) -> str:
        """A heat map as an HTML fragment that needs nothing from outside. `metric` is the one that colours the tokens at
        first (None: the first that is known); the reader may switch. Raises ValueError for one that is not known."""
        from gymformer.monitoring.trace_html import fragment

        return fragment(self, self.first_metric(metric))

    def first_metric(self, name: str | None = None) -> str | None:
        """`name`, or the first metric that is known; None where none is."""
        known = [metric.name for metric in self.metrics]
        if name is not None and name not in known:
            raise ValueError(f"metric={name!r} is not known in this trace, which has {', '.join(known) or 'none'}; kl and "
                             "reference_log_prob need a reference policy, value and advantage a critic")  # fmt: skip
        return name or next(iter(known), None)

    def save(self, path: str | Path, metric: str | None = None) -> Path:
        """Writes the heat map as a whole HTML page, which any browser opens."""
        return save_traces([self], path, metric=metric)

    def _repr_html_(self) -> str:
        return self.html()

    def __str__(self) -> str:
        return "\n".join([self._headline(), *_lines(self)])

    def __repr__(self) -> str:
        return f"<TokenTrace of {self._headline()}>"

    def _headline(self) -> str:
        summary = ", ".join(f"{name} {number(v) if isinstance(v, float) else v}" for name, v in self.summary.items())
        return visible(f"{self.title or 'an episode'}: {summary}")


def save_traces(traces: Sequence[TokenTrace], path: str | Path, title: str = "", metric: str | None = None) -> Path:
    """Writes the heat maps of several episodes as one HTML page, which needs nothing from outside."""
    from gymformer.monitoring.trace_html import page

    path = Path(path)
    write_file(path, page(traces, [trace.first_metric(metric) for trace in traces], title).encode())
    return path


def number(value: float) -> str:
    """Three decimals, or as a power of ten where they would not show it."""
    if value == 0:
        return "0"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def visible(text: str, space: str = " ") -> str:
    """The text on one line, with every character that would not be seen, or would move others, replaced by one that shows."""
    return ("◌" if hangs(text) else "") + "".join(space if char == " " else visible_character(char) for char in text)


def hangs(text: str) -> bool:
    """It begins with a mark that would sit on whatever stands before it."""
    return text != "" and unicodedata.combining(text[0]) > 0


def visible_character(char: str) -> str:
    code = ord(char)
    if char in "\n\t":
        return "↵" if char == "\n" else "⇥"
    if code < 0x20 or code == 0x7F:
        return chr(0x2400 + code) if code < 0x20 else "␡"  # Unicode's control pictures
    if char != " " and unicodedata.category(char)[0] in "CZ":  # controls, formats (right-to-left marks), odd spaces, surrogates
        return f"‹U+{code:04X}›"
    return char


def _lines(trace: TokenTrace) -> Iterator[str]:
    """A header, then one line for each decision, and one for each stretch that the environment wrote."""
    metrics = trace.metrics
    names = trace.noted
    cells = {token.decision: _cells(token, metrics, names) for token in trace.decisions}
    header = ["", "token", *(metric.label for metric in metrics), *(_clipped(visible(name), 24) for name in names)]
    widths = [max(map(columns, column)) for column in zip(header, *cells.values(), strict=True)]
    rows = len({token.row for token in trace.tokens})
    yield _aligned(header, widths)
    for row, of_row in groupby(trace.tokens, key=lambda token: token.row):
        if rows > 1:
            yield f"row {row + 1} of {rows}"
        for is_decision, run in groupby(of_row, key=lambda token: token.decision is not None):
            run = list(run)
            if is_decision:
                yield from (_aligned(cells[token.decision], widths) + ("" if token.kept else f"  {NOT_KEPT}") for token in run)
                continue
            # Of a character that several tokens make up, the last has all.
            text = visible("".join(token.text for token in run).replace(UNFINISHED, ""))
            yield f"{' ' * widths[0]}  │ {_clipped(text, 72)}  ({len(run)} token{'s' if len(run) > 1 else ''})"


def _cells(token: TracedToken, metrics: list[Metric], names: list[str]) -> list[str]:
    numbers = [*(getattr(token, metric.name) for metric in metrics), *(token.noted.get(name) for name in names)]
    piece = _clipped(visible(token.text, "·") or "∅", 16)
    return [str(token.decision), piece, *("" if value is None else number(value) for value in numbers)]


def _aligned(cells: list[str], widths: list[int]) -> str:
    """Numbers to the right, the token to the left."""
    place, piece, *numbers = [(cell, " " * (width - columns(cell))) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([place[1] + place[0], piece[0] + piece[1], *(blank + cell for cell, blank in numbers)]).rstrip()


def columns(text: str) -> int:
    """How wide a terminal draws the text: East Asian wide characters take two columns, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _clipped(text: str, most: int) -> str:
    """The beginning and the end of a text that is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"
