"""How good an action was, compared with what was expected: generalised advantage estimation."""

from collections.abc import Sequence

import numpy as np

__all__ = ["gae"]


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
