"""Offline stand-ins for a tokenizer and language models, made in memory: for tests, examples and notebooks."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["byte_tokenizer", "tiny_lm"]

SPECIAL_TOKENS = ("<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")  # ids 256 to 260
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def byte_tokenizer() -> "PreTrainedTokenizerFast":
    """A tokenizer of 261 tokens: byte b has id b, then come `<|pad|> <|user|> <|assistant|> <|system|> <|end|>`.

    It pads with `<|pad|>`, ends with `<|end|>`, and renders a message as `<|role|>content<|end|>`. Every text comes back as it
    was; ids that are no UTF-8 come back as U+FFFD, so that `encode(decode(ids))` is not always `ids`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab={char: byte for byte, char in enumerate(_byte_chars())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>",
                                   chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False)  # fmt: skip


def tiny_lm(vocab_size: int, architecture: Literal["gpt2", "llama", "qwen2"] = "gpt2", seed: int = 0, width: int = 32,
            layers: int = 2, heads: int = 2, context: int = 256, dropout: float = 0.0) -> "PreTrainedModel":  # fmt: skip
    """A causal language model with random weights, some tens of thousands of them, made from a config.

    The weights depend on `seed` alone; the global generators are left as they were. Like a model that was loaded, it comes
    in eval mode. Two query heads share a key head in "llama" and "qwen2". Raises ValueError for another architecture.
    """
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

    no_ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}  # the tokenizer's business
    shape: dict[str, Any] = {
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2), "max_position_embeddings": context, "attention_dropout": dropout,
    }  # fmt: skip
    match architecture:
        case "gpt2":
            config = GPT2Config(vocab_size=vocab_size, n_embd=width, n_layer=layers, n_head=heads, n_positions=context,
                                resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, **no_ids)  # fmt: skip
        case "llama":
            config = LlamaConfig(vocab_size=vocab_size, **shape, **no_ids)
        case "qwen2":
            config = Qwen2Config(vocab_size=vocab_size, **shape, **no_ids)
        case _:
            raise ValueError(f'architecture={architecture!r} is not known; use "gpt2", "llama" or "qwen2"')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


def _byte_chars() -> list[str]:
    """The printable character that stands for each byte in byte-level tokenizers, as GPT-2's `bytes_to_unicode` has it:
    a byte that is printable in Latin-1 for itself, the n-th of the others for the character 256 + n."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    chars = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [chars[byte] for byte in range(256)]
