"""Episodes of one task, compared with each other."""

from collections.abc import Callable

import numpy as np

from gymformer.rl.segment import Segment

__all__ = ["compared", "group_statistics", "per_segment"]


def compared(segments: list[Segment], compare: Callable[[np.ndarray], np.ndarray], algorithm: str) -> np.ndarray:
    """One advantage for each segment, (len(segments),) float32: `compare` of the learning returns of its group.

    An episode that the rollout cut, or that is alone in its group (as at the end of a budget), has nothing to be compared with:
    its advantage is 0. Raises ValueError for segments without a group, and for a group whose episodes begin differently.
    """
    if not segments:
        raise ValueError("there are no segments to learn from; collect more episodes before an update")
    if any(segment.group is None for segment in segments):
        raise ValueError(f"{algorithm} compares episodes of one task, but {sum(s.group is None for s in segments)} of {len(segments)} segments "
                         "belong to no group; set TokenEnvs.group_size before collecting (train_agent does), or Segment.group of episodes "
                         "that began alike")  # fmt: skip
    advantages = np.zeros(len(segments), np.float32)
    for members in groups_of(segments):
        if len(members) > 1:
            require_one_task([segments[i] for i in members])
            advantages[members] = compare(np.array([segments[i].learning_rewards.sum() for i in members]))
    return advantages


def groups_of(segments: list[Segment]) -> list[list[int]]:
    """The whole episodes of each group, as places in the list."""
    groups: dict[int, list[int]] = {}
    for i, segment in enumerate(segments):
        if segment.group is not None and segment.is_whole:
            groups.setdefault(segment.group, []).append(i)
    return list(groups.values())


def group_statistics(segments: list[Segment]) -> dict[str, float]:
    """Groups of at least two whole episodes, and the share of them whose episodes are not all paid alike: the others teach
    nothing (arXiv:2503.14476, section 3.2)."""
    returns = [
        [float(segments[i].learning_rewards.sum()) for i in members] for members in groups_of(segments) if len(members) > 1
    ]
    differing = sum(max(of_group) > min(of_group) for of_group in returns)
    return {"groups": float(len(returns)), "groups_that_differ": differing / max(1, len(returns))}


def per_segment(values: np.ndarray, segments: list[Segment]) -> np.ndarray:
    """A value of each segment, for each of its decisions: (N,)."""
    return np.repeat(values, [len(segment) for segment in segments])


def require_one_task(group: list[Segment]) -> None:
    """Raises ValueError if these episodes do not begin alike."""
    first = beginning(group[0])
    for other in group[1:]:
        if not np.array_equal(first, beginning(other)):
            raise ValueError(f"the {len(group)} episodes of group {group[0].group} begin differently, so that what they are paid cannot be "
                             "compared; the environment must draw from self.np_random in reset(), or take its task from the options, and "
                             "segments of two rollouts with the same group numbers must not be mixed")  # fmt: skip


def beginning(segment: Segment) -> np.ndarray:
    """What the first action was chosen for: an observation, or the tokens so far."""
    return segment.rows[0] if segment.col is None else segment.rows[0][: int(segment.col[0]) + 1]
