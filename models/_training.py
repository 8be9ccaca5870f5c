"""One training loop for the models that come along: next-token cross-entropy on the tokens that count."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

__all__ = ["Batch", "TrainingRecord", "train"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents as rows, right-padded, and which of their tokens the model learns to predict."""

    ids: Tensor  # (R, L) int64
    counts: Tensor  # (R, L) bool; never in column 0, which nothing precedes


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    steps: int
    tokens_seen: int  # without padding
    tokens_learned: int  # those that counted
    cpu_seconds: float


def train(
    model: PreTrainedModel, batches: Iterator[list[Batch]], rates: Iterator[float], report: Callable[[int, float, float], None]
) -> TrainingRecord:
    """AdamW (matrices decay by 0.1), one step for each learning rate that `rates` gives, until it gives no more.

    A step's batch comes in parts of like length. `report(step, loss, CPU seconds)` is called after each step. The same model,
    batches, rates and number of threads give the same weights.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    steps = seen = learned = 0
    start = time.process_time()
    for rate in rates:
        parts = next(batches)
        count = sum(int(part.counts.sum()) for part in parts)
        optimizer.zero_grad()
        total = 0.0
        model.train()
        for part in parts:
            loss = loss_of(model, part) / count
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        model.eval()
        steps += 1
        seen += sum(int((part.ids != model.config.pad_token_id).sum()) for part in parts)
        learned += count
        report(steps, total, time.process_time() - start)
    return TrainingRecord(steps, seen, learned, time.process_time() - start)


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Sum of -log p(token | what precedes it) over the tokens that count. The vocabulary projection runs only for them.

    Padding stands on the right, where a causal model does not see it, so no attention mask is needed."""
    hidden = model.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state  # (R, L, D)
    counts = batch.counts[:, 1:]
    logits = model.get_output_embeddings()(hidden[:, :-1][counts])  # (N, V)
    return cross_entropy(logits, batch.ids[:, 1:][counts], reduction="sum")
