"""The format of chain of thought: how a solution is written, and what a text in that format says."""

import re
from dataclasses import dataclass

from gymformer.data.arithmetic import Problem
from gymformer.env.codec import Codec

__all__ = ["ANSWER_CLOSE", "SYSTEM_PROMPT", "TAGS", "Reply", "knows_the_format", "parse_reply", "solution", "solution_ids"]

THINK, THINK_CLOSE, ANSWER, ANSWER_CLOSE = TAGS = ("<think>", "</think>", "<final_answer>", "</final_answer>")
ANY_TAG = re.compile("|".join(TAGS))
SYSTEM_PROMPT = (
    "You solve problems. First write your reasoning, step by step, between <think> and </think>. Then write the answer, and "
    "nothing else, between <final_answer> and </final_answer>."
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a policy's text says. `thinking` and `final_answer` are None where the text has none, or no single one."""

    thinking: str | None
    final_answer: str | None
    well_formed: (
        bool  # <think>…</think><final_answer>…</final_answer>, each tag once, an answer that is not blank, nothing else
    )


def parse_reply(text: str) -> Reply:
    """Reads a policy's text, in time linear in its length.

    The thinking is what stands between the first `<think>` and the next `</think>`; a `</think>` that nothing opened ends a
    thinking that the prompt opened. Tags within the thinking mean nothing, and a thinking that is not closed holds all that
    follows. The answer is what stands between the tags outside the thinking; there is none if those are not there exactly
    once and in order, if a tag lies between them, or if the answer is blank.
    """
    before, opened, rest = text.partition(THINK)
    if THINK_CLOSE in before:
        thinking, _, outside = text.partition(THINK_CLOSE)
    elif opened:
        thinking, closed, after = rest.partition(THINK_CLOSE)
        outside = before + after if closed else before
    else:
        thinking, outside = None, text
    tags = ANY_TAG.findall(outside)
    answer = outside.partition(ANSWER)[2].partition(ANSWER_CLOSE)[0].strip() if tags == [ANSWER, ANSWER_CLOSE] else ""
    return Reply(thinking and thinking.strip(), answer or None, _is_well_formed(text))


def _is_well_formed(text: str) -> bool:
    """The four tags once and in order, an answer inside, nothing but space outside."""
    if ANY_TAG.findall(text) != list(TAGS):
        return False
    start, _, between, answer, end = ANY_TAG.split(text)
    return not (start.strip() or between.strip() or end.strip()) and bool(answer.strip())


def solution(problem: Problem) -> str:
    """The problem, solved in this format; its steps stand on lines of their own."""
    return f"{THINK}{_worked(problem)}{THINK_CLOSE}{ANSWER}{problem.answer}{ANSWER_CLOSE}"


def solution_ids(problem: Problem, codec: Codec) -> list[int]:
    """The ids of `solution(problem)`. Steps and answer, which a file may have given, bring no control token in."""
    ids, tags = codec.trusted(solution(problem)), codec.trusted("".join(TAGS))
    if [token for token in ids if token in codec.control] == [token for token in tags if token in codec.control]:
        return ids
    return [*codec.trusted(THINK), *codec.plain(_worked(problem)), *codec.trusted(THINK_CLOSE + ANSWER), *codec.plain(problem.answer),
            *codec.trusted(ANSWER_CLOSE)]  # fmt: skip


def _worked(problem: Problem) -> str:
    return "\n".join(problem.steps) or f"Step by step, this gives {problem.answer}."


def knows_the_format(codec: Codec) -> bool:
    """Whether the tokenizer was made for this format: every tag is one token."""
    return all(len(codec.trusted(tag)) == 1 for tag in TAGS)
