"""Rewards as weighted terms that keep their names."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["RewardComponent", "RewardError", "RewardSum", "failing_in"]

SHOWN = 80  # characters of the text that a failing component was asked about


class RewardError(RuntimeError):
    """A component of a reward failed. Nothing can be learned from what nobody has judged, so the run stops."""


@contextmanager
def failing_in(where: str) -> Iterator[None]:
    """A RewardError inside says in which environment."""
    try:
        yield
    except RewardError as error:
        raise RewardError(f"in {where}, {error}") from error.__cause__


class RewardComponent:
    """One term of a reward: weight · compute_fn(state).

    `state` is what an environment tells of its moment, by name: token environments tell "prompt" and "text" and whatever
    their infos hold, `Rewarded` what it lists. A subclass gives its own method:

        class Brevity(RewardComponent):
            def __init__(self, weight: float = 1.0):
                super().__init__(name="brevity", weight=weight, compute_fn=self._compute_reward)

            def _compute_reward(self, state: dict) -> float:
                return 1.0 / (1 + len(state["text"]))
    """

    def __init__(self, name: str, weight: float = 1.0, compute_fn: Callable[[dict[str, Any]], float] | None = None):
        if compute_fn is None:
            raise ValueError(f"the reward {name!r} has no compute_fn; give a function of the state, "
                             "compute_fn=lambda state: float(...)")  # fmt: skip
        if not math.isfinite(weight):
            raise ValueError(f"the reward {name!r} has weight {weight}; a weight is a finite number")
        self.name, self.weight, self.compute_fn = name, float(weight), compute_fn

    @classmethod
    def of_text(cls, name: str, function: Callable[[str], float], weight: float = 1.0) -> "RewardComponent":
        """A term that a plain function of `state["text"]` computes."""
        return RewardComponent(name, weight, lambda state: function(state["text"]))

    def __call__(self, state: dict[str, Any]) -> float:
        """weight · compute_fn(state). Raises RewardError, which names the component, where that fails or is no finite number."""
        try:
            worth = float(self.compute_fn(state))
        except Exception as error:
            raise RewardError(self._failed(state, f"raised {type(error).__name__}: {error}")) from error
        if not math.isfinite(self.weight * worth):
            raise RewardError(self._failed(state, f"gave {worth} with weight {self.weight:g}, which is no finite number"))
        return self.weight * worth

    def _failed(self, state: dict[str, Any], how: str) -> str:
        text = state.get("text")
        about = f" for the text {text[:SHOWN]!r}" if isinstance(text, str) else ""
        return f"the reward component {self.name!r} {how}{about}; mend its function: a reward that failed is never counted as 0"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, weight={self.weight:g})"


class RewardSum:
    """The sum of several components, each readable by its name."""

    def __init__(self, components: Iterable[RewardComponent]):
        self.components = list(components)
        for component in self.components:
            if not isinstance(component, RewardComponent):
                raise TypeError(f"a sum is made of RewardComponents, not of {component!r}; wrap a function of the text: "
                                "RewardComponent.of_text(name, function, weight)")  # fmt: skip
        names = [component.name for component in self.components]
        if len(set(names)) < len(names):
            raise ValueError(f"the components of a sum need different names, got {names}")

    def terms(self, state: dict[str, Any]) -> dict[str, float]:
        """Each component's weighted value."""
        return {component.name: component(state) for component in self.components}

    def __call__(self, state: dict[str, Any]) -> float:
        return sum(self.terms(state).values(), 0.0)

    def __repr__(self) -> str:
        return f"RewardSum({self.components})"
