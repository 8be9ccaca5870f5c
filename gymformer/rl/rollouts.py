"""Acting: B environments are stepped side by side, and what happened comes back as segments."""

import math
from collections.abc import Callable

import numpy as np
import torch

from gymformer.rl.envs import Envs, Tick
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.networks import ActorNetwork, CriticNetwork, match_actions
from gymformer.rl.policy import ActionDistribution
from gymformer.rl.segment import Segment
from gymformer.rl.spaces import RunningMoments
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens

__all__ = ["RewardNormalizer", "collect"]

OnTick = Callable[[Tick], bool]  # sees each step of the environments; False stops the rollout

TRUNCATED, TERMINATED, LOST = 1, 2, 3  # how a tick ends an episode; LOST: the tick did not happen, its worker process died


class Tape:
    """What B environments leave behind in T ticks: arrays (T, B, ...) that grow when T is not known beforehand."""

    def __init__(self, capacity: int, envs: Envs, distribution: ActionDistribution):
        b = envs.num_envs
        self.observations = np.empty((capacity + 1, *envs.observations.shape), np.float32)
        self.actions = np.empty((capacity, b, *distribution.action_shape), distribution.action_dtype)
        self.log_probs = np.empty((capacity, b), np.float32)
        self.rewards = np.empty((capacity, b), np.float64)
        self.ends = np.zeros((capacity, b), np.uint8)  # 0: goes on
        self.phantom = np.zeros((capacity, b), bool)
        self.legal = None if envs.legal is None else np.empty((capacity, *envs.legal.shape), bool)

    @property
    def capacity(self) -> int:
        return len(self.actions)

    def grow(self) -> None:
        """Room for twice as many ticks."""
        ticks = self.capacity
        for name, array in vars(self).items():
            if array is not None:
                setattr(self, name, np.concatenate([array, np.zeros_like(array[:ticks])]))


def collect(envs: Envs | TokenEnvs, actor: ActorNetwork, *, steps: int | None = None, episodes: int | None = None,
            generator: torch.Generator | None = None, on_tick: OnTick | None = None,
            reward_normalizer: "RewardNormalizer | None" = None, seed: int = 0,
            critic: CriticNetwork | None = None) -> list[Segment]:  # fmt: skip
    """The segments of `steps` steps of each environment, or of as many as it takes for `episodes` episodes to end.

    In token environments (`TokenEnvs`) the segments are those of whole episodes, and `critic`, where it is a value head on the
    actor's trunk, supplies the states' values in the same pass (`collect_tokens`). In all others:

    A step is a decision, but for a native vector's steps that only reset an environment after its episode's end.
    Goes on where the last call stopped (the first one resets with `seed`). Segments whose episode ended come first, in the
    order of their ends, then the pieces that were cut, by the rollout or by a worker process that died. `on_tick` sees every step
    and stops the rollout by returning False.
    """
    if isinstance(envs, TokenEnvs):
        if reward_normalizer is not None:
            raise ValueError("rewards of token environments are not normalised; scale them in the environment, or leave it out")
        if envs.seed is None:
            envs.reset(seed)
        return collect_tokens(envs, actor, steps=steps, episodes=episodes, generator=generator, on_tick=on_tick, critic=critic)
    if (steps is None) == (episodes is None):
        raise ValueError("collect needs either steps=... (of each environment) or episodes=... (ended in all)")
    if not len(envs.observations):
        envs.reset(seed)
    if actor.distribution is None:
        actor = match_actions(actor, envs.action_space, envs.encoder.shape)
    distribution, device = actor.policy, next(actor.parameters()).device
    tape = Tape(steps or 128, envs, distribution)
    final_observations, final_infos, final_options = {}, {}, {}
    ended, t = 0, 0
    while (t < steps) if steps is not None else (ended < (episodes or 0)):
        if t == tape.capacity:
            tape.grow()
        tape.observations[t], tape.phantom[t] = envs.observations, envs.phantom
        legal = None
        if envs.legal is not None:
            if tape.legal is None:  # the first mask came after the first reset; until then everything was legal
                tape.legal = np.ones((tape.capacity, *envs.legal.shape), bool)
            tape.legal[t] = envs.legal
            legal = _legal_tensor(tape.legal[t], distribution, device)
        with torch.no_grad():  # around the policy alone: environments and callbacks may use autograd themselves
            outputs = actor(torch.from_numpy(tape.observations[t]).to(device))
            sampled, log_probs = distribution.sample(outputs, generator, legal)
        actions = sampled.cpu().numpy()
        tape.actions[t], tape.log_probs[t] = actions, log_probs.cpu().numpy()
        if not math.isfinite(tape.log_probs[t].sum()):
            _check_finite(tape, t, envs, final_observations)  # the cause, if the actor read what is not finite
            raise _bad_output(tape, t, outputs)
        tick = envs.step(distribution.to_env(actions))
        tape.rewards[t] = tick.rewards
        tape.ends[t] = np.where(tick.terminated, TERMINATED, tick.truncated * TRUNCATED)
        ended += int(np.count_nonzero(tape.ends[t]))
        tape.ends[t, tick.lost], tape.phantom[t, tick.lost] = LOST, True
        for b, observation in tick.final_observations.items():
            final_observations[t, b] = observation
        for b, info in tick.final_infos.items():
            final_infos[t, b], final_options[t, b] = info, tick.final_options.get(b, {})
        t += 1
        if on_tick is not None and not on_tick(tick):
            break
    if t == 0:
        return []
    tape.observations[t] = envs.observations
    _check_finite(tape, t, envs, final_observations)
    if reward_normalizer is not None:
        reward_normalizer.update(tape.rewards[:t], tape.ends[:t] > 0, tape.phantom[:t])
    scale = 1.0 if reward_normalizer is None else reward_normalizer.scale
    return _segments(tape, t, envs, final_observations, final_infos, final_options, scale)


def _legal_tensor(legal: np.ndarray, distribution: ActionDistribution, device: torch.device) -> torch.Tensor:
    if not distribution.takes_masks:
        raise ValueError(
            "the environment gives an action mask, but its actions are continuous; only discrete actions can be masked"
        )
    if legal.shape[1] != distribution.num_outputs:
        raise ValueError(f"the environment's action mask has {legal.shape[1]} entries, but the policy has "
                         f"{distribution.num_outputs} logits; the mask needs one entry for each action")  # fmt: skip
    return torch.from_numpy(legal).to(device)


def _segments(tape: Tape, ticks: int, envs: Envs, final_observations: dict[tuple[int, int], np.ndarray],
              final_infos: dict[tuple[int, int], dict], final_options: dict[tuple[int, int], dict], scale: float) -> list[Segment]:  # fmt: skip
    """Each environment's column cut at its episodes' ends. Fields are views of the tape's arrays where they can be."""
    start = tape.phantom[0].astype(np.int64)  # a first tick that only reset is nobody's decision
    segments, pieces = [], []

    def cut(b: int, stop: int, rows: np.ndarray) -> Segment:
        """Decisions start[b]..stop-1 of column b; the episode's running statistics take them in."""
        span = slice(start[b], stop)
        segment = Segment(rows, tape.actions[span, b], tape.log_probs[span, b], tape.rewards[span, b],
                          terminated=bool(tape.ends[stop - 1, b] == TERMINATED), reward_scale=scale,
                          legal=None if tape.legal is None else tape.legal[span, b])  # fmt: skip
        envs.episode_returns[b] += segment.rewards.sum()
        envs.episode_lengths[b] += len(segment)
        return segment

    for t, b in np.argwhere(tape.ends[:ticks]).tolist():
        if tape.ends[t, b] == LOST:
            if start[b] < t:
                pieces.append(cut(b, t, tape.observations[start[b] : t + 1, b]))
            envs.episode_returns[b], envs.episode_lengths[b] = 0.0, 0
            start[b] = t + 1
            continue
        rows = tape.observations[start[b] : t + 2, b]
        final = final_observations.get((t, b))
        if final is not None:  # where the mode resets at once, the column goes on with the next episode
            rows = np.concatenate([rows[:-1], final[None]])
        segment = cut(b, t + 1, rows)
        segment.episode_return, segment.episode_length = float(envs.episode_returns[b]), int(envs.episode_lengths[b])
        segment.info, segment.options = final_infos.get((t, b), {}), final_options.get((t, b), {})
        envs.episode_returns[b], envs.episode_lengths[b] = 0.0, 0
        segments.append(segment)
        start[b] = t + 1 if final is not None else t + 2
    for b in range(envs.num_envs):
        if start[b] < ticks:
            pieces.append(cut(b, ticks, tape.observations[start[b] : ticks + 1, b]))
    return segments + pieces


def _check_finite(tape: Tape, ticks: int, envs: Envs, final_observations: dict[tuple[int, int], np.ndarray]) -> None:
    """Raises NonFiniteError naming the environment and the step if a reward or an observation is not finite."""
    for what, array in (("reward", tape.rewards[:ticks]), ("observation", tape.observations[: ticks + 1])):
        if not np.isfinite(array).all():
            t, b = np.argwhere(~np.isfinite(array))[0].tolist()[:2]
            raise _non_finite(what, t, b, tape, ticks, envs)
    for (t, b), observation in final_observations.items():
        if not np.isfinite(observation).all():
            tape.observations[t + 1, b] = observation  # over the next episode's first, which nobody will read
            raise _non_finite("observation", t + 1, b, tape, ticks, envs)


def _non_finite(what: str, t: int, b: int, tape: Tape, ticks: int, envs: Envs) -> NonFiniteError:
    """What to raise for the reward of decision t, or the observation of state t, in environment b."""
    value, since, stop = (tape.rewards if what == "reward" else tape.observations)[t, b], max(0, t - 8), min(t + 1, ticks)
    return NonFiniteError(
        what,
        f"{envs.id} gave the {what} {value} at step {t} of this rollout in environment {b}; training stopped "
        "because nothing can be learned from it. Mend the environment, or wrap it so that it stays finite",
        {"observations": tape.observations[since : t + 1, b], "actions": tape.actions[since:stop, b],
         "rewards": tape.rewards[since:stop, b]},
    )  # fmt: skip


def _bad_output(tape: Tape, t: int, outputs: torch.Tensor) -> NonFiniteError:
    return NonFiniteError(
        "network output",
        f"the actor's outputs are not finite at step {t} of this rollout, though what it read is. The usual causes are a learning "
        "rate that is too high and observations of very different sizes (try normalize_observations=True)",
        {"observations": tape.observations[t], "outputs": outputs, "actions": tape.actions[t], "log_probs": tape.log_probs[t]},
    )


class RewardNormalizer:
    """Divides rewards by the standard deviation of the running discounted return, so that returns are of order one
    ("The 37 Implementation Details of PPO", detail on reward scaling; Engstrom et al., arXiv:2005.12729)."""

    def __init__(self, gamma: float, num_envs: int):
        self.gamma, self.moments, self.returns = gamma, RunningMoments(()), np.zeros(num_envs)

    @property
    def scale(self) -> float:
        return self.moments.scale

    def update(self, rewards: np.ndarray, ended: np.ndarray, phantom: np.ndarray) -> None:
        """rewards, ended, phantom: (T, B)."""
        for reward, end, skip in zip(rewards, ended, phantom, strict=True):
            self.returns = self.returns * self.gamma + reward
            self.moments.update(self.returns[~skip])
            self.returns[end] = 0.0

    def restart(self) -> None:
        """All environments were cut and reset."""
        self.returns[:] = 0.0
