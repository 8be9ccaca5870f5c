"""Checks of what algorithms are told, and schedules."""

from collections.abc import Sequence
from typing import Any, Literal

__all__ = ["Schedule", "check_learning", "remaining"]

Schedule = Literal["constant", "linear"]  # of a learning rate; "linear": to 0 at the end of training


def check_learning(
    config: Any, positive: Sequence[str] = (), shares: Sequence[str] = (), not_negative: Sequence[str] = ()
) -> None:
    """Raises ValueError where one of these fields is not None and not greater than 0, in [0, 1], or at least 0; where there is
    a field `lr_schedule`, it is checked too."""
    name_of = type(config).__name__
    rules = [(positive, lambda x: x > 0, "be greater than 0"), (shares, lambda x: 0 <= x <= 1, "lie in [0, 1]"),
             (not_negative, lambda x: x >= 0, "not be negative")]  # fmt: skip
    for names, holds, what in rules:
        for name in names:
            value = getattr(config, name)
            if value is not None and not holds(value):
                raise ValueError(f"{name_of}.{name}={value}; it must {what}")
    schedule = getattr(config, "lr_schedule", "constant")
    if schedule not in ("constant", "linear"):
        raise ValueError(f'{name_of}.lr_schedule="{schedule}"; it must be "constant" or "linear"')


def remaining(progress: float, schedule: Schedule) -> float:
    """By what a learning rate is multiplied when `progress` of the training is over."""
    return 1 - progress if schedule == "linear" else 1.0
