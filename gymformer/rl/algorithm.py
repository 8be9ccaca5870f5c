"""What an algorithm is: segments in, a better actor and statistics out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from gymformer.rl.batch import Batch
from gymformer.rl.segment import Segment

__all__ = ["Algorithm", "Alone", "Together"]


class Together(Protocol):
    """How processes that each have a part of the data learn as one: they take every gradient step at the same time."""

    def in_step(self, minibatches: Iterable[Batch]) -> Iterator[Batch]:
        """One epoch's minibatches; every process gets as many."""
        ...

    def average(self, gradient: Tensor) -> None:
        """Overwrites a gradient, or a part of one, by its mean over all processes' current minibatches."""
        ...

    def mean(self, statistic: float) -> float:
        """Of a mean over the decisions of the current minibatch: that over all processes'."""
        ...


class Alone:
    """`Together` for one process: its minibatches, gradients and statistics are all that there are."""

    def in_step(self, minibatches: Iterable[Batch]) -> Iterator[Batch]:
        return iter(minibatches)

    def average(self, gradient: Tensor) -> None: ...

    def mean(self, statistic: float) -> float:
        return statistic


class Algorithm(ABC):
    """Improves its networks by what the actor did. `progress`, in [0, 1], is how much of the training is over; the trainer
    sets it before each update, and schedules follow it. The trainer sets `together` where several processes train one agent.

    `train_agent(algorithm=YourClass, config=...)` builds it by the names of its constructor's arguments: `actor`; `critic`, and
    none is made where there is no such argument; `config`; `generator`, for what is left to chance; `reference`, where it stays
    close to one in its own loss. All of these but `actor` may be left out:

        class Simple(Algorithm):
            '''REINFORCE: what was followed by more reward than usual becomes likelier.'''

            def __init__(self, actor):
                self.actor = actor
                self.optimizer = PackedAdam(list(actor.parameters()), lr=5e-3, max_norm=0.5)

            def update(self, segments):
                states = States.of(segments)[decision_index(segments)]
                actions, legal = per_decision(segments, "actions"), legal_actions(segments, self.actor.policy.num_outputs)
                returns = torch.from_numpy(np.concatenate([rewards_to_go(s.learning_rewards, 0.99) for s in segments]))
                log_probs, entropy = self.actor.policy.log_probs_and_entropy(self.actor.evaluate(states), actions, legal)
                loss = -(log_probs * (returns - returns.mean())).mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.collect()
                self.together.average(self.optimizer.gradient)
                norm = self.optimizer.clip()
                self.optimizer.step()
                return {"policy_loss": loss.item(), "entropy": entropy.mean().item(), "grad_norm_actor": norm}

            def networks(self):
                return {"actor": self.actor}

            def state_dict(self):
                return {"optimizer": self.optimizer.state_dict()}

            def load_state_dict(self, state):
                self.optimizer.load_state_dict(state["optimizer"])

    The same page trains vectors and token rows (for a GPU, give the tensors the device of the actor, as the pages here do).
    To learn from replayed segments as well, check that their log_probs are the actor's (`stored_log_probs`) and multiply advantages
    by `importance_weights` (`weighted`), as the pages here do.
    """

    progress: float = 0.0
    together: Together = Alone()
    group_size: int = 1  # so many episodes of one task are compared with each other; an instance has that of its config
    config_class: ClassVar[type[Any] | None] = None  # of its constructor's `config`; made without arguments where none is given
    update_interval: ClassVar[tuple[int, int]] = (100, 256)  # episodes between updates where nobody says: in control, of text

    @abstractmethod
    def update(self, segments: list[Segment]) -> dict[str, float]:
        """One round of learning; returns statistics by name (monitoring/README.md)."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks that learn, by name: what a checkpoint holds."""

    @abstractmethod
    def state_dict(self) -> dict:
        """Everything else that the next update depends on: optimisers, random states."""

    @abstractmethod
    def load_state_dict(self, state: dict) -> None:
        """Goes on from a `state_dict`."""
