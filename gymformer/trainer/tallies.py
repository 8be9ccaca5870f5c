"""What the infos of episodes count: terms of the reward, and violations of policies, as columns of the log."""

from collections import Counter
from typing import Any

from gymformer.rl.segment import Segment
from gymformer.trainer.distributed import Ranks

__all__ = ["tallies"]

Told = tuple[dict[str, float], dict[str, int], str | None]  # reward terms, violations, task: of one episode


def tallies(segments: list[Segment], ranks: Ranks) -> dict[str, float]:
    """Of the episodes that ended here, in all processes: "reward/NAME", the mean of what a term paid in an episode, over those
    whose infos have terms; "safety/POLICY" and, where the infos tell a "task", "safety/POLICY/TASK", how often it was violated."""
    told = [
        episode for part in ranks.gather([_told(segment.info) for segment in segments if segment.ended]) for episode in part
    ]
    paid: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    for terms, counts, task in told:
        for name, value in terms.items():
            paid[f"reward/{name}"] += value  # type: ignore[assignment]  # a Counter adds floats as well
        for policy, count in counts.items():
            violations[f"safety/{policy}"] += count
            if task is not None:
                violations[f"safety/{policy}/{task}"] += count
    episodes = sum(bool(terms) for terms, _, _ in told)
    return {name: total / episodes for name, total in paid.items()} | dict(violations)


def _told(info: dict[str, Any]) -> Told:
    terms, counts, task = info.get("reward_terms"), info.get("safety"), info.get("task")
    return (
        {str(name): float(value) for name, value in terms.items()} if isinstance(terms, dict) else {},
        {str(policy): int(count) for policy, count in counts.items()} if isinstance(counts, dict) else {},
        task if isinstance(task, str) else None,
    )
