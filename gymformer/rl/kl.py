"""Staying close to a reference policy: a penalty beside the rewards."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from gymformer.rl.batch import States, decision_index, legal_actions, parts, per_decision
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.segment import Segment

__all__ = [
    "AdaptiveCoefficient",
    "DeclaresReference",
    "KLPenalty",
    "Refreshable",
    "kl_k3",
    "log_probs_and_entropy_of",
    "log_probs_of",
]

AT_ONCE = 2**25  # logits that are held at once, 128 MiB of float32
ROUNDING = 1e-5  # nats by which two passes of one policy differ at most in float32
SAMPLE = 4096  # numbers of a parameter by which it is known again


@runtime_checkable
class DeclaresReference(Protocol):
    """An environment that says which policy to stay close to; the training loop sees to it."""

    reference: Any  # a model's folder or hub id; None: the actor as it is before training
    kl_coef: float  # reward for a nat of divergence


@runtime_checkable
class Refreshable(Protocol):
    """A reference that becomes the actor's policy of the moment when its giver says so, and is kept in checkpoints."""

    is_refreshed: bool  # since it was made

    def refresh(self) -> None: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def load_tensors(self, tensors: dict[str, Tensor]) -> None: ...


@dataclass(slots=True)
class AdaptiveCoefficient:
    """β that keeps the KL divergence of whole episodes near `target` (arXiv:1909.08593, section 2.2):
    e = clip(KL/target - 1, -0.2, 0.2), β ← β (1 + e · episodes/horizon)."""

    value: float = 0.1
    target: float = 6.0  # nats of a whole episode
    horizon: float = 10_000.0  # episodes

    def __post_init__(self) -> None:
        if not (self.value > 0 and self.target > 0 and self.horizon > 0):
            raise ValueError(f"{self}; value, target and horizon must be greater than 0")

    def observe(self, kl: float, episodes: int) -> None:
        """`kl`: mean of the episodes' sums, in nats."""
        error = min(0.2, max(-0.2, kl / self.target - 1))
        self.value *= 1 + error * episodes / self.horizon


class KLPenalty:
    """Writes the penalty -β (log π_old(a_t|s_t) - log π_ref(a_t|s_t)) beside each reward (arXiv:1909.08593, eq. 2).

    Its mean over decisions is -β times an estimate (k1) of KL(π_old || π_ref). It is 0 where no decision of a rollout differs by more
    than rounding. The reference is never trained. `coefficient`
    is β, or an AdaptiveCoefficient that follows the divergence. `actor`, where it is in half precision: its log π is computed
    anew, in one pass like the reference's, for a rollout's cached passes differ from that by more than a small divergence.
    """

    def __init__(self, reference: ActorNetwork, coefficient: float | AdaptiveCoefficient, actor: ActorNetwork | None = None):
        is_number = isinstance(coefficient, int | float | np.number)
        if not (isinstance(coefficient, AdaptiveCoefficient) or (is_number and 0 <= coefficient < math.inf)):
            raise ValueError(f"the coefficient of the KL penalty is {coefficient!r}; it must be finite and not negative, or moving away from "
                             "the reference would be paid for")  # fmt: skip
        self.reference, self.coefficient = reference, coefficient
        self.policy, self.actor = reference.policy, actor

    @property
    def beta(self) -> float:
        return self.coefficient.value if isinstance(self.coefficient, AdaptiveCoefficient) else self.coefficient

    def __call__(self, segments: list[Segment]) -> dict[str, float]:
        """One pass of the reference over all decisions; returns what the divergence is and what it costs."""
        log_probs = log_probs_of(self.reference, segments).cpu()
        log_ratio = self._own(segments) - log_probs
        if log_ratio.abs().max() < ROUNDING:  # the reference itself: normalised advantages would make much of nothing
            log_ratio = torch.zeros_like(log_ratio)
        beta, sums = self.beta, []
        for segment, kl in zip(segments, log_ratio.split([len(segment) for segment in segments]), strict=True):
            penalty = -beta * kl.numpy()
            segment.penalties = penalty if segment.penalties is None else segment.penalties + penalty
            sums.append(float(kl.sum()))
        if isinstance(self.coefficient, AdaptiveCoefficient):
            self.coefficient.observe(sum(sums) / len(sums), len(sums))
        return {
            "kl_to_reference": float(log_ratio.mean()),
            "kl_to_reference_k3": float(kl_k3(log_ratio).mean()),
            "kl_coefficient": beta,
        }

    def _own(self, segments: list[Segment]) -> Tensor:
        """(N,) log π_old of the decisions."""
        if self.actor is None or self.actor.is_precise:
            return per_decision(segments, "log_probs")
        return log_probs_of(self.actor, segments).cpu()

    def state_dict(self) -> dict[str, Any]:
        """What an adaptive coefficient has become, and by what the reference is known again, as JSON holds it."""
        return {"beta": self.beta, "reference": None if self.tensors() else fingerprint(self.reference)}

    def tensors(self) -> dict[str, Tensor]:
        """What a reference has become that was refreshed; nothing of another, which whoever resumes gives again."""
        reference = self.reference
        return reference.tensors() if isinstance(reference, Refreshable) and reference.is_refreshed else {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Raises ValueError where the reference cannot be refreshed, as the one that they are of was."""
        if not isinstance(self.reference, Refreshable):
            raise ValueError("this run was interrupted with a reference that had been refreshed; give such a one again: "
                             "reference=actor.reference(refreshable=True)")  # fmt: skip
        self.reference.load_tensors(tensors)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError where the reference is another one: the penalties would pull somewhere else."""
        stored = state.get("reference")  # None where its tensors were kept
        if stored is not None and stored != fingerprint(self.reference):
            raise ValueError("the reference is not the one that this run began with; give the same one again. Where it is the actor as "
                             'it was at first (reference="initial"), build the actor anew before resuming: one that has learned since '
                             "is no reference")  # fmt: skip
        if isinstance(self.coefficient, AdaptiveCoefficient):
            self.coefficient.value = state["beta"]


def fingerprint(network: nn.Module) -> str:
    """Tells networks apart by their parameters, of each of which at most `SAMPLE` numbers are looked at. (A reference that lies
    in the actor itself, the model with its adapter off, has none, and cannot have changed.)"""
    digest = hashlib.sha256()
    for parameter in network.parameters():
        numbers = parameter.detach().flatten()[:: max(1, parameter.numel() // SAMPLE)]
        digest.update(numbers.double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def kl_k3(log_ratio: Tensor) -> Tensor:
    """exp(-x) - 1 + x for x = log π(a) - log π_ref(a), a ~ π: never negative, and its mean is KL(π || π_ref)
    (joschu.net/blog/kl-approx.html)."""
    return torch.expm1(-log_ratio) + log_ratio


def log_probs_of(actor: ActorNetwork, segments: list[Segment]) -> Tensor:
    """log π(a_t|s_t) of another policy for all decisions of the segments, (N,), with the same masks."""
    return log_probs_and_entropy_of(actor, segments)[0]


@torch.no_grad()
def log_probs_and_entropy_of(actor: ActorNetwork, segments: list[Segment]) -> tuple[Tensor, Tensor]:
    """The same, and H(π(·|s_t)), both (N,), in nats."""
    device, policy = actor.device, actor.policy
    states = States.of(segments, device)[decision_index(segments).to(device)]
    actions = per_decision(segments, "actions", device)
    legal = legal_actions(segments, policy.num_outputs, device)
    log_probs, entropy = torch.empty(len(states), device=device), torch.empty(len(states), device=device)
    for index in parts(states, max(256, min(4096, AT_ONCE // policy.num_outputs))):
        mask = None if legal is None else legal[index]
        of_part = policy.log_probs_and_entropy(actor.evaluate(states[index]), actions[index], mask)
        log_probs[index], entropy[index] = of_part
    return log_probs, entropy
