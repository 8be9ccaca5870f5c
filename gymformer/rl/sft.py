"""Supervised warm-up: a policy over tokens learns to reply as in demonstrations, before it learns from rewards."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gymformer.rl.algorithm import Alone
from gymformer.rl.batch import DecisionBatch, States, decision_index, minibatches, parts, per_decision
from gymformer.rl.descent import descend, optimizers_for, size_at_once
from gymformer.rl.dpo import answered
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.policy import Categorical
from gymformer.rl.settings import Schedule, check_learning, remaining

__all__ = ["SFT", "Demonstration", "SFTBatch", "SFTConfig"]


@dataclass(frozen=True, slots=True)
class SFTConfig:
    """What the warm-up is told."""

    lr: float = 1e-4  # learning rate
    epochs: int = 1  # passes over the demonstrations
    minibatch_size: int = 1024  # tokens of replies; -1 is all of them
    max_grad_norm: float | None = 0.5  # None: not clipped
    micro_batch_size: int | None = None  # tokens of replies that are read at once; None: as many as memory likes
    lr_schedule: Schedule = "constant"  # "linear": to 0 at the end of an update

    def __post_init__(self) -> None:
        check_learning(self, positive=("lr", "epochs", "max_grad_norm", "micro_batch_size"))
        if self.minibatch_size != -1 and self.minibatch_size < 1:
            raise ValueError(f"SFTConfig.minibatch_size={self.minibatch_size}; it must be at least 1, or -1 for all")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the reply to it, as tokens; the reply's end of text belongs to it."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (self.prompt and self.reply):
            raise ValueError(f"a demonstration needs a prompt and a reply of at least one token each, got {self}")


@dataclass(frozen=True, slots=True)
class SFTBatch(DecisionBatch):
    """N tokens of replies, each in its state."""

    actions: Tensor


class SFT:
    """Supervised fine-tuning of any actor that reads tokens. Prompts are read and not learned. What is learned is the model itself:
    temperature, top-k and top-p of its policy, which shape what is sampled, have no part in it. `generator` shuffles."""

    def __init__(self, actor: ActorNetwork, config: SFTConfig | None = None, generator: torch.Generator | None = None):
        if not actor.reads_tokens:
            raise ValueError("demonstrations are tokens, but the actor reads vectors; give a language model (LMActorNetwork), or any "
                             "module that match_tokens has accepted")  # fmt: skip
        self.actor, self.config, self.generator = actor, config or SFTConfig(), generator
        self.plain = Categorical(actor.policy.num_outputs)
        self.optimizers = optimizers_for(actor, None, self.config.lr, 0.0, self.config.max_grad_norm)

    def update(self, demonstrations: Sequence[Demonstration]) -> dict[str, float]:
        """`epochs` passes over the demonstrations; returns the mean of each statistic over the gradient steps."""
        batch, stats = self.prepare(demonstrations), []
        for epoch in range(self.config.epochs):
            self.optimizers[0].lr = self.config.lr * remaining(epoch / self.config.epochs, self.config.lr_schedule)
            stats += [self.step(part) for part in minibatches(batch, self.config.minibatch_size, self.generator)]
        return {name: sum(s[name] for s in stats) / len(stats) for name in stats[0]} | {"gradient_steps": float(len(stats))}

    @torch.no_grad()
    def evaluate(self, demonstrations: Sequence[Demonstration]) -> dict[str, float]:
        """Loss (nats a token) and accuracy on demonstrations that are not learned from."""
        batch = self.prepare(demonstrations)
        totals = [self.loss(part)[1] * len(part) for part in self._read(batch)]
        return dict(zip(("loss", "accuracy"), (torch.stack(totals).sum(0) / len(batch)).tolist(), strict=True))

    def prepare(self, demonstrations: Sequence[Demonstration]) -> SFTBatch:
        """All tokens of all replies. Raises ValueError for a token that the actor does not have."""
        if not demonstrations:
            raise ValueError("there are no demonstrations to learn from")
        largest = max(max(d.prompt + d.reply) for d in demonstrations)
        if largest >= self.actor.policy.num_outputs:
            raise ValueError(f"a demonstration has the token {largest}, but the actor has {self.actor.policy.num_outputs}; make the "
                             "demonstrations with the actor's own tokenizer")  # fmt: skip
        segments = [answered(d.prompt, d.reply) for d in demonstrations]
        states = States.of(segments, self.actor.device)
        return SFTBatch(
            states[decision_index(segments).to(self.actor.device)], per_decision(segments, "actions", self.actor.device)
        )

    def step(self, batch: SFTBatch) -> dict[str, float]:
        """One gradient step; its statistics."""
        size = size_at_once(self.actor, self.config.micro_batch_size)
        numbers, norms = descend(self.optimizers, batch, self.loss, size, Alone())
        return dict(zip(("loss", "accuracy"), numbers, strict=True)) | {"grad_norm": norms[0]}

    def loss(self, batch: SFTBatch) -> tuple[Tensor, Tensor]:
        """-mean log softmax(outputs)[a_t], nats a token; and itself with the share of tokens that the model finds likeliest."""
        outputs = self.actor.evaluate(batch.states)
        loss = -self.plain.log_probs_and_entropy(outputs, batch.actions)[0].mean()
        accuracy = (self.plain.mode(outputs.detach()) == batch.actions).float().mean()
        return loss, torch.stack([loss.detach(), accuracy])

    def _read(self, batch: SFTBatch) -> list[SFTBatch]:
        return [batch[index] for index in parts(batch.states, size_at_once(self.actor, self.config.micro_batch_size))]
