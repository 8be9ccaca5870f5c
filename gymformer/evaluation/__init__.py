"""How good an agent is: many episodes, intervals, success rates, and one to look at, token by token or as a film."""

from gymformer.evaluation.best_of_n import best_of_n, kl_of_best_of_n
from gymformer.evaluation.evaluate import Evaluation, evaluate, play_tokens
from gymformer.evaluation.trace import trace_episode, trace_segment
from gymformer.evaluation.video import play_episode, save_gif

__all__ = [
    "Evaluation",
    "best_of_n",
    "evaluate",
    "kl_of_best_of_n",
    "play_episode",
    "play_tokens",
    "save_gif",
    "trace_episode",
    "trace_segment",
]
