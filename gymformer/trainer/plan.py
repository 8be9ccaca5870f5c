"""Which algorithm trains, with which config, and what it needs of networks and episodes."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, cast

import torch

from gymformer.rl.a2c import A2C
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.grpo import GRPO
from gymformer.rl.kl import AdaptiveCoefficient
from gymformer.rl.networks import ActorNetwork, CriticNetwork
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.reinforce import Reinforce, ReinforceStable
from gymformer.rl.rloo import RLOO

__all__ = ["ALGORITHMS", "Plan", "as_plain", "planned"]

ALGORITHMS: dict[str, type[Algorithm]] = {
    "ppo": PPO, "reinforce": Reinforce, "reinforce_stable": ReinforceStable, "rloo": RLOO, "grpo": GRPO, "a2c": A2C,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """An algorithm that is there, or a class of one and its config."""

    algorithm: Algorithm | type[Algorithm]
    config: Any  # None: the class knows no configs
    parameters: frozenset[str]  # what the class's constructor takes, by name

    @property
    def name(self) -> str:
        return (self.algorithm if isinstance(self.algorithm, type) else type(self.algorithm)).__name__

    @property
    def group_size(self) -> int:
        """So many episodes of one task are compared with each other."""
        return self.algorithm.group_size if isinstance(self.algorithm, Algorithm) else getattr(self.config, "group_size", 1)

    @property
    def needs_critic(self) -> bool:
        if isinstance(self.algorithm, Algorithm):
            return "critic" in self.algorithm.networks()
        if self.config is not None and hasattr(self.config, "needs_critic"):
            return self.config.needs_critic
        return "critic" in self.parameters or "actor" not in self.parameters

    @property
    def takes_reference(self) -> bool:
        """It stays close to a reference by itself, in its loss."""
        return "reference" in self.parameters

    def with_kl_coef(self, kl_coef: float | AdaptiveCoefficient | None) -> "Plan":
        """With this weight of the divergence, if one is said. Raises ValueError for one that adapts."""
        if isinstance(kl_coef, AdaptiveCoefficient):
            raise ValueError(f"{self.name} has the divergence in its loss, with a fixed weight; give kl_coef a number")
        return self if kl_coef is None else replace(self, config=replace(self.config, kl_coef=kl_coef))

    def build(self, actor: ActorNetwork, critic: CriticNetwork | None, generator: torch.Generator,
              reference: ActorNetwork | None) -> Algorithm:  # fmt: skip
        """The algorithm for these networks; `generator` draws what it leaves to chance."""
        if isinstance(self.algorithm, Algorithm):
            if getattr(self.algorithm, "generator", generator) is None:  # or it would draw from the global generator
                self.algorithm.generator = generator  # type: ignore[attr-defined]
            return self.algorithm
        kind = cast(Callable[..., Algorithm], self.algorithm)
        if "actor" not in self.parameters:  # names of its own: by place
            more = (self.config, generator) if issubclass(self.algorithm, PPO) else ()
            return kind(actor, critic, *more)
        given = {"actor": actor, "critic": critic, "config": self.config, "generator": generator, "reference": reference}
        return kind(**{name: value for name, value in given.items() if name in self.parameters})


def planned(algorithm: str | type[Algorithm] | Algorithm, ppo_config: PPOConfig | None, config: Any) -> Plan:
    """What `train_agent` was asked for. Raises ValueError or TypeError where algorithm and config do not belong together."""
    if config is not None and ppo_config is not None:
        raise ValueError("ppo_config and config are both given; say config=... alone")
    if isinstance(algorithm, Algorithm):
        if config is not None:
            raise ValueError(
                f"config is given, but the {type(algorithm).__name__} is built already; give its config to its constructor"
            )
        return Plan(algorithm, None, frozenset())
    kind = ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else algorithm
    if not (isinstance(kind, type) and issubclass(kind, Algorithm)):
        names = ", ".join(f'"{name}"' for name in ALGORITHMS)
        raise ValueError(
            f"algorithm={algorithm!r} is not known; use one of {names}, a subclass of Algorithm, or an instance of one"
        )
    parameters = frozenset(inspect.signature(kind).parameters)
    expected = kind.config_class
    if expected is None:
        if config is not None and "config" not in parameters:
            raise ValueError(f"config is given, but {kind.__name__}(...) takes none")
        return Plan(kind, config, parameters)
    given = ppo_config if config is None else config
    shipped = {one.config_class for one in ALGORITHMS.values()}
    if given is not None and (not isinstance(given, expected) or (type(given) is not expected and type(given) in shipped)):
        raise TypeError(f"{kind.__name__} takes a {expected.__name__}, got {'ppo_config=' if config is None else 'config='}{given!r}; say "
                        f"config={expected.__name__}(...)")  # fmt: skip
    return Plan(kind, expected() if given is None else given, parameters)


def as_plain(config: Any) -> dict[str, Any]:
    """A config as JSON holds it; nothing of what is no dataclass."""
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
