"""Processes that train one agent together: each plays its own environments, and all take the same gradient steps."""

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from gymformer.files import read_json, safe_name
from gymformer.rl.batch import Batch
from gymformer.rl.errors import portable
from gymformer.rl.spaces import RunningMoments
from gymformer.seeding import derive_seed
from gymformer.trainer.interrupts import Interruption, interruptible

__all__ = ["ALONE", "LostPeerError", "Ranks", "SharedLearning", "SharedMoments", "is_launched", "joined"]

T = TypeVar("T")
Returns = list[float]
Statistics = dict[str, Any]

PLACE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # variables by which torchrun tells a process its place
SCRATCH = "GYMFORMER_SCRATCH"  # a variable that names the folder which train_agent shares with the processes it has started
STOP_FILE = "stop"  # in that folder, where the run shall save and end; holds the name of the signal that asked for it
POLL = 0.2  # seconds between two looks for that file
PATIENCE = timedelta(hours=2)  # the longest wait for another process, which may be busy with a rollout or an evaluation


class LostPeerError(RuntimeError):
    """Another process of the run cannot be reached: as a rule, it has ended."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that train together, as one of them sees them. With a `count` of 1 nobody is asked and nothing waits.

    Every method that involves others must be called by all of them, in the same order. It raises LostPeerError when one of
    them has ended.
    """

    rank: int = 0
    count: int = 1
    launch: str | None = None  # which launch this is, and which train_agent of it; the same after a restart
    restarts: int = 0  # of all processes, because one of them had died
    scratch: Path | None = None  # where train_agent has started the processes

    @property
    def is_first(self) -> bool:
        """This process writes the files, the log and the progress."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Everyone's value, in the order of the ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with naming_lost_peers():
            dist.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, or raises; the others only wait for it."""
        if self.count == 1:
            return make()
        answer: list[Any] = [None, None]
        error: Exception | None = None
        if self.is_first:
            try:
                answer[0] = make()
            except Exception as caught:  # travels to the others and is raised in all of them
                error, answer[1] = caught, portable(caught)
        with naming_lost_peers():
            dist.broadcast_object_list(answer, src=0)
        if error is not None:
            raise error
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def any(self, flag: bool) -> bool:
        """The flag is set in at least one process."""
        if self.count == 1:
            return flag
        flags = torch.tensor(int(flag))
        with naming_lost_peers():
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def share(self, total: int) -> int:
        """This process's part of a number of episodes, the same for all; together they may be a few more."""
        return -(-total // self.count)

    def whole_groups(self, total: int, group_size: int) -> int:
        """A number of episodes, rounded up so that each process's share is a number of whole groups."""
        return total if group_size == 1 else -(-total // (group_size * self.count)) * group_size * self.count

    def seed(self, seed: int) -> int:
        """This process's own, derived from the run's; the first process has the run's itself."""
        return seed if self.is_first else derive_seed(seed, "rank", self.rank)

    def device(self, device: torch.device) -> torch.device:
        """The device for this process: of several GPUs its own."""
        if self.count == 1 or device.type != "cuda":
            return device
        if device.index is not None:
            raise ValueError(f'device="{device}" is one GPU for {self.count} processes; say device="cuda", and each takes '
                             "its own")  # fmt: skip
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count())
        torch.cuda.set_device(own)
        return own

    def pooled(self, returns: Returns, lengths: list[int], decisions: int,
               stats: Statistics) -> tuple[Returns, list[int], int, Statistics]:  # fmt: skip
        """Everyone's returns and lengths, the sum of the decisions, and the mean of each statistic over all decisions."""
        if self.count == 1:
            return returns, lengths, decisions, stats
        parts = self.gather((returns, lengths, decisions, stats))
        all_returns, all_lengths = [r for part in parts for r in part[0]], [n for part in parts for n in part[1]]
        return all_returns, all_lengths, sum(part[2] for part in parts), mean_statistics(parts)

    def gather_differing(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Of every process those of its tensors that are not the first one's: what a checkpoint must hold for each."""
        if self.count == 1:
            return [{}]
        own = {name: sha256(as_bytes(tensor).cpu().numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}
        first = self.from_first(lambda: own)
        return self.gather({name: tensors[name].cpu() for name in own if first.get(name) != own[name]})

    def copy_from_first(self, networks: Iterable[nn.Module]) -> None:
        """All processes' networks take over the first one's parameters and buffers."""
        if self.count == 1:
            return
        with naming_lost_peers(), torch.no_grad():
            for network in networks:
                for tensor in network.state_dict().values():
                    content = as_bytes(tensor).clone()
                    dist.broadcast(content, src=0)
                    tensor.copy_(content.view(tensor.dtype).view_as(tensor))

    def require_equal(self, networks: dict[str, nn.Module], learner: str) -> None:
        """Raises RuntimeError unless every parameter is, bit for bit, the same in all processes."""
        if self.count == 1:
            return
        sums = self.gather({name: [bit_sum(p) for p in network.parameters()] for name, network in networks.items()})
        for name in networks:
            if any(one[name] != sums[0][name] for one in sums):
                raise RuntimeError(f"after an update by {learner}, the {name} is not the same in all {self.count} processes; an algorithm "
                                   "that several processes share must take its minibatches through self.together.in_step(...) and "
                                   "average every gradient with self.together.average(gradient) before it steps")  # fmt: skip

    def unfinished_run(self, folder: Path) -> Path | None:
        """The run below `folder` that this launch had begun before it was restarted, if it had come to that."""
        if not self.restarts or not folder.is_dir():
            return None
        runs = [path.parent for path in folder.glob("*/config.json")]
        mine = [run for run in runs if read_json(run / "config.json").get("launch") == self.launch]
        return max(mine, key=lambda run: run.name, default=None)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[Interruption]:
        """As the function of that name, for a process with a launcher above it: torchrun sends on a Ctrl-C that the terminal
        has sent already, so repeats count for nothing; train_agent leaves a file instead."""
        with interruptible(ignore_repeats=self.launch is not None and self.scratch is None) as interruption:
            if self.scratch is None:
                yield interruption
            else:
                with _watching(self.scratch / STOP_FILE, interruption):
                    yield interruption


ALONE = Ranks()


class SharedLearning:
    """`Together` for an algorithm: gradients are averaged over the decisions of all processes' minibatches.

    A step is then the one that a single process would take on all of them at once, but for what a minibatch computes of
    itself: advantages are normalised in each process's own. A process with fewer minibatches than another begins again
    and counts for nothing until the other has finished, so that nobody waits for somebody who does not come.
    """

    def __init__(self, ranks: Ranks):
        self.ranks = ranks
        self.weight = 1 / ranks.count  # of this process's minibatch; over all processes they sum to 1

    def in_step(self, minibatches: Iterable[Batch]) -> Iterator[Batch]:
        own = list(minibatches)
        sizes = self.ranks.gather([len(minibatch) for minibatch in own])
        try:
            for step in range(max(map(len, sizes))):
                total = sum(size[step] for size in sizes if step < len(size))
                self.weight = len(own[step]) / total if step < len(own) else 0.0
                yield own[step % len(own)]
        finally:
            self.weight = 1 / self.ranks.count

    def average(self, gradient: Tensor) -> None:
        gradient.mul_(self.weight)
        with naming_lost_peers():
            dist.all_reduce(gradient)

    def mean(self, statistic: float) -> float:
        value = torch.tensor([statistic], dtype=torch.float64)
        self.average(value)
        return value.item()


class SharedMoments:
    """Running moments that, after each `merge`, are those of the rows of all processes, the same in all of them."""

    def __init__(self, ranks: Ranks, moments: RunningMoments):
        self.ranks, self.moments, self.common = ranks, moments, moments.state()

    def merge(self) -> None:
        """Takes in what every process has seen since the last merge."""
        if self.ranks.count == 1:
            return
        seen = self.ranks.gather(self.moments.state())
        self.moments.load(self.common)
        for state in seen:
            mean, var, count = rows_since(self.common, state)
            if count > 0:
                self.moments.merge(mean, var, count)
        self.common = self.moments.state()


def rows_since(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, variance and number of the rows that led from one state of running moments to a later one
    (Chan, Golub, LeVeque 1979, eq. 2.1, solved for the second part)."""
    n, count = float(before["count"]), float(after["count"] - before["count"])
    if n == 0 or count == 0:
        return after["mean"], after["var"], count
    delta = (after["mean"] - before["mean"]) * (n + count) / count
    squares = after["var"] * (n + count) - before["var"] * n - delta**2 * n * count / (n + count)
    return before["mean"] + delta, np.maximum(squares, 0.0) / count, count


def mean_statistics(parts: list[tuple[Returns, list[int], int, Statistics]]) -> Statistics:
    """Means weighted by the decisions, over the processes that have the statistic as a number; where none has, the first one's."""
    means: Statistics = {}
    for name in dict.fromkeys(name for part in parts for name in part[3]):
        values = [(part[3][name], part[2]) for part in parts if isinstance(part[3].get(name), int | float)]
        if not values:
            means[name] = next(part[3][name] for part in parts if name in part[3])
        elif all(value == values[0][0] for value, _ in values):  # which their mean, rounded, may not be
            means[name] = values[0][0]
        else:
            means[name] = sum(value * decisions for value, decisions in values) / sum(decisions for _, decisions in values)
    return means


def as_bytes(tensor: Tensor) -> Tensor:
    """The tensor's content as (number of bytes,) uint8."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def bit_sum(tensor: Tensor) -> int:
    """A sum over the bits of a tensor, computed where it lies: the same for equal tensors, hardly ever for others."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return int(tensor.detach().contiguous().reshape(-1).view(whole).sum(dtype=torch.int64))


@contextlib.contextmanager
def naming_lost_peers() -> Iterator[None]:
    """Around what waits for other processes: where one has ended, raises LostPeerError."""
    try:
        yield
    except RuntimeError as error:  # gloo raises no more special one; NCCL's is a subclass
        raise LostPeerError("another process of this run cannot be reached; as a rule it has ended, and its own error says why, or it was "
                            "killed. Call train_agent with resume=True to go on from the last checkpoint. What happened here: "
                            f"{error}") from error  # fmt: skip


_calls = itertools.count(1)  # of train_agent in this process, as one of several
_joined = threading.Event()


def is_launched() -> bool:
    """torchrun, or train_agent(num_processes=...), has started this process as one of several, and none of its train_agents
    is at work: one that is called in the midst of another, by a callback for instance, trains for itself."""
    return not _joined.is_set() and all(name in os.environ for name in PLACE)


@contextlib.contextmanager
def joined(num_processes: int | None) -> Iterator[Ranks]:
    """This process's place among those that torchrun or train_agent has started. A process group of the user's own is used
    as it is; else one is made, and left at the end, whereby the others notice if this process fails."""
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if num_processes not in (None, count):
        raise ValueError(f"num_processes={num_processes}, but this process was started as one of {count} (WORLD_SIZE); leave num_processes "
                         "out, or start as many")  # fmt: skip
    call, restarts = next(_calls), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    scratch = Path(os.environ[SCRATCH]) if SCRATCH in os.environ else None
    ranks = Ranks(rank, count, f"{_launch_id()}/{call}", restarts, scratch)
    ours = count > 1 and not dist.is_initialized()
    if count > 1 and not ours and "cpu" not in dist.get_backend_config():
        raise ValueError(f"the process group that is there ({dist.get_backend_config()}) cannot carry what lies in main memory; make it with "
                         'init_process_group("cpu:gloo,cuda:nccl"), or leave it to train_agent')  # fmt: skip
    if ours:
        with naming_lost_peers():
            # The launcher's store outlives its processes: without a prefix, addresses of dead ones would be found in it.
            store = PrefixStore(f"gymformer/{restarts}/{call}", next(rendezvous("env://", timeout=PATIENCE))[0])
            dist.init_process_group(_backend(), store=store, rank=rank, world_size=count, timeout=PATIENCE)
    _joined.set()
    try:
        yield ranks
    finally:
        _joined.clear()
        if ours:
            dist.destroy_process_group()


def _backend() -> str:
    """NCCL between GPUs where each process of this machine can have one; gloo else, and between CPUs."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    has_own = torch.cuda.is_available() and dist.is_nccl_available() and here <= torch.cuda.device_count()
    return "cpu:gloo,cuda:nccl" if has_own else "gloo"


def _launch_id() -> str:
    """The same for all processes of a launch and after its restarts. torchrun's own id is "none" unless it is told one."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return f"{safe_name(socket.gethostname())}-{os.getppid()}" if run_id == "none" else run_id


@contextlib.contextmanager
def _watching(stop: Path, interruption: Interruption) -> Iterator[None]:
    """Inside, the interruption is requested as soon as the file is there."""
    over = threading.Event()

    def watch() -> None:
        while not stop.exists():
            if over.wait(POLL):
                return
        interruption.name, interruption.requested = stop.read_text(), True

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
