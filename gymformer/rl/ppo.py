"""Proximal policy optimisation: act, estimate advantages, and move the policy a small, clipped step at a time."""

from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from gymformer.rl.advantages import gae
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
from gymformer.rl.descent import (
    check_ratio_is_one,
    descend,
    optimizers_for,
    size_at_once,
    stored_log_probs,
    values_of,
)
from gymformer.rl.networks import ActorNetwork, CriticNetwork, ValueHead, outputs_and_values
from gymformer.rl.segment import Segment
from gymformer.rl.settings import Schedule, remaining

__all__ = ["PPO", "PPOBatch", "PPOConfig", "clipped_objective", "clipped_value_loss"]

Number = TypeVar("Number", int, float)

STATISTICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")  # of a minibatch


@dataclass(frozen=True, slots=True)
class PPOConfig:
    """What PPO is told. A field that is None takes the value that suits the kind of problem (`for_control`, `for_text`)."""

    lr_actor: float | None = None  # learning rate of the policy; control: 3e-4, text: 1e-4
    lr_critic: float | None = None  # learning rate of the value function; control: 1e-3, text: 1e-3 of a head alone, else 1e-4
    gamma: float | None = None  # discount of a reward one decision later; control: 0.99, text: 1
    eps_clip: float = 0.2  # the ratio π/π_old is clipped to [1 - ε, 1 + ε]
    update_epochs: int | None = None  # passes over a rollout; control: 10, text: 2
    minibatch_size: int | None = None  # decisions; -1 is the whole batch; control: 64, text: 1024
    micro_batch_size: int | None = None  # decisions of token rows that are read at once; None: as many as memory likes
    lam: float | None = None  # λ of generalised advantage estimation; control: 0.95, text: 1
    value_clip: float | None = None  # values move at most this far from V_old in one update; None: freely
    value_coef: float = 0.5  # weight of the value loss
    entropy_coef: float = 0.0  # weight of the entropy bonus
    normalize_advantages: bool = True  # to mean 0 and standard deviation 1 in each minibatch
    critic_warmup: int = 0  # updates at the beginning in which only the value function learns
    max_grad_norm: float | None = 0.5  # of the actor's and of the critic's gradient, each for itself; None: not clipped
    target_kl: float | None = None  # an update ends after the minibatch whose approx_kl is above it (nats); None: never
    lr_schedule: Schedule = "constant"  # "linear": to 0 at the end of training
    clip_schedule: Schedule = "constant"  # "linear": ε to 0 at the end of training
    entropy_schedule: Schedule = "constant"  # "linear": the entropy bonus to 0 at the end of training

    def __post_init__(self) -> None:
        positive = {"lr_actor", "lr_critic", "eps_clip", "update_epochs", "value_clip", "max_grad_norm", "target_kl"}
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"PPOConfig.{name}={value}; it must be greater than 0"
                                 + (", or None to leave it out" if name in ("value_clip", "max_grad_norm", "target_kl") else ""))  # fmt: skip
        for name in ("gamma", "lam"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"PPOConfig.{name}={value}; it must lie in [0, 1]")
        if self.minibatch_size is not None and self.minibatch_size != -1 and self.minibatch_size < 2:
            raise ValueError(
                f"PPOConfig.minibatch_size={self.minibatch_size}; it must be at least 2, or -1 for the whole batch"
            )
        if self.micro_batch_size is not None and self.micro_batch_size < 1:
            raise ValueError(f"PPOConfig.micro_batch_size={self.micro_batch_size}; it must be at least 1, or None")
        for name in ("value_coef", "entropy_coef", "critic_warmup"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"PPOConfig.{name}={getattr(self, name)}; it must not be negative")
        for name in ("lr_schedule", "clip_schedule", "entropy_schedule"):
            if getattr(self, name) not in ("constant", "linear"):
                raise ValueError(f'PPOConfig.{name}="{getattr(self, name)}"; it must be "constant" or "linear"')

    def for_control(self) -> Self:
        """The config with every None of a problem-dependent field replaced by the value for vectors of observations."""
        return self._filled(lr_actor=3e-4, lr_critic=1e-3, gamma=0.99, lam=0.95, update_epochs=10, minibatch_size=64)

    def for_text(self, head_alone: bool = True) -> Self:
        """The same for growing rows of tokens: a reward at the end counts for every token, and steps are small. (With λ < 1 and
        a critic that knows nothing yet, the first token of a long answer would be credited with λ^length of its reward: short
        answers would look better.) A critic that is a head alone, on the actor's trunk, takes larger steps."""
        return self._filled(
            lr_actor=1e-4, lr_critic=1e-3 if head_alone else 1e-4, gamma=1.0, lam=1.0, update_epochs=2, minibatch_size=1024
        )

    def _filled(self, **defaults: float) -> Self:
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})


@dataclass(frozen=True, slots=True)
class PPOBatch(DecisionBatch):
    """N decisions, each (N, ...): what one update learns from."""

    actions: Tensor
    log_probs: Tensor  # of π_old, as the rollout stored them
    advantages: Tensor
    returns: Tensor  # targets of the critic, A_t + V_old(s_t)
    values: Tensor  # V_old(s_t)
    legal: Tensor | None
    weights: Tensor | None = None  # importance of decisions that an older policy took


class PPO(Algorithm):
    """PPO-Clip (arXiv:1707.06347) for any actor and critic.

    `generator` shuffles the minibatches. The actor must know its action distribution (`match_actions`, `for_spaces`).
    """

    config_class = PPOConfig

    def __init__(self, actor: ActorNetwork, critic: CriticNetwork, config: PPOConfig | None = None,
                 generator: torch.Generator | None = None):  # fmt: skip
        self.actor, self.critic, self.generator = actor, critic, generator
        assert actor.policy  # whose parameters are trained too; raises while the actor has met no action space
        config = config or PPOConfig()
        on_trunk = isinstance(critic, ValueHead) and critic.actor is actor
        self.config = config.for_text(head_alone=on_trunk) if actor.reads_tokens else config.for_control()
        self.gamma, self.lam, self.epochs = (
            filled(self.config.gamma),
            filled(self.config.lam),
            filled(self.config.update_epochs),
        )
        self.learning_rates = filled(self.config.lr_actor), filled(self.config.lr_critic)
        # One optimiser for each network; for both together where they share parameters, or the trunk would step twice.
        self.optimizers = optimizers_for(actor, critic, *self.learning_rates, self.config.max_grad_norm)
        self.updates = 0

    def update(self, segments: list[Segment]) -> dict[str, float]:
        """Several epochs of gradient steps on the segments; returns the mean of each statistic over the steps."""
        self._follow_schedules()
        batch, stats = self.prepare(segments), []
        for _ in range(self.epochs):
            for minibatch in self.together.in_step(minibatches(batch, filled(self.config.minibatch_size), self.generator)):
                stats.append(self.step(minibatch, is_first=not stats))
                if self.config.target_kl is not None and self.together.mean(stats[-1]["approx_kl"]) > self.config.target_kl:
                    return self._summary(batch, stats)
        return self._summary(batch, stats)

    @torch.no_grad()
    def prepare(self, segments: list[Segment]) -> PPOBatch:
        """Values of all states, V_old; from them A_t and the value targets A_t + V_old(s_t)."""
        if not segments:
            raise ValueError("there are no segments to learn from; collect more steps or episodes before an update")
        device = next(self.critic.parameters()).device
        states = States.of(segments, device)
        values = values_of(self.critic, segments, states, self.micro_batch_size)  # (S,), S = Σ (T+1)
        per_segment = values.cpu().split([len(segment) + 1 for segment in segments])
        advantages = torch.cat([
            torch.from_numpy(gae(segment.learning_rewards, v.numpy(), segment.terminated, self.gamma, self.lam))
            for segment, v in zip(segments, per_segment, strict=True)
        ]).to(device)  # fmt: skip
        index = decision_index(segments).to(device)
        legal = legal_actions(segments, self.actor.policy.num_outputs, device)
        states, actions = states[index], per_decision(segments, "actions", device)
        log_probs = stored_log_probs(self.actor, segments, states, actions, legal, self.micro_batch_size)
        weights = importance_weights(segments, device)
        return PPOBatch(states, actions, log_probs, advantages, advantages + values[index], values[index], legal, weights)

    def step(self, batch: PPOBatch, is_first: bool = False) -> dict[str, float]:
        """One gradient step on  -L_clip - c_e · entropy + c_v · value loss, means over the minibatch's decisions; returns its
        statistics. Where memory asks for it the minibatch is read in parts, whose gradients add up to the same."""
        if self.config.normalize_advantages:
            batch = replace(batch, advantages=normalized(batch.advantages))
        batch = replace(batch, advantages=weighted(batch.advantages, batch.weights))
        numbers, norms = descend(
            self.optimizers, batch, lambda part: self.loss(part, is_first), self.micro_batch_size, self.together
        )
        return dict(zip(STATISTICS, numbers, strict=True)) | {"grad_norm_actor": norms[0], "grad_norm_critic": norms[-1]}

    def loss(self, batch: PPOBatch, is_first: bool = False) -> tuple[Tensor, Tensor]:
        """The loss of decisions whose advantages are normalised already, and their STATISTICS, (5,)."""
        warming_up = self.updates < self.config.critic_warmup
        outputs, values = outputs_and_values(self.actor, self.critic, batch.states, detach_trunk=warming_up)
        log_probs, entropy = self.actor.policy.log_probs_and_entropy(outputs, batch.actions, batch.legal)  # (N,), (N,)
        log_ratio = log_probs - batch.log_probs
        if is_first:
            check_ratio_is_one(log_ratio)
        objective = clipped_objective(log_ratio, batch.advantages, self.eps_clip).mean()
        value_loss = clipped_value_loss(values, batch.values, batch.returns, self.config.value_clip).mean()
        entropy = entropy.mean()
        loss = self.config.value_coef * value_loss
        if not warming_up:
            loss = loss - objective
        if self.config.entropy_coef and not warming_up:
            loss = loss - self.entropy_coef * entropy
        with torch.no_grad():
            change = log_ratio.exp() - 1
            approx_kl = (change - log_ratio).mean()  # k3, joschu.net/blog/kl-approx.html
            clip_fraction = (change.abs() > self.eps_clip).float().mean()
            return loss, torch.stack([-objective, value_loss, entropy, approx_kl, clip_fraction])

    @property
    def micro_batch_size(self) -> int:
        """Decisions of token rows that are read at once."""
        return size_at_once(self.actor, self.config.micro_batch_size)

    @property
    def eps_clip(self) -> float:
        """ε as of now."""
        return self.config.eps_clip * (1 - self.progress if self.config.clip_schedule == "linear" else 1)

    @property
    def entropy_coef(self) -> float:
        """The weight of the entropy bonus as of now."""
        return self.config.entropy_coef * remaining(self.progress, self.config.entropy_schedule)

    def networks(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.critic}

    def state_dict(self) -> dict:
        state: dict = {f"optimizer{i}": optimizer.state_dict() for i, optimizer in enumerate(self.optimizers)}
        state |= {"counters": {"updates": torch.tensor(self.updates)}}
        return state if self.generator is None else state | {"generator": {"state": self.generator.get_state()}}

    def load_state_dict(self, state: dict) -> None:
        for i, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(state[f"optimizer{i}"])
        self.updates = int(state["counters"]["updates"])
        if self.generator is not None:
            self.generator.set_state(state["generator"]["state"])

    def _follow_schedules(self) -> None:
        for optimizer, lr in zip(self.optimizers, self.learning_rates, strict=False):
            optimizer.lr = lr * remaining(self.progress, self.config.lr_schedule)

    def _summary(self, batch: PPOBatch, stats: list[dict[str, float]]) -> dict[str, float]:
        self.updates += 1
        means = {name: sum(s[name] for s in stats) / len(stats) for name in stats[0]}
        return means | {"explained_variance": explained_variance(batch.values, batch.returns), "gradient_steps": float(len(stats)),
                        "lr_actor": self.optimizers[0].lr}  # fmt: skip


def filled(value: Number | None) -> Number:
    """A field that `for_control` has given a value."""
    assert value is not None
    return value


def clipped_objective(log_ratio: Tensor, advantages: Tensor, eps: float, eps_high: float | None = None) -> Tensor:
    """L_t = min(ρ_t A_t, clip(ρ_t, 1-ε, 1+ε) A_t),  ρ_t = π(a_t|s_t) / π_old(a_t|s_t)  (arXiv:1707.06347, eq. 7).
    All (N,); log_ratio is log ρ_t. `eps_high`: another ε of the upper bound (arXiv:2503.14476, eq. 10)."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - eps, 1 + (eps if eps_high is None else eps_high)) * advantages)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """max((V - R)², (V_old + clip(V - V_old, -c, c) - R)²), or (V - R)² where c is None. All (N,)
    ("The 37 Implementation Details of PPO", detail 9)."""
    loss = (values - returns).square()
    if clip is None:
        return loss
    near = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum(loss, (near - returns).square())


def normalized(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1, (N,); zeros where all are equal."""
    shifted = advantages - advantages[0]  # exact zeros where all are equal, which the mean's rounding would blow up to ±1
    centered = shifted - shifted.mean()
    return centered / (centered.square().mean().sqrt() + 1e-8)


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1 is a perfect critic, 0 one no better than a constant. NaN-free: 0 where R is constant."""
    variance = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / variance) if variance > 1e-12 else 0.0
