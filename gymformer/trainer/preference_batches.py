"""Preferences as rows of tokens, in batches of about one length, and as pairs."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gymformer.data.preferences import Preference, Preferences, Refusal, require_few
from gymformer.lm.reward import RewardModel, as_batch
from gymformer.lm.rows import RowFormat
from gymformer.rl.dpo import Pair
from gymformer.seeding import derive_seed

__all__ = ["Batch", "Example", "encode", "epoch_batches", "fingerprint", "pairs_of", "parts", "stack"]

MEGABATCH = 32  # batches whose rows are sorted by length together


@dataclass(frozen=True, slots=True)
class Example:
    """A preference as K rows of tokens."""

    record: Preference
    rows: tuple[list[int], ...]  # prompt, reply, end
    reply_lengths: tuple[int, ...]  # tokens of each reply, with the end

    @property
    def longest(self) -> int:
        return max(map(len, self.rows))


@dataclass(frozen=True, slots=True)
class Batch:
    """N examples of K candidates, one after another."""

    inputs: Tensor  # (N·K, L), padded on the right
    lengths: Tensor  # (N·K,)
    target: Tensor  # (N, K): 1 at the best; 1/m at each of m that are tied
    margin: Tensor  # (N,)


def encode(
    model: RewardModel, preferences: Preferences, max_length: int | None, max_refused: float
) -> tuple[list[Example], list[Refusal]]:
    """The preferences as rows that `model` can read, and those that it cannot because they are too long.

    Raises ValueError for ids that the model does not have, and if more than `max_refused` of all rows are too long.
    """
    limit = min(length for length in (max_length, model.context, 10**9) if length is not None)
    examples, refused = [], []
    for record in preferences:
        prompt = model.rows.prompt_ids(record.prompt)
        rows = tuple(model.rows.closed([*prompt, *model.rows.row([], reply)]) for reply in record.candidates)
        problem = _too_long(len(prompt), max(map(len, rows)), limit, max_length)
        problem = problem or next((p for row in rows if (p := model.problem_of(row)) is not None), None)
        if problem is None:
            examples.append(Example(record, rows, tuple(len(row) - len(prompt) for row in rows)))
        elif max(map(len, rows)) > limit:
            refused.append(Refusal(record.place, problem))
        else:
            raise ValueError(f"{preferences.source}, {record.place}: {problem}")
    require_few(refused, len(preferences), preferences.source, max_refused)
    return examples, refused


def _too_long(prompt: int, longest: int, limit: int, max_length: int | None) -> str | None:
    if longest <= limit:
        return None
    whose = f"max_length={max_length}" if limit == max_length else f"the model's context of {limit}"
    if prompt >= limit:
        return f"its prompt has {prompt} tokens, which leaves no room for a reply in {whose}"
    return f"its prompt and reply have {longest} tokens, more than {whose}"


def epoch_batches(examples: Sequence[Example], batch_size: int, seed: int, epoch: int) -> list[list[Example]]:
    """All examples once, in batches of about one length, in an order that `seed` and `epoch` decide."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "preferences", epoch))
    order = torch.randperm(len(examples), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), MEGABATCH * batch_size):
        together = sorted(order[start : start + MEGABATCH * batch_size], key=lambda i: examples[i].longest)
        batches += [together[i : i + batch_size] for i in range(0, len(together), batch_size)]
    return [[examples[i] for i in batches[b]] for b in torch.randperm(len(batches), generator=generator).tolist()]


def parts(examples: Sequence[Example], max_tokens: int) -> Iterator[list[Example]]:
    """The examples in groups that take at most `max_tokens` cells when they are padded, one example at least."""
    group: list[Example] = []
    longest = 0
    for example in examples:
        longest = max(longest, example.longest)
        if group and (len(group) + 1) * len(example.rows) * longest > max_tokens:
            yield group
            group, longest = [], example.longest
        group.append(example)
    if group:
        yield group


def stack(examples: Sequence[Example], device: torch.device) -> Batch:
    inputs, lengths = as_batch([row for example in examples for row in example.rows], device)
    target = torch.zeros(len(examples), len(examples[0].rows))
    for row, example in zip(target, examples, strict=True):
        row[list(example.record.best)] = 1 / len(example.record.best)
    margin = torch.tensor([example.record.margin or 0.0 for example in examples])
    return Batch(inputs, lengths, target.to(device), margin.to(device))


def fingerprint(examples: Sequence[Example]) -> str:
    """Another one for other rows, labels or margins."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.rows, example.record.best, example.record.margin)).encode())
    return digest.hexdigest()[:16]


def pairs_of(preferences: Iterable[Preference], rows: RowFormat) -> list[Pair]:
    """Of every record each of the best candidates against each of the others, as tokens that end as `rows` says. A record in which
    all are tied gives none, and margins are not looked at."""
    pairs = []
    for record in preferences:
        prompt = tuple(rows.prompt_ids(record.prompt))
        answers = [tuple(rows.row(prompt, candidate)[len(prompt) :]) for candidate in record.candidates]
        others = [answer for n, answer in enumerate(answers) if n not in record.best]
        pairs += [Pair(prompt, answers[best], other) for best in record.best for other in others]
    return pairs
