"""What TRL's trainers have in common here: a tokenizer, prompts as text, a reward that costs nothing, and where laps end."""

import tempfile

import lang_setting
import measure
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, TrainerCallback

QUIET = {
    "output_dir": tempfile.gettempdir(),
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
    "logging_strategy": "no",
}


def arguments(s: dict) -> dict:
    """Of the trainers' configs: one step for each batch, weights and arithmetic of one type, nothing written."""
    return QUIET | {"per_device_train_batch_size": s["batch"], "gradient_accumulation_steps": 1, "seed": s["seed"],
                    "gradient_checkpointing": s.get("checkpointing", False), "bf16": s["dtype"] == "bfloat16",
                    "use_cpu": s["device"] == "cpu"}  # fmt: skip


def tokenizer(s: dict) -> PreTrainedTokenizerFast:
    """One word for each of the model's tokens. The pad and the end lie beyond its vocabulary, so neither is ever sampled and
    every continuation has its full length."""
    vocabulary = lang_setting.config(s["shape"]).vocab_size
    words = {f"t{i}": i for i in range(vocabulary)} | {"<pad>": vocabulary, "<end>": vocabulary + 1}
    core = Tokenizer(WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")


def prompts_in_groups(s: dict, iterations: int) -> Dataset:
    """As text, one for each group of each iteration."""
    prompts = lang_setting.prompts(s | {"batch": s["batch"] // lang_setting.GROUP * iterations}).tolist()
    return Dataset.from_dict({"prompt": [" ".join(f"t{token}" for token in row) for row in prompts]})


def even_shares(completion_ids: list[list[int]], **_) -> list[float]:
    """The reward of GRPO and RLOO."""
    return [sum(token % 2 == 0 for token in tokens) / len(tokens) for tokens in completion_ids]


class LapsCallback(TrainerCallback):
    """An iteration goes from the end of one optimiser step to the end of the next."""

    def __init__(self, laps: measure.Laps, tokens: int):
        self.laps, self.tokens = laps, tokens

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.laps.end(self.tokens)
