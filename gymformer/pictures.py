"""Films of episodes: GIFs, and words beside a frame."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Film", "beside", "save_gif"]

FRAME_HEIGHT = 300  # pixels of a frame beside words; larger ones are made smaller
PANEL_WIDTH, MARGIN, FONT_SIZE = 340, 10, 14  # pixels
LINE_HEIGHT, CHARS_PER_LINE = 18, 44  # of that font


def save_gif(frames: Sequence[np.ndarray], path: str | Path, fps: float = 30) -> Path:
    """Writes the frames (H, W, 3) uint8 as an endless GIF."""
    if not frames:
        raise ValueError('there are no frames; make the environment with render_mode="rgb_array"')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One palette for all frames, from eight of them: a palette for each takes ten times as long and flickers.
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 8)])[::2, ::2])
    palette = sample.quantize(256, dither=Image.Dither.NONE)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / fps, loop=0)
    return path


def beside(frame: np.ndarray, text: str) -> np.ndarray:
    """The frame (H, W, 3) uint8, at most FRAME_HEIGHT high, with the text in a panel to its right."""
    picture = Image.fromarray(frame)
    if picture.height > FRAME_HEIGHT:
        picture = picture.resize((round(picture.width * FRAME_HEIGHT / picture.height), FRAME_HEIGHT))
    page = Image.new("RGB", (picture.width + PANEL_WIDTH, max(picture.height, FRAME_HEIGHT)), "white")
    page.paste(picture, (0, 0))
    lines = [piece for line in text.splitlines() for piece in wrap(line, CHARS_PER_LINE) or [""]]
    room = (page.height - 2 * MARGIN) // LINE_HEIGHT
    if len(lines) > room:
        lines = [*lines[: room - 1], "…"]
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for number, line in enumerate(lines):
        draw.text((picture.width + MARGIN, MARGIN + number * LINE_HEIGHT), line, fill="black", font=font)
    return np.asarray(page)


class Film:
    """Frames of an episode of any length: at most `limit` of them, evenly spread, and the last one."""

    def __init__(self, limit: int = 300):
        self.limit, self.every = limit, 1
        self._frames: list[np.ndarray] = []
        self._last: tuple[np.ndarray, str] | None = None
        self._count = 0

    def add(self, frame: np.ndarray, text: str) -> None:
        self._last = frame, text
        if self._count % self.every == 0:
            self._frames.append(beside(frame, text))
        self._count += 1
        if len(self._frames) > self.limit:
            self._frames, self.every = self._frames[::2], self.every * 2

    def save(self, path: Path, fps: int) -> Path:
        """The GIF, at the speed that all frames would have at `fps`."""
        last = [] if self._last is None else [beside(*self._last)]
        return save_gif(self._frames + last, path, fps / self.every)
