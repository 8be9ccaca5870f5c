"""PPO on a language model, written by hand in a straight line: a value head on the trunk, a reference, transformers' cache.

The yardstick: what a person gets who writes the loop for just this model and nothing else.
"""

import copy
from dataclasses import dataclass

import lang_loop
import lang_setting
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

GAMMA, LAM, EPS, BETA, VALUE_COEF, LR, MAX_NORM = 1.0, 0.95, 0.2, 0.05, 0.5, 1e-5, 0.5


@dataclass
class Rollout:
    """B continuations of T tokens."""

    tokens: Tensor  # (B, P + T)
    log_probs: Tensor  # (B, T)
    values: Tensor  # (B, T), of the state before each sampled token
    rewards: Tensor  # (B,), for the whole


class Loop:
    """Policy with a value head, its frozen reference, and the optimiser."""

    passes = 5  # rollout, reference, update, and its backward pass

    def __init__(self, s: dict):
        self.s, self.prompts = s, lang_setting.prompts(s)
        self.lm = lang_setting.language_model(s)
        self.reference = copy.deepcopy(self.lm).requires_grad_(False)
        self.head = nn.Linear(self.lm.config.hidden_size, 1, device=s["device"])
        self.parameters = [*self.lm.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LR, eps=1e-5, fused=True)

    @torch.no_grad()
    def rollout(self) -> Rollout:
        """Samples; every token is read once."""
        cache, block, tokens, log_probs, values = DynamicCache(config=self.lm.config), self.prompts, [self.prompts], [], []
        for _ in range(self.s["tokens"]):
            hidden = self.lm.base_model(block, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]  # (B, D)
            all_log_probs = self.lm.lm_head(hidden).float().log_softmax(-1)  # (B, V)
            block = torch.multinomial(all_log_probs.exp(), 1)
            tokens.append(block)
            log_probs.append(all_log_probs.gather(1, block))
            values.append(self.head(hidden.float()))
        tokens = torch.cat(tokens, 1)
        rewards = (tokens[:, self.s["prompt"] :] % 2 == 0).float().mean(1)
        return Rollout(tokens, torch.cat(log_probs, 1), torch.cat(values, 1), rewards)

    def read(self, lm: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """log π of each sampled token (B, T), and the hidden state before it (B, T, D), in one pass over the rows."""
        sampled = tokens[:, self.s["prompt"] :]
        hidden = lm.base_model(tokens[:, :-1], use_cache=False).last_hidden_state[:, self.s["prompt"] - 1 :]
        logits = lm.lm_head(hidden).float()
        return -F.cross_entropy(logits.flatten(0, 1), sampled.flatten(), reduction="none").view_as(sampled), hidden

    @torch.no_grad()
    def advantages(self, r: Rollout) -> Tensor:
        """A_t = δ_t + γλ A_{t+1}, of the score at the end and -β (log π - log π_ref) everywhere. (B, T)."""
        rewards = -BETA * (r.log_probs - self.read(self.reference, r.tokens)[0])
        rewards[:, -1] += r.rewards
        later, following, advantages = torch.zeros_like(r.rewards), torch.zeros_like(r.rewards), torch.empty_like(rewards)
        for t in range(rewards.shape[1] - 1, -1, -1):
            later = rewards[:, t] + GAMMA * following - r.values[:, t] + GAMMA * LAM * later
            advantages[:, t], following = later, r.values[:, t]
        return advantages

    def update(self, r: Rollout) -> None:
        """One clipped step of everything together."""
        advantages = self.advantages(r)
        returns = advantages + r.values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_probs, hidden = self.read(self.lm, r.tokens)
        ratio = (log_probs - r.log_probs).exp()
        objective = torch.minimum(ratio * advantages, ratio.clamp(1 - EPS, 1 + EPS) * advantages).mean()
        value_loss = (self.head(hidden.float()).squeeze(-1) - returns).square().mean()
        self.optimizer.zero_grad()
        (VALUE_COEF * value_loss - objective).backward()
        nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self.optimizer.step()


if __name__ == "__main__":
    lang_loop.answer(Loop)
