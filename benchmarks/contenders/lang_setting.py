"""The language models, prompts and clock that every contender gets: shapes with random weights, nothing read from anywhere."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedConfig, PreTrainedModel, Qwen2Config

NO_SPECIAL_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}  # so that no continuation ends early
GROUP = 8  # continuations of each prompt, of contenders that compare them: TRL's default for GRPO
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def config(shape: str) -> PreTrainedConfig:
    """S: GPT-2 of 4 layers; M: GPT-2 small (124M); L: Qwen2-0.5B; XS: for tests."""
    match shape:
        case "XS":
            return GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=64, **NO_SPECIAL_TOKENS, **NO_DROPOUT)
        case "S":
            return GPT2Config(n_layer=4, n_embd=128, n_head=4, vocab_size=512, **NO_SPECIAL_TOKENS, **NO_DROPOUT)
        case "M":
            return GPT2Config(**NO_SPECIAL_TOKENS, **NO_DROPOUT)
        case "L":  # config.json of Qwen/Qwen2-0.5B
            return Qwen2Config(num_hidden_layers=24, hidden_size=896, intermediate_size=4864, num_attention_heads=14,
                               num_key_value_heads=2, vocab_size=151936, max_position_embeddings=131072,
                               rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True,
                               **NO_SPECIAL_TOKENS)  # fmt: skip
    raise ValueError(f"no shape is called {shape!r}; there are XS, S, M and L")


def language_model(s: dict) -> PreTrainedModel:
    """A causal language model with random weights in the settings' type, on their device."""
    torch.manual_seed(s["seed"])
    model = AutoModelForCausalLM.from_config(config(s["shape"]), dtype=getattr(torch, s["dtype"]))
    return model.to(s["device"])


def prompts(s: dict) -> Tensor:
    """(B, P) random tokens."""
    generator = torch.Generator().manual_seed(s["seed"])
    return torch.randint(config(s["shape"]).vocab_size, (s["batch"], s["prompt"]), generator=generator).to(s["device"])


def clock(s: dict) -> Callable[[], float]:
    """CPU seconds of this process's threads; on a GPU wall seconds, once all that was asked of it is done."""
    if s["device"] == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def forward_flops(model: PreTrainedModel, read: int, projected: int) -> int:
    """Nominal floating-point operations of a forward pass over `read` tokens, `projected` of them onto the vocabulary: two for
    each weight of a matrix, and nothing for attention's products, norms and activations. A backward pass takes twice as many.
    """
    matrices = sum(p.numel() for block in _blocks(model) for p in block.parameters() if p.dim() == 2)
    return 2 * (matrices * read + model.get_output_embeddings().weight.numel() * projected)


def _blocks(model: PreTrainedModel) -> nn.ModuleList:
    return next(child for child in model.base_model.children() if isinstance(child, nn.ModuleList))


def iteration_flops(model: PreTrainedModel, s: dict, passes: int) -> int:
    """Of an iteration that reads every prompt and sampled token `passes` times and projects what was sampled as often: once in
    the rollout, once for each frozen network, once in the update, and twice more for its backward pass."""
    sampled = s["batch"] * s["tokens"]
    return passes * forward_flops(model, s["batch"] * s["prompt"] + sampled, sampled)
