"""Staying close to a reference policy: a penalty beside the rewards."""

import torch

from gymformer.rl.batch import States, decision_index, legal_actions, per_decision
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.segment import Segment

__all__ = ["KLPenalty"]


class KLPenalty:
    """Writes the penalty -β (log π_old(a_t|s_t) - log π_ref(a_t|s_t)) beside each reward (arXiv:1909.08593, eq. 2).

    Its mean over decisions is -β times an estimate (k1) of KL(π_old || π_ref). The reference is never trained.
    """

    def __init__(self, reference: ActorNetwork, coefficient: float):
        self.reference, self.coefficient = reference, coefficient
        self.policy = reference.policy

    @torch.no_grad()
    def __call__(self, segments: list[Segment]) -> dict[str, float]:
        """One pass of the reference over all decisions; returns the mean KL estimate in nats per decision."""
        device = next(self.reference.parameters()).device
        states = States.of(segments, device)[decision_index(segments).to(device)]
        legal = legal_actions(segments, self.policy.num_outputs, device)
        log_probs, _ = self.policy.log_probs_and_entropy(
            self.reference.evaluate(states), per_decision(segments, "actions", device), legal
        )
        kl = (per_decision(segments, "log_probs", device) - log_probs).cpu().numpy()
        start = 0
        for segment in segments:
            penalty = -self.coefficient * kl[start : start + len(segment)]
            segment.penalties = penalty if segment.penalties is None else segment.penalties + penalty
            start += len(segment)
        return {"kl_to_reference": float(kl.mean())}
