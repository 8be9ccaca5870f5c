"""A reward model: one number for a prompt and its reply, read off a causal language model."""

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from gymformer.device import resolve_device
from gymformer.files import replaced_folder, write_file
from gymformer.lm.rows import RowFormat, Template
from gymformer.pretrained import fuse_activations, has_tokenizer_files, no_bars, no_dropout
from gymformer.resources import folder_or_id, resource

__all__ = ["RewardModel", "as_batch", "preference_log_probs", "preference_loss"]

SETTINGS = "gymformer_reward"  # the part of config.json that transformers keeps and leaves alone
PAD = "<|pad|>"  # of tokenizers without a padding token of its own
CARD = """\
# Reward model

Scores a reply to a prompt; made by gymformer's `train_reward`. With gymformer:

```python
from gymformer import load_reward_model

scores = load_reward_model(folder).score([(prompt, reply)])
```

With transformers alone, a row is the prompt's tokens, the reply's, and the end token {end}, padded on the right:

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
prompt_ids = tokenizer.encode({prompt}, add_special_tokens=False)
rows = [[*prompt_ids, *tokenizer.encode(reply, add_special_tokens=False){close}]]
batch = tokenizer.pad({{"input_ids": rows}}, return_tensors="pt")
scores = model(**batch).logits[:, 0]{offset}
```

Scores of the replies it was normalised on have mean 0 and variance 1. A reply is preferred to another with probability
σ({spread:.6g} · (difference of their scores)).
"""


class RewardModel(nn.Module):
    """r(prompt, reply): the score of a causal language model's sequence-classification head at a row's last token.

    `model`: a `...ForSequenceClassification` of transformers with one label, whose trunk is causal. Rows are padded on the right
    and told by their length, never by a token, so that a score depends on its row alone. `rows` says how texts become rows; the
    same in training and in scoring, and kept in the folder.

    `spread` is the standard deviation that raw scores had before they were normalised: preferences are softmax(spread · scores).
    `offset` is subtracted from what the head gives: 0, unless the scores were normalised and the model's last norm has no bias
    which could carry it (Llama's and Qwen's have none).

        >>> from gymformer.testing import byte_tokenizer, tiny_lm
        >>> reward = RewardModel.from_causal_lm(tiny_lm(261), byte_tokenizer())
        >>> reward.score([("2+2=", "4"), ("2+2=", "5")]).shape
        torch.Size([2])
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None, *, template: Template = "plain",
                 end_token_id: int | None = None, spread: float = 1.0, offset: float = 0.0):  # fmt: skip
        super().__init__()
        self.model: Any = model
        self.rows = RowFormat(tokenizer, template, end_token_id)
        self.spread, self.offset = spread, offset
        self.run: Any = None  # of train_reward: its report, its metrics, and how it ended
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        no_dropout(model)
        fuse_activations(model)
        self._check()
        # Cells to the right of a row are never looked at, so a warning that they are not masked would only mislead.
        self.trunk.warn_if_padding_and_no_attention_mask = _no_warning

    @classmethod
    def from_causal_lm(cls, model_name: str | Path | nn.Module, tokenizer: PreTrainedTokenizerBase | None = None, *,
                       template: Template = "plain", ending: Literal["eos", "none"] = "eos", seed: int = 0) -> Self:  # fmt: skip
        """A reward model to be trained, on a copy of the language model of a hub id, a folder, or a module.

        Its head's weights are drawn from N(0, 1/(d+1)) (arXiv:2009.01325, appendix B.1), by `seed`. `tokenizer` None: the one
        beside the model, if any. `ending`: "eos" closes every row with the tokenizer's end of text, where there is one. Where the
        tokenizer pads with that very token, it gets a padding token of its own: transformers tells pads by their id.
        """
        if ending not in ("eos", "none"):
            raise ValueError(f'ending={ending!r} is not known; use "eos" or "none"')
        model = _classifier(model_name)
        if tokenizer is None and not isinstance(model_name, nn.Module) and has_tokenizer_files(model_name):
            tokenizer = AutoTokenizer.from_pretrained(folder_or_id(model_name))
        eos: Any = model.config.eos_token_id if tokenizer is None else tokenizer.eos_token_id
        end = (eos[0] if isinstance(eos, list) else eos) if ending == "eos" else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = _with_pad(model, tokenizer, eos)
            head = _head_of(model)
            nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_features + 1))
        return cls(model, tokenizer, template=template, end_token_id=end)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "auto") -> Self:
        """The frozen reward model that `save_pretrained` wrote. Raises ValueError for a folder that holds none."""
        path = resource(folder)
        _require_model(path)
        with _quiet():
            model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32)
        settings = getattr(model.config, SETTINGS, None)
        if settings is None:
            raise ValueError(f"{path} is not a reward model of gymformer: its config.json has no {SETTINGS!r}. Make one by train_reward, or "
                             "wrap a classifier with one label yourself: RewardModel(model, tokenizer, end_token_id=...)")  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(path) if has_tokenizer_files(path) else None
        reward = cls(model, tokenizer, **settings)
        return reward.to(resolve_device(device, reward)).requires_grad_(False).eval()

    def save_pretrained(self, folder: str | Path) -> Path:
        """The folder holds the model as transformers saves it, its tokenizer and a card; it takes the place of an older one."""
        with replaced_folder(folder := Path(folder)) as unfinished:
            self.write(unfinished)
        return folder

    def write(self, folder: Path) -> None:
        """Fills an empty folder."""
        settings = {"template": self.rows.template, "end_token_id": self.rows.end_token_id, "spread": self.spread,
                    "offset": self.offset}  # fmt: skip
        setattr(self.model.config, SETTINGS, settings)
        with _quiet():
            self.model.save_pretrained(folder)
        if self.tokenizer is not None:
            tokenizer = copy.deepcopy(self.tokenizer)
            tokenizer.padding_side = "right"  # absolute positions are counted from the left
            tokenizer.save_pretrained(folder)
        end = self.rows.end_token_id
        asked = (
            'tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)'
        )
        card = CARD.format(
            prompt=asked if self.rows.template == "chat" else "prompt", end=end, close="" if end is None else f", {end}",
            spread=self.spread, offset=f" - {self.offset!r}" if self.offset else "",
        )  # fmt: skip
        write_file(folder / "README.md", card.encode())

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        return self.rows.tokenizer

    @property
    def trunk(self) -> Any:
        """The layers, without the head."""
        return getattr(self.model, self.model.base_model_prefix)

    def replace_trunk(self, trunk: nn.Module) -> None:
        """`trunk` reads the rows from now on: the same with an adapter, or without one."""
        setattr(self.model, self.model.base_model_prefix, trunk)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def num_tokens(self) -> int:
        """Ids that the model can read."""
        return self.model.get_input_embeddings().weight.shape[0]

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Rows (R, L), padded on the right with anything, and their lengths (R,) -> scores (R,), float32."""
        hidden = self.trunk(input_ids=inputs, use_cache=False).last_hidden_state  # (R, L, D)
        last = hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1].float()  # (R, D)
        return nn.functional.linear(last, self.model.score.weight.float()).squeeze(-1) - self.offset

    def encode(self, row: Any) -> list[int]:
        """The tokens of a row that is a text, a list of ids, or (prompt, reply), with its end."""
        if isinstance(row, Tensor):
            row = row.tolist()
        if isinstance(row, tuple) and len(row) == 2 and not isinstance(row[0], int):
            return self.rows.row(*row)
        return self.rows.row([], row)

    @torch.no_grad()
    def score(self, rows: Sequence[Any], batch_size: int = 32) -> Tensor:
        """The scores of rows, (N,) float32 on the CPU. A row is a whole text, a list of token ids, or (prompt, reply).

        Raises ValueError for a row that is empty, longer than the model's context, or holds ids that it does not know.
        """
        encoded = [self.encode(row) for row in rows]
        for number, ids in enumerate(encoded):
            if (problem := self.problem_of(ids)) is not None:
                raise ValueError(f"row {number} (counted from 0) cannot be scored: {problem}")
        was_training = self.training
        self.eval()
        scores = torch.empty(len(encoded))
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))  # rows of a batch are of about one length
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            scores[part] = self(*as_batch([encoded[i] for i in part], self.device)).cpu()
        self.train(was_training)
        return scores

    def problem_of(self, ids: Sequence[int]) -> str | None:
        """Why these tokens cannot be a row, if they cannot."""
        if not ids:
            return "it has no token"
        if self.context is not None and len(ids) > self.context:
            return f"it has {len(ids)} tokens, and the model's context {self.context}; shorten it, or take a model with a longer context"
        if not 0 <= min(ids) <= max(ids) < self.num_tokens:
            wrong = next(token for token in ids if not 0 <= token < self.num_tokens)
            return f"its token {wrong} is not one of the model's {self.num_tokens}; is it of another tokenizer?"
        return None

    def normalise(self, rows: Sequence[Any], batch_size: int = 32) -> tuple[float, float]:
        """The scores of `rows` (replies of a reference policy) have mean 0 and variance 1 from now on (arXiv:1909.08593,
        section 2). Returns their mean and standard deviation before. Raises ValueError if they are all the same."""
        scores = self.score(rows, batch_size).double()
        mean, std = scores.mean().item(), scores.std(correction=0).item()
        self.rescale(mean, std)
        return mean, std

    @torch.no_grad()
    def rescale(self, mean: float, std: float) -> None:
        """r ← (r - mean) / std, in the weights, so that transformers alone gives the new score too.

        The head has no bias. Where the last norm h = γ x + β has one, the constant goes into it: w·(β + δ) = w·β + c for
        δ = c w / |w|², which moves every score by c and nothing else. Elsewhere it stays in `offset`.
        """
        if not math.isfinite(std) or std < 1e-6 * max(1.0, abs(mean)):
            raise ValueError(f"scores of mean {mean:.4g} and standard deviation {std:.2g} cannot be brought to variance 1; has the model "
                             "learned anything, and are the rows different?")  # fmt: skip
        self.model.score.weight.div_(std)
        self.spread *= std
        self.offset = (self.offset + mean) / std
        norm = self._last_norm()
        if norm is not None:
            weight = self.model.score.weight[0].double()
            norm.bias.copy_(norm.bias.double() - self.offset * weight / weight.dot(weight))
            self.offset = 0.0

    def _last_norm(self) -> Any:
        """The LayerNorm, with a bias, that makes the last hidden state; None where another module does."""
        seen: list[Any] = []
        norms = [module for module in self.trunk.modules() if isinstance(module, nn.LayerNorm) and module.bias is not None]
        hooks = [module.register_forward_hook(lambda module, _, output: seen.append((module, output))) for module in norms]
        hidden = self._read([[0]])
        for hook in hooks:
            hook.remove()
        makers = [module for module, output in seen if output.shape == hidden.shape and torch.equal(output, hidden)]
        return makers[-1] if makers else None

    @torch.no_grad()
    def _read(self, rows: list[list[int]]) -> Tensor:
        return self.trunk(input_ids=torch.tensor(rows, device=self.device), use_cache=False).last_hidden_state

    @torch.no_grad()
    def _check(self) -> None:
        """Raises TypeError if the model is no classifier of one label on a causal trunk, or makes its score in another way."""
        name, head = type(self.model).__name__, getattr(self.model, "score", None)
        if not isinstance(head, nn.Linear) or head.weight.shape[0] != 1 or head.bias is not None:
            raise TypeError(
                f"{name} has no head `score` with one label and no bias, as causal classifiers of transformers have"
            )
        was_training = self.training
        self.eval()
        a, b = [token for token in range(3) if token != self.model.config.pad_token_id][:2]
        inputs = torch.tensor([[a, b]], device=self.device)
        ours = self(inputs, torch.tensor([2], device=self.device)) + self.offset
        theirs = self.model(input_ids=inputs).logits[:, 0].float()
        alone, followed = self._read([[a]])[:, 0], self._read([[a, b]])[:, 0]
        self.train(was_training)
        if not torch.allclose(alone, followed, rtol=0, atol=1e-3 * float(followed.abs().max())):
            raise TypeError(
                f"{name} is not causal: what it makes of a token depends on the ones behind it; take a causal language model"
            )
        if not torch.allclose(ours, theirs, rtol=0, atol=1e-3 * max(1.0, float(theirs.abs().max()))):
            raise TypeError(
                f"{name} does more for its score than project its last hidden state, which RewardModel does not know"
            )


def as_batch(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of tokens, padded on the right with 0 (a causal network does not see them), (R, L), and their lengths (R,)."""
    lengths = torch.tensor([len(row) for row in rows])
    inputs = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
    for number, row in enumerate(rows):
        inputs[number, : len(row)] = torch.tensor(row)
    return inputs.to(device), lengths.to(device)


def preference_log_probs(scores: Tensor) -> Tensor:
    """log softmax over the candidates: (N, K) -> (N, K), how likely each is to be preferred to all others
    (arXiv:1909.08593, eq. 1; for K = 2 Bradley and Terry's model)."""
    return scores.log_softmax(-1)


def preference_loss(scores: Tensor, target: Tensor, margin: Tensor | None = None) -> Tensor:
    """L = -Σ_k y_k log softmax(r)_k for each row: scores r and target y (N, K) -> (N,).

    y is 1 at the best candidate; of m that are tied 1/m at each, so that a tie of two is the mean of both directions. With a
    margin m (N,), the best has to be that much better: for K = 2 it is -log σ(r_best - r_other - m) (arXiv:2307.09288, eq. 2).
    In a tie of all candidates the margin cancels.
    """
    if margin is not None:
        scores = scores - margin.unsqueeze(-1) * target
    return -(target * preference_log_probs(scores)).sum(-1)


def _classifier(model_name: str | Path | nn.Module) -> PreTrainedModel:
    """A sequence classifier with one label on (a copy of) a language model, in float32."""
    try:
        with _quiet():
            if not isinstance(model_name, nn.Module):
                _require_model(Path(folder_or_id(model_name)))
                return AutoModelForSequenceClassification.from_pretrained(
                    folder_or_id(model_name), num_labels=1, dtype=torch.float32
                )
            lm: Any = model_name
            config = copy.deepcopy(lm.config)
            config.num_labels = 1
            with torch.random.fork_rng(devices=[]):
                model: Any = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
            trunk = getattr(lm, lm.base_model_prefix)
            getattr(model, model.base_model_prefix).load_state_dict(trunk.state_dict())
            return model.eval()
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ValueError(f"transformers has no sequence classifier for {model_name}: {str(error).split('Model type should')[0].strip()} Take a "
                         "model of another family, such as GPT-2, Llama or Qwen2") from error  # fmt: skip


def _head_of(model: nn.Module) -> nn.Linear:
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.out_features != 1 or head.bias is not None:
        raise TypeError(f"{type(model).__name__} has no head `score` with one label and no bias, as causal classifiers of transformers "
                        "have; take a causal language model")  # fmt: skip
    return head


def _require_model(path: Path) -> None:
    """Raises ValueError for what exists on this machine and is no model of transformers."""
    if path.exists() and not (path / "config.json").is_file():
        there = ", ".join(sorted(file.name for file in path.iterdir())[:6]) if path.is_dir() else "it is a file"
        raise ValueError(f"{path} is not a model: it has no config.json ({there or 'it is empty'}); give a folder that "
                         "save_pretrained wrote, or a hub id")  # fmt: skip


def _with_pad(model: Any, tokenizer: PreTrainedTokenizerBase | None, eos: Any) -> PreTrainedTokenizerBase | None:
    """The model's config names a padding token that never ends a row; where the tokenizer has none, a copy of it with one."""
    rows = model.get_input_embeddings().weight.shape[0]
    ends = eos if isinstance(eos, list) else [eos]
    if tokenizer is None:
        pad = rows
    else:
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.add_special_tokens({"pad_token": PAD})
        pad: Any = tokenizer.pad_token_id
    if pad >= rows:
        model.resize_token_embeddings(pad + 1, mean_resizing=False)
    model.config.pad_token_id = pad
    return tokenizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, transformers tells neither of progress nor that the head is new, which is why it is trained."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with no_bars():
            yield
    finally:
        logging.set_verbosity(level)


def _no_warning(*args: Any, **kwargs: Any) -> None:
    """In place of transformers' warning about padding without a mask."""
