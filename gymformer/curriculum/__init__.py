"""What is asked next: tasks and difficulty that follow success."""

from gymformer.curriculum.difficulty import Pace, success_of
from gymformer.curriculum.generator import Asked, CurriculumGenerator
from gymformer.curriculum.progress import Progress

__all__ = ["Asked", "CurriculumGenerator", "Pace", "Progress", "success_of"]
