"""Replay: learning again from what was played, paid anew or weighted for another policy."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from gymformer.rl.errors import NonFiniteError
from gymformer.rl.kl import log_probs_of
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.segment import Segment

__all__ = ["rescored", "reweighted"]

Score = Callable[[Segment], float | Sequence[float] | np.ndarray]


def rescored(segments: list[Segment], score: Score) -> list[Segment]:
    """Copies that are paid anew; the segments stay as they are, and so do penalties and the reward's unit in the copies.

    `score(segment)` gives the rewards of its T decisions, or one number, which then is the episode's last reward in place of the
    one it had. Raises ValueError for a number of an episode that goes on, and for another count of rewards; NonFiniteError.
    """
    return [_paid(segment, np.asarray(score(segment), np.float64), i) for i, segment in enumerate(segments)]


def _paid(segment: Segment, paid: np.ndarray, i: int) -> Segment:
    before = np.asarray(segment.rewards, np.float64)
    if paid.ndim == 0 and not segment.ended:
        raise ValueError(f"the score of segment {i} is one number, for the episode's end, but the rollout cut this episode before "
                         f"it; return {len(segment)} rewards, or leave such segments out (Segment.ended)")  # fmt: skip
    rewards = np.append(before[:-1], paid) if paid.ndim == 0 else paid.copy()
    if rewards.shape != (len(segment),):
        raise ValueError(
            f"the score of segment {i} has shape {paid.shape}; one number, or {len(segment)} rewards, are expected"
        )
    if not np.isfinite(rewards).all():
        raise NonFiniteError("reward", f"the score of segment {i} is not finite: {paid}", {"rewards": rewards})
    total = segment.episode_return
    if total is not None:  # a whole episode's is the plain sum; of another, its earlier pieces are paid as before
        total = float(rewards.sum() if segment.is_whole else total - before.sum() + rewards.sum())
    return replace(segment, rewards=rewards, episode_return=total, replayed=True)


def reweighted(segments: list[Segment], actor: ActorNetwork, max_ratio: float = 2.0) -> tuple[list[Segment], dict[str, float]]:
    """Copies from which `actor` can learn although an older policy π_b, or another, has played them; and how far apart they are.

    Each decision gets the truncated importance weight  w_t = min(π(a_t|s_t) / π_b(a_t|s_t), c),  c = `max_ratio`
    (arXiv:1802.01561, section 4), by which algorithms multiply its advantage, and log π(a_t|s_t) in place of log π_b, so that
    the update's ratio starts at one and PPO clips around the present policy, as the decoupled objective of arXiv:2110.00641
    does. Values that the rollout computed are left out, for the critic has learned since.

    Without truncation the gradient is in expectation that of the present policy where an episode is one decision. In longer ones
    the states, and what was paid after an action, still are the older policy's, and so are the critic's targets
    (arXiv:1205.4839); entropy and divergences are not weighted, and penalties stay. So segments shall not be much older than
    the actor: `effective_sample_size` says how much of them counts. Raises ValueError for segments that have such weights already.
    """
    if not segments or not 0 < max_ratio < math.inf:
        raise ValueError(
            f"{len(segments)} segments and max_ratio={max_ratio}; at least one, and a finite number above 0, are expected"
        )
    if any(segment.weights is not None for segment in segments):
        raise ValueError("segments that are weighted already cannot be weighted anew, for their log_probs are no longer those of the "
                         "policy that acted; give the ones that were collected or loaded")  # fmt: skip
    lengths = [len(segment) for segment in segments]
    log_probs = log_probs_of(actor, segments).cpu()
    log_ratio = log_probs.double() - torch.from_numpy(np.concatenate([segment.log_probs for segment in segments]))
    if not torch.isfinite(log_ratio).all():
        raise NonFiniteError("network output", "log π of the actor, or of the policy that acted, is not finite for some decision",
                             {"log_probs": log_probs, "log_ratio": log_ratio})  # fmt: skip
    weights = log_ratio.exp().clamp(max=max_ratio).float()  # (N,)
    copies = [
        replace(segment, log_probs=now.numpy(), weights=w.numpy(), values=None, replayed=False)
        for segment, now, w in zip(segments, log_probs.split(lengths), weights.split(lengths), strict=True)
    ]
    squares = float(weights.square().sum())
    return copies, {
        "importance_mean": float(weights.mean()),
        "importance_clipped": float((log_ratio > math.log(max_ratio)).float().mean()),
        "effective_sample_size": float(weights.sum()) ** 2 / (len(weights) * squares) if squares else 0.0,
    }
