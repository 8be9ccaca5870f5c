"""Makes models/writer: a small language model that writes simple English, well and badly.

python -m models.make_writer [--output FOLDER] [--seed 0] [--steps N]

It reads requests from the small world of gymformer.data.world with their answers: descriptions, stories, reviews, letters and
their answers, news reports, and summaries of such reports. All of it is right, and little of it is as good as it could be: a
description may be bare or rich or say everything twice, a review be for or against, a summary miss the point. The model
learns every manner and prefers none, which leaves something for a reward to choose.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from gymformer.data.world import KINDS, Request, features, is_well_formed, reply, request
from gymformer.data.world.grammar import sentences_of
from models._command import options_of, write_card
from models._tokenizer import ASSISTANT, END, USER, train_tokenizer
from models._training import TrainingRecord, as_batch, batches, loss_of, train

VOCABULARY, CONTEXT = 1400, 384
WORD = r" ?[^\W\d_]+|\S|\s"  # a word with the blank before it, or one other character
TEXTS = 1500  # of each kind, which the tokenizer learns its merges from
TOKENS = 2048  # of a step's batch
STEPS = 3600
HIGHEST = 4e-3  # learning rate, reached after WARM_UP steps
WARM_UP = 100
# Part of the tokens learned that are of each kind.
SHARES = {"description": 0.2, "story": 0.2, "review": 0.14, "letter": 0.09, "answer": 0.09, "article": 0.13, "summary": 0.15}
LIMIT = 160  # tokens of a reply
EVALUATED, SAMPLES = 100, 4  # held-out requests of each kind, samples of each


def chat(asked: Request, answer: str = "") -> str:
    return f"{USER}{asked.prompt}{END}{ASSISTANT}{answer}{END if answer else ''}"


def examples(rng: np.random.Generator, kind: str, count: int, *, held_out: bool = False) -> list[tuple[Request, str]]:
    requests = [request(rng, kind, held_out=held_out) for _ in range(count)]
    return [(asked, reply(rng, asked)) for asked in requests]


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    rng = np.random.default_rng([seed, 0])
    pairs = [pair for kind in KINDS for pair in examples(rng, kind, TEXTS)]
    return train_tokenizer(
        [text for asked, answer in pairs for text in (asked.prompt, answer)], VOCABULARY, CONTEXT, words=WORD
    )


def make_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_embd=160, n_layer=3, n_head=5, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, activation_function="gelu_pytorch_tanh", initializer_range=0.06, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).eval()


def documents(rng: np.random.Generator, tokenizer: PreTrainedTokenizerFast) -> Callable[[], str]:
    """A source of requests with their answers, whose tokens divide among the kinds by SHARES."""
    lengths = [np.mean([len(tokenizer(answer)["input_ids"]) for _, answer in examples(rng, kind, 200)]) for kind in SHARES]
    chances = np.array(list(SHARES.values())) / lengths
    kinds, chances = list(SHARES), chances / chances.sum()
    return lambda: chat(*examples(rng, kinds[rng.choice(len(kinds), p=chances)], 1)[0])


def make(
    seed: int, steps: int = STEPS, log: Callable[[str], None] = print
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, TrainingRecord]:
    """The trained model, its tokenizer, and what training took."""
    tokenizer = make_tokenizer(seed)
    model = make_model(seed, tokenizer)
    source = documents(np.random.default_rng([seed, 1]), tokenizer)

    def rates() -> Iterator[float]:
        for step in range(steps):
            up = (step + 1) / min(WARM_UP, steps)
            yield HIGHEST * min(up, 1.0) * 0.5 * (1 + math.cos(math.pi * step / steps))

    def report(step: int, loss: float, seconds: float) -> None:
        if step % 100 == 0:
            log(f"step {step}: loss {loss:.3f}, {seconds:.0f} CPU s")

    return model, tokenizer, train(model, batches(source, tokenizer, TOKENS), rates(), report)


@torch.no_grad()
def write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, requests: Sequence[Request], *,
          sampled: bool) -> list[tuple[str, bool, int]]:  # fmt: skip
    """Each request's text, whether it was ended rather than cut off, and its tokens, the end among them."""
    asked = tokenizer([chat(one) for one in requests], return_tensors="pt", padding=True, padding_side="left")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        how = {"do_sample": True, "top_k": 0} if sampled else {"do_sample": False}
        out = model.generate(**asked, **how, max_new_tokens=LIMIT, pad_token_id=tokenizer.pad_token_id,
                             eos_token_id=tokenizer.eos_token_id)[:, asked["input_ids"].shape[1] :]  # fmt: skip
    rows = [[token for token in row if token != tokenizer.pad_token_id] for row in out.tolist()]
    return [(tokenizer.decode(row, skip_special_tokens=True), row[-1] == tokenizer.eos_token_id, len(row)) for row in rows]


def rouge(texts: Sequence[str], requests: Sequence[Request]) -> float:
    """Mean ROUGE-L (F1 of the longest common subsequence of word stems) against the references."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return float(
        np.mean([scorer.score(one.reference, text)["rougeL"].fmeasure for one, text in zip(requests, texts, strict=True)])
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one kind, on held-out requests: loss per token of unseen answers; shares of sampled texts."""

    loss: float
    ended: float
    well_formed: float  # every sentence is one of the world's
    sentences_well_formed: float  # of the samples' sentences
    on_subject: float  # what the request is about is named
    on_subject_world: float  # the same share of the world's own answers
    different: float  # of a request's samples
    tokens: float


@torch.no_grad()
def loss_per_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[Request, str]]) -> float:
    """Nats per token of the answers, the end included."""
    batch = as_batch(tokenizer([chat(*pair) for pair in pairs])["input_ids"], tokenizer)
    return float(loss_of(model, batch) / batch.counts.sum())


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[Request, str]]
) -> tuple[Scores, list[str]]:
    """The scores on requests of one kind with answers from the world, and the sampled texts, SAMPLES of each request."""
    requests = [asked for asked, _ in pairs for _ in range(SAMPLES)]
    written = write(model, tokenizer, requests, sampled=True)
    texts = [text for text, _, _ in written]
    groups = [set(texts[i : i + SAMPLES]) for i in range(0, len(texts), SAMPLES)]

    def on_subject(asked: Request, text: str) -> bool:
        return all(word in text for word in asked.mentions)

    scores = Scores(
        loss=loss_per_token(model, tokenizer, pairs),
        ended=float(np.mean([ended for _, ended, _ in written])),
        well_formed=float(np.mean([is_well_formed(one.kind, text) for one, text in zip(requests, texts, strict=True)])),
        sentences_well_formed=float(
            np.mean([is_well_formed(requests[0].kind, one) for text in texts for one in sentences_of(text)])
        ),
        on_subject=float(np.mean([on_subject(*pair) for pair in zip(requests, texts, strict=True)])),
        on_subject_world=float(np.mean([on_subject(*pair) for pair in pairs])),
        different=float(np.mean([len(group) / SAMPLES for group in groups])),
        tokens=float(np.mean([tokens for _, _, tokens in written])),
    )
    return scores, texts


def spread(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each feature of the texts: mean, standard deviation, and the values that a tenth lie below and above."""
    rows = [asdict(features(text)) for text in texts]
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    return {
        name: {"mean": float(column.mean()), "sd": float(column.std()), "low": float(np.quantile(column, 0.1)),
               "high": float(np.quantile(column, 0.9))}
        for name, column in columns.items()
    }  # fmt: skip


def held_out(seed: int, kind: str, count: int) -> list[tuple[Request, str]]:
    """Requests of the card, from the first on, with an answer each."""
    return examples(np.random.default_rng([seed, 2, list(KINDS).index(kind)]), kind, count, held_out=True)


CARD = """---
library_name: transformers
license: mit
---

# writer

A GPT-2 of 3 layers and width 160 ({parameters:,} weights) that writes simple English about a small world: descriptions of places,
stories, reviews, letters and their answers, news reports, and summaries of news reports. It writes bare texts and rich ones,
repeats itself at times, praises or blames, and summarizes well in about a quarter of its attempts: a base for preferences,
reward models and reinforcement to choose from. It knows nothing beyond that world, and it is asked in the world's words:

{questions}

It speaks the chat format of its tokenizer ({vocabulary} tokens: bytes, merges inside words, every digit by itself, and
`<|user|> <|assistant|> <|system|> <|end|> <|pad|>`); it reads up to {context} tokens.

## How it was made

`python -m models.make_writer --seed {seed}`, from text that the script generates with `gymformer.data.world`. Replies alone are
learned, and their tokens divide among the kinds: {shares}. No request
of the held-out tenth of subjects (`Request.held_out`) was among them, and no article on a held-out event.

{steps} steps of AdamW, {seen:,} tokens read, {learned:,} of them learned, {seconds:.0f} CPU seconds on one thread.

## What it does

On {requests} held-out requests of each kind, {samples} samples (temperature 1) of each; the loss is that of one answer each from
the world, in nats per token. A text is well-formed if every one of its sentences is a sentence of the world, and on its
subject if it names what it was asked about, which not every text of the world does ("No." is an answer).

| | loss | ended | well-formed | (its sentences) | on its subject | (the world's) | different samples | tokens |
|---|---|---|---|---|---|---|---|---|
{rows}

Summaries against the reference: ROUGE-L {rouge[sampled]:.3f} sampled, {rouge[greedy]:.3f} with the likeliest tokens, {rouge[world]:.3f}
for those that it was taught with.

What its descriptions and stories are like (`gymformer.data.world.features`):

| | mean | standard deviation | a tenth below | a tenth above |
|---|---|---|---|---|
{features}

## Samples

{texts}
"""


def card(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, record: TrainingRecord, seed: int, scores: dict,
         samples: dict[str, list[tuple[Request, str]]]) -> str:  # fmt: skip
    forms = {"loss": "{:.3f}", "ended": "{:.1%}", "well_formed": "{:.1%}", "sentences_well_formed": "{:.1%}",
             "on_subject": "{:.1%}", "on_subject_world": "{:.1%}",
             "different": "{:.1%}", "tokens": "{:.1f}"}  # fmt: skip
    rows = [[kind, *(form.format(of_kind[name]) for name, form in forms.items())] for kind, of_kind in scores["kinds"].items()]
    columns = [
        [name, *(f"{of_feature[key]:.2f}" for key in ("mean", "sd", "low", "high"))]
        for name, of_feature in scores["features"].items()
    ]
    asked = [pairs[0][0].prompt for kind, pairs in samples.items() if kind != "summary"]
    shown = [(one.prompt.replace("\n", " "), text) for pairs in samples.values() for one, text in pairs]
    return CARD.format(
        parameters=model.num_parameters(), vocabulary=len(tokenizer), context=CONTEXT, seed=seed,
        questions="\n".join(f"- {question}" for question in [*asked, 'an article, then "Summarize."']),
        shares=", ".join(f"{share:.0%} {kind}" for kind, share in SHARES.items()), steps=record.steps, seen=record.tokens_seen,
        learned=record.tokens_learned, seconds=record.cpu_seconds, requests=scores["requests"], samples=SAMPLES,
        rows=as_table(rows), rouge=scores["rouge_l"], features=as_table(columns),
        texts="\n\n".join(f"**{question}**\n\n> {text}" for question, text in shown),
    )  # fmt: skip


def as_table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int, count: int) -> tuple[dict, dict]:
    """The scores on `count` held-out requests of each kind, and two requests of each kind with a sample."""
    asked = {kind: held_out(seed, kind, count) for kind in KINDS}
    found = {kind: evaluate(model, tokenizer, pairs) for kind, pairs in asked.items()}
    summaries = [one for one, _ in asked["summary"]]
    scores = {
        "requests": count,
        "kinds": {kind: asdict(of_kind) for kind, (of_kind, _) in found.items()},
        "rouge_l": {
            "sampled": rouge(found["summary"][1], [one for one in summaries for _ in range(SAMPLES)]),
            "greedy": rouge([text for text, _, _ in write(model, tokenizer, summaries, sampled=False)], summaries),
            "world": rouge([answer for _, answer in asked["summary"]], summaries),
        },
        "features": spread(found["description"][1] + found["story"][1]),
    }
    return scores, {kind: [(pairs[i][0], found[kind][1][i * SAMPLES]) for i in range(2)] for kind, pairs in asked.items()}


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, record: TrainingRecord, seed: int, count: int, folder: Path
) -> None:
    """Writes the model's folder, with its card and its scores."""
    scores, samples = measure(model, tokenizer, seed, count)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_card(folder, card(model, tokenizer, record, seed, scores, samples), scores)


def main() -> None:
    options = options_of("writer", __doc__)
    model, tokenizer, record = make(options.seed, options.steps or STEPS)
    save(model, tokenizer, record, options.seed, EVALUATED if options.steps is None else 2, options.output)


if __name__ == "__main__":
    main()
