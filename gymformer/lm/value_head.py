"""A causal language model and a value head beside its vocabulary, in one module."""

from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from gymformer.pretrained import no_bars, with_lora
from gymformer.resources import folder_or_id

__all__ = ["AutoModelForCausalLMWithValueHead"]

HEAD_FILE = "value_head.safetensors"


class AutoModelForCausalLMWithValueHead(nn.Module):
    """`lm`, any causal language model of transformers, and `v_head`, V(s) = w · h(s) + b of its last hidden states, at first 0."""

    def __init__(self, lm: nn.Module):
        super().__init__()
        self.lm: Any = lm
        self.v_head = nn.Linear(lm.config.get_text_config().hidden_size, 1)  # type: ignore[union-attr]
        nn.init.zeros_(self.v_head.weight)
        nn.init.zeros_(self.v_head.bias)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, lora: Any = None, dtype: torch.dtype | str = torch.float32,
                        trust_remote_code: bool = False) -> Self:  # fmt: skip
        """A hub id, a folder (also one that `save_pretrained` wrote, with its head), or a model that comes along. `lora`: a rank, or
        peft's LoraConfig; then only the adapter and the head learn."""
        source = folder_or_id(name)
        with no_bars():
            lm: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, trust_remote_code=trust_remote_code).eval()
        model = cls(lm if lora is None else with_lora(lm, lora))
        if (head := Path(source) / HEAD_FILE).is_file():
            model.v_head.load_state_dict(load_file(head))
        return model

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) -> logits (B, L, V), values (B, L) in float32."""
        out = self.lm(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return out.logits, nn.functional.linear(
            out.hidden_states[-1].float(), self.v_head.weight.float(), self.v_head.bias.float()
        ).squeeze(-1)

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder that transformers alone can load, and the head beside it."""
        self.lm.save_pretrained(folder)
        save_file({name: tensor.contiguous() for name, tensor in self.v_head.state_dict().items()}, Path(folder) / HEAD_FILE)
