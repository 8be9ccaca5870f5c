"""Actors and critics for vectors: multi-layer perceptrons from scratch."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, Self, cast

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymformer.rl.batch import States
from gymformer.rl.networks import ActorNetwork, CriticNetwork
from gymformer.rl.policy import distribution_for
from gymformer.rl.spaces import flat_size

__all__ = ["MLPActorNetwork", "MLPCriticNetwork"]

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


class HasSpaces(Protocol):
    """An environment, a vector of them, or `Envs`."""

    observation_space: gym.Space
    action_space: gym.Space


def mlp(input_dim: int, hidden_dim: int | Sequence[int], output_dim: int, output_gain: float, activation: str,
        generator: torch.Generator | None) -> nn.Sequential:  # fmt: skip
    """Linear layers with an activation between. Orthogonal weights of gain √2, the last of `output_gain`; biases 0
    ("The 37 Implementation Details of PPO", ICLR blog 2022, detail 2)."""
    if activation not in ACTIVATIONS:
        raise ValueError(f'activation="{activation}" is not one of {", ".join(ACTIVATIONS)}')
    widths = [input_dim, *([hidden_dim] * 2 if isinstance(hidden_dim, int) else hidden_dim), output_dim]
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        # Without skip_init, the layer's own initialisation would draw from the global generator first.
        linear = cast("nn.Linear", nn.utils.skip_init(nn.Linear, fan_in, fan_out))
        is_last = i == len(widths) - 2
        nn.init.orthogonal_(linear.weight, output_gain if is_last else math.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if is_last else [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def _spaces_of(env: HasSpaces) -> tuple[gym.Space, gym.Space]:
    """Observation and action space of one environment, also where `env` is a vector of them."""
    single = (getattr(env, "single_observation_space", None), getattr(env, "single_action_space", None))
    return single if None not in single else (env.observation_space, env.action_space)  # type: ignore[return-value]


class MLPActorNetwork(ActorNetwork):
    """A policy over vectors: two hidden layers of `hidden_dim` (or one for each entry of a sequence), tanh between.

    `output_dim` is the number of actions, of logits in all (MultiDiscrete), or of an action's components (Box).
    """

    def __init__(self, input_dim: int, hidden_dim: int | Sequence[int], output_dim: int, *, activation: str = "tanh",
                 generator: torch.Generator | None = None):  # fmt: skip
        super().__init__()
        self.config = {"input_dim": input_dim, "hidden_dim": hidden_dim if isinstance(hidden_dim, int) else list(hidden_dim),
                       "output_dim": output_dim, "activation": activation}  # fmt: skip
        self.layers = mlp(input_dim, hidden_dim, output_dim, 0.01, activation, generator)

    @classmethod
    def for_spaces(cls, env: HasSpaces, hidden_dim: int | Sequence[int] = 64, *, activation: str = "tanh",
                   generator: torch.Generator | None = None) -> Self:  # fmt: skip
        """An actor that fits the environment's observation and action space."""
        observation_space, action_space = _spaces_of(env)
        distribution = distribution_for(action_space)
        actor = cls(
            flat_size(observation_space), hidden_dim, distribution.num_outputs, activation=activation, generator=generator
        )
        actor.distribution = distribution
        return actor

    def forward(self, state: Tensor) -> Tensor:
        """(B, *observation_shape) -> (B, output_dim)."""
        return self.layers(state if state.ndim == 2 else state.reshape(len(state), -1))

    def evaluate(self, states: States) -> Tensor:
        return self.forward(states.inputs)


class MLPCriticNetwork(CriticNetwork):
    """A value function over vectors: two hidden layers of `hidden_dim` (or one for each entry of a sequence)."""

    def __init__(self, input_dim: int, hidden_dim: int | Sequence[int], *, activation: str = "tanh",
                 generator: torch.Generator | None = None):  # fmt: skip
        super().__init__()
        self.config = {"input_dim": input_dim, "hidden_dim": hidden_dim if isinstance(hidden_dim, int) else list(hidden_dim),
                       "activation": activation}  # fmt: skip
        self.layers = mlp(input_dim, hidden_dim, 1, 1.0, activation, generator)

    @classmethod
    def for_spaces(cls, env: HasSpaces, hidden_dim: int | Sequence[int] = 64, *, activation: str = "tanh",
                   generator: torch.Generator | None = None) -> Self:  # fmt: skip
        """A critic that fits the environment's observation space."""
        return cls(flat_size(_spaces_of(env)[0]), hidden_dim, activation=activation, generator=generator)

    def forward(self, state: Tensor) -> Tensor:
        """(B, *observation_shape) -> (B,)."""
        return self.layers(state if state.ndim == 2 else state.reshape(len(state), -1)).squeeze(-1)

    def evaluate(self, states: States) -> Tensor:
        return self.forward(states.inputs)
