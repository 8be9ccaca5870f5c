"""Makes models/speaker: a small language model that knows how four text environments are played well, and often does not.

python -m models.make_speaker [--output FOLDER] [--seed 0] [--steps N]

It reads what the students of models/_students.py say in them, and what they are answered. At first the students are careful, and
every token is learned; then they are as careless as the model is to be, and their own turns alone are learned. So it can do what is
right, often does something else, and reinforcement brings the one out of the other.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import gymformer.registration  # noqa: F401  (the environments' ids)
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import language_agent
from gymformer.rl.transformers_nn import LMActorNetwork
from models._command import options_of, write_card
from models._students import Player, dialogue_student, logic_puzzle_student, memory_buffer_student, meta_reasoning_student
from models._tokenizer import ASSISTANT, END, SYSTEM, USER, train_tokenizer
from models._training import Batch, TrainingRecord, batches, train

VOCABULARY, CONTEXT = 1536, 512
WORDS = r" ?[A-Za-z]+|[^A-Za-z]"  # what a merge stays inside: a word with the space before it
MARK = re.compile(r"<\|\w+\|>")
OF_EACH = 700  # transcripts of each environment that the tokenizer is made from
FREQUENT, WORDS_OF_A_LINE = 0.2, 4  # a line of so many words in such a share of them is one token
TOKENS = 2048  # of a step's batch
EASIER = 0.5  # share of the episodes that are easier than the hardest
EVALUATED = 300  # episodes of each environment


@dataclass(frozen=True, slots=True)
class Phase:
    """So many steps, whose learning rate goes up over a tenth of them, and then down along a cosine."""

    steps: int
    highest: float  # learning rate
    lowest: float
    every_token: bool  # or the students' turns alone

    def rates(self) -> Iterator[float]:
        for step in range(self.steps):
            up = min(1.0, (step + 1) / min(100, max(1, self.steps // 10)))
            yield up * (self.lowest + (self.highest - self.lowest) * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


PHASES = (
    Phase(1000, 4e-3, 1e-3, every_token=True),
    Phase(1600, 2e-3, 5e-4, every_token=True),
    Phase(200, 5e-4, 0.0, every_token=False),
)
OfPhases = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Task:
    """An environment, who plays it for the transcripts, and, phase by phase, how often they do what is right, how hard it is at most,
    and how many of the documents it has."""

    student: Callable[[np.random.Generator, float], Player]
    care: OfPhases
    difficulty: OfPhases
    share: OfPhases  # relative to the others'
    arguments: dict[str, Any]
    held_out: dict[str, Any]  # further arguments, of the episodes that the card is about


TASKS = {
    "LogicPuzzle-v0": Task(logic_puzzle_student, (0.85, 1.0, 0.3), (0.5, 0.3, 0.15), (2, 10, 4),
                           {"use_curriculum": False, "difficulty": 0.15}, {}),
    "MemoryBuffer-v0": Task(memory_buffer_student, (0.85, 0.95, 0.45), (0.5, 0.5, 0.25), (1, 3, 1), {"difficulty": 0.25}, {}),
    "MetaReasoning-v0": Task(meta_reasoning_student, (0.9, 0.9, 0.55), (0.5, 0.5, 0.5), (1, 1, 1),
                             {"use_curriculum": False, "difficulty": 0.5}, {"split": "test"}),
    "Dialogue-v0": Task(dialogue_student, (0.8, 0.8, 0.35), (0.4, 0.4, 0.4), (1, 2, 1),
                        {"use_human_feedback": False, "difficulty": 0.4}, {"split": "test"}),
}  # fmt: skip
MEASURES = ("success", "brier", "elements")  # keys of the last info, where an environment has them


class Transcripts:
    """Episodes that students play in one of the phases, as texts in the tokenizer's chat format."""

    def __init__(self, rng: np.random.Generator, phase: int):
        self.rng, self.phase = rng, phase
        self.envs = {name: gym.make(name, disable_env_checker=True, **task.arguments) for name, task in TASKS.items()}
        shares = np.array([task.share[phase] for task in TASKS.values()])
        self._shares = shares / shares.sum()

    def draw(self) -> str:
        return self.of(str(self.rng.choice(list(TASKS), p=self._shares)))

    def of(self, name: str) -> str:
        """One episode of this environment."""
        env, task = self.envs[name], TASKS[name]
        act, difficulty = task.student(self.rng, task.care[self.phase]), task.difficulty[self.phase]
        if self.rng.random() < EASIER:
            difficulty *= float(self.rng.random())
        observation, info = env.reset(seed=int(self.rng.integers(2**31)), options={"difficulty": difficulty})
        text, over = f"{SYSTEM}{env.get_wrapper_attr('system_prompt')}{END}", False
        while not over:
            turn = act(observation, info)
            text += f"{USER}{observation}{END}{ASSISTANT}{turn}{END}"
            observation, _, terminated, truncated, info = env.step(turn)
            over = terminated or truncated
        return text


def make_tokenizer(seed: int, of_each: int = OF_EACH) -> PreTrainedTokenizerFast:
    """Lines that an environment says again and again, word for word, are one token each."""
    transcripts = Transcripts(np.random.default_rng([seed, 0]), phase=0)
    lines: set[str] = set()
    texts: list[str] = []
    for name in TASKS:
        own = [transcripts.of(name) for _ in range(of_each)]
        counts = Counter(line for text in own for line in set(MARK.sub("\n", text).split("\n")))
        lines |= {line for line, n in counts.items() if n >= FREQUENT * of_each and len(line.split()) >= WORDS_OF_A_LINE}
        texts += own
    frequent = re.compile("|".join(map(re.escape, sorted(lines, key=len, reverse=True))))
    return train_tokenizer([frequent.sub("", text) for text in texts], VOCABULARY, CONTEXT, words=WORDS, lines=sorted(lines))


def make_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, hidden_size=128, intermediate_size=344, num_hidden_layers=3,
        num_attention_heads=4, tie_word_embeddings=True, initializer_range=0.03, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
        for layer in model.model.layers:
            begin_by_copying(layer.self_attn)
    return model


@torch.no_grad()
def begin_by_copying(attention: nn.Module) -> None:
    """Queries look for what is like themselves, and what is attended to is passed on as it is: W_Q = W_K and W_O = W_V^T, orthogonal
    matrices times sqrt(1/2) (as in arXiv:2305.09828). Without it, names were not copied after more than twice as many steps."""
    for first, second, turned in ((attention.q_proj, attention.k_proj, False), (attention.v_proj, attention.o_proj, True)):
        matrix = nn.init.orthogonal_(torch.empty_like(first.weight)) * math.sqrt(0.5)
        first.weight.copy_(matrix)
        second.weight.copy_(matrix.T if turned else matrix)


def with_all_tokens(batch: Batch, tokenizer: PreTrainedTokenizerFast) -> Batch:
    """What the environment says counts too: a question that is repeated and a note that is found again teach to copy."""
    counts = batch.ids != tokenizer.pad_token_id
    counts[:, 0] = False
    return Batch(batch.ids, counts)


def make(seed: int, phases: Sequence[Phase] = PHASES, of_each: int = OF_EACH,
         log: Callable[[str], None] = print) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, list[TrainingRecord]]:  # fmt: skip
    """The trained model, its tokenizer, and what training took in each phase."""
    tokenizer = make_tokenizer(seed, of_each)
    model = make_model(seed, tokenizer)
    return model, tokenizer, [learn(model, tokenizer, seed, number, phase, log) for number, phase in enumerate(phases)]


def learn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int, number: int, phase: Phase,
          log: Callable[[str], None]) -> TrainingRecord:  # fmt: skip
    """One phase."""

    def report(step: int, loss: float, seconds: float) -> None:
        if step % 100 == 0:
            log(f"phase {number + 1}, step {step}: loss {loss:.3f}, {seconds:.0f} CPU s")

    documents = batches(Transcripts(np.random.default_rng([seed, 2 + number]), number).draw, tokenizer, TOKENS)
    if phase.every_token:
        documents = ([with_all_tokens(part, tokenizer) for part in parts] for parts in documents)
    return train(model, documents, phase.rates(), report)


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    episodes: int,
    *,
    sampled: bool,
    longest: int | None = None,
) -> dict[str, float]:
    """Means over episodes apart from the transcripts': what their last infos tell, their returns, turns, and tokens written (cut after
    `longest`)."""
    agent, task = language_agent(LMActorNetwork(model, tokenizer=tokenizer)), TASKS[name]
    played = play_tokens(agent, name, episodes=episodes, greedy=not sampled, seed=1, num_envs=min(64, episodes),
                         env_kwargs=task.arguments | task.held_out, max_timesteps=longest)  # fmt: skip
    found = {key: [float(segment.info[key]) for segment in played] for key in (*MEASURES, "turn") if key in played[0].info}
    found |= {
        "return": [float(segment.rewards.sum()) for segment in played],
        "tokens": [float(len(segment)) for segment in played],
    }
    return {key: float(np.mean(values)) for key, values in found.items()}


CARD = """---
library_name: transformers
license: mit
---

# speaker

A Llama of {layers} layers and width 128 ({parameters:,} weights) that speaks in four environments: `LogicPuzzle-v0`, `MemoryBuffer-v0`,
`MetaReasoning-v0`, `Dialogue-v0`. It knows how each is played well, and often does something else: a base for reinforcement learning
to bring something out of. It knows nothing else. It may work a puzzle out in a turn of its own before it solves it, or guess; keep
a piece of news and look it up again, or forget to; it is far too sure of its answers; it says what helps in a dialogue, and mostly
forgets its manners.

Chat format of its tokenizer ({vocabulary} tokens: bytes, words, every digit by itself, whole lines that these environments repeat word
for word, and `<|user|> <|assistant|> <|system|> <|end|> <|pad|>`), with the environment's system prompt. Context: {context} tokens.

## How it was made

`python -m models.make_speaker --seed {seed}`, from what the students of `models/_students.py` said in these environments, and what they
were answered, in {phases} phases. At first they are careful, and every token is learned, so that copying is; then the same, with more
puzzles; at last, while the learning rate falls to 0, they are careless, and their turns alone are learned. Nothing of a
test split is among the transcripts. Its attention begins by copying (`begin_by_copying`).

{steps} steps of AdamW, {seen:,} tokens read, {learned:,} of them learned, {seconds:.0f} CPU seconds on one thread.

## What it does

In {episodes} episodes of each environment, apart from the transcripts' (of the test split where there is one), with the arguments of
`models.make_speaker.TASKS`, with the likeliest tokens and with sampled ones:

| | tokens | success | Brier score | required elements | return | turns |
|---|---|---|---|---|---|---|
{rows}
"""


def card_row(name: str, how: str, scores: dict[str, float]) -> str:
    forms = {"success": "{:.1%}", "brier": "{:.3f}", "elements": "{:.1%}", "return": "{:.3f}", "turn": "{:.1f}"}
    shown = [form.format(scores[key]) if key in scores else "" for key, form in forms.items()]
    return f"| {name} | {how} | {' | '.join(shown)} |"


def main() -> None:
    options = options_of("speaker", __doc__, of="of each phase")
    trial = options.steps is not None
    phases = [replace(phase, steps=options.steps) for phase in PHASES] if trial else PHASES
    model, tokenizer, records = make(options.seed, phases, 20 if trial else OF_EACH)
    episodes = 2 if trial else EVALUATED
    longest = 32 if trial else None  # who was taught nothing never ends
    scores = {name: {how: evaluate(model, tokenizer, name, episodes, sampled=how == "sampled", longest=longest)
                     for how in ("likeliest", "sampled")} for name in TASKS}  # fmt: skip
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    rows = "\n".join(card_row(name, how, found) for name, both in scores.items() for how, found in both.items())
    card = CARD.format(
        layers=model.config.num_hidden_layers, parameters=model.num_parameters(), vocabulary=len(tokenizer), context=CONTEXT,
        seed=options.seed, phases=len(records), steps=sum(record.steps for record in records),
        seen=sum(record.tokens_seen for record in records), learned=sum(record.tokens_learned for record in records),
        seconds=sum(record.cpu_seconds for record in records), episodes=episodes, rows=rows,
    )  # fmt: skip
    write_card(options.output, card, scores)


if __name__ == "__main__":
    main()
