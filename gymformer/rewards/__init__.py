"""What a text is worth: single terms, weighted sums of them, and the comparison of answers."""

from gymformer.rewards.answers import closeness, is_correct, plain_number
from gymformer.rewards.component import RewardComponent, RewardSum

__all__ = ["RewardComponent", "RewardSum", "closeness", "is_correct", "plain_number"]
