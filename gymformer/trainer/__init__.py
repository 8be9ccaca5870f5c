"""Where the parts meet: training runs, their results and their checkpoints."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymformer.rl.agent import TrainedAgent, load_agent
from gymformer.trainer.records import Moment, TrainingResult
from gymformer.trainer.trainer import train_agent

if TYPE_CHECKING:
    from gymformer.trainer.reward import RewardTraining as RewardTraining
    from gymformer.trainer.reward import load_reward_model as load_reward_model
    from gymformer.trainer.reward import train_reward as train_reward

REWARD = ("RewardTraining", "load_reward_model", "train_reward")  # imported when first used, because transformers takes seconds

__all__ = ["Moment", "RewardTraining", "TrainedAgent", "TrainingResult", "load_agent", "load_reward_model", "train_agent",
           "train_reward"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in REWARD:
        raise AttributeError(f"module 'gymformer.trainer' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module("gymformer.trainer.reward"), name)
