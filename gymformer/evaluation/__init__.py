"""How good a player is: many episodes, intervals, comparisons, and one to look at, token by token or as a film."""

from gymformer.evaluation.best_of_n import best_of_n, kl_of_best_of_n
from gymformer.evaluation.evaluate import Evaluation, evaluate, play_tokens
from gymformer.evaluation.metrics import bootstrap_interval, paired_interval, pass_at_k, wilson_interval
from gymformer.evaluation.pipeline import EvaluationPipeline
from gymformer.evaluation.results import Comparison, EpisodeRecord, EvaluationResults, load_results
from gymformer.evaluation.trace import trace_episode, trace_segment
from gymformer.evaluation.video import play_episode, save_gif

__all__ = [
    "Comparison",
    "EpisodeRecord",
    "Evaluation",
    "EvaluationPipeline",
    "EvaluationResults",
    "best_of_n",
    "bootstrap_interval",
    "evaluate",
    "kl_of_best_of_n",
    "load_results",
    "paired_interval",
    "pass_at_k",
    "play_episode",
    "play_tokens",
    "save_gif",
    "trace_episode",
    "trace_segment",
    "wilson_interval",
]
