"""Actors and critics that are causal language models of transformers."""

import copy
import warnings
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from gymformer.lm.decoding import KVReader, can_cache
from gymformer.pretrained import four_bits, fuse_activations, has_tokenizer_files, no_bars, no_dropout, with_lora
from gymformer.resources import folder_or_id
from gymformer.rl.batch import States
from gymformer.rl.networks import ActorNetwork, CriticNetwork, RecomputeSession, Session, ValueHead, last_states

__all__ = ["LMActorNetwork", "LMCriticNetwork"]

FEW_ROWS, LARGE = 48, 2**20  # rows, and numbers of a matrix, between which it should stand on the left

Model = str | Path | nn.Module
Dtype = Literal["float32", "bfloat16", "auto"] | torch.dtype


class Trunk:
    """A causal LM, with or without LoRA, and what is read off it: where its layers end and its vocabulary begins."""

    def __init__(self, model: Model, pad_token_id: int | None, lora: Any, dtype: Dtype, gradient_checkpointing: bool,
                 trust_remote_code: bool, load_in_4bit: bool = False):  # fmt: skip
        if load_in_4bit and (lora is None or isinstance(model, nn.Module)):
            raise ValueError("load_in_4bit=True needs a model's name and lora=16 (or another rank): weights in four bits cannot learn, so an "
                             "adapter must, and a module that is given is loaded already")  # fmt: skip
        lm: Any = model if isinstance(model, nn.Module) else load_lm(model, dtype, trust_remote_code, load_in_4bit)
        no_dropout(lm)
        fuse_activations(lm)
        if lora is not None:
            lm = with_lora(lm, lora)
        self.lm, self.lora = lm, hasattr(lm, "peft_config")
        self.plain: PreTrainedModel = lm.get_base_model() if self.lora else lm
        self.layers: Any = getattr(self.plain, self.plain.base_model_prefix, None) or self.plain.get_decoder()
        config = self.plain.config
        self.width: int = config.get_text_config().hidden_size
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self.gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            plain: Any = self.plain  # transformers renames the method; version 6 drops the old name
            enable = getattr(plain, "activation_checkpointing_enable", None) or plain.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        if pad_token_id is not None:
            config.pad_token_id = pad_token_id
        # Cells to the right of a row are never looked at, so a warning that they are not masked would only mislead.
        self.layers.warn_if_padding_and_no_attention_mask = _no_warning
        self._check_logits()

    @property
    def device(self) -> torch.device:
        return next(self.lm.parameters()).device

    @property
    def head(self) -> Any:
        """What projects onto the vocabulary; another module after `resize_token_embeddings`."""
        return self.plain.get_output_embeddings()

    @property
    def learned_dtype(self) -> torch.dtype:
        """Of the weights that learn: peft keeps an adapter in float32 on a bfloat16 model."""
        return next((p for p in self.lm.parameters() if p.requires_grad), next(self.lm.parameters())).dtype

    def read(self, states: States) -> Tensor:
        """(N, D) the last layer's hidden state at each state, one pass over all rows."""
        assert states.row is not None and states.col is not None, "a language model reads tokens, not vectors"
        length = states.inputs.shape[1]
        if self.context is not None and length > self.context:
            raise ValueError(f"a row of {length} tokens is longer than the model's context of {self.context}; shorten the prompt or "
                             "the episode (max_generation, max_timesteps), or take a model with a longer context")  # fmt: skip
        if self.gradient_checkpointing:  # transformers checkpoints only in train mode; there is no dropout in either mode
            self.plain.train(torch.is_grad_enabled())
        hidden = self.layers(input_ids=states.inputs, use_cache=False).last_hidden_state  # (R, L, D)
        return hidden[states.row, states.col]

    def reader(self, count: int) -> KVReader:
        if self.gradient_checkpointing:
            self.plain.eval()
        return KVReader(self.layers, count, self.context)

    @property
    def is_cacheable(self) -> bool:
        return can_cache(self.plain)

    def merged(self) -> PreTrainedModel:
        with no_bars():
            return copy.deepcopy(self.lm).merge_and_unload() if self.lora else self.lm

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, V), scaled or capped as some families do with theirs (Cohere, Granite; Gemma)."""
        logits = self._projected(hidden)
        config = self.plain.config.get_text_config()
        if getattr(config, "logit_scale", None) is not None:
            logits = logits * config.logit_scale
        if getattr(config, "logits_scaling", None) is not None:
            logits = logits / config.logits_scaling
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _projected(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, V)."""
        head = self.head
        if type(head) is not nn.Linear or torch.is_grad_enabled() or not reads_faster_from_the_left(head.weight, len(hidden)):
            return head(hidden)
        logits = (head.weight @ hidden.t().contiguous()).t().contiguous()
        return logits if head.bias is None else logits + head.bias

    @torch.no_grad()
    def _check_logits(self) -> None:
        """Raises TypeError if the model makes its logits in a way that `logits` does not know, or reads more than its tokens."""
        tokens = torch.tensor([[0, 1]], device=self.device)
        was_training = self.plain.training
        self.plain.eval()
        expected = self.lm(input_ids=tokens, use_cache=False).logits.float()
        found = self.logits(self.layers(input_ids=tokens, use_cache=False).last_hidden_state).float()
        self.plain.train(was_training)
        if found.shape != expected.shape or not torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max())):
            raise TypeError(f"{type(self.plain).__name__} does more to its logits than project its last hidden state, or reads more than "
                            "its tokens (as prompt tuning does), which LMActorNetwork does not know; add it to Trunk.logits, or pass the "
                            "module itself as the actor: it is then read token by token")  # fmt: skip


class LMActorNetwork(ActorNetwork):
    """A policy over tokens: any causal language model of transformers.

    `model_name`: a hub id, a folder, one that comes along ("models/reasoner"), or a ready module, which is then trained in
    place. `pad_token_id` is written into the model's config for whoever generates with it later; nothing here looks at it, for
    rows are told by their length and never by a token. `tokenizer` None: the one beside the model.

    `temperature`, `top_k`, `top_p` shape the policy itself: what is sampled, stored, and evaluated in the update. `lora`: a
    rank, or peft's LoraConfig; then only the adapter learns. `dtype="bfloat16"` halves memory; log-probabilities are always
    computed in float32, and the optimiser keeps float32 weights. `load_in_4bit` keeps the frozen weights below an adapter in
    four bits (QLoRA, arXiv:2305.14314); it needs bitsandbytes. Dropout is set to 0, in rollout and update alike.
    """

    reads_tokens = True

    def __init__(self, model_name: Model, pad_token_id: int | None = None, *, tokenizer: PreTrainedTokenizerBase | None = None,
                 temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, lora: Any = None,
                 dtype: Dtype = "float32", gradient_checkpointing: bool = False, trust_remote_code: bool = False,
                 load_in_4bit: bool = False):  # fmt: skip
        super().__init__()
        self.model_name = None if isinstance(model_name, nn.Module) else str(model_name)
        self._tokenizer, self.trust_remote_code = tokenizer, trust_remote_code
        self.sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        self._trunk = Trunk(model_name, pad_token_id, lora, dtype, gradient_checkpointing, trust_remote_code, load_in_4bit)
        self.lm: Any = self._trunk.lm
        self.context = self._trunk.context

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer given, or the one beside the model. Raises ValueError where there is neither."""
        if self._tokenizer is None:
            if self.model_name is None:
                raise ValueError(
                    "this actor was made of a ready module and has no tokenizer; give LMActorNetwork(model, tokenizer=...)"
                )
            self._tokenizer = AutoTokenizer.from_pretrained(
                folder_or_id(self.model_name), trust_remote_code=self.trust_remote_code
            )
        return self._tokenizer

    @property
    def rows_at_once(self) -> int:
        """How many rows of 512 tokens a gibibyte of keys and values holds: a good number of environments for the rollouts."""
        config = self._trunk.plain.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or self._trunk.width // config.num_attention_heads
        of_token = 2 * config.num_hidden_layers * heads * width * next(self.parameters()).element_size()  # bytes
        return max(8, 2**30 // (512 * of_token))

    @property
    def has_tokenizer(self) -> bool:
        """One was given, or lies in the model's folder; a hub id is taken to have one."""
        if self._tokenizer is not None or self.model_name is None:
            return self._tokenizer is not None
        return has_tokenizer_files(self.model_name)

    def forward(self, state: Tensor) -> Tensor:
        """Tokens (B, L), equally long -> logits of the next token (B, V)."""
        return self.evaluate(last_states(state))

    def evaluate(self, states: States) -> Tensor:
        return self.outputs_of(self.hidden(states))

    def hidden(self, states: States) -> Tensor:
        return self._trunk.read(states)

    def outputs_of(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, V): the vocabulary is projected only where a token was chosen."""
        return self._trunk.logits(hidden)

    def session(self, count: int, critic: CriticNetwork | None = None) -> Session:
        head = critic if isinstance(critic, ValueHead) and critic.actor is self else None
        if critic is not None and head is None:
            raise ValueError(
                "only a value head of this actor can read along in its rollouts; evaluate another critic afterwards"
            )
        if not self._trunk.is_cacheable:
            warnings.warn(f"{type(self._trunk.plain).__name__} has layers that look at a window, keep a state, or make their masks in a way "
                          "of their own; its rows are read anew for every token, which is right and slow", stacklevel=2)  # fmt: skip
            return RecomputeSession(self, count, critic)
        return LMSession(self, count, head)

    def value_head(self) -> ValueHead:
        """A critic on this actor's own trunk: one model, one pass, one optimiser."""
        head = ValueHead(self, self._trunk.width)
        return head.to(self._trunk.device, self._trunk.learned_dtype)

    def reference(self, refreshable: bool = False) -> ActorNetwork:
        """A frozen policy to stay close to. With LoRA it is the model with its adapter off, which costs no memory, or, where
        it is to follow this policy now and then (`refresh()`), a second adapter; without, a copy of this policy as it is."""
        if self._trunk.lora:
            return FrozenAdapter(self) if refreshable else AdapterOff(self)
        return FrozenCopy(self)

    def merged(self) -> PreTrainedModel:
        """A plain transformers model of the same policy: itself, or a copy with its LoRA adapter merged in."""
        return self._trunk.merged()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return _deepcopy(self, memo)


class LMCriticNetwork(CriticNetwork):
    """V of a growing row of tokens: a causal language model of its own, with a value head in place of its vocabulary.

    Arguments as of `LMActorNetwork`. The value of a state is read at its last token, before the next one is chosen; it starts
    at 0 everywhere.
    """

    def __init__(self, model_name: Model, pad_token_id: int | None = None, *, lora: Any = None, dtype: Dtype = "float32",
                 gradient_checkpointing: bool = False, trust_remote_code: bool = False):  # fmt: skip
        super().__init__()
        self.model_name = None if isinstance(model_name, nn.Module) else str(model_name)
        self._trunk = Trunk(model_name, pad_token_id, lora, dtype, gradient_checkpointing, trust_remote_code)
        self.lm: Any = self._trunk.lm
        vocabulary = self._trunk.head
        self.head = nn.Linear(self._trunk.width, 1, device=self._trunk.device, dtype=self._trunk.learned_dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if not any(p is q for p in vocabulary.parameters() for q in self._trunk.layers.parameters()):
            vocabulary.requires_grad_(False)  # the vocabulary is never projected, and what is never used must not be trained

    @classmethod
    def from_reward_model(cls, reward_model: Any, *, lora: Any = None, gradient_checkpointing: bool = False) -> Self:
        """A critic that starts as a copy of a `RewardModel` (arXiv:2009.01325, section 3.4), such as `load_reward_model` gives: at
        first the value of a state is what the reward model's head makes of the tokens so far, where no end token stands yet."""
        if not hasattr(reward_model, "trunk"):
            raise TypeError(f"reward_model is {reward_model!r}; give a RewardModel, such as load_reward_model(folder)")
        with no_bars(), torch.random.fork_rng(devices=[]):
            lm: Any = AutoModelForCausalLM.from_config(copy.deepcopy(reward_model.model.config), dtype=torch.float32)
        getattr(lm, lm.base_model_prefix).load_state_dict(reward_model.trunk.state_dict())
        critic = cls(lm.eval(), lora=lora, gradient_checkpointing=gradient_checkpointing)
        with torch.no_grad():
            critic.head.weight.copy_(reward_model.model.score.weight)
            critic.head.bias.fill_(-reward_model.offset)
        return critic

    def forward(self, state: Tensor) -> Tensor:
        """Tokens (B, L), equally long -> values (B,)."""
        return self.evaluate(last_states(state))

    def evaluate(self, states: States) -> Tensor:
        hidden = self._trunk.read(states).float()  # (N, D)
        return nn.functional.linear(hidden, self.head.weight.float(), self.head.bias.float()).squeeze(-1)

    def merged(self) -> PreTrainedModel:
        """A plain transformers model of the same trunk: itself, or a copy with its LoRA adapter merged in."""
        return self._trunk.merged()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return _deepcopy(self, memo)


class FrozenCopy(ActorNetwork):
    """An actor's policy as it was when this was made, or last refreshed."""

    def __init__(self, actor: LMActorNetwork):
        super().__init__()
        self._actor = (actor,)  # in a tuple, so that the actor is not a part of this network
        self.copy = copy.deepcopy(actor).requires_grad_(False)
        self.distribution, self.sampling, self.context = self.copy.distribution, actor.sampling, actor.context
        self.is_refreshed = False  # since it was made

    def forward(self, state: Tensor) -> Tensor:
        return self.evaluate(last_states(state))

    @torch.no_grad()
    def evaluate(self, states: States) -> Tensor:
        return self.copy.evaluate(states)

    def refresh(self) -> None:
        """It is the actor's policy of this moment."""
        self.load_tensors(self._actor[0].state_dict())

    def tensors(self) -> dict[str, Tensor]:
        return self.copy.state_dict()

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """It is the policy that `tensors()` was of."""
        self.copy.load_state_dict(tensors)
        self.is_refreshed = True


class AdapterOff(ActorNetwork):
    """The model that a LoRA actor started from, which lies in it still: a reference that costs no memory."""

    def __init__(self, actor: LMActorNetwork):
        super().__init__()
        self._actor = (actor,)  # in a tuple, so that the actor's parameters are not this network's
        self.distribution, self.sampling, self.context = actor.distribution, actor.sampling, actor.context

    @property
    def device(self) -> torch.device:
        return self._actor[0].device

    def forward(self, state: Tensor) -> Tensor:
        return self.evaluate(last_states(state))

    @torch.no_grad()
    def evaluate(self, states: States) -> Tensor:
        actor = self._actor[0]
        with actor.lm.disable_adapter():
            return actor.evaluate(states)


class FrozenAdapter(ActorNetwork):
    """A LoRA actor's policy as it was when this was made, or last refreshed: a second adapter on the same model."""

    NAME = "reference"

    def __init__(self, actor: LMActorNetwork):
        super().__init__()
        self._actor = (actor,)  # in a tuple, so that the actor's parameters are not this network's
        self.distribution, self.sampling, self.context = actor.distribution, actor.sampling, actor.context
        lm = actor.lm
        self.own: str = lm.active_adapter
        if self.NAME not in lm.peft_config:
            lm.add_adapter(self.NAME, lm.peft_config[self.own])
        self.refresh()
        self.is_refreshed = False  # since it was made

    @torch.no_grad()
    def refresh(self) -> None:
        """It is the actor's policy of this moment."""
        own = dict(self._actor[0].lm.named_parameters())
        self.load_tensors(
            {
                name: own[".".join(self.own if part == self.NAME else part for part in name.split("."))]
                for name in self.tensors()
            }
        )
        self._activate(self.own)

    def tensors(self) -> dict[str, Tensor]:
        """Those of its adapter."""
        return {name: p for name, p in self._actor[0].lm.named_parameters() if self.NAME in name.split(".")}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """It is the policy that `tensors()` was of."""
        for name, parameter in self.tensors().items():
            parameter.copy_(tensors[name])
        self.is_refreshed = True

    def _activate(self, adapter: str) -> None:
        lm = self._actor[0].lm
        lm.set_adapter(adapter)
        for name, parameter in lm.named_parameters():  # peft lets the active one learn and no other
            if "lora_" in name:
                parameter.requires_grad_(self.own in name.split("."))

    @property
    def device(self) -> torch.device:
        return self._actor[0].device

    def forward(self, state: Tensor) -> Tensor:
        return self.evaluate(last_states(state))

    @torch.no_grad()
    def evaluate(self, states: States) -> Tensor:
        self._activate(self.NAME)
        try:
            return self._actor[0].evaluate(states)
        finally:
            self._activate(self.own)


class LMSession(Session):
    """Rows that a language model reads, each token once."""

    def __init__(self, actor: LMActorNetwork, count: int, critic: ValueHead | None):
        self.actor, self.critic = actor, critic
        self.reader = actor._trunk.reader(count)

    @torch.no_grad()
    def extend(self, blocks: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        hidden = self.reader.read(blocks)
        return self.actor.outputs_of(hidden), None if self.critic is None else self.critic.values_of(hidden)

    def rewind(self, slot: int, length: int) -> None:
        self.reader.rewind(slot, length)

    def keep(self, slots: list[int]) -> None:
        self.reader.keep(slots)


def reads_faster_from_the_left(matrix: Tensor, rows: int) -> bool:
    """A processor multiplies a few rows with a large float32 matrix up to twice as fast if the matrix is the left factor (GPT-2's
    vocabulary on one core of a Xeon: 8 rows 45 and 23 ms, 48 rows 52 and 38, 64 rows 62 and 56); with a single row or many, a
    small matrix or bfloat16, it does not."""
    return matrix.device.type == "cpu" and matrix.dtype == torch.float32 and matrix.numel() >= LARGE and 1 < rows <= FEW_ROWS


def load_lm(
    name: str | Path, dtype: Dtype = "float32", trust_remote_code: bool = False, in_four_bits: bool = False
) -> PreTrainedModel:
    """The causal language model of a hub id or a folder, in eval mode; its matrices in four bits if asked."""
    kind: Any = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if kind != "auto" and not (isinstance(kind, torch.dtype) and kind.is_floating_point):
        raise ValueError(f'dtype={dtype!r} is not known; use "float32", "bfloat16" or "auto" (as the model was saved)')
    with no_bars():
        return AutoModelForCausalLM.from_pretrained(
            folder_or_id(name), dtype=kind, trust_remote_code=trust_remote_code,
            quantization_config=four_bits(kind) if in_four_bits else None,
        ).eval()  # fmt: skip


def _deepcopy(network: Any, memo: dict[int, Any]) -> Any:
    """A copy that shares the tokenizer, which nobody changes."""
    tokenizer = getattr(network, "_tokenizer", None)
    if tokenizer is not None:
        memo[id(tokenizer)] = tokenizer
    new = network.__class__.__new__(network.__class__)
    memo[id(network)] = new
    for name, value in network.__dict__.items():
        new.__dict__[name] = copy.deepcopy(value, memo)
    return new


def _no_warning(*args: Any, **kwargs: Any) -> None:
    """In place of transformers' warning about padding without a mask."""
