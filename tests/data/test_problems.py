"""Problems: from files, by name, and never on both sides of the split."""

import json

import numpy as np
import pytest

from gymformer.data.arithmetic import HELD_OUT_SHARE, Problem, chain_sum, is_held_out
from gymformer.data.problems import ProblemPool, chain_sums, load_problems

ROWS = [{"question": f"What is {n} + {n}?", "answer": 2 * n} for n in range(200)]
PROBLEMS = [Problem(row["question"], str(row["answer"])) for row in ROWS]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def test_json_and_json_lines_read_the_same(write):
    whole = write("all.json", json.dumps(ROWS))
    lines = write("all.jsonl", "\n\n".join(map(json.dumps, ROWS)) + "\n")
    assert load_problems(whole) == load_problems(lines) == PROBLEMS


def test_files_of_windows_are_read_too(tmp_path):
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, ROWS)).encode())
    assert load_problems(path) == PROBLEMS


def test_a_file_is_read_once_for_all_environments_until_it_changes(write):
    path = write("few.json", json.dumps(ROWS))
    first = load_problems(path)
    first.pop()  # one's own list
    again = load_problems(path)
    assert again == PROBLEMS and again[0] is first[0]
    write("few.json", json.dumps(ROWS[:3]))
    assert load_problems(path) == PROBLEMS[:3]


def test_numbers_become_text_and_gsm8ks_form_is_understood(write):
    rows = [{"question": "Half of 5?", "answer": 2.5}, {"question": "Text?", "answer": " yes\nor no "},
            {"question": "Clips?", "answer": "She sold 48/2 = <<48/2=24>>24.\nAltogether 48+24 = 72.\n#### 72"},
            {"question": "One line?", "answer": "7 + 1 = 8 #### 8"}]  # fmt: skip
    assert load_problems(write("few.json", json.dumps(rows))) == [
        Problem("Half of 5?", "2.5"),
        Problem("Text?", "yes\nor no"),
        Problem("Clips?", "72", ("She sold 48/2 = <<48/2=24>>24.", "Altogether 48+24 = 72.")),
        Problem("One line?", "8", ("7 + 1 = 8",)),
    ]


def test_every_line_that_is_not_blank_is_a_step(write):
    answer = "Terry will be 40.\r\n\n \nNow he is <<40-10=30>>30.  \n#### 30\nDone."
    [problem] = load_problems(write("blank.json", json.dumps([{"question": "How old?", "answer": answer}])))
    assert problem == Problem("How old?", "30", ("Terry will be 40.", "Now he is <<40-10=30>>30."))


def test_maths_form_is_understood(write):
    rows = [{"problem": "Half of $1$?", "level": "Level 1", "type": "Algebra",
             "solution": "We halve it.\n\nThat is $1\\div2$,\nso $\\boxed{\\frac{1}{2}}$."},
            {"id": 7, "problem": "Seven?", "solution": "$\\fbox{7}$ is it."},
            {"id": "a", "problem": "Bare?", "solution": " x+1 "}, {"id": 1.5, "problem": "A number?", "solution": 12},
            {"id": None, "problem": "Marked?", "solution": "#### Step 1\nWe add: $\\boxed{8}$"},
            {"problem": "As GSM8K?", "solution": "We add.\n#### 9"}, {"question": "Boxed?", "answer": "It is \\boxed 5"}]  # fmt: skip
    assert load_problems(write("maths.jsonl", "\n".join(map(json.dumps, rows)))) == [
        Problem("Half of $1$?", "\\frac{1}{2}", ("We halve it.", "That is $1\\div2$,", "so $\\boxed{\\frac{1}{2}}$.")),
        Problem("Seven?", "7", ("$\\fbox{7}$ is it.",)),
        Problem("Bare?", "x+1"),
        Problem("A number?", "12"),
        Problem("Marked?", "8", ("#### Step 1", "We add: $\\boxed{8}$")),
        Problem("As GSM8K?", "9", ("We add.",)),
        Problem("Boxed?", "5", ("It is \\boxed 5",)),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"problem": "a", "solution": "It is\n5."}, r"its solution has several lines, and no \\boxed\{…\} or #### says which"),
        ({"problem": "a", "solution": "It is\n\\boxed{5"}, "its solution has several lines"),
        ({"problem": "a", "answer": "5"}, "its solution is None"),
        ({"problem": " ", "solution": "5"}, "its problem is ' '"),
        ({"problem": "a", "solution": True}, "its solution is True"),
        ({"problem": "a", "solution": ["5"]}, r"its solution is \['5'\]"),
        ({"id": 3}, "its question is None"),
        ({"question": "a", "answer": "5\n####"}, "its answer has 1 marks #### and '' behind the first, not one answer"),
        ({"question": "a", "answer": "#### 5\n#### 6"}, "its answer has 2 marks #### and '5' behind the first"),
    ],
)
def test_rows_without_one_answer_are_refused_with_the_reason(write, row, reason):
    with pytest.raises(ValueError, match=rf'1 of 1 rows are not .*"problem": text, "solution": .*row 1: {reason}'):
        load_problems(write("bad.json", json.dumps([row])))


def test_numbers_are_written_out_and_what_is_none_is_refused(write):
    rows = [{"question": "Large?", "answer": 1e22}, {"question": "Small?", "answer": -1e-7}]
    assert [p.answer for p in load_problems(write("far.json", json.dumps(rows)))] == ["1" + 22 * "0", "-0.0000001"]
    for answer in ("NaN", "Infinity", "1e309"):
        with pytest.raises(ValueError, match=r"row 1: its answer is (nan|inf), which is no number"):
            load_problems(write("none.json", f'[{{"question": "What?", "answer": {answer}}}]'))


def test_only_a_line_end_ends_a_row(write):
    rows = [{"question": "One\u2028two\x85three?", "answer": "3"}] * 2
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert load_problems(write("lines.jsonl", text)) == [Problem("One\u2028two\x85three?", "3")] * 2


def test_refused_rows_are_named_by_their_numbers(write):
    rows = ['{"question": "a", "answer": "b"}', "", '{"question": " ", "answer": "b"}', '{"question": "a"}', "[1]", "{oops",
            '{"question": "a", "answer": true}']  # fmt: skip
    message = (r"5 of 6 rows are not .*: row 3: its question is ' '; row 4: its answer is None; row 5: it is a list; row 6: .*; "
               r"row 7: its answer is True\. Mend or remove them")  # fmt: skip
    with pytest.raises(ValueError, match=message):
        load_problems(write("bad.jsonl", "\n".join(rows)))


def test_many_refused_rows_are_counted(write):
    with pytest.raises(ValueError, match=r"25 of 25 rows.*row 10: it is a int; and 15 more\. Mend"):
        load_problems(write("bad.json", json.dumps([1] * 25)))


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "holds no problem"), ('{"question": "a", "answer": "b"}', "holds a JSON dict; it must be a list")],
)
def test_files_that_hold_no_list_of_problems_are_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        load_problems(write("bad.json", text))


def test_a_file_that_is_not_there_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match=r"nowhere.json was not found; looked for"):
        ProblemPool("nowhere.json")


def questions(pool: ProblemPool, count: int = 300, seed: int = 0) -> set[str]:
    generator = rng(seed)
    return {pool.draw(generator).question for _ in range(count)}


@pytest.mark.parametrize("source", [PROBLEMS, "chain_sum", "reasoning_gym:gcd"], ids=["a list", "chain_sum", "reasoning_gym"])
def test_no_question_is_on_both_sides(source):
    if source == "reasoning_gym:gcd":
        pytest.importorskip("reasoning_gym")
    train, test = (questions(ProblemPool(source, split, 0.3)) for split in ("train", "test"))
    assert train and test and not train & test
    assert all(is_held_out(question, 0.3) for question in test)


def test_order_copies_and_spaces_move_no_question_to_the_other_side():
    copies = [Problem(f" {problem.question} ", problem.answer) for problem in reversed(PROBLEMS * 2)]
    for split in ("train", "test"):
        ours = {problem.question for problem in ProblemPool(PROBLEMS, split, 0.3).problems or []}
        theirs = {problem.question.strip() for problem in ProblemPool(copies, split, 0.3).problems or []}
        assert ours == theirs
    assert (
        len(ProblemPool(PROBLEMS, "train", 0.3).problems or []) + len(ProblemPool(PROBLEMS, "test", 0.3).problems or []) == 200
    )


def test_a_larger_test_split_contains_the_smaller():
    small, large = ({p.question for p in ProblemPool(PROBLEMS, "test", share).problems or []} for share in (0.1, 0.5))
    assert small < large


def test_without_a_test_split_everything_is_for_training():
    assert ProblemPool(PROBLEMS, share=0.0).problems == PROBLEMS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0.0, "split": "test"}, r"the test split's share is 0.0, with split='test'"),
        ({"share": 1.0}, r"must lie in \[0, 1\)"),
        ({"split": "validation"}, "split='validation' is not known"),
        ({"source": "sums"}, "problems='sums' is not known; use \"chain_sum\""),
        ({"source": []}, "none of the 0 problems"),
        (
            {"source": [p for p in PROBLEMS if not is_held_out(p.question)], "split": "test"},
            "none of the .* is on the side 'test'",
        ),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProblemPool(**{"source": PROBLEMS} | arguments)


def test_a_source_with_too_few_problems_is_an_error():
    pool = ProblemPool(lambda generator, difficulty: Problem("always this", "1"), "test")
    assert not is_held_out("always this")
    with pytest.raises(ValueError, match=r"none of 10000 problems that .* drew at difficulty 0.2 is on the side 'test'"):
        pool.draw(rng(), 0.2)


def test_draws_follow_the_generator():
    for source in (PROBLEMS, "chain_sum"):
        pool = ProblemPool(source)
        assert [pool.draw(rng(3)) for _ in range(2)] == [pool.draw(rng(3)) for _ in range(2)]
        assert pool.draw(rng(3)) != pool.draw(rng(4))


def test_the_normal_difficulty_is_what_the_reasoner_was_made_for():
    """Half-way and "normal" are the sums of `chain_sum` with its own arguments, draw for draw."""
    for seed in range(200):
        usual = chain_sum(rng(seed))
        assert chain_sums(rng(seed)) == chain_sums(rng(seed), 0.5) == usual
    pool = ProblemPool("chain_sum")
    assert pool.share == HELD_OUT_SHARE


def test_sums_grow_with_the_difficulty():
    def sizes(difficulty: float) -> tuple[set[int], int]:
        drawn = [chain_sums(rng(seed), difficulty).question.removeprefix("What is ").removesuffix("?") for seed in range(400)]
        numbers = [[int(word) for word in question.split()[::2]] for question in drawn]
        return {len(terms) for terms in numbers}, max(map(max, numbers))

    assert sizes(0.0) == ({2, 3}, 3)
    assert sizes(0.5) == ({4, 5}, 9)
    assert sizes(1.0) == ({6, 7}, 27)


@pytest.mark.parametrize("difficulty", [-0.1, 1.1, float("nan"), "hard"])
def test_a_difficulty_is_a_number_from_0_to_1(difficulty):
    with pytest.raises(ValueError, match=r"it is a number from 0 \(easiest\) to 1"):
        ProblemPool("chain_sum").draw(rng(), difficulty)
