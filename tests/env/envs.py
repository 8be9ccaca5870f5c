"""Environments of text of a few lines, and tokenizers with chat templates of several kinds."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gymformer.env import TextEnv, TokenEnv


class Copy(TokenEnv):
    """Write the prompt again; worth the share of it that was written."""

    words = ("abc", "cab", "bca", "aab")

    def prompt(self, options: dict[str, Any]) -> list[int]:
        self.word = options.get("word") or self.words[int(self.np_random.integers(4))]
        return self.codec.plain(self.word)

    def is_over(self, new: Sequence[int]) -> bool:
        return new[-1] in self.ends

    def score(self, text: str) -> float:
        return sum(a == b for a, b in zip(text, self.word)) / len(self.word)

    def facts(self, text: str | None) -> dict[str, Any]:
        return {"word": self.word}


class Guess(TextEnv):
    """Guess a number of 0..9; the reply says higher or lower, at great length when the distance is great."""

    system_prompt = "Guess my number."

    def opening(self, options: dict[str, Any]) -> str:
        self.number = options.get("number", int(self.np_random.integers(10)))
        return "Between 0 and 9."

    def answer(self, turn: str) -> tuple[str, float, bool]:
        if not (turn.isascii() and turn.isdigit()):
            return f"No number: {turn}", -1.0, False
        distance = self.number - int(turn[:3])
        return ("right" if not distance else "higher " * distance or "lower"), float(distance == 0), distance == 0

    def facts(self) -> dict[str, Any]:
        return {"number": self.number}


class Echo(gym.Env):
    """As users write it: plain `Text` spaces, no base class; says what it was told, and ends after three turns."""

    action_space = observation_space = gym.spaces.Text(20)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.told: list[str] = []
        return (options or {}).get("text", "hello"), {}

    def step(self, action: str):
        self.told.append(action)
        return action, 1, len(self.told) == 3, False, {}


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Thinking leaves the turns that are past, as Qwen3's template has it, and the invitation opens it, as DeepSeek-R1's.
OPENS_THINKING = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")
# The end of the dialogue is marked, so that it reads differently once it goes on.
MARKS_THE_LAST = CHATML.replace("message['role'] +", "message['role'] + (' (last)' if loop.last else '') +")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
# As Mistral's: the system prompt is written into the last user message.
SYSTEM_LAST = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}{% set dialogue = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set dialogue = messages %}{% endif %}"
    "{% for message in dialogue %}{% if message['role'] == 'user' %}[INST] {{ system if loop.last else '' }}{{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
)

# As Llama 2's: the system prompt within the first user message, a space before the end of a turn.
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set begin = '<<SYS>> ' + messages[0]['content'] + ' <</SYS>> ' %}"
    "{% set dialogue = messages[1:] %}{% else %}{% set begin = '' %}{% set dialogue = messages %}{% endif %}"
    "{% for message in dialogue %}{% if message['role'] == 'user' %}<|im_start|>[INST] {{ begin if loop.first else '' }}"
    "{{ message['content'] }} [/INST]{% else %} {{ message['content'] }} <|endoftext|>{% endif %}{% endfor %}"
)

SAMPLE = (
    "the quick brown fox jumps over the lazy dog. higher lower right No number: 0123456789 between and assistant user system\n"
    * 4
)


def bpe_tokenizer(template: str | None = CHATML, tags: Sequence[str] = ("</final_answer>",)) -> PreTrainedTokenizerFast:
    """A BPE tokenizer with merges, so that `encode(decode(ids))` often differs from `ids`; the tags are added tokens that are
    not marked as special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        [SAMPLE],
        trainers.BpeTrainer(
            vocab_size=340, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>",
                                   chat_template=template, clean_up_tokenization_spaces=False)  # fmt: skip
