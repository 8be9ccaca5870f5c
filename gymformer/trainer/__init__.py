"""Where the parts meet: training runs, their results and their checkpoints."""

from gymformer.rl.agent import TrainedAgent, load_agent
from gymformer.trainer.records import Moment, TrainingResult
from gymformer.trainer.trainer import train_agent

__all__ = ["Moment", "TrainedAgent", "TrainingResult", "load_agent", "train_agent"]
