"""PhraseActor: a language model that chooses among a few phrases, by how likely it is to say each of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gymformer.rl.batch import States
from gymformer.rl.networks import ActorNetwork, CriticNetwork, RecomputeSession, Session, ValueHead, last_states
from gymformer.rl.transformers_nn import LMActorNetwork, LMSession

__all__ = ["PhraseActor"]

Per = Literal["token", "word", "phrase"]


class PhraseActor(ActorNetwork):
    """A policy over A phrases,  π(a|s) = softmax_a(1/n_a Σ_k log p(w_k | s, w_1 … w_{k-1})),  n_a the number of the phrase's tokens,
    or of its words (`per="word"`), or 1 (`per="phrase"`: its plain probability, by which long ones are hardly ever chosen)
    (TWOSOME, arXiv:2401.14151, section 4). What the model would say beyond the phrases counts nothing, so that every action is
    one; those that an environment forbids are masked, as everywhere.

    lm: a language model's actor, or what `LMActorNetwork` takes; it learns in place. phrases: action 0, 1, …, encoded by
    themselves with its tokenizer; for a model without a chat template, each with a space before it (" hit").
    temperature: of the softmax.
    cached: rows are read once, as they grow. False: each anew and equal ones once, which is faster where every observation is a short
    prompt of its own (`PhrasesToTokens(..., window=0)`).

    A phrase of one token costs nothing beyond reading the state; longer ones cost a further row for each state and phrase.
    Environments that show tokens and take Discrete(A) are played so (`PhrasesToTokens`, which `train_agent` puts around others).
    """

    reads_tokens = True

    def __init__(
        self,
        lm: LMActorNetwork | str | Path | nn.Module,
        phrases: Sequence[str],
        *,
        per: Per = "token",
        temperature: float = 1.0,
        cached: bool = True,
    ):
        super().__init__()
        if per not in ("token", "word", "phrase"):
            raise ValueError(f'per={per!r} is not known; use "token", "word" or "phrase"')
        self.lm = lm if isinstance(lm, LMActorNetwork) else LMActorNetwork(lm)
        self.phrases, self.per, self.cached = tuple(phrases), per, cached
        self.sampling = {"temperature": temperature}
        self.ids = [
            self.lm.tokenizer.encode(phrase, add_special_tokens=False, split_special_tokens=True) for phrase in self.phrases
        ]
        if len(self.ids) < 2 or not all(self.ids) or len(set(map(tuple, self.ids))) < len(self.ids):
            raise ValueError(
                f"phrases={list(self.phrases)} are the tokens {self.ids}; at least two are expected, all different and none empty"
            )
        beyond = max(len(ids) for ids in self.ids) - 1  # tokens that are read after a state
        self.context = None if self.lm.context is None else self.lm.context - beyond
        lengths = {
            "token": map(len, self.ids),
            "word": (len(phrase.split()) or 1 for phrase in self.phrases),
            "phrase": [1] * len(self.ids),
        }
        self.lengths: Tensor
        self.register_buffer("lengths", torch.tensor(list(lengths[per]), dtype=torch.float32))
        self.said: Tensor  # saved with the weights, so that these are not loaded for other phrases
        padded_ids = [[*ids, *[-1] * (beyond + 1 - len(ids))] for ids in self.ids]
        self.register_buffer("said", torch.tensor(padded_ids))  # (A, the longest)

    @property
    def settings(self) -> dict[str, Any]:
        """By which, with its language model, it is built again."""
        return {"phrases": self.phrases, "per": self.per, "temperature": self.sampling["temperature"], "cached": self.cached}

    @property
    def tokenizer(self) -> Any:
        return self.lm.tokenizer

    @property
    def has_tokenizer(self) -> bool:
        return True

    @property
    def model_name(self) -> str | None:
        return self.lm.model_name

    @property
    def rows_at_once(self) -> int:
        return self.lm.rows_at_once

    @cached_property
    def longer(self) -> list[list[int]]:
        """The phrases of several tokens, each without its last one: what is read after a state to score them."""
        return [ids[:-1] for ids in self.ids if len(ids) > 1]

    def _load_from_state_dict(self, state_dict: Any, prefix: Any, *args: Any, **kwargs: Any) -> None:
        """As of every module. Raises ValueError for weights that learned other phrases, another order of them, or another `per`."""
        for name, own in (("said", self.said), ("lengths", self.lengths)):
            saved = state_dict.get(prefix + name)
            if saved is not None and (saved.shape != own.shape or not torch.equal(saved.to(own), own)):
                raise ValueError(f"the weights were learned with other phrases, in another order, or with another per than "
                                 f"{list(self.phrases)}, per={self.per!r}; build the PhraseActor as it was trained")  # fmt: skip
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, state: Tensor) -> Tensor:
        """Tokens (B, L), equally long -> scores of the phrases (B, A)."""
        return self.evaluate(last_states(state))

    def evaluate(self, states: States) -> Tensor:
        return self.outputs_of(self.hidden(states))

    def hidden(self, states: States) -> Tensor:
        """(N, (1 + K) D): the state's, and those after each of the K tokens that longer phrases begin with."""
        return self.lm.hidden(self._extended(states)).reshape(len(states), -1)

    def outputs_of(self, hidden: Tensor) -> Tensor:
        width = hidden.shape[1] // (1 + sum(map(len, self.longer)))
        places = hidden.reshape(len(hidden), -1, width)  # (N, 1 + K, D)
        if not self.longer:
            tokens = torch.tensor([ids[0] for ids in self.ids], device=hidden.device)
            return self._log_probs(places[:, 0])[:, tokens]
        return self.scores([self._log_probs(places[:, k]) for k in range(places.shape[1])])

    def scores(self, log_probs: Sequence[Tensor]) -> Tensor:
        """(N, A) of the vocabulary's log-probabilities, each (N, V), at the state and after the tokens that longer phrases begin with."""
        scores, place = [], 1
        for ids in self.ids:
            total = log_probs[0][:, ids[0]]
            for token in ids[1:]:
                total = total + log_probs[place][:, token]
                place += 1
            scores.append(total)
        return torch.stack(scores, dim=-1) / self.lengths

    def session(self, count: int, critic: CriticNetwork | None = None) -> Session:
        if not self.cached or not self.lm._trunk.is_cacheable:
            return RecomputeSession(self, count, critic)
        head = critic if isinstance(critic, ValueHead) and critic.actor is self else None
        return PhraseSession(self, LMSession(self.lm, count, head))

    def value_head(self) -> ValueHead:
        """A critic on the language model's trunk, which reads the state."""
        head = self.lm.value_head()
        return ValueHead(self, head.head.in_features).to(head.head.weight.device, head.head.weight.dtype)

    def _log_probs(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, V)."""
        return torch.log_softmax(self.lm.outputs_of(hidden).float(), dim=-1)

    def _extended(self, states: States) -> States:
        """The states, each followed by the places after the tokens that longer phrases begin with: N (1 + K) states."""
        if not self.longer:
            return states
        assert states.row is not None and states.col is not None
        most, each = max(map(len, self.longer)), torch.arange(len(states), device=states.col.device)
        inputs, row, col = [torch.nn.functional.pad(states.inputs, (0, most))], [states.row], [states.col]
        for number, ids in enumerate(self.longer):  # the state's row up to its place, and the phrase's beginning
            branch = inputs[0][states.row]
            for k, token in enumerate(ids, start=1):
                branch[each, states.col + k] = token
                row.append(len(states.inputs) + number * len(states) + each)
                col.append(states.col + k)
            inputs.append(branch)
        return States(torch.cat(inputs), torch.stack(row, 1).reshape(-1), torch.stack(col, 1).reshape(-1))


class PhraseSession(Session):
    """Rows that are read once; longer phrases are read after each, and taken back."""

    def __init__(self, actor: PhraseActor, inner: Session):
        self.actor, self.inner = actor, inner
        self.lengths: list[int] | None = None

    @torch.no_grad()
    def extend(self, blocks: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        if self.lengths is None:
            self.lengths = [0] * len(blocks)
        logits, values = self.inner.extend(blocks)
        self.lengths = [length + len(block) for length, block in zip(self.lengths, blocks, strict=True)]
        log_probs = [torch.log_softmax(logits.float(), dim=-1)]
        for ids in self.actor.longer:
            for token in ids:
                log_probs.append(
                    torch.log_softmax(self.inner.extend([[token] if block else [] for block in blocks])[0].float(), dim=-1)
                )
            for slot, length in enumerate(self.lengths):
                self.inner.rewind(slot, length)
        return self.actor.scores(log_probs), values

    def rewind(self, slot: int, length: int) -> None:
        assert self.lengths is not None
        self.lengths[slot] = length
        self.inner.rewind(slot, length)

    def keep(self, slots: list[int]) -> None:
        assert self.lengths is not None
        self.lengths = [self.lengths[slot] for slot in slots]
        self.inner.keep(slots)
