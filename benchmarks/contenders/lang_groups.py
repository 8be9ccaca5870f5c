"""gymformer's GRPO and RLOO, through the parts that a user has: make_envs, collect, and the algorithm's update.

As in TRL, GRPO has no reference, and RLOO pays for the divergence from one in its rewards.
"""

from functools import partial

import lang_loop
import lang_setting
import torch
from lang_env import EvenTokens

from gymformer import GRPO, RLOO, GRPOConfig, RLOOConfig, collect, make_envs
from gymformer.rl.kl import KLPenalty
from gymformer.rl.networks import match_tokens
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork

BETA, LR = 0.05, 1e-6  # TRL's


class Loop:
    def __init__(self, s: dict):
        self.s, self.lm = s, lang_setting.language_model(s)
        vocabulary, group = self.lm.config.vocab_size, lang_setting.GROUP
        self.envs = make_envs(partial(EvenTokens, s["prompt"], s["tokens"], vocabulary), s["batch"])
        self.envs.reset(s["seed"])
        self.envs.group_size = group
        self.generator = torch.Generator(s["device"]).manual_seed(s["seed"])
        self.actor = LMActorNetwork(self.lm)
        match_tokens(self.actor, vocabulary)
        if s["algorithm"] == "grpo":
            self.learner, self.kl = GRPO(self.actor, GRPOConfig(lr_actor=LR, group_size=group, minibatch_size=-1)), None
        else:
            self.learner = RLOO(self.actor, RLOOConfig(lr_actor=LR, group_size=group))
            self.kl = KLPenalty(self.actor.reference(), BETA)
        self.passes = 4 if self.kl is None else 5

    def rollout(self) -> list[Segment]:
        return collect(self.envs, self.actor, episodes=self.s["batch"], generator=self.generator)

    def update(self, segments: list[Segment]) -> None:
        if self.kl is not None:
            self.kl(segments)
        self.learner.update(segments)


if __name__ == "__main__":
    lang_loop.answer(Loop)
