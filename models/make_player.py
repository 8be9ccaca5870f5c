"""Makes models/player: a small language model that speaks of games and has no idea how to win them.

python -m models.make_player [--output FOLDER] [--seed 0] [--steps N]

It reads transcripts of players who act at random, in two forms: in words, as `ToText` tells a game and reads an action ("hit"), and
as `LLMAgent` plays over HTTP, where an answer is {"reflection": ..., "action": ...}. So it knows what can be said, all of it about
equally likely: what is good to say is left to reinforcement learning.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import gymformer  # noqa: F401 - registers the games
from gymformer.agents import LLMAgent, get_env_definition
from gymformer.agents.answers import parse_answer
from gymformer.env.chat import ChatFormat
from gymformer.env.to_text import ToText
from models._command import options_of, write_card
from models._tokenizer import train_tokenizer
from models._training import TrainingRecord, batches, train

VOCABULARY, CONTEXT = 768, 2048
TOKENS = 3072  # of a step's batch
STEPS, HIGHEST = 1000, 4e-3  # optimiser's steps, learning rate
JSON_SHARE = 0.25  # of the documents, which are several times as long as those in words
NO_PROMPT, SHORT_PROMPT = 0.3, 0.3  # share of the dialogues in words without a system prompt, with "You play ...." alone
MOST_EXCHANGES, LONGEST_HISTORY = 6, 10  # of a dialogue in words; of the player over HTTP
LATEST_START = 12  # steps that are played before a transcript begins, at most
LONGEST_ANSWER = 200  # tokens
TEMPERATURE = 0.8  # at which the configurations that come along sample
READ_FOR_MERGES = 3000  # dialogues that the tokenizer learns its merges from
PROMPT_COPIES = 12  # of each system prompt among them

Messages = list[dict[str, str]]
LLM_GAMES = ("BlackjackLLM-v1", "FrozenLakeLLM-v1", "TaxiLLM-v3", "CartPoleLLM-v1", "LunarLanderLLM-v2", "MiniGridEmptyLLM-v0")


@dataclass(frozen=True, slots=True)
class Game:
    """A game in words: with names for numbers and actions, or as bare numbers."""

    id: str
    names: Sequence[str] | None = None
    actions: Sequence[str] | None = None
    format_observation: Callable[[Any], str] | None = None


def _table(hand: tuple[int, int, int]) -> str:
    return f"Your sum is {hand[0]}, the dealer shows {hand[1]}." + (" You have a usable ace." if hand[2] else "")


def _cell(cell: int) -> str:
    return f"row: {cell // 4}, column: {cell % 4}"


CARDS = ("player sum", "dealer card", "usable ace")
WAYS = ("left", "down", "right", "up")
WORD_GAMES = (
    Game("Blackjack-v1"),
    Game("Blackjack-v1", CARDS, ("stick", "hit")),
    Game("Blackjack-v1", None, ("stick", "hit"), _table),
    Game("Blackjack-v1", None, None, _table),
    Game("FrozenLake-v1"),
    Game("FrozenLake-v1", None, WAYS, _cell),
    Game("Taxi-v4"),
    Game("Taxi-v4", None, ("south", "north", "east", "west", "pickup", "dropoff")),
    Game("CliffWalking-v1", None, ("up", "right", "down", "left")),
    Game("CartPole-v1", ("position", "velocity", "angle", "angular velocity"), ("left", "right")),
    Game("CartPole-v1"),
    Game("MountainCar-v0", ("position", "velocity"), ("left", "stay", "right")),
    *(Game(env_id) for env_id in LLM_GAMES),
)


def in_words(game: Game) -> ToText:
    return ToText(
        gym.make(game.id, disable_env_checker=True),
        names=game.names,
        actions=game.actions,
        format_observation=game.format_observation,
    )


def phrases(env: ToText) -> list[str]:
    """What can be said in answer: the names of the actions, or their numbers."""
    space = env.env.action_space
    assert isinstance(space, gym.spaces.Discrete)
    return list(env.actions) if env.actions is not None else [str(int(space.start) + n) for n in range(int(space.n))]


def legal_phrases(env: ToText, info: dict[str, Any]) -> list[str]:
    mask = info.get("action_mask", np.ones(len(phrases(env)), bool))
    return [phrase for phrase, is_legal in zip(phrases(env), mask, strict=True) if is_legal]


def dialogue_in_words(env: ToText, rng: np.random.Generator) -> Messages:
    """Some exchanges of a random player, from anywhere in an episode."""
    kind = rng.random()
    prompt = None if kind < NO_PROMPT else env.system_prompt
    if NO_PROMPT <= kind < NO_PROMPT + SHORT_PROMPT:
        spec = env.env.unwrapped.spec
        prompt = f"You play {spec.name if spec is not None else 'a game'}."
    messages: Messages = [] if prompt is None else [{"role": "system", "content": prompt}]
    skipped = int(rng.integers(LATEST_START))
    count = 1 + int(rng.integers(MOST_EXCHANGES)) if rng.random() < 0.5 else 1
    text, info = env.reset(seed=int(rng.integers(2**31)))
    for step in range(skipped + count):
        said = str(rng.choice(legal_phrases(env, info)))
        if step >= skipped:
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": said}]
        text, _, terminated, truncated, info = env.step(said)
        if terminated or truncated:
            if messages and messages[-1]["role"] == "assistant":
                break
            text, info = env.reset()
    return messages


class Guesser:
    """Has the face of a backend: it answers any question of an `LLMAgent` in the right form, with an action that is drawn at random,
    and keeps the dialogue that it was shown, its answer included."""

    def __init__(self, rng: np.random.Generator, meanings: dict[int, str]):
        self.rng, self.meanings, self.dialogue = rng, meanings, Messages()

    def ask(self, messages: Messages, schema: dict[str, Any], seed: int | None) -> str:
        seen = json.loads(messages[-1]["content"].removeprefix("<observation>").removesuffix("</observation>"))
        name = str(self.rng.choice(list(seen)))
        action = int(self.rng.choice(schema["properties"]["action"]["enum"]))
        reflection = f"The {name.replace('_', ' ')} is {seen[name]}. I choose: {self.meanings[action]}."
        answer = json.dumps({"reflection": reflection, "action": action}, ensure_ascii=False)
        self.dialogue = [*messages, {"role": "assistant", "content": answer}]
        return answer


def meanings_of(env: gym.Env) -> dict[int, str]:
    """Of the actions, in a few words: the schema's, up to the first colon or bracket."""
    described = env.unwrapped.get_action_schema()["description"].split("; ")  # type: ignore[attr-defined]
    parts = (part.partition(": ")[::2] for part in described)
    return {int(number): text.partition(":")[0].partition(" (")[0] for number, text in parts}


@cache
def seat(env_id: str, describe_reward: bool = False) -> tuple[gym.Env, LLMAgent]:
    """A game, and its player as it is configured for a server of the OpenAI protocol; a `backend` of one's own is set in its place."""
    env = gym.make(env_id, disable_env_checker=True)
    config = {"backend": "openai", "model": "player", "base_url": "http://localhost/v1", "api_key_env": "",
              "history": LONGEST_HISTORY, "describe_reward": describe_reward}  # fmt: skip
    agent = LLMAgent(config, **get_env_definition(env))
    agent.close()
    return env, agent


def dialogue_over_http(env: gym.Env, agent: LLMAgent, guesser: Guesser) -> Messages:
    """What a random player is sent, up to some step of an episode, and what it answered."""
    agent.backend = guesser  # type: ignore[assignment]
    rng = guesser.rng
    agent.reset()
    observation, _ = env.reset(seed=int(rng.integers(2**31)))
    for _ in range(1 + int(rng.integers(LATEST_START))):
        _, action = agent.get_action(observation)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return guesser.dialogue


class Transcripts:
    """Draws dialogues of all games."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.words = [in_words(game) for game in WORD_GAMES]
        self.games: list[tuple[gym.Env, LLMAgent, Guesser]] = []  # each with and without its reward described
        for env_id in LLM_GAMES:
            for describes in (True, False, False):
                env, agent = seat(env_id, describes)
                self.games.append((env, agent, Guesser(rng, meanings_of(env))))

    def draw(self) -> Messages:
        if self.rng.random() < JSON_SHARE:
            return dialogue_over_http(*self.games[int(self.rng.integers(len(self.games)))])
        return dialogue_in_words(self.words[int(self.rng.integers(len(self.words)))], self.rng)


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares of sampled answers."""

    readable: float  # in words, of one answer to each of many observations: names a legal action
    undecided: float  # entropy over the legal actions, in words, as a share of the highest
    parsed: float  # over HTTP, at temperature 0.8, all six games: accepted at the first attempt
    asked: int  # over HTTP


class Served:
    """Has the face of a backend: the model answers, as a server would let it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast):
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def ask(self, messages: Messages, schema: dict[str, Any], seed: int | None) -> str:
        ids: Any = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        wrote = self.model.generate(**ids, max_new_tokens=LONGEST_ANSWER, do_sample=True, temperature=TEMPERATURE)  # type: ignore[operator]
        return self.tokenizer.decode(wrote[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def parsed_share(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, questions: int, seed: int) -> float:
    """Of answers to so many questions of each game that `parse_answer` takes."""
    accepted = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for env_id in LLM_GAMES:
            env, agent = seat(env_id)
            guesser, served = Guesser(np.random.default_rng(seed), meanings_of(env)), Served(model, tokenizer)
            agent.backend = guesser  # type: ignore[assignment]  # the game goes on as a random player's, whatever is answered
            agent.reset()
            observation, _ = env.reset(seed=seed)
            for _ in range(questions):
                _, action = agent.get_action(observation)
                text = served.ask(guesser.dialogue[:-1], {}, None)
                try:
                    parse_answer(text, env.action_space)  # type: ignore[arg-type]
                    accepted += 1
                except ValueError:
                    pass
                observation, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    observation, _ = env.reset()
                    agent.reset()
    return accepted / (questions * len(LLM_GAMES))


@torch.no_grad()
def words_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, questions: int, seed: int) -> tuple[float, float]:
    """(probability that an answer is a legal phrase, entropy over these phrases as a share of the highest), means over states."""
    rng, readable, undecided = np.random.default_rng(seed), [], []
    ends = None
    for game in WORD_GAMES:
        env = in_words(game)
        chat = ChatFormat(tokenizer, env.system_prompt)
        ends = next(iter(chat.end_of_text & {tokenizer.eos_token_id}))
        text, info = env.reset(seed=seed)
        for _ in range(questions):
            legal = legal_phrases(env, info)
            prompt = chat.opening(text)
            log_probs = []
            for phrase in legal:
                said = [*chat.codec.plain(phrase), ends]
                logits = model(torch.tensor([[*prompt, *said]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                log_probs.append(float(logits.gather(-1, torch.tensor(said)[:, None]).sum()))
            share = np.exp(log_probs)
            readable.append(share.sum())
            share = share / share.sum()
            undecided.append(-(share * np.log(share)).sum() / max(math.log(len(legal)), 1e-9) if len(legal) > 1 else 1.0)
            text, _, terminated, truncated, info = env.step(str(rng.choice(legal)))
            if terminated or truncated:
                text, info = env.reset()
    return float(np.mean(readable)), float(np.mean(undecided))


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, questions: int, seed: int = 5) -> Scores:
    readable, undecided = words_scores(model, tokenizer, questions, seed)
    return Scores(readable, undecided, parsed_share(model, tokenizer, questions, seed), questions * len(LLM_GAMES))


def make_tokenizer(seed: int, count: int = READ_FOR_MERGES) -> PreTrainedTokenizerFast:
    transcripts = Transcripts(np.random.default_rng([seed, 0]))
    dialogues = [transcripts.draw() for _ in range(count)]
    said = [message["content"] for dialogue in dialogues for message in dialogue[-2:]]
    prompts = sorted({message["content"] for dialogue in dialogues for message in dialogue if message["role"] == "system"})
    everything = [phrase for env in transcripts.words for phrase in phrases(env)]
    return train_tokenizer([*said, *prompts * PROMPT_COPIES, *everything * 100], VOCABULARY, CONTEXT)


def make_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, hidden_size=128, intermediate_size=344, num_hidden_layers=2,
        num_attention_heads=4, tie_word_embeddings=True, initializer_range=0.03, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
    model.generation_config.do_sample = True  # or a server ignores the temperature that it is sent
    return model


def make(seed: int, steps: int = STEPS, log: Callable[[str], None] = print
         ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, TrainingRecord]:  # fmt: skip
    """The trained model, its tokenizer, and what training took."""
    tokenizer = make_tokenizer(seed, min(READ_FOR_MERGES, 30 * steps))
    model = make_model(seed, tokenizer)
    transcripts = Transcripts(np.random.default_rng([seed, 1]))

    def rates() -> Iterator[float]:
        for step in range(steps):  # up over a tenth, at most 100 steps; then down along a cosine
            up = (step + 1) / min(100, max(1, steps // 10))
            yield min(up, 1.0) * HIGHEST * 0.5 * (1 + math.cos(math.pi * step / steps))

    def report(step: int, loss: float, seconds: float) -> None:
        if step % 100 == 99:
            log(f"step {step}: loss {loss:.3f}, {seconds:.0f} CPU s")

    def document() -> str:
        text = tokenizer.apply_chat_template(transcripts.draw(), tokenize=False)
        assert isinstance(text, str)
        return text

    return model, tokenizer, train(model, batches(document, tokenizer, TOKENS), rates(), report)


CARD = """---
library_name: transformers
license: mit
---

# player

A Llama of 2 layers and width 128 ({parameters:,} weights) that speaks of games: Blackjack, FrozenLake, Taxi, CliffWalking, CartPole,
MountainCar, LunarLander, and an empty room of MiniGrid. It knows what can be said, in two forms, and nothing of how to win: a base
for reinforcement learning. It knows nothing else.

In words, as `ToText` tells a game, with the environment's introduction, with "You play Blackjack." alone, or without a system
prompt; in dialogues of one to {exchanges} exchanges:

> {prompt}

> {observation}

is answered by `{phrases}`; where actions have no names, by a number. Over HTTP, as `LLMAgent` asks (`gymformer/agents/player.py`), with
up to {history} exchanges of history:

> {question}

is answered by {answer}

Chat format of its tokenizer ({vocabulary} tokens: bytes, some merges, every digit by itself, and
`<|user|> <|assistant|> <|system|> <|end|> <|pad|>`); it reads {context:,} tokens.

## How it was made

`python -m models.make_player --seed {seed}`, from transcripts of players who choose each of the legal actions with the same
probability; {json_share:.0%} of them over HTTP. {steps} steps of AdamW, {seen:,} tokens read, {learned:,} of them learned,
{seconds:.0f} CPU seconds on one thread.

## What it does

| | |
|---|---|
| in words: probability that an answer is a legal action | {scores[readable]:.1%} |
| in words: entropy over the legal actions, of the highest | {scores[undecided]:.1%} |
| over HTTP, temperature {temperature}: of {scores[asked]} answers, parsed at the first attempt | {scores[parsed]:.1%} |
"""


def main() -> None:
    options = options_of("player", __doc__)
    model, tokenizer, record = make(options.seed, options.steps or STEPS)
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    scores = asdict(evaluate(model, tokenizer, 50 if options.steps is None else 1))
    transcripts = Transcripts(np.random.default_rng([options.seed, 2]))
    shown = dialogue_over_http(*transcripts.games[0])
    words = transcripts.words[1]
    card = CARD.format(
        parameters=model.num_parameters(), exchanges=MOST_EXCHANGES, prompt=words.system_prompt, observation=words.reset(seed=0)[0],
        phrases="` or `".join(phrases(words)), history=LONGEST_HISTORY, question=shown[-2]["content"], answer=f"`{shown[-1]['content']}`",
        vocabulary=len(tokenizer), context=CONTEXT, seed=options.seed, json_share=JSON_SHARE, steps=record.steps, seen=record.tokens_seen,
        learned=record.tokens_learned, seconds=record.cpu_seconds, scores=scores, temperature=TEMPERATURE,
    )  # fmt: skip
    write_card(options.output, card, scores)


if __name__ == "__main__":
    main()
