"""REINFORCE leave-one-out: an episode is good if it is paid more than the others of the same task."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from gymformer.rl.advantages import leave_one_out
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.batch import DecisionBatch, States, decision_index, importance_weights, legal_actions, per_decision, weighted
from gymformer.rl.descent import check_ratio_is_one, descend, optimizers_for, size_at_once, stored_log_probs
from gymformer.rl.groups import compared, group_statistics, per_segment
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.segment import Segment
from gymformer.rl.settings import Schedule, check_learning, remaining

__all__ = ["RLOO", "RLOOBatch", "RLOOConfig"]


@dataclass(frozen=True, slots=True)
class RLOOConfig:
    """What RLOO is told. A field that is None takes the value that suits the kind of problem."""

    lr_actor: float | None = None  # learning rate; control: 5e-3, text: 1e-4
    group_size: int = 4  # episodes of one task
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float | None = 0.5  # None: not clipped
    micro_batch_size: int | None = None  # decisions of token rows that are read at once; None: as many as memory likes
    lr_schedule: Schedule = "constant"  # "linear": to 0 at the end of training

    def __post_init__(self) -> None:
        check_learning(self, positive=("lr_actor", "max_grad_norm", "micro_batch_size"), not_negative=("entropy_coef",))
        if self.group_size < 2:
            raise ValueError(f"RLOOConfig.group_size={self.group_size}; at least 2 episodes can be compared")

    def filled(self, is_text: bool) -> Self:
        return replace(self, lr_actor=self.lr_actor or (1e-4 if is_text else 5e-3))


@dataclass(frozen=True, slots=True)
class RLOOBatch(DecisionBatch):
    """N decisions, each (N, ...): what one update learns from."""

    actions: Tensor
    log_probs: Tensor  # of the policy that acted, which must be the one that learns
    advantages: Tensor  # of the whole episode, the same for each of its decisions
    legal: Tensor | None


class RLOO(Algorithm):
    """RLOO (arXiv:2402.14740) for vectors and token rows: an episode as a whole is one action, whose baseline is the mean return
    of the other episodes of its group; one gradient step on each rollout, no critic and no clipping.

    The paper's KL penalty is part of the reward: a `KLPenalty`, which `train_agent(reference=...)` puts there.
    """

    config_class = RLOOConfig
    update_interval = 10, 64  # one step for each

    def __init__(self, actor: ActorNetwork, config: RLOOConfig | None = None):
        self.actor, self.config = actor, (config or RLOOConfig()).filled(actor.reads_tokens)
        self.group_size = self.config.group_size
        assert self.config.lr_actor and actor.policy  # the latter raises while the actor has met no action space
        self.learning_rate = self.config.lr_actor
        self.optimizers = optimizers_for(actor, None, self.learning_rate, 0.0, self.config.max_grad_norm)

    def update(self, segments: list[Segment]) -> dict[str, float]:
        """One gradient step on all decisions of the segments; returns its statistics."""
        self.optimizers[0].lr = self.learning_rate * remaining(self.progress, self.config.lr_schedule)
        stats: dict[str, float] = {}
        for batch in self.together.in_step([self.prepare(segments)]):
            stats = self.step(batch)
        return stats | group_statistics(segments) | {"lr_actor": self.optimizers[0].lr}

    @torch.no_grad()
    def prepare(self, segments: list[Segment]) -> RLOOBatch:
        """Every decision with the advantage of its episode."""
        device, size = self.actor.device, size_at_once(self.actor, self.config.micro_batch_size)
        advantages = torch.from_numpy(per_segment(compared(segments, leave_one_out, "RLOO"), segments)).to(device)
        advantages = weighted(advantages, importance_weights(segments, device))
        states = States.of(segments, device)[decision_index(segments).to(device)]
        actions = per_decision(segments, "actions", device)
        legal = legal_actions(segments, self.actor.policy.num_outputs, device)
        log_probs = stored_log_probs(self.actor, segments, states, actions, legal, size)
        return RLOOBatch(states, actions, log_probs, advantages, legal)

    def step(self, batch: RLOOBatch) -> dict[str, float]:
        """One gradient step; its statistics."""
        size = size_at_once(self.actor, self.config.micro_batch_size)
        numbers, norms = descend(self.optimizers, batch, self.loss, size, self.together)
        return dict(zip(("policy_loss", "entropy"), numbers, strict=True)) | {"grad_norm_actor": norms[0]}

    def loss(self, batch: RLOOBatch) -> tuple[Tensor, Tensor]:
        """-1/N Σ_i A_i Σ_t log π(a_t|s_t) - c_e · entropy over the N decisions of all episodes i (arXiv:2402.14740, eq. 8; there
        the sum is divided by the number of episodes, which only scales it)."""
        outputs = self.actor.evaluate(batch.states)
        log_probs, entropy = self.actor.policy.log_probs_and_entropy(outputs, batch.actions, batch.legal)  # (N,), (N,)
        check_ratio_is_one(log_probs - batch.log_probs)
        policy_loss, entropy = -(log_probs * batch.advantages).mean(), entropy.mean()
        return policy_loss - self.config.entropy_coef * entropy, torch.stack([policy_loss, entropy])

    def networks(self) -> dict[str, nn.Module]:
        return {"actor": self.actor}

    def state_dict(self) -> dict:
        return {"optimizer": self.optimizers[0].state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.optimizers[0].load_state_dict(state["optimizer"])
