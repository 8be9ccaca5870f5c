"""One training loop for the models that come along: next-token cross-entropy on the tokens that count."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from models._tokenizer import ASSISTANT, END, PAD

__all__ = ["Batch", "TrainingRecord", "as_batch", "batches", "loss_of", "train"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents as rows, right-padded, and which of their tokens the model learns to predict."""

    ids: Tensor  # (R, L) int64
    counts: Tensor  # (R, L) bool; never in column 0, which nothing precedes


def as_batch(rows: list[list[int]], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Rows of tokens, of which those between an assistant's mark and the end of its turn count."""
    start, end, pad = tokenizer.convert_tokens_to_ids([ASSISTANT, END, PAD])
    ids = np.full((len(rows), max(map(len, rows))), pad)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    places = np.arange(ids.shape[1])
    begun, over = (np.maximum.accumulate(np.where(ids == token, places, -1), axis=1) for token in (start, end))
    inside = np.zeros_like(ids, bool)
    inside[:, 1:] = (begun > over)[:, :-1]  # the mark before this token is an assistant's
    return Batch(torch.from_numpy(ids), torch.from_numpy(inside & (ids != pad)))


def batches(draw: Callable[[], str], tokenizer: PreTrainedTokenizerFast, tokens: int) -> Iterator[list[Batch]]:
    """Documents that `draw` gives, about `tokens` tokens of them at a time, in four parts of like length."""
    waiting: list[list[int]] = []
    while True:
        rows: list[list[int]] = []
        while sum(map(len, rows)) < tokens:
            if not waiting:
                waiting = tokenizer([draw() for _ in range(50)])["input_ids"]
            rows.append(waiting.pop())
        rows.sort(key=len)
        cuts = [0, *(int(len(rows) * share) for share in (0.3, 0.6, 0.85)), len(rows)]
        yield [as_batch(rows[a:b], tokenizer) for a, b in pairwise(cuts) if b > a]


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
