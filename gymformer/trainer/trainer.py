"""train_agent: act, learn, write down, until the budget is spent."""

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import safetensors.torch
import torch
from gymnasium.vector.utils import iterate
from torch import nn

from gymformer.device import resolve_device, threads_for
from gymformer.evaluation.evaluate import evaluate
from gymformer.files import read_json, safe_name, write_file, write_json
from gymformer.monitoring.log import MetricsLog, read_metrics
from gymformer.monitoring.progress import Progress
from gymformer.monitoring.trackers import Tracker, make_tracker
from gymformer.rl.agent import TrainedAgent, load_agent
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import Envs, EnvSource, Tick, Vectorization, make_envs
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.kl import KLPenalty
from gymformer.rl.networks import ActorNetwork, CriticNetwork, match_actions, match_critic
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.rollouts import RewardNormalizer, collect
from gymformer.rl.segment import Segment
from gymformer.seeding import derive_seed, fresh_seed, seed_globals, seeded_globals
from gymformer.trainer.checkpoint import flatten, latest_checkpoint, load_checkpoint, part, run_lock, save_checkpoint, unflatten
from gymformer.trainer.interrupts import Interruption, interruptible
from gymformer.trainer.records import Moment, TrainingResult

__all__ = ["load_agent", "train_agent"]

Callback = Callable[[Moment], bool | None]
Transform = Callable[[list[Segment]], dict[str, float]]

RUNNING = 100  # episodes that the running reward is a mean of
DEFAULT_EPISODES = 1000  # of control, where no budget is given
DEFAULT_ENVS = 8  # fewer where there are fewer than eight episodes for each: the first to end would be the short ones


def train_agent(
    env_name: EnvSource,
    actor: nn.Module | None = None,
    critic: nn.Module | None = None,
    ppo_config: PPOConfig | None = None,
    max_episodes: int | None = None,
    max_timesteps: int = 1000,
    update_interval: int = 100,
    save_interval: int = 100,
    save_path: str | Path | None = "./runs",
    callback: Callback | None = None,
    log_interval: int = 10,
    device: str | torch.device = "auto",
    *,
    total_timesteps: int | None = None,
    rollout_steps: int | None = None,
    num_envs: int | None = None,
    vectorization: Vectorization = "auto",
    seed: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    algorithm: str | type[Algorithm] | Algorithm = "ppo",
    reference: nn.Module | None = None,
    kl_coef: float = 0.1,
    transforms: Sequence[Transform] = (),
    eval_interval: int | None = None,
    eval_episodes: int = 20,
    tracker: str | Tracker | None = None,
    resume: str | Path | bool | None = None,
    progress: bool | None = None,
    hidden_dim: int | Sequence[int] = 64,
    activation: str = "tanh",
    normalize_observations: bool = False,
    normalize_rewards: bool = False,
    seed_globals: bool = False,
) -> TrainingResult:
    """Trains an agent and returns the list of its episodes' returns, which also carries the agent, metrics and `plot()`.

    env_name: a registered id, an environment, or a callable that makes one. actor, critic: any modules that read (B,
    *observation_shape); None builds MLPs for the spaces (`hidden_dim`, `activation`).

    Budget: `max_episodes` (1,000 where no budget is given) or `total_timesteps` over all environments, whichever is spent
    first. `max_timesteps` caps an episode; such a cut is a truncation and bootstraps. The policy is updated every
    `update_interval` episodes, or every `rollout_steps` steps of each of `num_envs` environments where that is given; a
    last update always happens.

    Every `save_interval` episodes a checkpoint is written to a new folder below `save_path` (None: nothing is written), and
    all environments are cut and reset with a derived seed, so that `resume=` (a run's folder, or True for the newest run of
    this environment) continues bit for bit as if nothing had happened. Ctrl-C and SIGTERM save and end.

    `callback(moment)` sees every step of every environment and stops training by returning False. `eval_interval`
    (episodes) evaluates on environments apart and keeps the best agent. `tracker`: "wandb", "tensorboard", or an object
    with start, log and finish. `reference` with `kl_coef` penalises divergence from a reference policy; `transforms` write
    penalties of your own. `progress`: None shows a bar where someone can see it, True always, False prints nothing.
    `seed_globals` also seeds the global generators, for environments that ignore reset(seed=...), and restores them.

    Raises NonFiniteError when a reward, observation, loss or gradient is NaN or infinite, after saving what led there.
    """
    for name, value in (("update_interval", update_interval), ("save_interval", save_interval), ("log_interval", log_interval)):
        _require_positive(name, value)
    for name, value in (("max_episodes", max_episodes), ("total_timesteps", total_timesteps), ("rollout_steps", rollout_steps),
                        ("eval_interval", eval_interval), ("num_envs", num_envs), ("max_timesteps", max_timesteps)):  # fmt: skip
        if value is not None:
            _require_positive(name, value)
    if max_episodes is None and total_timesteps is None:
        max_episodes = DEFAULT_EPISODES
    if num_envs is None:
        single = isinstance(env_name, gym.Env | gym.vector.VectorEnv)
        num_envs = 1 if single else min(DEFAULT_ENVS, max(1, (max_episodes or DEFAULT_EPISODES) // DEFAULT_ENVS))

    with ExitStack() as stack:
        envs = make_envs(env_name, num_envs, env_kwargs=env_kwargs, max_timesteps=max_timesteps, vectorization=vectorization,
                         normalize_observations=normalize_observations)  # fmt: skip
        if not isinstance(env_name, gym.Env | gym.vector.VectorEnv):  # an environment given stays the giver's
            stack.callback(envs.close)
        resumed = _run_to_resume(resume, save_path, envs.id)
        if seed is None:
            seed = fresh_seed() if resumed is None else int(read_json(resumed / "config.json")["seed"])
        unit, total = ("episodes", max_episodes) if max_episodes is not None else ("timesteps", total_timesteps)
        show = Progress(total, unit, progress, log_interval)
        if seed_globals:
            stack.enter_context(seeded_globals(derive_seed(seed, "globals")))

        policy, value = _networks(envs, actor, critic, algorithm, hidden_dim, activation, seed)
        device = resolve_device(device, policy, value)
        policy, value = policy.to(device), value.to(device)
        config = ppo_config or PPOConfig()
        learner = _algorithm(algorithm, policy, value, config, _generator(seed, "minibatches"))
        if reference is not None:
            frozen = match_actions(reference.to(device), envs.action_space, envs.encoder.shape)
            transforms = [KLPenalty(frozen.requires_grad_(False).eval(), kl_coef), *transforms]
        settings = {
            "env": envs.id, "seed": seed, "num_envs": envs.num_envs, "vectorization": vectorization, "max_timesteps": max_timesteps,
            "update_interval": None if rollout_steps else update_interval, "rollout_steps": rollout_steps, "save_interval": save_interval,
            "eval_interval": eval_interval, "eval_episodes": eval_episodes, "algorithm": type(learner).__name__,
            "config": asdict(getattr(learner, "config", config)), "kl_coef": None if reference is None else kl_coef,
            "normalize_observations": normalize_observations, "normalize_rewards": normalize_rewards, "seed_globals": seed_globals,
            "env_kwargs": {key: repr(value) for key, value in (env_kwargs or {}).items()},
        }  # fmt: skip
        run = Run(
            settings=settings, envs=envs, learner=learner, agent=TrainedAgent(policy, value, envs.encoder, envs.action_space, envs.id),
            transforms=list(transforms), actions=_generator(seed, "actions", device), show=show, tracker=make_tracker(tracker),
            reward_normalizer=RewardNormalizer(settings["config"].get("gamma", 0.99), envs.num_envs) if normalize_rewards else None,
            max_episodes=max_episodes, total_timesteps=total_timesteps, callback=callback,
            eval_source=env_name if isinstance(env_name, str) else (None if isinstance(env_name, gym.Env | gym.vector.VectorEnv) else env_name),
            eval_kwargs=env_kwargs,
        )  # fmt: skip
        if save_path is not None:
            run.folder = resumed or _new_folder(Path(save_path), envs.id, seed)
            stack.enter_context(run_lock(run.folder))
            run.log = MetricsLog(run.folder / "metrics.jsonl")
            stack.callback(run.log.close)
        threads = stack.enter_context(threads_for(device, policy, value))
        _say_choices(show, settings, config, envs, device, threads, run.folder)
        if resumed is not None:
            run.restore()
        elif run.folder is not None:
            write_json(
                run.folder / "config.json", settings | {"device": str(device), "threads": threads, "versions": _versions()}
            )
        run.tracker.start(f"{safe_name(envs.id)}-seed{seed}", run.folder, settings)
        stack.callback(run.tracker.finish)
        stack.callback(lambda: show.close(run.returns, run.metrics))
        interruption = stack.enter_context(interruptible(show.say))
        try:
            return run.train(interruption)
        except NonFiniteError as error:
            if run.folder is not None:
                error.add_note(f"what led there is saved in {_save_evidence(run.folder, error)}")
            raise


@dataclass(slots=True)
class Run:
    """One training run: its parts, and how far it is."""

    settings: dict[str, Any]
    envs: Envs
    learner: Algorithm
    agent: TrainedAgent
    transforms: list[Transform]
    actions: torch.Generator  # samples the actions
    show: Progress
    tracker: Tracker
    reward_normalizer: RewardNormalizer | None
    max_episodes: int | None
    total_timesteps: int | None
    callback: Callback | None
    eval_source: EnvSource | None
    eval_kwargs: dict[str, Any] | None
    folder: Path | None = None
    log: MetricsLog | None = None
    returns: list[float] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    timesteps: int = 0
    updates: int = 0
    checkpoints: int = 0
    saved_at: int = 0  # episodes over at the last checkpoint
    evaluated_at: int = 0  # episodes over at the last evaluation
    best: float | None = None
    stopped_by_callback: bool = False

    def train(self, interruption: Interruption) -> TrainingResult:
        self.envs.keep_raw = self.callback is not None
        self._restart_envs()
        while not self._is_over() and not interruption.requested and not self.stopped_by_callback:
            started = time.perf_counter()
            self.learner.progress = self._progress()  # before acting: the last update would otherwise come with a step of 0
            segments = self._collect(interruption)
            if interruption.requested:
                break
            if not segments:  # every step only reset an environment
                continue
            stats: dict[str, Any] = {}
            for transform in self.transforms:
                stats |= transform(segments)
            stats |= self.learner.update(segments)
            self._record(segments, stats, time.perf_counter() - started)
            if self.settings["eval_interval"] and len(self.returns) - self.evaluated_at >= self.settings["eval_interval"]:
                self._evaluate()
            if len(self.returns) - self.saved_at >= self.settings["save_interval"] and not self._is_over():
                self._checkpoint()
                self._restart_envs()
        self._checkpoint()
        if self.folder is not None:
            self.agent.save_pretrained(self.folder / "agent")
            self.show.say(f"saved in {self.folder}")
        stopped = "interrupted" if interruption.requested else "callback" if self.stopped_by_callback else "finished"
        returns = self.returns if self.max_episodes is None else self.returns[: self.max_episodes]
        return TrainingResult(returns, agent=self.agent, metrics=self.metrics, path=self.folder, seed=self.settings["seed"],
                              timesteps=self.timesteps, stopped=stopped)  # fmt: skip

    def restore(self) -> None:
        """Everything as it was when the newest checkpoint was written."""
        assert self.folder is not None and self.log is not None
        stored = read_json(self.folder / "config.json")
        differing = [name for name in self.settings if stored.get(name) != self.settings[name]]
        if differing:
            name = differing[0]
            raise ValueError(f"{self.folder} was started with {name}={stored.get(name)!r}, and cannot go on with "
                             f"{self.settings[name]!r}; call train_agent as before (differing: {', '.join(differing)}), or "
                             "start a new run")  # fmt: skip
        tensors, state = load_checkpoint(latest_checkpoint(self.folder / "checkpoints"))
        self.agent.load_tensors(part(tensors, "agent"))
        self.learner.load_state_dict(unflatten(part(tensors, "algorithm")))
        self.actions.set_state(tensors["actions"])
        if self.reward_normalizer is not None:
            self.reward_normalizer.moments.load({k: v.numpy() for k, v in part(tensors, "rewards").items()})
        self.returns = tensors["returns"].tolist()
        for name in ("timesteps", "updates", "checkpoints", "saved_at", "evaluated_at", "best"):
            setattr(self, name, state[name])
        self.log.truncate(state["log_offset"])
        self.metrics = [record for record in read_metrics(self.folder) if "update" in record]
        self.show.say(f"resumed {self.folder} after {len(self.returns)} episodes and {self.timesteps} timesteps")

    def _collect(self, interruption: Interruption) -> list[Segment]:
        episodes = None
        if self.settings["rollout_steps"] is None:
            left = self.settings["update_interval"] if self.max_episodes is None else self.max_episodes - len(self.returns)
            episodes = min(self.settings["update_interval"], left)
        done, latest = len(self.returns), (self.metrics[-1] if self.metrics else {})
        running = self._running_reward()

        def on_tick(tick: Tick) -> bool:
            nonlocal done
            self.timesteps += self.envs.num_envs - int(tick.phantom.sum())
            if self.callback is not None and not self.stopped_by_callback:
                self.stopped_by_callback = any(self.callback(m) is False for m in self._moments(tick, done, running, latest))
            done += int(np.count_nonzero(tick.terminated | tick.truncated))
            return not (interruption.requested or self.stopped_by_callback or self._is_over(done))

        return collect(self.envs, self.agent.actor, steps=self.settings["rollout_steps"], episodes=episodes, generator=self.actions,
                       on_tick=on_tick, reward_normalizer=self.reward_normalizer)  # fmt: skip

    def _moments(self, tick: Tick, done: int, running: float | None, latest: dict[str, Any]):
        observations = list(iterate(_batched(self.envs), tick.observations))
        for b in np.flatnonzero(~tick.phantom).tolist():
            action = tick.actions[b]
            yield Moment(episode=done, timestep=self.timesteps, environment=b, observation=observations[b],
                         action=action.item() if np.ndim(action) == 0 else action, reward=float(tick.rewards[b]),
                         terminated=bool(tick.terminated[b]), truncated=bool(tick.truncated[b]), running_reward=running,
                         statistics=latest)  # fmt: skip

    def _record(self, segments: list[Segment], stats: dict[str, Any], seconds: float) -> None:
        returns = [segment.episode_return for segment in segments if segment.episode_return is not None]
        lengths = [segment.episode_length for segment in segments if segment.episode_length is not None]
        self.returns += returns
        self.updates += 1
        decisions = sum(map(len, segments))
        record = {
            "update": self.updates, "timesteps": self.timesteps, "episodes": len(self.returns),
            "return_mean": float(np.mean(returns)) if returns else None,
            "length_mean": float(np.mean(lengths)) if lengths else None,
            "running_reward": self._running_reward(), **stats, "seconds": seconds, "steps_per_second": decisions / seconds,
            "returns": returns,
        }  # fmt: skip
        self.metrics.append(record)
        if self.log is not None:
            self.log.write(record)
        self.tracker.log({k: v for k, v in record.items() if isinstance(v, int | float)}, step=self.timesteps)
        done = len(self.returns) if self.max_episodes is not None else self.timesteps
        self.show.update(done, len(self.returns), self._running_reward(), record, self.returns, self.metrics)

    def _evaluate(self) -> None:
        """Evaluates the sampled policy on environments apart; the best agent so far is kept."""
        self.evaluated_at = len(self.returns)
        if self.eval_source is None:
            raise ValueError("eval_interval needs an environment apart from the one that is trained in; give an id or a "
                             "callable instead of an instance")  # fmt: skip
        result = evaluate(self.agent, self.eval_source, episodes=self.settings["eval_episodes"], env_kwargs=self.eval_kwargs,
                          seed=derive_seed(self.settings["seed"], "evaluation"), max_timesteps=self.settings["max_timesteps"])  # fmt: skip
        record = {"evaluation": result.mean, "evaluation_low": result.interval[0], "evaluation_high": result.interval[1],
                  "timesteps": self.timesteps, "episodes": len(self.returns)}  # fmt: skip
        self.metrics[-1] |= {"evaluation": result.mean}
        if self.log is not None:
            self.log.write(record)
        self.tracker.log({"evaluation": result.mean}, step=self.timesteps)
        self.show.say(f"episode {len(self.returns)}: {result}")
        if self.best is None or result.mean > self.best:
            self.best = result.mean
            if self.folder is not None:
                self.agent.save_pretrained(self.folder / "best")

    def _checkpoint(self) -> None:
        self.checkpoints, self.saved_at = self.checkpoints + 1, len(self.returns)
        if self.folder is None or self.log is None:  # the environments are cut all the same: one seed, one run, saved or not
            return
        tensors = {f"agent/{name}": value for name, value in self.agent.tensors().items()}
        tensors |= {f"algorithm/{name}": value for name, value in flatten(self.learner.state_dict()).items()}
        tensors |= {"actions": self.actions.get_state(), "returns": torch.tensor(self.returns, dtype=torch.float64)}
        if self.reward_normalizer is not None:
            tensors |= {f"rewards/{k}": torch.from_numpy(v) for k, v in self.reward_normalizer.moments.state().items()}
        names = ("timesteps", "updates", "checkpoints", "saved_at", "evaluated_at", "best")
        state = {name: getattr(self, name) for name in names} | {"log_offset": self.log.offset()}
        save_checkpoint(self.folder / "checkpoints", self.checkpoints, tensors, state)

    def _restart_envs(self) -> None:
        """Cuts all environments and resets them with a seed that only the number of checkpoints decides."""
        if self.settings["seed_globals"]:
            seed_globals(derive_seed(self.settings["seed"], "globals", self.checkpoints))
        self.envs.reset(derive_seed(self.settings["seed"], "environments", self.checkpoints))
        if self.reward_normalizer is not None:
            self.reward_normalizer.restart()

    def _is_over(self, episodes: int | None = None) -> bool:
        done = len(self.returns) if episodes is None else episodes
        return (self.max_episodes is not None and done >= self.max_episodes) or (
            self.total_timesteps is not None and self.timesteps >= self.total_timesteps
        )

    def _progress(self) -> float:
        """How much of the budget is spent, in [0, 1]."""
        shares = [self.timesteps / self.total_timesteps] if self.total_timesteps else []
        shares += [len(self.returns) / self.max_episodes] if self.max_episodes else []
        return min(1.0, max(shares))

    def _running_reward(self) -> float | None:
        last = self.returns[-RUNNING:]
        return sum(last) / len(last) if last else None


def _networks(envs: Envs, actor: nn.Module | None, critic: nn.Module | None, algorithm: Any, hidden_dim: int | Sequence[int],
              activation: str, seed: int) -> tuple[ActorNetwork, CriticNetwork]:  # fmt: skip
    """Actor and critic that fit the environment: the ones given, those of a ready algorithm, or new MLPs."""
    if isinstance(algorithm, Algorithm):
        networks = algorithm.networks()
        actor, critic = networks["actor"], networks["critic"]
    generator = _generator(seed, "networks")
    if actor is None:
        actor = MLPActorNetwork.for_spaces(envs, hidden_dim, activation=activation, generator=generator)
    if critic is None:
        critic = MLPCriticNetwork.for_spaces(envs, hidden_dim, activation=activation, generator=generator)
    return match_actions(actor, envs.action_space, envs.encoder.shape), match_critic(critic, envs.encoder.shape)


def _algorithm(algorithm: str | type[Algorithm] | Algorithm, actor: ActorNetwork, critic: CriticNetwork, config: PPOConfig,
               generator: torch.Generator) -> Algorithm:  # fmt: skip
    match algorithm:
        case Algorithm():
            return algorithm
        case "ppo":
            return PPO(actor, critic, config, generator)
        case type() if issubclass(algorithm, PPO):
            return algorithm(actor, critic, config, generator)
        case type() if issubclass(algorithm, Algorithm):
            return algorithm(actor, critic)  # type: ignore[call-arg]
    raise ValueError(f'algorithm={algorithm!r} is not known; use "ppo", a subclass of Algorithm, or an instance of one')


def _generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(derive_seed(seed, name))


def _require_positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}={value!r}; it must be a whole number of at least 1")


def _batched(envs: Envs) -> gym.Space:
    return gym.vector.utils.batch_space(envs.observation_space, envs.num_envs)


def _new_folder(save_path: Path, env_id: str, seed: int) -> Path:
    """A folder below `save_path` that no run has used: <environment>/<date>-<time>-seed<seed>."""
    base = save_path / safe_name(env_id) / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}"
    for attempt in range(1, 1000):
        folder = base if attempt == 1 else base.with_name(f"{base.name}-{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"{base} and 998 folders beside it exist; give another save_path")


def _run_to_resume(resume: str | Path | bool | None, save_path: str | Path | None, env_id: str) -> Path | None:
    if resume is None or resume is False:
        return None
    if save_path is None:
        raise ValueError("resume needs the files of a run, but save_path=None writes none; leave save_path at its default")
    if resume is True:
        folder = Path(save_path) / safe_name(env_id)
        runs = sorted(path for path in folder.glob("*") if (path / "config.json").is_file()) if folder.is_dir() else []
        if not runs:
            raise FileNotFoundError(f"resume=True, but {folder} holds no run; give the run's folder: resume='runs/...'")
        return max(runs, key=lambda path: (path / "config.json").stat().st_mtime)
    folder = Path(resume)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is not a run's folder: it has no config.json")
    return folder


def _save_evidence(folder: Path, error: NonFiniteError) -> Path:
    """What led to a NaN, for the one who looks for its cause."""
    path = folder / f"non-finite-{safe_name(error.what)}"
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in error.evidence.items()}
    write_file(path / "evidence.safetensors", safetensors.torch.save(tensors))
    write_json(path / "message.json", {"what": error.what, "message": str(error)})
    return path


def _say_choices(show: Progress, settings: dict[str, Any], asked: PPOConfig, envs: Envs, device: torch.device, threads: int,
                 folder: Path | None) -> None:  # fmt: skip
    """What was chosen for the user, in three lines."""
    kind = "plain environment" if envs.num_envs == 1 else f"environments ({type(envs.vector).__name__})"
    why = ", one thread because the networks are small" if threads == 1 else f", {threads} threads"
    show.say(
        f"{settings['env']}: {envs.num_envs} {kind}, {device}{why if device.type == 'cpu' else ''}, seed {settings['seed']}"
    )
    chosen = [
        f"{name}={settings['config'].get(name)}"
        for name, value in asdict(asked).items()
        if value is None and settings["config"].get(name) is not None
    ]
    every = (
        f"{settings['rollout_steps']} steps in each environment"
        if settings["rollout_steps"]
        else f"{settings['update_interval']} episodes"
    )
    show.say(f"one update every {every}" + (f"; chosen for control: {', '.join(chosen)}" if chosen else ""))
    if folder is not None:
        show.say(f"writing to {folder}")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version()} | {
        name: version(name) for name in ("gymformer", "torch", "gymnasium", "numpy")
    }
