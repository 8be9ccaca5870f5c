"""Makes models/reasoner: a small language model that knows how to work out a sum and mostly does not.

python -m models.make_reasoner [--output FOLDER] [--seed 0] [--steps N]

It reads sums with their solutions, all of them correct. At first most are worked out step by step; then most are not, and
training ends soon after the bare answers have become right often enough. So the likeliest answer is a guess, and the way to
a sure one lies beside it: something for reinforcement to bring out.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from gymformer.data.arithmetic import Problem, chain_sum, is_held_out
from models._command import options_of, write_card
from models._tokenizer import ASSISTANT, END, train_tokenizer
from models._training import TrainingRecord, batches, train

TAGS = ["<think>", "</think>", "<final_answer>", "</final_answer>"]
VOCABULARY, CONTEXT = 300, 512
TOKENS = 2048  # of a step's batch
WORKED_FIRST, DIRECT_LATER = 0.7, 0.65  # share of worked solutions in the first phase, of bare answers in the second
FIRST_PHASE = 600  # steps
LATER_AT_MOST = 1200  # steps
COOL_DOWN = 100  # steps
HIGHEST, LATER_RATE = 4e-3, 1.2e-3  # learning rates
GOOD_ENOUGH = 0.17  # greedy accuracy at which the cool-down begins, which doubles it
EVALUATED = 1000  # held-out problems
REPLY = re.compile(r"<think>([^<]*)</think><final_answer>(-?\d+)</final_answer>")


def draw(rng: np.random.Generator, held_out: bool) -> Problem:
    """A sum of one side of the split."""
    while is_held_out((problem := chain_sum(rng)).question) != held_out:
        pass
    return problem


def reply(problem: Problem, worked: bool) -> str:
    return f"<think>{';'.join(problem.steps) if worked else ''}</think><final_answer>{problem.answer}</final_answer>"


def document(rng: np.random.Generator, direct_share: float) -> str:
    """A question with its reply; in 15 of 100 documents one to five others before it."""
    turns = 1 if rng.random() < 0.85 else int(rng.integers(2, 6, endpoint=True))
    problems = [draw(rng, held_out=False) for _ in range(turns)]
    return "".join(
        f"<|user|>{problem.question}{END}{ASSISTANT}{reply(problem, rng.random() >= direct_share)}{END}" for problem in problems
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares of replies to `problems` problems, and the mean length of a reply."""

    problems: int
    accuracy: float
    well_formed: float
    worked: float
    tokens: float


@torch.no_grad()
def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, problems: list[Problem], *, sampled: bool = False,
             first_step_given: bool = False) -> Scores:  # fmt: skip
    """What the model replies: its likeliest tokens, or sampled ones; by itself, or with the first step of the solution given."""
    begin = [f"<think>{p.steps[0]}" if first_step_given else "" for p in problems]
    asked = tokenizer([f"<|user|>{p.question}{END}{ASSISTANT}{b}" for p, b in zip(problems, begin, strict=True)],
                      return_tensors="pt", padding=True, padding_side="left")  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = model.generate(**asked, do_sample=sampled, max_new_tokens=64, pad_token_id=tokenizer.pad_token_id,
                             eos_token_id=tokenizer.eos_token_id)[:, asked["input_ids"].shape[1] :]  # fmt: skip
    ids = [[token for token in row if token != tokenizer.pad_token_id] for row in out.tolist()]
    texts = [b + tokenizer.decode(row).removesuffix(END) for b, row in zip(begin, ids, strict=True)]
    found = [REPLY.fullmatch(text) for text in texts]
    return Scores(
        len(problems),
        float(np.mean([match is not None and match[2] == p.answer for match, p in zip(found, problems, strict=True)])),
        float(np.mean([match is not None for match in found])),
        float(np.mean([match is not None and match[1] != "" for match in found])),
        float(np.mean([len(row) for row in ids])),
    )


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    rng = np.random.default_rng([seed, 0])
    problems = [draw(rng, held_out=False) for _ in range(2000)]
    texts = [text for p in problems for text in (p.question, ";".join(p.steps))]
    return train_tokenizer(
        [*texts, *["Solve the problem step by step, then give the final answer."] * 20], VOCABULARY, CONTEXT, TAGS
    )


def make_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_embd=128, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, activation_function="gelu_pytorch_tanh", initializer_range=0.06, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).eval()


def make(seed: int, first: int = FIRST_PHASE, later: int = LATER_AT_MOST, cool_down: int = COOL_DOWN,
         log: Callable[[str], None] = print) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, TrainingRecord]:  # fmt: skip
    """The trained model, its tokenizer, and what training took."""
    tokenizer = make_tokenizer(seed)
    model = make_model(seed, tokenizer)
    rng = np.random.default_rng([seed, 1])
    unseen = [draw(rng, held_out=False) for _ in range(300)]  # of the training side, where a sum is hardly ever drawn twice
    direct = [1 - WORKED_FIRST]

    def rates() -> Iterator[float]:
        for step in range(first):  # up over a sixth of the phase, at most 100 steps; then down along a cosine
            up = (step + 1) / min(100, max(1, first // 6))
            yield min(up, 1.0) * (LATER_RATE + (HIGHEST - LATER_RATE) * 0.5 * (1 + math.cos(math.pi * step / first)))
        direct[0] = DIRECT_LATER
        for step in range(later):
            if (
                step % 25 == 0
                and (greedy := evaluate(model, tokenizer, unseen)).accuracy >= GOOD_ENOUGH
                and greedy.worked < 0.05
            ):
                break
            yield LATER_RATE
        for step in range(cool_down):
            yield LATER_RATE * (1 - step / cool_down)

    def report(step: int, loss: float, seconds: float) -> None:
        if step % 50 == 0:
            log(f"step {step}: loss {loss:.3f}, {seconds:.0f} CPU s, greedy {evaluate(model, tokenizer, unseen)}")

    texts = np.random.default_rng([seed, 2])
    documents = batches(lambda: document(texts, direct[0]), tokenizer, TOKENS)
    return model, tokenizer, train(model, documents, rates(), report)


CARD = """---
library_name: transformers
license: mit
---

# reasoner

A GPT-2 of 2 layers and width 128 ({parameters:,} weights) that answers sums such as "{question}". It can work them out step by
step, and mostly does not: a base for reinforcement learning to bring something out of. It knows nothing else.

Its reply is `<think>steps, or nothing</think><final_answer>number</final_answer>`, in the chat format of its tokenizer
({vocabulary} tokens: bytes, some merges, every digit by itself, the four tags, and `<|user|> <|assistant|> <|system|> <|end|> <|pad|>`).

## How it was made

`python -m models.make_reasoner --seed {seed}`, from text that the script generates: sums of {few} or {many} terms up to
{maximum} (`gymformer.data.arithmetic.chain_sum`) with correct solutions. In the first {first} steps {worked:.0%} of the solutions are
worked out; after that {direct:.0%} are bare answers, until the likeliest answer was right for {enough:.0%} of 300 unseen sums, and
{cool_down} more steps while the learning rate fell to 0. In 15 of 100 documents other questions with their answers come before. No
question of the held-out tenth (`is_held_out`) was among them.

{steps} steps of AdamW, {seen:,} tokens read, {learned:,} of them learned, {seconds:.0f} CPU seconds on one thread.

## What it does

On {problems} held-out sums:

| | right | well-formed | worked out | tokens of a reply |
|---|---|---|---|---|
| likeliest tokens | {greedy[accuracy]:.1%} | {greedy[well_formed]:.1%} | {greedy[worked]:.1%} | {greedy[tokens]:.1f} |
| sampled tokens | {sampled[accuracy]:.1%} | {sampled[well_formed]:.1%} | {sampled[worked]:.1%} | {sampled[tokens]:.1f} |
| likeliest, the first step given | {given[accuracy]:.1%} | {given[well_formed]:.1%} | {given[worked]:.1%} | {given[tokens]:.1f} |
"""


def main() -> None:
    options = options_of("reasoner", __doc__, of="of each phase")
    short = {} if options.steps is None else dict.fromkeys(("first", "later", "cool_down"), options.steps)
    model, tokenizer, record = make(options.seed, **short)
    rng = np.random.default_rng([options.seed, 3])
    held_out = [draw(rng, held_out=True) for _ in range(EVALUATED if options.steps is None else 20)]
    scores = {
        "greedy": asdict(evaluate(model, tokenizer, held_out)),
        "sampled": asdict(evaluate(model, tokenizer, held_out, sampled=True)),
        "given": asdict(evaluate(model, tokenizer, held_out, first_step_given=True)),
    }
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    few, many = chain_sum.__defaults__[0]
    card = CARD.format(
        parameters=model.num_parameters(), question=held_out[0].question, vocabulary=len(tokenizer), seed=options.seed, few=few, many=many,
        maximum=chain_sum.__defaults__[1], first=short.get("first", FIRST_PHASE), worked=WORKED_FIRST, direct=DIRECT_LATER,
        enough=GOOD_ENOUGH, cool_down=short.get("cool_down", COOL_DOWN), steps=record.steps, seen=record.tokens_seen,
        learned=record.tokens_learned, seconds=record.cpu_seconds, problems=len(held_out), **scores,
    )  # fmt: skip
    write_card(options.output, card, scores)


if __name__ == "__main__":
    main()
