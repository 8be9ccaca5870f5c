"""GSM8KEnv: word problems of primary school, solved one line at a time."""

from gymformer.data.arithmetic import Problem
from gymformer.env.solution_env import SolutionEnv
from gymformer.rewards.answers import hash_answer

__all__ = ["GSM8KEnv"]

SYSTEM_PROMPT = (
    "Solve the problem step by step, one short line for each step. Write each calculation as <<48/2=24>>. "
    "Give the answer in a last line that begins with ####."
)


class GSM8KEnv(SolutionEnv):
    """Description: a word problem in the form of GSM8K (arXiv:2110.14168), to be solved one line at a time.

    What comes along are problems that a generator wrote (`word_problem`); the real ones are files of {"question", "answer"}
    records, of which `data_file` names one. The answer is what follows "####". All else is as in `SolutionEnv`: actions, rewards, ends
    and arguments.
    """

    system_prompt = SYSTEM_PROMPT
    default_model = "models/solver"
    sample = "data/gsm8k_sample/train.jsonl"

    def final_answer(self, line: str) -> str | None:
        return hash_answer(line)

    def solved(self, problem: Problem) -> list[str]:
        return [*problem.steps, f"#### {problem.answer}"]
