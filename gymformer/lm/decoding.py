"""KV-cached reading of sequences that grow at different speeds: every token passes through the model once."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

__all__ = ["KVReader", "can_cache"]

ROOM = 64  # cache columns that are allocated at least when it must grow


def can_cache(model: Any) -> bool:
    """The model's layers are plain attention over everything before, which is what `KVReader` keeps.

    Models that do not use transformers' common attention (GPT-Neo, Bloom, RWKV, ...) make their masks and positions themselves,
    each in a way of its own; flash and flex kernels take no mask with holes.
    """
    config = model.config.get_text_config()
    if not model._supports_attention_backend or config._attn_implementation not in ("sdpa", "eager"):
        return False
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return all(kind == "full_attention" for kind in kinds)
    return getattr(config, "sliding_window", None) is None and not getattr(config, "is_encoder_decoder", False)


class RaggedCache(Cache):
    """Keys and values of B rows of different lengths: row b's tokens lie in columns 0 to lengths[b] - 1, without holes.

    So a token's column is its position, a row that is rewound needs only a smaller length, and what lies beyond a row's length
    is written over before it can be seen.
    """

    def __init__(self, layers: int):
        super().__init__(layers=[])
        self.keys: list[Tensor | None] = [None] * layers  # each (B, heads, capacity, head width)
        self.values: list[Tensor | None] = [None] * layers
        self.start = 0  # first column that is written, where all rows are equally long
        self.stop = 0  # columns that are looked at: 0 to stop - 1
        self.columns: Tensor | None = None  # (B, Q) where each row is written, if they are not equally long

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Stores (B, heads, Q, head width) where `columns`, or `start`, says; all columns that are looked at come back."""
        return self._store(self.keys, layer_idx, key_states), self._store(self.values, layer_idx, value_states)

    def _store(self, stored: list[Tensor | None], layer: int, states: Tensor) -> Tensor:
        held = stored[layer]
        if held is None or held.shape[2] < self.stop:
            size = self.stop + max(ROOM, self.stop // 2)
            room = states.new_zeros((*states.shape[:2], size, states.shape[3]))  # zeros: 0 times a masked NaN would be NaN
            if held is not None:
                room[:, :, : held.shape[2]] = held
            stored[layer] = held = room
        if self.columns is None:
            held.narrow(2, self.start, states.shape[2]).copy_(states)
        else:
            held[torch.arange(len(held), device=held.device)[:, None], :, self.columns] = states.transpose(1, 2)
        return held.narrow(2, 0, self.stop)

    def select(self, rows: Tensor) -> None:
        for stored in (self.keys, self.values):
            stored[:] = [None if held is None else held[rows] for held in stored]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.start

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.stop, 0


class KVReader:
    """Reads `count` rows through a transformers model without its head; `read` appends a block of tokens to each."""

    def __init__(self, trunk: nn.Module, count: int, context: int | None = None):
        self.trunk, self.context = trunk, context
        self.device = next(trunk.parameters()).device
        self.lengths = [0] * count  # tokens read of each row
        self.cache = RaggedCache(trunk.config.num_hidden_layers)  # type: ignore[union-attr]
        eager = trunk.config._attn_implementation == "eager"  # type: ignore[union-attr]  # which adds the mask to its scores
        self.additive = next(trunk.parameters()).dtype if eager else None
        # Inference mode spares a twentieth of a small model's time. What a module keeps of such a pass it could not be trained
        # with; transformers' own keep nothing, of others nobody knows.
        is_known = type(trunk).__module__.startswith("transformers.models.")
        self.untracked = torch.inference_mode if is_known else torch.no_grad

    @torch.no_grad()
    def read(self, blocks: list[list[int]]) -> Tensor:
        """The hidden state of each row's last token, (count, D); of a row whose block is empty, something meaningless.

        Blocks may differ in length. They are padded on the right; what the padding leaves in the cache lies beyond the row's
        end, where the mask hides it until it is written over.
        """
        sizes = [len(block) for block in blocks]
        width, most = max(sizes), max(self.lengths)
        equal = min(self.lengths) == most
        ids = torch.tensor([block + [0] * (width - len(block)) for block in blocks], device=self.device)  # (B, Q)
        cache, mask = self.cache, None
        cache.start, cache.stop = most, most + width
        if equal:
            cache.columns = None
            positions = torch.arange(most, most + width, device=self.device)[None]  # (1, Q)
        else:
            positions = torch.tensor(self.lengths, device=self.device)[:, None] + torch.arange(width, device=self.device)
            cache.columns = positions  # (B, Q)
        if most > 0 and not (equal and width == 1):  # else a causal network's own mask, or none, is right
            columns = torch.arange(cache.stop, device=self.device)
            mask = (columns <= positions[..., None])[:, None].expand(len(blocks), -1, -1, -1)  # (B, 1, Q, columns)
            if self.additive is not None:
                mask = torch.zeros(mask.shape, dtype=self.additive, device=self.device).masked_fill_(
                    ~mask, torch.finfo(self.additive).min
                )
        if self.context is not None and cache.stop > self.context:  # only padding reaches beyond, and it is never looked at
            positions = positions.clamp(max=self.context - 1)
        with self.untracked():
            hidden = self.trunk(
                input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
            ).last_hidden_state  # (B, Q, D)
        self.lengths = [length + size for length, size in zip(self.lengths, sizes, strict=True)]
        if width == 1:
            return hidden[:, 0]
        last = torch.tensor([max(size - 1, 0) for size in sizes], device=self.device)
        return hidden[torch.arange(len(blocks), device=self.device), last]

    def rewind(self, row: int, length: int) -> None:
        """Row `row` is as it was after its first `length` tokens."""
        self.lengths[row] = min(self.lengths[row], length)

    def keep(self, rows: list[int]) -> None:
        """Only these rows stay, in this order; one that is named several times is copied."""
        self.lengths = [self.lengths[row] for row in rows]
        self.cache.select(torch.tensor(rows, device=self.device))
