"""What came of an evaluation: a record for each episode, and what all of them say, with intervals."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gymformer.evaluation.metrics import bootstrap_interval, paired_interval, pass_at_k, wilson_interval
from gymformer.files import read_json, write_file
from gymformer.monitoring.log import read_metrics

if TYPE_CHECKING:
    from gymformer.monitoring.curves import Chart

__all__ = ["Comparison", "EpisodeRecord", "EvaluationResults", "Interval", "Prices", "load_results"]


class Prices(NamedTuple):
    """Dollars for a million tokens."""

    read: float
    written: float


class Interval(NamedTuple):
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One episode of one player."""

    player: str
    episode: int  # its number; episodes of one number have one seed and one task
    sample: int  # of those
    seed: int
    opening: str  # a hash of what the environment showed at first
    reward: float  # the sum over the episode: its return
    success: float | None  # from 0 to 1; None where the environment does not tell
    completed: bool  # terminated, not cut off
    steps: int  # actions that the player chose
    words: int | None  # that it wrote
    tokens_read: int | None
    tokens_written: int | None
    seconds: float  # of the clock; of episodes that were played side by side an equal share
    difficulty: float | None
    task: str | None


@dataclass(frozen=True)
class EvaluationResults:
    """All episodes of one player, and what they say.

    The unit of all intervals is the seed: what several samples of it brought is averaged first. Intervals of means are
    bootstrapped (`bootstrap_interval`), those of rates are Wilson's (`wilson_interval`).
    """

    env: str
    player: str
    records: Sequence[EpisodeRecord]  # in the order of (episode, sample), at least one
    settings: Mapping[str, Any]  # of the evaluation
    prices: Prices | None = None
    path: Path | None = None  # the file that has all this

    @property
    def rewards(self) -> list[float]:
        """The return of every episode."""
        return [record.reward for record in self.records]

    @property
    def mean_reward(self) -> Interval:
        return self._mean("reward")

    @property
    def success_rate(self) -> Interval | None:
        """None where the environment does not tell of every episode whether it was a success."""
        return None if self._untold("success") else self._rate("success")

    @property
    def completion_rate(self) -> Interval:
        """The share of episodes that came to their end and were not cut off."""
        return self._rate("completed")

    def pass_at(self, k: int) -> Interval:
        """The chance that at least one of k samples is a full success (1.0), mean over the seeds (`pass_at_k`)."""
        if self._untold("success"):
            raise ValueError(
                f'{self.env} does not tell what a success is, so there is no pass@{k}; let its last info say "success"'
            )
        groups = [
            group for group in self._seeds() if len(group) >= k
        ]  # of an evaluation that was interrupted the last may lack some
        if not groups:
            raise ValueError(f"no seed was played {k} times, so there is no pass@{k}; evaluate with samples={k} or more")
        return _mean_of([pass_at_k(len(group), sum(record.success == 1 for record in group), k) for group in groups])

    @property
    def statistics(self) -> dict[str, Interval | None]:
        """By name; None for what is not known."""
        samples = max(map(len, self._seeds()))
        powers = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k < samples] + [samples]
        passes: dict[str, Interval | None] = (
            {} if samples == 1 or self._untold("success") else {f"pass@{k}": self.pass_at(k) for k in powers}
        )
        names = ("steps", "words", "tokens_read", "tokens_written", "seconds", "difficulty")
        means = {name: None if self._untold(name) else self._mean(name) for name in names}
        return {
            "success_rate": self.success_rate,
            "reward": self.mean_reward,
            "completion_rate": self.completion_rate,
            **passes,
            **means,
        }

    @property
    def progression(self) -> dict[str, list[float]]:
        """From episode to episode: the mean success and reward so far, and the difficulty; what is not known is left out."""
        from gymformer.monitoring.learning_curve import running_mean

        known = {name: [float(getattr(record, name)) for record in self.records]
                 for name in ("success", "reward", "difficulty") if not self._untold(name)}  # fmt: skip
        return {
            name: values if name == "difficulty" else running_mean(values, len(values)).tolist()
            for name, values in known.items()
        }

    @property
    def cost(self) -> dict[str, float | None]:
        """Of all episodes together: tokens, seconds, and dollars where prices were given."""
        read, written = (None if self._untold(name) else sum(getattr(r, name) for r in self.records)
                         for name in ("tokens_read", "tokens_written"))  # fmt: skip
        dollars = None
        if self.prices is not None and read is not None and written is not None:
            dollars = (read * self.prices.read + written * self.prices.written) / 1e6
        return {
            "tokens_read": read,
            "tokens_written": written,
            "seconds": sum(r.seconds for r in self.records),
            "dollars": dollars,
        }

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Of each kind of task: how many episodes, success and reward."""
        found: dict[str, list[EpisodeRecord]] = {}
        for record in self.records:
            if record.task is not None:
                found.setdefault(record.task, []).append(record)
        parts = {task: EvaluationResults(self.env, self.player, found[task], self.settings) for task in sorted(found)}
        return {task: {"episodes": len(part.records), "success_rate": part.success_rate, "reward": part.mean_reward}
                for task, part in parts.items()}  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of all this."""
        return {"env": self.env, "player": self.player, "settings": dict(self.settings), "prices": _plain(self.prices),
                "statistics": _plain(self.statistics), "progression": self.progression, "cost": self.cost, "tasks": _plain(self.tasks),
                "episodes": [asdict(record) for record in self.records]}  # fmt: skip

    def markdown(self) -> str:
        """A table of the statistics, and one of the kinds of tasks."""
        lines = [f"{self.player} in {self.env}, {len(self.records)} episodes", "", "| | mean | 95% interval |", "|---|---|---|"]
        for name, interval in self.statistics.items():
            if interval is not None:
                form = "{:.1%}" if _is_rate(name) else "{:.4g}"
                value, low, high = (form.format(number) for number in interval)
                lines.append(f"| {name.replace('_', ' ')} | {value} | {low} to {high} |")
        cost = [f"{value:.4g} {name.replace('_', ' ')}" for name, value in self.cost.items() if value is not None]
        lines += ["", f"Cost: {', '.join(cost)}."]
        if self.tasks:
            lines += ["", "| task | episodes | success rate | reward |", "|---|---|---|---|"]
            lines += [f"| {_cell(task)} | {part['episodes']} | {_percent(part['success_rate'])} | {part['reward']} |"
                      for task, part in self.tasks.items()]  # fmt: skip
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.markdown()

    def plot(self, path: str | Path | None = None) -> "Chart":
        """Reward, success and difficulty from episode to episode; a notebook shows it by itself. With `path`, also written there."""
        return _plotted({self.player: self}, self.env, path)

    def _seeds(self) -> list[list[EpisodeRecord]]:
        """The samples of each seed."""
        groups: dict[int, list[EpisodeRecord]] = {}
        for record in self.records:
            groups.setdefault(record.episode, []).append(record)
        return list(groups.values())

    def by_seed(self, name: str) -> list[float]:
        """The mean of a field over the samples of each seed."""
        return [float(np.mean([getattr(record, name) for record in group])) for group in self._seeds()]

    def _mean(self, name: str) -> Interval:
        return _mean_of(self.by_seed(name))

    def _rate(self, name: str) -> Interval:
        values = self.by_seed(name)
        share = float(np.mean(values))
        return Interval(share, *wilson_interval(share, len(values)))

    def _untold(self, name: str) -> bool:
        return any(getattr(record, name) is None for record in self.records)


@dataclass(frozen=True)
class Comparison:
    """Several players on the same seeds. Differences are to the first player, and paired: of each seed's own results."""

    results: Mapping[str, EvaluationResults]

    @property
    def path(self) -> Path | None:
        """The file that has all this."""
        return next(iter(self.results.values())).path

    @property
    def differences(self) -> dict[str, dict[str, Interval | None]]:
        """Of each other player: its success and its reward less those of the first, with paired intervals (`paired_interval`)."""
        (_, first), *others = self.results.items()
        return {name: {"success_rate": None if first.success_rate is None or other.success_rate is None else _paired(other, first, "success"),
                       "reward": _paired(other, first, "reward")} for name, other in others}  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {
            "players": {name: results.as_dict() for name, results in self.results.items()},
            "differences": _plain(self.differences),
        }

    def markdown(self) -> str:
        """A table of the players, and one of the differences."""
        first, *others = self.results
        env, seeds = self.results[first].env, len(self.results[first].by_seed("reward"))
        lines = [f"{env}, the same {seeds} seeds for all, 95% intervals", "",
                 "| player | success rate | reward | completion rate | words | tokens written | seconds |",
                 "|---|---|---|---|---|---|---|"]  # fmt: skip
        for name, results in self.results.items():
            means = [results.statistics[column] for column in ("words", "tokens_written", "seconds")]
            cells = [_percent(results.success_rate), str(results.mean_reward), _percent(results.completion_rate),
                     *("" if mean is None else f"{mean.value:.4g}" for mean in means)]  # fmt: skip
            lines.append(f"| {_cell(name)} | {' | '.join(cells)} |")
        if others:
            lines += ["", f"| less {_cell(first)}, seed by seed | success rate | reward |", "|---|---|---|"]
            lines += [
                f"| {_cell(name)} | {_percent(parts['success_rate'])} | {parts['reward']} |"
                for name, parts in self.differences.items()
            ]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.markdown()

    def plot(self, path: str | Path | None = None) -> "Chart":
        """As `EvaluationResults.plot`, a line for each player."""
        return _plotted(self.results, next(iter(self.results.values())).env, path)


def load_results(path: str | Path) -> dict[str, EvaluationResults]:
    """The results in a file that an evaluation wrote, by player; of one that was interrupted (`.jsonl`), what it had come to."""
    path = Path(path)
    if path.suffix == ".jsonl":
        header, *records = read_metrics(path)
        players = {name: {"settings": header, "prices": header["prices"], "episodes": [r for r in records if r["player"] == name]}
                   for name in header["players"]}  # fmt: skip
    else:
        content = read_json(path)
        players = content.get("players") or {content["player"]: content}
    return {name: EvaluationResults(part["settings"]["env"], name, [EpisodeRecord(**record) for record in part["episodes"]], part["settings"],
                                    None if part["prices"] is None else Prices(*part["prices"]), path)
            for name, part in players.items() if part["episodes"]}  # fmt: skip


def _plotted(results: Mapping[str, EvaluationResults], title: str, path: str | Path | None) -> "Chart":
    from gymformer.monitoring.curves import plot_evaluation

    chart = plot_evaluation({name: one.rewards for name, one in results.items()},
                            {name: one.progression for name, one in results.items()}, title)  # fmt: skip
    if path is not None:
        save_chart(chart, Path(path))
    return chart


def save_chart(chart: "Chart", path: Path) -> None:
    """Writes the picture whole or not at all, in the format of the path's suffix."""
    buffer = io.BytesIO()
    chart.savefig(buffer, format=path.suffix.removeprefix(".") or "png")
    write_file(path, buffer.getvalue())


def _paired(these: EvaluationResults, those: EvaluationResults, name: str) -> Interval:
    one, other = these.by_seed(name), those.by_seed(name)
    interval = paired_interval(one, other)
    return Interval(float(np.mean(one) - np.mean(other)), *interval)


def _mean_of(values: Sequence[float]) -> Interval:
    return Interval(float(np.mean(values)), *bootstrap_interval(values))


def _is_rate(name: str) -> bool:
    return name.endswith("_rate") or name.startswith("pass@")


def _percent(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def _plain(value: Any) -> Any:
    """Intervals and prices as lists."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _cell(text: str) -> str:
    """In a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")
