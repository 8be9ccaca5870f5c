"""gymformer, through the parts that a user has: make_envs, collect, KLPenalty, PPO.update; the value head sits on the trunk."""

from functools import partial

import lang_loop
import lang_setting
import torch
from lang_env import EvenTokens

from gymformer import PPOConfig, collect, make_envs
from gymformer.rl.kl import KLPenalty
from gymformer.rl.networks import match_tokens
from gymformer.rl.ppo import PPO
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork

BETA, LR = 0.05, 1e-5


class Loop:
    passes = 5  # rollout, reference, update, and its backward pass

    def __init__(self, s: dict):
        self.s, self.lm = s, lang_setting.language_model(s)
        vocabulary = self.lm.config.vocab_size
        self.envs = make_envs(partial(EvenTokens, s["prompt"], s["tokens"], vocabulary), s["batch"])
        self.envs.reset(s["seed"])
        self.generator = torch.Generator(s["device"]).manual_seed(s["seed"])
        self.actor = LMActorNetwork(self.lm)
        match_tokens(self.actor, vocabulary)
        self.critic = self.actor.value_head()
        self.kl = KLPenalty(self.actor.reference(), BETA)
        self.ppo = PPO(self.actor, self.critic, PPOConfig(lr_actor=LR, update_epochs=1, minibatch_size=-1))

    def rollout(self) -> list[Segment]:
        return collect(self.envs, self.actor, episodes=self.s["batch"], critic=self.critic, generator=self.generator)

    def update(self, segments: list[Segment]) -> None:
        self.kl(segments)
        self.ppo.update(segments)


if __name__ == "__main__":
    lang_loop.answer(Loop)
