"""Actors, segments and spaces that several tests need."""

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from hypothesis import strategies as st
from torch import Tensor, nn

from gymformer.rl.batch import States
from gymformer.rl.networks import ActorNetwork
from gymformer.rl.policy import distribution_for
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.segment import Segment


class FunctionActor(ActorNetwork):
    """An actor whose outputs are any function of the observations, plus a bias that can be trained."""

    def __init__(self, function: Callable[[Tensor], Tensor], action_space: gym.Space):
        super().__init__()
        self.function, self.distribution = function, distribution_for(action_space)
        self.bias = nn.Parameter(torch.zeros(self.distribution.num_outputs))

    def forward(self, state: Tensor) -> Tensor:
        return self.function(state) + self.bias

    def evaluate(self, states: States) -> Tensor:
        return self.forward(states.inputs)


def scripted_action(observations: np.ndarray) -> np.ndarray:
    """One of three actions for each row; it depends on every entry of the row."""
    return np.floor(np.abs(observations).sum(-1) * 7.3).astype(np.int64) % 3


def scripted_actor() -> FunctionActor:
    """Plays `scripted_action`: margins of 1e4 nats leave nothing to chance."""

    def logits(state: Tensor) -> Tensor:
        return 1e4 * torch.nn.functional.one_hot(torch.from_numpy(scripted_action(state.numpy())), 3).float()

    return FunctionActor(logits, spaces.Discrete(3))


def uniform_actor(action_space: gym.Space) -> FunctionActor:
    return FunctionActor(lambda state: torch.zeros(len(state), distribution_for(action_space).num_outputs), action_space)


def a_segment(rewards: list[float], terminated: bool = True, observations: np.ndarray | None = None) -> Segment:
    """A hand-written segment of two actions played by a uniform policy."""
    count = len(rewards)
    rows = np.zeros((count + 1, 2), np.float32) if observations is None else observations
    return Segment(rows, np.arange(count) % 2, np.full(count, -np.log(2), np.float32), np.array(rewards), terminated)


def ppo_for(actor: ActorNetwork, critic: nn.Module, seed: int = 0, **config) -> PPO:
    return PPO(actor, critic, PPOConfig(**config), torch.Generator().manual_seed(seed))


def parameters_of(ppo: PPO) -> dict[str, Tensor]:
    """A copy of every parameter of actor and critic."""
    return {f"{name}.{key}": value.detach().clone() for name, network in ppo.networks().items()
            for key, value in network.named_parameters()}  # fmt: skip


def assert_same_segments(these: list[Segment], those: list[Segment]) -> None:
    assert len(these) == len(those)
    for one, other in zip(these, those, strict=True):
        for name in ("rows", "actions", "log_probs", "rewards"):
            np.testing.assert_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert (one.legal is None) == (other.legal is None)
        assert one.legal is None or np.array_equal(one.legal, other.legal)
        for name in ("terminated", "episode_return", "episode_length", "reward_scale", "options"):
            assert getattr(one, name) == getattr(other, name), name
        np.testing.assert_equal(one.info, other.info)


SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)


@st.composite
def boxes(draw, dtypes=(np.float32, np.float64, np.uint8, np.int16)) -> spaces.Box:
    dtype, shape = draw(st.sampled_from(dtypes)), draw(SHAPES)
    if np.issubdtype(dtype, np.integer):
        return spaces.Box(0, draw(st.integers(1, 255)), shape, dtype)
    low, high = draw(st.sampled_from([(-np.inf, np.inf), (0, 1), (-2, 2), (0, np.inf), (-np.inf, 3), (0.1, 0.3)]))
    return spaces.Box(low, high, shape, dtype)


@st.composite
def multi_discretes(draw) -> spaces.MultiDiscrete:
    nvec = np.array(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    if len(nvec) == 4 and draw(st.booleans()):
        nvec = nvec.reshape(2, 2)
    start = draw(st.sampled_from([0, 2, -1]))
    return spaces.MultiDiscrete(nvec, start=np.full(nvec.shape, start))


DISCRETES = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.sampled_from([0, 3, -2]))
MULTI_BINARIES = st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 4), st.just([2, 2])))
SIMPLE_SPACES = st.one_of(boxes(), DISCRETES, multi_discretes(), MULTI_BINARIES)
OBSERVATION_SPACES = st.recursive(
    SIMPLE_SPACES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: spaces.Dict({f"part{i}": p for i, p in enumerate(parts)})),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=4,
)
ACTION_SPACES = st.one_of(boxes(dtypes=(np.float32, np.float64)), DISCRETES, multi_discretes(), MULTI_BINARIES)
