"""How far training is: a bar in a terminal or a notebook, a live curve in a notebook, lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

__all__ = ["Progress"]


class Progress:
    """Shows that training advances. `shown` None: a bar where someone can see it, else a line every `log_interval` episodes;
    True: the bar; False: nothing at all."""

    def __init__(self, total: int | None, unit: str, shown: bool | None, log_interval: int):
        self.total, self.unit, self.log_interval = total, unit, log_interval
        notebook = in_notebook()
        self.silent = shown is False
        self._next_line, self._done = log_interval, 0
        self._curve = LiveCurve() if notebook and not self.silent else None
        self._bar = None
        if shown or (shown is None and (notebook or sys.stderr.isatty())):
            self._bar = _tqdm()(total=total, unit=f" {unit}", dynamic_ncols=True, smoothing=0.05)

    def say(self, message: str) -> None:
        """One line for the user."""
        if self.silent:
            return
        if self._bar is not None:
            self._bar.write(message, file=sys.stderr)
        else:
            print(message, file=sys.stderr, flush=True)

    def update(self, done: int, episodes: int, running_reward: float | None, record: dict[str, Any], returns: Sequence[float],
               metrics: Sequence[dict[str, Any]]) -> None:  # fmt: skip
        """`done` of `total` units are over."""
        if self._bar is not None:
            done = done if self.total is None else min(done, self.total)
            self._bar.update(done - self._done)
            self._done = done
            if running_reward is not None:
                self._bar.set_postfix_str(f"mean return {short(running_reward)}")
        elif episodes >= self._next_line and running_reward is not None:
            self._next_line = (episodes // self.log_interval + 1) * self.log_interval
            self.say(f"episode {episodes}  timesteps {record['timesteps']}  mean return {short(running_reward)}  "
                     f"entropy {record.get('entropy', float('nan')):.3f}  approx_kl "
                     f"{record.get('approx_kl', float('nan')):.4f}")  # fmt: skip
        if self._curve is not None:
            self._curve.update(returns, metrics)

    def step(self, done: int, text: str) -> None:
        """`done` of `total` units are over, where they are no episodes; `text` says how it goes."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._done)
            self._done = done
        elif done >= self._next_line:
            self._next_line = (done // self.log_interval + 1) * self.log_interval
            self.say(f"{self.unit} {done} of {self.total}  {text}")

    def close(self, returns: Sequence[float], metrics: Sequence[dict[str, Any]]) -> None:
        if self._curve is not None:
            self._curve.update(returns, metrics, now=True)
        if self._bar is not None:
            self._bar.close()


def short(value: float, of: float | None = None) -> str:
    """One decimal; three of numbers below 10 (`of`: or of numbers of that size), which may be shares of right answers."""
    return f"{value:.{1 if abs(value if of is None else of) >= 10 else 3}f}"


class LiveCurve:
    """The learning curve in a notebook's output, redrawn every few seconds."""

    def __init__(self, interval: float = 3.0):  # seconds
        self.interval, self._handle, self._drawn = interval, None, time.monotonic()

    def update(self, returns: Sequence[float], metrics: Sequence[dict[str, Any]], now: bool = False) -> None:
        if not returns or (not now and time.monotonic() - self._drawn < self.interval):
            return
        from IPython.display import display

        from gymformer.monitoring.curves import plot_training

        chart = plot_training(returns, metrics)
        if self._handle is None:
            self._handle = display(chart, display_id=True)
        else:
            self._handle.update(chart)
        self._drawn = time.monotonic()


def in_notebook() -> bool:
    """The code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _tqdm() -> Any:
    """tqdm's bar for where we are; its notebook bar only where ipywidgets can draw it."""
    if in_notebook():
        with contextlib.suppress(ImportError):
            import_module("ipywidgets")
            from tqdm.notebook import tqdm

            return tqdm
    from tqdm import tqdm

    return tqdm
