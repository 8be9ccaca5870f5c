"""Byte-level tokenizers of the models that come along: any text can be encoded, every digit is a token of its own."""

import json
import re
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["ASSISTANT", "END", "PAD", "SYSTEM", "USER", "train_tokenizer"]

PAD, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(
    texts: Iterable[str],
    vocabulary: int,
    context: int,
    tags: Sequence[str] = (),
    words: str = r"[^\d]+",
    lines: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """Byte-pair merges learned from `texts`, until there are `vocabulary` tokens with the special ones, the tags and the lines.

    A merge stays inside one match of the regular expression `words`; what lies between matches stands alone. The tags
    are single tokens that decoding keeps; the five special tokens are left out by `skip_special_tokens`. The lines are single
    tokens too, ordinary ones: also in text from elsewhere, in which no tag is looked for.
    """
    special = [PAD, SYSTEM, USER, ASSISTANT, END]
    tokenizer = Tokenizer(models.BPE())
    from tokenizers import Regex

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(tags) - len(lines),
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if lines:
        tokenizer = _with_lines(tokenizer, lines, words)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=CHAT_TEMPLATE,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=context,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _with_lines(tokenizer: Tokenizer, lines: Sequence[str], words: str) -> Tokenizer:
    """The same, with lines of printable ASCII as further words of its vocabulary, which need no merges."""
    from tokenizers import Regex

    described = json.loads(tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    vocabulary |= {
        line.replace(" ", "Ġ"): len(vocabulary) + place for place, line in enumerate(lines)
    }  # as ByteLevel writes it
    described["model"]["ignore_merges"] = True  # a word of the vocabulary is one token
    changed = Tokenizer.from_str(json.dumps(described))
    longest_first = sorted(lines, key=len, reverse=True)
    whole = "|".join([*map(re.escape, longest_first), r"\d", words])
    changed.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(whole), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return changed
