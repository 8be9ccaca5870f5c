"""MATHEnv: problems whose answer is a formula, solved one line at a time."""

from gymformer.data.arithmetic import Problem
from gymformer.env.solution_env import SolutionEnv
from gymformer.rewards.answers import boxed_answer

__all__ = ["MATHEnv"]

SYSTEM_PROMPT = "Solve the problem step by step, one line for each step. Give the answer as \\boxed{...} in the last line."


class MATHEnv(SolutionEnv):
    """Description: a problem in the form of MATH (arXiv:2103.03874), to be solved one line at a time.

    What comes along are problems that a generator wrote; the real ones are files of {"problem", "solution"} records, also with
    an "id", of which `data_file` names one. The answer is what stands in \\boxed{...}; formulas are compared by math-verify,
    which needs the extra "tasks". All else is as in `SolutionEnv`: actions, rewards, ends and arguments.
    """

    system_prompt = SYSTEM_PROMPT
    sample = "data/math_sample/train.jsonl"

    def final_answer(self, line: str) -> str | None:
        return boxed_answer(line)

    def solved(self, problem: Problem) -> list[str]:
        answers = any(self.final_answer(line) is not None for line in problem.steps)
        return [*problem.steps, *([] if answers else [f"The answer is $\\boxed{{{' '.join(problem.answer.split())}}}$."])]
