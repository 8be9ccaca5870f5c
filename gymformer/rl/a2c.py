"""Advantage actor-critic: the policy follows what a critic learns to expect, one step a rollout."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from gymformer.rl.advantages import gae
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
from gymformer.rl.networks import ActorNetwork, CriticNetwork, ValueHead, outputs_and_values
from gymformer.rl.ppo import explained_variance
from gymformer.rl.segment import Segment
from gymformer.rl.settings import Schedule, check_learning, remaining

__all__ = ["A2C", "A2CBatch", "A2CConfig"]


@dataclass(frozen=True, slots=True)
class A2CConfig:
    """What A2C is told. A field that is None takes the value that suits the kind of problem."""

    lr_actor: float | None = None  # learning rate of the policy; control: 3e-3, text: 1e-4
    lr_critic: float | None = None  # of the critic; control: 1e-2, text: 1e-3 of a head alone, else 1e-4
    gamma: float | None = None  # discount of a reward one decision later; control: 0.99, text: 1
    lam: float = 1.0  # λ of generalised advantage estimation; 1: the n-step returns of the paper
    value_coef: float = 0.5  # weight of the value loss
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float | None = 0.5  # of the actor's and of the critic's gradient, each for itself; None: not clipped
    micro_batch_size: int | None = None  # decisions of token rows that are read at once; None: as many as memory likes
    lr_schedule: Schedule = "constant"  # "linear": to 0 at the end of training

    def __post_init__(self) -> None:
        check_learning(self, positive=("lr_actor", "lr_critic", "max_grad_norm", "micro_batch_size"),
                       shares=("gamma", "lam"), not_negative=("value_coef", "entropy_coef"))  # fmt: skip

    def filled(self, is_text: bool, head_alone: bool) -> Self:
        """The config with every None of a problem-dependent field replaced."""
        lr_critic = 1e-2 if not is_text else 1e-3 if head_alone else 1e-4
        defaults = {"lr_actor": 1e-4 if is_text else 3e-3, "lr_critic": lr_critic, "gamma": 1.0 if is_text else 0.99}
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})


@dataclass(frozen=True, slots=True)
class A2CBatch(DecisionBatch):
    """N decisions, each (N, ...): what one update learns from."""

    actions: Tensor
    log_probs: Tensor  # of the policy that acted, which must be the one that learns
    advantages: Tensor
    returns: Tensor  # targets of the critic, A_t + V(s_t)
    values: Tensor  # V(s_t) before the update
    legal: Tensor | None


class A2C(Algorithm):
    """The synchronous form of A3C (arXiv:1602.01783, algorithm S3), for vectors and token rows: one gradient step on each rollout,
    with Adam where the paper takes RMSProp. Its n is the length of a rollout: `rollout_steps` of `train_agent`."""

    config_class = A2CConfig
    update_interval = 10, 64  # one step for each

    def __init__(self, actor: ActorNetwork, critic: CriticNetwork, config: A2CConfig | None = None):
        self.actor, self.critic = actor, critic
        self.config = (config or A2CConfig()).filled(
            actor.reads_tokens, isinstance(critic, ValueHead) and critic.actor is actor
        )
        rates, gamma = (self.config.lr_actor, self.config.lr_critic), self.config.gamma
        assert rates[0] and rates[1] and gamma is not None and actor.policy  # raises while the actor has met no action space
        self.learning_rates, self.gamma = (rates[0], rates[1]), gamma
        self.optimizers = optimizers_for(actor, critic, *self.learning_rates, self.config.max_grad_norm)

    def update(self, segments: list[Segment]) -> dict[str, float]:
        """One gradient step on all decisions of the segments; returns its statistics."""
        for optimizer, lr in zip(self.optimizers, self.learning_rates, strict=False):
            optimizer.lr = lr * remaining(self.progress, self.config.lr_schedule)
        own, stats = self.prepare(segments), {}
        for batch in self.together.in_step([own]):
            stats = self.step(batch)
        return stats | {"explained_variance": explained_variance(own.values, own.returns), "lr_actor": self.optimizers[0].lr}

    @torch.no_grad()
    def prepare(self, segments: list[Segment]) -> A2CBatch:
        """V(s) of all states; from them A_t and the critic's targets A_t + V(s_t)."""
        if not segments:
            raise ValueError("there are no segments to learn from; collect more steps or episodes before an update")
        device, size = self.actor.device, size_at_once(self.actor, self.config.micro_batch_size)
        states, index = States.of(segments, device), decision_index(segments).to(device)
        values = values_of(self.critic, segments, states, size)  # (S,)
        per_segment = values.cpu().split([len(segment) + 1 for segment in segments])
        advantages = torch.cat([
            torch.from_numpy(gae(segment.learning_rewards, v.numpy(), segment.terminated, self.gamma, self.config.lam))
            for segment, v in zip(segments, per_segment, strict=True)
        ]).to(device)  # fmt: skip
        actions = per_decision(segments, "actions", device)
        legal = legal_actions(segments, self.actor.policy.num_outputs, device)
        log_probs = stored_log_probs(self.actor, segments, states[index], actions, legal, size)
        returns, advantages = advantages + values[index], weighted(advantages, importance_weights(segments, device))
        return A2CBatch(states[index], actions, log_probs, advantages, returns, values[index], legal)

    def step(self, batch: A2CBatch) -> dict[str, float]:
        """One gradient step; its statistics."""
        size = size_at_once(self.actor, self.config.micro_batch_size)
        numbers, norms = descend(self.optimizers, batch, self.loss, size, self.together)
        stats = dict(zip(("policy_loss", "value_loss", "entropy"), numbers, strict=True))
        return stats | {"grad_norm_actor": norms[0], "grad_norm_critic": norms[-1]}

    def loss(self, batch: A2CBatch) -> tuple[Tensor, Tensor]:
        """-mean log π(a_t|s_t) A_t - c_e · entropy + c_v · mean (V(s_t) - R_t)²  (arXiv:1602.01783, section 4)."""
        outputs, values = outputs_and_values(self.actor, self.critic, batch.states)
        log_probs, entropy = self.actor.policy.log_probs_and_entropy(outputs, batch.actions, batch.legal)  # (N,), (N,)
        check_ratio_is_one(log_probs - batch.log_probs)
        policy_loss, value_loss = -(log_probs * batch.advantages).mean(), (values - batch.returns).square().mean()
        loss = policy_loss + self.config.value_coef * value_loss - self.config.entropy_coef * entropy.mean()
        return loss, torch.stack([policy_loss, value_loss, entropy.mean()])

    def networks(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.critic}

    def state_dict(self) -> dict:
        return {f"optimizer{i}": optimizer.state_dict() for i, optimizer in enumerate(self.optimizers)}

    def load_state_dict(self, state: dict) -> None:
        for i, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(state[f"optimizer{i}"])
