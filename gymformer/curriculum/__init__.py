"""What is asked next: difficulty that follows success."""

from gymformer.curriculum.difficulty import Pace, success_of

__all__ = ["Pace", "success_of"]
