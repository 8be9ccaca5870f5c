"""GRPO and RLOO on a language model, written by hand in a straight line: no critic, transformers' cache, a prompt read once for its
group. The yardstick: what a person gets who writes the loop for just this model and nothing else."""

import copy
from dataclasses import dataclass

import lang_loop
import lang_setting
import torch
from lang_setting import GROUP
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

EPS, BETA, LR, MAX_NORM = 0.2, 0.05, 1e-6, 1.0  # TRL's


@dataclass
class Rollout:
    """B continuations of T tokens, GROUP of each prompt in a row."""

    tokens: Tensor  # (B, P + T)
    log_probs: Tensor  # (B, T)
    rewards: Tensor  # (B,), for the whole


class Loop:
    """Policy, optimiser and, of RLOO, a frozen reference."""

    def __init__(self, s: dict):
        self.s, self.prompts = s, lang_setting.prompts(s | {"batch": s["batch"] // GROUP})
        self.lm = lang_setting.language_model(s)
        self.reference = None if s["algorithm"] == "grpo" else copy.deepcopy(self.lm).requires_grad_(False)
        self.passes = 4 if self.reference is None else 5
        self.optimizer = torch.optim.AdamW(self.lm.parameters(), lr=LR, fused=True)

    @torch.inference_mode()
    def rollout(self) -> Rollout:
        """Samples; every token is read once, and a prompt once for all that go on from it."""
        cache, block, log_probs = DynamicCache(config=self.lm.config), self.prompts, []
        tokens = [self.prompts.repeat_interleave(GROUP, 0)]
        for t in range(self.s["tokens"]):
            hidden = self.lm.base_model(block, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]  # (B, D)
            if t == 0:
                cache.batch_repeat_interleave(GROUP)
                hidden = hidden.repeat_interleave(GROUP, 0)
            all_log_probs = self.lm.lm_head(hidden).float().log_softmax(-1)  # (B, V)
            block = torch.multinomial(all_log_probs.exp(), 1)
            tokens.append(block)
            log_probs.append(all_log_probs.gather(1, block))
        tokens = torch.cat(tokens, 1)
        return Rollout(tokens, torch.cat(log_probs, 1), (tokens[:, self.s["prompt"] :] % 2 == 0).float().mean(1))

    def read(self, lm: nn.Module, tokens: Tensor) -> Tensor:
        """log π of each sampled token (B, T), in one pass over the rows."""
        sampled = tokens[:, self.s["prompt"] :]
        hidden = lm.base_model(tokens[:, :-1], use_cache=False).last_hidden_state[:, self.s["prompt"] - 1 :]
        logits = lm.lm_head(hidden).float()
        return -F.cross_entropy(logits.flatten(0, 1), sampled.flatten(), reduction="none").view_as(sampled)

    @torch.no_grad()
    def advantages(self, r: Rollout) -> Tensor:
        """What is better in an episode than in its group, (B,): (R - mean)/std of GRPO; of RLOO R - mean of the others, where R
        has lost β log π/π_ref."""
        if self.reference is None:
            of_group = r.rewards.view(-1, GROUP)
            centered = of_group - of_group.mean(1, keepdim=True)
            return (centered / (of_group.std(1, correction=0, keepdim=True) + 1e-8)).flatten()
        rewards = r.rewards - BETA * (r.log_probs - self.read(self.reference, r.tokens)).sum(1)
        of_group = rewards.view(-1, GROUP)
        return (of_group - (of_group.sum(1, keepdim=True) - of_group) / (GROUP - 1)).flatten()

    def update(self, r: Rollout) -> None:
        """One step: clipped ratios of GRPO, the plain gradient of RLOO."""
        advantages, tokens = self.advantages(r)[:, None], r.tokens.clone()  # what inference made cannot be differentiated
        log_probs = self.read(self.lm, tokens)
        if self.reference is None:
            ratio = (log_probs - r.log_probs.clone()).exp()
            loss = -torch.minimum(ratio * advantages, ratio.clamp(1 - EPS, 1 + EPS) * advantages).mean()
        else:
            loss = -(log_probs * advantages).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.lm.parameters(), MAX_NORM)
        self.optimizer.step()


if __name__ == "__main__":
    lang_loop.answer(Loop)
