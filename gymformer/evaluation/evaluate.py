"""Many episodes of one agent in one environment."""

from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymformer.device import threads_for
from gymformer.env.making import for_language_model
from gymformer.evaluation.metrics import bootstrap_interval
from gymformer.monitoring.progress import short
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.envs import Envs, EnvSource, env_spec, has_native, make_envs
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens
from gymformer.seeding import derive_seed

__all__ = ["Evaluation", "evaluate", "play_tokens"]

FALLBACK_TIMESTEPS = 1000  # the cap of an episode where neither environment nor agent knows one


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Returns and lengths of N episodes, and what they say of the mean."""

    returns: list[float]
    lengths: list[int]
    mean: float
    interval: tuple[float, float]  # 95%, bootstrap
    std: float
    success_rate: float | None  # share of episodes at or above the environment's threshold, where it names one
    threshold: float | None
    greedy: bool
    seed: int

    def __str__(self) -> str:
        how = "greedy" if self.greedy else "sampled"
        success = "" if self.success_rate is None else f", {self.success_rate:.0%} of episodes at {self.threshold:g} or more"
        episodes = f"{len(self.returns)} {how} episodes"
        largest = max(map(abs, self.returns))
        mean, low, high = (short(number, of=largest) for number in (self.mean, *self.interval))
        return f"mean return {mean} (95% interval {low} to {high}) over {episodes}{success}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(agent: TrainedAgent, env: EnvSource | None = None, *, episodes: int = 100, greedy: bool = False, seed: int = 0,
             num_envs: int | None = None, env_kwargs: dict[str, Any] | None = None, max_timesteps: int | None = None) -> Evaluation:  # fmt: skip
    """`episodes` episodes of the sampled (or greedy) policy; env None: the environment that the agent was trained in.

    An environment without a limit of its own is cut where it was in training. Every environment of the vector plays the
    same number of episodes: the first to end would be the short ones.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes}; at least 1 is needed")
    if env is None:
        env, env_kwargs = _of_training(agent, env_kwargs, "evaluate")
    if agent.reads_tokens:
        segments = play_tokens(agent, env, episodes=episodes, greedy=greedy, seed=seed, num_envs=num_envs, env_kwargs=env_kwargs,
                               max_timesteps=max_timesteps)  # fmt: skip
        returns, lengths = [float(s.episode_return or 0) for s in segments], [int(s.episode_length or 0) for s in segments]
    else:
        returns, lengths = _play(agent, env, episodes, greedy, seed, num_envs, env_kwargs, max_timesteps)
    returns, lengths = returns[:episodes], lengths[:episodes]
    threshold = _threshold(env)
    return Evaluation(returns, lengths, float(np.mean(returns)), bootstrap_interval(returns), float(np.std(returns)),
                      None if threshold is None else float(np.mean([r >= threshold for r in returns])), threshold, greedy, seed)  # fmt: skip


def play_tokens(agent: TrainedAgent, env: EnvSource | None = None, *, episodes: int = 1, greedy: bool = False, seed: int = 0,
                num_envs: int | None = None, env_kwargs: dict[str, Any] | None = None, max_timesteps: int | None = None,
                group_size: int = 1) -> list[Segment]:  # fmt: skip
    """Whole episodes of a token environment: their tokens, log-probabilities and rewards, and the last info of each.

    env None: the one that the agent was trained in. The same seed asks the same questions, whatever the agent answers; with
    `group_size` each question is asked so often, in a row.
    """
    if env is None:
        env, env_kwargs = _of_training(agent, env_kwargs, "play_tokens")
    source: EnvSource = env
    if getattr(agent.actor, "has_tokenizer", False):
        words: dict[str, Any] = {"context": agent.actor.context, "phrases": getattr(agent.actor, "phrases", None)}
        source, env_kwargs = for_language_model(env, env_kwargs, agent.actor.tokenizer, **words)  # type: ignore[attr-defined]
    count = num_envs or (1 if isinstance(env, gym.Env) else min(episodes, agent.actor.rows_at_once))
    envs = make_envs(source, count, env_kwargs=env_kwargs, max_timesteps=max_timesteps,
                     fallback_timesteps=agent.max_timesteps or FALLBACK_TIMESTEPS)  # fmt: skip
    try:
        require_same_spaces(agent, envs)
        if not isinstance(envs, TokenEnvs):
            raise ValueError(f"{envs.id} is not played in tokens, and so has no segments of tokens; evaluate(agent) plays it, and "
                             "play_episode(agent, env) gives its pictures")  # fmt: skip
        generator = torch.Generator(agent.actor.device).manual_seed(derive_seed(seed, "actions"))
        envs.reset(derive_seed(seed, "episodes"))
        envs.group_size = group_size
        with threads_for(agent.actor.device, agent.actor):
            return collect_tokens(envs, agent.actor, episodes=episodes, generator=generator, greedy=greedy)
    finally:
        if not isinstance(env, gym.Env):
            envs.close()


def _of_training(agent: TrainedAgent, env_kwargs: dict[str, Any] | None, caller: str) -> tuple[str, dict[str, Any]]:
    """The id of the environment that the agent was trained in, and its arguments where none are given."""
    if agent.env_id is None:
        raise ValueError(f"this agent does not know its environment; name it: {caller}(agent, env)")
    if ":" in agent.env_id:  # a folder from elsewhere must not have modules imported
        raise ValueError(f"this agent's environment is registered by a module that would be imported; name it yourself: "
                         f"{caller}(agent, {agent.env_id!r})")  # fmt: skip
    return agent.env_id, agent.env_kwargs if env_kwargs is None else env_kwargs


def _play(agent: TrainedAgent, env: EnvSource, episodes: int, greedy: bool, seed: int, num_envs: int | None,
          env_kwargs: dict[str, Any] | None, max_timesteps: int | None) -> tuple[list[float], list[int]]:  # fmt: skip
    """Returns and lengths, in the order of (episode, environment), of at least `episodes` episodes."""
    # A divisor of `episodes`, so that all environments play equally many. A native vector steps a hundred as fast as ten.
    most = 100 if isinstance(env, str) and has_native(env) else 16
    count = num_envs or (
        1 if isinstance(env, gym.Env | gym.vector.VectorEnv) else max(n for n in range(1, most + 1) if episodes % n == 0)
    )
    envs = make_envs(env, count, env_kwargs=env_kwargs, max_timesteps=max_timesteps,
                     fallback_timesteps=agent.max_timesteps or FALLBACK_TIMESTEPS)  # fmt: skip
    try:
        require_same_spaces(agent, envs)
        assert isinstance(envs, Envs)
        envs.encoder, envs.learn_statistics = agent.encoder, False
        with threads_for(next(agent.actor.parameters()).device, agent.actor):
            return _play_quota(agent, envs, -(-episodes // envs.num_envs), greedy, seed)
    finally:
        if not isinstance(env, gym.Env | gym.vector.VectorEnv):
            envs.close()


def require_same_spaces(agent: TrainedAgent, envs: Envs | TokenEnvs) -> None:
    if (envs.observation_space, envs.action_space) != (agent.observation_space, agent.action_space):
        raise ValueError(f"the agent reads {agent.observation_space} and acts in {agent.action_space}, but {envs.id} gives "
                         f"{envs.observation_space} and takes {envs.action_space}; evaluate it in the environment that it "
                         f"was trained in ({agent.env_id})")  # fmt: skip


def _play_quota(agent: TrainedAgent, envs: Envs, quota: int, greedy: bool, seed: int) -> tuple[list[float], list[int]]:
    """The first `quota` episodes of every environment, in the order of (episode, environment)."""
    generator = torch.Generator(next(agent.actor.parameters()).device).manual_seed(derive_seed(seed, "actions"))
    envs.reset(derive_seed(seed, "episodes"))
    done: list[list[tuple[float, int]]] = [[] for _ in range(envs.num_envs)]
    returns, lengths = np.zeros(envs.num_envs), np.zeros(envs.num_envs, np.int64)
    while min(map(len, done)) < quota:
        phantom = envs.phantom
        actions = agent.act_batch(envs.observations, greedy=greedy, legal=envs.legal, generator=generator)
        tick = envs.step(actions)
        returns += tick.rewards
        lengths += ~phantom
        for b in np.flatnonzero(tick.terminated | tick.truncated):
            done[b].append((float(returns[b]), int(lengths[b])))
            returns[b], lengths[b] = 0.0, 0
    played = [done[b][i] for i in range(quota) for b in range(envs.num_envs)]
    return [r for r, _ in played], [n for _, n in played]


def _threshold(env: EnvSource) -> float | None:
    """The return that counts as success, where the environment's registration names one."""
    if isinstance(env, str):
        return env_spec(env).reward_threshold
    spec = env.spec if isinstance(env, gym.Env) else None
    return None if spec is None else spec.reward_threshold
