"""One training run: act, learn, write down, until the budget is spent."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gymformer.evaluation.evaluate import Evaluation
from gymformer.evaluation.trace import trace_episode
from gymformer.files import read_json
from gymformer.monitoring.log import MetricsLog, read_metrics
from gymformer.monitoring.progress import Progress
from gymformer.monitoring.samples import write_samples
from gymformer.monitoring.trackers import Tracker
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.envs import Envs, Tick
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.rollouts import RewardNormalizer, collect
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import TokenEnvs
from gymformer.seeding import derive_seed, seed_globals
from gymformer.trainer.checkpoint import flatten, latest_checkpoint, load_checkpoint, part, save_checkpoint, unflatten
from gymformer.trainer.distributed import ALONE, Ranks, SharedMoments
from gymformer.trainer.interrupts import Interruption
from gymformer.trainer.records import Curriculum, Moment, TrainingResult, outcomes_of, summary_of
from gymformer.trainer.tallies import tallies

__all__ = ["Callback", "Run", "Transform"]

Callback = Callable[[Moment], bool | None]
Transform = Callable[[list[Segment]], dict[str, float]]

RUNNING = 100  # episodes that the running reward is a mean of
SAMPLE = 1024  # tokens; longer episodes are no samples, so that a run's samples stay a few megabytes


@dataclass(slots=True)
class Run:
    """One training run: its parts, and how far it is."""

    settings: dict[str, Any]
    envs: Envs | TokenEnvs
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
    curriculum: Curriculum | None
    evaluate: Callable[[TrainedAgent], Evaluation] | None  # plays on environments apart
    ranks: Ranks = ALONE  # the processes that train together
    reference: ActorNetwork | None = None  # that the samples are compared with
    folder: Path | None = None
    log: MetricsLog | None = None  # only the first process has one
    returns: list[float] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    timesteps: int = 0
    updates: int = 0
    checkpoints: int = 0
    saved_at: int = 0  # episodes over at the last checkpoint
    evaluated_at: int = 0  # episodes over at the last evaluation
    best: float | None = None
    stopped_by_callback: bool = False
    _unsaved: bool = True  # something has happened since the newest checkpoint

    def train(self, interruption: Interruption) -> TrainingResult:
        """The loop: act, let the transforms write their penalties, learn, write down."""
        self.envs.keep_raw = self.callback is not None
        normalizers = (self.agent.observation_moments, self.reward_normalizer and self.reward_normalizer.moments)
        shared = [SharedMoments(self.ranks, moments) for moments in normalizers if moments is not None]
        if not self._is_over():
            self._restart_envs()
        while not (self._is_over() or self.stopped_by_callback or self._is_interrupted(interruption)):
            started, before = time.perf_counter(), self.timesteps
            self.learner.progress = self._progress()  # before acting: the last update would otherwise come with a step of 0
            segments = self._collect(interruption)
            if self._is_interrupted(interruption):
                self.timesteps = before  # what was played since the last update is dropped
                self.show.say(f"{interruption.name or 'a signal'}: saving and ending; once more ends at once")
                break
            self._agree(before)
            for moments in shared:
                moments.merge()
            stats: dict[str, Any] = {}
            for transform in self.transforms:
                stats |= transform(segments)
            stats |= self.learner.update(segments)
            if self.curriculum is not None:
                stats |= self.curriculum.observe(segments) or {}
            self._record(segments, stats, time.perf_counter() - started)
            if len(self.returns) - self.saved_at >= self.settings["save_interval"] and not self._is_over():
                self._checkpoint()
                self._restart_envs()
        if self._unsaved:
            self._checkpoint()
        if self.folder is not None:
            folder = self.folder / "agent"
            self.ranks.from_first(lambda: self.agent.save_pretrained(folder))  # also where a run was killed before it
            self.show.say(f"saved in {self.folder}")
        stopped = "interrupted" if interruption.requested else "callback" if self.stopped_by_callback else "finished"
        returns = self.returns if self.max_episodes is None else self.returns[: self.max_episodes]
        return TrainingResult(returns, agent=self.agent, metrics=self.metrics, path=self.folder, seed=self.settings["seed"],
                              timesteps=self.timesteps, stopped=stopped)  # fmt: skip

    def restore(self) -> None:
        """Everything as it was when the newest checkpoint was written."""
        folder = self.folder
        assert folder is not None
        stored = self.ranks.from_first(lambda: read_json(folder / "config.json"))
        differing = [name for name in self.settings if stored.get(name) != self.settings[name]]
        if differing:
            name = differing[0]
            raise ValueError(f"{self.folder} was started with {name}={stored.get(name)!r}, and cannot go on with "
                             f"{self.settings[name]!r}; call train_agent as before (differing: {', '.join(differing)}), or "
                             "start a new run")  # fmt: skip
        loaded = self.ranks.from_first(lambda: _load_latest(folder / "checkpoints"))
        if loaded is None:  # killed before the first: the run begins again from its seed
            self._cut_log(0)
            self.show.say(f"{self.folder} has no checkpoint yet; it begins again with seed {self.settings['seed']}")
            return
        tensors, state = loaded
        tensors |= part(tensors, f"rank{self.ranks.rank}")  # in which this process differed from the first
        self.agent.load_tensors(part(tensors, "agent"), self.agent.reads_tokens)
        self.learner.load_state_dict(unflatten(part(tensors, "algorithm")))
        self.actions.set_state(tensors["actions"])
        if self.reward_normalizer is not None:
            self.reward_normalizer.moments.load({k: v.numpy() for k, v in part(tensors, "rewards").items()})
        self.returns = tensors["returns"].tolist()
        for name in ("timesteps", "updates", "checkpoints", "saved_at", "evaluated_at", "best"):
            setattr(self, name, state[name])
        curriculum = [state["curriculum"], *state.get("other_curricula", [])][self.ranks.rank]
        if curriculum is not None:
            self.curriculum.load_state_dict(curriculum)  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        for i, (transform, remembered) in enumerate(zip(self.transforms, state["transforms"], strict=True)):
            if remembered is not None:
                transform.load_state_dict(remembered)  # pyright: ignore[reportFunctionMemberAccess]
            if kept := part(tensors, f"transform{i}"):
                transform.load_tensors(kept)  # pyright: ignore[reportFunctionMemberAccess]
        self._cut_log(state["log_offset"])
        self.metrics = self.ranks.from_first(lambda: read_metrics(folder))
        self._unsaved = False
        self.show.say(f"resumed {self.folder} after {len(self.returns)} episodes and {self.timesteps} timesteps")

    def _collect(self, interruption: Interruption) -> list[Segment]:
        episodes = None
        if self.settings["rollout_steps"] is None:
            left = self.settings["update_interval"] if self.max_episodes is None else self.max_episodes - len(self.returns)
            episodes = self.ranks.share(min(self.settings["update_interval"], left))
        done, latest = len(self.returns), (self.metrics[-1] if self.metrics else {})
        live = LiveReturns(self.returns[-RUNNING:], self.envs.episode_returns) if self.callback is not None else None

        def on_tick(tick: Tick) -> bool:
            nonlocal done
            # Each process counts as if the others were as far; `_agree` makes it exact.
            self.timesteps += self.ranks.count * (self.envs.num_envs - int(tick.phantom.sum()))
            if self.callback is not None and live is not None:
                for moment in self._moments(tick, done, live.mean(), latest):
                    self.stopped_by_callback |= is_false(self.callback(moment))
                live.add(tick)
            done += self.ranks.count * int(np.count_nonzero(tick.terminated | tick.truncated))
            return not (interruption.requested or self.stopped_by_callback or self._is_over(done))

        segments: list[Segment] = []
        while not segments and not interruption.requested:  # once more where every step only reset an environment
            segments = collect(self.envs, self.agent.actor, steps=self.settings["rollout_steps"], episodes=episodes,
                               generator=self.actions, on_tick=on_tick, reward_normalizer=self.reward_normalizer,
                               critic=self.agent.critic)  # fmt: skip
        return segments

    def _is_interrupted(self, interruption: Interruption) -> bool:
        """A signal has asked this process, or one that trains with it, to end."""
        asked = self.ranks.any(interruption.requested)
        if asked:
            interruption.requested = True
        return asked

    def _agree(self, before: int) -> None:
        """All processes know how many steps all have taken since `before`, and whether a callback wants to stop."""
        played = self.ranks.gather(((self.timesteps - before) // self.ranks.count, self.stopped_by_callback))
        self.timesteps = before + sum(steps for steps, _ in played)
        self.stopped_by_callback = any(stopped for _, stopped in played)

    def _moments(self, tick: Tick, done: int, running: float | None, latest: dict[str, Any]) -> Iterator[Moment]:
        observations = self.envs.each(tick.observations)
        for b in np.flatnonzero(~tick.phantom).tolist():
            action = tick.actions[b]
            yield Moment(episode=done, timestep=self.timesteps, environment=self.ranks.rank * self.envs.num_envs + b,
                         observation=observations[b], action=action.item() if np.ndim(action) == 0 else action, reward=float(tick.rewards[b]),
                         terminated=bool(tick.terminated[b]), truncated=bool(tick.truncated[b]), running_reward=running,
                         statistics=latest)  # fmt: skip

    def _record(self, segments: list[Segment], stats: dict[str, Any], seconds: float) -> None:
        returns = [segment.episode_return for segment in segments if segment.episode_return is not None]
        lengths = [segment.episode_length for segment in segments if segment.episode_length is not None]
        stats = {name: as_number(value) for name, value in stats.items()}
        returns, lengths, decisions, stats = self.ranks.pooled(returns, lengths, sum(map(len, segments)), stats)
        stats |= tallies(segments, self.ranks)
        outcomes = summary_of(chain.from_iterable(self.ranks.gather(outcomes_of(segments))))
        self.ranks.require_equal(self.learner.networks(), type(self.learner).__name__)
        self.returns += returns
        self.updates += 1
        self._unsaved = True
        record = {
            "update": self.updates, "timesteps": self.timesteps, "episodes": len(self.returns),
            "return_mean": float(np.mean(returns)) if returns else None,
            "length_mean": float(np.mean(lengths)) if lengths else None,
            "running_reward": self._running_reward(), **outcomes, **stats,
            "seconds": seconds, "steps_per_second": decisions / seconds,
            "returns": returns,
        }  # fmt: skip
        if self.settings["eval_interval"] and len(self.returns) - self.evaluated_at >= self.settings["eval_interval"]:
            self.evaluated_at = len(self.returns)
            record |= self.ranks.from_first(self._evaluate)
        self.metrics.append(record)
        if self.log is not None:
            self.log.write(record)
            if self.updates.bit_count() == 1 or self._is_over():
                self._sample(segments)
        self.tracker.log({k: v for k, v in record.items() if isinstance(v, int | float)}, step=self.timesteps)
        done = len(self.returns) if self.max_episodes is not None else self.timesteps
        self.show.update(done, len(self.returns), self._running_reward(), record, self.returns, self.metrics)

    def _sample(self, segments: list[Segment]) -> None:
        """Writes the traces of the best and the worst paid episode. After updates 1, 2, 4, 8, ... and the last: how the agent began
        is seen as well as what became of it, and a long run has few more samples than a short one."""
        whole = [segment for segment in segments if segment.reads_tokens and segment.is_whole and _tokens_in(segment) <= SAMPLE]
        if self.folder is None or not whole:
            return
        paid = sorted(whole, key=lambda segment: segment.episode_return or 0.0)
        known = {name: self.settings["config"].get(name) for name in ("gamma", "lam")}
        known = {
            name: value for name, value in known.items() if value is not None
        }  # of algorithms without a critic there is neither
        traces = [
            trace_episode(self.agent, segment, self.reference, **known) for segment in (paid[-1:] + paid[:1])[: len(paid)]
        ]
        write_samples(self.folder, self.updates, traces)

    def _evaluate(self) -> dict[str, float]:
        """How good the sampled policy is on environments apart; the best agent so far is kept."""
        assert self.evaluate is not None
        result = self.evaluate(self.agent)
        self.show.say(f"episode {len(self.returns)}: {result}")
        if self.best is None or result.mean > self.best:
            self.best = result.mean
            if self.folder is not None:
                self.agent.save_pretrained(self.folder / "best")
        return {"evaluation": result.mean, "evaluation_low": result.interval[0], "evaluation_high": result.interval[1]}

    def _checkpoint(self) -> None:
        self.checkpoints, self.saved_at = self.checkpoints + 1, len(self.returns)
        if self.folder is None:  # the environments are cut all the same: one seed, one run, saved or not
            return
        own = {f"algorithm/{name}": value for name, value in flatten(self.learner.state_dict()).items()}
        own |= {"actions": self.actions.get_state()}
        remember = getattr(self.curriculum, "state_dict", None)
        curricula = self.ranks.gather(None if remember is None else remember())
        differing = self.ranks.gather_differing(own)
        self._unsaved = False
        if self.log is None:
            return
        tensors = own | {f"agent/{name}": value for name, value in self.agent.tensors(self.agent.reads_tokens).items()}
        tensors |= {f"rank{rank}/{name}": value for rank, others in enumerate(differing) for name, value in others.items()}
        tensors |= {"returns": torch.tensor(self.returns, dtype=torch.float64)}
        for i, transform in enumerate(self.transforms):
            kept: dict[str, torch.Tensor] = getattr(transform, "tensors", dict)()
            tensors |= {f"transform{i}/{name}": value for name, value in kept.items()}
        if self.reward_normalizer is not None:
            tensors |= {f"rewards/{k}": torch.from_numpy(v) for k, v in self.reward_normalizer.moments.state().items()}
        names = ("timesteps", "updates", "checkpoints", "saved_at", "evaluated_at", "best")
        state = {name: getattr(self, name) for name in names} | {"log_offset": self.log.offset()}
        state |= {"curriculum": curricula[0], "other_curricula": curricula[1:]}
        remembering = [getattr(one, "state_dict", None) for one in self.transforms]
        state["transforms"] = [None if remember is None else remember() for remember in remembering]
        save_checkpoint(self.folder / "checkpoints", self.checkpoints, tensors, state)
        self.agent.save_pretrained(self.folder / "agent")

    def _cut_log(self, offset: int) -> None:
        if self.log is not None:
            self.log.truncate(offset)

    def _restart_envs(self) -> None:
        """Cuts all environments and resets them with a seed that only the number of checkpoints decides."""
        seed = self.ranks.seed(self.settings["seed"])
        if self.settings["seed_globals"]:
            seed_globals(derive_seed(seed, "globals", self.checkpoints))
        self.envs.reset(derive_seed(seed, "environments", self.checkpoints))
        if isinstance(self.envs, TokenEnvs):
            self.envs.first_task = len(self.returns) // self.envs.group_size + self.ranks.rank
            self.envs.task_step = self.ranks.count
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


def _tokens_in(segment: Segment) -> int:
    return sum(map(len, segment.rows))


class LiveReturns:
    """The running reward while a rollout is under way, for those who watch every step."""

    def __init__(self, returns: list[float], episode_returns: np.ndarray):
        self.last, self.episodes = deque(returns, RUNNING), episode_returns.copy()

    def add(self, tick: Tick) -> None:
        self.episodes += tick.rewards
        self.episodes[tick.lost] = 0.0
        for b in np.flatnonzero(tick.terminated | tick.truncated):
            self.last.append(float(self.episodes[b]))
            self.episodes[b] = 0.0

    def mean(self) -> float | None:
        return sum(self.last) / len(self.last) if self.last else None


def _load_latest(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The newest checkpoint's content, or None before the first."""
    newest = latest_checkpoint(folder)
    return None if newest is None else load_checkpoint(newest)


def is_false(answer: Any) -> bool:
    """A callback's False, Python's or numpy's; None and everything else goes on."""
    return isinstance(answer, bool | np.bool_) and not answer


def as_number(value: Any) -> Any:
    """A statistic as a plain number: numpy scalars and tensors of one element are unpacked."""
    return value.item() if isinstance(value, np.generic | torch.Tensor) else value
