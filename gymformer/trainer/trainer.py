"""train_agent: puts the parts of a training run together from what the user asked for."""

import copy
import platform
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import gymnasium as gym
import numpy as np
import safetensors.torch
import torch
from gymnasium.vector import VectorEnv
from torch import nn

from gymformer.device import resolve_device, threads_for
from gymformer.evaluation.evaluate import evaluate
from gymformer.files import new_folder, read_json, safe_name, write_file, write_json
from gymformer.monitoring.log import MetricsLog
from gymformer.monitoring.progress import Progress
from gymformer.monitoring.trackers import Tracker, make_tracker
from gymformer.rl.agent import TrainedAgent, load_agent
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import Envs, EnvSource, Vectorization, make_envs, name_of
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.kl import AdaptiveCoefficient, DeclaresReference, KLPenalty, Refreshable
from gymformer.rl.networks import (
    ActorNetwork,
    CriticNetwork,
    match_actions,
    match_critic,
    match_tokens,
    require_same_vocabulary,
)
from gymformer.rl.ppo import PPOConfig
from gymformer.rl.rollouts import RewardNormalizer
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.workers import Workers
from gymformer.safety.monitor import SafetyMonitor
from gymformer.seeding import derive_seed, fresh_seed, seeded_globals
from gymformer.trainer.checkpoint import run_lock
from gymformer.trainer.distributed import ALONE, Ranks, SharedLearning, is_launched, joined
from gymformer.trainer.plan import Plan, as_plain, planned
from gymformer.trainer.records import Curriculum, TrainingResult
from gymformer.trainer.run import Callback, Run, Transform

__all__ = ["load_agent", "train_agent"]

DEFAULT_MODEL = "models/reasoner"  # the actor of our language environments where none is given
KL_COEF = 0.1  # reward for a nat of divergence from a reference, where nobody says
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in an object's repr; another one in every process

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is chosen where the user says nothing."""

    episodes: int  # in all
    save_interval: int  # episodes


CONTROL = Defaults(episodes=1000, save_interval=100)
TEXT = Defaults(episodes=5120, save_interval=1024)
ENVS = 8  # of control; fewer where there are fewer than eight episodes for each: the first to end would be the short ones


def train_agent(
    env_name: EnvSource,
    actor: nn.Module | None = None,
    critic: nn.Module | None = None,
    ppo_config: PPOConfig | None = None,
    max_episodes: int | None = None,
    max_timesteps: int = 1000,
    update_interval: int | None = None,
    save_interval: int | None = None,
    save_path: str | Path | None = "./runs",
    callback: Callback | None = None,
    log_interval: int = 10,
    device: str | torch.device = "auto",
    *,
    total_timesteps: int | None = None,
    rollout_steps: int | None = None,
    num_envs: int | None = None,
    num_processes: int | None = None,
    vectorization: Vectorization = "auto",
    seed: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    algorithm: str | type[Algorithm] | Algorithm = "ppo",
    config: Any = None,
    reference: nn.Module | Literal["initial"] | None = None,
    kl_coef: float | AdaptiveCoefficient | None = None,
    transforms: Sequence[Transform] = (),
    curriculum: Curriculum | None = None,
    safety: SafetyMonitor | None = None,
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

    Of token environments (actions are tokens, observations the tokens so far) actor and critic are language models
    (`LMActorNetwork`) or any modules that read tokens (B, L); critic=None is a value head on the actor's trunk. An environment
    of text is turned into one by the actor's tokenizer. There, `max_timesteps` counts tokens.

    Budget: `max_episodes` (where no budget is given 1,000, of text 5,120) or `total_timesteps` over all environments, whichever
    is spent first. `max_timesteps` caps an episode; such a cut is a truncation and bootstraps. The policy is updated every
    `update_interval` episodes (None: 100, of text 256), or every `rollout_steps` steps of each of `num_envs` environments where
    that is given; a last update always happens.

    Every `save_interval` episodes (None: 100, of text 1,024) a checkpoint is written to a new folder below `save_path` (None:
    nothing is written), and all environments are cut and reset with a derived seed, so that `resume=` (a run's folder, or
    True for the newest run of this environment), called with the same arguments, continues after a kill bit for bit as if
    nothing had happened; only the budget may be larger. Ctrl-C and SIGTERM save and end, dropping what was played since the
    last update.

    `algorithm`: "ppo", "reinforce", "reinforce_stable", "rloo", "grpo", "a2c", a subclass of Algorithm (which says how it is built), or
    an instance; `config`: a GRPOConfig and so on (`ppo_config` is its name for PPO). RLOO and GRPO compare episodes of one task:
    token environments are reset with the same seed and options for each group of `config.group_size`, and budgets and intervals
    in episodes are rounded up to whole groups. Only what needs a critic gets one.

    `vectorization="async"` keeps environments in worker processes, which pays where they are slow; `Workers(count=16, timeout=60)`
    says how many, and after how many seconds one hangs. One that dies or hangs is reported and replaced (see `Workers`); what
    was learned, logged and counted is otherwise what one process would have given.

    `callback(moment)` sees every step of every environment and stops training by returning False. `eval_interval`
    (episodes) evaluates on environments apart and keeps the best agent. `tracker`: "wandb", "tensorboard", or an object
    with start, log and finish. `reference` with `kl_coef` penalises divergence from a reference policy ("initial": the actor as
    it is now), by a fixed amount (None: 0.1) or an AdaptiveCoefficient, in the rewards;
    GRPO has it in its loss (None: as its config says). An environment may declare both (`RLHFEnv` does), which holds
    where nothing else is said (kl_coef=0 only measures the divergence); `transforms` write penalties of your own. `progress`: None shows a
    bar where someone can see it, True always, False prints nothing.
    `curriculum.options()` goes to each reset, and `curriculum.observe(segments)` sees each rollout, whose `Segment.options` tell what
    was asked; `CurriculumGenerator` is one.
    `safety` watches over what is said in token environments and those of texts: it counts violations (log and infos), and by its
    mode charges for them (penalties), filters turns, or stops episodes. Evaluations are of the agent alone, without it.
    `seed_globals` also seeds the global generators, for environments that ignore reset(seed=...), and restores them.

    `num_processes` processes, on this machine or wherever torchrun has started them (None: as many as it has), train one
    agent: each plays `num_envs` environments with seeds of its own, and gradients are averaged over the decisions of all, so
    that the networks stay equal, bit for bit. Advantages are normalised in each process's own minibatch. Budgets and
    intervals count over all processes, and so do log, metrics and returns, which the first one writes. Callback, transforms
    and curriculum work in every process on its own environments; there and not here is what they remember. If a process is
    killed, all start again from the last checkpoint, at most three times. Arguments must be picklable; under torchrun they
    need not be.

    Raises NonFiniteError when a reward, observation, loss or gradient is NaN or infinite, after saving what led there.
    """
    call = dict(locals())  # which other processes may have to repeat
    for name, network in (("actor", actor), ("critic", critic), ("reference", reference)):
        if not (network is None or isinstance(network, nn.Module) or (name == "reference" and network == "initial")):
            made = "LMCriticNetwork" if name == "critic" else "LMActorNetwork"
            raise TypeError(f"{name}={network!r} is no network; give a torch module, such as {made}(model_name)"
                            + (', or "initial"' if name == "reference" else ""))  # fmt: skip
    for name, value in (("max_episodes", max_episodes), ("total_timesteps", total_timesteps), ("rollout_steps", rollout_steps),
                        ("eval_interval", eval_interval), ("num_envs", num_envs), ("max_timesteps", max_timesteps),
                        ("update_interval", update_interval), ("save_interval", save_interval), ("log_interval", log_interval),
                        ("num_processes", num_processes)):  # fmt: skip
        if value is not None or name == "log_interval":
            _require_positive(name, value)
    if eval_interval is not None and isinstance(env_name, gym.Env | gym.vector.VectorEnv):
        raise ValueError(
            "eval_interval needs environments apart from the one that is trained in; give an id or a callable instead of an instance"
        )
    if seed_globals and (vectorization == "async" or isinstance(vectorization, Workers)):
        raise ValueError('seed_globals reaches only this process, not the workers of vectorization="async"; use "sync"')
    if save_path is None and tracker == "tensorboard":
        raise ValueError('tracker="tensorboard" writes into the run\'s folder, but save_path=None makes none; give a save_path')
    if curriculum is not None:
        if vectorization == "native" or isinstance(env_name, VectorEnv):
            raise ValueError(
                'a curriculum asks something of each reset, but a native vector resets by itself; use vectorization="sync"'
            )
        vectorization = "sync" if vectorization == "auto" else vectorization
    plan = planned(algorithm, ppo_config, config)
    if critic is not None and not plan.needs_critic:
        raise ValueError(f"a critic is given, but {plan.name} has none; leave critic out, or take an algorithm that learns values, such as "
                         'algorithm="ppo" or "a2c"')  # fmt: skip
    if plan.group_size > 1 and rollout_steps is not None:
        raise ValueError(
            f"{plan.name} compares whole episodes, but rollout_steps={rollout_steps} cuts them; give update_interval instead"
        )
    max_timesteps = int(max_timesteps)
    if num_processes not in (None, 1) and not is_launched():
        from gymformer.trainer.launch import launch

        return launch(call)
    if isinstance(algorithm, Algorithm):
        actor, critic = algorithm.networks()["actor"], algorithm.networks().get("critic")
    actor, source, arguments = _for_language(env_name, env_kwargs, actor, safety and partial(safety.watch, pays=False))
    transforms = [*transforms] if safety is None else [safety, *transforms]
    is_text = getattr(actor, "reads_tokens", False)
    each_update = update_interval or plan.algorithm.update_interval[is_text]

    with ExitStack() as stack:
        ranks = stack.enter_context(joined(num_processes)) if is_launched() else ALONE
        resumed, stored, fresh = ranks.from_first(lambda: _beginning(resume, save_path, name_of(env_name), ranks))
        seed = int(stored.get("seed", fresh) if seed is None else seed)
        own_seed = ranks.seed(seed)
        episodes_each = None if max_episodes is None else ranks.share(max_episodes)
        num_envs = int(
            num_envs or stored.get("num_envs") or _num_envs(env_name, actor, episodes_each, ranks.share(each_update), plan)
        )
        if seed_globals:
            stack.enter_context(seeded_globals(derive_seed(own_seed, "globals")))
        envs = make_envs(source, num_envs, env_kwargs=arguments, max_timesteps=max_timesteps, vectorization=vectorization,
                         normalize_observations=normalize_observations)  # fmt: skip
        is_text = isinstance(envs, TokenEnvs)  # also where the actor is any module that reads tokens
        defaults = TEXT if is_text else CONTROL
        if max_episodes is None and total_timesteps is None:
            max_episodes = defaults.episodes
        update_interval = update_interval or plan.algorithm.update_interval[is_text]
        save_interval = save_interval or defaults.save_interval
        if not isinstance(env_name, gym.Env | gym.vector.VectorEnv):  # an environment given stays the giver's
            stack.callback(envs.close)
        before = update_interval, max_episodes
        if isinstance(envs, TokenEnvs):
            envs.id, envs.group_size = name_of(env_name), plan.group_size
            update_interval = ranks.whole_groups(update_interval, plan.group_size)
            max_episodes = None if max_episodes is None else ranks.whole_groups(max_episodes, plan.group_size)
        elif plan.group_size > 1:
            raise ValueError(f"{plan.name} compares {plan.group_size} episodes of one task, but {envs.id} is stepped as a vector of "
                             'environments that reset themselves, each with a task of its own; take algorithm="a2c", "ppo" or "reinforce", or '
                             "collect episodes that began alike, set their Segment.group, and call the algorithm's update")  # fmt: skip
        if curriculum is not None:
            envs.options = curriculum.options
        unit, total = ("episodes", max_episodes) if max_episodes is not None else ("timesteps", total_timesteps)
        show = Progress(total, unit, progress if ranks.is_first else False, log_interval)
        if before != (update_interval, max_episodes):
            of = f" in {ranks.count} processes" if ranks.count > 1 else ""
            show.say(f"whole groups of {plan.group_size}{of}: update_interval={update_interval}, max_episodes={max_episodes}")
        policy, value = _networks(envs, actor, critic, hidden_dim, activation, seed, plan.needs_critic)
        both = [policy] if value is None else [policy, value]
        device = ranks.device(resolve_device(device, *both))
        for network in both:
            _without_dropout(network.to(device), show)
        ranks.copy_from_first(both)
        reference, kl_coef = _declared(envs, reference, kl_coef, policy)
        if isinstance(reference, nn.Module):
            require_same_vocabulary(reference, policy)
        frozen = None
        if reference is not None:
            frozen = _matched_actor(_frozen(reference, policy).to(device), envs).requires_grad_(False).eval()
            ranks.copy_from_first([frozen])
            if isinstance(envs, TokenEnvs):
                frozen.distribution = policy.distribution  # of one temperature, or two equal models would seem to differ
            if plan.takes_reference:
                plan = plan.with_kl_coef(kl_coef)
                kl_coef = plan.config.kl_coef
            else:
                kl_coef = KL_COEF if kl_coef is None else kl_coef
                # A coefficient that follows the divergence is this run's own: the one given can start another.
                transforms = [KLPenalty(frozen, copy.copy(kl_coef), policy), *transforms]
        learner = plan.build(policy, value, _generator(own_seed, "minibatches"), frozen if plan.takes_reference else None)
        ranks.copy_from_first(learner.networks().values())
        if ranks.count > 1:
            learner.together = SharedLearning(ranks)
            stack.callback(setattr, learner, "together", Algorithm.together)
        settings = {
            "env": envs.id, "seed": seed, "num_processes": ranks.count if ranks.count > 1 else None,
            "num_envs": envs.num_envs, "vectorization": "async" if isinstance(vectorization, Workers) else vectorization,
            "max_timesteps": max_timesteps,
            "update_interval": None if rollout_steps else update_interval, "rollout_steps": rollout_steps, "save_interval": save_interval,
            "eval_interval": eval_interval, "eval_episodes": eval_episodes, "algorithm": type(learner).__name__,
            "config": as_plain(getattr(learner, "config", None)),
            "kl_coef": None if reference is None else asdict(kl_coef) if isinstance(kl_coef, AdaptiveCoefficient) else kl_coef,
            "normalize_observations": normalize_observations, "normalize_rewards": normalize_rewards, "seed_globals": seed_globals,
            "safety": None if safety is None else repr(safety),
            "env_kwargs": {key: ADDRESS.sub("", repr(value)) for key, value in (env_kwargs or {}).items()},
        }  # fmt: skip
        normalizer = RewardNormalizer(settings["config"].get("gamma", 0.99), envs.num_envs) if normalize_rewards else None
        if policy.reads_tokens:
            settings |= {"model": getattr(policy, "model_name", None), "sampling": dict(policy.sampling)}
        encoder = envs.observation_space if isinstance(envs, TokenEnvs) else envs.encoder
        agent = TrainedAgent(policy, value, encoder, envs.action_space, **_origin(env_name, env_kwargs),
                             max_timesteps=max_timesteps, reward_moments=normalizer and normalizer.moments)  # fmt: skip
        run = Run(
            settings=settings, envs=envs, learner=learner, agent=agent,
            transforms=list(transforms), actions=_generator(own_seed, "actions", device), show=show,
            tracker=make_tracker(tracker if ranks.is_first else None), ranks=ranks, reference=frozen,
            reward_normalizer=normalizer, max_episodes=max_episodes, total_timesteps=total_timesteps, callback=callback,
            curriculum=curriculum, evaluate=lambda trained: evaluate(
                trained, env_name, episodes=eval_episodes, env_kwargs=env_kwargs, seed=derive_seed(seed, "evaluation"),
                max_timesteps=max_timesteps,
            ),
        )  # fmt: skip
        threads = stack.enter_context(threads_for(device, *both))
        if save_path is not None:
            made_by = {"device": str(device), "threads": threads, "versions": _versions(), "launch": ranks.launch}
            run.folder = ranks.from_first(lambda: resumed or _new_run(Path(save_path), settings | made_by))
            if ranks.is_first:
                stack.enter_context(run_lock(run.folder))
                run.log = MetricsLog(run.folder / "metrics.jsonl")
                stack.callback(run.log.close)
        _say_choices(show, settings, as_plain(plan.config), envs, device, threads, run.folder)
        if save_interval < 10 * (cut := envs.num_envs * ranks.count) and not isinstance(envs, TokenEnvs):
            show.say(f"every checkpoint cuts {cut} episodes: with save_interval={save_interval} the returns tell of short "
                     f"episodes more often than of long ones; {10 * cut} or more avoids that")  # fmt: skip
        if ranks.restarts:
            show.say(f"a process of this run has died; all of them were started again (restart {ranks.restarts})")
        if resumed is not None:
            run.restore()
        run.tracker.start(f"{safe_name(envs.id)}-seed{seed}", run.folder, settings, run.timesteps)
        stack.callback(run.tracker.finish)
        stack.callback(lambda: show.close(run.returns, run.metrics))
        interruption = stack.enter_context(ranks.interruptible())
        try:
            return run.train(interruption)
        except NonFiniteError as error:
            if run.folder is not None:
                error.add_note(f"what led there is saved in {_save_evidence(run.folder, error, ranks.rank)}")
            raise


def _for_language(env: EnvSource, env_kwargs: dict[str, Any] | None, actor: nn.Module | None,
                  around: Callable[[gym.Env], gym.Env] | None) -> tuple[nn.Module | None, EnvSource, dict[str, Any] | None]:  # fmt: skip
    """Actor, environment and arguments, where the actor is a language model or the environment is one of ours for such:
    the environment then speaks the actor's tokens. All others as they are."""
    from gymformer.env.making import default_model, for_language_model, is_for_language, wrapped

    if actor is None and (is_for_language(env) or default_model(env)):
        from gymformer.rl.transformers_nn import LMActorNetwork

        actor = LMActorNetwork(default_model(env) or DEFAULT_MODEL)
    if not getattr(actor, "has_tokenizer", False):
        return actor, wrapped(env, around), env_kwargs
    words = {"context": actor.context, "phrases": getattr(actor, "phrases", None)}  # type: ignore[union-attr]
    return actor, *for_language_model(env, env_kwargs, actor.tokenizer, around=around, **words)  # type: ignore[union-attr, arg-type]


def _networks(envs: Envs | TokenEnvs, actor: nn.Module | None, critic: nn.Module | None, hidden_dim: int | Sequence[int],
              activation: str, seed: int, needs_critic: bool) -> tuple[ActorNetwork, CriticNetwork | None]:  # fmt: skip
    """Actor and critic that fit the environment: the ones given, or new ones; no critic where none is needed."""
    if isinstance(envs, TokenEnvs):
        if actor is None:
            raise ValueError(f"{envs.id} is a token environment ({envs.num_tokens} tokens), and needs a language model: "
                             "train_agent(..., actor=LMActorNetwork(model_name)), or any module that reads tokens (B, L)")  # fmt: skip
        _require_same_tokens(envs, actor)
        policy = match_tokens(actor, envs.num_tokens)
        if not needs_critic:
            return policy, None
        if critic is None and not hasattr(policy, "value_head"):
            raise ValueError("critic=None is a value head on a language model's trunk, but the actor is a module of your own; give a critic "
                             "too: any module that maps tokens (B, L) to values (B,), "
                             'or take an algorithm without one, such as "grpo"')  # fmt: skip
        return policy, match_critic(policy.value_head() if critic is None else critic, (1,), envs.num_tokens)  # type: ignore[operator]
    generator = _generator(seed, "networks")
    if actor is None:
        actor = MLPActorNetwork.for_spaces(envs, hidden_dim, activation=activation, generator=generator)
    if not needs_critic:
        return _matched_actor(actor, envs), None
    if critic is None:
        critic = MLPCriticNetwork.for_spaces(envs, hidden_dim, activation=activation, generator=generator)
    return _matched_actor(actor, envs), match_critic(critic, envs.encoder.shape)


def _require_same_tokens(envs: TokenEnvs, policy: nn.Module) -> None:
    """Raises ValueError if the environment's tokenizer is another than the actor's: token 7 would mean one thing to the one and
    something else to the other."""
    own = getattr(envs.envs[0].unwrapped, "tokenizer", None)
    if not hasattr(own, "get_vocab") or not getattr(policy, "has_tokenizer", False):
        return
    if own.get_vocab() != policy.tokenizer.get_vocab():  # type: ignore[union-attr]
        theirs, its = (
            getattr(own, "name_or_path", "") or "a tokenizer of its own",
            getattr(policy, "model_name", None) or "another",
        )
        raise ValueError(f"{envs.id} speaks the tokens of {theirs}, and the actor those of {its}; leave model_name out of env_kwargs, and "
                         "the environment takes the actor's, or give LMActorNetwork(..., tokenizer=...) the environment's")  # fmt: skip


def _num_envs(env: EnvSource, actor: nn.Module | None, max_episodes: int | None, update_interval: int, plan: Plan) -> int:
    """Copies of the environment, where the user names no number. Language episodes are played whole, so they may be as many
    as an update learns from and the model reads at once, in whole groups. In control an algorithm without a critic can learn
    from whole episodes alone, and only a single environment ends a rollout with one."""
    if isinstance(env, gym.Env | VectorEnv):
        return 1
    if getattr(actor, "reads_tokens", False):
        most = min(update_interval, max_episodes or update_interval, actor.rows_at_once)  # type: ignore[union-attr, arg-type]
        return max(1, round(most / plan.group_size)) * plan.group_size  # type: ignore[return-value]
    if not plan.needs_critic:
        return 1
    return max(1, min(ENVS, (max_episodes or CONTROL.episodes) // ENVS))


def _matched_actor(actor: nn.Module, envs: Envs | TokenEnvs) -> ActorNetwork:
    if isinstance(envs, TokenEnvs):
        return match_tokens(actor, envs.num_tokens)
    if getattr(actor, "has_tokenizer", False):
        raise ValueError(f"{envs.id} has observations {envs.observation_space}, which a language model cannot read; wrap it so that it "
                         "speaks (spaces.Text, or Sequence(Discrete) of tokens), or use an MLP (actor=None)")  # fmt: skip
    return match_actions(actor, envs.action_space, envs.encoder.shape)


def _declared(envs: Envs | TokenEnvs, reference: nn.Module | Literal["initial"] | None, kl_coef: float | AdaptiveCoefficient | None,
              policy: ActorNetwork) -> tuple[nn.Module | Literal["initial"] | None, float | AdaptiveCoefficient | None]:  # fmt: skip
    """Reference and coefficient: those given, else those that the environment declares, else none. Raises ValueError for a coefficient
    without a reference."""
    env = envs.envs[0].unwrapped if isinstance(envs, TokenEnvs) else None
    if isinstance(env, DeclaresReference):
        kl_coef = env.kl_coef if kl_coef is None else kl_coef
        if reference is None and env.reference in (None, getattr(policy, "model_name", None)):
            reference = "initial"
        elif reference is None:
            from gymformer.rl.transformers_nn import LMActorNetwork

            reference = LMActorNetwork(env.reference)
    if reference is None and kl_coef not in (None, 0):
        raise ValueError(f"kl_coef={kl_coef} weighs the divergence from a reference, and there is none; give reference=\"initial\" (the actor "
                         "as it is now), or another actor")  # fmt: skip
    return reference, kl_coef


def _frozen(reference: nn.Module | Literal["initial"], policy: ActorNetwork) -> nn.Module:
    """A reference that does not go on learning with the policy."""
    if reference == "initial":
        own = getattr(policy, "reference", None)
        return copy.deepcopy(policy) if own is None else own()
    assert isinstance(reference, nn.Module)
    # One that lies in the policy itself, the model with its adapter off, or that its giver means to refresh, is taken as it is.
    if not list(reference.parameters()) or isinstance(reference, Refreshable):
        return reference
    return copy.deepcopy(reference)


def _generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(derive_seed(seed, name))


def _require_positive(name: str, value: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}={value!r}; it must be a whole number of at least 1")


def _origin(env: EnvSource, env_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The id and arguments by which the agent's environment can be made again; nothing where there is no id."""
    if isinstance(env, str):
        return {"env_id": env, "env_kwargs": env_kwargs}
    spec = None if isinstance(env, VectorEnv) or not isinstance(env, gym.Env) else env.spec
    return (
        {} if spec is None else {"env_id": spec.id, "env_kwargs": {k: v for k, v in spec.kwargs.items() if k != "render_mode"}}
    )


def _without_dropout(network: Network, show: Progress) -> Network:
    """The network in eval mode, where it stays: the policy that learns, and that is evaluated, is then the one that acted."""
    layers = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    if network.training and any(isinstance(module, layers) and getattr(module, "p", 1) > 0 for module in network.modules()):
        show.say(f"{type(network).__name__}: dropout and batch normalisation are off while it acts and learns (eval mode)")
    return network.eval()


def _new_run(save_path: Path, config: dict[str, Any]) -> Path:
    """A folder below `save_path` that no run has used, with its config: <environment>/<date>-<time>-seed<seed>."""
    base = save_path / safe_name(config["env"]) / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{config['seed']}"
    for attempt in range(1, 1000):
        folder = base if attempt == 1 else base.with_name(f"{base.name}-{attempt}")
        try:
            with new_folder(folder) as unfinished:
                write_json(unfinished / "config.json", config)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"{base} and 998 folders beside it exist; give another save_path")


def _beginning(resume: str | Path | bool | None, save_path: str | Path | None, env_id: str,
               ranks: Ranks) -> tuple[Path | None, dict[str, Any], int]:  # fmt: skip
    """The run to go on with, its config, and a seed in case neither the user nor the config names one."""
    resumed = _run_to_resume(resume, save_path, env_id)
    if resumed is None and save_path is not None:
        resumed = ranks.unfinished_run(Path(save_path) / safe_name(env_id))
    return resumed, {} if resumed is None else read_json(resumed / "config.json"), fresh_seed()


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


def _save_evidence(folder: Path, error: NonFiniteError, rank: int) -> Path:
    """What led to a NaN, for the one who looks for its cause."""
    path = folder / (f"non-finite-{safe_name(error.what)}" + (f"-process{rank}" if rank else ""))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in error.evidence.items()}
    write_file(path / "evidence.safetensors", safetensors.torch.save(tensors))
    write_json(path / "message.json", {"what": error.what, "message": str(error)})
    return path


def _stepping(envs: Envs | TokenEnvs) -> str:
    return "tokens" if isinstance(envs, TokenEnvs) else type(envs.vector).__name__


def _say_choices(show: Progress, settings: dict[str, Any], asked: dict[str, Any], envs: Envs | TokenEnvs, device: torch.device, threads: int,
                 folder: Path | None) -> None:  # fmt: skip
    """What was chosen for the user, in three lines."""
    text = isinstance(envs, TokenEnvs)
    kind = "plain environment" if envs.num_envs == 1 else f"environments ({_stepping(envs)})"
    kind += f" in each of {settings['num_processes']} processes" if settings["num_processes"] else ""
    why = ", one thread because the networks are small" if threads == 1 else f", {threads} threads"
    show.say(
        f"{settings['env']}: {envs.num_envs} {kind}, {device}{why if device.type == 'cpu' else ''}, seed {settings['seed']}"
    )
    chosen = [
        f"{name}={settings['config'].get(name)}"
        for name, value in asked.items()
        if value is None and settings["config"].get(name) is not None
    ]
    every = (
        f"{settings['rollout_steps']} steps in each environment"
        if settings["rollout_steps"]
        else f"{settings['update_interval']} episodes"
    )
    show.say(
        f"one update every {every}" + (f"; chosen for {'text' if text else 'control'}: {', '.join(chosen)}" if chosen else "")
    )
    if folder is not None:
        show.say(f"writing to {folder}")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version()} | {
        name: version(name) for name in ("gymformer", "torch", "gymnasium", "numpy")
    }
