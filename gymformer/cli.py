"""The command line: train, evaluate and watch agents, train reward models, and list environments."""

import contextlib
import io
import json
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gymnasium as gym

    from gymformer.config import Settings
    from gymformer.rl.agent import TrainedAgent
    from gymformer.sweep import Sweep, Trial
    from gymformer.trainer.records import TrainingResult

__all__ = ["main"]

OVERVIEW = """\
usage: gymformer COMMAND [options]

Trains agents in any Gymnasium environment, evaluates them, and lets you watch them play.

commands:
{commands}

options:
  -h, --help  show this text; "gymformer COMMAND --help" explains a command and its options
  --version   show the version

examples:
  gymformer demo                                    a tour of three minutes
  gymformer envs lunar                              what can be trained in
  gymformer train CartPole-v1 --seed 0              train, save, evaluate
  gymformer sweep configs/sweeps/ppo.yaml --runs 8       the same with many settings, and which did best
  gymformer reward MODEL DATA OUTPUT --dry-run      what a reward model's training would take
  gymformer eval runs/CartPole-v1/... --greedy      100 episodes of a saved agent, with an interval
  gymformer eval LogicPuzzle-v0 --compare expert random   on the same seeds
  gymformer play runs/CartPole-v1/... --gif it.gif  watch it
  gymformer report runs/CartPole-v1                 one page about all of them
  gymformer watch runs                              the same while they learn
  gymformer play configs/blackjack.yaml             a language model behind HTTP plays
"""
GIF_FPS = 25  # frames a second; more only make the file larger
FALLBACK_LIMIT = 1000  # steps of an episode where the environment itself sets no limit: train_agent's default


class UsageError(Exception):
    """Something the user can put right; shown as one line."""


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0, 1 (it did not reach its goal), 2 (wrong use) or 130 (Ctrl-C)."""
    name, *args = (sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        match name:
            case "-h" | "--help":
                summaries = {command: (run.__doc__ or "").splitlines()[0] for command, run in COMMANDS.items()}
                print(OVERVIEW.format(commands="\n".join(f"  {c:<8}{text}" for c, text in summaries.items())), end="")
                return 0
            case "--version":
                from importlib.metadata import version

                print(f"gymformer {version('gymformer')}")
                return 0
            case _ if name in COMMANDS:
                return COMMANDS[name](args)
        near = get_close_matches(name, COMMANDS, n=1) or list(COMMANDS)
        raise UsageError(f"{name!r} is not a command; did you mean {', '.join(near)}? See gymformer --help")
    except SystemExit as end:  # --help of a command
        return int(end.code or 0)
    except KeyboardInterrupt as stop:
        print("; ".join(["gymformer: interrupted", *getattr(stop, "__notes__", [])]), file=sys.stderr)
        return 130
    except BrokenPipeError:  # `gymformer envs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        lines = [str(error), *getattr(error, "__notes__", [])]
        print(f"gymformer: error: {'; '.join(' '.join(line.split()) for line in lines)}", file=sys.stderr)
        return 1 if isinstance(error, ArithmeticError) else 2


def train(args: list[str]) -> int:
    """train an agent in an environment, save and evaluate it"""
    if args[:1] == ["gsm8k"]:
        return _train_gsm8k(args)
    settings, options = _what_to_train(args)
    return _train(settings, options, args)


def _what_to_train(args: list[str]) -> tuple["Settings", Any]:
    """The settings, checked, and all options."""
    from gymformer.config import TrainOptions
    from gymformer.rl.ppo import PPOConfig

    @dataclass(frozen=True)
    class Options(TrainOptions):
        __doc__ = TrainOptions.__doc__
        ppo: PPOConfig = field(default_factory=PPOConfig)

    settings = _settings(options := _parse("train", args, Options), args)
    with contextlib.closing(_make(settings.env, settings.env_kwargs)) as env:
        if (obstacle := _obstacle(env)) is not None:
            raise UsageError(obstacle)
        if (unfit := _unfit_model(settings, env)) is not None:
            raise UsageError(unfit)
    return settings, options


def sweep(args: list[str]) -> int:
    """train once for each of many settings, and print which did best"""
    from gymformer.agents.journal import Journal
    from gymformer.sweep import Trial, read_sweep, sweep_table

    options = _parse("sweep", args)
    described = read_sweep(options.path)
    folder = options.folder or Path("sweeps") / options.path.stem
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Journal(folder / "runs.jsonl")) as journal:
        ended = {trial.number: trial for trial in (Trial(**record) for record in journal.records)}
        for trial in described.trials(options.runs, options.seed):
            if trial.number in ended:
                if ended[trial.number].parameters != trial.parameters:
                    raise UsageError(f"{journal.path} has run {trial.number} with {ended[trial.number].parameters}, but {options.path} asks "
                                     f"for {trial.parameters}; name another --folder for another sweep")  # fmt: skip
                continue
            print(f"run {trial.number}: {trial.parameters}", flush=True)
            reached = _reached(described, trial, folder / f"{trial.number:04d}")
            if reached is None:
                print(f"go on with: {shlex.join(['gymformer', 'sweep', *args])}")
                return 130
            ended[trial.number] = reached
            journal.write(asdict(reached))
    table = sweep_table(described, list(ended.values()))
    (folder / "sweep.md").write_text(table + "\n", encoding="utf-8")
    print(f"{table}\nsaved in {folder / 'sweep.md'}")
    return 0


def _reached(sweep: "Sweep", trial: "Trial", folder: Path) -> "Trial | None":
    """The trial with what it reached: no metric where its numbers ran away, which is a result of a sweep. None: interrupted."""
    try:
        result = _train_trial(sweep.arguments_of(trial), folder)
    except ArithmeticError as error:
        print(f"run {trial.number} failed: {error}", file=sys.stderr)
        return trial
    if result.stopped == "interrupted":
        return None
    metrics = result.metrics[-1] if result.metrics else {}
    if sweep.metric not in metrics:
        raise UsageError(f"the runs have no metric {sweep.metric!r}; they have {', '.join(metrics) or 'none'}")
    return replace(trial, metric=float(metrics[sweep.metric]), path=str(result.path))


def _train_trial(args: list[str], folder: Path) -> "TrainingResult":
    """A run in its own folder; one that was interrupted there goes on. Trackers stay silent."""
    from gymformer import train_agent

    args = [*args, "--save-path", str(folder), "--tracker", "None", "--progress", "False"]
    settings, _ = _what_to_train([*args, "--resume", "True"] if any(folder.glob("*/*/config.json")) else args)
    return train_agent(**settings.arguments(), **_language_models(settings))


def _train_gsm8k(args: list[str]) -> int:
    options = _parse("train gsm8k", args[1:])
    settings = {
        name: value for group in (options.problems, options.model, options.learning, options.run) for name, value in group
    }
    if (cache := settings.pop("cache_dir")) is not None:
        os.environ["HF_HUB_CACHE"] = str(cache)  # read when the hub's client is imported, which is below
    from gymformer.trainer.gsm8k import train_gsm8k

    result = train_gsm8k(**settings)
    if result.run.stopped == "interrupted":
        if result.run.path is not None:
            again = args if "resume" in _flags(args) else [*args, "--resume", str(result.run.path)]
            print(f"go on with: {shlex.join(['gymformer', 'train', *again])}")
        return 130
    before = "" if result.before is None else f", {result.before:.1%} before"
    print(f"{result.after:.1%} of {result.problems} test problems are solved{before}")
    if result.run.path is not None:
        print(f"saved in {result.run.path}")
    return 0


def _settings(options: Any, args: list[str]) -> "Settings":
    """The layers of settings, one over the other."""
    from gymformer.config import merge, read_config, validate
    from gymformer.presets import preset, preset_names
    from gymformer.rl.ppo import PPOConfig

    given: dict[str, Any] = {"ppo_config": {}} | ({} if options.env is None else {"env": _imported(options.env)})
    groups = (
        options.budget,
        options.update,
        options.environment,
        options.network,
        options.language,
        options.run,
        options.monitoring,
    )
    values = {name: value for group in groups for name, value in group}
    for flag in _flags(args):
        group, _, name = flag.rpartition(".")
        if group == "ppo":
            given["ppo_config"][name] = getattr(options.ppo, name)
        elif name in values:
            given[name] = values[name]
    layers = given if options.config is None else merge(read_config(options.config, PPOConfig), given)
    if "env" not in layers:
        raise UsageError("no environment was given; name one first (gymformer train CartPole-v1), or in the file of --config")
    if options.preset and layers["env"] in preset_names():
        tuned = preset(layers["env"])
        own, layers = layers, merge(tuned | {"ppo_config": asdict(tuned["ppo_config"])}, layers)
        kept = [name for name in tuned if name in layers and (name == "ppo_config" or name not in own)]
        print(f"using the preset for {layers['env']} ({', '.join(kept)}); --no-preset leaves it out", file=sys.stderr)
    return validate(layers, PPOConfig)


def _flags(args: list[str]) -> set[str]:
    """The options that the user wrote, as Python names: {"seed", "ppo.lr_actor"} of --seed 3 --ppo.lr-actor=1e-3."""
    names = (word.partition("=")[0].removeprefix("--").replace("-", "_") for word in args if word.startswith("--"))
    return {re.sub(r"(^|\.)no_", r"\1", name) for name in names}


def _train(settings: "Settings", options: Any, args: list[str]) -> int:
    from gymformer import evaluate, train_agent
    from gymformer.config import EPISODES
    from gymformer.monitoring.progress import short

    result = train_agent(**settings.arguments(), **_language_models(settings))
    last = min(len(result), 100)
    mean = "" if result.running_reward is None else f"; mean return of the last {last}: {short(result.running_reward)}"
    print(f"trained for {len(result)} episodes, {result.timesteps} timesteps{mean}")
    if result.path is not None:
        print(f"saved in {result.path}")
    if result.stopped == "interrupted":
        if result.path is not None:
            again = args if "resume" in _flags(args) else [*args, "--resume", str(result.path)]
            print(f"go on with: {shlex.join(['gymformer', 'train', *again])}")
        return 130
    if options.evaluate:
        for greedy in (False, True):
            print(evaluate(result.agent, settings.env, episodes=EPISODES, greedy=greedy, env_kwargs=settings.env_kwargs,
                           max_timesteps=_limit(settings.env, settings.max_timesteps)))  # fmt: skip
    if result.path is not None:
        named = ["--env", options.env] if options.env not in (None, settings.env) else []
        if named and settings.env_kwargs:  # an agent remembers the arguments of an environment that it knows by itself
            named += ["--env-kwargs", *(f"{k}={v}" for k, v in settings.env_kwargs.items())]
        print(f"watch it: {shlex.join(['gymformer', 'play', str(result.path), *named])}")
    return 0


def _unfit_model(settings: "Settings", env: "gym.Env") -> str | None:
    """Why the language model that was asked for, or the lack of one, does not fit the environment, if it does not."""
    from gymformer.env.making import is_for_language
    from gymformer.env.to_text import has_words

    said = settings.choices()
    if not _speaks(env):
        if "model" in said and has_words(env):
            return None
        options = ", ".join(f"--{name.replace('_', '-')}" for name in said)
        return f"{settings.env} has nothing to say to a language model; leave out {options}" if said else None
    if settings.model is None and not is_for_language(settings.env):
        return f"{settings.env} is played in words; name the language model that acts: --model models/reasoner"
    return None


def _language_models(settings: "Settings") -> dict[str, Any]:
    """Actor and critic that `train_agent` would not choose by itself."""
    said = settings.choices()
    if not said:
        return {}
    from gymformer.env.making import default_model
    from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork
    from gymformer.trainer.trainer import DEFAULT_MODEL

    name, critic = said.pop("model", default_model(settings.env) or DEFAULT_MODEL), said.pop("critic_model", None)
    shared = {key: value for key, value in said.items() if key in ("lora", "dtype", "gradient_checkpointing")}
    networks = {"actor": LMActorNetwork(name, **said)}
    return networks if critic is None else networks | {"critic": LMCriticNetwork(critic, **shared)}


def reward(args: list[str]) -> int:
    """train a reward model on preferences, and report how good it is"""
    from gymformer.config import read_reward_config, validate_reward

    options = _parse("reward", args)
    layers = {} if options.config is None else read_reward_config(options.config)
    named = {name: getattr(options, name) for name in ("model_name", "datasets_path", "reward_model_path")}
    layers |= {name: value for name, value in named.items() if value is not None}
    values = {name: value for group in (options.data, options.learning, options.run) for name, value in group}
    layers |= {name: values[name] for name in _flags(args) if name in values}
    missing = [name for name in named if name not in layers]
    if missing:
        raise UsageError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; say gymformer reward MODEL DATA OUTPUT, or name "
                         "them in the file of --config")  # fmt: skip
    settings = validate_reward(layers)
    from gymformer.trainer.reward import train_reward

    run = train_reward(**dict(settings)).run
    if run.stopped == "interrupted":
        again = args if "resume_checkpoint" in _flags(args) else [*args, "--resume-checkpoint", "True"]
        print(f"interrupted after {run.steps} steps; go on with: {shlex.join(['gymformer', 'reward', *again])}")
        return 130
    if run.stopped == "dry run":
        print(f"dry run passed; a full run takes about {run.estimate:.0f} seconds")
        return 0
    print(f"{run.report}\nsaved in {run.path}; the report is {run.path / 'report.md'}")
    return 0


def evaluate(args: list[str]) -> int:
    """evaluate an agent, or any player in any environment: success, rewards, intervals"""
    options = _parse("eval", args)
    path, others = Path(options.path), options.players
    if not path.exists() or others.player is not None or others.compare:
        return _evaluate_players(options, path)
    from gymformer import evaluate

    agent, env_id, env_kwargs = _load(path, options.env, options.env_kwargs)
    if not agent.reads_tokens:
        _make_for(agent, path, env_id, env_kwargs).close()
    result = evaluate(agent, env_id, episodes=options.episodes, greedy=options.greedy, seed=options.seed,
                      env_kwargs=env_kwargs, max_timesteps=_limit(env_id, FALLBACK_LIMIT))  # fmt: skip
    print(json.dumps({"path": str(path), "env": env_id, **result.as_dict()}) if options.json else f"{env_id}: {result}")
    return 0


def _evaluate_players(options: Any, path: Path) -> int:
    """One player, or several on the same seeds."""
    from gymformer.evaluation import EvaluationPipeline

    chosen = options.players
    names = list(chosen.compare) if chosen.player is None else [chosen.player, *chosen.compare]
    if path.exists():
        _, env_id, env_kwargs = _load(path, options.env, options.env_kwargs)
        names.insert(0, str(path))
    elif options.env is not None:
        raise UsageError(
            f"{path} is no folder of an agent, so it names the environment, and --env {options.env} another; name one"
        )
    else:
        env_id, env_kwargs = _imported(options.path), options.env_kwargs
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(names)}: a player is named twice")
    _make(env_id, env_kwargs).close()
    players = {name: _player(name, chosen) for name in names}
    difficulty = {} if chosen.difficulty is None else {"difficulty": chosen.difficulty}
    pipeline = EvaluationPipeline(env_id, chosen.log_dir, agent=players[names[0]] if len(names) == 1 else None, env_kwargs=env_kwargs,
                                  options=difficulty, greedy=options.greedy, prices=chosen.prices)  # fmt: skip
    played = {"num_episodes": options.episodes, "seed": options.seed, "samples": chosen.samples, "resume": chosen.resume}
    results = pipeline.evaluate(**played) if len(names) < 2 else pipeline.compare(players, **played)
    print(json.dumps(results.as_dict()) if options.json else results, end="\n" if options.json else "")
    if chosen.plot is not None:
        results.plot(chosen.plot)
        print(f"drawn in {chosen.plot}", file=sys.stderr)
    return 0


def _player(name: str, options: Any) -> Any:
    """Whom a name on the command line means."""
    if name != "http" and Path(name).suffix not in (".yaml", ".yml"):
        if name not in ("expert", "random") and not Path(name).exists():
            raise UsageError(f"{name} is no player; say expert, random, http, the folder of an agent, or a YAML file")
        return name
    from gymformer.agents.backends import Backend
    from gymformer.agents.settings import parse_config, section_settings

    if name != "http":
        return Backend(section_settings("agent", parse_config(name)["agent"]))
    if options.model is None:
        raise UsageError("http needs the name of a model: --model llama3.1 (and --base-url for a server elsewhere)")
    settings = {"backend": options.backend, "model": options.model, "base_url": options.base_url}
    return Backend(section_settings("agent", settings))


def play(args: list[str]) -> int:
    """watch a saved agent play, in a GIF or in a window; or a language model behind HTTP"""
    options = _parse("play", args)
    if options.path.suffix in (".yaml", ".yml"):
        return _play_experiment(options.path, args)
    if options.episodes < 1:
        raise UsageError(f"--episodes {options.episodes}; at least 1 is needed")
    if options.human and options.gif is not None:
        raise UsageError("--human shows a window and --gif writes a file; choose one of them")
    if options.human and sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & set(os.environ):
        raise UsageError("--human needs a screen, and DISPLAY names none; leave it out, and a GIF is written")
    agent, env_id, env_kwargs = _load(options.path, options.env, options.env_kwargs)
    if agent.reads_tokens:
        return _play_in_words(agent, env_id, env_kwargs, options)
    if options.html is not None:
        raise UsageError(f"--html shows tokens, and {env_id} is played without any; --gif writes a picture")
    mode = "human" if options.human else "rgb_array"
    return _play(agent, _make_for(agent, options.path, env_id, env_kwargs, mode), env_id, options)


def _play_experiment(path: Path, args: list[str]) -> int:
    """Plays what a configuration file describes."""
    from gymformer.agents import parse_config, results_table, run_experiment

    if said := _flags(args):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(said))
        raise UsageError(f"{path} describes a whole experiment, and {flags} would change it; write it into the file")
    config = parse_config(path)
    run_experiment(config)
    table = results_table(config["experiment"]["parent"])
    print(f"the table of all experiments is {table.save(config['experiment']['parent'])[0]}")
    return 0


def _play_in_words(agent: "TrainedAgent", env_id: str, env_kwargs: dict[str, Any] | None, options: Any) -> int:
    from gymformer.env.rendering import printable
    from gymformer.evaluation import play_tokens, trace_episode
    from gymformer.monitoring.trace import save_traces

    if options.human or options.gif is not None:
        raise UsageError(f"{env_id} is played in words, which are printed; leave out --human and --gif, or say --html FILE")
    traces = []
    for seed in range(options.seed, options.seed + options.episodes):
        (segment,) = play_tokens(agent, env_id, episodes=1, greedy=options.greedy, seed=seed, env_kwargs=env_kwargs)
        trace = trace_episode(agent, segment)
        print("".join(printable(token.text) for token in trace.tokens))
        print(f"{env_id}, seed {seed}: return {segment.episode_return:g}", flush=True)
        traces.append(trace)
    if options.html is not None:
        print(f"written to {save_traces(traces, options.html, env_id)}")
    return 0


def _play(agent: "TrainedAgent", env: "gym.Env", env_id: str, options: Any) -> int:
    from gymformer.evaluation import play_episode, save_gif
    from gymformer.files import safe_name

    limit, frames = _limit(env_id, FALLBACK_LIMIT) or sys.maxsize, []
    with contextlib.closing(env):
        for seed in range(options.seed, options.seed + options.episodes):
            total, shown = play_episode(agent, env, greedy=options.greedy, seed=seed, max_timesteps=limit)
            print(f"{env_id}, seed {seed}: return {total:g}", flush=True)
            frames += shown
        fps = env.metadata.get("render_fps") or 30
    if not options.human:
        every = max(1, round(fps / GIF_FPS))
        default = Path(f"{safe_name(env_id)}-seed{options.seed}.gif")
        path = save_gif(frames[::every] + frames[-1:], options.gif or default, fps=round(fps / every))
        print(f"written to {path}")
    return 0


def _load(
    path: Path, env_id: str | None, env_kwargs: dict[str, Any] | None
) -> "tuple[TrainedAgent, str, dict[str, Any] | None]":
    """A saved agent, and an environment's id and arguments: where none are given, those that the agent was trained with."""
    import gymnasium as gym

    from gymformer import load_agent

    agent = load_agent(path)
    named, env_id = env_id is not None, env_id or agent.env_id
    if env_id is None:
        raise UsageError(f"the agent in {path} does not know its environment; name it: --env ID")
    if ":" in env_id and not named:
        raise UsageError(
            f"the agent in {path} was trained in {env_id}, which imports a module; if you trust it, say --env {env_id}"
        )
    if not named and env_id not in gym.registry:
        raise UsageError(f"{path} was trained in {env_id}, which is not registered here; say --env my_module:{env_id} if a module of "
                         "yours registers it")  # fmt: skip
    env_id = _imported(env_id)
    return agent, env_id, agent.env_kwargs if not named and env_kwargs is None else env_kwargs


def _make_for(
    agent: "TrainedAgent", path: Path, env_id: str, env_kwargs: dict[str, Any] | None, mode: str | None = None
) -> "gym.Env":
    """An environment of the spaces that the agent knows."""
    env = _make(env_id, env_kwargs) if mode is None else _make_shown(env_id, env_kwargs, mode)
    for what in ("observation_space", "action_space"):
        has, wants = getattr(env, what), getattr(agent, what)
        if has != wants:
            env.close()
            raise UsageError(
                f"the agent in {path} was trained for the {what} {wants} (of {agent.env_id}), but {env_id} has {has}"
            )
    return env


def envs(args: list[str]) -> int:
    """list the environments that agents can be trained in"""
    options = _parse("envs", args)
    import gymnasium as gym

    ids = list(gym.registry) if options.all else _newest(list(gym.registry))
    chosen = [env_id for env_id in ids if options.filter.lower() in env_id.lower()]
    if not chosen:
        raise UsageError(f"no environment's id contains {options.filter!r}; gymformer envs --all lists every one")
    _print_table(
        ("id", "observation", "action", "threshold", "preset", "can be trained in"), [_row(env_id) for env_id in chosen]
    )
    return 0


def _newest(ids: list[str]) -> list[str]:
    """The newest version of each environment, where it has several."""
    from gymnasium.envs.registration import parse_env_id

    parsed = {env_id: parse_env_id(env_id) for env_id in ids}
    newest: dict[tuple[str | None, str], int] = {}
    for namespace, name, version in parsed.values():
        newest[namespace, name] = max(newest.get((namespace, name), -1), -1 if version is None else version)
    return [env_id for env_id, (namespace, name, version) in parsed.items()
            if (-1 if version is None else version) == newest[namespace, name]]  # fmt: skip


def _row(env_id: str) -> tuple[str, ...]:
    import gymnasium as gym

    from gymformer.presets import preset_names

    threshold = gym.spec(env_id).reward_threshold
    known = ("" if threshold is None else f"{threshold:g}", "yes" if env_id in preset_names() else "")
    try:
        with warnings.catch_warnings(action="ignore"):  # that a version is old is why it is not shown without --all
            env = _make(env_id)
    except Exception as error:  # whatever one environment does, the others are listed
        reason = " ".join(str(error).split()).removeprefix(f"{env_id} cannot be made: ")
        return env_id, "", "", *known, f"no: {reason or type(error).__name__}"
    with contextlib.closing(env):
        spaces = (_short(env.observation_space), _short(env.action_space))
        obstacle = _obstacle(env)
    return env_id, *spaces, *known, "yes" if obstacle is None else f"no: {obstacle}"


def _short(space: "gym.Space") -> str:
    """A space in a few characters: its kind and its size."""
    from gymnasium import spaces

    match space:
        case spaces.Box():
            return f"Box({'×'.join(map(str, space.shape)) or '1'}{', ' + str(space.dtype) if space.dtype != 'float32' else ''})"
        case spaces.Discrete():
            return f"Discrete({space.n})"
        case spaces.MultiDiscrete():
            return f"MultiDiscrete({', '.join(map(str, space.nvec.ravel()))})"
        case spaces.MultiBinary():
            return f"MultiBinary({'×'.join(map(str, space.shape))})"
        case spaces.Dict():
            return f"Dict({', '.join(f'{key}: {_short(part)}' for key, part in space.spaces.items())})"
        case spaces.Tuple():
            return f"Tuple({', '.join(map(_short, space.spaces))})"
        case spaces.Sequence():
            return f"Sequence({_short(space.feature_space)})"
    return type(space).__name__


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table that fits a terminal; elsewhere plain columns, without colours, with nothing cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    seen = sys.stdout.isatty()
    console = Console(width=None if seen else 10_000, highlight=False)
    table = Table(box=box.SIMPLE_HEAD if seen else None, pad_edge=seen)
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=not seen)
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def report(args: list[str]) -> int:
    """write one HTML page about training runs, side by side"""
    options = _parse("report", args)
    from gymformer.monitoring.report import save_report

    _require_runs("report", options.paths)
    path = save_report(options.paths, options.output, title=options.title, threshold=options.threshold)
    print(f"written to {path}; any browser opens it")
    return 0


def watch(args: list[str]) -> int:
    """show training runs in a browser while they learn"""
    options = _parse("watch", args)
    from gymformer.monitoring.watch import watch

    _require_runs("watch", options.paths)
    with watch(options.paths, options.port, options.threshold) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"open http://127.0.0.1:{server.server_port} (Ctrl-C ends)", flush=True)
        server.serve_forever()
    return 0


def _require_runs(command: str, paths: tuple[Path, ...]) -> None:
    if not paths:
        raise UsageError(f"no run was given; say gymformer {command} runs/CartPole-v1, or one or more runs' folders")


def demo(args: list[str]) -> int:
    """train CartPole, a model that thinks, and one that is tuned by preferences"""
    options = _parse("demo", args)
    from gymformer.demo import FULL, QUICK, run_demo

    return 0 if run_demo([*QUICK, *FULL] if options.full else QUICK, options.save_path, options.seed) else 1


COMMANDS: dict[str, Callable[[list[str]], int]] = {"train": train, "sweep": sweep, "reward": reward, "eval": evaluate, "play": play,
                                                   "report": report, "watch": watch, "envs": envs, "demo": demo}  # fmt: skip


def _parse(command: str, args: list[str], options: type | None = None) -> Any:
    """The options in `args`; a mistake is a UsageError of one line instead of tyro's box."""
    import tyro
    from pydantic import ValidationError

    from gymformer.config import OPTIONS, describe

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(options or OPTIONS[command], prog=f"gymformer {command}", args=args)
    except SystemExit as end:
        if not end.code:
            raise
        cause: BaseException | None = end
        while cause is not None and not isinstance(cause, ValidationError):
            cause = cause.__context__
        wrong = _unboxed(said.getvalue()) if cause is None else describe(cause)
        raise UsageError(f"{wrong} (see gymformer {command} --help)") from end


def _unboxed(text: str) -> str:
    """The message in a box drawn by tyro, as one line."""
    lines = [line.strip("│| ") for line in text.splitlines()]
    text = " ".join(line for line in lines if not re.match("[╭╰+]?[─-]{3}|[╭╰+]─", line))
    message, _, hints = text.partition("Perhaps you meant:")
    message = re.split(r"Got errors:|Argument helptext:|For full helptext", message)[0].strip(" .")
    message = message.removeprefix("Error parsing ").replace("{None}|", "")
    message = re.sub(r"no type matching (.+) could be instantiated from \['(.*)'\]", r"'\2' is not of the form \1", message)
    hint = re.search(r"--[\w.-]+", hints)
    return f"{message}; did you mean {hint[0]}?" if hint else message


def _imported(env_id: str) -> str:
    """The id without the module before its colon (my_module:MyEnv-v0), which is imported and registers it."""
    module, _, plain = env_id.rpartition(":")
    if module:
        if "" not in sys.path:
            sys.path.append("")  # the current folder, as `python -m` would: a module of the user's own lies there
        try:
            import_module(module)
        except ImportError as error:
            raise UsageError(f"{env_id} cannot be made: {error}") from error
    return plain


def _make(env_id: str, env_kwargs: dict[str, Any] | None = None, **render_mode: str) -> "gym.Env":
    """One environment. Raises UsageError saying why there is none."""
    import gymnasium as gym

    try:
        return gym.make(env_id, disable_env_checker=True, **render_mode, **(env_kwargs or {}))
    except (gym.error.Error, ImportError) as error:
        raise UsageError(f"{env_id} cannot be made: {error}") from error
    except (TypeError, ValueError, KeyError) as error:
        if not env_kwargs and "required" not in str(error):  # "missing 1 required positional argument"
            raise
        raise UsageError(f"{env_id} cannot be made with the arguments {env_kwargs or {}}: {error}") from error


def _make_shown(env_id: str, env_kwargs: dict[str, Any] | None, mode: str) -> "gym.Env":
    """One environment that renders in `mode`. Raises UsageError if it cannot."""
    with contextlib.closing(_make(env_id, env_kwargs)) as env:
        modes = env.metadata.get("render_modes") or []
    if mode not in modes:
        raise UsageError(f"{env_id} cannot be shown as {mode!r}; it knows {', '.join(modes) or 'no way of being shown'}")
    if mode == "rgb_array":
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures for a file need no screen, and pygame looks for one
    return _make(env_id, env_kwargs, render_mode=mode)


def _obstacle(env: "gym.Env") -> str | None:
    """Why gymformer cannot train in this environment, if it cannot."""
    from gymformer.rl.policy import distribution_for
    from gymformer.rl.spaces import flat_size

    if _speaks(env):
        return None
    try:
        flat_size(env.observation_space)
        distribution_for(env.action_space)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _speaks(env: "gym.Env") -> bool:
    """A language model can play in it: it is one of tokens or of texts."""
    from gymformer.env.text_env import is_text_env
    from gymformer.rl.token_envs import reads_tokens

    return reads_tokens(env.observation_space, env.action_space) or is_text_env(env)


def _limit(env_id: str, fallback: int) -> int | None:
    """None where the environment itself cuts its episodes off, else `fallback`: an agent may never reach the end."""
    import gymnasium as gym

    return None if gym.spec(env_id).max_episode_steps else fallback


def _is_for_the_user(error: Exception) -> bool:
    """A mistake of use, or something that gymformer itself raises (expected, actual, remedy); anything else is a bug, whose
    traceback is worth more than its message."""
    if isinstance(error, UsageError | OSError):
        return True
    there = getattr(error.__cause__, "is_refusal", None)  # of an error that a process of --num-processes raised
    if there is not None:
        return there
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Path(last.filename).is_relative_to(Path(__file__).parent) and (last.line or "").startswith("raise ")
