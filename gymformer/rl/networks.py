"""What an actor and a critic are: networks that read states."""

from abc import abstractmethod

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymformer.rl.batch import States
from gymformer.rl.policy import ActionDistribution, distribution_for

__all__ = ["ActorNetwork", "CriticNetwork", "Recompute", "RecomputeCritic", "match_actions", "match_critic"]


class ActorNetwork(nn.Module):
    """A policy's network: states in, the outputs of an action distribution out."""

    def __init__(self) -> None:
        super().__init__()
        self.distribution: ActionDistribution | None = None  # set when the actor meets an action space (`match_actions`)

    @property
    def policy(self) -> ActionDistribution:
        """The distribution that its outputs stand for. Raises ValueError while the actor has met no action space."""
        if self.distribution is None:
            raise ValueError("the actor has no action distribution yet; call match_actions(actor, env.action_space, "
                             "observation_shape), or build it with MLPActorNetwork.for_spaces(env)")  # fmt: skip
        return self.distribution

    @abstractmethod
    def forward(self, state: Tensor) -> Tensor:
        """(B, *observation_shape) -> (B, num_outputs)."""

    @abstractmethod
    def evaluate(self, states: States) -> Tensor:
        """The outputs at N states, (N, num_outputs)."""


class CriticNetwork(nn.Module):
    """A value function's network."""

    @abstractmethod
    def forward(self, state: Tensor) -> Tensor:
        """(B, *observation_shape) -> (B,)."""

    @abstractmethod
    def evaluate(self, states: States) -> Tensor:
        """V(s) at N states, (N,)."""


class Recompute(ActorNetwork):
    """An actor made of any module whose `forward` maps (B, *observation_shape) to (B, num_outputs)."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, state: Tensor) -> Tensor:
        return self.module(state)

    def evaluate(self, states: States) -> Tensor:
        return self.module(states.inputs)


class RecomputeCritic(CriticNetwork):
    """A critic made of any module whose `forward` maps (B, *observation_shape) to (B,) or (B, 1)."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, state: Tensor) -> Tensor:
        values = self.module(state)
        return values.squeeze(-1) if values.ndim == 2 else values

    def evaluate(self, states: States) -> Tensor:
        return self.forward(states.inputs)


def match_actions(actor: nn.Module, action_space: gym.Space, observation_shape: tuple[int, ...]) -> ActorNetwork:
    """The actor with the distribution over `action_space` that its outputs stand for; any other module is wrapped.

    Raises ValueError where the module cannot read the observations, or has too few or too many outputs for the actions.
    """
    actor = actor if isinstance(actor, ActorNetwork) else Recompute(actor)
    outputs = _probe(actor, observation_shape, "actor")
    if outputs.ndim != 2 or len(outputs) != 2:
        raise ValueError(f"the actor turned observations (2, {', '.join(map(str, observation_shape))}) into outputs of shape "
                         f"{tuple(outputs.shape)}; expected (2, number of outputs)")  # fmt: skip
    expected = distribution_for(action_space, outputs.shape[1])
    if actor.distribution is None or _signature(actor.distribution) != _signature(expected):
        actor.distribution = expected.to(outputs.device)
    return actor


def match_critic(critic: nn.Module, observation_shape: tuple[int, ...]) -> CriticNetwork:
    """The critic, any other module wrapped. Raises ValueError where it does not give one value for each observation."""
    critic = critic if isinstance(critic, CriticNetwork) else RecomputeCritic(critic)
    values = _probe(critic, observation_shape, "critic")
    if values.shape != (2,):
        raise ValueError(f"the critic gave values of shape {tuple(values.shape)} for 2 observations; expected (2,)")
    return critic


def _signature(distribution: ActionDistribution) -> tuple:
    """What makes two distributions the same but for their parameters."""
    plain = {k: v for k, v in vars(distribution).items() if not k.startswith("_") and k not in ("training", "parts")}
    return type(distribution), str(sorted(plain.items()))


@torch.no_grad()
def _probe(network: nn.Module, observation_shape: tuple[int, ...], name: str) -> Tensor:
    """The network's outputs for two observations of zeros."""
    parameter = next(network.parameters(), torch.empty(0))
    zeros = torch.zeros((2, *observation_shape), device=parameter.device)
    was_training = network.training
    network.eval()  # a batch norm must not learn from the probe
    try:
        outputs = network(zeros)
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"the {name} cannot read a batch of observations of shape {observation_shape} "
                         f"(encoded, float32): {error}") from error  # fmt: skip
    finally:
        network.train(was_training)
    if not isinstance(outputs, Tensor) or outputs.dtype != torch.float32:
        what = f"{outputs.dtype} values" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise ValueError(f"the {name} gave {what} for observations; expected one float32 tensor. Call {name}.float(), or wrap it in "
                         "a module whose forward returns what is wanted")  # fmt: skip
    return outputs
