"""Ctrl-C and SIGTERM end training after saving; a second one ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Interruption", "interruptible"]


class Interruption:
    """Whether a signal has asked training to end, and which."""

    requested = False
    name = ""


@contextlib.contextmanager
def interruptible(then: Callable[[str], object] | None = None, ignore_repeats: bool = False) -> Iterator[Interruption]:
    """Inside, SIGINT and SIGTERM set `requested`, and `then` gets the signal's name. The second one acts as it did before, or
    (`ignore_repeats`) not at all. Only the main thread gets signals: in another one this does nothing."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        interruption.requested, interruption.name = True, signal.Signals(number).name
        for known, handler in before.items():
            signal.signal(known, signal.SIG_IGN if ignore_repeats else handler)
        if then is not None:
            then(interruption.name)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
