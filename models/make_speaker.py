"""Makes models/speaker: a small language model that knows how four text environments are played well, and often does not.

python -m models.make_speaker [--output FOLDER] [--seed 0] [--steps N]

It reads what players of models/_students.py said in them, and learns their turns. At first most of these are careful; then they are
as careless as the model is to be. So it can do what is right, often does something else, and what it has done right is rewarded.
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import gymformer
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import language_agent
from gymformer.rl.transformers_nn import LMActorNetwork
from models._students import Player, dialogue_student, logic_puzzle_student, memory_buffer_student, meta_reasoning_student
from models._tokenizer import ASSISTANT, END, PAD, SYSTEM, USER, train_tokenizer
from models._training import Batch, TrainingRecord, batches, train

VOCABULARY, CONTEXT = 1536, 512
WORDS = r" ?[A-Za-z]+|[^A-Za-z]"  # what a merge stays inside: a word and the space before it
TOKENS = 2048  # of a step's batch
FIRST_PHASE, SECOND_PHASE = 1300, 250  # steps
HIGHEST, LATER_RATE = 4e-3, 1.0e-3  # learning rates
OF_EACH, LONG = 700, 4  # transcripts that the tokenizer is made from; words of a line that may be a token
EVALUATED = 300  # episodes of each environment


MARK = re.compile(r"<\|\w+\|>")


@dataclass(frozen=True, slots=True)
class Task:
    """An environment, who plays it for the transcripts, and how often it does what is right: in the first phase, and later."""

    student: Callable[[np.random.Generator, float], Player]
    first: float
    later: float
    arguments: dict[str, Any]  # the ones of the card and of the benchmark; "difficulty" is that of the transcripts, too, at most
    share: float = 1.0  # of the documents, relative to the others'


TASKS = {
    "LogicPuzzle-v0": Task(logic_puzzle_student, 0.85, 0.12, {"use_curriculum": False, "difficulty": 0.5}, share=2.0),
    "MemoryBuffer-v0": Task(memory_buffer_student, 0.85, 0.7, {"difficulty": 0.5}),
    "MetaReasoning-v0": Task(meta_reasoning_student, 0.9, 0.55, {"use_curriculum": False, "difficulty": 0.5}),
    "Dialogue-v0": Task(dialogue_student, 0.8, 0.35, {"use_human_feedback": False, "difficulty": 0.4}),
}


class Transcripts:
    """Episodes that students play, as texts in the chat format of the tokenizer."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.envs = {name: gym.make(name, disable_env_checker=True, **task.arguments) for name, task in TASKS.items()}

    def draw(self, later: bool) -> str:
        shares = np.array([task.share for task in TASKS.values()])
        return self.of(str(self.rng.choice(list(TASKS), p=shares / shares.sum())), later)

    def of(self, name: str, later: bool) -> str:
        """One episode, easier than usual in half of the cases."""
        env, task = self.envs[name], TASKS[name]
        player = task.student(self.rng, task.later if later else task.first)
        usual = task.arguments["difficulty"]
        difficulty = usual * float(self.rng.random()) if self.rng.random() < 0.5 else usual
        observation, info = env.reset(seed=int(self.rng.integers(2**31)), options={"difficulty": difficulty})
        text = f"{SYSTEM}{env.unwrapped.system_prompt}{END}"
        over = False
        while not over:
            turn = player(observation, info)
            text += f"{USER}{observation}{END}{ASSISTANT}{turn}{END}"
            observation, _, terminated, truncated, info = env.step(turn)
            over = terminated or truncated
        return text


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str, episodes: int, *, greedy: bool) -> dict[str, float]:
    """Success, return and tokens of an episode: their means, over episodes apart from those of the transcripts."""
    agent = language_agent(LMActorNetwork(model, tokenizer=tokenizer))
    played = play_tokens(agent, name, episodes=episodes, greedy=greedy, seed=1, env_kwargs=TASKS[name].arguments, num_envs=64)
    return {
        "success": float(np.mean([segment.info.get("success", segment.info.get("solved", False)) for segment in played])),
        "return": float(np.mean([sum(segment.rewards) for segment in played])),
        "tokens": float(np.mean([len(segment) for segment in played])),
    }


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """What environments say in the same words again and again is one token a line."""
    transcripts = Transcripts(np.random.default_rng([seed, 0]))
    lines: set[str] = set()
    texts: list[str] = []
    for name, env in transcripts.envs.items():
        own = [transcripts.of(name, later=False) for _ in range(OF_EACH)]
        counts = Counter(line for text in own for line in set(MARK.sub("\n", text).split("\n")) if len(line.split()) >= LONG)
        lines |= {line for line, count in counts.items() if count >= len(own) / 5}
        texts += own
    frequent = re.compile("|".join(map(re.escape, sorted(lines, key=len, reverse=True))))
    texts = [frequent.sub("", text) for text in texts]
    return train_tokenizer(texts, VOCABULARY, CONTEXT, tags=sorted(lines), words=WORDS)


def make_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, hidden_size=128, intermediate_size=344, num_hidden_layers=LAYERS,
        num_attention_heads=4, tie_word_embeddings=True, initializer_range=0.03, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()

LAYERS=3

def make(seed: int, first: int = FIRST_PHASE, second: int = SECOND_PHASE,
         log: Callable[[str], None] = print) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, TrainingRecord]:  # fmt: skip
    """The trained model, its tokenizer, and what training took."""
    tokenizer = make_tokenizer(seed)
    model = make_model(seed, tokenizer)

    def rates() -> Iterator[float]:
        for step in range(first):  # up over a tenth of the phase, at most 100 steps; then down along a cosine
            up = (step + 1) / min(100, max(1, first // 10))
            yield min(up, 1.0) * (LATER_RATE + (HIGHEST - LATER_RATE) * 0.5 * (1 + math.cos(math.pi * step / first)))
        for step in range(second):
            yield LATER_RATE * (1 - step / second)

    def report(step: int, loss: float, seconds: float) -> None:
        if step % 50 == 0: log(f"step {step}: loss {loss:.3f}, {seconds:.0f} CPU s")
        if step % 200 == 0: model.save_pretrained("/tmp/sp/ck"); tokenizer.save_pretrained("/tmp/sp/ck")

    transcripts = Transcripts(np.random.default_rng([seed, 2]))
    early = batches(lambda: transcripts.draw(later=False), tokenizer, TOKENS)
    late = batches(lambda: transcripts.draw(later=True), tokenizer, TOKENS)
    return model, tokenizer, train(model, chain(([all_of(part, tokenizer) for part in parts] for parts in islice(early, first)), late), rates(), report)


def all_of(batch: Batch, tokenizer: PreTrainedTokenizerFast) -> Batch:
    """What the environment says counts, too: a question that is repeated, a note that is found again, teach to copy."""
    counts = batch.ids != tokenizer.convert_tokens_to_ids(PAD)
    counts[:, 0] = False
    return Batch(batch.ids, counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "speaker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of each phase, for a trial that teaches nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    first, second = (FIRST_PHASE, SECOND_PHASE) if options.steps is None else (options.steps, options.steps)
    model, tokenizer, record = make(options.seed, first, second)
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    print(record, model.num_parameters())
    for name in TASKS:
        for greedy in (True, False): print(name, greedy, evaluate(model, tokenizer, name, EVALUATED, greedy=greedy))


if __name__ == "__main__":
    main()
