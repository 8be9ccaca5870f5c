"""What a text is worth: single terms, weighted sums of them, and the comparison of answers."""

from gymformer.rewards.answers import boxed_answer, closeness, hash_answer, is_correct, plain_number
from gymformer.rewards.calculator import calculate
from gymformer.rewards.component import RewardComponent, RewardSum
from gymformer.rewards.feedback import HumanFeedback

__all__ = [
    "HumanFeedback",
    "RewardComponent",
    "RewardSum",
    "boxed_answer",
    "calculate",
    "closeness",
    "hash_answer",
    "is_correct",
    "plain_number",
]
