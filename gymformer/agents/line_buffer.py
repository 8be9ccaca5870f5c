"""LineBuffer: lines and what was paid for them, as segments that algorithms learn from."""

import numpy as np

from gymformer.agents.stepwise import Line
from gymformer.rl.segment import Segment

__all__ = ["LineBuffer"]


class LineBuffer:
    """Episodes of a loop of one's own: `add` each line in order, then `algorithm.update(buffer.segments)`, then `clear`.

    The reward of a line falls on its last token. Each line was written after a reading of its own, so that a segment has a
    row for each.
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []  # of the episodes that are over
        self._lines: list[Line] = []
        self._rewards: list[float] = []

    def __len__(self) -> int:
        """Episodes that are over."""
        return len(self.segments)

    def add(self, line: Line, reward: float, terminated: bool, truncated: bool = False) -> None:
        """A line of the episode under way, which ends with `terminated` or `truncated`."""
        self._lines.append(line)
        self._rewards.append(float(reward))
        if terminated or truncated:
            self.segments.append(_joined(self._lines, self._rewards, terminated))
            self._lines, self._rewards = [], []

    def clear(self) -> None:
        """Forgets the episodes that are over; the one under way goes on."""
        self.segments = []


def _joined(lines: list[Line], rewards: list[float], terminated: bool) -> Segment:
    """One segment of several lines. A line that was written at once has no state between its last token and the next line's first."""
    parts = [line.segment for line in lines]
    paid = [np.concatenate([np.zeros(len(part) - 1), [reward]]) for part, reward in zip(parts, rewards, strict=True)]
    cols = [part.col for part in parts if part.col is not None]
    row = [np.full(len(part), number) for number, part in enumerate(parts)]
    masks = None
    if any(part.legal is not None for part in parts):
        outputs = next(part.legal.shape[1] for part in parts if part.legal is not None)
        masks = np.concatenate([np.ones((len(part), outputs), bool) if part.legal is None else part.legal for part in parts])
    return Segment(
        [part.rows[-1] for part in parts], np.concatenate([part.actions for part in parts]),
        np.concatenate([part.log_probs for part in parts]), np.concatenate(paid), terminated,
        row=np.concatenate([*row, [len(parts) - 1]]), col=np.concatenate([*(col[:-1] for col in cols), cols[-1][-1:]]),
        legal=masks, episode_return=sum(rewards), episode_length=sum(map(len, parts)), info=parts[-1].info,
    )  # fmt: skip
