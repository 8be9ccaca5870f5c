"""KV-cached reading of sequences that grow at different speeds: every token passes through the model once."""

import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from gymformer.lm.recording import CannotRecordError, Recording

__all__ = ["KVReader", "can_cache"]

ROOM = 64  # cache columns that are allocated at least when it must grow
PATIENCE = 4  # steps of as many rows before one is recorded, which costs as much as some five played ones spare
STEP = "gymformer_step"  # how the name begins that `RaggedCache.attention` has in transformers while a step is recorded

# Of models whose steps were recorded: whether that and a played step say what the model itself says.
PLAYABLE: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


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
        # Where rows are not equally long, all that is written: rows (B, 1), heads, columns (B, Q).
        self.places: tuple[Tensor, slice, Tensor] | None = None
        self.mask: Tensor | None = None  # (B, 1, 1, stop) what a recorded step may look at; None: all
        self.recording = False

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Stores (B, heads, Q, head width) where `places`, or `start`, says; all columns that are looked at come back. While a step
        is recorded nothing is stored, and what is new comes back, for that is of one shape in every step: `attend` stores it."""
        if self.recording:
            return key_states, value_states
        return self._store(self.keys, layer_idx, key_states), self._store(self.values, layer_idx, value_states)

    def _store(self, stored: list[Tensor | None], layer: int, states: Tensor) -> Tensor:
        held = stored[layer]
        if held is None or held.shape[2] < self.stop:
            size = self.stop + max(ROOM, self.stop // 2)
            room = states.new_zeros((*states.shape[:2], size, states.shape[3]))  # zeros: 0 times a masked NaN would be NaN
            if held is not None:
                room[:, :, : held.shape[2]] = held
            stored[layer] = held = room
        if self.places is None:
            held.narrow(2, self.start, states.shape[2]).copy_(states)
        else:
            held[self.places] = states.transpose(1, 2)
        return held.narrow(2, 0, self.stop)

    def attention(self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                  scaling: float | None = None, position_bias: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
        """An attention function as transformers calls it, which is recorded as one call of `attend`."""
        if position_bias is not None:
            raise CannotRecordError("it adds a bias to its attention")
        return handle_torch_function(self.attend, (query,), module.layer_idx, query, key, value, scaling), None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(B, heads, 1, head width) of one new token a row, whose key and value are stored -> (B, 1, heads, head width). Heads that
        share a key stand beside each other, as if they were several queries of it."""
        keys, values = self._store(self.keys, layer, key), self._store(self.values, layer, value)
        if self.mask is not None and self.mask.dtype == torch.bool:  # to be added to the scores: made once for all layers
            self.mask = torch.zeros(self.mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~self.mask, -math.inf)
        rows, heads, _, width = query.shape
        shared = query.reshape(rows, keys.shape[1], heads // keys.shape[1], width)
        out = nn.functional.scaled_dot_product_attention(shared, keys, values, attn_mask=self.mask, scale=scaling)
        return out.reshape(rows, 1, heads, values.shape[3])

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
        self.records = is_known and not eager
        self.steps, self.rows = 0, 0  # steps in a row of so many rows
        self.play: Callable[..., Tensor] | None = None  # a recorded one of them

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
            cache.places = None
            positions = torch.arange(most, most + width, device=self.device)[None]  # (1, Q)
        else:
            positions = torch.tensor(self.lengths, device=self.device)[:, None] + torch.arange(width, device=self.device)
            cache.places = torch.arange(len(blocks), device=self.device)[:, None], slice(None), positions
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
            hidden = (self._step if width == 1 and most > 0 else self._whole)(ids, positions, mask)  # (B, Q, D)
        self.lengths = [length + size for length, size in zip(self.lengths, sizes, strict=True)]
        if width == 1:
            return hidden[:, 0]
        last = torch.tensor([max(size - 1, 0) for size in sizes], device=self.device)
        return hidden[torch.arange(len(blocks), device=self.device), last]

    def _whole(self, ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """What the model itself says of (B, Q) tokens."""
        return self.trunk(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=self.cache, use_cache=True
        ).last_hidden_state

    def _step(self, ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """The same of one token for each row. A quarter or more of a small model's time for it goes into transformers' Python, so a
        step of so many rows is recorded, and the others are played. The first of both are compared with what the model itself says."""
        if self.rows != len(ids):
            self.rows, self.steps, self.play = len(ids), 0, None
        self.steps += 1
        if self.steps <= PATIENCE or not (self.records and PLAYABLE.get(self.trunk, True)) or self._is_watched():
            return self._whole(ids, positions, mask)
        self.cache.mask, of_each, is_played = mask, positions.expand(len(ids), 1), self.play is not None
        # First, so that keys and values stay those of the step itself, and a run resumed here is one that was never interrupted.
        own = None if self.trunk in PLAYABLE else self._whole(ids, positions, mask)
        try:
            hidden = self._recorded(ids, of_each) if self.play is None else self.play(ids, of_each)
        except Exception:  # what is wrong with the model itself is wrong in its own step too, which says so
            PLAYABLE[self.trunk] = False
            return self._whole(ids, positions, mask)
        if own is None:
            return hidden
        if not (hidden - own).abs().max() <= max(1e-3, 8 * torch.finfo(own.dtype).eps) * own.abs().max():  # NaN is not either
            PLAYABLE[self.trunk] = False
            return self._whole(ids, positions, mask)  # once more, for what the step has stored
        if is_played:
            PLAYABLE[self.trunk] = True
        return hidden

    def _is_watched(self) -> bool:
        """More than torch functions are called: hooks, which somebody wants to be, or autocast, which models switch off for some lines."""
        if torch.is_autocast_enabled(self.device.type):
            return True
        return self.play is None and any(m._forward_hooks or m._forward_pre_hooks for m in self.trunk.modules())

    def _recorded(self, ids: Tensor, positions: Tensor) -> Tensor:
        """What the model says, and how it came to it in `self.play`."""
        config: Any = self.trunk.config
        usual = config._attn_implementation
        step = f"{STEP}_{id(self.cache)}"  # a name of its own, for another thread may record another model
        ALL_ATTENTION_FUNCTIONS[step], config._attn_implementation, self.cache.recording = self.cache.attention, step, True
        try:
            with Recording(ids, positions) as recording:
                hidden = self._whole(ids, positions, None)
        finally:
            config._attn_implementation, self.cache.recording = usual, False
            del ALL_ATTENTION_FUNCTIONS[step]
        self.play = recording.finished(hidden)
        return hidden

    def rewind(self, row: int, length: int) -> None:
        """Row `row` is as it was after its first `length` tokens."""
        self.lengths[row] = min(self.lengths[row], length)

    def keep(self, rows: list[int]) -> None:
        """Only these rows stay, in this order; one that is named several times is copied."""
        self.lengths = [self.lengths[row] for row in rows]
        self.cache.select(torch.tensor(rows, device=self.device))
