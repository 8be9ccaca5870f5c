"""TRL's last PPO: policy, reference, a value model of the policy's size, and a reward that costs nothing.

With `reward_model` in the settings the reward is a model's too, of the policy's size, as in TRL's own examples.
"""

import lang_setting
import lang_trl
import measure
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


class LastIsEven(nn.Module):
    """The face of a reward model for TRL's `get_reward`: its score is whether the last token read is even."""

    base_model_prefix = "trunk"

    class Trunk(nn.Module):
        def forward(self, input_ids, **kwargs) -> BaseModelOutput:
            return BaseModelOutput(hidden_states=((input_ids % 2 == 0).float().unsqueeze(-1),))

    def __init__(self):
        super().__init__()
        self.trunk, self.score = self.Trunk(), nn.Identity()


def speed(s: dict) -> dict:
    iterations, laps = s["warm_up"] + s["iterations"], measure.Laps(s["warm_up"], lang_setting.clock(s))
    generate = ppo_trainer.batch_generation

    def generate_and_tell(*args, **kwargs):
        """Tells the clock when the continuations are there."""
        tokens, logits = generate(*args, **kwargs)
        assert tokens.shape[1] == s["prompt"] + s["tokens"]
        laps.mark()
        return tokens, logits

    ppo_trainer.batch_generation = generate_and_tell
    config = PPOConfig(**lang_trl.arguments(s), num_mini_batches=1, num_ppo_epochs=1, response_length=s["tokens"], temperature=1.0,
                       total_episodes=s["batch"] * iterations, num_sample_generations=0)  # fmt: skip
    policy, reference = lang_setting.language_model(s), lang_setting.language_model(s)
    scorer = scoring_model(s) if s.get("reward_model") else LastIsEven()
    prompts = Dataset.from_dict({"input_ids": lang_setting.prompts(s | {"batch": s["batch"] * iterations}).tolist()})
    trainer = PPOTrainer(config, lang_trl.tokenizer(s), policy, reference, scorer, prompts, scoring_model(s), eval_dataset=prompts,
                         callbacks=[lang_trl.LapsCallback(laps, s["batch"] * s["tokens"])])  # fmt: skip
    trainer.train()
    # Passes of the policy: rollout, reference, update, two more for its backward pass; of the critic, which projects onto one
    # number: the values, update, two more; one of a reward model.
    flops = lang_setting.iteration_flops(policy, s, passes=5)
    flops += (5 if s.get("reward_model") else 4) * lang_setting.forward_flops(
        policy, s["batch"] * (s["prompt"] + s["tokens"]), 0
    )
    return laps.report() | {"flops": s["iterations"] * flops}


def scoring_model(s: dict) -> PreTrainedModel:
    """The policy's trunk with one number in place of the vocabulary."""
    one_number = lang_setting.config(s["shape"])
    one_number.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(one_number, dtype=getattr(torch, s["dtype"]))
    return model.to(s["device"])


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed}[name](settings) | {"peak_bytes": measure.peak_bytes()})
