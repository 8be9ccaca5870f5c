"""Group relative policy optimisation: PPO's clipped steps, with the group of an episode in place of a critic."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from gymformer.rl.advantages import group_advantages
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.batch import (
    DecisionBatch,
    States,
    decision_index,
    importance_weights,
    legal_actions,
    minibatches,
    per_decision,
    weighted,
)
from gymformer.rl.descent import check_ratio_is_one, descend, optimizers_for, size_at_once, stored_log_probs
from gymformer.rl.groups import compared, group_statistics, per_segment
from gymformer.rl.kl import fingerprint, kl_k3, log_probs_of
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.ppo import clipped_objective
from gymformer.rl.segment import Segment
from gymformer.rl.settings import Schedule, check_learning, remaining

__all__ = ["GRPO", "Aggregation", "GRPOBatch", "GRPOConfig", "aggregation_weights"]

Aggregation = Literal["token-mean", "sequence-mean", "fixed-length"]

STATISTICS = ("policy_loss", "entropy", "approx_kl", "clip_fraction")  # of a minibatch
WITH_REFERENCE = (*STATISTICS, "kl_to_reference", "kl_to_reference_k3")


@dataclass(frozen=True, slots=True)
class GRPOConfig:
    """What GRPO is told. A field that is None takes the value that suits the kind of problem."""

    lr_actor: float | None = None  # learning rate; control: 3e-3, text: 1e-4
    group_size: int = 8  # episodes of one task
    eps_clip: float = 0.2  # the ratio π/π_old is clipped to [1 - ε, 1 + ε]
    eps_clip_high: float | None = None  # another ε of the upper bound (clip-higher; DAPO takes 0.28); None: the same
    divide_by_std: bool = True  # advantages are divided by their group's standard deviation; Dr. GRPO does not
    aggregation: Aggregation = "token-mean"  # how the decisions of a minibatch become one loss (`aggregation_weights`)
    fixed_length: int | None = None  # decisions by which each episode's sum is divided, of "fixed-length"
    kl_coef: float = 0.04  # weight of the k3 estimate in the loss, where there is a reference
    update_epochs: int = 1  # passes over a rollout
    minibatch_size: int | None = None  # decisions; -1 is the whole batch; control: 64, text: 1024
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float | None = 0.5  # None: not clipped
    micro_batch_size: int | None = None  # decisions of token rows that are read at once; None: as many as memory likes
    lr_schedule: Schedule = "constant"  # "linear": to 0 at the end of training

    def __post_init__(self) -> None:
        check_learning(self, not_negative=("kl_coef", "entropy_coef"), positive=(
            "lr_actor", "eps_clip", "eps_clip_high", "fixed_length", "update_epochs", "max_grad_norm", "micro_batch_size"))  # fmt: skip
        if self.group_size < 2:
            raise ValueError(f"GRPOConfig.group_size={self.group_size}; at least 2 episodes can be compared")
        if self.minibatch_size is not None and self.minibatch_size != -1 and self.minibatch_size < 2:
            raise ValueError(
                f"GRPOConfig.minibatch_size={self.minibatch_size}; it must be at least 2, or -1 for the whole batch"
            )
        if self.aggregation not in ("token-mean", "sequence-mean", "fixed-length"):
            raise ValueError(
                f'GRPOConfig.aggregation="{self.aggregation}"; it must be "token-mean", "sequence-mean" or "fixed-length"'
            )
        if (self.aggregation == "fixed-length") != (self.fixed_length is not None):
            raise ValueError(f'GRPOConfig.aggregation="{self.aggregation}" with fixed_length={self.fixed_length}; '
                             '"fixed-length" needs the number of decisions to divide by, such as the longest reply that is allowed; '
                             "the others take none")  # fmt: skip

    def filled(self, is_text: bool) -> Self:
        """The config with every None of a problem-dependent field replaced."""
        return replace(self, lr_actor=self.lr_actor or (1e-4 if is_text else 3e-3),
                       minibatch_size=self.minibatch_size or (1024 if is_text else 64))  # fmt: skip


@dataclass(frozen=True, slots=True)
class GRPOBatch(DecisionBatch):
    """N decisions, each (N, ...): what one update learns from."""

    actions: Tensor
    log_probs: Tensor  # of π_old, as the rollout stored them
    advantages: Tensor  # of the whole episode, the same for each of its decisions
    lengths: Tensor  # decisions of the episode that it belongs to, float
    reference: Tensor | None  # log π_ref(a|s)
    legal: Tensor | None


class GRPO(Algorithm):
    """GRPO (arXiv:2402.03300) for vectors and token rows. `generator` shuffles the minibatches; `reference` is frozen.

    The k3 estimate of the divergence stands in the loss, as in the paper. Its value is that of KL(π‖π_ref) in expectation, its
    gradient that of KL(π_ref‖π): both are 0 at the reference and pull towards it. Where the other gradient is wanted,
    leave `reference` out and put a `KLPenalty` into the rewards.
    """

    config_class = GRPOConfig

    def __init__(self, actor: ActorNetwork, config: GRPOConfig | None = None, generator: torch.Generator | None = None,
                 reference: ActorNetwork | None = None):  # fmt: skip
        self.actor, self.reference, self.generator = actor, reference, generator
        self.config = (config or GRPOConfig()).filled(actor.reads_tokens)
        self.group_size = self.config.group_size
        assert self.config.lr_actor and actor.policy  # the latter raises while the actor has met no action space
        self.learning_rate = self.config.lr_actor
        self.optimizers = optimizers_for(actor, None, self.learning_rate, 0.0, self.config.max_grad_norm)

    def update(self, segments: list[Segment]) -> dict[str, float]:
        """Epochs of gradient steps on the segments; returns the mean of each statistic over the steps."""
        self.optimizers[0].lr = self.learning_rate * remaining(self.progress, self.config.lr_schedule)
        batch, stats = self.prepare(segments), []
        for _ in range(self.config.update_epochs):
            for minibatch in self.together.in_step(minibatches(batch, self.config.minibatch_size or -1, self.generator)):
                stats.append(self.step(minibatch, is_first=not stats))
        means = {name: sum(s[name] for s in stats) / len(stats) for name in stats[0]}
        return means | group_statistics(segments) | {"gradient_steps": float(len(stats)), "lr_actor": self.optimizers[0].lr}

    @torch.no_grad()
    def prepare(self, segments: list[Segment]) -> GRPOBatch:
        """Every decision with the advantage of its episode, and what the reference says of it."""
        device, size = self.actor.device, size_at_once(self.actor, self.config.micro_batch_size)
        of_episodes = compared(segments, partial(group_advantages, by_std=self.config.divide_by_std), "GRPO")
        advantages = torch.from_numpy(per_segment(of_episodes, segments)).to(device)
        advantages = weighted(advantages, importance_weights(segments, device))
        lengths = torch.from_numpy(per_segment(np.array([len(s) for s in segments], np.float32), segments)).to(device)
        states = States.of(segments, device)[decision_index(segments).to(device)]
        actions = per_decision(segments, "actions", device)
        legal = legal_actions(segments, self.actor.policy.num_outputs, device)
        log_probs = stored_log_probs(self.actor, segments, states, actions, legal, size)
        of_reference = None if self.reference is None else log_probs_of(self.reference, segments).to(device)
        return GRPOBatch(states, actions, log_probs, advantages, lengths, of_reference, legal)

    def step(self, batch: GRPOBatch, is_first: bool = False) -> dict[str, float]:
        """One gradient step; its statistics."""
        episodes = self.together.mean(float((1 / batch.lengths).mean()))  # for each decision of the minibatch
        size = size_at_once(self.actor, self.config.micro_batch_size)
        numbers, norms = descend(self.optimizers, batch, lambda part: self.loss(part, episodes, is_first), size, self.together)
        names = STATISTICS if self.reference is None else WITH_REFERENCE
        return dict(zip(names, numbers, strict=True)) | {"grad_norm_actor": norms[0]}

    def loss(self, batch: GRPOBatch, episodes: float, is_first: bool = False) -> tuple[Tensor, Tensor]:
        """-mean w (L_clip - β k3) - c_e · entropy (arXiv:2402.03300, eq. 3, with the weights w of the aggregation), and its statistics.
        `episodes`: how many there are for each decision of the whole minibatch."""
        outputs = self.actor.evaluate(batch.states)
        log_probs, entropy = self.actor.policy.log_probs_and_entropy(outputs, batch.actions, batch.legal)  # (N,), (N,)
        log_ratio, high = log_probs - batch.log_probs, self.config.eps_clip_high or self.config.eps_clip
        if is_first:
            check_ratio_is_one(log_ratio)
        weights = aggregation_weights(batch.lengths, episodes, self.config.aggregation, self.config.fixed_length)
        objective = clipped_objective(log_ratio, batch.advantages, self.config.eps_clip, high)  # (N,)
        policy_loss, entropy = -(weights * objective).mean(), entropy.mean()
        loss = policy_loss - self.config.entropy_coef * entropy
        change = log_ratio.detach().exp() - 1
        clipped = ((change < -self.config.eps_clip) | (change > high)).float()
        statistics = [policy_loss, entropy, (change - log_ratio).mean(), clipped.mean()]
        if batch.reference is not None:
            divergence = log_probs - batch.reference  # (N,) log π - log π_ref
            loss = loss + self.config.kl_coef * (weights * kl_k3(divergence)).mean()
            statistics += [divergence.mean(), kl_k3(divergence).mean()]
        return loss, torch.stack(statistics).detach()

    def networks(self) -> dict[str, nn.Module]:
        return {"actor": self.actor}

    def state_dict(self) -> dict:
        state: dict = {"optimizer": self.optimizers[0].state_dict()}
        if self.reference is not None:
            state |= {"reference": {"fingerprint": torch.tensor(list(fingerprint(self.reference).encode()))}}
        return state if self.generator is None else state | {"generator": {"state": self.generator.get_state()}}

    def load_state_dict(self, state: dict) -> None:
        """Raises ValueError where the reference is another one."""
        if self.reference is not None:
            before = bytes(state["reference"]["fingerprint"].tolist()).decode()
            if before != fingerprint(self.reference):
                raise ValueError("the reference is not the one that this run began with; give the same one again, and build the actor anew "
                                 'before resuming where it is reference="initial"')  # fmt: skip
        self.optimizers[0].load_state_dict(state["optimizer"])
        if self.generator is not None:
            self.generator.set_state(state["generator"]["state"])


def aggregation_weights(lengths: Tensor, episodes: float, aggregation: Aggregation, fixed_length: int | None = None) -> Tensor:
    """w (N,), so that the mean of w·x over N decisions is

    "token-mean": their mean, so that a long episode counts more (DAPO, arXiv:2503.14476, eq. 8): w = 1;
    "sequence-mean": 1/R Σ_i 1/T_i Σ_t x, so that each episode counts the same (arXiv:2402.03300, eq. 3): w = N/R · 1/T_i;
    "fixed-length": 1/R Σ_i 1/L Σ_t x, so that length neither dilutes nor adds (Dr. GRPO, arXiv:2503.20783, section 3.2): w = N/R · 1/L

    with R episodes of T_i decisions, and `episodes` = R/N, an episode of which only a part is here counted by that part.
    """
    match aggregation:
        case "token-mean":
            return torch.ones_like(lengths)
        case "sequence-mean":
            return 1 / (lengths * episodes)
        case "fixed-length":
            assert fixed_length is not None
            return torch.full_like(lengths, 1 / (fixed_length * episodes))
