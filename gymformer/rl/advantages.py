"""How good an action, or an episode, was compared with what was expected."""

from collections.abc import Sequence

import numpy as np

__all__ = ["gae", "group_advantages", "leave_one_out", "rewards_to_go"]


def gae(rewards: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray, terminated: bool,
        gamma: float, lam: float) -> np.ndarray:  # fmt: skip
    """A_t = δ_t + γλ A_{t+1},  δ_t = r_t + γ V(s_{t+1}) - V(s_t)   (arXiv:1506.02438, eqs. 11 and 16).

    rewards: (T,); values: (T+1,), the last counted as 0 if the environment terminated the episode. Returns (T,) float32.
    """
    # Python floats: an array's element costs ten times as much to reach as a list's.
    rewards, values = np.asarray(rewards, np.float64).tolist(), np.asarray(values, np.float64).tolist()
    advantages, advantage = [0.0] * len(rewards), 0.0
    next_value = 0.0 if terminated else values[-1]
    for t in range(len(rewards) - 1, -1, -1):
        advantage = rewards[t] + gamma * next_value - values[t] + gamma * lam * advantage
        advantages[t] = advantage
        next_value = values[t]
    return np.array(advantages, np.float32)


def rewards_to_go(rewards: Sequence[float] | np.ndarray, gamma: float, beyond: float = 0.0) -> np.ndarray:
    """G_t = r_t + γ G_{t+1},  G_T = `beyond`: what the state after the last action is worth, 0 where the environment terminated
    the episode   (REINFORCE with rewards to go; Sutton and Barto, 2nd ed., section 13.3). rewards: (T,). Returns (T,) float32.
    """
    returns, after = [0.0] * len(rewards), float(beyond)
    plain = np.asarray(rewards, np.float64).tolist()
    for t in range(len(plain) - 1, -1, -1):
        after = returns[t] = plain[t] + gamma * after
    return np.array(returns, np.float32)


def leave_one_out(returns: Sequence[float] | np.ndarray) -> np.ndarray:
    """A_i = R_i - mean of the other R_j of the group = k/(k-1) (R_i - mean R)   (arXiv:2402.14740, eq. 8). (k,) -> (k,) float32;
    zeros where all are equal. Raises ValueError for a group of one."""
    if len(returns) < 2:
        raise ValueError(f"a group of {len(returns)} leaves nobody to compare with; give at least 2 returns")
    return (_centered(returns) * (len(returns) / (len(returns) - 1))).astype(np.float32)


def group_advantages(returns: Sequence[float] | np.ndarray, by_std: bool = True) -> np.ndarray:
    """A_i = (R_i - mean R) / std R   (arXiv:2402.03300, section 4.1.2), or, not `by_std`, R_i - mean R   (Dr. GRPO,
    arXiv:2503.20783, section 3.2). std is that of the group as a whole (divided by k). (k,) -> (k,) float32; zeros where all are
    equal. Raises ValueError for a group of one."""
    if len(returns) < 2:
        raise ValueError(f"a group of {len(returns)} leaves nobody to compare with; give at least 2 returns")
    centered = _centered(returns)
    return (centered / (np.sqrt(np.square(centered).mean()) + 1e-8) if by_std else centered).astype(np.float32)


def _centered(returns: Sequence[float] | np.ndarray) -> np.ndarray:
    """R - mean R in float64; exact zeros where all are equal, which the mean's rounding would blow up to ±1."""
    shifted = np.asarray(returns, np.float64)
    shifted = shifted - shifted[0]
    return shifted - shifted.mean()
