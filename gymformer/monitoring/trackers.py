"""Experiment trackers beside the local log: Weights & Biases and TensorBoard."""

import os
import socket
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

__all__ = ["TensorBoardTracker", "Tracker", "WandbTracker", "make_tracker"]

REACHABLE_WITHIN = 5.0  # seconds that a server has to accept a connection before an online run is refused


class Tracker(Protocol):
    """Whatever takes metrics: pass one of your own as `tracker=`. `step` counts timesteps; a resumed run starts above 0."""

    def start(self, name: str, folder: Path | None, config: dict[str, Any], step: int) -> None: ...
    def log(self, metrics: dict[str, float], step: int) -> None: ...
    def finish(self) -> None: ...


class WandbTracker:
    """Weights & Biases. Never online unasked: WANDB_MODE says "online", "offline" (the default here) or "disabled".

    WANDB_PROJECT and WANDB_ENTITY are honoured. An online run whose server cannot be reached is refused before training
    starts; the client by itself would wait for more than a minute.
    """

    def start(self, name: str, folder: Path | None, config: dict[str, Any], step: int) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        if mode == "online":
            self._require_server(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
        self._run = wandb.init(
            name=name, project=os.environ.get("WANDB_PROJECT", "gymformer"), entity=os.environ.get("WANDB_ENTITY"), mode=mode,
            dir=None if folder is None else str(folder), config=config,
            settings=wandb.Settings(init_timeout=30, silent=True, console="off"),
        )  # fmt: skip

    @staticmethod
    def _require_server(url: str) -> None:
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=REACHABLE_WITHIN).close()
        except OSError as error:
            raise ConnectionError(f"WANDB_MODE=online, but {parts.hostname} cannot be reached ({error}); set "
                                  "WANDB_MODE=offline and upload "
                                  'later with "wandb sync", or leave tracker out: the local log is written either way') from error  # fmt: skip

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._run.log(metrics, step=step)

    def finish(self) -> None:
        self._run.finish()


class TensorBoardTracker:
    """TensorBoard event files in the run's folder ("tensorboard --logdir runs")."""

    def start(self, name: str, folder: Path | None, config: dict[str, Any], step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError('tracker="tensorboard" needs tensorboard: pip install "gymformer[report]"') from error
        # A resumed run forgets what an interrupted one wrote after its checkpoint.
        self._writer = SummaryWriter(str(folder or Path("runs") / name), purge_step=step + 1 if step else None)

    def log(self, metrics: dict[str, float], step: int) -> None:
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def finish(self) -> None:
        self._writer.close()


class NoTracker:
    def start(self, name: str, folder: Path | None, config: dict[str, Any], step: int) -> None: ...
    def log(self, metrics: dict[str, float], step: int) -> None: ...
    def finish(self) -> None: ...


def make_tracker(tracker: "str | Tracker | None") -> Tracker:
    """The tracker that a name stands for; None tracks nothing (the local log is written all the same)."""
    match tracker:
        case None:
            return NoTracker()
        case "wandb":
            return WandbTracker()
        case "tensorboard":
            return TensorBoardTracker()
        case str():
            raise ValueError(
                f'tracker="{tracker}" is not known; use "wandb", "tensorboard", None, or an object with start, log and finish'
            )
    return tracker
