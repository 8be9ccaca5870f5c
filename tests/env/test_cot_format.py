"""What a text in the format of chain of thought says: one table, and any text at all."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymformer.data.arithmetic import Problem
from gymformer.env.codec import Codec
from gymformer.env.cot_format import TAGS, Reply, knows_the_format, parse_reply, solution
from gymformer.testing import byte_tokenizer
from tests.env.envs import bpe_tokenizer

A5 = "<final_answer>5</final_answer>"
TABLE = {
    # the format, and what is near it
    f"<think>2+3=5</think>{A5}": Reply("2+3=5", "5", True),
    " <think>\n2+3=5\n</think>\n <final_answer> 5 </final_answer>\n": Reply("2+3=5", "5", True),
    f"<think></think>{A5}": Reply("", "5", True),
    f"<think>1<2 and 3>2</think>{A5}": Reply("1<2 and 3>2", "5", True),
    A5: Reply(None, "5", False),
    f"So: {A5}": Reply(None, "5", False),
    f"<think>2+3=5</think> So: {A5}": Reply("2+3=5", "5", False),
    f"{A5}<think>2+3=5</think>": Reply("2+3=5", "5", False),
    # the prompt opened the thinking
    f"2+3=5</think>{A5}": Reply("2+3=5", "5", False),
    # no answer
    "": Reply(None, None, False),
    "5": Reply(None, None, False),
    "<think>5</think>": Reply("5", None, False),
    "<think>2+3=5</think><final_answer></final_answer>": Reply("2+3=5", None, False),
    "<think>2+3=5</think><final_answer> \n</final_answer>": Reply("2+3=5", None, False),
    "<think>2+3=5</think><final_answer>5": Reply("2+3=5", None, False),
    "<think>2+3=5</think>5</final_answer>": Reply("2+3=5", None, False),
    "</final_answer>5<final_answer>": Reply(None, None, False),
    # an answer within the thinking
    f"<think>{A5}</think>": Reply(A5, None, False),
    f"<think>{A5}": Reply(A5, None, False),
    f"<think>{A5}</think><final_answer>6</final_answer>": Reply(A5, "6", False),
    f"{A5}</think>": Reply(A5, None, False),
    f"<think><think>{A5}</think>": Reply(f"<think>{A5}", None, False),
    # several answers, nested and repeated tags
    f"{A5}{A5}": Reply(None, None, False),
    f"<think>x</think>{A5}<final_answer>6</final_answer>": Reply("x", None, False),
    "<final_answer>5<final_answer>6</final_answer></final_answer>": Reply(None, None, False),
    "<final_answer>4<final_answer>5</final_answer>": Reply(None, None, False),
    "<final_answer><think>5</think></final_answer>": Reply("5", None, False),
    f"<think>x</think><think>y</think>{A5}": Reply("x", None, False),
    f"<think>x</think></think>{A5}": Reply("x", None, False),
    # other spellings are text
    "<Final_Answer>5</Final_Answer>": Reply(None, None, False),
    "< final_answer>5</final_answer>": Reply(None, None, False),
}


@pytest.mark.parametrize(("text", "reply"), TABLE.items())
def test_the_table(text, reply):
    assert parse_reply(text) == reply


PIECES = st.one_of(st.sampled_from(TAGS), st.text(max_size=4), st.sampled_from(["5", " ", "\n", "<", ">"]))


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_has_at_most_one_answer_that_it_gives_outside_its_thinking(text):
    reply = parse_reply(text)
    if reply.final_answer is not None:
        assert reply.final_answer and reply.final_answer == reply.final_answer.strip()
        assert not any(tag in reply.final_answer for tag in TAGS)
        assert text.count("<final_answer>") - (reply.thinking or "").count("<final_answer>") == 1
    if reply.well_formed:
        assert reply.final_answer is not None and reply.thinking is not None
        assert [text.count(tag) for tag in TAGS] == [1, 1, 1, 1]


@given(st.text(alphabet="0123456789+-= \n", max_size=30), st.text(alphabet="0123456789/.,-", min_size=1, max_size=9))
def test_what_is_written_in_the_format_is_read_back(thinking, answer):
    text = f"<think>{thinking}</think><final_answer>{answer}</final_answer>"
    assert parse_reply(text) == Reply(thinking.strip(), answer, True)


def test_solutions_are_well_formed_and_right():
    for problem in (Problem("1 + 2 + 3?", "6", ("1+2=3", "3+3=6")), Problem("Without steps?", "x")):
        reply = parse_reply(solution(problem))
        assert reply.well_formed and reply.final_answer == problem.answer
    assert solution(Problem("?", "6", ("1+2=3", "3+3=6"))) == "<think>1+2=3\n3+3=6</think><final_answer>6</final_answer>"


@pytest.mark.parametrize("piece", [*TAGS, "<", "<think", "<think></think>", "<final_answer></final_answer>"])
def test_spam_is_read_in_linear_time(piece):
    def seconds(text: str) -> float:
        start = time.process_time()
        parse_reply(text)
        return time.process_time() - start

    assert seconds(piece * 200_000) < 10  # a quadratic reader would need hours


def test_the_tokenizers_that_were_made_for_the_format_are_known():
    assert not knows_the_format(Codec(byte_tokenizer()))
    assert not knows_the_format(Codec(bpe_tokenizer(tags=TAGS[:3])))
    assert knows_the_format(Codec(bpe_tokenizer(tags=TAGS)))
