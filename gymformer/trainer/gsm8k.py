"""train_gsm8k: a language model learns to solve word problems, and is tested on others."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from gymformer.data.arithmetic import Problem
from gymformer.data.problems import load_problems
from gymformer.device import resolve_device
from gymformer.env.text_to_tokens import MAX_TURN_TOKENS
from gymformer.evaluation.evaluate import play_tokens
from gymformer.resources import resource
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.segment import Segment
from gymformer.rl.segment_files import SaveRollouts
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.trainer.plan import ALGORITHMS
from gymformer.trainer.records import TrainingResult
from gymformer.trainer.trainer import train_agent

__all__ = ["GSM8KResult", "train_gsm8k"]

ENV = "GSM8K-v0"
SAMPLE = "data/gsm8k_sample"
LORA_RANK = 16
TOKENS = 64  # of a solution, about, where the size of a batch must be known beforehand
MINIBATCH = 1024  # tokens, from which PPO and GRPO take a step
MOST_NAMED = 5  # problems that a message names


@dataclass(frozen=True, slots=True)
class GSM8KResult:
    """The run, and the share of test problems that were solved by the likeliest tokens."""

    run: TrainingResult
    before: float | None  # None: not evaluated at the start
    after: float | None  # None: the run was interrupted
    problems: int  # of the test


def train_gsm8k(
    *,
    gsm8k_path: str | Path = f"{SAMPLE}/train.jsonl",
    test_gsm8k_path: str | Path | None = None,
    train_data_file: str | Path | None = None,
    sys_prompt_path: str | Path | None = None,
    n_few_shot_examples: int = 5,
    max_trajectory_steps: int = 20,
    sym_calc: bool = True,
    model_name_or_path: str | Path = "models/solver",
    ref_model_name: str | Path | None = None,
    use_lora: bool = False,
    qlora: bool = False,
    dtype: Literal["float32", "bfloat16", "auto"] = "float32",
    gradient_checkpointing: bool = False,
    algorithm: str = "reinforce_stable",
    num_iterations: int = 20,
    num_collection_episodes: int = 256,
    num_update_steps: int = 1,
    gradient_accumulation_steps: int = 1,
    learning_rate: float | None = None,
    gamma: float | None = None,
    kl_coeff: float | None = None,
    update_ref_iterations: int | None = None,
    save_path: str | Path | None = "runs",
    n_save_iterations: int = 4,
    save_best_model: bool = False,
    cache_buffer: bool = False,
    buffer_cache_path: str | Path = "buffers",
    evaluation_at_start: bool = True,
    evaluation_iterations: int | None = None,
    n_eval_steps: int | None = None,
    seed: int | None = None,
    num_envs: int | None = None,
    device: str = "auto",
    resume: str | Path | bool | None = None,
    tracker: Literal["wandb", "tensorboard"] | None = None,
    progress: bool | None = None,
) -> GSM8KResult:
    """Trains on the problems of one file and tests on those of another; the options are those of `gymformer train gsm8k --help`.

    An iteration plays `num_collection_episodes` and learns from them: in `num_update_steps` passes, where the algorithm can
    learn from a rollout again (PPO, GRPO), and else in so many steps, each from a part of the episodes that is played after the
    step before. Raises ValueError where problems of the test are among those of the training or the examples, and names them.
    """
    train, test = _files(gsm8k_path, test_gsm8k_path)
    shown = train if train_data_file is None else _file(train_data_file, "train.jsonl")
    tested = load_problems(test)
    for path in dict.fromkeys((train, shown)):
        refuse_overlap(path, load_problems(path), test, tested)
    tested = tested[:n_eval_steps]
    config, interval = _plan(algorithm, num_collection_episodes, num_update_steps, gradient_accumulation_steps,
                             lr_actor=learning_rate, gamma=gamma, refresh_every=update_ref_iterations)  # fmt: skip
    config, to_reference = _reference(algorithm, config, kl_coeff, ref_model_name)
    actor = LMActorNetwork(model_name_or_path, lora=LORA_RANK if use_lora or qlora else None, load_in_4bit=qlora, dtype=dtype,
                           gradient_checkpointing=gradient_checkpointing)  # fmt: skip
    asked: dict[str, Any] = {"train_data_file": str(shown), "n_few_shot_examples": n_few_shot_examples,
                             "max_lines": max_trajectory_steps, "calculator": sym_calc}  # fmt: skip
    if sys_prompt_path is not None:
        asked["system_prompt"] = Path(sys_prompt_path).read_text(encoding="utf-8").strip()
    if save_best_model and save_path is None:
        raise ValueError("save_best_model=True needs a place, but save_path=None writes nothing; give a save_path")
    best = Path(save_path) / "best" if save_best_model and save_path is not None else None
    agent = language_agent(actor, ENV)
    agent.env_kwargs, agent.max_timesteps = asked | {"data_file": str(train)}, max_trajectory_steps * MAX_TURN_TOKENS
    watch = Test(agent, asked | {"data_file": str(test), "deterministic": True}, len(tested), best)
    watch.every = None if evaluation_iterations is None else evaluation_iterations * num_collection_episodes
    if evaluation_at_start and not resume:
        actor.to(resolve_device(device, actor))
        watch.before = watch.test()
        if progress is not False:
            print(f"before training {watch.before:.1%} of {len(tested)} test problems are solved", flush=True)
    run = train_agent(
        ENV, actor, algorithm=algorithm, config=config, env_kwargs=agent.env_kwargs, max_timesteps=agent.max_timesteps,
        max_episodes=num_iterations * num_collection_episodes, update_interval=interval,
        save_interval=n_save_iterations * num_collection_episodes, save_path=save_path, curriculum=watch, seed=seed, num_envs=num_envs,
        device=device, resume=resume, tracker=tracker, progress=progress,
        transforms=[SaveRollouts(buffer_cache_path)] if cache_buffer else (), **to_reference,
    )  # fmt: skip
    return GSM8KResult(run, watch.before, None if run.stopped == "interrupted" else watch.test(), len(tested))


class Test:
    """Solves the test problems after every so many episodes of a training, which it follows as a curriculum that wants nothing."""

    def __init__(self, agent: TrainedAgent, env_kwargs: dict[str, Any], problems: int, best: Path | None = None):
        self.agent, self.env_kwargs, self.problems, self.best = agent, env_kwargs, problems, best
        self.every: int | None = None  # episodes; None: never
        self.episodes, self.record = 0, -1.0
        self.before: float | None = None  # training

    def test(self) -> float:
        """Share of the test problems, in the order of their file, that the likeliest tokens solve. The best model is kept."""
        played = play_tokens(self.agent, ENV, episodes=self.problems, greedy=True, env_kwargs=self.env_kwargs)
        accuracy = float(np.mean([segment.info.get("correct", False) for segment in played]))
        if accuracy > self.record:
            self.record = accuracy
            if self.best is not None:
                self.agent.save_pretrained(self.best)
        return accuracy

    def options(self) -> dict[str, Any]:
        return {}

    def observe(self, segments: list[Segment]) -> dict[str, float]:
        before, self.episodes = self.episodes, self.episodes + sum(segment.ended for segment in segments)
        if self.every is None or self.episodes // self.every == before // self.every:
            return {}
        return {"test_accuracy": self.test()}

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": self.episodes, "record": self.record, "before": self.before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.episodes, self.record, self.before = state["episodes"], state["record"], state["before"]


def refuse_overlap(path: str | Path, known: Sequence[Problem], test_path: str | Path, tested: Sequence[Problem]) -> None:
    """Raises ValueError if questions of the test are among the known ones, however they are spaced and capitalised."""
    rows = {_bare(problem.question): number for number, problem in enumerate(known, start=1)}
    both = [
        (rows[bare], number, problem)
        for number, problem in enumerate(tested, start=1)
        if (bare := _bare(problem.question)) in rows
    ]
    if both:
        named = "; ".join(
            f"row {own} is row {other} of the test, {problem.question[:60]!r}" for own, other, problem in both[:MOST_NAMED]
        )
        more = f"; and {len(both) - MOST_NAMED} more" if len(both) > MOST_NAMED else ""
        raise ValueError(f"{len(both)} of the {len(tested)} problems in {test_path} are in {path} too, so a test would measure what was "
                         f"learned by heart: {named}{more}. Take them out of one of the files")  # fmt: skip


def _bare(question: str) -> str:
    return " ".join(question.casefold().split())


def _files(gsm8k_path: str | Path, test_path: str | Path | None) -> tuple[Path, Path]:
    """The files to train on and to test with."""
    train = _file(gsm8k_path, "train.jsonl")
    test = train.with_name("test.jsonl") if test_path is None else _file(test_path, "test.jsonl")
    if not test.is_file():
        raise FileNotFoundError(f"there is no {test}; name the test problems by test_gsm8k_path (--test-gsm8k-path)")
    return train, test


def _file(path: str | Path, name: str) -> Path:
    """The file; of a folder the one of that name."""
    path = resource(path)
    return path / name if path.is_dir() else path


def _plan(algorithm: str, episodes: int, steps: int, accumulation: int, **values: Any) -> tuple[Any, int]:
    """The algorithm's config, and after how many episodes it learns. Raises ValueError for what it has no place for."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm={algorithm!r} is not known; use one of {', '.join(ALGORITHMS)}")
    kind, known = cast(Any, ALGORITHMS[algorithm].config_class), _names(algorithm)
    said = {name: value for name, value in values.items() if value is not None}
    names = {"lr_actor": "learning_rate", "gamma": "gamma", "refresh_every": "update_ref_iterations"}
    for name in said:
        if name not in known:
            raise ValueError(f"{names[name]} means nothing to {algorithm}, whose config has no {name}; leave it out, or take another algorithm "
                             f"({', '.join(other for other in ALGORITHMS if name in _names(other))})")  # fmt: skip
    if accumulation > 1:
        read = MINIBATCH if "minibatch_size" in known else episodes * TOKENS // steps
        said["micro_batch_size"] = max(1, read // accumulation)
    if "update_epochs" in known:
        return kind(**said, update_epochs=steps), episodes
    if episodes % steps:
        raise ValueError(f"num_collection_episodes={episodes} cannot be divided among num_update_steps={steps}; {algorithm} takes a step for "
                         "each part of them")  # fmt: skip
    return kind(**said), episodes // steps


def _names(algorithm: str) -> set[str]:
    """Of the fields of its config."""
    return {field.name for field in fields(cast(Any, ALGORITHMS[algorithm].config_class))}


def _reference(algorithm: str, config: Any, kl_coeff: float | None, name: str | Path | None) -> tuple[Any, dict[str, Any]]:
    """The config, and what `train_agent` is told of a policy to stay close to."""
    if algorithm == "reinforce_stable":  # whose reference is itself, as it was a while ago
        if name is not None:
            raise ValueError("reinforce_stable stays close to its own policy of a while ago; leave out ref_model_name, or take another "
                             "algorithm, such as reinforce, which stays close to the model that is named")  # fmt: skip
        return (config if kl_coeff is None else replace(config, kl_coef=kl_coeff)), {}
    if kl_coeff is None and name is None:
        return config, {}
    return config, {"reference": "initial" if name is None else LMActorNetwork(name), "kl_coef": kl_coeff}
