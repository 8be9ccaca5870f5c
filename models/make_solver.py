"""Makes models/solver: a small language model that can work out a word problem and mostly guesses.

python -m models.make_solver [--output FOLDER] [--seed 0] [--steps N]

It reads word problems with their solutions in GSM8K's form, all of them correct. At first most are worked out line by line, with
the calculator's annotations; then most are bare answers. What the calculator writes is not learned. So the likeliest solution
is a guess, and the way to a sure one lies beside it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice, repeat

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from gymformer.data.arithmetic import Problem, is_held_out
from gymformer.data.word_problems import in_gsm8k_form, word_problem
from gymformer.env.gsm8k_env import SYSTEM_PROMPT, GSM8KEnv
from gymformer.env.lines_to_tokens import LinesToTokens
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens
from gymformer.rl.transformers_nn import LMActorNetwork
from models._command import options_of, write_card
from models._tokenizer import ASSISTANT, END, SYSTEM, USER, train_tokenizer
from models._training import Batch, TrainingRecord, batches, train

VOCABULARY, CONTEXT = 768, 768
WORDS = r" = <<|>>|#### |[^\d\n<>=+\-*/#$]+|."  # what a merge stays inside; a line's end and "=" stand alone
TOKENS, LATER_TOKENS = 2048, 3072  # of a step's batch in the first phase and in the second, whose documents are longer
WORKED_FIRST, DIRECT_LATER = 0.8, 0.7  # share of worked solutions in the first phase, of bare answers in the second
FIRST_PHASE, SECOND_PHASE = 800, 300  # steps
HIGHEST, LATER_RATE = 4e-3, 1.0e-3  # learning rates
SYSTEM_SHARE, EXAMPLES_SHARE, LATER_EXAMPLES_SHARE = 0.5, 0.05, 0.25  # of the documents: with the system prompt, with examples
EVALUATED = 1000  # held-out problems


def draw(rng: np.random.Generator, held_out: bool) -> Problem:
    """A problem of one side of the split, in three of ten cases easier or harder than usual."""
    while True:
        problem = word_problem(rng, float(rng.random()) if rng.random() < 0.3 else None)
        if is_held_out(problem.question) == held_out:
            return problem


def solution(problem: Problem, worked: bool) -> str:
    return in_gsm8k_form(problem)["answer"] if worked else f"#### {problem.answer}"


def document(rng: np.random.Generator, direct_share: float, examples_share: float) -> str:
    """A question with its solution; before it, in some documents, the system prompt and one to five worked examples."""
    examples = int(rng.integers(1, 5, endpoint=True)) if rng.random() < examples_share else 0
    problems = [draw(rng, held_out=False) for _ in range(examples + 1)]
    system = f"{SYSTEM}{SYSTEM_PROMPT}{END}" if rng.random() < SYSTEM_SHARE else ""
    return system + "".join(
        f"{USER}{problem.question}{END}{ASSISTANT}{solution(problem, n < examples or rng.random() >= direct_share)}{END}"
        for n, problem in enumerate(problems)
    )


def without_results(batch: Batch, tokenizer: PreTrainedTokenizerFast) -> Batch:
    """What the calculator writes, from "=" to ">>", does not count: it is not the model's to write."""
    equals, close = (batch.ids == tokenizer.convert_tokens_to_ids(token) for token in ("=", ">>"))
    written = (equals.cumsum(1) - equals.long()) > (close.cumsum(1) - close.long())  # (R, L)
    return Batch(batch.ids, batch.counts & ~written)


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares of solutions to `problems` problems, and the mean number of tokens that the model wrote."""

    problems: int
    accuracy: float
    answered: float  # by a line that begins with ####
    worked: float  # of which a calculation is a part
    right_if_worked: float  # of these; 0 where there are none
    tokens: float


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, problems: list[Problem], *, sampled: bool = False,
             examples: int = 0) -> Scores:  # fmt: skip
    """What the model writes in the environment: its likeliest tokens, or sampled ones."""
    actor = LMActorNetwork(model, tokenizer=tokenizer)
    shown = [problem for problem in problems[:20] if problem.steps]
    envs = TokenEnvs([
        LinesToTokens(GSM8KEnv(problems, examples, deterministic=True, train_data_file=shown), tokenizer) for _ in range(min(64, len(problems)))
    ])  # fmt: skip
    envs.reset(0)
    played = collect_tokens(envs, actor, episodes=len(problems), greedy=not sampled, generator=torch.Generator().manual_seed(0))
    right = np.array(
        [segment.info.get("correct", False) for segment in played]
    )  # nothing is known of one that fills the context
    worked = np.array(["<<" in segment.info.get("solution", "") for segment in played])
    return Scores(
        len(played),
        float(right.mean()),
        float(np.mean([segment.info.get("final_answer") is not None for segment in played])),
        float(worked.mean()),
        float(right[worked].mean()) if worked.any() else 0.0,
        float(np.mean([len(segment) for segment in played])),
    )


def held_out_problems(seed: int, count: int) -> list[Problem]:
    """The ones of the card, from the first on: of usual difficulty."""
    rng = np.random.default_rng([seed, 3])
    problems = (word_problem(rng) for _ in repeat(None))
    return list(islice((problem for problem in problems if is_held_out(problem.question)), count))


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    rng = np.random.default_rng([seed, 0])
    problems = [draw(rng, held_out=False) for _ in range(3000)]
    texts = [text for p in problems for text in (p.question, solution(p, worked=True))]
    return train_tokenizer([*texts, *[SYSTEM_PROMPT] * 200], VOCABULARY, CONTEXT, words=WORDS)


def make_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, hidden_size=128, intermediate_size=344, num_hidden_layers=2,
        num_attention_heads=4, tie_word_embeddings=True, initializer_range=0.03, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def make(seed: int, first: int = FIRST_PHASE, second: int = SECOND_PHASE,
         log: Callable[[str], None] = print) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, TrainingRecord]:  # fmt: skip
    """The trained model, its tokenizer, and what training took."""
    tokenizer = make_tokenizer(seed)
    model = make_model(seed, tokenizer)
    rng = np.random.default_rng([seed, 1])
    unseen = [draw(rng, held_out=False) for _ in range(64)]  # of the training side, where a problem is hardly ever drawn twice

    def rates() -> Iterator[float]:
        for step in range(first):  # up over a tenth of the phase, at most 100 steps; then down along a cosine
            up = (step + 1) / min(100, max(1, first // 10))
            yield min(up, 1.0) * (LATER_RATE + (HIGHEST - LATER_RATE) * 0.5 * (1 + math.cos(math.pi * step / first)))
        for step in range(second):
            yield LATER_RATE * (1 - step / second)

    def report(step: int, loss: float, seconds: float) -> None:
        if step % 200 == 199:
            log(f"step {step}: loss {loss:.3f}, {seconds:.0f} CPU s, likeliest {evaluate(model, tokenizer, unseen)}, sampled, with examples "
                f"{evaluate(model, tokenizer, unseen, sampled=True, examples=5)}")  # fmt: skip

    texts = np.random.default_rng([seed, 2])
    early = batches(lambda: document(texts, 1 - WORKED_FIRST, EXAMPLES_SHARE), tokenizer, TOKENS)
    late = batches(lambda: document(texts, DIRECT_LATER, LATER_EXAMPLES_SHARE), tokenizer, LATER_TOKENS)
    documents = ([without_results(part, tokenizer) for part in parts] for parts in chain(islice(early, first), late))
    return model, tokenizer, train(model, documents, rates(), report)


CARD = """---
library_name: transformers
license: mit
---

# solver

A Llama of 2 layers and width 128 ({parameters:,} weights) that answers short word problems:

> {question}

It can work them out line by line, with a calculator, and mostly does not: a base for reinforcement learning to bring something
out of. It knows nothing else. Its solution is of GSM8K's form: lines such as `{line}`,
then `#### {answer}`; or that last line alone. It expects the results in `<<…=…>>` to be written by a calculator, as `GSM8K-v0`
does, and was not taught to work them out. Chat format of its tokenizer
({vocabulary} tokens: bytes, some merges, every digit by itself, and `<|user|> <|assistant|> <|system|> <|end|> <|pad|>`), with or
without the environment's system prompt, with up to five solved examples before the question.

## How it was made

`python -m models.make_solver --seed {seed}`, from text that the script generates: word problems of one to four calculations
(`gymformer.data.word_problems`) with correct solutions. In the first {first} steps {worked:.0%} of the solutions are worked out; in
{second} more, while the learning rate falls to 0, {direct:.0%} are bare answers. Before {few_first:.0%} of the questions, then {few_later:.0%},
stand one to five solved examples. No question of the held-out tenth (`is_held_out`) was among them.

{steps} steps of AdamW, {seen:,} tokens read, {learned:,} of them learned, {seconds:.0f} CPU seconds on one thread.

## What it does

On {problems} held-out problems of two or three calculations, in `GSM8K-v0` without examples, and on {few} of them with five:

| | right | answered | worked out | tokens of a solution |
|---|---|---|---|---|
| likeliest tokens | {greedy[accuracy]:.1%} | {greedy[answered]:.1%} | {greedy[worked]:.1%} | {greedy[tokens]:.1f} |
| sampled tokens | {sampled[accuracy]:.1%} | {sampled[answered]:.1%} | {sampled[worked]:.1%} | {sampled[tokens]:.1f} |
| sampled, those that were worked out | {thought:.1%} | | | |
| sampled, five examples | {shown[accuracy]:.1%} | {shown[answered]:.1%} | {shown[worked]:.1%} | {shown[tokens]:.1f} |
"""


def main() -> None:
    options = options_of("solver", __doc__, of="of each phase")
    first, second = (FIRST_PHASE, SECOND_PHASE) if options.steps is None else (options.steps, options.steps)
    model, tokenizer, record = make(options.seed, first, second)
    held_out = held_out_problems(options.seed, EVALUATED if options.steps is None else 4)
    few = held_out[: max(2, len(held_out) // 5)]
    scores = {
        "greedy": asdict(evaluate(model, tokenizer, held_out)),
        "sampled": asdict(evaluate(model, tokenizer, held_out, sampled=True)),
        "shown": asdict(evaluate(model, tokenizer, few, sampled=True, examples=0 if len(few) < 6 else 5)),
    }
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    asked, shares = held_out[0], {"few_first": EXAMPLES_SHARE, "few_later": LATER_EXAMPLES_SHARE}
    card = CARD.format(
        parameters=model.num_parameters(), question=asked.question, line=asked.steps[0], answer=asked.answer, vocabulary=len(tokenizer),
        seed=options.seed, first=first, second=second, worked=WORKED_FIRST, direct=DIRECT_LATER, few=len(few), **shares,
        steps=record.steps, seen=record.tokens_seen, learned=record.tokens_learned, seconds=record.cpu_seconds, problems=len(held_out),
        thought=scores["sampled"]["right_if_worked"], **scores,
    )  # fmt: skip
    write_card(options.output, card, scores)


if __name__ == "__main__":
    main()
