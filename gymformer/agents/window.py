"""A window on the screen that shows what is played, and why."""

import os
import sys

import numpy as np

__all__ = ["Window"]


class Window:
    """Shows pages (H, W, 3) uint8, one after the other. Whoever closes the window raises KeyboardInterrupt in `show`."""

    def __init__(self, title: str):
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & set(os.environ):
            raise RuntimeError("a window needs a screen, and DISPLAY names none; say experiment.window: false")
        try:
            import pygame
        except ImportError as error:
            raise ImportError("a window needs pygame; install it: pip install 'gymformer[envs]'") from error
        self._pygame, self._title = pygame, title

    def show(self, page: np.ndarray) -> None:
        pygame = self._pygame
        pygame.display.init()
        height, width = page.shape[:2]
        screen = pygame.display.get_surface()
        if screen is None or screen.get_size() != (width, height):
            screen = pygame.display.set_mode((width, height))
            pygame.display.set_caption(self._title)
        screen.blit(pygame.surfarray.make_surface(page.swapaxes(0, 1)), (0, 0))
        pygame.display.flip()
        if pygame.event.get(pygame.QUIT):
            raise KeyboardInterrupt

    def close(self) -> None:
        self._pygame.display.quit()
