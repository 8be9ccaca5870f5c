"""TRL's GRPO in its default form: groups of 8, no reference model (beta = 0), no critic.

Only activation checkpointing, which TRL turns on to save memory, is off unless the settings ask for it, as with the others.
"""

import lang_setting
import lang_trl
import measure
from trl import GRPOConfig, GRPOTrainer


def speed(s: dict) -> dict:
    iterations, laps = s["warm_up"] + s["iterations"], measure.Laps(s["warm_up"], lang_setting.clock(s))

    class Trainer(GRPOTrainer):
        """Tells the clock when the continuations are there."""

        def _generate_single_turn(self, *args, **kwargs):
            completions, log_probs = super()._generate_single_turn(*args, **kwargs)
            assert all(len(tokens) == s["tokens"] for tokens in completions)
            laps.mark()
            return completions, log_probs

    config = GRPOConfig(**lang_trl.arguments(s), num_generations=lang_setting.GROUP, max_completion_length=s["tokens"],
                        max_steps=iterations)  # fmt: skip
    lm = lang_setting.language_model(s)
    trainer = Trainer(lm, lang_trl.even_shares, config, lang_trl.prompts_in_groups(s, iterations), processing_class=lang_trl.tokenizer(s),
                      callbacks=[lang_trl.LapsCallback(laps, s["batch"] * s["tokens"])])  # fmt: skip
    trainer.train()
    # rollout, update and its backward pass
    return laps.report() | {"flops": s["iterations"] * lang_setting.iteration_flops(lm, s, passes=4)}


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed}[name](settings) | {"peak_bytes": measure.peak_bytes()})
