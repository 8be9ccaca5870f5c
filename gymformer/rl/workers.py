"""Environments that live in worker processes: asked all at once, and replaced when their process dies."""

import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe, Process, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space, concatenate, create_empty_array, iterate

from gymformer.rl.errors import portable
from gymformer.seeding import derive_seed

__all__ = [
    "EpisodeLostError",
    "RemoteEnv",
    "WorkerPool",
    "WorkerVector",
    "Workers",
    "require_different",
    "workers_ignoring_sigint",
]

GRACE = 5.0  # seconds in which a worker closes its environments, or writes where it hangs, before it is killed
SLICE = 1.0  # seconds; waiting is counted in these, so that a laptop's sleep or Ctrl-Z is not taken for a worker that hangs


@dataclass(frozen=True, slots=True)
class Workers:
    """How environments live in worker processes: `vectorization=Workers(count=16, timeout=60)`; "async" is `Workers()`.

    Each process holds some of the environments and answers for all of them in one message, so that what they do is what they
    do in one process, bit for bit. One that dies, or does not answer in time and is killed, is reported by a warning with its
    exit code and what its environments were playing, and replaced. Of a token environment the episode is then dropped (with all of its
    group, where episodes are compared), and another is played; of any other, the piece up to the last observation is kept, cut there,
    hence bootstrapped. Neither counts as an episode. An exception in an environment is no death: it reaches the caller.
    """

    count: int | None = None  # processes; None: as many as this one may use CPUs. Never more than environments
    timeout: float = 300.0  # seconds in which a worker answers, the making of its environments included
    deaths: int = 3  # of one worker, with no episode played to its end between them: RuntimeError

    def __post_init__(self) -> None:
        if (self.count is not None and self.count < 1) or not self.timeout > 0 or self.deaths < 1:
            raise ValueError(f"{self}: count and deaths are at least 1, and timeout is above 0 seconds")

    def number(self, num_envs: int) -> int:
        """Processes for so many environments."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(num_envs, self.count or cpus)


class EpisodeLostError(RuntimeError):
    """The process in which this episode was played has died; another one has taken its place."""


Kind = Literal["reset", "step"]  # of a question; with it comes (seed, options), or the action


class RemoteEnv(gym.Env):
    """An environment that lives in a worker process. `WorkerPool.ask` asks many at once; `reset` and `step` then find the answers
    there, or ask for themselves. `step` raises EpisodeLostError if the worker died since the episode began.

    `unwrapped` is an environment like it in this process, which nobody plays: what it is can be seen there.
    """

    def __init__(self, pool: "WorkerPool", index: int, like: gym.Env):
        self.pool, self.index, self.like = pool, index, like
        self.observation_space, self.action_space, self.metadata = like.observation_space, like.action_space, like.metadata
        self.spec, self.render_mode = like.spec, like.render_mode
        if like.has_wrapper_attr("action_masks"):
            self.action_masks = lambda: self._mask
        self.seed: int | None = None  # the last that was given, options and steps since: what is told when the worker dies
        self.options: dict[str, Any] | None = None
        self.steps = 0
        self.is_lost = True  # there is no episode in the worker
        self._mask: Any = None
        self._answer: tuple[Kind, Any] | None = None

    @property
    def unwrapped(self) -> gym.Env:
        return self.like.unwrapped

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self._answered("reset", (seed, options))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._answered("step", action)

    def close(self) -> None:
        """Ends the workers, of all environments."""
        self.pool.close()

    def _answered(self, kind: Kind, argument: Any) -> Any:
        if self._answer is None or self._answer[0] != kind:
            self.pool.ask([(self, kind, argument)])
        assert self._answer is not None
        (_, answer), self._answer = self._answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def take(self, kind: Kind, answer: Any, mask: Any = None) -> None:
        """What the worker has answered."""
        self._answer, self._mask = (kind, answer), mask

    def __str__(self) -> str:
        where = "between episodes" if self.is_lost else f"step {self.steps}"
        return f"environment {self.index} (seed {self.seed}, options {self.options}, {where})"


class Worker:
    """A process, this end of its pipe, and what it was asked and has not answered."""

    process: Process
    pipe: Connection

    def __init__(self, number: int):
        self.number = number
        self.envs: list[RemoteEnv] = []
        self.asked: dict[RemoteEnv, tuple[Kind, Any]] = {}
        self.waited = 0.0  # seconds for the answer
        self.deaths = 0  # since an episode was played to its end
        self.restarts = 0

    def send(self) -> None:
        """Asks, in one message. A process that is gone is noticed when the answer is waited for."""
        self.waited = 0.0
        with suppress(OSError):
            self.pipe.send([(self.envs.index(env), *question) for env, question in self.asked.items()])

    def receive(self) -> list[tuple[bool, bytes]]:
        """The answers, in the order of the questions. Raises EOFError or OSError if there will be none."""
        if not self.pipe.poll():
            raise EOFError("it ended without an answer")
        return self.pipe.recv()

    def end(self, grace: float) -> int | None:
        """The process is over, by force after `grace` seconds; its exit code."""
        self.process.join(grace)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


class WorkerPool:
    """Environments in worker processes, environment i in process i modulo their number. `like` is one of this process."""

    def __init__(self, make: Callable[[], gym.Env], num_envs: int, workers: Workers, name: str, like: gym.Env):
        self.name, self.settings, self.like, self._make = name, workers, like, make
        self.workers = [Worker(number) for number in range(workers.number(num_envs))]
        self.envs = [RemoteEnv(self, index, like) for index in range(num_envs)]
        for env in self.envs:
            self._of(env).envs.append(env)
        self.is_closed = False
        self._pipes: dict[int, Connection] = {}  # worker -> this end
        for worker in self.workers:
            self._start(worker)

    def ask(self, questions: Iterable[tuple[RemoteEnv, Kind, Any]]) -> None:
        """Every environment named has its answer, whatever happens to the workers. One message goes to each of them, and one
        comes back. Raises RuntimeError if a worker dies again and again."""
        if self.is_closed:
            raise RuntimeError(f"the worker processes of {self.name} have ended, because they were closed or a rollout was broken off in the "
                               "midst of a step; make the environments anew")  # fmt: skip
        try:
            for env, kind, argument in questions:
                self._note(env, kind, argument)
            waiting = [worker for worker in self.workers if worker.asked]
            for worker in waiting:
                worker.send()
            while waiting:
                self._wait(waiting)
                waiting = [worker for worker in waiting if worker.asked]
        except BaseException:  # answers that are still under way would be taken for those to later questions
            self.close()
            raise

    def close(self) -> None:
        """Ends all workers, those that do not end by themselves by force."""
        if self.is_closed:
            return
        self.is_closed = True
        until = time.monotonic() + GRACE
        for worker in self.workers:
            if not worker.asked:
                with suppress(OSError):  # it is dead already
                    worker.pipe.send(None)
        for worker in self.workers:
            worker.end(0.0 if worker.asked else max(0.0, until - time.monotonic()))
        self.like.close()

    def _of(self, env: RemoteEnv) -> Worker:
        return self.workers[env.index % len(self.workers)]

    def _note(self, env: RemoteEnv, kind: Kind, argument: Any) -> None:
        """The question is put down for the environment's worker; a step of an episode that is lost is answered at once."""
        worker = self._of(env)
        if kind == "reset":
            seed, options = argument
            if env.steps and not env.is_lost:  # also where the asker cut the episode
                worker.deaths = 0
            if seed is not None:
                env.seed = seed
            elif env.is_lost:  # with its process went its generator
                seed = derive_seed(env.seed or 0, "restart", worker.restarts)
            worker.asked[env] = kind, (seed, options)
            env.options, env.steps, env.is_lost = options, 0, False
        elif env.is_lost:
            env.take(kind, EpisodeLostError(f"{env} has no episode; its worker process has died, or it was not reset"))
        else:
            env.steps += 1
            worker.asked[env] = kind, argument

    def _wait(self, waiting: list[Worker]) -> None:
        """Takes the answers that have come. Restarts who died, and who has not answered in time."""
        begun, limit = time.monotonic(), self.settings.timeout
        pause = min(SLICE, *(limit - worker.waited for worker in waiting))
        ready = wait([at for worker in waiting for at in (worker.pipe, worker.process.sentinel)], max(0.0, pause))
        passed = min(time.monotonic() - begun, SLICE)
        for worker in waiting:
            worker.waited += passed
            if worker.pipe in ready or worker.process.sentinel in ready:
                try:
                    answers = worker.receive()
                except (EOFError, OSError) as error:
                    self._restart(worker, "died", error)
                    continue
                for (env, (kind, _)), (is_answer, packed) in zip(worker.asked.items(), answers, strict=True):
                    content = pickle.loads(packed)
                    if not is_answer:
                        content.add_note(f"in {env}, in worker process {worker.number} of {self.name}")
                    env.take(kind, *(content if is_answer else (content,)))
                    if is_answer and kind == "step" and (content[0][2] or content[0][3]):
                        worker.deaths = 0
                worker.asked = {}
            elif worker.waited >= limit:
                if worker.process.is_alive() and worker.process.pid is not None:
                    os.kill(worker.process.pid, signal.SIGABRT)  # faulthandler writes to stderr where it hangs
                self._restart(worker, f"did not answer in {limit:g} seconds, was killed", TimeoutError(f"{limit:g} seconds"))

    def _start(self, worker: Worker) -> None:
        worker.pipe, its = Pipe()
        self._pipes[worker.number] = worker.pipe
        arguments = its, list(self._pipes.values()), CloudpickleWrapper(self._make), len(worker.envs), self.name
        worker.process = Process(target=serve, args=arguments, daemon=True,
                                 name=f"{self.name}-worker{worker.number}")  # fmt: skip
        with workers_ignoring_sigint():
            worker.process.start()
        its.close()

    def _restart(self, worker: Worker, what: str, error: Exception) -> None:
        """Another process takes the worker's place. Its episodes are lost, but for those that were about to begin."""
        code = worker.end(GRACE)
        worker.deaths, worker.restarts = worker.deaths + 1, worker.restarts + 1
        report = (
            f"worker process {worker.number} of {self.name} {what} ({meaning(code)}) with {', '.join(map(str, worker.envs))}"
        )
        if worker.deaths >= self.settings.deaths:
            raise RuntimeError(f"{report}: {worker.deaths} times in a row, without an episode that was played to its end between. "
                               f"The last error: {error!r}. Run it with vectorization=\"sync\" to see where, or give slow environments more "
                               f"time: vectorization=Workers(timeout={10 * self.settings.timeout:g})") from error  # fmt: skip
        warnings.warn(f"{report}; it is started again, and these episodes are not counted", RuntimeWarning, stacklevel=2)
        for env in worker.envs:
            kind, _ = worker.asked.get(env, (None, None))
            if kind == "step":
                env.take(kind, EpisodeLostError(f"the worker process of {env} has died"))
                del worker.asked[env]
            if kind != "reset":
                env.is_lost = True
        self._start(worker)
        if worker.asked:
            worker.send()


class WorkerVector(VectorEnv):
    """Environments in worker processes as a vector that does not reset by itself, as SyncVectorEnv is in that mode.

    After a step, `lost` (B,) bool says whose worker died: nothing of the step is true of it, and it has to be reset.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, pool: WorkerPool):
        self.pool, self.num_envs = pool, len(pool.envs)
        self.single_observation_space, self.single_action_space = pool.like.observation_space, pool.like.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.lost = np.zeros(self.num_envs, bool)
        self._shown: list[Any] = [None] * self.num_envs
        self._batch = create_empty_array(self.single_observation_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """`seed`: one for each environment; `options`: theirs, and "reset_mask" (B,) bool, which of them."""
        seeds = [None] * self.num_envs if seed is None else seed
        asked = {name: value for name, value in (options or {}).items() if name != "reset_mask"}
        which = np.flatnonzero((options or {}).get("reset_mask", np.ones(self.num_envs, bool))).tolist()
        self.pool.ask((self.pool.envs[b], "reset", (seeds[b], asked or None)) for b in which)
        infos: dict[str, Any] = {}
        for b in which:
            self._shown[b], info = self.pool.envs[b].reset()
            infos = self._add_info(infos, info, b)
        return self._batched(), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        each = list(zip(self.pool.envs, iterate(self.action_space, actions), strict=True))
        self.pool.ask((env, "step", action) for env, action in each)
        rewards, infos = np.zeros(self.num_envs), {}
        terminated, truncated, self.lost = (np.zeros(self.num_envs, bool) for _ in range(3))
        for b, (env, action) in enumerate(each):
            try:
                self._shown[b], rewards[b], terminated[b], truncated[b], info = env.step(action)
            except EpisodeLostError:
                self.lost[b] = True
            else:
                infos = self._add_info(infos, info, b)
        return self._batched(), rewards, terminated, truncated, infos

    def action_masks(self) -> list[Any]:
        """What `action_masks()` of each environment says, where it has such a method."""
        return [env.action_masks() for env in self.pool.envs]

    def close_extras(self, **kwargs: Any) -> None:
        self.pool.close()

    def _batched(self) -> Any:
        self._batch = concatenate(self.single_observation_space, self._shown, self._batch)
        return self._batch


def serve(pipe: Connection, inherited: list[Connection], make: CloudpickleWrapper, count: int, name: str) -> None:
    """The worker: makes its environments, and answers until nobody asks any more."""
    for other in inherited:  # the asker's ends: held here, they would stay open when it is gone
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the asker's handler, which saves its run
    faulthandler.enable(2)  # a crash in native code, or SIGABRT, writes to stderr where it was
    if "torch" in sys.modules:  # OpenMP's threads do not outlive a fork: waiting for them would be for ever
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=end_with_asker, daemon=True).start()
    envs: list[gym.Env] = []
    failure: Exception | None = None
    try:
        envs = [make.fn() for _ in range(count)]
        require_different(envs, name)
    except Exception as error:  # goes to the asker, with the first answer
        failure = error
    try:
        while (questions := pipe.recv()) is not None:
            pipe.send([answer(envs, failure, *question) for question in questions])
    except (EOFError, OSError):  # the asker is gone
        pass
    for env in envs:
        env.close()


def answer(envs: list[gym.Env], failure: Exception | None, index: int, kind: Kind, argument: Any) -> tuple[bool, bytes]:
    """(True, what the environment gives and its action mask) or (False, the exception), pickled at once: the environment may
    change in place what it gave."""
    try:
        if failure is not None:
            raise failure
        env, over = envs[index], False
        if kind == "reset":
            given = env.reset(seed=argument[0], options=argument[1])
        else:
            given = env.step(argument)
            over = given[2] or given[3]
        asks = env.has_wrapper_attr("action_masks") and not over
        return True, pickle.dumps((given, env.get_wrapper_attr("action_masks")() if asks else None))
    except Exception as error:  # whatever an environment raises is the asker's to handle
        carried = portable(error)
        return False, pickle.dumps(ExceptionWithTraceback(carried, error.__traceback__))


def end_with_asker() -> None:
    """Waits for the end of the process that started this one; then ends it, also in the midst of a step that never returns."""
    asker = parent_process()
    assert asker is not None
    wait([asker.sentinel])
    os._exit(1)


def require_different(envs: list[gym.Env], name: str) -> None:
    """Raises ValueError if one of the environments is there twice."""
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        envs[0].close()
        raise ValueError(f"{name} gave the same environment more than once, but {len(envs)} are needed; make a new one "
                         "at every call, or use num_envs=1")  # fmt: skip


def meaning(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "a signal"
    return f"exit code {code}, {name}" + (", as when memory runs out" if -code == 9 else "")


@contextmanager
def workers_ignoring_sigint() -> Iterator[None]:
    """Processes started inside never see SIGINT. A terminal sends Ctrl-C to all of them, and workers that die of it would
    take along the run that wants to save."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
