"""The calculator: exact values, refusals that say why, and what it writes into a text."""

import math
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymformer.rewards.calculator import (
    LARGEST,
    LARGEST_EXPONENT,
    LONGEST,
    MOST_BRACKETS,
    MOST_DIGITS,
    Annotation,
    CalculatorError,
    agrees,
    annotations,
    calculate,
    splice,
    written,
)

VALUES = {
    "48/2": 24, "2+2": 4, " 48 / 2 ": 24, "100-50-30-15": 5, "1+5*2": 11, "(1+5)*2": 12, "7-(3-2)": 6, "8/4/2": 1,
    "2/3": Fraction(2, 3), "1/3*3": 1, "0.1+0.2": Fraction(3, 10), ".5/100": Fraction(1, 200), "12.": 12, "12.*2": 24, "05": 5,
    "007+01": 8, "1,000+1": 1001, "1,234,567.5": Fraction(2469135, 2), "-153": -153, "--5": 5, "+5": 5, "-+5": -5, "71+-3": 68,
    "-18/-2": 9, "-48+21+(-3)": -30, "560//10": 56, "7//2": 3, "-7//2": -4, "7.5//2": 3, "2**10": 1024, "2^10": 1024,
    "2**-1": Fraction(1, 2), "-2**2": -4, "(-2)**2": 4, "2**3**2": 512, "1.5^2": Fraction(9, 4), "0**0": 1, "2**(4/2)": 4,
    "((((((3))))))": 3, "999999999999999+1": 10**15, "0/5": 0,
}  # fmt: skip
REFUSED = {
    "": "no complete expression", "   ": "no complete expression", "()": "no complete expression", "2+": "no complete expression",
    "*2": "no complete expression", "2 3": "no complete expression", "1.5.2": "no complete expression",
    "2(3)": "no complete expression", "(2)(3)": "no complete expression", "(2": "no complete expression",
    "2)": "no complete expression", "2***3": "no complete expression", "2* *3": "no complete expression",
    "2^^3": "no complete expression", "1,0000": "it has ','", ".": r"it has '\.'", "1,00": "it has ','",
    "1000,000": "it has ','", "(1,2)": "it has ','", "1_000": "it has '_'", "1e3": "it has 'e'", "0x10": "it has 'x'",
    "2x": "it has 'x'", "x": "it has 'x'", "inf": "it has 'i'", "nan": "it has 'n'", "5%": "it has '%'", "$5": r"it has '\$'",
    "5!": "it has '!'", "5#6": "it has '#'", "2=2": "it has '='", "4\n+4": r"it has '\\n'", "4\t+4": r"it has '\\t'",
    "4\u00a0+4": "it has", "٣+٤": "it has '٣'", "２+２": "it has '２'", "½": "it has '½'", "2²": "it has '²'", "2×2": "it has '×'",
    "5−3": "it has '−'", "\x00": "it has", "1\x00": "it has", "[1]": r"it has '\['", "{1}": "it has", "'1'": "it has", "~1": "it has '~'",
    "1if 1else 1": "it has 'i'", "1<2": "it has '<'", "1:=2": "it has ':'", "2@3": "it has '@'", "2;3": "it has ';'", "1j": "it has 'j'",
    "1/0": "division by zero", "1/(2-2)": "division by zero", "5//0": "division by zero", "0**-1": "division by zero",
    "2/0.0": "division by zero", "4**0.5": r"an exponent is a whole number of at most 100, not 0\.5",
    "9**9**9": "of at most 100, not 387420489", "9^9^9": "of at most 100", "2**101": "of at most 100, not 101", "2**-101": "of at most",
    "9**99": "more than 30 digits", "9**99**9": "more than 30 digits|of at most", "0.01**16": "more than 30 digits",
    "(9**9)**9": "more than 30 digits",
    "999999999999999*999999999999999*999999999999999": "more than 30 digits",
    "9" * (MOST_DIGITS + 1): "longer than 15 digits", "0." + "0" * MOST_DIGITS: "longer than 15 digits",
    "(" * (MOST_BRACKETS + 1) + "1" + ")" * (MOST_BRACKETS + 1): "brackets are 21 deep; at most 20",
    "(" * 90: "brackets are 90 deep", "1+" * 50 + "1": "has 101 characters; at most 100",
    "__import__('os')": "it has '_'", "f'{1}'": "it has 'f'", "lambda:1": "it has 'l'",
}  # fmt: skip


@pytest.mark.parametrize(("expression", "value"), VALUES.items())
def test_expressions_have_their_exact_value(expression, value):
    assert calculate(expression) == value
    assert type(calculate(expression)) is Fraction


@pytest.mark.parametrize(("expression", "reason"), REFUSED.items())
def test_everything_else_is_refused_with_its_reason(expression, reason):
    with pytest.raises(CalculatorError, match=reason):
        calculate(expression)


def test_a_refusal_names_the_expression():
    with pytest.raises(ValueError, match=r"^'1/0': division by zero$"):
        calculate("1/0")


def test_what_is_just_within_the_limits_is_worked_out():
    deep = "(" * MOST_BRACKETS + "1" + ")" * MOST_BRACKETS
    assert calculate(deep) == 1
    assert calculate("1+" * (LONGEST // 2 - 1) + "10") == LONGEST // 2 + 9
    assert calculate("9" * MOST_DIGITS) == 10**MOST_DIGITS - 1
    assert calculate(f"1**{LARGEST_EXPONENT}") == 1
    assert calculate("10**30") == LARGEST
    assert calculate("-" * (LONGEST - 1) + "1") == -1


@given(st.recursive(
    st.integers(0, 999).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map("".join) | inner.map("({})".format) | inner.map("-{}".format),
    max_leaves=6,
))  # fmt: skip
def test_it_computes_what_python_does(expression):
    """The slow definition: Python's own evaluation of the same text, with a Fraction for every number."""
    exact = re.sub(r"\d+", lambda digits: f"Fraction({int(digits[0])})", expression)
    try:
        expected = eval(exact, {"Fraction": Fraction})
    except ZeroDivisionError:
        expected = None
    try:
        assert calculate(expression) == expected
    except CalculatorError as error:
        assert expected is None or len(expression) > LONGEST or "30 digits" in str(error)


@given(st.text(alphabet="0123456789.,+-*/^() ", max_size=LONGEST) | st.text(max_size=LONGEST))
def test_any_text_has_a_bounded_value_or_is_refused_at_once(text):
    start = time.process_time()
    try:
        value = calculate(text)
    except CalculatorError:
        pass
    else:
        assert max(abs(value.numerator), value.denominator) <= LARGEST
    assert time.process_time() - start < 10  # a stall, not a figure of speed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("24", "24"), ("-21", "-21"), ("0", "0"), ("0.2", "0.2"), ("-0.5", "-0.5"), ("37/2", "18.5"), ("4.00", "4"), ("0.05", "0.05"),
        ("10/3", "3.333"), ("20/3", "6.667"), ("1/16", "0.063"), ("-1/16", "-0.063"), ("0.0004", "0"), ("-0.0004", "0"), ("0.9995", "1"),
        ("999.9999", "1000"), ("1200000", "1200000"), ("1e20", "1" + 20 * "0"),
    ],
)  # fmt: skip
def test_results_are_written_with_at_most_three_decimals(value, text):
    assert written(Fraction(value)) == text


@given(st.fractions())
def test_writing_rounds_to_the_nearest_thousandth_and_halves_away_from_zero(value):
    thousandths = math.floor(abs(value) * 1000 + Fraction(1, 2))
    assert Fraction(written(value)) == Fraction(thousandths if value > 0 else -thousandths, 1000)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Natalia sold 48/2 = <<48/2=", "24>>"),
        ("<<1,000*3=", "3000>>"),
        ("<<10/3=", "3.333>>"),
        ("<<-5=", "-5>>"),
        ("<<4+4=8>> and <<8+8=", "16>>"),
        ("<<4+<<8+8=", "16>>"),
        ("<<<8+8=", "16>>"),
        ("48/2=", ""),
        ("<<48/2", ""),
        ("<<48/2= ", ""),
        ("<<48/2=24", ""),
        ("<<48/2=24>>", ""),
        ("<<48/2=24>> so x=", ""),
        ("<<2=2=", ""),
        ("<<=", ""),
        ("<<", ""),
        ("=", ""),
        ("", ""),
        ("<<1/0=", ""),
        ("<<9**9**9=", ""),
        ("<<2\n+2=", ""),
        ("<<" + "1+" * 49 + "10=", "59>>"),
        ("<<" + "1+" * 50 + "1=", ""),
    ],
)
def test_a_result_is_written_where_an_annotation_waits_for_one(text, result):
    assert splice(text) == result


def test_only_the_end_of_a_long_text_is_read():
    long = "<<1+1=2>> " * 200_000
    start = time.process_time()
    assert [splice(f"{long}<<{n}+1=") for n in range(20)] == [f"{n + 1}>>" for n in range(20)]
    assert time.process_time() - start < 5


def test_annotations_are_found_in_order():
    text = "She sold 48/2 = <<48/2=24>>24, and <<.5*.2=.1>>.1; <<-1=-1>>, <<=>>, <<x=y>>. <<48/2>> <<1=2=3>> <<2+2=4> <<3=3>>"
    assert annotations(text) == [Annotation("48/2", "24"), Annotation(".5*.2", ".1"), Annotation("-1", "-1"), Annotation("", ""),
                                 Annotation("x", "y"), Annotation("1", "2=3"), Annotation("3", "3")]  # fmt: skip
    assert annotations("<<1+\n1=2>> <<1+1=\n2>>") == []


@pytest.mark.parametrize(
    "text", ["<<" * 100_000, "<<1=" * 100_000, "<<" + "=" * 200_000, "<<1=" + "2" * 200_000, ">>" * 100_000]
)
def test_annotations_are_found_in_linear_time(text):
    start = time.process_time()
    assert annotations(text) == []
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("expression", "result", "verdict"),
    [
        ("48/2", "24", True), ("48/2", "24.00", True), ("48/2", "25", False), ("48/2", "-24", False), (".5/100", ".005", True),
        ("1/3", "0.33", True), ("1/3", ".3", True), ("1/3", "0.34", False), ("2/3", "0.67", True), ("2/3", "0.66", False),
        ("2/3", "0.7", True), ("2/3", "1", False), ("1/3", "1", False), ("10/3", "3", False), ("10/3", "4", False),
        ("1/8", "0.12", True), ("1/8", "0.13", True), ("1/8", "0.14", False), ("5/2", "2", False), ("5/2", "3", False),
        ("2.9996*1", "3", True), ("2.999*1", "3", False), ("3/4", "3/4", True), ("3/4", "2/3", False), ("3/4", "6/8", True),
        ("1000*2", "2,000", True), ("1/0", "0", False), ("2+2", "four", False), ("2+2", "", False), ("2+2", "2=3", False),
        ("x", "5", False), ("9**9**9", "5", False), ("10/3", "3.330", False),
    ],
)  # fmt: skip
def test_a_result_agrees_if_it_is_exact_or_rounded_to_its_decimals(expression, result, verdict):
    assert agrees(Annotation(expression, result)) == verdict


@given(st.integers(0, 999), st.integers(1, 999))
def test_what_it_writes_agrees_with_what_it_is_asked(above, below):
    text = f"<<{above}/{below}="
    [annotation] = annotations(text + splice(text))
    assert agrees(annotation)
