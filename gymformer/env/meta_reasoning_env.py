"""MetaReasoningEnv: problems to be thought about in checkable steps, and answered with an honest confidence."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from gymformer.curriculum.difficulty import Pace, checked_difficulty
from gymformer.data.arithmetic import HELD_OUT_SHARE, Problem
from gymformer.data.meta_problems import BIASES, FAMILIES, NO_BIAS, VERDICTS, Equation, Reading, read_problem
from gymformer.data.problems import ProblemPool, Split
from gymformer.data.riddles import CheckedProblem
from gymformer.env.text_env import TextEnv, spoken
from gymformer.rewards.answers import is_correct, plain_number
from gymformer.rewards.feedback import HumanFeedback

__all__ = ["MetaReasoningEnv"]

RIGHT = 1.0  # the right answer
STEPS = 0.2  # shared by the equations on the way to it
VERDICT = 0.1  # a right verdict on what is to be checked, or on the bias; each wrong one costs as much
FALSE = -0.05  # an equation that is false
MALFORMED = -0.02  # a turn that cannot be understood
FEEDBACK = 0.1  # times a rating between -1 and 1
UNSTATED = 0.5  # the confidence of who states none, or gives no answer: the Brier score of a coin

USUAL = 0.5  # the constant difficulty
TERMS = ("answer", "calibration", "intermediate", "assumption", "bias", "mistake")

EQUATION = re.compile(
    r"(?<![\d.])(?<![-+*/=])(?<![-+*/=] )(\d{1,9}) ?([-+*]) ?(\d{1,9}) ?= ?(-?\d{1,18})(?![\d]|\.\d| ?[-+*/=])", re.ASCII
)
ASSUMPTION = re.compile(rf"\bassume (\w+) before (\w+): ?({'|'.join(VERDICTS)})\b", re.IGNORECASE)
BIAS = re.compile(rf"\bbias: ?({'|'.join((NO_BIAS, *BIASES))})\b", re.IGNORECASE)
CONFIDENCE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)%", re.ASCII)

CLOSING = "Say THINK and one step, or ANSWER, such as ANSWER 5 80%."
NOTED = "Noted."
THINK_FORMS = (
    f"THINK 2 + 3 = 5, THINK assume Ana before Ben: {VERDICTS[0]} (or {' or '.join(VERDICTS[1:])}), "
    f"THINK bias: {NO_BIAS} (or {' or '.join(BIASES)})"
)
ANSWER_FORM = "ANSWER 5 80%, where 80% is how sure you are, from 0% to 100%"


class MetaReasoningEnv(TextEnv):
    """Description: a problem, to be thought about in steps that can be checked, and answered with an honest confidence.

    What is on the way to the answer, what may be assumed and what leads astray is decided from the problem's text, exactly. The
    families: "sum" (operations one after another), "order" (who is first or last, and a claim to be checked), "base rate",
    "anchoring", "confirmation", "framing" (each built so that in half of the problems the answer that suggests itself is wrong,
    and in the other half right), "bag" (a ball is drawn: nobody can know the color, but how likely it is). Others have no
    steps that are known, and are paid for the answer alone.

    Action: a turn, one of two.
        THINK <reasoning>: any words, of which the first that can be checked counts, and nothing beside it:
            an equation of two numbers, "3 + 4 = 7", with +, - or *;
            an assumption, "assume Ana before Ben: holds" (it follows from the premises), "fails" (its contrary does) or "open";
            a bias, "bias: base rate", "anchoring", "confirmation" or "framing", if it leads astray here, and else "bias: none".
        ANSWER <solution> <confidence>%: the answer and how sure you are of it, from 0% to 100%: "ANSWER 7 80%". The confidence is
            the last word if that has a "%"; without one, it counts as 50%.
        Anything else cannot be understood: no such word, a THINK with nothing to check, a confidence without a solution or
        that is no number from 0 to 100 ("nan%", "1e9%", "200%"). It is explained, costs little, and ends nothing.
    Observation: a text, at first the problem; then "Noted." for each THINK, whether it is right or not, for else the answer could be
        read from what is paid; or what was not understood; at the end "Right." or "Wrong.".
    Reward: with o = 1 for the right answer, else 0, and the stated confidence c from 0 to 1,
            o - (c - o)²   (arXiv:2507.16806).
        Expected of an answer that is right with probability p, this is p² - (c - p)²: greatest at c = p, so that neither overstating
        pays nor a wrong answer on purpose (0 at most). No answer in time counts as a wrong one with
        50%: -0.25. On top of it
        "intermediate": 0.2 shared by the steps on the way to the answer, each paid once, where both numbers stand in the problem
            or are results of steps that were paid; nothing for other true equations, -0.05 for a false one;
        "assumption": 0.1 for the first verdict on what is to be checked if it is right; nothing for other right ones, -0.1 for
            each wrong one;
        "bias": 0.1 for the first verdict if it is right, where there is something that could lead astray; nothing for other
            right ones, -0.1 for each wrong one;
        "mistake": -0.02 for a turn that cannot be understood;
        "feedback": 0.1 times the rating of the whole dialogue at its end, where somebody rates.
        So thinking earns at most 0.4, and who guesses verdicts gains nothing in expectation.
    Episode end: `terminated` by the first ANSWER that can be understood, and after `max_steps` turns.
    Info: "task" (the family), "difficulty", "answer" (the right one), "correct", "confidence", "brier" ((c - o)²), "success"
        (1.0 if correct), "reward_terms" (what each has paid so far; the sum is the return), "turn". Before there is an answer,
        "correct" is False, "confidence" 0.5 and "brier" 0.25.
    Reset options: "difficulty", from 0 to 1; "family", one of `families`; "problem", a `Problem` to be asked instead of a drawn one.
    Rendering: "ansi", the dialogue so far.

    Arguments:
    use_curriculum: where the options name no difficulty, it begins at `difficulty` (None: 0) and follows success (`Pace` has the
        rule). Episodes that were abandoned, or whose difficulty or problem was given, do not count. `reset(seed=...)` leaves it as
        it is. If False, it is constant (None: 0.5).
    use_human_feedback, feedback: whether the dialogue is rated at its end, and by what: a `HumanFeedback`, or a function from a
        text to a number from -1 to 1 or None (no rating). With use_human_feedback alone nobody rates, which is said once.
    max_steps: turns.
    families: those above, and whatever `ProblemPool` takes: "chain_sum", "reasoning_gym:gcd" (the extra "tasks"), a file. Each is
        drawn equally often.
    split, test_split: which side of the problems, and the share held out; it follows from a problem's text alone.
    """

    default_model = "models/speaker"
    system_prompt = f"Solve the problem. Each turn is {THINK_FORMS}, or {ANSWER_FORM}."
    reset_options = ("difficulty", "family", "problem")

    def __init__(
        self,
        use_curriculum: bool = True,
        use_human_feedback: bool = False,
        max_steps: int = 10,
        *,
        feedback: HumanFeedback | Callable[[str], float | None] | None = None,
        families: Sequence[str] = tuple(FAMILIES),
        difficulty: float | None = None,
        split: Split = "train",
        test_split: float = HELD_OUT_SHARE,
        render_mode: str | None = None,
    ):
        super().__init__(max_turns=max_steps, render_mode=render_mode)
        if isinstance(families, str) or not families:
            raise ValueError(f'families={families!r}; give a list of at least one, such as ["sum", "order"]')
        if feedback is not None and not use_human_feedback:
            raise ValueError(f"feedback={feedback!r} would never be asked; give use_human_feedback=True with it")
        self.pools = {name: ProblemPool(FAMILIES.get(name, name), split, test_split) for name in families}
        self.use_curriculum = use_curriculum
        usual = 0.0 if use_curriculum else USUAL
        self.pace = Pace(usual if difficulty is None else checked_difficulty(difficulty))
        self._feedback: HumanFeedback | None = None
        if use_human_feedback:
            self._feedback = feedback if isinstance(feedback, HumanFeedback) else HumanFeedback(feedback)
        self._counts = False  # this episode, for the curriculum
        self._problem, self._reading = Problem("", ""), Reading("", {})
        self._facts: dict[str, Any] = {}
        self._terms: dict[str, float] = {}
        self._numbers: set[int] = set()  # which an equation may start from
        self._steps: set[Equation] = set()  # that are not paid yet
        self._step_value = 0.0
        self._claim_open = self._bias_open = False

    def opening(self, options: dict[str, Any]) -> str:
        difficulty = checked_difficulty(options.get("difficulty", self.pace.difficulty))
        self._counts = self.use_curriculum and not {"difficulty", "problem"} & options.keys()
        family, self._problem = self._asked(options, difficulty)
        question = self._problem.question
        self._reading = read_problem(question) or Reading(family, {})
        self._numbers = {int(digits) for digits in re.findall(r"\d{1,9}", question)}
        self._steps = {step.ordered() for step in self._reading.steps}
        self._step_value = STEPS / max(1, len(self._steps))
        self._claim_open, self._bias_open = self._reading.claim is not None, self._reading.bias is not None
        self._terms = dict.fromkeys(TERMS if self._feedback is None else (*TERMS, "feedback"), 0.0)
        self._facts = {"task": family, "difficulty": difficulty, "answer": self._problem.answer}
        self._facts |= _graded(correct=False, confidence=UNSTATED)
        return f"{question}\n{CLOSING}"

    def answer(self, turn: str) -> tuple[str, float, bool]:
        before = sum(self._terms.values())
        answered, reply = False, f"Say {THINK_FORMS}, or {ANSWER_FORM}."
        match turn.split(maxsplit=1):
            case [command, said] if command.upper() == "THINK":
                reply = self._think(said) or self._mistaken(f"Nothing to check in that. Say {THINK_FORMS}.")
            case [command, said] if command.upper() == "ANSWER":
                if solution := _solution(said):
                    self._facts |= _graded(self._is_right(solution[0]), solution[1])
                    answered, reply = True, "Right." if self._facts["correct"] else "Wrong."
                else:
                    reply = self._mistaken(f"That is no answer with a confidence. Say {ANSWER_FORM}.")
            case _:
                self._mistaken(reply)
        over = answered or self.turn >= self.max_turns
        if over:
            self._terms["answer"] = RIGHT * self._facts["correct"]
            self._terms["calibration"] = -self._facts["brier"]
            if self._feedback is not None:
                self._terms["feedback"] = FEEDBACK * (self._feedback.rate(spoken([*self._dialogue, turn, reply])) or 0.0)
            if self._counts:
                self.pace.observe(self._facts["success"])
        return reply, sum(self._terms.values()) - before, over

    def facts(self) -> dict[str, Any]:
        return {**self._facts, "reward_terms": dict(self._terms)}

    def _asked(self, options: dict[str, Any], difficulty: float) -> tuple[str, Problem]:
        match options.get("problem"):
            case None:
                pass
            case Problem() as problem:
                reading = read_problem(problem.question)
                return reading.family if reading else "given", problem
            case other:
                raise ValueError(f'options["problem"] is {other!r}; give a Problem (gymformer.data.arithmetic)')
        family = options.get("family")
        if family is None:
            family = list(self.pools)[int(self.np_random.integers(len(self.pools)))]
        if family not in self.pools:
            raise ValueError(f'options["family"] is {family!r}; this environment has {", ".join(self.pools)} (families=...)')
        return family, self.pools[family].draw(self.np_random, difficulty)

    def _think(self, said: str) -> str | None:
        """The reply to a statement, and what it is worth added; None where nothing in it can be checked."""
        said = " ".join(said.split())
        found = [match for form in (EQUATION, ASSUMPTION, BIAS) if (match := form.search(said))]
        if not found:
            return None
        first = min(found, key=lambda match: match.start())
        if first.re is EQUATION:
            self._equation(Equation(int(first[1]), first[2], int(first[3]), int(first[4])))
        elif first.re is ASSUMPTION:
            pair = first[1].capitalize(), first[2].capitalize()
            verdict = self._reading.verdict(*pair)
            if verdict is None:
                return None
            asked = self._claim_open and pair == self._reading.claim
            self._claim_open = self._claim_open and not asked
            self._terms["assumption"] += _worth(first[3].lower() == verdict, asked)
        else:
            self._terms["bias"] += _worth(first[1].lower() == (self._reading.bias or NO_BIAS), self._bias_open)
            self._bias_open = False
        return NOTED

    def _equation(self, equation: Equation) -> None:
        if not equation.is_true:
            self._terms["intermediate"] += FALSE
        elif equation.ordered() in self._steps and {equation.left, equation.right} <= self._numbers:
            self._steps.remove(equation.ordered())
            self._numbers.add(equation.result)
            self._terms["intermediate"] += self._step_value

    def _mistaken(self, reply: str) -> str:
        self._terms["mistake"] += MALFORMED
        return reply

    def _is_right(self, solution: str) -> bool:
        if isinstance(self._problem, CheckedProblem):
            return self._problem.accepts(solution)
        if not self._reading.answers:
            return is_correct(solution, self._problem.answer)
        number = plain_number(self._problem.answer)
        if number is not None:
            return plain_number(solution) == number
        return solution.removesuffix(".").casefold() == self._problem.answer.casefold()


def _solution(said: str) -> tuple[str, float] | None:
    """The solution and the confidence that an ANSWER states; None if it cannot be understood."""
    *words, last = said.split()
    if "%" not in last:
        return said.strip(), UNSTATED
    stated = CONFIDENCE.fullmatch(last.removesuffix("."))
    if not words or stated is None or float(stated[1]) > 100:
        return None
    return said.strip().removesuffix(last).strip(), float(stated[1]) / 100


def _graded(correct: bool, confidence: float) -> dict[str, Any]:
    return {"correct": correct, "confidence": confidence, "brier": (confidence - correct) ** 2, "success": float(correct)}


def _worth(right: bool, asked: bool) -> float:
    return -VERDICT if not right else VERDICT if asked else 0.0
