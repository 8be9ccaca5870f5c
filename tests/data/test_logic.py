"""Statements in words, and what follows from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gymformer.data.logic import Formula, atoms, entails, entails_by_sympy, evaluate, parse, truth_table

# The worlds of A, B are numbered 0 to 3: neither, A alone, B alone, both.
TRUE_IN = {
    "A": "0101",
    "not A": "1010",
    "A and B": "0001",
    "A or B": "0111",
    "either A or B, but not both": "0110",
    "A or B but not both": "0110",
    "Not both A and B": "1110",
    "If A then B": "1011",
    "if A then not B": "1110",
    "if not A then B": "0111",
    "A only if B": "1011",
    "A unless B": "0111",
    "A if and only if B": "1001",
    "not (A or B)": "1000",
    "not A or B": "1011",
    "A or B and not A": "0111",
    "if A then if B then A": "1111",
}


@pytest.mark.parametrize(("text", "worlds"), TRUE_IN.items())
def test_statements_hold_where_english_says(text, worlds):
    assert "".join(map(str, evaluate(parse(text), truth_table(["A", "B"])).astype(int))) == worlds


def test_an_atom_is_whatever_words_are_left():
    assert atoms(parse("If the ground is wet then Bob and Ann are cold")) == ["the ground is wet", "Bob", "Ann are cold"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a proposition is expected at the end"),
        ("If A", "'then' is expected at the end"),
        ("A or", "a proposition is expected at the end"),
        ("(A", r"'\)' is expected"),
        ("A )", "nothing is expected before"),
        ("either A or B", "may allow both or not"),
        ("A or B or C but not both", "of 2 things, not of 3"),
        ("not " * 101 + "A", "more than 100 times"),
        ("(" * 5000 + "A", "more than 100 times"),
        ("if " * 5000 + "A", "more than 100 times"),
    ],
)
def test_what_is_no_statement_is_quoted_and_explained(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


formulas = st.recursive(
    st.sampled_from("PQRS").map(lambda name: Formula("atom", name=name)),
    lambda inner: st.one_of(
        inner.map(lambda part: Formula("not", (part,))),
        st.tuples(st.sampled_from(["and", "or", "implies", "iff"]), inner, inner).map(lambda x: Formula(x[0], x[1:])),
    ),
    max_leaves=8,
)


@given(formulas)
@settings(max_examples=60, deadline=None)
def test_a_formula_reads_as_what_it_is(formula):
    names = [*"PQRS"]
    table = truth_table(names)
    assert np.array_equal(evaluate(parse(str(formula)), table), evaluate(formula, table))


@given(st.lists(formulas, max_size=4), formulas)
@settings(max_examples=60, deadline=None)
def test_the_truth_table_agrees_with_sympy(premises, conclusion):
    pytest.importorskip("sympy")
    assert entails(premises, conclusion) == entails_by_sympy(premises, conclusion)


def test_modus_ponens_holds_and_its_converse_does_not():
    rule = parse("If rain then wet")
    assert entails([rule, parse("rain")], parse("wet"))
    assert not entails([rule, parse("wet")], parse("rain"))
    assert entails([rule, parse("not wet")], parse("not rain"))


def test_too_many_propositions_are_refused():
    with pytest.raises(ValueError, match=r"17 propositions .* at most 16"):
        truth_table([str(number) for number in range(17)])
