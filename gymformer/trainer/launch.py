"""Starts the processes of train_agent(num_processes=...), and brings home what they come to."""

import ast
import contextlib
import logging
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import types
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec
from torch import nn

from gymformer.device import resolve_device
from gymformer.files import write_file
from gymformer.monitoring.progress import in_notebook
from gymformer.rl.agent import TrainedAgent, load_agent
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.errors import portable
from gymformer.rl.networks import match_critic, match_tokens
from gymformer.trainer.checkpoint import latest_checkpoint, load_checkpoint, part, unflatten
from gymformer.trainer.distributed import SCRATCH, STOP_FILE, LostPeerError
from gymformer.trainer.interrupts import interruptible
from gymformer.trainer.records import TrainingResult

__all__ = ["launch"]

RESTARTS = 3  # how often all processes are started again because one has died
START_METHOD = "spawn"
GRACE = 2.0  # seconds in which a process that failed tells the others why
LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # the network interface that ends where it begins
PACKAGE = Path(__file__).parents[1]
QUIET = ("torch.distributed.elastic", "torch.multiprocessing.spawn")  # loggers: a page of text for each process that ends


@dataclass(frozen=True, slots=True)
class Failure:
    """What a process raised, as it travels to the caller."""

    rank: int
    error: Exception
    traceback: str
    is_refusal: bool

    @property
    def order(self) -> tuple[bool, bool, int]:
        """A lost peer is lost by another's failure, and a gradient that is not finite has often been spoilt by another's."""
        return isinstance(self.error, LostPeerError), getattr(self.error, "what", None) == "gradient", self.rank


class WorkerTraceback(Exception):
    """Stands as the cause of an error that another process raised, and shows where. `is_refusal`: gymformer itself raised it
    there, saying what to do."""

    def __init__(self, text: str, is_refusal: bool):
        super().__init__(text)
        self.is_refusal = is_refusal


def launch(arguments: dict[str, Any]) -> TrainingResult:
    """What `train_agent(**arguments)` comes to in `num_processes` processes of this machine."""
    count = arguments["num_processes"]
    call = _packed(arguments)
    with tempfile.TemporaryDirectory(prefix="gymformer-") as folder:
        scratch, stop = Path(folder), Path(folder) / STOP_FILE
        with interruptible(then=stop.write_text), _undisturbed(), _main_module(call, arguments):
            returned = _run(call, scratch, count, saves=arguments["save_path"] is not None)
        failures = [pickle.loads(path.read_bytes()) for path in scratch.glob("failure-*")]
        if failures:
            first = min(failures, key=lambda failure: failure.order)
            if arguments["save_path"] is None:  # what the first note may tell of goes with the folder
                first.error.__notes__ = [note for note in getattr(first.error, "__notes__", []) if folder not in note]
            first.error.add_note(f"raised in process {first.rank} of {count}")
            raise first.error from WorkerTraceback(f"\n{first.traceback}", first.is_refusal)
        return _result(arguments, returned)


def _run(call: bytes, scratch: Path, count: int, saves: bool) -> dict[str, Any]:
    """Starts the processes, again if one dies, and returns what the first of them returns."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if "signals_to_handle" not in LaunchConfig.__dataclass_fields__:
        raise RuntimeError(f"num_processes needs a newer torch than {torch.__version__}, whose launcher takes Ctrl-C for itself; "
                           "update torch, or start the script with torchrun")  # fmt: skip
    # What a worker writes does not reach a notebook unless it is copied there.
    logs = DefaultLogsSpecs(log_dir=str(scratch / "logs"), tee=Std.ALL if in_notebook() else Std.NONE)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1", max_restarts=RESTARTS, start_method=START_METHOD, role="process", logs_specs=logs, signals_to_handle="SIGHUP",
    )  # fmt: skip
    threads = max(1, torch.get_num_threads() // count)
    try:
        return elastic_launch(config, _work)(call, str(scratch), str(Path.cwd()), threads)[0]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        if isinstance(failure.message, dict):  # it raised something
            how += f", {failure.message.get('message')}"
        resume = ", and call train_agent with resume=True to go on from the last checkpoint" if saves else ""
        raise RuntimeError(f"a process of this run has died {RESTARTS + 1} times, the last time process {rank} of {count} ({how}): "
                           "out of memory, os._exit, or a crash in native code. Run it with num_processes=1 to see where"
                           f"{resume}") from None  # fmt: skip


def _work(call: bytes, scratch: str, folder: str, threads: int) -> dict[str, Any] | None:
    """One process's part of the run; None where any has failed. Raises only where starting all again may help."""
    rank, failures, parent = int(os.environ["RANK"]), Path(scratch), os.getppid()
    if any(failures.glob("failure-*")):  # the launcher takes a process that the failed one has left alone for a dead one
        return None
    os.chdir(folder)  # Python starts it where the caller's process once began
    os.environ[SCRATCH] = scratch
    if sys.platform in LOOPBACK:  # all of them are on this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    try:
        arguments, spec = pickle.loads(call)
    except Exception as error:
        _report(failures, rank, error)
        raise  # the others may be waiting for this process to join them: all are ended, and find the report when they begin again
    try:
        return _train(arguments, spec, failures)
    except LostPeerError as error:
        deadline = time.monotonic() + GRACE
        while not any(failures.glob("failure-*")):
            if time.monotonic() > deadline:
                raise  # it was killed: the launcher starts all again, and the run goes on from its last checkpoint
            time.sleep(0.05)
        _report(failures, rank, error)
        return None
    except Exception as error:
        _report(failures, rank, error)
        return None
    except KeyboardInterrupt:  # torch's wrapper would take it for a good end and wait for ever for what was not returned
        raise SystemExit(130) from None
    finally:
        if os.getppid() != parent:  # which would have fetched what is returned; nobody ends this process if not itself
            os._exit(1)


def _train(arguments: dict[str, Any], spec: EnvSpec | None, scratch: Path) -> dict[str, Any]:
    from gymformer.trainer.trainer import train_agent

    if spec is not None:  # the environment is registered in the caller's process, maybe nowhere else
        gym.registry.setdefault(spec.id, spec)
    kept = arguments["save_path"] is not None
    call: dict[str, Any] = arguments | {"save_path": arguments["save_path"] if kept else scratch / "runs"}
    result = train_agent(**call)
    return {"returns": list(result), "metrics": result.metrics, "path": result.path, "seed": result.seed, "timesteps": result.timesteps,
            "stopped": result.stopped}  # fmt: skip


def _report(scratch: Path, rank: int, error: Exception) -> None:
    """Leaves the error where the caller finds it. The others, who cannot go on without this process, end their rollouts."""
    text, last = "".join(traceback.format_exception(error)), traceback.extract_tb(error.__traceback__)[-1]
    is_refusal = Path(last.filename).is_relative_to(PACKAGE) and (last.line or "").startswith("raise ")
    write_file(scratch / f"failure-{rank}", pickle.dumps(Failure(rank, portable(error), text, is_refusal)))
    (scratch / STOP_FILE).write_text("the failure of another process")


def _result(arguments: dict[str, Any], returned: dict[str, Any]) -> TrainingResult:
    """The run as if it had been this process's own: the modules that the caller gave hold what was learned."""
    path: Path = returned.pop("path")
    algorithm = arguments["algorithm"]
    networks: dict[str, nn.Module] = {name: arguments[name] for name in ("actor", "critic") if arguments[name] is not None}
    networks |= algorithm.networks() if isinstance(algorithm, Algorithm) else {}
    agent = load_agent(path, actor=networks.get("actor"), critic=networks.get("critic"))
    newest = latest_checkpoint(path / "checkpoints")
    if newest is not None:
        tensors, state = load_checkpoint(newest)
        if agent.reads_tokens and networks:
            agent = _in_given_modules(agent, networks, part(tensors, "agent"))
        if isinstance(algorithm, Algorithm):
            algorithm.load_state_dict(unflatten(part(tensors, "algorithm")))
        if state["curriculum"] is not None:
            arguments["curriculum"].load_state_dict(state["curriculum"])
    _to_device(agent, arguments["device"])
    return TrainingResult(agent=agent, path=None if arguments["save_path"] is None else path, **returned)


def _in_given_modules(agent: TrainedAgent, networks: dict[str, nn.Module], tensors: dict[str, torch.Tensor]) -> TrainedAgent:
    """The agent with the caller's modules in place of the saved folder's, in which an adapter is merged. `tensors`: what was
    learned, as a checkpoint holds it."""
    num_tokens = int(agent.action_space.n)  # type: ignore[attr-defined]
    policy: Any = match_tokens(networks.get("actor", agent.actor), num_tokens)
    value = None if agent.critic is None else policy.value_head() if "critic" not in networks else match_critic(
        networks["critic"], (1,), num_tokens)  # fmt: skip
    own = TrainedAgent(policy, value, agent.observation_space, agent.action_space, agent.env_id, agent.env_kwargs,
                       agent.max_timesteps)  # fmt: skip
    own.load_tensors(tensors, learned_only=True)
    return own


def _to_device(agent: TrainedAgent, device: str | torch.device) -> None:
    networks = [network for network in (agent.actor, agent.critic) if network is not None]
    for network in networks:
        network.to(resolve_device(device, *networks)).eval()


def _packed(arguments: dict[str, Any]) -> bytes:
    """The call as bytes, with the registration of its environment. Raises ValueError for what another process cannot get."""
    count, env = arguments["num_processes"], arguments["env_name"]
    if isinstance(env, gym.Env | gym.vector.VectorEnv):
        raise ValueError(f"num_processes={count} needs environments in each process, but an instance ({env}) was given; give its id, or a "
                         "callable that makes one")  # fmt: skip
    for name, value in arguments.items():
        try:
            pickle.dumps(value)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(f"{name} cannot be sent to the {count} processes of num_processes={count} ({error}). Functions and classes must "
                             "stand at the top level of a module: no lambda, nothing from inside a function. Or leave num_processes out and "
                             "start the script with torchrun: each process then makes its own") from error  # fmt: skip
    spec = gym.registry.get(env) if isinstance(env, str) else None
    try:
        return pickle.dumps((arguments, spec))
    except (pickle.PicklingError, AttributeError, TypeError):  # made by a lambda: its module must be imported there
        return pickle.dumps((arguments, None))


@contextlib.contextmanager
def _main_module(call: bytes, arguments: dict[str, Any]) -> Iterator[None]:
    """Inside, a process that is started imports the caller's script, as Python's spawn has it, or not where that would start
    the training again. Raises ValueError where it would, but what is sent is defined there."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is not None and _is_guarded(_source(Path(file)), _line_of_script()):
        yield
        return
    if b"__main__" in call:
        mine = [name for name, value in arguments.items() if b"__main__" in pickle.dumps(value)] or ["env_name"]
        if file is None:
            raise ValueError(f"{', '.join(mine)}: defined in a notebook or an interactive session, which other processes cannot import; write "
                             "the definition into a file (in a notebook: %%writefile my_parts.py) and import it from there")  # fmt: skip
        raise ValueError(f"{', '.join(mine)}: defined in {file}, which other processes must import without training again; put the call of "
                         'train_agent below  if __name__ == "__main__":  or the definition into a module of its own')  # fmt: skip
    sys.modules["__main__"] = types.ModuleType("__main__")  # without a file: there is nothing to import
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _line_of_script() -> int | None:
    """Where the script's top level is now; None in a thread that it has started."""
    frame, line = sys._getframe(), None
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            line = frame.f_lineno
        frame = frame.f_back
    return line


def _source(script: Path) -> str:
    try:
        return script.read_text(encoding="utf-8")
    except (OSError, ValueError):  # an archive or a frozen program
        return ""


def _is_guarded(source: str, line: int | None) -> bool:
    """The line stands below an `if` that asks for `__name__`, or it cannot be told."""
    try:
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.If)]
    except SyntaxError:
        return True
    around = [node for node in nodes if line is not None and node.lineno <= line <= (node.end_lineno or line)]
    names = {name.id for node in around for name in ast.walk(node.test) if isinstance(name, ast.Name)}
    return not source or line is None or "__name__" in names


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, the launcher logs nothing; afterwards, what it changes in this process is as before."""
    loggers, silence = [(logger, logger.propagate) for logger in map(logging.getLogger, QUIET)], logging.NullHandler()
    asked = "TORCHELASTIC_SIGNALS_TO_HANDLE"
    before = os.environ.get(asked)
    hangup = signal.getsignal(signal.SIGHUP) if hasattr(signal, "SIGHUP") else None
    for logger, _ in loggers:
        logger.propagate = False
        logger.addHandler(silence)
    try:
        yield
    finally:
        for logger, propagate in loggers:
            logger.removeHandler(silence)
            logger.propagate = propagate
        os.environ.pop(asked, None)
        if before is not None:
            os.environ[asked] = before
        if hangup is not None:
            with contextlib.suppress(ValueError):  # not the main thread, where nothing was changed
                signal.signal(signal.SIGHUP, hangup)
