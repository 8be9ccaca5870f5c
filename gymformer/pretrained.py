"""Models of transformers as this package takes them: found here or on the hub, read quietly, without dropout."""

import contextlib
import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymformer.resources import folder_or_id

if TYPE_CHECKING:
    from torch import nn

__all__ = ["four_bits", "fuse_activations", "has_tokenizer_files", "no_bars", "no_dropout", "with_lora"]

TOKENIZER_FILES = ("tokenizer", "vocab", "spiece", "sentencepiece")  # how the names of the files of tokenizers begin


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Inside, transformers draws no progress bars: there is one of the training already, and weights are read in a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(
            action="ignore", category=FutureWarning
        ):  # that peft still calls what transformers renames
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def has_tokenizer_files(name: str | Path) -> bool:
    """A tokenizer lies in the model's folder; a hub id is taken to have one."""
    folder = Path(folder_or_id(name))
    return not folder.is_dir() or any(path.name.startswith(TOKENIZER_FILES) for path in folder.iterdir())


def no_dropout(model: "nn.Module") -> None:
    """Every dropout is 0 from now on: transformers keeps its rates in modules and in plain attributes, which each family names
    anew (`dropout`, `attn_pdrop`, `layerdrop`; `jitter_noise` of a router is one too)."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or name == "jitter_noise"):
                setattr(module, name, 0.0)


def fuse_activations(model: "nn.Module") -> None:
    """GPT-2's activation as one kernel instead of eight: the same function (arXiv:1606.08415, the tanh form), to rounding."""
    from torch import nn
    from transformers.activations import FastGELUActivation, NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation | FastGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def with_lora(lm: "nn.Module", lora: Any) -> "nn.Module":
    """The model wrapped by peft; `lora` is a rank or a LoraConfig. Its dropout is 0, for rollout and update must agree."""
    import torch

    try:
        from peft import LoraConfig, PeftConfig, get_peft_model
    except ImportError as error:
        raise ImportError("lora=... needs peft; install it with: pip install 'gymformer[lm]'") from error
    if isinstance(lora, bool) or not isinstance(lora, int | PeftConfig):
        raise TypeError(f"lora={lora!r}; give a rank such as lora=16, one of peft's configs, or None for no adapter")
    if isinstance(lora, int):
        transposed = any(type(module).__name__ == "Conv1D" for module in lm.modules())  # GPT-2 keeps its weights so
        lora = LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear", fan_in_fan_out=transposed)
    config: Any = copy.copy(lora)
    config.lora_dropout = 0.0
    with no_bars(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # one seed of a run, one run: the adapter's first weights must not depend on what else was drawn
        wrapped: Any = get_peft_model(lm, config)  # type: ignore[arg-type]
    return wrapped


def four_bits(dtype: Any) -> Any:
    """What transformers is told to keep a model's matrices in four bits (NF4, arXiv:2305.14314) and compute in `dtype`. Raises
    ImportError without bitsandbytes."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if missing:
        raise ImportError(f"load_in_4bit=True needs {' and '.join(missing)}, which are not among gymformer's extras; install them with: "
                          "pip install bitsandbytes accelerate, or leave it out")  # fmt: skip
    compute = {} if dtype == "auto" else {"bnb_4bit_compute_dtype": dtype}
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, **compute)
