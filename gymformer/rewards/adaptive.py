"""Weights that follow performance: the component that lags behind its target gets more."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gymformer.rewards.component import RewardSum

__all__ = ["AdaptiveWeights"]


class Ended(Protocol):
    """As far as a segment is looked at here."""

    info: dict[str, Any]

    @property
    def ended(self) -> bool: ...


class AdaptiveWeights:
    """Moves the weights of a sum's components after each rollout, by multiplicative weights with a fixed share (Herbster and
    Warmuth 1998, section 5). With p_k = |w_k| / Σ|w|, and p⁰ as the weights were at first:

        q_k ∝ p_k exp(η sign(w_k) (target_k - m_k)),        p_k ← (1 - α) q_k + α p⁰_k,        w_k ← sign(w_k) p_k Σ|w|

    m_k is the mean over the rollout's episodes of what the component gave, unweighted and summed over the episode. Of a
    component with a negative weight, a cost, the target is what it should fall to. Σ|w| stays as it is, no share ever falls below
    α p⁰_k or rises above 1 - α (1 - p⁰_k), and nothing is left to chance. Where all lag alike, the weights stay.

    The components named in `targets` share their weight among themselves; all others stay. It is a transform: give the same sum
    to the environments and `transforms=[AdaptiveWeights(total, ...)]` to `train_agent`, whose checkpoints then hold the
    weights. `observe` does the same by hand. In several processes each follows its own episodes.
    """

    def __init__(self, total: RewardSum, targets: Mapping[str, float], *, eta: float = 0.5, alpha: float = 0.1):
        """eta: speed, per unit of the components. alpha: the share that goes back to the first weights, in (0, 1]."""
        self.components = {component.name: component for component in total.components if component.name in targets}
        if unknown := sorted(set(targets) - set(self.components)):
            names = ", ".join(component.name for component in total.components)
            raise ValueError(f"targets names {', '.join(unknown)}, but the sum has {names}")
        if len(targets) < 2:
            raise ValueError(f"targets={dict(targets)}; weights are moved between at least 2 components")
        if not (eta > 0 and 0 < alpha <= 1 and all(map(math.isfinite, [eta, *targets.values()]))):
            raise ValueError(
                f"eta={eta}, alpha={alpha}, targets={dict(targets)}; eta is greater than 0, alpha in (0, 1], all finite"
            )
        first = {name: component.weight for name, component in self.components.items()}
        if not all(first.values()):
            raise ValueError(f"the weights are {first}; one that is 0 can neither grow nor tell what its component gave")
        self.targets, self.eta, self.alpha = {name: float(targets[name]) for name in first}, eta, alpha
        self.first, self.sum = first, sum(map(abs, first.values()))

    @property
    def weights(self) -> dict[str, float]:
        return {name: component.weight for name, component in self.components.items()}

    def observe(self, means: Mapping[str, float]) -> None:
        """One step, from the mean of each component, unweighted. Raises ValueError where one is missing or not finite."""
        if not all(math.isfinite(means.get(name, math.nan)) for name in self.targets):
            raise ValueError(f"means={dict(means)}; a finite number is needed for each of {', '.join(self.targets)}")
        lags = {name: math.copysign(self.eta, w) * (self.targets[name] - means[name]) for name, w in self.weights.items()}
        largest = max(lags.values())  # taken out: exp of it might overflow, and it cancels
        q = {name: abs(w) * math.exp(lags[name] - largest) for name, w in self.weights.items()}
        for name, component in self.components.items():
            share = (1 - self.alpha) * q[name] / sum(q.values()) + self.alpha * abs(self.first[name]) / self.sum
            component.weight = math.copysign(share * self.sum, self.first[name])

    def __call__(self, segments: Sequence[Ended]) -> dict[str, float]:
        """Learns from the episodes that ended; returns "reward_weight/NAME", the weights that they were paid with."""
        before = self.weights
        paid = [segment.info["reward_terms"] for segment in segments if segment.ended and "reward_terms" in segment.info]
        if paid:
            self.observe({name: sum(terms.get(name, 0.0) for terms in paid) / len(paid) / w for name, w in before.items()})
        return {f"reward_weight/{name}": weight for name, weight in before.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["weights"].keys() != self.components.keys():
            raise ValueError(f"the weights stored are of {', '.join(state['weights'])}, but these of {', '.join(self.components)}; build the "
                             "same sum and targets before resuming")  # fmt: skip
        for name, weight in state["weights"].items():
            self.components[name].weight = weight
