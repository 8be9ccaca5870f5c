"""CoTEnv: problems to be solved by thinking first and answering then, one token at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gymformer.data.arithmetic import HELD_OUT_SHARE, Problem
from gymformer.data.problems import Draw, ProblemPool, Split
from gymformer.data.riddles import CheckedProblem
from gymformer.env.chat import ChatFormat
from gymformer.env.cot_format import ANSWER_CLOSE, SYSTEM_PROMPT, knows_the_format, parse_reply, solution_ids
from gymformer.env.token_env import RewardFn, TokenEnv
from gymformer.rewards.answers import closeness, is_correct
from gymformer.rewards.component import RewardComponent, RewardSum

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CoTEnv"]

MODEL = "models/reasoner"
FEW_SHOT_EXAMPLES = 2
MOST_TRIES = 100  # to find another example
LONGEST_TOKEN = 128  # characters; where the last token may have written a tag


class CoTEnv(TokenEnv):
    """Description: a problem, to be solved as `<think>…</think><final_answer>…</final_answer>`, one token at a time.

    Problems come from a file of {"question", "answer"} records or are generated, on one side of a split that follows from
    the question's text alone, so that nothing that is tested on is ever trained on. What a text says is `parse_reply`'s to
    tell, and whether an answer is right `is_correct`'s. Only the tokens that the policy wrote are judged, never the prompt.

    Action: `Discrete(V)`, one token of the tokenizer.
    Observation: `Sequence(Discrete(V))`, the prompt in the tokenizer's chat format and the tokens written so far. Tags and
        control tokens within a question are spelled out.
    Reward: at the end, 1 if the answer equals the right one, else 0; plus `format_reward` if the text is well-formed, plus
        `distance_reward` / (1 + |answer - right answer|) if both are numbers. So the most is 1 + format_reward +
        distance_reward, and by default nothing but a right answer is paid for: no answer, `nan`, `inf`, `1e309`, several
        answers, an answer within the thinking, repeated tags, the question again, each gives 0. `reward_fn` replaces all this
        by a function of the text, or by components, whose state has "question", "answer", "thinking", "final_answer",
        "well_formed" and "correct" too.
    Episode end: `terminated` by the tokenizer's end of text, by the token that ends a turn in its chat format, or with
        the first `</final_answer>`, wherever it stands; and after `max_generation` tokens, for an answer that does not
        come in time is none. at_limit="truncate" cuts there instead: `truncated`, and nothing paid (see `TokenEnv`).
    Info: "question", "answer" and "prompt" at reset; at the end also "text", "thinking", "final_answer" (None where there is
        none), "well_formed", "correct", "success" (1.0 if correct, else 0.0), and "reward_terms"; always "task" (the name of the
        problems) and, where one was asked for, "difficulty".
    Reset options: "difficulty" (0 to 1, overrides the argument); "problem" (a Problem or {"question", "answer"}) or
        "question" and "answer" (without one nothing is right), to be asked instead of a drawn one.

    Arguments:
    model_name: whose tokenizer to use, a folder or a hub id (no weights are loaded); None is the reasoner that comes along.
    tokenizer: one that is loaded already, instead.
    dataset_path: a .json or .jsonl file; or else `problems`: "chain_sum", "reasoning_gym:<name>", or what else `ProblemPool`
        takes. difficulty: 0 to 1; None is what the source takes for normal (chain_sum: what the reasoner was made for).
    split: "train" or "test"; test_split: the share of all questions that is held out.
    seed: seeds the first reset that brings no seed of its own (None: the operating system does). Copies in a vector need
        different ones: the vector's own reset(seed=...) gives them.
    n_few_shot_examples, system_prompt: solved examples (of the training side, never the question itself) and the
        explanation of the format that precede the question. None: where every tag is one token, the tokenizer was made for
        this format, and there are none; else 2 examples (fewer if there are not as many) and `SYSTEM_PROMPT`.
    """

    default_model = MODEL
    reset_options = ("difficulty", "problem", "question", "answer")

    def __init__(
        self,
        model_name: str | Path | None = None,
        dataset_path: str | Path | None = None,
        max_generation: int = 128,
        seed: int | None = 42,
        test_split: float = HELD_OUT_SHARE,
        *,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        problems: str | Sequence[Problem] | Draw = "chain_sum",
        difficulty: float | None = None,
        split: Split = "train",
        n_few_shot_examples: int | None = None,
        system_prompt: str | None = None,
        format_reward: float = 0.0,
        distance_reward: float = 0.0,
        reward_fn: RewardFn | None = None,
        at_limit: Literal["truncate", "terminate"] = "terminate",
        render_mode: str | None = None,
    ):
        if tokenizer is not None and model_name is not None:
            raise ValueError(f"both model_name={model_name!r} and a tokenizer were given; give one of them")
        if dataset_path is not None and problems != "chain_sum":
            raise ValueError(f"both dataset_path={str(dataset_path)!r} and problems={problems!r} were given; give one of them")
        if n_few_shot_examples is not None and n_few_shot_examples < 0:
            raise ValueError(
                f"n_few_shot_examples={n_few_shot_examples}; it must be at least 0, or None for what suits the tokenizer"
            )
        self.default_reward = RewardSum(
            RewardComponent(name, weight, term)
            for name, weight, term in (("correct", 1.0, _correct), ("format", format_reward, _format), ("distance", distance_reward, _distance))
            if weight
        )  # fmt: skip
        super().__init__(tokenizer or model_name or MODEL, max_generation=max_generation, at_limit=at_limit,
                         reward_fn=reward_fn or self.default_reward, seed=seed, render_mode=render_mode)  # fmt: skip
        self.pool = ProblemPool(dataset_path or problems, split, test_split)
        made_for_this = knows_the_format(self.codec)
        self._wants_all_examples = n_few_shot_examples is not None
        if n_few_shot_examples is None:
            n_few_shot_examples = 0 if made_for_this else FEW_SHOT_EXAMPLES
        if system_prompt is None:
            system_prompt = "" if made_for_this else SYSTEM_PROMPT
        self.n_few_shot_examples, self.system_prompt, self.difficulty = n_few_shot_examples, system_prompt, difficulty
        self.examples = ProblemPool(dataset_path or problems, "train", test_split) if n_few_shot_examples else self.pool
        self.format = ChatFormat(self.tokenizer, system_prompt or None)
        self.ends = self.format.end_of_text
        self.problem = Problem("", "")
        self._asked: dict[str, Any] = {}  # which kind

    def prompt(self, options: dict[str, Any]) -> list[int]:
        difficulty = options.get("difficulty", self.difficulty)
        self.problem = _asked_for(options) or self.pool.draw(self.np_random, difficulty)
        self._asked = {"task": self.pool.name} | ({} if difficulty is None else {"difficulty": float(difficulty)})
        messages = []
        for example in self._few_shot_examples(difficulty):
            messages += [("user", self.codec.plain(example.question)), ("assistant", solution_ids(example, self.codec))]
        return self.format.ids([*messages, ("user", self.codec.plain(self.problem.question))])

    def is_over(self, new: Sequence[int]) -> bool:
        return new[-1] in self.ends or ANSWER_CLOSE in self.text[-LONGEST_TOKEN:]

    def score(self, text: str) -> float:
        return self.default_reward({"text": text, **self.facts(text)})

    def facts(self, text: str | None) -> dict[str, Any]:
        asked = {"question": self.problem.question, "answer": self.problem.answer, **self._asked}
        if text is None:
            return asked
        reply = parse_reply(text)
        correct = reply.final_answer is not None and _is_right(self.problem, reply.final_answer)
        return asked | {
            "thinking": reply.thinking,
            "final_answer": reply.final_answer,
            "well_formed": reply.well_formed,
            "correct": correct,
            "success": float(correct),
        }

    def _few_shot_examples(self, difficulty: float | None) -> list[Problem]:
        """Different problems of the training side, none of which is the one that is asked."""
        found: dict[str, Problem] = {}
        for _ in range(MOST_TRIES):
            if len(found) == self.n_few_shot_examples:
                break
            example = self.examples.draw(self.np_random, difficulty)
            if example.question.strip() != self.problem.question.strip():
                found.setdefault(example.question.strip(), example)
        if self._wants_all_examples and len(found) < self.n_few_shot_examples:
            raise ValueError(f"n_few_shot_examples={self.n_few_shot_examples}, but {self.examples.name} has only {len(found)} other "
                             "problems on the training side; ask for fewer")  # fmt: skip
        return list(found.values())


def _asked_for(options: dict[str, Any]) -> Problem | None:
    """The problem that the options of a reset name, if they name one."""
    match options:
        case {"problem": Problem() as problem}:
            return problem
        case {"problem": {"question": question, "answer": answer}} | {"question": question, "answer": answer}:
            return Problem(str(question), str(answer))
        case {"question": question}:
            return Problem(str(question), "")
        case {"problem": problem}:
            raise ValueError(f'options["problem"] is {problem!r}; give a Problem or {{"question": text, "answer": text}}')
    return None


def _is_right(problem: Problem, answer: str) -> bool:
    return problem.accepts(answer) if isinstance(problem, CheckedProblem) else is_correct(answer, problem.answer)


def _correct(state: dict[str, Any]) -> float:
    return float(state["correct"])


def _format(state: dict[str, Any]) -> float:
    return float(state["well_formed"])


def _distance(state: dict[str, Any]) -> float:
    return closeness(state["final_answer"] or "", state["answer"])
