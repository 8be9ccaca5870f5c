"""Best of n: an agent that answers n times and keeps what the environment pays most for."""

import math
from typing import Any

from gymformer.evaluation.evaluate import play_tokens
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.envs import EnvSource
from gymformer.rl.segment import Segment

__all__ = ["best_of_n", "kl_of_best_of_n"]


def best_of_n(agent: TrainedAgent, env: EnvSource | None = None, n: int = 4, *, episodes: int = 100, seed: int = 0,
              env_kwargs: dict[str, Any] | None = None) -> list[Segment]:  # fmt: skip
    """For each of `episodes` questions the best paid of n sampled episodes. Raises ValueError if questions differ within a group."""
    if n < 1 or episodes < 1:
        raise ValueError(f"n={n}, episodes={episodes}; both must be at least 1")
    segments = play_tokens(agent, env, episodes=n * episodes, seed=seed, env_kwargs=env_kwargs, group_size=n)
    groups = [segments[start : start + n] for start in range(0, len(segments), n)]
    return [max(group, key=lambda segment: segment.episode_return or 0.0) for group in groups]


def kl_of_best_of_n(n: int) -> float:
    """log n - (n-1)/n nats: how far best-of-n is from the policy that it samples from, at most (arXiv:2112.09332, section 4;
    exact where no two samples are alike)."""
    return math.log(n) - (n - 1) / n
