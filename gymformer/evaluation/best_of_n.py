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
    for group in groups:
        require_one_task(group)
    return [max(group, key=lambda segment: segment.episode_return or 0.0) for group in groups]


def kl_of_best_of_n(n: int) -> float:
    """log n - (n-1)/n nats: how far best-of-n is from the policy that it samples from, at most (arXiv:2112.09332, section 4;
    exact where no two samples are alike)."""
    return math.log(n) - (n - 1) / n


def require_one_task(group: list[Segment]) -> None:
    """Raises ValueError if these episodes do not begin alike."""
    first = group[0]
    assert first.row is not None and first.col is not None
    for other in group[1:]:
        assert other.col is not None
        begin, start = int(first.col[0]) + 1, int(other.col[0]) + 1
        if begin != start or first.rows[0][:begin].tolist() != other.rows[0][:start].tolist():
            raise ValueError("episodes that were reset with the same seed and options begin differently; the environment must draw from "
                             "self.np_random in reset(), or take its task from the options")  # fmt: skip
