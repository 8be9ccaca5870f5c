"""How good an agent is: many episodes, intervals, success rates, and one to look at."""

from gymformer.evaluation.evaluate import Evaluation, evaluate, play_tokens
from gymformer.evaluation.video import play_episode, save_gif

__all__ = ["Evaluation", "evaluate", "play_episode", "play_tokens", "save_gif"]
