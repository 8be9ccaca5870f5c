"""An experiment: an agent plays some episodes of an environment, and everything it said and got is kept."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import yaml

import gymformer
from gymformer.agents.answers import plain
from gymformer.agents.journal import Journal
from gymformer.agents.player import LLMAgent, RawOutput, get_env_definition
from gymformer.agents.settings import EnvironmentSettings, ExperimentSettings, check_config, section_settings
from gymformer.agents.window import Window
from gymformer.env.rendering import printable
from gymformer.files import read_json, safe_name, write_file, write_json
from gymformer.pictures import Film, beside

__all__ = ["Player", "get_env", "run_experiment", "run_experiments"]

gym.register_envs(gymformer)
JOURNAL = ".progress.jsonl"
# What may change between an interruption and going on: it decides whether answers come, not which.
MAY_CHANGE = {
    "agent": {"base_url", "api_key_env", "timeout", "connect_timeout", "max_retries"},
    "experiment": {"verbose", "window"},
}
LONGEST_SHOWN = 300  # characters of a reflection on the terminal


class Player(Protocol):
    """What an experiment needs of whoever plays."""

    def reset(self, seed: int | None = None) -> None: ...
    def get_action(self, observation: Mapping[str, Any]) -> tuple[RawOutput, int]: ...
    def replay(self, observation: Mapping[str, Any], raw_output: RawOutput) -> None: ...
    def statistics(self) -> dict[str, int]: ...
    def close(self) -> None: ...


def get_env(env_config: Mapping[str, Any], render_mode: str | None = None) -> gym.Env:
    """The environment of the section "environment"; it describes itself to a language model, or TypeError is raised."""
    settings: EnvironmentSettings = section_settings("environment", env_config)
    try:
        env = gym.make(settings.name, render_mode=render_mode, disable_env_checker=True, **(settings.kwargs or {}))
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"{settings.name} cannot be made with the arguments {settings.kwargs or {}}: {error}") from error
    try:
        get_env_definition(env)
    except TypeError:
        env.close()
        raise
    return env


def run_experiments(configs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`run_experiment` for each, in turn. All are checked before the first begins."""
    return [run_experiment(config) for config in [check_config(config) for config in configs]]


def run_experiment(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plays `num_runs` episodes and returns what `results.json` then holds.

    An error, a Ctrl-C or a kill leaves everything that was answered in the folder, and the same call goes on where it ended:
    the episode is gone through again with the same answers, unasked. Nothing is overwritten: without `use_datetime` an
    experiment that is complete gives its results again, and another one of the same name raises FileExistsError.
    """
    checked = check_config(config)
    experiment: ExperimentSettings = section_settings("experiment", checked["experiment"])
    folder = _folder(checked, experiment)
    if (folder / "results.json").is_file():
        print(f"{folder} is complete; its results are given again, nothing is played")
        return read_json(folder / "results.json")
    journal = Journal(folder / JOURNAL)
    try:
        runs = _play_all(checked, experiment, folder, journal)
        results = _results(runs)
        write_json(folder / "results.json", results)
        journal.close(delete=True)
    except BaseException as error:
        error.add_note(f"what was played is kept in {folder}; the same command goes on from there")
        raise
    finally:
        journal.close()
    if experiment.verbose:
        success = "" if results["success_rate"] is None else f", {results['success_rate']:.0%} successful"
        print(f"{folder}: average reward {results['avg_reward']:g} in {results['avg_steps']:g} steps{success}")
    return results


def _folder(config: dict[str, dict[str, Any]], experiment: ExperimentSettings) -> Path:
    """The folder of this experiment: one that it began and did not finish, or a new one, with `config.yaml` in it."""
    base = experiment.parent / safe_name(experiment.name)
    if experiment.use_datetime:
        begun = sorted(base.glob("*/config.yaml")) if base.is_dir() else []
        for path in reversed(begun):
            if not (path.parent / "results.json").exists() and _is_of(path, config):
                return path.parent
        date = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        names = (base / (date if number == 1 else f"{date}-{number}") for number in count(1))
        folder = next(name for name in names if not name.exists())
    else:
        folder = base
        if (folder / "config.yaml").exists():
            if not _is_of(folder / "config.yaml", config):
                raise FileExistsError(f"{folder} holds an experiment with another configuration, and nothing is overwritten; change "
                                      "experiment.name, or say use_datetime: true")  # fmt: skip
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
    return folder


def _is_of(path: Path, config: dict[str, dict[str, Any]]) -> bool:
    """Whether the experiment that was written to `path` is the one of `config`."""

    def essence(sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: {key: value for key, value in section.items() if key not in MAY_CHANGE.get(name, ())}
                for name, section in sections.items()}  # fmt: skip

    try:
        return essence(check_config(yaml.safe_load(path.read_text(encoding="utf-8")))) == essence(config)
    except (ValueError, yaml.YAMLError):
        return False


def _play_all(
    config: dict[str, dict[str, Any]], experiment: ExperimentSettings, folder: Path, journal: Journal
) -> list[dict[str, Any]]:
    """What came of each run; those that are in the journal are not played again."""
    done = {record["run"]: record["done"] for record in journal.records if "done" in record}
    if len(done) >= experiment.num_runs:
        return [done[run] for run in range(experiment.num_runs)]
    draws = experiment.save_gif or experiment.window
    if draws and not experiment.window:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures for a file need no screen, and pygame looks for one
    with ExitStack() as stack:
        window = stack.enter_context(closing(Window(experiment.name))) if experiment.window else None
        env = stack.enter_context(closing(get_env(config["environment"], "rgb_array" if draws else None)))
        player = stack.enter_context(closing(_player(config["agent"], env)))
        for run in range(experiment.num_runs):
            if run not in done:
                done[run] = _play(env, player, run, experiment, folder, journal, window)
    return [done[run] for run in range(experiment.num_runs)]


def _player(agent: dict[str, Any], env: gym.Env) -> Player:
    if agent["backend"] != "trained":
        return LLMAgent(agent, **get_env_definition(env))
    from gymformer.agents.trained import TrainedPlayer

    return TrainedPlayer(agent, env)


def _play(
    env: gym.Env,
    player: Player,
    run: int,
    experiment: ExperimentSettings,
    folder: Path,
    journal: Journal,
    window: Window | None,
) -> dict[str, Any]:
    """One episode: the answers that the journal has, then new ones. Writes its files, then closes it in the journal."""
    seed, stem = experiment.seed + run, folder / f"run_{run}_seed_{experiment.seed + run}"
    saved = [record for record in journal.records if record["run"] == run]
    before = player.statistics()  # of the runs up to here, in this process
    earlier = saved[-1]["statistics"] if saved else {}  # of this run, in processes that were interrupted
    observation, _ = env.reset(seed=seed)
    player.reset(seed=seed)
    outputs: dict[str, RawOutput] = {}
    film, total = _Pictures(env, experiment.save_gif, window), 0.0
    statistics: dict[str, int] = dict(earlier)
    for step in range(experiment.max_steps):
        seen = _fingerprint(observation)
        if step < len(saved):
            output: RawOutput = {"reflection": saved[step]["reflection"], "action": saved[step]["action"]}
            if saved[step]["seen"] != seen:
                raise RuntimeError(f"{experiment.name}, run {run}, step {step}: the environment does not repeat itself with seed {seed}, so "
                                   f"the episode cannot go on; delete {journal.path} to play it anew")  # fmt: skip
            player.replay(observation, output)
        else:
            output, _ = player.get_action(observation)
            statistics = {name: number - before[name] + earlier.get(name, 0) for name, number in player.statistics().items()}
            journal.write({"run": run, "step": step, "seen": seen, **output, "statistics": statistics})
            if experiment.verbose:
                print(f"run {run}, step {step}: {output['action']} ({_shown(output['reflection'])})", flush=True)
        outputs[str(step)] = output
        film.add(f"step {step}, return {total:.4g}\naction {output['action']}\n\n{printable(output['reflection'])}")
        observation, reward, terminated, truncated, info = env.step(output["action"])
        total += float(reward)
        if terminated or truncated:
            break
    else:
        terminated, info = False, {}
    success = info.get("is_success")
    if success is None:
        success = env.get_wrapper_attr("is_success")(total, bool(terminated))
    write_json(stem.with_name(f"{stem.name}_raw_outputs.json"), outputs)
    film.add(f"the end, after {len(outputs)} steps\nreturn {total:.4g}")
    film.save(stem.with_name(f"{stem.name}.gif"), experiment.gif_fps)
    record = {"seed": seed, "reward": total, "steps": len(outputs), "success": success, "statistics": statistics}
    journal.write({"run": run, "done": record})
    return record


class _Pictures:
    """Of one run: what is on the screen and goes into the GIF, as far as they are wanted."""

    def __init__(self, env: gym.Env, kept: bool, window: Window | None):
        self.env, self.film, self.window = env, Film() if kept else None, window

    def add(self, text: str) -> None:
        """The environment as it is, beside the text."""
        if self.film is None and self.window is None:
            return
        frame = _frame(self.env)
        if self.film is not None:
            self.film.add(frame, text)
        if self.window is not None:
            self.window.show(beside(frame, text))

    def save(self, path: Path, fps: int) -> None:
        if self.film is not None:
            self.film.save(path, fps)


def _results(runs: list[dict[str, Any]]) -> dict[str, Any]:
    known = [bool(run["success"]) for run in runs if run["success"] is not None]
    names = runs[0]["statistics"]
    return {"total_rewards": [run["reward"] for run in runs], "total_steps": [run["steps"] for run in runs],
            "avg_reward": sum(run["reward"] for run in runs) / len(runs), "avg_steps": sum(run["steps"] for run in runs) / len(runs),
            "success_rate": sum(known) / len(known) if known else None, "seeds": [run["seed"] for run in runs],
            "answers": {name: sum(run["statistics"][name] for run in runs) for name in names}}  # fmt: skip


def _fingerprint(observation: Any) -> str:
    return hashlib.sha256(json.dumps(plain(observation)).encode()).hexdigest()[:16]


def _frame(env: gym.Env) -> Any:
    frame = env.render()
    if frame is None or getattr(frame, "ndim", 0) != 3:
        raise ValueError(f"{env.spec.id if env.spec else env} draws no pictures; say experiment.save_gif: false, and no window")
    return frame


def _shown(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}…"
