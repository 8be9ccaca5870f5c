"""Direct preference optimisation: a policy learns from pairs of answers, without a reward model and without acting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gymformer.rl.batch import States, decision_index, per_decision
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.optim import PackedAdam
from gymformer.rl.segment import Segment

__all__ = ["DPO", "DPOConfig", "Pair", "dpo_loss"]


@dataclass(frozen=True, slots=True)
class DPOConfig:
    """What DPO is told."""

    lr: float = 1e-4  # learning rate
    beta: float = 0.1  # how much a nat of divergence from the reference costs, in units of the reward that the pairs imply
    epochs: int = 1  # passes over the pairs
    minibatch_size: int = 32  # pairs
    max_grad_norm: float | None = 0.5  # None: not clipped
    label_smoothing: float = 0.0  # the share of labels that are taken to be wrong

    def __post_init__(self) -> None:
        for name in ("lr", "beta", "epochs", "minibatch_size", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"DPOConfig.{name}={value}; it must be greater than 0")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"DPOConfig.label_smoothing={self.label_smoothing}; it must lie in [0, 0.5)")


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and two answers to it, as tokens; an answer's end of text belongs to it."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (self.prompt and self.chosen and self.rejected):
            raise ValueError(f"a pair needs a prompt and two answers of at least one token each, got {self}")


class DPO:
    """DPO (arXiv:2305.18290) for any actor that reads tokens. `reference` is frozen, usually the actor as it is at first;
    `generator` shuffles the pairs."""

    def __init__(self, actor: ActorNetwork, reference: ActorNetwork, config: DPOConfig | None = None,
                 generator: torch.Generator | None = None):  # fmt: skip
        self.actor, self.reference, self.config, self.generator = actor, reference, config or DPOConfig(), generator
        learning = [parameter for parameter in actor.parameters() if parameter.requires_grad]
        self.optimizer = PackedAdam(learning, self.config.lr, self.config.max_grad_norm)

    def update(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """`epochs` passes over the pairs; returns the mean of each statistic over the gradient steps."""
        if not pairs:
            raise ValueError("there are no pairs to learn from")
        size, stats = self.config.minibatch_size, []
        for _ in range(self.config.epochs):
            order = torch.randperm(len(pairs), generator=self.generator).tolist()
            for start in range(0, len(order), size):
                stats.append(self.step([pairs[i] for i in order[start : start + size]]))
        return {name: sum(s[name] for s in stats) / len(stats) for name in stats[0]}

    def step(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """One gradient step on the mean of `dpo_loss`."""
        segments = [answered(pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
        with torch.no_grad():
            of_reference = log_probs_of_answers(self.reference, segments)
        rewards = self.config.beta * (log_probs_of_answers(self.actor, segments) - of_reference).view(-1, 2)  # (N, 2)
        loss = dpo_loss(rewards[:, 0] - rewards[:, 1], self.config.label_smoothing).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.collect()
        norm = self.optimizer.clip()
        if not math.isfinite(norm + loss.item()):
            raise NonFiniteError("loss", f"DPO's loss is {loss.item()} and its gradient's norm {norm}; training stopped before the step. Try "
                                 "a lower learning rate", {"rewards": rewards})  # fmt: skip
        self.optimizer.step()
        margin = (rewards[:, 0] - rewards[:, 1]).detach()
        return {"loss": loss.item(), "margin": margin.mean().item(), "accuracy": (margin > 0).float().mean().item(),
                "reward_chosen": rewards[:, 0].mean().item(), "reward_rejected": rewards[:, 1].mean().item(), "grad_norm": norm}  # fmt: skip


def dpo_loss(margin: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """L = -(1 - ε) log σ(m) - ε log σ(-m) of margins m (N,), where m = β [log π/π_ref of the chosen answer - the same of the
    rejected one] (arXiv:2305.18290, eq. 7, where ε is 0; with ε, conservative DPO: ericmitchell.ai/cdpo.pdf)."""
    return -(1 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)


def log_probs_of_answers(actor: ActorNetwork, segments: list[Segment]) -> Tensor:
    """log π(answer | prompt) of each segment, the sum over its decisions; (R,)."""
    device = actor.device
    states = States.of(segments, device)[decision_index(segments).to(device)]
    actions = per_decision(segments, "actions", device)
    log_probs, _ = actor.policy.log_probs_and_entropy(actor.evaluate(states), actions)  # (N,)
    of = torch.repeat_interleave(torch.arange(len(segments)), torch.tensor([len(s) for s in segments])).to(device)
    return torch.zeros(len(segments), device=device).index_add(0, of, log_probs)


def answered(prompt: Sequence[int], answer: Sequence[int]) -> Segment:
    """The episode in which `answer` was written after `prompt`, token by token."""
    count = len(answer)
    col = np.arange(len(prompt) - 1, len(prompt) + count)
    zeros = np.zeros(count, np.float32)
    return Segment([np.array([*prompt, *answer], np.int64)], np.array(answer, np.int64), zeros, zeros, terminated=True,
                   row=np.zeros(count + 1, np.int64), col=col)  # fmt: skip
