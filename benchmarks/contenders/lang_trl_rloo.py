"""TRL's RLOO: groups as of its GRPO (by default they would be of 2), and a reference (beta = 0.05, its default).

Activation checkpointing, which TRL turns on to save memory, is off, as with the others.
"""

import tempfile

import lang_setting
import lang_trl
import measure
import torch
from transformers import AutoModelForCausalLM
from trl import RLOOConfig, RLOOTrainer


def speed(s: dict) -> dict:
    iterations, laps = s["warm_up"] + s["iterations"], measure.Laps(s["warm_up"], lang_setting.clock(s))

    class Trainer(RLOOTrainer):
        """Tells the clock when the continuations are there."""

        def _generate_single_turn(self, *args, **kwargs):
            completions = super()._generate_single_turn(*args, **kwargs)
            assert all(len(tokens) == s["tokens"] for tokens in completions)
            laps.mark()
            return completions

    config = RLOOConfig(**lang_trl.arguments(s), num_generations=lang_setting.GROUP, max_completion_length=s["tokens"],
                        max_steps=iterations)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # for TRL reads the reference from where the model came from
        lang_setting.language_model(s).save_pretrained(folder)
        lm = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, s["dtype"])).to(s["device"])
        trainer = Trainer(lm, lang_trl.even_shares, config, lang_trl.prompts_in_groups(s, iterations), processing_class=lang_trl.tokenizer(s),
                          callbacks=[lang_trl.LapsCallback(laps, s["batch"] * s["tokens"])])  # fmt: skip
    trainer.train()
    # Rollout, reference, update and its backward pass. (It also reads all tokens anew for the old log π, which the rollout knew.)
    return laps.report() | {"flops": s["iterations"] * lang_setting.iteration_flops(lm, s, passes=5)}


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed}[name](settings) | {"peak_bytes": measure.peak_bytes()})
