"""What an actor and a critic are: networks that read states."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymformer.rl.batch import States, padded
from gymformer.rl.policy import ActionDistribution, Categorical, distribution_for

__all__ = [
    "ActorNetwork",
    "CriticNetwork",
    "Recompute",
    "RecomputeCritic",
    "RecomputeSession",
    "Session",
    "ValueHead",
    "match_actions",
    "match_critic",
    "match_tokens",
]


class ActorNetwork(nn.Module):
    """A policy's network: states in, the outputs of an action distribution out."""

    reads_tokens = False  # states are places in rows of tokens, not vectors
    rows_at_once = 8  # rows of tokens that it reads side by side where nobody says how many
    context: int | None = None  # tokens that it can read; None: any number, or it reads vectors
    sampling: Mapping[str, Any] = {}  # temperature, top_k, top_p of its policy over tokens, where they are set

    def __init__(self) -> None:
        super().__init__()
        self.distribution: ActionDistribution | None = None  # set when the actor meets an action space (`match_actions`)

    @property
    def device(self) -> torch.device:
        return next(self.parameters(), torch.empty(0)).device

    @property
    def is_precise(self) -> bool:
        """Its weights are float32 at least: what it says of a state twice differs by float32's rounding alone."""
        return next(self.parameters(), torch.empty(0)).dtype in (torch.float32, torch.float64)

    @property
    def policy(self) -> ActionDistribution:
        """The distribution that its outputs stand for. Raises ValueError while the actor has met no action space."""
        if self.distribution is None:
            raise ValueError("the actor has no action distribution yet; "
                             + ("let it act first (collect), or call match_tokens(actor, envs.num_tokens)" if self.reads_tokens else
                                "call match_actions(actor, env.action_space, observation_shape), or build it with "
                                "MLPActorNetwork.for_spaces(env)"))  # fmt: skip
        return self.distribution

    @abstractmethod
    def forward(self, state: Tensor) -> Tensor:
        """(B, *observation_shape) or tokens (B, L) -> (B, num_outputs)."""

    @abstractmethod
    def evaluate(self, states: States) -> Tensor:
        """The outputs at N states, (N, num_outputs)."""

    def session(self, count: int, critic: "CriticNetwork | None" = None) -> "Session":
        """Reads `count` growing rows of tokens; this one reads every row anew. `critic`: whose values it gives as well."""
        return RecomputeSession(self, count, critic)

    def hidden(self, states: States) -> Tensor:
        """(N, D) what a head on this network's trunk reads. Only networks that lend their trunk have one."""
        raise TypeError(f"{type(self).__name__} lends its trunk to no value head; give it a critic of its own")

    def outputs_of(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, num_outputs): evaluate(states) is outputs_of(hidden(states))."""
        raise TypeError(f"{type(self).__name__} lends its trunk to no value head; give it a critic of its own")


class CriticNetwork(nn.Module):
    """A value function's network."""

    @abstractmethod
    def forward(self, state: Tensor) -> Tensor:
        """(B, *observation_shape) or tokens (B, L) -> (B,)."""

    @abstractmethod
    def evaluate(self, states: States) -> Tensor:
        """V(s) at N states, (N,)."""


class ValueHead(CriticNetwork):
    """V(s) = w · h(s) + b on an actor's own trunk: one model instead of two.

    The trunk belongs to the actor and is not among this network's own parameters; whoever trains both steps it once. It
    starts at V = 0.
    """

    def __init__(self, actor: ActorNetwork, width: int):
        super().__init__()
        self._trunk = (actor,)  # in a tuple, so that it is not registered as a part of this network
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def actor(self) -> ActorNetwork:
        return self._trunk[0]

    def values_of(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N,), in float32 whatever the trunk's type; what an actor reads beyond the state's own D numbers is left out."""
        return nn.functional.linear(
            hidden[:, : self.head.in_features].float(), self.head.weight.float(), self.head.bias.float()
        ).squeeze(-1)

    def forward(self, state: Tensor) -> Tensor:
        return self.evaluate(last_states(state))

    def evaluate(self, states: States) -> Tensor:
        return self.values_of(self.actor.hidden(states))


class Session:
    """Reads `count` rows of tokens that grow at different speeds: what a policy offers to the rollouts."""

    def extend(self, blocks: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        """Appends a block to each row; the outputs (count, num_outputs) and, where a critic reads along, values (count,)
        after each row's last token. A row with an empty block waits, and what stands in its place is meaningless."""
        raise NotImplementedError

    def rewind(self, slot: int, length: int) -> None:
        """Row `slot` is as it was after its first `length` tokens."""
        raise NotImplementedError

    def keep(self, slots: list[int]) -> None:
        """Only these rows stay, in this order. A row that is named several times is copied, and each copy grows for itself (a
        group's prompt is read once)."""
        raise NotImplementedError


class RecomputeSession(Session):
    """Reads every row anew at each step, equal ones once: slow where rows grow, and obviously right, the definition that faster
    sessions are tested on. Where each state is a short row of its own it is the fast one."""

    def __init__(self, actor: ActorNetwork, count: int, critic: CriticNetwork | None = None):
        self.actor, self.critic = actor, critic
        self.rows: list[list[int]] = [[] for _ in range(count)]

    @torch.no_grad()
    def extend(self, blocks: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        for row, block in zip(self.rows, blocks, strict=True):
            row.extend(block)
        inputs, place = padded(self.rows)
        last = np.zeros(len(inputs), np.int64)
        last[place] = [max(len(row) - 1, 0) for row in self.rows]
        states = States(torch.from_numpy(inputs), torch.arange(len(inputs)), torch.from_numpy(last)).to(self.actor.device)
        back = torch.from_numpy(place).to(self.actor.device)
        if self.critic is None:
            return self.actor.evaluate(states)[back], None
        outputs, values = outputs_and_values(self.actor, self.critic, states)
        return outputs[back], values[back]

    def rewind(self, slot: int, length: int) -> None:
        del self.rows[slot][length:]

    def keep(self, slots: list[int]) -> None:
        self.rows = [list(self.rows[slot]) for slot in slots]


class Recompute(ActorNetwork):
    """An actor made of any module whose `forward` maps (B, *observation_shape), or tokens (B, L), to (B, num_outputs).

    Of tokens, a module may as well give an output for each of them, (B, L, num_outputs), or an object with such `logits`.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, state: Tensor) -> Tensor:
        return _last(self.module(state), state)

    def evaluate(self, states: States) -> Tensor:
        return self.module(states.inputs) if states.row is None else _one_by_one(self, states)


class RecomputeCritic(CriticNetwork):
    """A critic made of any module whose `forward` maps (B, *observation_shape), or tokens (B, L), to (B,) or (B, 1)."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, state: Tensor) -> Tensor:
        values = _last(self.module(state), state)
        return values.squeeze(-1) if values.ndim == 2 else values

    def evaluate(self, states: States) -> Tensor:
        return self.forward(states.inputs) if states.row is None else _one_by_one(self, states)


def outputs_and_values(
    actor: ActorNetwork, critic: CriticNetwork, states: States, detach_trunk: bool = False
) -> tuple[Tensor, Tensor]:
    """(N, num_outputs) and (N,): in one pass where the critic is a head on the actor's trunk. `detach_trunk`: the values'
    gradient stays out of that trunk."""
    if isinstance(critic, ValueHead) and critic.actor is actor:
        hidden = actor.hidden(states)
        return actor.outputs_of(hidden), critic.values_of(hidden.detach() if detach_trunk else hidden)
    return actor.evaluate(states), critic.evaluate(states)


def last_states(tokens: Tensor) -> States:
    """Where B rows of L tokens, none of them padded, end."""
    count, length = tokens.shape
    index = torch.arange(count, device=tokens.device)
    return States(tokens, index, torch.full_like(index, length - 1))


def _last(outputs: Any, state: Tensor) -> Tensor:
    """What a module gave for each row of `state`: of one that gives something for each token, the last."""
    outputs = getattr(outputs, "logits", outputs)
    per_token = state.dtype == torch.int64 and outputs.ndim == 3 and outputs.shape[:2] == state.shape
    return outputs[:, -1] if per_token else outputs


def _one_by_one(network: nn.Module, states: States) -> Tensor:
    """The definition: each token state is read by itself, without anything to its right; equally long ones at once."""
    assert states.row is not None and states.col is not None
    results: list[Tensor | None] = [None] * len(states)
    for col in states.col.unique().tolist():
        at = torch.nonzero(states.col == col).squeeze(-1)
        for n, result in zip(at.tolist(), network(states.inputs[states.row[at], : col + 1]), strict=True):
            results[n] = result
    return torch.stack([result for result in results if result is not None])


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


def match_tokens(actor: nn.Module, num_actions: int) -> ActorNetwork:
    """The actor of a token environment with `num_actions` tokens; any other module is wrapped. What it has beyond them (some
    models pad their vocabulary) is never sampled. Raises ValueError where it has fewer outputs, or cannot read tokens."""
    actor = actor if isinstance(actor, ActorNetwork) else Recompute(actor)
    outputs = _probe(actor, (1,), "actor", 1)  # whether it has enough rows is told below, with the way round
    if outputs.ndim != 2 or len(outputs) != 2 or not outputs.is_floating_point():
        raise ValueError(f"the actor turned two rows of one token into outputs of shape {tuple(outputs.shape)} ({outputs.dtype}); "
                         "expected logits (2, number of tokens)")  # fmt: skip
    if outputs.shape[1] < num_actions:
        raise ValueError(f"the actor has {outputs.shape[1]} output rows, but the environment has {num_actions} tokens; call "
                         f"actor.lm.resize_token_embeddings({num_actions}) before training, or give the environment the actor's own "
                         "tokenizer")  # fmt: skip
    actor.reads_tokens = True
    expected = Categorical(num_actions, **actor.sampling)
    if actor.distribution is None or _signature(actor.distribution) != _signature(expected):
        actor.distribution = expected
    return actor


def require_same_vocabulary(reference: nn.Module, actor: nn.Module) -> None:
    """Raises ValueError where both have tokenizers that give one text different numbers: token 7 would mean one thing to the one and
    something else to the other. Either may know tokens that the other does not."""
    pair: tuple[Any, Any] = reference, actor
    if not all(getattr(network, "has_tokenizer", False) for network in pair):
        return
    theirs, own = (network.tokenizer.get_vocab() for network in pair)
    if any(theirs.get(token, number) != number for token, number in own.items()):
        raise ValueError(f"the reference has a tokenizer of {len(theirs)} tokens, and the actor another of {len(own)}, so that a token is not "
                         'the same text to both; take a reference of the same family, or reference="initial"')  # fmt: skip


def match_critic(critic: nn.Module, observation_shape: tuple[int, ...], num_tokens: int | None = None) -> CriticNetwork:
    """The critic, any other module wrapped. Raises ValueError where it does not give one value for each observation, or,
    with observation_shape=(1,) and `num_tokens`, for each row of tokens below that."""
    critic = critic if isinstance(critic, CriticNetwork) else RecomputeCritic(critic)
    values = _probe(critic, observation_shape, "critic", num_tokens)
    if values.shape != (2,):
        raise ValueError(f"the critic gave values of shape {tuple(values.shape)} for 2 observations; expected (2,)")
    return critic


def _signature(distribution: ActionDistribution) -> tuple:
    """What makes two distributions the same but for their parameters."""
    plain = {k: v for k, v in vars(distribution).items() if not k.startswith("_") and k not in ("training", "parts")}
    return type(distribution), str(sorted(plain.items()))


@torch.no_grad()
def _probe(network: nn.Module, observation_shape: tuple[int, ...], name: str, num_tokens: int | None = None) -> Tensor:
    """The network's outputs for two observations of zeros; where it reads tokens, for two rows of the last of these."""
    device = network.device if isinstance(network, ActorNetwork) else next(network.parameters(), torch.empty(0)).device
    dtype = torch.float32 if num_tokens is None else torch.int64
    zeros = torch.full((2, *observation_shape), (num_tokens or 1) - 1, device=device, dtype=dtype)
    what = "observations" if num_tokens is None else f"rows of tokens up to {num_tokens - 1}"
    training = [module for module in network.modules() if module.training]
    network.eval()  # a batch norm must not learn from the probe
    try:
        outputs = network(zeros)
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"the {name} cannot read a batch of {what} of shape {observation_shape} "
                         f"({dtype}): {error}") from error  # fmt: skip
    finally:
        for module in training:  # each for itself: a language model may be in eval mode inside an actor that is not
            module.training = True
    if not isinstance(outputs, Tensor) or (outputs.dtype != torch.float32 and dtype == torch.float32):
        gave = f"{outputs.dtype} values" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise ValueError(f"the {name} gave {gave} for {what}; expected one float32 tensor. Call {name}.float(), or wrap it in "
                         "a module whose forward returns what is wanted")  # fmt: skip
    return outputs
