"""OutcomeGaps: fairness as the gap of outcomes between groups of episodes."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["Gap", "OutcomeGaps"]

RESAMPLES = 1000
RETURN = "return"


class Ended(Protocol):
    """As far as a segment is looked at here."""

    info: dict[str, Any]
    episode_return: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """max - min of the groups' mean outcomes.

    The percentile bootstrap interval resamples episodes within each group (Efron & Tibshirani 1993, section 13.3). A gap is never
    negative, so that it is above 0 also between groups that are treated alike, and its interval with it: whether there is a gap at
    all is what `p_value` says, the share of random regroupings with as large a gap (permutation test, same book, section 15.2).
    """

    means: dict[str, float]
    counts: dict[str, int]
    gap: float
    interval: tuple[float, float]  # 95%
    p_value: float

    def __str__(self) -> str:
        groups = ", ".join(f"{name} {mean:.3f} ({self.counts[name]})" for name, mean in self.means.items())
        low, high = self.interval
        return f"gap {self.gap:.3f} (95% interval {low:.3f} to {high:.3f}, p = {self.p_value:.3f}): {groups}"


class OutcomeGaps:
    """Groups episodes by an attribute that the environment's last info tells, and compares what becomes of them.

    attribute: a key of the info, such as "customer_group". outcome: another, a number ("success"), or "return". window: the last
    episodes of each group that count.

    By hand: `observe(group, outcome)`, then `report()`. In training it is a transform that writes no penalty:
    `train_agent(..., transforms=[OutcomeGaps("customer_group")])` logs "gap/ATTRIBUTE", its "/low", "/high" and "/p_value" once two
    groups have episodes, and the means as "outcome/ATTRIBUTE/GROUP". Episodes without the attribute do not count; those that have
    it and lack the outcome raise ValueError. In several processes each looks at its own episodes.
    """

    def __init__(self, attribute: str, outcome: str = "success", *, window: int = 1000):
        if window < 1:
            raise ValueError(f"window={window}; at least 1 episode of each group is remembered")
        self.attribute, self.outcome, self.window = attribute, outcome, window
        self._outcomes: dict[str, deque[float]] = {}

    def observe(self, group: str, outcome: float) -> None:
        self._outcomes.setdefault(str(group), deque(maxlen=self.window)).append(float(outcome))

    def report(self, seed: int = 0) -> Gap:
        """Raises ValueError while fewer than two groups have episodes. `seed` draws the resamples."""
        if len(self._outcomes) < 2:
            raise ValueError(f"a gap is between groups, but {self.attribute!r} was so far {', '.join(self._outcomes) or 'never told'}; at "
                             "least 2 groups need episodes")  # fmt: skip
        rng = np.random.default_rng(seed)
        groups = {name: np.array(self._outcomes[name]) for name in sorted(self._outcomes)}
        means = {name: float(values.mean()) for name, values in groups.items()}
        resampled = [values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1) for values in groups.values()]
        low, high = np.quantile(np.ptp(resampled, axis=0), [0.025, 0.975])
        gap = max(means.values()) - min(means.values())
        ends = np.cumsum([len(values) for values in groups.values()])[:-1]
        mixed = rng.permuted(np.tile(np.concatenate(list(groups.values())), (RESAMPLES, 1)), axis=1)
        by_chance = np.ptp([part.mean(axis=1) for part in np.split(mixed, ends, axis=1)], axis=0)
        p_value = (1 + int(np.sum(by_chance >= gap - 1e-12))) / (1 + RESAMPLES)  # the grouping that is there is one of them
        return Gap(means, {name: len(values) for name, values in groups.items()}, gap, (float(low), float(high)), p_value)

    def __call__(self, segments: Sequence[Ended]) -> dict[str, float]:
        for segment in segments:
            if segment.episode_return is not None and self.attribute in segment.info:
                told = segment.info | {RETURN: segment.episode_return}
                if self.outcome not in told:
                    raise ValueError(f"outcome={self.outcome!r} is not in the last info, which has {', '.join(sorted(segment.info))}; "
                                   'name another key, or "return"')  # fmt: skip
                self.observe(segment.info[self.attribute], told[self.outcome])
        if len(self._outcomes) < 2:
            return {}
        found, name = self.report(), f"gap/{self.attribute}"
        stats = {
            name: found.gap,
            f"{name}/low": found.interval[0],
            f"{name}/high": found.interval[1],
            f"{name}/p_value": found.p_value,
        }
        return stats | {f"outcome/{self.attribute}/{group}": mean for group, mean in found.means.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"outcomes": {group: list(values) for group, values in self._outcomes.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._outcomes = {group: deque(values, maxlen=self.window) for group, values in state["outcomes"].items()}
