"""From a network's output to a distribution over actions: sampling, log-probability, entropy."""

import math
from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["ActionDistribution", "Categorical", "DiagonalGaussian", "MultiCategorical", "distribution_for"]


FEW = 64  # actions; with more, drawing a number for each costs more than the probabilities' running sum (benchmarks/README.md)


class ActionDistribution(nn.Module):
    """A family of distributions over the actions of one space, indexed by a network's outputs (N, num_outputs).

    It is a module because it may hold parameters of its own (a Gaussian's spread), which are trained and saved with the
    actor. `legal` is (N, num_outputs) bool or None; an action that is not legal has probability 0 in every method alike.
    """

    num_outputs: int
    action_shape: tuple[int, ...] = ()  # of one sampled action
    action_dtype: type = np.int64
    takes_masks: bool = True

    @abstractmethod
    def sample(self, outputs: Tensor, generator: torch.Generator | None, legal: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Actions, one for each row, and their log-probabilities (N,)."""

    @abstractmethod
    def mode(self, outputs: Tensor, legal: Tensor | None = None) -> Tensor:
        """The likeliest action of each row."""

    @abstractmethod
    def log_probs_and_entropy(self, outputs: Tensor, actions: Tensor, legal: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """log π(a|s) and H(π(·|s)), both (N,), in nats."""

    @abstractmethod
    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """(N, ...) sampled actions as the environment takes them, one a row."""


class Categorical(ActionDistribution):
    """One of `n` actions, from logits (N, n) divided by `temperature`. `start` is what the environment calls the first.

    `top_k` and `top_p` narrow what may be sampled (`narrowed`): the rollout stores the narrowed set as legal actions, so that
    the update compares the same distributions however the logits move.
    """

    def __init__(self, n: int, start: int = 0, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None):
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature={temperature}; it must be greater than 0 (greedy play is greedy=True)")
        if top_k is not None and not (isinstance(top_k, int | np.integer) and top_k >= 1):
            raise ValueError(f"top_k={top_k}; it must be a whole number of at least 1, or None for all tokens")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"top_p={top_p}; it must lie in (0, 1], or be None for all tokens")
        self.num_outputs, self.start = n, start
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p

    def narrowed(self, outputs: Tensor, legal: Tensor | None) -> Tensor | None:
        """(N, n) bool: the legal actions that top-k and then top-p leave; `legal` itself where neither is set.

        Top-k keeps the k likeliest actions, top-p the fewest of these whose probability reaches p (arXiv:1904.09751); ties
        at the edge are kept.
        """
        if self.top_k is None and self.top_p is None:
            return legal
        log_probs = self._log_probs(outputs, legal)
        if self.top_k is not None and self.top_k < self.num_outputs:
            edge = log_probs.topk(self.top_k, dim=-1).values[:, -1:]
            log_probs = torch.log_softmax(log_probs.masked_fill(log_probs < edge, -math.inf), dim=-1)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = log_probs.sort(dim=-1, descending=True)
            before = ordered.exp().cumsum(-1) - ordered.exp()  # the probability of all likelier actions
            dropped = (before >= self.top_p).scatter(-1, order, before >= self.top_p)
            log_probs = log_probs.masked_fill(dropped, -math.inf)
        return log_probs > -math.inf

    def _logits(self, outputs: Tensor) -> Tensor:
        """(N, n). Outputs beyond n, with which some models pad their vocabulary, are left out."""
        logits = outputs if outputs.shape[1] == self.num_outputs else outputs[:, : self.num_outputs]
        return logits if self.temperature == 1 else precise(logits) / self.temperature

    def _log_probs(self, outputs: Tensor, legal: Tensor | None) -> Tensor:
        return _log_probs(self._logits(outputs), legal)

    def sample(self, outputs, generator, legal=None):
        log_probs = self._log_probs(outputs, legal)
        if self.num_outputs <= FEW:
            # Gumbel-max: argmax of log p - log E, E ~ Exp(1), is a sample of p (Maddison et al., arXiv:1411.0030).
            actions = (log_probs - torch.empty_like(log_probs).exponential_(generator=generator).log_()).argmax(-1)
        else:  # inversion: the first action whose cumulative probability exceeds u ~ U[0, 1); one draw a row instead of n
            cumulative = log_probs.double().exp_().cumsum(-1)
            u = torch.rand((len(log_probs), 1), generator=generator, dtype=torch.float64, device=log_probs.device)
            actions = (
                torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True).squeeze(-1).clamp_(max=self.num_outputs - 1)
            )
        return actions, log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def mode(self, outputs, legal=None):
        return self._log_probs(outputs, legal).argmax(-1)

    def log_probs_and_entropy(self, outputs, actions, legal=None):
        log_probs, entropy = LogProbsAndEntropy.apply(self._logits(outputs), actions, legal)  # type: ignore[misc]
        return log_probs, entropy

    def to_env(self, actions):
        return actions + self.start if self.start else actions


class LogProbsAndEntropy(torch.autograd.Function):
    """log π(a|s) and H(π(·|s)), both (N,), of logits (N, n).

    One function because autograd would keep four copies of the (N, n) probabilities where one is enough. With p = softmax(z):
    ∂ log p_a/∂z_j = 1[j = a] - p_j and ∂H/∂z_j = -p_j (log p_j + H). Tested equal to the plain formulas.
    """

    @staticmethod
    def forward(ctx, logits, actions, legal):
        log_probs = _log_probs(logits, legal)
        entropy = _entropy(log_probs, legal)
        ctx.save_for_backward(log_probs, actions, entropy)
        ctx.set_materialize_grads(False)
        ctx.dtype = logits.dtype
        return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_log_probs, grad_entropy):  # type: ignore[override]  # the names of the two outputs
        log_probs, actions, entropy = ctx.saved_tensors
        gradient = log_probs.exp()  # written over from here on: with a large vocabulary every copy costs
        of_log_prob = torch.zeros_like(entropy) if grad_log_probs is None else grad_log_probs
        if grad_entropy is None:
            gradient.mul_(-of_log_prob.unsqueeze(-1))
        else:  # an action of probability 0 has log p = -inf, and adds 0
            surprise = log_probs.clamp(min=-1e30).add_(entropy.unsqueeze(-1))
            gradient.mul_(surprise.mul_(-grad_entropy.unsqueeze(-1)).sub_(of_log_prob.unsqueeze(-1)))
        gradient.scatter_add_(-1, actions.unsqueeze(-1), of_log_prob.unsqueeze(-1))
        return gradient.to(ctx.dtype), None, None


class MultiCategorical(ActionDistribution):
    """K independent choices, component k one of sizes[k]; logits (N, Σ sizes), actions (N, K)."""

    def __init__(self, sizes: list[int], start: np.ndarray | None = None, shape: tuple[int, ...] | None = None):
        super().__init__()
        self.sizes, self.num_outputs, self.action_shape = list(sizes), sum(sizes), (len(sizes),)
        self.shape = shape or (len(sizes),)
        self.start = np.zeros(self.shape, np.int64) if start is None else np.asarray(start)
        self.parts = [Categorical(size) for size in self.sizes]

    def _split(self, outputs: Tensor, legal: Tensor | None) -> list[tuple[Categorical, Tensor, Tensor | None]]:
        masks = [None] * len(self.sizes) if legal is None else legal.split(self.sizes, dim=-1)
        return list(zip(self.parts, outputs.split(self.sizes, dim=-1), masks, strict=True))

    def sample(self, outputs, generator, legal=None):
        actions, log_probs = zip(*(part.sample(o, generator, m) for part, o, m in self._split(outputs, legal)), strict=True)
        return torch.stack(actions, dim=-1), torch.stack(log_probs, dim=-1).sum(-1)

    def mode(self, outputs, legal=None):
        return torch.stack([part.mode(o, m) for part, o, m in self._split(outputs, legal)], dim=-1)

    def log_probs_and_entropy(self, outputs, actions, legal=None):
        pairs = [
            part.log_probs_and_entropy(o, a, m)
            for (part, o, m), a in zip(self._split(outputs, legal), actions.unbind(-1), strict=True)
        ]
        log_probs, entropies = zip(*pairs, strict=True)
        return torch.stack(log_probs, dim=-1).sum(-1), torch.stack(entropies, dim=-1).sum(-1)

    def to_env(self, actions):
        return (actions.reshape(-1, *self.shape) + self.start).astype(self.start.dtype)


class DiagonalGaussian(ActionDistribution):
    """D independent Gaussians. Outputs are the means (N, D), the spread is learned and the same in every state; or, with
    `state_dependent_std`, means and log standard deviations (N, 2D).

    Between finite bounds an action is sampled in units of half the range around its middle, so mean 0 and spread 1 cover
    any bounds alike; `to_env` puts it into the environment's units and clips it. What is stored, and what the
    log-probability is of, is the unclipped sample: the density that really sampled (clipping is part of the environment).
    """

    takes_masks = False
    action_dtype = np.float32

    def __init__(self, low: np.ndarray, high: np.ndarray, log_std: float = 0.0, state_dependent_std: bool = False):
        super().__init__()
        self.low, self.high = np.asarray(low), np.asarray(high)  # of the space's own type, which `to_env` gives
        low, high = self.low.astype(np.float32), self.high.astype(np.float32)
        bounded = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):  # inf - inf where there are no bounds
            self.center = np.where(bounded, low / 2 + high / 2, 0).astype(np.float32)
            self.scale = np.where(bounded, high / 2 - low / 2, 1).astype(np.float32)
        self.dim = self.low.size
        self.action_shape = (self.dim,)
        self.num_outputs = 2 * self.dim if state_dependent_std else self.dim
        self.log_std = None if state_dependent_std else nn.Parameter(torch.full((self.dim,), float(log_std)))

    def _mean_and_log_std(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.log_std is None:
            mean, log_std = outputs.split(self.dim, dim=-1)
            return mean, log_std
        return outputs, self.log_std.expand_as(outputs)

    @staticmethod
    def _log_density(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        """log N(a; μ, σ²) = -((a - μ)/σ)²/2 - log σ - log(2π)/2, summed over the D components; (N,)."""
        z = (actions - mean) * torch.exp(-log_std)
        return (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, outputs, generator, legal=None):
        mean, log_std = self._mean_and_log_std(outputs)
        noise = torch.empty_like(mean).normal_(generator=generator)
        actions = mean + log_std.exp() * noise
        return actions, self._log_density(actions, mean, log_std)

    def mode(self, outputs, legal=None):
        return self._mean_and_log_std(outputs)[0]

    def log_probs_and_entropy(self, outputs, actions, legal=None):
        mean, log_std = self._mean_and_log_std(outputs)
        entropy = (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
        return self._log_density(actions, mean, log_std), entropy

    def to_env(self, actions):
        in_units = actions.reshape(-1, *self.low.shape) * self.scale + self.center
        return np.clip(in_units, self.low, self.high).astype(self.low.dtype)


def distribution_for(space: gym.Space, num_outputs: int | None = None) -> ActionDistribution:
    """The distribution over `space`. `num_outputs`, where known, is checked, and may choose a state-dependent spread."""
    distribution = _distribution_for(space)
    if isinstance(distribution, DiagonalGaussian) and num_outputs == 2 * distribution.dim:
        distribution = DiagonalGaussian(distribution.low, distribution.high, state_dependent_std=True)
    if num_outputs not in (None, distribution.num_outputs):
        raise ValueError(f"the actor has {num_outputs} outputs, but the action space {space} needs {distribution.num_outputs}; "
                         f"give the actor {distribution.num_outputs} outputs, or actor=None to have one built")  # fmt: skip
    return distribution


def _distribution_for(space: gym.Space) -> ActionDistribution:
    match space:
        case spaces.Discrete():
            return Categorical(int(space.n), int(space.start))
        case spaces.MultiDiscrete():
            return MultiCategorical(space.nvec.reshape(-1).tolist(), np.asarray(space.start), space.nvec.shape)
        case spaces.MultiBinary():
            return MultiCategorical([2] * int(np.prod(space.shape)), shape=space.shape)
        case spaces.Box(dtype=dtype) if np.issubdtype(dtype, np.floating):
            return DiagonalGaussian(space.low, space.high)
    raise TypeError(f"no policy over the action space {space}; actions may be Discrete, MultiDiscrete, MultiBinary, or a Box "
                    "of floats. Wrap the environment in gymnasium.wrappers.TransformAction to turn it into one of "
                    "them")  # fmt: skip


def precise(logits: Tensor) -> Tensor:
    """In float32, or float64 where they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log_probs(logits: Tensor, legal: Tensor | None) -> Tensor:
    """(N, n) log-softmax over the legal actions, in float32 at least whatever the network's type; -inf where not legal."""
    logits = precise(logits)
    return torch.log_softmax(logits if legal is None else logits.masked_fill(~legal, -math.inf), dim=-1)


def _entropy(log_probs: Tensor, legal: Tensor | None) -> Tensor:
    """H = -Σ p log p over the legal actions, (N,): 0 · -inf is 0 here, as its limit is."""
    finite = log_probs if legal is None else log_probs.masked_fill(~legal, 0.0)
    return log_probs.exp().mul_(finite).sum(-1).neg_()


def check_masks(legal: Any, count: int, num_outputs: int) -> np.ndarray:
    """(count, num_outputs) bool; raises ValueError for another shape or a row without a legal action."""
    mask = np.asarray(legal, dtype=bool).reshape(count, -1)
    if mask.shape[1] != num_outputs:
        raise ValueError(f"an action mask of {mask.shape[1]} entries came, but the policy has {num_outputs} logits; the mask "
                         "needs one entry for each action (MultiDiscrete: the components' masks one after another)")  # fmt: skip
    if not mask.any(axis=1).all():
        row = int(np.flatnonzero(~mask.any(axis=1))[0])
        raise ValueError(f"the action mask of environment {row} allows no action; an environment whose episode is not over "
                         "must leave at least one action legal")  # fmt: skip
    return mask


def flat_mask(mask: Any) -> np.ndarray:
    """One environment's mask as a vector: Tuple-shaped masks (MultiDiscrete) one component after another."""
    if isinstance(mask, tuple | list) and len(mask) and np.ndim(mask[0]):
        return np.concatenate([np.asarray(part).reshape(-1) for part in mask])
    return np.asarray(mask).reshape(-1)
