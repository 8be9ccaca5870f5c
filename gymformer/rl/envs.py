"""Gymnasium environments, one or many, with the place where each stands: what the next rollout goes on from."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, parse_env_id
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from gymnasium.wrappers import TimeLimit

from gymformer.rl.policy import check_masks, flat_mask
from gymformer.rl.spaces import ObservationEncoder, one_as_batch
from gymformer.rl.token_envs import TokenEnvs, reads_tokens
from gymformer.rl.workers import WorkerPool, Workers, WorkerVector, require_different, workers_ignoring_sigint
from gymformer.seeding import derive_seed

__all__ = ["EnvSource", "Envs", "Tick", "make_envs"]

EnvSource = str | gym.Env | VectorEnv | Callable[..., gym.Env]
Vectorization = Literal["auto", "native", "sync", "async"] | Workers


@dataclass(slots=True)
class Tick:
    """What one step of B environments brought."""

    actions: np.ndarray  # (B, ...) as the environments took them
    phantom: np.ndarray  # (B,) bool: the step only reset this environment; nothing of it is a decision
    observations: Any  # what the actions were chosen for, as the environments gave it; None unless `Envs.keep_raw`
    rewards: np.ndarray  # (B,)
    terminated: np.ndarray  # (B,) bool
    truncated: np.ndarray  # (B,) bool
    final_observations: dict[int, np.ndarray]  # env -> encoded last observation of the episode that ended, unless it is next
    final_infos: dict[int, dict[str, Any]] = field(default_factory=dict)  # env -> the info of its episode's last step
    lost: list[int] = field(default_factory=list)  # envs whose worker process died: phantoms, whose episodes are over unended
    final_options: dict[int, dict[str, Any]] = field(default_factory=dict)  # env -> what its episode's reset was asked for


class OneEnv:
    """One plain environment with the face of a vector of one that does not reset by itself.

    It is two to five times as fast as a vector environment of one (benchmarks/README.md).
    """

    num_envs = 1
    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, env: gym.Env):
        self.env = env
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space

    def reset(self, *, seed: list[int] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        asked = {name: value for name, value in (options or {}).items() if name != "reset_mask"}
        observation, info = self.env.reset(seed=None if seed is None else seed[0], options=asked or None)
        return one_as_batch(self.single_observation_space, observation), info

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(self._action(actions[0]))
        ends = np.array([terminated], dtype=bool), np.array([truncated], dtype=bool)
        return one_as_batch(self.single_observation_space, observation), np.array([reward], np.float64), *ends, info

    def _action(self, action: Any) -> Any:
        """A plain int where the space is Discrete: user code appends and compares it."""
        return int(action) if isinstance(self.single_action_space, gym.spaces.Discrete) else action

    def close(self) -> None:
        self.env.close()


class Envs:
    """B environments, the observation that each stands before, and the running statistics of its episode.

    `make_envs` builds it; `collect` steps it. `observations` is (B, *shape) float32, encoded; `legal` (B, A) bool or None;
    `phantom` (B,) bool marks the environments whose next step only resets them (autoreset mode NEXT_STEP).
    """

    def __init__(self, vector: VectorEnv | OneEnv, encoder: ObservationEncoder | None = None, id: str = "environment"):
        self.vector, self.id, self.num_envs = vector, id, vector.num_envs
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space
        self.batched_observation_space = batch_space(self.observation_space, self.num_envs)
        self.encoder = encoder or ObservationEncoder(self.observation_space)
        self.mode: AutoresetMode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.learn_statistics = True  # a normalising encoder learns from what is seen; off in evaluation
        self.options: Callable[[], dict[str, Any]] = (
            dict  # asked for at each reset: what a curriculum wants of the next episode
        )
        self._asked: list[dict[str, Any]] = []  # by each environment's last reset
        self.keep_raw = False  # ticks bring a copy of the raw observations, for those who look at them
        self._mask_method = _has_mask_method(vector)
        self.observations = np.empty((0, *self.encoder.shape), np.float32)  # none before the first reset
        self.raw_observations: Any = None
        self.legal: np.ndarray | None = None
        self.phantom = np.zeros(self.num_envs, bool)
        self.episode_returns = np.zeros(self.num_envs)
        self.episode_lengths = np.zeros(self.num_envs, np.int64)

    def reset(self, seed: int) -> None:
        """Every environment starts a new episode, with a seed of its own derived from `seed`; running ones are cut."""
        seeds = [derive_seed(seed, "environment", i) for i in range(self.num_envs)]
        # Environments computed as one array share one generator, hence one seed.
        is_native = not isinstance(self.vector, OneEnv | SyncVectorEnv | AsyncVectorEnv | WorkerVector)
        seed_or_seeds: Any = seeds[0] if is_native else seeds
        with self._naming_dead_workers():
            asked = self.options()
            observations, infos = self.vector.reset(seed=seed_or_seeds, options=asked or None)
        self._asked = [asked] * self.num_envs
        self.phantom = np.zeros(self.num_envs, bool)
        self.episode_returns, self.episode_lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._stand(observations, infos)

    def step(self, actions: np.ndarray) -> Tick:
        """One step of every environment; ended ones are reset, at once or by the next step, as their mode has it."""
        # The vector may write the next observations into the same array.
        before = copy.deepcopy(self.raw_observations) if self.keep_raw else None
        with self._naming_dead_workers():
            observations, rewards, terminated, truncated, infos = self.vector.step(actions)
        lost = self.vector.lost if isinstance(self.vector, WorkerVector) else np.zeros(self.num_envs, bool)
        tick = Tick(actions, self.phantom | lost, before, rewards, terminated, truncated, {})
        tick.lost = np.flatnonzero(lost).tolist()
        ended: list[int] = np.flatnonzero(terminated | truncated).tolist()
        self.phantom = np.zeros(self.num_envs, bool)
        if ended or tick.lost:
            if self.mode is AutoresetMode.NEXT_STEP:  # the final observation is what the next tick reads
                self.phantom[ended] = True
                tick.final_infos = {b: _info_of(infos, b, self.vector) for b in ended}
            elif self.mode is AutoresetMode.SAME_STEP:
                tick.final_observations = {b: self._encode_one(infos["final_obs"][b]) for b in ended}
                tick.final_infos = {b: _info_of(infos.get("final_info", {}), b, self.vector) for b in ended}
            else:
                encoded = self.encoder(observations)
                tick.final_observations = {b: encoded[b].copy() for b in ended}  # the reset may overwrite the array
                tick.final_infos = {b: _info_of(infos, b, self.vector) for b in ended}
                mask = lost.copy()
                mask[ended] = True
                tick.final_options = {b: self._asked[b] for b in ended}
                asked = self.options()
                observations, reset_infos = self.vector.reset(options={"reset_mask": mask} | asked)
                for b in [*ended, *tick.lost]:
                    self._asked[b] = asked
                infos = reset_infos if self.num_envs == 1 else _merge_masks(infos, reset_infos, mask)
        self._stand(observations, infos)
        return tick

    def each(self, observations: Any) -> list[Any]:
        """A tick's observations, one for each environment."""
        return list(iterate(self.batched_observation_space, observations))

    def close(self) -> None:
        self.vector.close()

    @contextmanager
    def _naming_dead_workers(self) -> Iterator[None]:
        """A worker process that died is an error that says so, and the others are ended with it."""
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            if isinstance(self.vector, AsyncVectorEnv):
                for process in self.vector.processes:
                    process.terminate()
                for process in self.vector.processes:
                    process.join()
                self.vector.closed = True  # its own close would wait for the answer of the dead one
            raise RuntimeError(f"a worker process of {self.id} died (out of memory, os._exit, or a crash in native code); run it "
                               'with vectorization="sync" to see where') from error  # fmt: skip

    def _stand(self, observations: Any, infos: dict[str, Any]) -> None:
        self.raw_observations = observations
        self.observations = self.encoder(observations, learn=self.learn_statistics)
        self.legal = self._legal(infos)

    def _encode_one(self, observation: Any) -> np.ndarray:
        return self.encoder(one_as_batch(self.observation_space, observation))[0]

    def _legal(self, infos: dict[str, Any]) -> np.ndarray | None:
        """(B, A) bool: which actions the environments allow now, from `info["action_mask"]` or `action_masks()`.

        An environment that gives no mask now allows everything; None while none has ever given one.
        """
        given: list[Any] = [None] * self.num_envs
        if "action_mask" in infos:
            told = infos.get("_action_mask", np.ones(self.num_envs, bool))
            masks = [infos["action_mask"]] if isinstance(self.vector, OneEnv) else infos["action_mask"]
            given = [mask if is_told else None for mask, is_told in zip(masks, told, strict=True)]
        elif self._mask_method:
            vector: Any = self.vector
            match vector:
                case OneEnv():
                    given = [vector.env.get_wrapper_attr("action_masks")()]
                case WorkerVector():
                    given = vector.action_masks()
                case _:
                    given = list(vector.call("action_masks"))
        rows = [None if mask is None or self.phantom[b] else flat_mask(mask) for b, mask in enumerate(given)]
        width = next((len(row) for row in rows if row is not None), None)
        if width is None:
            return None if self.legal is None else np.ones_like(self.legal)
        everything = np.ones(width, bool)
        return check_masks(np.stack([everything if row is None else row for row in rows]), self.num_envs, width)


def _merge_masks(infos: dict[str, Any], reset_infos: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """The step's infos with the action masks of the environments that were reset."""
    if "action_mask" not in infos and "action_mask" not in reset_infos:
        return infos
    both = [i for i in (infos, reset_infos) if "action_mask" in i]
    merged = np.array(both[0]["action_mask"])
    told = np.array(both[0]["_action_mask"])
    told[mask] = reset_infos["_action_mask"][mask] if "action_mask" in reset_infos else False
    if "action_mask" in reset_infos:
        merged[mask] = reset_infos["action_mask"][mask]
    return {"action_mask": merged, "_action_mask": told}


def _info_of(infos: dict[str, Any], index: int, vector: VectorEnv | OneEnv) -> dict[str, Any]:
    """The info of one environment out of a vector's."""
    if isinstance(vector, OneEnv):
        return dict(infos)
    result = {}
    for key, value in infos.items():
        told = infos.get(f"_{key}")
        if told is not None and told[index]:
            result[key] = _info_of(value, index, vector) if isinstance(value, dict) else value[index]
    return result


def _has_mask_method(vector: VectorEnv | OneEnv) -> bool:
    match vector:
        case OneEnv(env=env):
            return env.has_wrapper_attr("action_masks")
        case WorkerVector():
            return vector.pool.like.has_wrapper_attr("action_masks")
        case SyncVectorEnv():
            return vector.envs[0].has_wrapper_attr("action_masks")
        case AsyncVectorEnv():
            probe = vector.env_fns[0]()
            try:
                return probe.has_wrapper_attr("action_masks")
            finally:
                probe.close()
    return False


def make_envs(env: EnvSource, num_envs: int = 1, *, env_kwargs: dict[str, Any] | None = None, max_timesteps: int | None = None,
              vectorization: Vectorization = "auto", autoreset_mode: AutoresetMode = AutoresetMode.DISABLED,
              normalize_observations: bool = False, fallback_timesteps: int | None = None) -> Envs | TokenEnvs:  # fmt: skip
    """`num_envs` copies of an environment: a registered id, a callable that makes one, or (num_envs=1) an environment.

    One environment is stepped plainly. Several are a vector: the environment's own where it registers one ("native"), else
    one after another ("sync"). With "async", or `Workers(...)` which says how many, all live in worker processes, a single one too.
    `max_timesteps` truncates longer episodes; `fallback_timesteps` only where there is no other limit. `autoreset_mode` is for sync
    and async (where it is not DISABLED, async is Gymnasium's own vector); a native vector has its own. (In SAME_STEP, Gymnasium
    loses the final observation of an environment that changes its observation in place.) A ready `gymnasium.vector.VectorEnv` is
    taken as it is, its limits included. Token environments, which are told by their spaces, are stepped one after another, or
    in worker processes.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs={num_envs}; at least 1 environment is needed")
    if not isinstance(vectorization, Workers) and vectorization not in ("auto", "native", "sync", "async"):
        raise ValueError(f'vectorization="{vectorization}" is not one of auto, native, sync, async, and not Workers(...)')
    limit = StepLimit(max_timesteps, fallback_timesteps)
    vector = _vector(env, num_envs, env_kwargs or {}, limit, vectorization, autoreset_mode)
    if isinstance(vector, TokenEnvs):
        if normalize_observations:
            vector.close()
            raise ValueError(f"{name_of(env)} shows tokens, which cannot be normalised; leave out normalize_observations")
        return vector
    try:
        encoder = ObservationEncoder(vector.single_observation_space, normalize=normalize_observations)
        return Envs(vector, encoder, id=name_of(env))
    except BaseException:
        vector.close()
        raise


def _vector(env: EnvSource, num_envs: int, env_kwargs: dict[str, Any], limit: "StepLimit", vectorization: Vectorization,
            mode: AutoresetMode) -> VectorEnv | OneEnv | TokenEnvs:  # fmt: skip
    if isinstance(env, gym.Env | VectorEnv) and env_kwargs:
        raise ValueError("env_kwargs are for an environment that is still to be made, but an instance was given")
    workers = Workers() if vectorization == "async" else vectorization if isinstance(vectorization, Workers) else None
    if isinstance(env, VectorEnv):
        if num_envs not in (1, env.num_envs):
            raise ValueError(f"num_envs={num_envs}, but the vector environment given holds {env.num_envs}; leave num_envs out")
        if reads_tokens(env.single_observation_space, env.single_action_space):
            if isinstance(env, SyncVectorEnv):  # whose environments are stepped one after another anyway
                return TokenEnvs([limit.applied(one) for one in env.envs], name_of(env))
            raise ValueError(f"{name_of(env)} is a vector of token environments, whose rows differ in length; give the id, or a callable "
                             f"that makes one, and num_envs={env.num_envs}: they are stepped one after another")  # fmt: skip
        return env
    if isinstance(env, gym.Env):
        if num_envs > 1:
            raise ValueError(f"num_envs={num_envs} needs as many environments, but one instance ({env}) was given; give its "
                             "id, or a callable that makes one")  # fmt: skip
        if workers is not None:
            raise ValueError(f"worker processes make environments of their own, but one instance ({env}) was given; give its id, or a "
                             "callable that makes one")  # fmt: skip
        return _one_or_tokens(limit.applied(env), name_of(env))
    if callable(env):
        if vectorization == "native":
            raise ValueError('vectorization="native" is for ids that register a vector version of their own; use "sync" or '
                             '"async" for a callable')  # fmt: skip
        make = partial(_make_limited, env, env_kwargs, limit)
    else:
        if vectorization == "native" and not has_native(env, unasked=False):
            raise ValueError(f'{env} registers no vector version of its own; use vectorization="sync" or "async"')
        arguments: dict[str, Any] = env_kwargs | limit.argument(env_spec(env).max_episode_steps)
        if num_envs > 1 and vectorization in ("auto", "native") and has_native(env, unasked=vectorization == "auto"):
            return gym.make_vec(env, num_envs, vectorization_mode="vector_entry_point", **arguments)
        make = partial(gym.make, env, disable_env_checker=True, **arguments)
    first = make()  # whose spaces say what kind of environment it is
    is_tokens = reads_tokens(first.observation_space, first.action_space)
    if is_tokens and vectorization == "native":
        first.close()
        raise ValueError(
            f'{name_of(env)} is a token environment, and these have no vector version; use vectorization="auto" or "async"'
        )
    # Without `copy`, observations come in the vector's own array, which the rollout copies into its own anyway.
    if workers is not None and not is_tokens and mode is not AutoresetMode.DISABLED:
        first.close()
        with workers_ignoring_sigint():
            return AsyncVectorEnv([make] * num_envs, copy=False, autoreset_mode=mode)
    if workers is not None:
        pool = WorkerPool(make, num_envs, workers, name_of(env), like=first)
        return TokenEnvs(pool.envs, name_of(env), pool) if is_tokens else WorkerVector(pool)
    if num_envs == 1 and not is_tokens:
        return OneEnv(first)
    made = [first, *(make() for _ in range(num_envs - 1))]
    require_different(made, name_of(env))
    if is_tokens:
        return TokenEnvs(made, name_of(env))
    return SyncVectorEnv([partial(_given, one) for one in made], copy=False, autoreset_mode=mode)


def _given(env: gym.Env) -> gym.Env:
    return env


def _one_or_tokens(env: gym.Env, name: str) -> OneEnv | TokenEnvs:
    return TokenEnvs([env], name) if reads_tokens(env.observation_space, env.action_space) else OneEnv(env)


@dataclass(frozen=True, slots=True)
class StepLimit:
    """After how many steps an episode is cut: `asked`, unless the environment's own limit is lower; where neither is
    given, `fallback`."""

    asked: int | None
    fallback: int | None = None

    def of(self, own: int | None) -> int | None:
        limits = [limit for limit in (own, self.asked) if limit is not None and limit > 0]
        return min(limits, default=self.fallback)

    def argument(self, own: int | None) -> dict[str, int]:
        """As gym.make takes it."""
        steps = self.of(own)
        return {} if steps is None else {"max_episode_steps": steps}

    def applied(self, env: gym.Env) -> gym.Env:
        """The environment, wrapped if its own limit is not low enough."""
        own = env.spec.max_episode_steps if env.spec is not None else None
        steps = self.of(own)
        return env if steps in (None, own) else TimeLimit(env, steps)


def _make_limited(make: Callable[..., gym.Env], env_kwargs: dict[str, Any], limit: StepLimit) -> gym.Env:
    env = make(**env_kwargs)
    if not isinstance(env, gym.Env):
        raise TypeError(f"expected a gymnasium.Env, got {type(env).__name__} ({env!r}); give an id, an environment, or a "
                        "callable without arguments that makes one")  # fmt: skip
    return limit.applied(env)


def env_spec(env_id: str) -> EnvSpec:
    """The registered specification of an id, as gym.make finds it: "module:Id" imports the module that registers it, and an
    id without a version is its newest."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    namespace, short, version = parse_env_id(name)
    if version is None:
        version = find_highest_version(namespace, short)
    return gym.spec(get_env_id(namespace, short, version))


def has_native(env_id: str, unasked: bool = True) -> bool:
    """The environment registers a vector version of its own. `unasked`: and one that may be taken without being asked for,
    which those on jax, compiled for an accelerator, may not."""
    spec = env_spec(env_id)
    has = spec.vector_entry_point is not None and not spec.additional_wrappers
    return has and not (unasked and "phys2d" in str(spec.vector_entry_point))


def name_of(env: EnvSource) -> str:
    """What an environment is called in messages and folders: its id, the class of one without, a callable's name."""
    if isinstance(env, str):
        return env
    if isinstance(env, gym.Env | VectorEnv):
        return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    name = getattr(env, "__name__", "environment")
    return "environment" if name == "<lambda>" else name
