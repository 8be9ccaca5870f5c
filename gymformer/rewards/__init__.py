"""What a text is worth: single terms, weighted sums of them, weights that adapt, and the comparison of answers."""

from gymformer.rewards.adaptive import AdaptiveWeights
from gymformer.rewards.answers import boxed_answer, closeness, hash_answer, is_correct, plain_number
from gymformer.rewards.calculator import calculate
from gymformer.rewards.component import RewardComponent, RewardError, RewardSum
from gymformer.rewards.feedback import HumanFeedback
from gymformer.rewards.rewarded import Rewarded
from gymformer.rewards.terms import Novelty, completion_term, efficiency_term, feedback_term, safety_term

__all__ = [
    "AdaptiveWeights",
    "HumanFeedback",
    "Novelty",
    "RewardComponent",
    "RewardError",
    "RewardSum",
    "Rewarded",
    "boxed_answer",
    "calculate",
    "closeness",
    "completion_term",
    "efficiency_term",
    "feedback_term",
    "hash_answer",
    "is_correct",
    "plain_number",
    "safety_term",
]
