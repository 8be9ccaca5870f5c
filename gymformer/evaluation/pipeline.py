"""EvaluationPipeline: any player in any environment, episode by episode, with all that was played kept on the disk."""

import functools
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import load_env_creator

from gymformer.agents.journal import Journal
from gymformer.device import threads_for
from gymformer.env.making import for_language_model
from gymformer.env.token_env import is_token_env
from gymformer.evaluation.evaluate import FALLBACK_TIMESTEPS, require_same_spaces
from gymformer.evaluation.players import baseline, identity, player_in, resolved
from gymformer.evaluation.results import Comparison, EpisodeRecord, EvaluationResults, Prices, save_chart
from gymformer.files import safe_name, write_json
from gymformer.monitoring.log import read_metrics
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.envs import StepLimit, env_spec, make_envs, name_of
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import TASK, TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens
from gymformer.seeding import derive_seed

if TYPE_CHECKING:
    from gymformer.monitoring.curves import Chart

__all__ = ["SUCCESS", "EvaluationPipeline"]

SUCCESS = ("success", "is_success", "correct", "solved")  # where the last info tells it: the first of these that is there
KINDS = ("task", "family")  # likewise the kind of task
USUAL_DIFFICULTY = 0.5  # where episodes must be alike and nobody says how difficult
AT_ONCE = 64  # episodes that a language model plays side by side; a failure costs no more than these

Source = str | gym.Env | Callable[..., gym.Env]
R = TypeVar("R", EvaluationResults, Comparison)


@dataclass(frozen=True)
class Plan:
    """What is to be played."""

    num_episodes: int
    samples: int
    seed: int
    options: dict[str, Any]  # of every reset
    alike: bool  # episodes of one number must begin alike
    side_by_side: bool  # episodes do not depend on how the ones before them went

    def seed_of(self, episode: int) -> int:
        """As `TokenEnvs` derives it."""
        return derive_seed(derive_seed(self.seed, "episodes"), "episode", episode)


class EvaluationPipeline:
    """Plays episodes and says how good the player is: success rate, rewards, completion, pass@k, length, difficulty, cost.

    agent: a trained agent or its folder, a language model's actor, a `Backend` or `LLMAgent` of gymformer.agents, a function
    from an observation to an action (or from observation and info; or a maker of such functions, without arguments or with
    `rng`), "expert" or "random"; None: "random", said aloud, which is the environment's own guesser where it brings one.

    Success is what the last info says under the first of the keys in `SUCCESS`, from 0 to 1; else whether the return reached
    the registered `reward_threshold`; else it is unknown. options: of every reset. max_timesteps: cuts longer episodes; None:
    1000, where the environment has no limit. greedy: trained agents take their likeliest action. prices: dollars for a million
    tokens read, and written.

    Each episode is written down when it is over. A failure, Ctrl-C or kill leaves `log_dir/NAME-NNN.jsonl`, from which the
    same call with `resume=True` goes on; a complete evaluation is `NAME-NNN.json`. No file is ever overwritten.
    """

    def __init__(self, env: Source, log_dir: str | Path = "logs", *, agent: Any = None, env_kwargs: dict[str, Any] | None = None,
                 options: dict[str, Any] | None = None, max_timesteps: int | None = None, greedy: bool = False,
                 prices: tuple[float, float] | None = None):  # fmt: skip
        if not isinstance(env, str | gym.Env) and not callable(env):
            raise TypeError(f"env is a {type(env).__name__}; give an id, an environment, or a callable that makes one")
        if isinstance(env, gym.Env) and env_kwargs:
            raise ValueError("env_kwargs are for an environment that is still to be made, but an instance was given")
        if prices is not None and (len(prices) != 2 or min(prices) < 0):
            raise ValueError(f"prices={prices}; give dollars for a million tokens read, and for a million written")
        self.env, self.log_dir, self.agent = env, Path(log_dir), agent
        self.env_kwargs, self.options, self.max_timesteps, self.greedy = env_kwargs or {}, options or {}, max_timesteps, greedy
        self.prices = None if prices is None else Prices(*prices)
        self.results: EvaluationResults | Comparison | None = None  # of the last call
        if agent is not None:
            resolved(agent)  # what cannot play is told at once

    def evaluate(self, num_episodes: int = 10, *, seed: int = 0, samples: int = 1, resume: bool = False) -> EvaluationResults:
        """`num_episodes` seeds, each played `samples` times. One seed gives the same episodes."""
        if self.agent is None:
            with ExitStack() as stack:
                said = f"no agent was given, so {name_of(self.env)} is played by {baseline(self._made(stack))}; agent=... names another"
            print(said, file=sys.stderr, flush=True)
        name, player = resolved("random" if self.agent is None else self.agent)
        self.results = self._run({name: player}, name, num_episodes, samples, seed, resume, lambda results: results[name])
        return self.results

    def compare(self, players: Mapping[str, Any], num_episodes: int = 10, *, seed: int = 0, samples: int = 1,
                resume: bool = False) -> Comparison:  # fmt: skip
        """Several players, by the names given, on the same seeds. Differences are to the first.

        Where the environment tells a difficulty, that of all episodes is `options["difficulty"]`, or 0.5, said aloud: it must
        not follow who plays.
        """
        if not players:
            raise ValueError('players is empty; name at least one, such as {"expert": "expert", "random": "random"}')
        chosen = {name: resolved(given)[1] for name, given in players.items()}
        self.results = self._run(chosen, "comparison", num_episodes, samples, seed, resume, Comparison)
        return self.results

    def plot_learning_curve(self, path: str | Path = "learning_curve.png") -> "Chart":
        """Draws how a training run went, where the agent comes from one (its folder, or `train_agent`'s result); else reward,
        success and difficulty over the episodes that were evaluated last."""
        if callable(getattr(self.agent, "plot", None)):
            chart = self.agent.plot()
        elif isinstance(self.agent, str | Path) and (Path(self.agent) / "metrics.jsonl").is_file():
            from gymformer.monitoring.curves import plot_training

            metrics = read_metrics(self.agent)
            chart = plot_training([value for record in metrics for value in record["returns"]], metrics, name_of(self.env))
        elif self.results is None:
            raise RuntimeError("there is nothing to draw; call evaluate() or compare() first")
        else:
            chart = self.results.plot()
        save_chart(chart, Path(path))
        return chart

    def _run(self, players: dict[str, Any], stem: str, num_episodes: int, samples: int, seed: int, resume: bool,
             together: Callable[[dict[str, EvaluationResults]], R]) -> R:  # fmt: skip
        """All that is to be played, written down, and put together."""
        if num_episodes < 1 or samples < 1:
            raise ValueError(f"num_episodes={num_episodes}, samples={samples}; both must be at least 1")
        plan = self._plan(num_episodes, samples, seed, alike=samples > 1 or len(players) > 1)
        settings = json.loads(json.dumps({
            "env": name_of(self.env), "players": list(players), "num_episodes": num_episodes, "samples": samples, "seed": seed,
            "env_kwargs": self.env_kwargs, "options": plan.options, "max_timesteps": self.max_timesteps, "greedy": self.greedy,
            "prices": self.prices, "identities": {name: identity(player) for name, player in players.items()},
        }, default=lambda value: type(value).__name__))  # fmt: skip
        journal = _journal(self.log_dir, f"{safe_name(name_of(self.env))}-{safe_name(stem)}", settings, resume)
        try:
            records = [EpisodeRecord(**record) for record in journal.records[1:]]
            if records and not plan.side_by_side and len(records) < num_episodes:
                raise ValueError(f"the difficulty of {name_of(self.env)} follows how its last episodes went, which a new start does not know; "
                                 'evaluate it anew, or with options={"difficulty": ...}')  # fmt: skip
            for name, player in players.items():
                with closing(self._play(name, player, plan, [one for one in records if one.player == name])) as episodes:
                    for record in episodes:
                        _require_alike(record, records, plan, settings["env"])
                        journal.write(asdict(record))
                        records.append(record)
            path = journal.path.with_suffix(".json")
            results = together({name: EvaluationResults(settings["env"], name, [one for one in records if one.player == name], settings,
                                                        self.prices, path) for name in players})  # fmt: skip
            write_json(path, results.as_dict())
        except BaseException as error:
            played = len(journal.records) - 1
            if played:
                goes_on = "the same call with resume=True goes on from there, and " if plan.side_by_side else ""
                error.add_note(f"{played} of {num_episodes * samples * len(players)} episodes are kept in {journal.path}; {goes_on}load_results "
                               "reads them as they are")  # fmt: skip
            journal.close(delete=not played)
            raise
        journal.close(delete=True)
        print(f"written to {path}", file=sys.stderr, flush=True)
        return results

    def _plan(self, num_episodes: int, samples: int, seed: int, *, alike: bool) -> Plan:
        options, follows = dict(self.options), False
        if "difficulty" not in options:
            with ExitStack() as stack:
                env = self._made(stack)
                _, info = env.reset(seed=seed, options=options or None)
            follows = "difficulty" in info
            if follows and alike:
                options["difficulty"], follows = USUAL_DIFFICULTY, False
                print(f"every episode has difficulty {USUAL_DIFFICULTY}, so that all are alike; options={{\"difficulty\": ...}} says another",
                      file=sys.stderr, flush=True)  # fmt: skip
        return Plan(num_episodes, samples, seed, options, alike, side_by_side=not follows)

    def _made(self, stack: ExitStack) -> gym.Env:
        """The environment. What an id stands for is closed with the stack; what is the user's stays open."""
        env = self._make()
        if isinstance(self.env, str):
            stack.enter_context(closing(env))
        return env

    def _make(self, **arguments: Any) -> gym.Env:
        match self.env:
            case str() as env_id:
                return gym.make(env_id, disable_env_checker=True, **(self.env_kwargs | arguments))
            case gym.Env() as env:
                return env
            case make:
                env = make(**(self.env_kwargs | arguments))
        if not isinstance(env, gym.Env):
            raise TypeError(f"{name_of(self.env)}() gave a {type(env).__name__}, not a gymnasium.Env")
        return env

    def _play(self, name: str, player: Any, plan: Plan, done: list[EpisodeRecord]) -> Generator[EpisodeRecord, None, None]:
        """Of the episodes that are not done yet."""
        known = {(record.episode, record.sample) for record in done}
        if len(known) == plan.num_episodes * plan.samples:
            return
        language = isinstance(player, TrainedAgent) and player.reads_tokens
        playing = self._play_tokens(name, player, plan, len(known)) if language else self._play_alone(name, player, plan, known)
        with closing(playing) as episodes:
            yield from (record for record in episodes if (record.episode, record.sample) not in known)

    def _play_alone(
        self, name: str, given: Any, plan: Plan, known: set[tuple[int, int]]
    ) -> Generator[EpisodeRecord, None, None]:
        """One episode after another."""
        with ExitStack() as stack:
            limit = StepLimit(self.max_timesteps, getattr(given, "max_timesteps", None) or FALLBACK_TIMESTEPS)
            env = Watched(limit.applied(self._made(stack)), watched := [])
            player = stack.enter_context(closing(player_in(env, given, self.greedy)))
            if isinstance(given, TrainedAgent):
                stack.enter_context(threads_for(next(given.actor.parameters()).device, given.actor))
            for episode in range(plan.num_episodes):
                for sample in range(plan.samples):
                    if (episode, sample) in known:
                        continue
                    options = plan.options | ({TASK: episode} if getattr(env.unwrapped, "in_order", False) else {})
                    before, start = player.usage(), time.perf_counter()
                    observation, info = player.env.reset(seed=plan.seed_of(episode), options=options or None)
                    player.begin(derive_seed(plan.seed, "player", episode, sample))
                    total, words, terminated, truncated = 0.0, None, False, False
                    while not (terminated or truncated):
                        action, said = player.act(observation, info)
                        words = words if said is None else (words or 0) + len(said.split())
                        observation, reward, terminated, truncated, info = player.env.step(action)
                        total += float(reward)
                    after, seconds = player.usage(), time.perf_counter() - start
                    tokens = None if before is None or after is None else (after[0] - before[0], after[1] - before[1])
                    yield _record(
                        name, episode, sample, plan, watched.pop(), total, info, bool(terminated), words, tokens, seconds, env
                    )

    def _play_tokens(self, name: str, agent: TrainedAgent, plan: Plan, done: int) -> Generator[EpisodeRecord, None, None]:
        """A language model's episodes, side by side; from the first seed on that is not done."""
        with ExitStack() as stack:
            envs = self._token_envs(agent, plan, watched := [])
            if not isinstance(self.env, gym.Env):
                stack.enter_context(closing(envs))
            require_same_spaces(agent, envs)
            envs.reset(derive_seed(plan.seed, "episodes"))
            envs.options, envs.group_size = lambda: plan.options, plan.samples
            stack.enter_context(threads_for(agent.actor.device, agent.actor))
            at_once = max(1, AT_ONCE // plan.samples)
            for first in range(done // plan.samples, plan.num_episodes, at_once):
                episodes = min(at_once, plan.num_episodes - first)
                envs.episodes = first * plan.samples
                generator = torch.Generator(agent.actor.device).manual_seed(derive_seed(plan.seed, "actions", first))
                watched.clear()
                start = time.perf_counter()
                segments = collect_tokens(
                    envs, agent.actor, episodes=episodes * plan.samples, generator=generator, greedy=self.greedy
                )
                seconds = (time.perf_counter() - start) / len(segments)
                for n, (segment, begun) in enumerate(zip(segments, watched, strict=True)):
                    episode, sample = divmod(n, plan.samples)
                    yield _record(name, first + episode, sample, plan, begun, float(segment.episode_return or 0), segment.info,
                                  segment.terminated, _words(agent, segment), _tokens(segment), seconds, envs.envs[0])  # fmt: skip

    def _token_envs(self, agent: TrainedAgent, plan: Plan, watched: "list[Begun]") -> TokenEnvs:
        made: list[gym.Env] = []

        def make(**arguments: Any) -> gym.Env:
            made.append(self._make(**arguments))
            return Watched(made[-1], watched)

        source: Any = make() if isinstance(self.env, gym.Env) else _with_signature_of(self.env, make)
        arguments: dict[str, Any] = {}
        if getattr(agent.actor, "has_tokenizer", False):
            source, arguments = for_language_model(source, {}, agent.actor.tokenizer, context=agent.actor.context)  # type: ignore[attr-defined]
        if isinstance(self.env, str):  # made to see what it is
            for env in made:
                env.close()
        rows = min(plan.num_episodes * plan.samples, AT_ONCE, agent.actor.rows_at_once)
        alone = isinstance(self.env, gym.Env) or not plan.side_by_side
        envs = make_envs(source, 1 if alone else rows, env_kwargs=arguments, max_timesteps=self.max_timesteps,
                         fallback_timesteps=agent.max_timesteps or FALLBACK_TIMESTEPS)  # fmt: skip
        if not isinstance(envs, TokenEnvs):
            raise ValueError(f"the agent reads tokens, but {name_of(self.env)} shows {envs.observation_space}; an actor with a tokenizer could "
                             "play it in words")  # fmt: skip
        return envs


@dataclass(slots=True)
class Begun:
    """An episode, as the environment itself sees it."""

    opening: str  # a hash
    steps: int = 0
    difficulty: Any = None


class Watched(gym.Wrapper):
    """Notes how each episode begins, and how many steps it has, below all wrappers that put it into words or tokens."""

    def __init__(self, env: gym.Env, watched: list[Begun]):
        super().__init__(env)
        self._watched = watched

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._begun = Begun(_opening(self.env, observation, info), difficulty=info.get("difficulty"))
        self._watched.append(self._begun)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._begun.steps += 1
        return self.env.step(action)


def _opening(env: gym.Env, observation: Any, info: dict[str, Any]) -> str:
    """A hash of what an episode begins with. Of tokens, which are each model's own, what the info says in words."""
    if is_token_env(env):
        facts = {name: value for name, value in info.items() if name not in ("prompt", "text") and isinstance(value, str)}
        observation = facts or info.get("prompt") or observation
    return hashlib.sha256(json.dumps(_exact(observation), sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _exact(observation: Any) -> Any:
    """What JSON can hold of it, arrays by the hash of their bytes."""
    if isinstance(observation, np.ndarray):
        return hashlib.sha256(observation.tobytes()).hexdigest()
    if isinstance(observation, Mapping):
        return {str(name): _exact(part) for name, part in observation.items()}
    return [_exact(part) for part in observation] if isinstance(observation, list | tuple) else observation


def _record(name: str, episode: int, sample: int, plan: Plan, begun: Begun, reward: float, info: dict[str, Any], completed: bool,
            words: int | None, tokens: tuple[int, int] | None, seconds: float, env: gym.Env) -> EpisodeRecord:  # fmt: skip
    if not math.isfinite(reward):
        raise ValueError(
            f"episode {episode} of {name} brought the reward {reward}, of which there is no mean; mend the environment's rewards"
        )
    read, written = tokens or (None, None)
    difficulty = info.get("difficulty", begun.difficulty)
    return EpisodeRecord(
        player=name, episode=episode, sample=sample, seed=plan.seed_of(episode), opening=begun.opening, reward=reward,
        success=_success(env, info, reward), completed=completed, steps=begun.steps, words=words, tokens_read=read, tokens_written=written,
        seconds=seconds, difficulty=float(difficulty) if isinstance(difficulty, int | float | np.number) else None,
        task=next((info[key] for key in KINDS if isinstance(info.get(key), str)), None),
    )  # fmt: skip


def _success(env: gym.Env, info: dict[str, Any], reward: float) -> float | None:
    """From 0 to 1, by the first of `SUCCESS` that the last info has, or by the return that the registration names."""
    for key in SUCCESS:
        value = info.get(key)
        if value is None:
            continue
        if not isinstance(value, bool | int | float | np.number | np.bool_) or not 0 <= float(value) <= 1:
            raise ValueError(f"info[{key!r}] is {value!r}; a success is a number from 0 to 1, or a bool")
        return float(value)
    spec = env.unwrapped.spec
    return None if spec is None or spec.reward_threshold is None else float(reward >= spec.reward_threshold)


def _words(agent: TrainedAgent, segment: Segment) -> int | None:
    if not getattr(agent.actor, "has_tokenizer", False):
        return None
    return len(agent.actor.tokenizer.decode(segment.actions.tolist(), skip_special_tokens=True).split())  # type: ignore[attr-defined]


def _tokens(segment: Segment) -> tuple[int, int]:
    """Those that others wrote and it read, and those that it wrote."""
    return max(0, sum(map(len, segment.rows)) - len(segment)), len(segment)


def _require_alike(record: EpisodeRecord, others: list[EpisodeRecord], plan: Plan, env: str) -> None:
    other = next((one for one in others if one.episode == record.episode), None) if plan.alike else None
    if other is not None and other.opening != record.opening:
        raise ValueError(f"episode {record.episode} began differently for {record.player} than for {other.player}, with the same seed "
                         f"({record.seed}), so the two cannot be compared; {env} must draw from self.np_random in reset(seed=...) alone, "
                         "and what follows its past be fixed by options={...} or env_kwargs={...}")  # fmt: skip


def _journal(folder: Path, stem: str, settings: dict[str, Any], resume: bool) -> Journal:
    """A new one, under a number that is free; or the newest that was left with these settings."""
    folder.mkdir(parents=True, exist_ok=True)
    if resume:
        others = ""
        for path in sorted(folder.glob(f"{stem}-*.jsonl"), reverse=True):
            journal = Journal(path)
            if journal.records and journal.records[0] == settings:
                return journal
            journal.close()
            if journal.records and not others:
                differ = [key for key, value in settings.items() if journal.records[0].get(key) != value]
                others = f" ({path.name} differs in {', '.join(differ)})"
        raise FileNotFoundError(
            f"no evaluation with these settings was interrupted in {folder}{others}; leave out resume, and it begins"
        )
    for number in count(1):
        path = folder / f"{stem}-{number:03d}.jsonl"
        if path.with_suffix(".json").exists():
            continue
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        journal = Journal(path)
        journal.write(settings)
        return journal
    raise AssertionError


def _with_signature_of(env: Any, make: Callable[..., gym.Env]) -> Callable[..., gym.Env]:
    """`make`, which shows what arguments the environment's maker takes: a tokenizer is passed to who takes one."""
    if not isinstance(env, str):
        return functools.update_wrapper(make, env)
    spec, make.__name__ = env_spec(env), env
    if {"tokenizer", "model_name"} & spec.kwargs.keys():  # it has one
        return make
    maker = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    if maker is not None:
        make.__wrapped__ = maker  # type: ignore[attr-defined]  # where inspect.signature looks
    return make
