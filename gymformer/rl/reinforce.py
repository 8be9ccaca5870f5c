"""REINFORCE: actions that were followed by much reward become likelier."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from gymformer.rl.advantages import rewards_to_go
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.batch import DecisionBatch, States, decision_index, importance_weights, legal_actions, per_decision, weighted
from gymformer.rl.descent import (
    check_ratio_is_one,
    descend,
    optimizers_for,
    size_at_once,
    stored_log_probs,
    values_of,
)
from gymformer.rl.kl import kl_k3, log_probs_of
from gymformer.rl.networks import ActorNetwork, CriticNetwork, ValueHead, outputs_and_values
from gymformer.rl.segment import Segment
from gymformer.rl.settings import Schedule, check_learning, remaining

__all__ = ["Reinforce", "ReinforceBatch", "ReinforceConfig", "ReinforceStable", "ReinforceStableConfig"]

Baseline = Literal["none", "mean", "critic"]


@dataclass(frozen=True, slots=True)
class ReinforceConfig:
    """What REINFORCE is told. A field that is None takes the value that suits the kind of problem."""

    lr_actor: float | None = None  # learning rate of the policy; control: 5e-3, text: 1e-4
    lr_critic: float | None = None  # of the critic, where there is one; control: 1e-2, text: 1e-3 of a head alone, else 1e-4
    gamma: float | None = None  # discount of a reward one decision later; control: 0.99, text: 1
    baseline: Baseline = "mean"  # what is subtracted from the returns: nothing, their mean over the rollout, or V(s)
    value_coef: float = 0.5  # weight of the value loss, with a critic
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float | None = 0.5  # of the actor's and of the critic's gradient, each for itself; None: not clipped
    micro_batch_size: int | None = None  # decisions of token rows that are read at once; None: as many as memory likes
    lr_schedule: Schedule = "constant"  # "linear": to 0 at the end of training

    def __post_init__(self) -> None:
        check_learning(self, positive=("lr_actor", "lr_critic", "max_grad_norm", "micro_batch_size"),
                       shares=("gamma",), not_negative=("value_coef", "entropy_coef"))  # fmt: skip
        if self.baseline not in ("none", "mean", "critic"):
            raise ValueError(f'{type(self).__name__}.baseline="{self.baseline}"; it must be "none", "mean" or "critic"')

    @property
    def needs_critic(self) -> bool:
        return self.baseline == "critic"

    def filled(self, is_text: bool, head_alone: bool) -> Self:
        """The config with every None of a problem-dependent field replaced."""
        lr_critic = 1e-2 if not is_text else 1e-3 if head_alone else 1e-4
        defaults = {"lr_actor": 1e-4 if is_text else 5e-3, "lr_critic": lr_critic, "gamma": 1.0 if is_text else 0.99}
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})


@dataclass(frozen=True, slots=True)
class ReinforceBatch(DecisionBatch):
    """N decisions, each (N, ...): what one update learns from."""

    actions: Tensor
    log_probs: Tensor  # of the policy that acted, which must be the one that learns
    advantages: Tensor  # G_t - baseline; 0 where the episode's end is not known
    returns: Tensor  # G_t
    legal: Tensor | None


class Reinforce(Algorithm):
    """REINFORCE (Williams 1992, doi:10.1007/BF00992696) with rewards to go, for vectors and token rows: one gradient step on each
    rollout, for it is only right for the policy that acted.

    Without a critic, an episode that the rollout cut is left out (advantage 0), for its returns are not known; one that the
    environment truncated counts as over. The factor γ^t of the textbook's gradient is dropped, as everywhere.
    """

    config_class = ReinforceConfig
    update_interval = 10, 64  # one step for each

    def __init__(self, actor: ActorNetwork, critic: CriticNetwork | None = None, config: ReinforceConfig | None = None):
        config = config or ReinforceConfig()
        if config.needs_critic and critic is None:
            raise ValueError('baseline="critic" needs a critic: Reinforce(actor, critic, config), or take baseline="mean"')
        self.actor, self.critic = actor, critic if config.needs_critic else None
        self.config = config.filled(actor.reads_tokens, isinstance(critic, ValueHead) and critic.actor is actor)
        rates = self.config.lr_actor, self.config.lr_critic
        assert rates[0] and rates[1] and actor.policy  # the last raises while the actor has met no action space
        self.learning_rates = rates[0], rates[1]
        self.optimizers = optimizers_for(actor, self.critic, *self.learning_rates, config.max_grad_norm)

    def update(self, segments: list[Segment]) -> dict[str, float]:
        """One gradient step on all decisions of the segments; returns its statistics."""
        for optimizer, lr in zip(self.optimizers, self.learning_rates, strict=False):
            optimizer.lr = lr * remaining(self.progress, self.config.lr_schedule)
        stats: dict[str, float] = {}
        for batch in self.together.in_step([self.prepare(segments)]):
            stats = self.step(batch)
        return stats | {"lr_actor": self.optimizers[0].lr}

    @torch.no_grad()
    def prepare(self, segments: list[Segment]) -> ReinforceBatch:
        """G_t of all decisions, and what is better than the baseline in them."""
        if not segments:
            raise ValueError("there are no segments to learn from; collect more episodes before an update")
        device, gamma = self.actor.device, self.config.gamma
        assert gamma is not None
        size, states = size_at_once(self.actor, self.config.micro_batch_size), States.of(segments, device)
        index = decision_index(segments).to(device)
        known = np.concatenate([np.full(len(segment), self.critic is not None or segment.ended) for segment in segments])
        beyond, baseline = [0.0] * len(segments), torch.zeros(len(index), device=device)
        if self.critic is not None:
            values = values_of(self.critic, segments, states, size)  # (S,)
            baseline, last = values[index], values[np.cumsum([len(segment) + 1 for segment in segments]) - 1].tolist()
            beyond = [0.0 if segment.terminated else value for segment, value in zip(segments, last, strict=True)]
        returns = np.concatenate([rewards_to_go(segment.learning_rewards, gamma, value)
                                  for segment, value in zip(segments, beyond, strict=True)])  # fmt: skip
        if self.config.baseline == "mean" and known.any():
            baseline = torch.full_like(baseline, float(returns[known].mean()))
        targets = torch.from_numpy(returns).to(device)
        advantages = torch.where(torch.from_numpy(known).to(device), targets - baseline, 0.0)
        advantages = weighted(advantages, importance_weights(segments, device))
        actions = per_decision(segments, "actions", device)
        legal = legal_actions(segments, self.actor.policy.num_outputs, device)
        log_probs = stored_log_probs(self.actor, segments, states[index], actions, legal, size)
        return ReinforceBatch(states[index], actions, log_probs, advantages, targets, legal)

    def step(self, batch: ReinforceBatch) -> dict[str, float]:
        """One gradient step; its statistics."""
        size = size_at_once(self.actor, self.config.micro_batch_size)
        numbers, norms = descend(self.optimizers, batch, self.loss, size, self.together)
        names = ("policy_loss", "entropy", "value_loss")[: len(numbers)]
        stats = dict(zip(names, numbers, strict=True)) | {"grad_norm_actor": norms[0]}
        return stats if self.critic is None else stats | {"grad_norm_critic": norms[-1]}

    def loss(self, batch: ReinforceBatch) -> tuple[Tensor, Tensor]:
        """-mean log π(a_t|s_t) (G_t - b_t) - c_e · entropy + c_v · mean (V(s_t) - G_t)²  (Sutton and Barto, 2nd ed., eq. 13.11)."""
        if self.critic is None:
            outputs, value_loss = self.actor.evaluate(batch.states), None
        else:
            outputs, values = outputs_and_values(self.actor, self.critic, batch.states)
            value_loss = (values - batch.returns).square().mean()
        log_probs, entropy = self.actor.policy.log_probs_and_entropy(outputs, batch.actions, batch.legal)  # (N,), (N,)
        check_ratio_is_one(log_probs - batch.log_probs)
        policy_loss, entropy = -(log_probs * batch.advantages).mean(), entropy.mean()
        loss = policy_loss - self.config.entropy_coef * entropy
        if value_loss is None:
            return loss, torch.stack([policy_loss, entropy])
        return loss + self.config.value_coef * value_loss, torch.stack([policy_loss, entropy, value_loss])

    def networks(self) -> dict[str, nn.Module]:
        return {"actor": self.actor} if self.critic is None else {"actor": self.actor, "critic": self.critic}

    def state_dict(self) -> dict:
        return {f"optimizer{i}": optimizer.state_dict() for i, optimizer in enumerate(self.optimizers)}

    def load_state_dict(self, state: dict) -> None:
        for i, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(state[f"optimizer{i}"])


@dataclass(frozen=True, slots=True)
class ReinforceStableConfig(ReinforceConfig):
    """What ReinforceStable is told beside that."""

    kl_coef: float = 0.1  # reward that a nat of divergence from the reference costs
    refresh_every: int = 10  # updates, after which the reference is the policy of that moment

    def __post_init__(self) -> None:
        ReinforceConfig.__post_init__(self)  # super() knows no class that has slots
        check_learning(self, positive=("refresh_every",), not_negative=("kl_coef",))


class ReinforceStable(Algorithm):
    """REINFORCE that stays close to what it was a while ago: a frozen reference, the penalty -β (log π_old - log π_ref) on each
    reward (k1, arXiv:1909.08593, eq. 2), and every k updates the reference becomes the policy of that moment.

    The penalty stands in the rewards and not in the loss, because there its expected gradient is that of KL(π‖π_ref), which the
    k3 estimate, differentiated in the loss, does not give. The reference is a copy of the numbers that learn, so that it works
    for any network and costs, with LoRA, no more than an adapter.
    """

    config_class = ReinforceStableConfig
    update_interval = 10, 64  # one step for each

    def __init__(self, actor: ActorNetwork, critic: CriticNetwork | None = None, config: ReinforceStableConfig | None = None):
        config = config or ReinforceStableConfig()
        self.learner = Reinforce(actor, critic, config)
        self.config, self.actor, self.updates = config.filled(actor.reads_tokens, False), actor, 0
        self.config = replace(config, **{n: getattr(self.learner.config, n) for n in ("lr_actor", "lr_critic", "gamma")})
        self.reference = self._learned.clone()  # (P,) the numbers of the policy that is stayed close to

    @property
    def _learned(self) -> Tensor:
        """(P,) all numbers that learn, of which the networks' parameters are views."""
        return self.learner.optimizers[0].vector

    def update(self, segments: list[Segment]) -> dict[str, float]:
        """The penalties, one gradient step, and, where it is due, a new reference."""
        self.learner.progress, self.learner.together = self.progress, self.together
        penalised, stats = self.penalised(segments)
        stats |= self.learner.update(penalised)
        self.updates += 1
        if self.updates % self.config.refresh_every == 0:
            self.reference.copy_(self._learned)
        return stats

    @torch.no_grad()
    def penalised(self, segments: list[Segment]) -> tuple[list[Segment], dict[str, float]]:
        """Copies of the segments with the penalty beside their rewards, and how far the policy is from the reference."""
        with self.as_reference():
            of_reference = log_probs_of(self.actor, segments).cpu()
        own = per_decision(segments, "log_probs") if self.actor.is_precise else log_probs_of(self.actor, segments).cpu()
        log_ratio = own - of_reference
        copies = []
        for segment, kl in zip(segments, log_ratio.split([len(segment) for segment in segments]), strict=True):
            penalty = -self.config.kl_coef * kl.numpy()
            copies.append(replace(segment, penalties=penalty if segment.penalties is None else segment.penalties + penalty))
        return copies, {
            "kl_to_own_reference": float(log_ratio.mean()),
            "kl_to_own_reference_k3": float(kl_k3(log_ratio).mean()),
        }

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Inside, the actor is the reference."""
        learned = self._learned.clone()
        self._learned.copy_(self.reference)
        try:
            yield
        finally:
            self._learned.copy_(learned)

    def networks(self) -> dict[str, nn.Module]:
        return self.learner.networks()

    def state_dict(self) -> dict:
        own = {"reference": {"numbers": self.reference}, "counters": {"updates": torch.tensor(self.updates)}}
        return self.learner.state_dict() | own

    def load_state_dict(self, state: dict) -> None:
        self.learner.load_state_dict(state)
        self.reference.copy_(state["reference"]["numbers"])
        self.updates = int(state["counters"]["updates"])
