"""Token environments of a few lines, and small language models, that several tests need."""

import random
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymformer.rl.batch import per_decision
from gymformer.rl.kl import log_probs_of
from gymformer.rl.networks import ActorNetwork, match_tokens
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import tiny_lm

ARCHITECTURES = ("gpt2", "llama", "qwen2")
TOKENS = 12


class Chatter(gym.Env):
    """Random prompts and lengths; some episodes terminate and some are truncated. A step after the end, an action that is not a
    plain int, and one that is not legal raise.

    `replies`: now and then the environment appends up to four tokens of its own. `rewrites`: now and then the two oldest tokens
    leave. `masks`: every other token is legal, told by "info", by the "method" action_masks(), or by the info of "odd" lengths.
    The info of an episode's last step holds every observation that was `seen`, and the `seed` of the reset.
    """

    def __init__(self, replies: bool = True, rewrites: bool = False, masks: str | None = None, longest: int = 8,
                 num_tokens: int = TOKENS):  # fmt: skip
        self.action_space = spaces.Discrete(num_tokens)
        self.observation_space = spaces.Sequence(self.action_space)
        self.replies, self.rewrites, self.masks, self.longest = replies, rewrites, masks, longest
        if masks == "method":
            self.action_masks = self.legal

    def legal(self) -> np.ndarray:
        return (np.arange(self.action_space.n) + len(self.tokens)) % 2 == 0

    def drawn(self, most: int) -> tuple[int, ...]:
        count = int(self.np_random.integers(1, most + 1))
        return tuple(map(int, self.np_random.integers(0, self.action_space.n, count)))

    def told(self) -> bool:
        return self.masks in ("info", "method") or (self.masks == "odd" and len(self.tokens) % 2 == 1)

    def look(self) -> tuple[tuple[int, ...], dict[str, Any]]:
        self.seen.append(self.tokens)
        info = {"seen": self.seen, "seed": self.seed_given}
        return self.tokens, info | ({"action_mask": self.legal()} if self.told() and self.masks != "method" else {})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.seed_given, self.tokens, self.seen = seed, self.drawn(6), []
        self.left = int(self.np_random.integers(1, self.longest + 1))
        self.terminates = bool(self.np_random.integers(2))
        return self.look()

    def step(self, action):
        assert self.left > 0, "a step after the episode's end"
        assert type(action) is int and self.action_space.contains(action)
        assert not self.told() or self.legal()[action], f"token {action} is illegal"
        self.tokens, self.left = (*self.tokens, action), self.left - 1
        if self.replies and self.np_random.random() < 0.4:
            self.tokens += self.drawn(4)
        if self.rewrites and len(self.tokens) > 4 and self.np_random.random() < 0.3:
            self.tokens = self.tokens[2:]
        over, (observation, info) = self.left == 0, self.look()
        return observation, float(self.np_random.normal()), over and self.terminates, over and not self.terminates, info


class Tutorial(gym.Env):
    """What one writes after reading Gymnasium's tutorial: the very list grows that was returned before, it is a list and not a
    tuple, the reward is 0 and not 0.0, and the prompt is drawn from `random`, whatever the seed."""

    END, LIMIT = 0, 6

    def __init__(self):
        self.action_space = spaces.Discrete(TOKENS)
        self.observation_space = spaces.Sequence(spaces.Discrete(TOKENS))

    def reset(self, seed=None, options=None):
        self.tokens = [random.randrange(1, TOKENS) for _ in range(random.randint(1, 4))]
        self.new = 0
        return self.tokens, {}

    def step(self, action):
        assert isinstance(action, int) and not isinstance(action, np.generic)
        self.tokens.append(action)
        self.new += 1
        done = action == self.END or self.new == self.LIMIT
        reward = 0
        if done:
            reward = self.tokens.count(1)
        return self.tokens, reward, done, False, {}


class Counting(gym.Env):
    """Prompt 0 0; every step pays 1; ends (terminated, truncated, or never) after `length` steps. Observation: the tokens so
    far, or, with `blind`, the prompt for ever."""

    action_space = spaces.Discrete(4)
    observation_space = spaces.Sequence(spaces.Discrete(4))

    def __init__(self, length: int = 8, terminates: bool = False, blind: bool = False):
        self.length, self.terminates, self.blind = length, terminates, blind

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.tokens = 0, (0, 0)
        return self.tokens, {}

    def step(self, action):
        self.t += 1
        if not self.blind:
            self.tokens = (*self.tokens, action)
        over = self.t == self.length
        return self.tokens, 1.0, over and self.terminates, over and not self.terminates, {}


class TokenBandit(gym.Env):
    """One token an episode, after the prompt 0; token a pays pays[a]."""

    def __init__(self, pays: tuple[float, ...] = (0.0, 0.5, 1.0, 0.2)):
        self.pays, self.action_space = pays, spaces.Discrete(len(pays))
        self.observation_space = spaces.Sequence(self.action_space)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return (0,), {}

    def step(self, action):
        return (0, action), self.pays[action], True, False, {}


class Increasing(gym.Env):
    """Four digits of 0 to 8 after the prompt 9; each that is greater than the one before pays 1/4, the first always does."""

    LENGTH = 4
    action_space = spaces.Discrete(10)
    observation_space = spaces.Sequence(spaces.Discrete(10))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.tokens = (9,)
        return self.tokens, {}

    def step(self, action):
        before = self.tokens[-1] if len(self.tokens) > 1 else -1
        self.tokens = (*self.tokens, action)
        reward = (before < action < 9) / self.LENGTH
        return self.tokens, reward, len(self.tokens) == self.LENGTH + 1, False, {}


class Doors(gym.Env):
    """The prompt is 0 or 1. Token 2 pays 0.2 and ends the episode; token 3 pays nothing and is answered by 4 4, and then the
    prompt's token pays 1. All else pays 0 and ends. The best that can be done is 3 and the prompt: 1."""

    action_space = spaces.Discrete(5)
    observation_space = spaces.Sequence(spaces.Discrete(5))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.tokens = (int(self.np_random.integers(2)),)
        return self.tokens, {}

    def step(self, action):
        first = len(self.tokens) == 1
        self.tokens = (*self.tokens, action)
        if first and action == 3:
            self.tokens += (4, 4)
            return self.tokens, 0.0, False, False, {}
        return self.tokens, 0.2 if first and action == 2 else float(not first and action == self.tokens[0]), True, False, {}


class Table(nn.Module):
    """What the last token says: a row of a table for each; any module that reads tokens (B, L)."""

    def __init__(self, num_tokens: int, outputs: int, seed: int = 0, scale: float = 1.0):
        super().__init__()
        self.table = nn.Embedding(num_tokens, outputs)
        with torch.no_grad():
            self.table.weight.copy_(scale * torch.randn(num_tokens, outputs, generator=torch.Generator().manual_seed(seed)))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table(tokens[:, -1])


def sharp_lm(architecture: str = "gpt2", num_tokens: int = TOKENS, factor: float = 12.0, **settings) -> nn.Module:
    """A tiny model whose weights are so large that every token it reads matters: with fresh ones all actions are equally
    likely to 1e-2, and a wrong position or mask would hardly show."""
    lm = tiny_lm(num_tokens, architecture, **{"context": 64, "width": 16} | settings)
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)
    return lm


def lm_actor(architecture: str = "gpt2", num_tokens: int = TOKENS, lora: Any = None, dtype: torch.dtype | None = None,
             model: dict[str, Any] | None = None, **settings) -> LMActorNetwork:  # fmt: skip
    """A sharp model as an actor over `num_tokens` tokens; its LoRA adapter, if any, is not zero, and the same every time."""
    lm = sharp_lm(architecture, num_tokens, **model or {})
    actor = LMActorNetwork(lm if dtype is None else lm.to(dtype), lora=lora, **settings)
    if lora is not None:
        randomize(actor, "lora_")
    match_tokens(actor, num_tokens)
    return actor


def randomize(network: nn.Module, part: str, scale: float = 0.3) -> None:
    """Small random values in all parameters whose names contain `part`."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if part in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def with_value_head(actor: LMActorNetwork):
    """The actor and a value head on it whose values are not zero."""
    head = actor.value_head()
    randomize(head, "head")
    return actor, head


def stored_and_recomputed(actor: ActorNetwork, segments: list[Segment]) -> tuple[Tensor, Tensor]:
    """log π(a|s) of all decisions, (N,), as the rollout stored them, and as a pass over the whole rows computes them now."""
    return per_decision(segments, "log_probs"), log_probs_of(actor, segments)
