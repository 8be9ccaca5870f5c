"""Segment: what one episode, or a piece of one, leaves behind."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Segment"]


@dataclass(slots=True)
class Segment:
    """T decisions in a row by one policy in one environment, and the state after the last.

    A segment is a whole episode, or a piece that the rollout cut; then the next piece goes on where it stopped. Plain
    arrays, so that a test can write one by hand and a worker can send one.

    What was read are T+1 vectors, or, in a token environment, one growing row of tokens (a further one for each time that
    the environment rewrote its history): state t is `rows[row[t]]` read up to and including index `col[t]`.
    """

    # (T+1, *observation_shape) float32: the states, the one after the last action included; or rows of tokens, (L,) int64 each.
    rows: np.ndarray | list[np.ndarray]
    actions: np.ndarray  # (T,) int64, (T, K) int64 or (T, D) float32, as the action distribution sampled them
    log_probs: np.ndarray  # (T,) float32: log π_old(a_t|s_t) of the distribution that really sampled
    rewards: np.ndarray  # (T,) what the environment paid; never overwritten
    terminated: bool  # the environment ended the episode; otherwise V(s_T) is bootstrapped
    row: np.ndarray | None = None  # (T+1,) int64, of token rows only
    col: np.ndarray | None = None  # (T+1,) int64, of token rows only
    values: np.ndarray | None = None  # (T+1,) float32: V(s_t) where the rollout's own pass computed it; the last may be unused
    legal: np.ndarray | None = None  # (T, A) bool: the actions that were legal, where the environment says so
    penalties: np.ndarray | None = None  # (T,) added to the rewards for learning: KL to a reference, safety, ...
    weights: np.ndarray | None = None  # (T,) what each advantage counts, where an older policy acted (`replay.reweighted`)
    group: int | None = None  # episodes of one number began alike: they share seed and options (`TokenEnvs.group_size`)
    reward_scale: float = 1.0  # rewards are learned from in this unit (reward normalisation)
    episode_return: float | None = None  # sum of the whole episode's rewards, where it ended here
    episode_length: int | None = None  # decisions of the whole episode, where it ended here
    # The environment's last info, where the episode ended here; its "safety" is summed over the episode.
    info: dict[str, Any] = field(default_factory=dict)
    # T numbers for each name, of token rows only: "reward/NAME", what this term of the reward paid, and "safety/POLICY", the
    # violations, at each decision. Rewards and penalties hold them already.
    noted: dict[str, list[float]] | None = None
    options: dict[str, Any] = field(default_factory=dict)  # what its reset was asked for, where the episode ended here
    replayed: bool = False  # from a file or paid anew: an update checks all its log_probs, not the first minibatch's alone

    def __len__(self) -> int:
        """T, the number of decisions."""
        return len(self.actions)

    @property
    def reads_tokens(self) -> bool:
        return self.row is not None

    @property
    def ended(self) -> bool:
        """The episode is over: terminated, or truncated by the environment. A piece that goes on has not ended."""
        return self.episode_return is not None

    @property
    def is_whole(self) -> bool:
        """A whole episode, from its first decision to its end."""
        return self.ended and self.episode_length == len(self)

    @property
    def learning_rewards(self) -> np.ndarray:
        """(T,) (rewards + penalties) · reward_scale: what the algorithm learns from."""
        rewards = np.asarray(self.rewards, dtype=np.float64)
        return (rewards if self.penalties is None else rewards + self.penalties) * self.reward_scale
