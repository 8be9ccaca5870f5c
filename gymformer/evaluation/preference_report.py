"""What is known of a reward model on rows that it was not trained on: numbers, pictures, and its worst mistakes."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gymformer.evaluation.metrics import wilson_interval
from gymformer.evaluation.preference_metrics import (
    Bin,
    brier_score,
    calibration,
    calibration_error,
    credits_of,
    length_correlations,
    log_softmax,
    losses_of,
    reciprocal_ranks,
    targets_of,
)
from gymformer.files import write_file, write_json

if TYPE_CHECKING:
    from gymformer.monitoring.curves import Chart

__all__ = ["Judged", "Mistake", "PreferenceReport", "preference_report"]

MOST_MISTAKES = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """One row to report on, in words."""

    place: str
    prompt: str
    candidates: tuple[str, ...]
    best: tuple[int, ...]  # several that are tied


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row at which the model prefers another candidate than the best."""

    place: str
    prompt: str
    best: str
    preferred: str
    probability: float  # that the model gives to what it prefers
    probability_of_best: float


@dataclass(frozen=True, slots=True)
class PreferenceReport:
    """`print` it, or `save` it as report.json, report.md and three pictures."""

    rows: int
    candidates: int  # K
    ties: int  # rows in which several are tied for the best
    identical: int  # rows in which all candidates are the same
    accuracy: float  # ties count half
    accuracy_interval: tuple[float, float]  # Wilson, 95%
    mean_reciprocal_rank: float
    loss: float  # nats
    brier: float
    calibration_error: float  # ECE
    longest_accuracy: float  # of always preferring the longest candidate
    length_correlation: dict[str, float | None]
    score_mean: float
    score_std: float
    calibration: list[Bin]
    mistakes: list[Mistake]  # the most confident ones first
    scores: np.ndarray = field(repr=False, compare=False)  # (N, K)
    lengths: np.ndarray = field(repr=False, compare=False)  # (N, K), tokens
    target: np.ndarray = field(repr=False, compare=False)  # (N, K)

    def __str__(self) -> str:
        low, high = self.accuracy_interval
        return (f"accuracy {self.accuracy:.3f} [{low:.3f}, {high:.3f}] on {self.rows} held-out rows (chance {1 / self.candidates:.3f}, the "
                f"longest {self.longest_accuracy:.3f}), mean reciprocal rank {self.mean_reciprocal_rank:.3f}, loss {self.loss:.4f} (chance "
                f"{math.log(self.candidates):.4f}), ECE {self.calibration_error:.3f}, Brier {self.brier:.3f}")  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Everything but the arrays."""
        kept = asdict(self)
        for name in ("scores", "lengths", "target"):
            del kept[name]
        return kept

    def charts(self) -> "dict[str, Chart]":
        """The pictures by name: reliability, scores, lengths."""
        from gymformer.monitoring.preference_plots import plot_lengths, plot_reliability, plot_scores

        best = self.target > 0
        return {
            "reliability": plot_reliability([b.confidence for b in self.calibration], [b.accuracy for b in self.calibration],
                                            [b.count for b in self.calibration], 1 / self.candidates),
            "scores": plot_scores(self.scores[best], self.scores[~best]),
            "lengths": plot_lengths(self.lengths.ravel(), self.scores.ravel(), self.length_correlation["score"]),
        }  # fmt: skip

    def save(self, folder: str | Path, title: str = "Reward model", preface: str = "") -> Path:
        """Writes report.json, report.md and the pictures into the folder; returns the page."""
        folder = Path(folder)
        write_json(folder / "report.json", self.as_dict())
        for name, chart in self.charts().items():
            buffer = io.BytesIO()
            chart.savefig(buffer, format="png", dpi=110)
            write_file(folder / f"{name}.png", buffer.getvalue())
        page = folder / "report.md"
        write_file(page, self.markdown(title, preface).encode())
        return page

    def markdown(self, title: str = "Reward model", preface: str = "") -> str:
        low, high = self.accuracy_interval
        correlation = {name: "-" if value is None else f"{value:+.3f}" for name, value in self.length_correlation.items()}
        lines = [f"# {title}: report", "", *([preface, ""] if preface else []),
                 f"On {self.rows} held-out rows of {self.candidates} candidates ({self.ties} ties, {self.identical} with all candidates the "
                 "same).", "",
                 "| | | by chance |", "|---|---|---|",
                 f"| accuracy (ties count half) | {self.accuracy:.3f}, 95% interval [{low:.3f}, {high:.3f}] | {1 / self.candidates:.3f} |",
                 f"| accuracy of always preferring the longest | {self.longest_accuracy:.3f} | |",
                 f"| mean reciprocal rank | {self.mean_reciprocal_rank:.3f} | {np.mean(1 / np.arange(1, self.candidates + 1)):.3f} |",
                 f"| loss, nats | {self.loss:.4f} | {math.log(self.candidates):.4f} |",
                 f"| Brier score, Σ (p - y)² | {self.brier:.4f} | {1 - 1 / self.candidates:.4f} |",
                 f"| expected calibration error | {self.calibration_error:.4f} | |",
                 f"| scores: mean, standard deviation | {self.score_mean:.3f}, {self.score_std:.3f} | |",
                 f"| correlation of score and length | {correlation['score']} | 0 |",
                 f"| … within rows | {correlation['score_within_rows']} | 0 |",
                 f"| … of the label and length within rows | {correlation['label_within_rows']} | |", "",
                 "![reliability](reliability.png)", "", "![scores](scores.png)", "", "![lengths](lengths.png)", "",
                 "## Confidently wrong", ""]  # fmt: skip
        for mistake in self.mistakes:
            lines += [f"### {mistake.place}: {mistake.probability:.3f} for another, {mistake.probability_of_best:.3f} for the best", "",
                      "Prompt:", "", _block(mistake.prompt), "", "Judged the best:", "", _block(mistake.best), "",
                      "Preferred by the model:", "", _block(mistake.preferred), ""]  # fmt: skip
        return "\n".join(lines if self.mistakes else [*lines, "None: every row is right.", ""])


def preference_report(scores: np.ndarray, rows: Sequence[Judged], lengths: np.ndarray, spread: float = 1.0) -> PreferenceReport:
    """The report on N rows of K candidates: scores (N, K), lengths in tokens (N, K).

    The probability of a candidate is softmax(spread · scores): `spread` undoes a normalisation of the scores.
    """
    scores = np.asarray(scores, np.float64)
    if not len(rows) or scores.shape != lengths.shape or len(scores) != len(rows) or not np.isfinite(scores).all():
        raise ValueError(f"a report needs finite scores and lengths of the same shape (N, K) for N rows; got scores {scores.shape}, lengths "
                         f"{lengths.shape}, {len(rows)} rows")  # fmt: skip
    target = targets_of([row.best for row in rows], scores.shape[1])
    log_probs = log_softmax(spread * scores)
    probs, credit = np.exp(log_probs), credits_of(scores, target)
    accuracy, bins = float(credit.mean()), calibration(probs, credit)
    return PreferenceReport(
        rows=len(rows), candidates=scores.shape[1], ties=sum(len(row.best) > 1 for row in rows),
        identical=sum(len(set(row.candidates)) == 1 for row in rows), accuracy=accuracy,
        accuracy_interval=wilson_interval(accuracy, len(rows)),
        mean_reciprocal_rank=float(reciprocal_ranks(scores, target).mean()), loss=float(losses_of(log_probs, target).mean()),
        brier=brier_score(probs, target), calibration_error=calibration_error(bins),
        longest_accuracy=float(credits_of(lengths, target).mean()),
        length_correlation=length_correlations(scores, lengths, target),
        score_mean=float(scores.mean()), score_std=float(scores.std()), calibration=bins,
        mistakes=_mistakes(rows, probs, credit), scores=scores, lengths=np.asarray(lengths), target=target,
    )  # fmt: skip


def _mistakes(rows: Sequence[Judged], probs: np.ndarray, credit: np.ndarray) -> list[Mistake]:
    wrong = [i for i in np.argsort(-probs.max(1), kind="stable") if credit[i] == 0]
    found = []
    for i in wrong[:MOST_MISTAKES]:
        row, preferred = rows[i], int(probs[i].argmax())
        found.append(Mistake(row.place, row.prompt, row.candidates[row.best[0]], row.candidates[preferred],
                             float(probs[i, preferred]), float(probs[i, row.best[0]])))  # fmt: skip
    return found


def _block(text: str) -> str:
    """A text as a block of code that nothing in it can end."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall(r"`+", text))])
    return f"{fence}text\n{text}\n{fence}"
