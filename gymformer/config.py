"""What gymformer can be told on the command line and in a file, layer over layer, and how it is checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

__all__ = ["OPTIONS", "RewardSettings", "Settings", "describe", "merge", "read_config", "read_reward_config", "validate",
           "validate_reward"]  # fmt: skip

EPISODES = 100  # of an evaluation


def _key_values(words: list[str]) -> dict[str, Any]:
    """{"a": 1, "b": "x"} from ["a=1", "b=x"]; a value is read as YAML."""
    pairs = [word.partition("=") for word in words]
    if not all(key and equals for key, equals, _ in pairs):
        raise ValueError(f"{' '.join(words)!r} is not of the form KEY=VALUE KEY=VALUE")
    return {key: yaml.safe_load(value) for key, _, value in pairs}


KEY_VALUES = PrimitiveConstructorSpec(
    nargs="*", metavar="KEY=VALUE", instance_from_str=_key_values, is_instance=lambda value: isinstance(value, dict | None),
    str_from_instance=lambda value: ["None"] if value is None else [f"{key}={item}" for key, item in value.items()],
)  # fmt: skip
EnvKwargs = Annotated[dict[str, Any] | None, KEY_VALUES]


class Group(BaseModel):
    """Settings that belong together. The comment of a field is its help on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(Group):
    """How long to train: until the first of these is spent (where neither is given 1,000 episodes; 5,120 of text)."""

    max_episodes: PositiveInt | None = None  # episodes, in all environments together
    total_timesteps: PositiveInt | None = None  # steps, in all environments together
    max_timesteps: PositiveInt = 1000  # an episode is cut off (truncated) after so many steps


class Updates(Group):
    """When the policy learns from what it has seen."""

    update_interval: PositiveInt | None = None  # after so many episodes. None: 100, of text 256
    rollout_steps: PositiveInt | None = None  # after so many steps in each environment, instead
    reference: Literal["initial"] | None = None  # initial: moving away from the actor as it was at first costs reward
    kl_coef: NonNegativeFloat | None = None  # so much for each nat of it. None: what the environment declares, or 0.1


class Environments(Group):
    """The copies of the environment that the agent acts in."""

    num_envs: PositiveInt | None = None  # how many copies. None: up to 8, of text up to 256; fewer if max_episodes is small
    num_processes: PositiveInt | None = None  # so many processes train together, each with its own copies
    # native: the environment's own vector version; sync: one after another; async: in worker processes
    vectorization: Literal["auto", "native", "sync", "async"] = "auto"
    env_kwargs: EnvKwargs = None  # arguments of the environment, such as map_name=8x8 is_slippery=false
    normalize_observations: bool = False  # scale observations to mean 0 and deviation 1, as seen so far
    normalize_rewards: bool = False  # scale rewards by the spread of the returns, for learning only


class Networks(Group):
    """The policy and the critic: two perceptrons that fit the environment's spaces."""

    # width of both hidden layers, or one width for each layer
    hidden_dim: Annotated[PositiveInt | tuple[PositiveInt, ...], arg(metavar="INT [INT ...]")] = 64
    activation: Literal["tanh", "relu", "silu", "gelu"] = "tanh"  # between the layers


class LanguageModel(Group):
    """The language model that acts where observations are tokens or texts."""

    model: str | None = None  # a hub id or a folder. None: the one that comes along, in environments of our own
    critic_model: str | None = None  # a second model that judges. None: a value head on the one that acts
    lora: PositiveInt | None = None  # learn adapters of this rank instead of all weights
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"  # of the weights
    gradient_checkpointing: bool = False  # less memory, more time
    temperature: PositiveFloat = 1.0  # of the policy: below 1 it is surer of itself
    top_k: PositiveInt | None = None  # the policy chooses among so many of the likeliest tokens
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None  # or among the fewest whose probabilities add up to this

    def choices(self) -> dict[str, Any]:
        """What was said of the language model, where that differs from saying nothing."""
        fields = LanguageModel.model_fields
        return {name: value for name, value in self if name in fields and value != fields[name].default}


class Run(Group):
    """The run and its folder."""

    seed: int | None = None  # one seed, one result. None: a fresh one, which is printed and saved
    seed_globals: bool = False  # also seed the global generators, for environments that ignore reset(seed=...)
    # auto: a GPU where there is one and the networks are large enough to use it; or cpu, cuda, cuda:1, mps
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")] = "auto"
    save_path: Path | None = Path("runs")  # a new folder is made below this one for the run. None: nothing is written
    save_interval: PositiveInt | None = None  # a checkpoint every so many episodes. None: 100, of text 1024
    resume: bool | Path | None = None  # go on with this run's folder, or (True) with the newest run of the environment


class Monitoring(Group):
    """What is watched while the agent learns."""

    eval_interval: PositiveInt | None = None  # evaluate every so many episodes and keep the best agent
    eval_episodes: PositiveInt = 20  # episodes of each of these evaluations
    log_interval: PositiveInt = 10  # a line every so many episodes, where no bar can be shown
    progress: bool | None = None  # True: always a bar; False: silence; None: a bar in a terminal, lines elsewhere
    tracker: Literal["wandb", "tensorboard"] | None = None  # also log there (wandb stays offline unless WANDB_MODE=online)


class Settings(Budget, Updates, Environments, Networks, LanguageModel, Run, Monitoring):
    """All arguments of `train_agent` that can be written down, and what its language models are made of. Names and defaults
    are `train_agent`'s."""

    env: str
    ppo_config: Any = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `train_agent`, without its networks."""
        arguments = {name: value for name, value in self if name not in LanguageModel.model_fields}
        return {"env_name": arguments.pop("env"), **arguments}


@dataclass(frozen=True)
class TrainOptions:
    """Trains an agent with PPO, saves it, evaluates it, and says how to watch it.

    An option given here wins over the file of --config, which wins over the environment's preset, which wins over the
    defaults below. "None" stands for the absence of a value.

    examples:
      gymformer train CartPole-v1 --seed 0
      gymformer train LunarLander-v3 --total-timesteps 500000 --ppo.lr-actor 1e-4
      gymformer train FrozenLake-v1 --env-kwargs map_name=8x8 is_slippery=false
      gymformer train CoTEnv-v0 --eval-interval 1024
      gymformer train CoTEnv-v0 --model Qwen/Qwen2.5-0.5B-Instruct --lora 16 --dtype bfloat16 --reference initial
      gymformer train --config run.yaml --seed 3
      gymformer train gsm8k --help          (word problems, with options of their own)
      gymformer train my_module:MyEnv-v0    (imports my_module, which registers MyEnv-v0)

    run.yaml:
      env: CartPole-v1
      num_envs: 16
      ppo_config: {lr_actor: 1e-3, gamma: 0.98}
    """

    # id of the environment (see gymformer envs)
    env: Annotated[Positional[str | None], arg(metavar="ENV", help_behavior_hint="(here or in the file of --config)")] = None
    config: Path | None = None  # a YAML file of settings, named as in Python
    preset: bool = True  # start from the tuned settings of this environment, where there are any
    evaluate: bool = True  # evaluate after training: 100 sampled and 100 greedy episodes
    budget: OmitArgPrefixes[Budget] = field(default_factory=Budget)
    update: OmitArgPrefixes[Updates] = field(default_factory=Updates)
    environment: OmitArgPrefixes[Environments] = field(default_factory=Environments)
    network: OmitArgPrefixes[Networks] = field(default_factory=Networks)
    language: OmitArgPrefixes[LanguageModel] = field(default_factory=LanguageModel)
    run: OmitArgPrefixes[Run] = field(default_factory=Run)
    monitoring: OmitArgPrefixes[Monitoring] = field(default_factory=Monitoring)


class EvalPlayers(Group):
    """Who plays an environment (not the agent of PATH alone), and what is made of it."""

    # expert, random, http, the folder of a run or agent, or a YAML file whose section "agent" tells of a model behind HTTP
    player: Annotated[str | None, arg(metavar="PLAYER")] = None  # None: random, or the agent of PATH
    # several players on the same seeds, with the differences to the first
    compare: Annotated[tuple[str, ...], arg(metavar="PLAYER [PLAYER ...]")] = ()
    samples: PositiveInt = 1  # of every seed; more than one give pass@k
    difficulty: float | None = None  # from 0 to 1, of every episode. None: the environment's own
    log_dir: Path = Path("logs")  # where the results are written
    resume: FlagCreatePairsOff[bool] = False  # go on with an evaluation that was interrupted
    plot: Path | None = None  # a picture of rewards, success and difficulty
    model: str | None = None  # of http: the server's name for the model
    backend: Literal["ollama", "openai"] = "ollama"  # of http
    base_url: str | None = None  # of http. None: the backend's own
    prices: tuple[NonNegativeFloat, NonNegativeFloat] | None = None  # dollars for a million tokens read, and written


@dataclass(frozen=True)
class SweepOptions:
    """Trains once for each of many settings, and prints which did best. FILE is a sweep file of Weights & Biases, whose agent runs
    the same file; no network is needed here.

    Runs are recorded in one folder, each with its own below. After an interruption the same command goes on with the runs that have
    not ended; more --runs add to those that are there. sweep.md there is the table that is printed, runs.jsonl what it was made of.

    examples:
      gymformer sweep configs/sweeps/ppo.yaml --runs 8
      gymformer sweep configs/sweeps/ppo.yaml --runs 16 --folder sweeps/cartpole
    """

    # with method (grid, random), metric (name, goal), parameters (value, values, min and max, distribution) and command
    path: Annotated[Positional[Path], arg(metavar="FILE")]
    runs: int | None = None  # so many. None: the whole grid, or the file's run_cap
    folder: Path | None = None  # where the runs are recorded. None: sweeps/<the file's name>
    seed: int = 0  # of what is drawn at random


@dataclass(frozen=True)
class EvalOptions:
    """Plays many episodes: with a saved agent, or with other players in any environment, also several on the same seeds.

    Where PATH is the folder of an agent and nobody else plays: mean return, its 95% interval, and the share that reached the
    threshold. With --player or --compare, or where an environment is named instead: success rate, rewards, completion, pass@k,
    length, difficulty and cost, with intervals, as a table, and as a file in --log-dir.

    examples:
      gymformer eval runs/CartPole-v1/20260101-120000-seed0
      gymformer eval agent --env CartPole-v1 --episodes 1000 --greedy --json
      gymformer eval LogicPuzzle-v0 --player expert --episodes 20
      gymformer eval LogicPuzzle-v0 --compare expert random runs/LogicPuzzle-v0/20260101-120000-seed0
      gymformer eval MemoryBuffer-v0 --player http --model llama3.1 --episodes 5
    """

    # folder of a training run or of a saved agent; or the id of an environment
    path: Annotated[Positional[str], arg(metavar="PATH|ENV")]
    env: str | None = None  # another environment than the one it was trained in, of the same spaces
    env_kwargs: EnvKwargs = None  # arguments of the environment, such as map_name=8x8
    episodes: int = EPISODES  # how many
    greedy: FlagCreatePairsOff[bool] = False  # take the likeliest action instead of sampling one
    seed: int = 0  # one seed, one result
    json: FlagCreatePairsOff[bool] = False  # print everything, every single return too, as JSON
    players: OmitArgPrefixes[EvalPlayers] = field(default_factory=EvalPlayers)


@dataclass(frozen=True)
class PlayOptions:
    """Plays with a saved agent, writes what it looks like into a GIF or shows it in a window, and prints the return.

    Of a language model the words are printed; --html writes every token with its probability, reward, value and advantage.

    Where PATH is a YAML file, it describes an experiment: a language model behind HTTP plays, and a folder keeps all it said
    and got. After an interruption the same command goes on. No other option goes with it (see gymformer/agents/README.md).

    examples:
      gymformer play runs/CartPole-v1/20260101-120000-seed0
      gymformer play runs/CoTEnv-v0/20260101-120000-seed0 --episodes 5 --html trace.html
      gymformer play agent --gif pictures/agent.gif --greedy --episodes 3
      gymformer play agent --human
      gymformer play configs/blackjack.yaml
    """

    path: Annotated[Positional[Path], arg(metavar="PATH")]  # folder of a training run or of a saved agent; or a YAML file
    env: str | None = None  # another environment than the one it was trained in, of the same spaces
    env_kwargs: EnvKwargs = None  # arguments of the environment, such as map_name=8x8
    gif: Path | None = None  # the file to write. None: ENV-seedSEED.gif in the current folder
    human: FlagCreatePairsOff[bool] = False  # a window on the screen instead of a GIF
    html: Path | None = None  # of a language model: the file to write the tokens of all episodes into
    episodes: int = 1  # how many
    greedy: FlagCreatePairsOff[bool] = False  # take the likeliest action instead of sampling one
    seed: int = 0  # of the first episode; the next has the next one


@dataclass(frozen=True)
class ReportOptions:
    """Writes one HTML page about training runs, side by side: curves, what they say in numbers, tasks, difficulty, reward components,
    safety, sample episodes, configurations and versions. It needs nothing from outside, so it can be sent to others.

    examples:
      gymformer report runs/CartPole-v1/20260101-120000-seed0
      gymformer report runs/CoTEnv-v0 --output cot.html --title "With and without a penalty"
    """

    # folders of training runs, or folders that hold some
    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]")]
    output: Path = Path("report.html")  # the file to write
    title: str = ""  # None given: the environments' names
    threshold: float | None = None  # the return whose time is measured. None: 90% of the way that the runs have come


@dataclass(frozen=True)
class WatchOptions:
    """Shows training runs in a browser while they learn: the page of "gymformer report", which refreshes itself. Only this
    machine can open it. Runs that begin below the folder meanwhile appear on it. Ctrl-C ends it, not the training.

    examples:
      gymformer watch runs
      gymformer watch runs/CartPole-v1/20260101-120000-seed0 --port 8080
    """

    # folders of training runs, or folders that hold some
    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]")]
    port: Annotated[int, Field(ge=0, le=65535)] = 8642  # 0: any that is free
    threshold: float | None = None  # the return whose time is measured. None: 90% of the way that the runs have come


@dataclass(frozen=True)
class EnvsOptions:
    """Lists the registered environments: spaces, reward threshold, preset, and whether gymformer can train in them.

    examples:
      gymformer envs
      gymformer envs cart --all
    """

    filter: Annotated[Positional[str], arg(metavar="FILTER")] = ""  # only ids that contain this, in any case
    all: FlagCreatePairsOff[bool] = False  # old versions too, not only the newest of each


@dataclass(frozen=True)
class DemoOptions:
    """Trains an agent from nothing, and a language model to think first; offline, on a plain CPU, in two minutes.

    Ends with status 1 if an agent does not solve its environment.
    """

    full: FlagCreatePairsOff[bool] = False  # LunarLander too, which takes some minutes more
    save_path: Path = Path("runs")  # where the runs are saved
    seed: int = 0  # one seed, one result


class WordProblems(Group):
    """The problems, and how they are asked."""

    gsm8k_path: str = (
        "data/gsm8k_sample/train.jsonl"  # the problems to learn from: a file, or a folder with train.jsonl and test.jsonl
    )
    test_gsm8k_path: str | None = None  # those to test with. None: test.jsonl beside them
    train_data_file: str | None = None  # where solved examples are taken from. None: from the problems to learn from
    sys_prompt_path: Path | None = None  # a text file, what the model is told first. None: the environment's own words
    n_few_shot_examples: NonNegativeInt = 5  # solved examples before each question
    max_trajectory_steps: PositiveInt = 20  # lines of a solution, at most
    sym_calc: bool = True  # a calculator writes the results of annotations such as <<48/2=24>>


class Solver(Group):
    """The language model that learns."""

    model_name_or_path: str = "models/solver"  # a hub id, a folder, or one that comes along
    ref_model_name: str | None = None  # moving away from this model costs reward (not with reinforce_stable)
    cache_dir: Path | None = None  # where models of the hub are kept. None: where transformers keeps them
    use_lora: bool = False  # learn an adapter of rank 16 instead of all weights
    qlora: bool = False  # the same, with the other weights in four bits; needs bitsandbytes
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"  # of the weights
    gradient_checkpointing: bool = False  # less memory, more time


class Iterations(Group):
    """How it learns: an iteration plays episodes and learns from them."""

    algorithm: Literal["reinforce_stable", "reinforce", "ppo", "grpo", "rloo", "a2c"] = "reinforce_stable"
    num_iterations: PositiveInt = 20  # how many
    num_collection_episodes: PositiveInt = 256  # solutions that are written in one
    num_update_steps: PositiveInt = 1  # passes over them (PPO, GRPO), or steps, each from a part of them (the others)
    gradient_accumulation_steps: PositiveInt = 1  # a step reads its solutions in about so many parts, which needs less memory
    learning_rate: PositiveFloat | None = None  # None: the algorithm's
    gamma: Annotated[float, Field(ge=0, le=1)] | None = None  # discount of a reward one token later. None: 1
    kl_coeff: NonNegativeFloat | None = None  # reward that a nat of divergence from the reference costs. None: the algorithm's
    update_ref_iterations: PositiveInt | None = None  # steps after which the reference is renewed (reinforce_stable). None: 10


class SolverRun(Group):
    """The run, its folder, and the test."""

    evaluation_at_start: bool = True  # test before training
    evaluation_iterations: PositiveInt | None = None  # test after every so many iterations. None: only at the end
    n_eval_steps: PositiveInt | None = None  # with so many problems, the first of the file. None: all
    save_path: Path | None = Path("runs")  # a new folder is made below this one for the run. None: nothing is written
    n_save_iterations: PositiveInt = 4  # a checkpoint every so many iterations
    save_best_model: bool = False  # keep the model that did best in the tests, in the folder "best" below save_path
    cache_buffer: bool = False  # keep what was played, for gymformer.load_segments
    buffer_cache_path: Path = Path("buffers")  # the folder for it
    num_envs: PositiveInt | None = None  # solutions that are written side by side
    seed: int | None = None  # one seed, one result. None: a fresh one, which is printed and saved
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")] = "auto"  # auto: a GPU where it helps
    resume: bool | Path | None = None  # go on with this run's folder, or (True) with the newest
    tracker: Literal["wandb", "tensorboard"] | None = None  # also log there (WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY say where)
    progress: bool | None = None  # True: always a bar; False: silence; None: a bar in a terminal, lines elsewhere


@dataclass(frozen=True)
class GSM8KOptions:
    """Trains a language model to solve word problems line by line, and tests it on others.

    Files are of GSM8K's form: {"question": ..., "answer": "... #### 72"}, a record a line. Training is refused where problems
    of the test are among those to learn from.

    examples:
      gymformer train gsm8k --n-few-shot-examples 0
      gymformer train gsm8k --gsm8k-path gsm8k --model-name-or-path Qwen/Qwen2.5-0.5B-Instruct --use-lora --dtype bfloat16
      gymformer train gsm8k --algorithm grpo --num-update-steps 2 --evaluation-iterations 5 --save-best-model
    """

    problems: OmitArgPrefixes[WordProblems] = field(default_factory=WordProblems)
    model: OmitArgPrefixes[Solver] = field(default_factory=Solver)
    learning: OmitArgPrefixes[Iterations] = field(default_factory=Iterations)
    run: OmitArgPrefixes[SolverRun] = field(default_factory=SolverRun)


class PreferenceData(Group):
    """Which rows are read, and how they become tokens."""

    split: str | None = None  # only this part of the data, such as train. None: all of it
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2  # share of the prompts that is held out, to measure on
    # plain: texts as they are; chat: in the tokenizer's chat format; auto: chat for chat messages
    template: Literal["auto", "plain", "chat"] = "auto"
    ending: Literal["eos", "none"] = "eos"  # what closes every row: the tokenizer's end of text, or nothing
    max_length: PositiveInt | None = None  # rows with more tokens are left out. None: the model's context
    max_refused: Annotated[float, Field(ge=0, le=1)] = 0.01  # it is an error if more than this share cannot be used


class RewardLearning(Group):
    """How the reward model learns: AdamW on -log softmax over the candidates of a row."""

    epochs: PositiveInt = 3  # at most; training stops early when the held-out loss no longer falls
    batch_size: PositiveInt = 32  # rows, each with all its candidates
    learning_rate: Annotated[float, Field(gt=0)] | None = None  # at its highest. None: chosen for the model's size
    warmup_steps: NonNegativeInt | None = None  # until it is reached; then it falls to 0. None: a twentieth of all steps
    weight_decay: NonNegativeFloat = 0.01  # of matrices
    lora: PositiveInt | None = None  # train only an adapter of this rank, which is merged in the end
    eval_interval: PositiveInt | None = None  # steps between evaluations, each with a checkpoint. None: twice an epoch
    patience: PositiveInt | None = 4  # stop after so many evaluations without a better one. None: never
    max_tokens: PositiveInt = 16_384  # read in one pass; less needs less memory, with the same result


class RewardRunOptions(Group):
    """The run, and what is watched."""

    seed: int = 42  # one seed, one split and one result
    # auto: a GPU where there is one and the model is large enough to use it; or cpu, cuda, cuda:1, mps
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")] = "auto"
    dry_run: bool = False  # read and check everything, try two batches, say what a full run takes, write nothing
    resume_checkpoint: bool | Path | None = None  # True: go on with the unfinished run; or the path of one of its checkpoints
    progress: bool | None = None  # True: always a bar; False: silence; None: a bar in a terminal, lines elsewhere
    log_interval: PositiveInt = 10  # a line every so many steps, where no bar can be shown
    tracker: Literal["wandb", "tensorboard"] | None = None  # also log there (wandb stays offline unless WANDB_MODE=online)


class RewardSettings(PreferenceData, RewardLearning, RewardRunOptions):
    """All arguments of `train_reward` that can be written down. Names and defaults are `train_reward`'s."""

    model_name: str
    datasets_path: str
    reward_model_path: Path


@dataclass(frozen=True)
class RewardOptions:
    """Trains a reward model on preferences, and writes it with a report into a folder that transformers can load.

    DATA is a JSON, JSON Lines or Parquet file, a folder of such files or one that datasets saved, or hub:OWNER/NAME. Its rows
    are "query, sample0, sample1, ..., best" or "prompt, chosen, rejected" (optional: margin, tie), in texts, chat messages or
    token ids. A share of the prompts is held out: the report tells how often the model prefers what was judged the best there,
    how well its probabilities can be trusted, and what it gets wrong. Scores have mean 0 and variance 1 on these rows.

    An option given here wins over the file of --config, which wins over the defaults below. "None" stands for the absence of a
    value.

    examples:
      gymformer reward models/reasoner preferences.jsonl runs/reward --dry-run
      gymformer reward models/reasoner preferences.jsonl runs/reward --epochs 5 --seed 1
      gymformer reward Qwen/Qwen2.5-0.5B hub:trl-lib/ultrafeedback_binarized runs/reward --split train --lora 16
      gymformer reward --config reward.yaml --resume-checkpoint True

    reward.yaml:
      model_name: models/reasoner
      datasets_path: preferences.jsonl
      reward_model_path: runs/reward
      batch_size: 16
    """

    # the language model to start from: a folder, one that comes along, or a hub id
    model_name: Annotated[Positional[str | None], arg(metavar="MODEL")] = None
    datasets_path: Annotated[Positional[str | None], arg(metavar="DATA")] = None  # the preferences
    reward_model_path: Annotated[Positional[Path | None], arg(metavar="OUTPUT")] = None  # the folder to write
    config: Path | None = None  # a YAML file of settings, named as in Python
    data: OmitArgPrefixes[PreferenceData] = field(default_factory=PreferenceData)
    learning: OmitArgPrefixes[RewardLearning] = field(default_factory=RewardLearning)
    run: OmitArgPrefixes[RewardRunOptions] = field(default_factory=RewardRunOptions)


OPTIONS = {"train": TrainOptions, "train gsm8k": GSM8KOptions, "sweep": SweepOptions, "reward": RewardOptions, "eval": EvalOptions,
           "play": PlayOptions, "report": ReportOptions, "watch": WatchOptions, "envs": EnvsOptions, "demo": DemoOptions}  # fmt: skip

# Two ways to say one thing: whoever chooses one of them has also decided against the other of a lower layer.
ALTERNATIVES = (("max_episodes", "total_timesteps"), ("update_interval", "rollout_steps"))


def merge(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """Both layers, `higher` winning name by name (also inside `ppo_config`). Choosing max_episodes drops a lower layer's
    total_timesteps, and the other way round; so for update_interval and rollout_steps."""
    kept = dict(lower)
    for one, other in (*ALTERNATIVES, *(pair[::-1] for pair in ALTERNATIVES)):
        if higher.get(one) is not None and other not in higher:
            kept.pop(other, None)
    inner = {**(lower.get("ppo_config") or {}), **(higher.get("ppo_config") or {})}
    return kept | dict(higher) | ({"ppo_config": inner} if inner else {})


def read_config(path: Path, ppo_config: type) -> dict[str, Any]:
    """The settings in a YAML file, checked. Raises ValueError or OSError naming the file and the key."""
    content = _read_yaml(path)
    inner = content.get("ppo_config", {})
    if not isinstance(inner, dict):
        raise ValueError(f"{path}: ppo_config={inner!r}; keys with values are expected, such as {{gamma: 0.99}}")
    _require_known(content, Settings.model_fields, f"{path}: ")
    _require_known(inner, [part.name for part in fields(ppo_config)], f"{path}: ppo_config.")
    if ":" in str(content.get("env", "")):
        raise ValueError(
            f"{path}: env={content['env']!r} would import a module, and a file must not; say it on the command line"
        )
    try:
        validate({"env": "any", **content}, ppo_config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return content


def read_reward_config(path: Path) -> dict[str, Any]:
    """The settings of `gymformer reward` in a YAML file. Raises ValueError or OSError naming the file and the key."""
    content = _read_yaml(path)
    _require_known(content, RewardSettings.model_fields, f"{path}: ")
    return content


def validate_reward(settings: Mapping[str, Any]) -> RewardSettings:
    """Typed and checked settings. Raises ValueError naming every wrong value."""
    try:
        return RewardSettings.model_validate(settings)
    except ValidationError as error:
        raise ValueError(describe(error)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, but keys with values are expected, such as "seed: 0"')
    return content


def validate(settings: Mapping[str, Any], ppo_config: type) -> Settings:
    """Typed and checked settings; `ppo_config` is the class of that part. Raises ValueError naming every wrong value."""
    try:
        config = TypeAdapter(ppo_config).validate_python(settings.get("ppo_config", {}))
    except ValidationError as error:
        raise ValueError(describe(error, "ppo_config.")) from error
    try:
        return Settings.model_validate({**settings, "ppo_config": config})
    except ValidationError as error:
        raise ValueError(describe(error)) from error


def describe(error: ValidationError, prefix: str = "") -> str:
    """What pydantic found, in one line."""
    found = {}
    for problem in error.errors():
        name = prefix + ".".join(map(str, problem["loc"][:1]))  # what follows is a branch of a union
        message = problem["msg"].removeprefix("Value error, ")
        found.setdefault(name, re.sub(r"^\w+ should", f"{name}={problem['input']!r}; it should", message))
    return "; ".join(found.values())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known names that are nearest to `name`, or all of them."""
    close = get_close_matches(name, list(known), n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def _require_known(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{where}{name} is not a setting; {did_you_mean(str(name), known)}")
