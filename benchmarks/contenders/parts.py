"""Single parts of gymformer: one environment with and without a vector around it, and the optimiser of a gradient step."""

import time

import gymnasium as gym
import measure
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv
from torch import Tensor, nn

from gymformer import MLPActorNetwork, MLPCriticNetwork, PPOConfig, collect, make_envs
from gymformer.rl.ppo import PPO


def plain(actions: list[int]) -> int:
    """gym.make's environment, reset where its episode ends. Returns the steps that were decisions, as all of these do."""
    env = gym.make(measure.ENV_ID, disable_env_checker=True)
    env.reset(seed=0)
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return len(actions)


def one_env(actions: list[int]) -> int:
    """gymformer's Envs of one: the plain environment, its observations encoded, its episodes watched."""
    envs = make_envs(measure.ENV_ID, 1)
    envs.reset(0)
    for action in np.array(actions)[:, None]:
        envs.step(action)
    return len(actions)


def one_env_bare(actions: list[int]) -> int:
    """The plain environment with the face of a vector, reset where its episode ends."""
    vector = make_envs(measure.ENV_ID, 1).vector
    vector.reset()
    for action in np.array(actions)[:, None]:
        _, _, terminated, truncated, _ = vector.step(action)
        if terminated[0] or truncated[0]:
            vector.reset()
    return len(actions)


def native(actions: list[int]) -> int:
    """Gymnasium's vector environment of one, computed as an array."""
    return _vector(gym.make_vec(measure.ENV_ID, 1, vectorization_mode="vector_entry_point"), actions)


def native_in_envs(actions: list[int]) -> int:
    """gymformer's Envs around that vector."""
    envs = make_envs(gym.make_vec(measure.ENV_ID, 1, vectorization_mode="vector_entry_point"))
    envs.reset(0)
    decisions = 0
    for action in np.array(actions)[:, None]:
        decisions += not envs.step(action).phantom[0]
    return decisions


def sync(actions: list[int]) -> int:
    """Gymnasium's SyncVectorEnv of one."""
    return _vector(SyncVectorEnv([lambda: gym.make(measure.ENV_ID, disable_env_checker=True)]), actions)


def _vector(vector: gym.vector.VectorEnv, actions: list[int]) -> int:
    """Steps that only reset take their time but are no decisions."""
    vector.reset(seed=0)
    resets, decisions = False, 0
    for action in np.array(actions)[:, None]:
        decisions += not resets
        _, _, terminated, truncated, _ = vector.step(action)
        resets = terminated[0] or truncated[0]
    return decisions


def one(s: dict) -> dict:
    """Steps per CPU second of one environment of a kind."""
    kinds = (plain, one_env_bare, one_env, native, native_in_envs, sync)
    play = {play.__name__: play for play in kinds}[s["kind"]]
    actions = np.random.default_rng(s["seed"]).integers(0, 2, s["steps"]).tolist()
    play(actions[: s["steps"] // 10])
    started = time.process_time()
    decisions = play(actions)
    return {"steps": decisions, "seconds": time.process_time() - started}


class TorchAdam:
    """torch.optim.Adam and clip_grad_norm_ with the face of gymformer's PackedAdam."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, max_norm: float, fused: bool):
        self.parameters, self.lr, self.max_norm = parameters, lr, max_norm
        self.adam = torch.optim.Adam(parameters, lr=lr, eps=1e-5, fused=fused)

    def zero_grad(self) -> None:
        self.adam.zero_grad()

    def collect(self) -> None:
        """Nothing: the gradient lies in the parameters."""

    @property
    def gradient(self) -> Tensor:
        """Nothing to be averaged."""
        return torch.empty(0)

    def clip(self) -> float:
        return nn.utils.clip_grad_norm_(self.parameters, self.max_norm).item()

    def step(self) -> None:
        self.adam.step()


def gradient_step(s: dict) -> dict:
    """CPU seconds of `steps` gradient steps of PPO on CartPole decisions, by an optimiser of a kind."""
    generator = torch.Generator().manual_seed(s["seed"])
    envs = make_envs(measure.ENV_ID, 16)
    actor = MLPActorNetwork.for_spaces(envs.vector, 64, generator=generator)
    critic = MLPCriticNetwork.for_spaces(envs.vector, 64, generator=generator)
    ppo = PPO(actor, critic, PPOConfig(lr_actor=1e-5, lr_critic=1e-5), generator)
    if s["kind"] != "packed":
        ppo.optimizers = [TorchAdam(o.parameters, o.lr, o.max_norm, fused=s["kind"] == "fused") for o in ppo.optimizers]
    batch = ppo.prepare(collect(envs, actor, steps=s["minibatch_size"] // 16 * 2, generator=generator))[: s["minibatch_size"]]
    for _ in range(s["steps"] // 10):
        ppo.step(batch)
    started = time.process_time()
    for _ in range(s["steps"]):
        ppo.step(batch)
    return {"steps": s["steps"], "seconds": time.process_time() - started}


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"one": one, "gradient_step": gradient_step}[name](settings))
