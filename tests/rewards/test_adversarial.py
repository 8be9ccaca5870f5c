"""What a policy would try on the grader and the calculator: each case with its verdict, within bounded time, in any thread."""

import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from gymformer.rewards.answers import boxed_answer, hash_answer, is_correct
from gymformer.rewards.calculator import CalculatorError, agrees, annotations, calculate, splice

TIME = 30  # seconds; a stall, not a figure of speed

# What is written after "####" or given as the answer, the right answer, and whether it is right.
GRADED = [
    # several answers, hedges, sentences
    ("5 or 6", "5", False), ("5, 6", "5", False), ("5 6", "5", False), ("5 #### 6", "5", False), ("5 #### 6", "6", False),
    ("5\n6", "6", False), ("5;6", "6", False), ("5/6", "5", False), ("{5,6}", "5", False), ("5=6", "5", False), ("5..6", "5", False),
    ("not 6, 5", "5", False), ("The answer is 5", "5", False), ("any number", "5", False), ("5 # 6", "5", False),
    ("5 // 6", "5", False), ("5 <!-- 6 -->", "5", False), ("5 % 6", "5", False), ("5 /* */", "5", False), ("5 %", "5", False),
    # the question again, an unfinished calculation, an annotation
    ("48/2=24", "24", False), ("<<48/2=24>>24", "24", False), ("2^3", "8", False), ("2*4", "8", False),
    ("(8)", "8", False), ("[8]", "8", False), ("8!", "8", False), ("||8||", "8", False), ("\\sqrt{64}", "8", False),
    ("48/2", "24", False), ("\\frac{48}{2}", "24", False), ("24/1", "24", False), ("48/2", "48/2", True), ("24", "48/2", True),
    # equal numbers, however they are written
    ("18.0", "18", True), ("1,000", "1000", True), ("1000", "1,000", True), ("$18", "18", True), ("\\$18", "18", True),
    ("$18.00", "18", True), ("18.", "18", True), ("+18", "18", True), ("018", "18", True), ("−5", "-5", True), ("-0", "0", True),
    ("0.50", "1/2", True), ("\\frac{1}{2}", "0.5", True), ("\\frac12", "\\frac{1}{2}", True), ("\\dfrac{2}{4}", "1/2", True),
    ("\\tfrac34", "0.75", True), ("1,\\!000", "1000", True), ("10,\\!080", "10080", True), ("10080", "10,\\!080", True),
    ("1{,}000", "1000", True), ("$\\frac{1}{2}$", "1/2", True),
    # not equal, or not a number
    ("18.0000001", "18", False), ("1,00", "100", False), ("10,00", "1000", False), ("1.000", "1000", False), ("0.333", "1/3", False),
    ("0.3333333333333333", "1/3", False), ("18%", "18", False), ("18 dollars", "18", False), ("1e1", "10", False),
    ("1_000", "1000", False), ("0x12", "18", False), ("0b11", "3", False), ("0o7", "7", False), ("--5", "5", False),
    ("1 1/2", "3/2", False), ("1\\frac{1}{2}", "1/2", False), ("3/0", "0", False), ("0/0", "0", False), ("\\frac{0}{0}", "0", False),
    ("\\frac10", "0", False), ("\\frac{1}{2}3", "1/2", False), ("\\frac123", "1/2", False),
    # infinities, nan, names
    ("nan", "5", False), ("nan", "0", False), ("inf", "5", False), ("-inf", "5", False), ("Infinity", "5", False), ("∞", "5", False),
    ("1e309", "5", False), ("1e999999999", "5", False), ("None", "0", False), ("True", "1", False), ("null", "0", False),
    ("\\infty", "5", False), ("zoo", "5", False), ("oo", "\\infty", False),
    # digits of other scripts
    ("１８", "18", False), ("١٨", "18", False), ("१८", "18", False), ("¹⁸", "18", False), ("½", "1/2", False), ("Ⅴ", "5", False),
    ("𝟏𝟖", "18", False), ("5\u200b", "5", False), ("\u202e81", "18", False), ("5\u00a0", "5", True),
    # huge
    ("9" * 5000, "9", False), ("1" + "0" * 5000, "1", False), ("0" * 5000 + "5", "5", False), ("5" + " " * 100_000, "5", False),
    ("5." + "0" * 5000, "5", False), ("1/" + "9" * 5000, "0", False), ("(" * 5000 + "5" + ")" * 5000, "5", False),
    ("-" * 5000 + "5", "5", False), (" " * 60 + "5 " * 30, "5", False), ("$" * 119, "5", False), ("5" + "," * 100, "5", False),
    # code
    ("__import__('os').getpid()", "5", False), ("f'{5}'", "5", False), ("exec('5')", "5", False), ("5\x00", "5", False),
    ("\x005", "5", False), ("'5'", "5", False), ("lambda: 5", "5", False), ("5 if 1 else 6", "5", False), ("%s", "5", False),
    ("5%n", "5", False), ("{5}", "5", False), ("\x1b[31m5", "5", False), ("5\\", "5", False), ("\\", "5", False),
    # blank
    ("", "5", False), ("   ", "5", False), (".", "5", False), ("$", "5", False), ("-", "5", False), ("####", "5", False), ("5", "", False),
    # formulas: towers of powers, brackets, letters, braces that do not close
    ("9^9^9^9", "\\sqrt{2}", False), ("9^{9^{9^{9}}}", "\\sqrt{2}", False), ("((9^{99})^{99})^{99}", "\\sqrt{2}", False),
    ("(x+y+z)^{999}", "x^2", False), ("x^x^x", "x^2", False), ("(" * 59 + "x" + ")" * 59, "x^2", False), ("{" * 59 + "x", "x^2", False),
    ("\\sqrt{" * 20 + "2" + "}" * 20, "\\sqrt{2}", False), ("\\frac{" * 20 + "x", "x^2", False), ("x}{", "x^2", False),
    ("(a+b+c+d+e+f+g+h)^{12}", "(a+b+c+d+e+f+g+h)^2", False), ("(\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7})^{999}", "\\sqrt{2}", False),
    ("\\sqrt{2}} , 5 {", "\\sqrt{2}", False), ("\\boxed{x^2", "x^2", False),
    ("1000000007\\log(10) x", "\\log(x)", False), ("x+1000000007", "\\log(x)-x", False), ("9^9\\log(10)+x", "\\log(x)", False),
    ("x^2}", "x^2", False),
    ("\\sqrt{2} \\text{ or } 3", "\\sqrt{2}", False),
    ("\\sqrt{2}, 3", "\\sqrt{2}", False), ("\\sqrt{2}; 3", "\\sqrt{2}", False), ("\\sqrt{2} = 3", "\\sqrt{2}", False),
    ("3 = \\sqrt{2}", "\\sqrt{2}", False), ("\\sqrt{2} % 3", "\\sqrt{2}", False), ("\\{\\sqrt{2}, 3\\}", "\\sqrt{2}", False),
    ("\\sqrt{2} \\quad 3", "\\sqrt{2}", False), ("\\sqrt{2} \\pm 1", "\\sqrt{2}", False), ("x", "y", False), ("x", "\\sqrt{2}", False),
    ("100000000000!", "x", False), ("\\sum_{n=1}^{99999999} n", "x", False), ("\\int_0^1 x", "\\frac{1}{x}", False),
    ("\\input{/etc/passwd}", "x^2", False), ("\\def\\x{\\x}\\x", "x^2", False), ("\\text{" * 20 + "x" + "}" * 20, "x^2", False),
    ("a" * 100 + "!", "x^2", False), ("x" + "+x" * 5000, "x^2", False), ("1" * 119, "\\sqrt{2}", False),
    # formulas that are equal
    ("\\sqrt{8}", "2\\sqrt{2}", True), ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", True), ("0.5\\pi", "\\frac{\\pi}{2}", True),
    ("(x-1)(x+1)", "x^2-1", True), ("x = 2\\sqrt{3}", "2\\sqrt{3}", True), ("\\left(3, \\frac{\\pi}{2}\\right)", "(3,\\pi/2)", True),
    ("(\\frac{\\pi}{2},3)", "(3,\\frac{\\pi}{2})", False), ("[0,1)", "[0,1]", False), ("\\text{(B)}", "(B)", True), ("\\text{B}", "A", False),
]  # fmt: skip

# A whole text of GSM8K's form or MATH's, how its answer is found, the right answer, and whether it is right.
READ = [
    (hash_answer, "Q: what is 2+3? #### 5 is what they want.\n#### 6", "6", False),
    (hash_answer, "#### 5\n#### 6\n#### 7", "7", False),
    (hash_answer, "#### \n5", "5", False),
    (hash_answer, "####" * 100_000, "5", False),
    (hash_answer, "#" * 400_000 + "5", "5", False),
    (hash_answer, "five #### 5\nthanks", "5", True),
    (hash_answer, "answer: 5", "5", False),
    (hash_answer, "＃＃＃＃ 5", "5", False),
    (boxed_answer, "\\boxed{5} or \\boxed{6}", "5", False),
    (boxed_answer, "\\boxed{5, 6}", "5", False),
    (boxed_answer, "\\boxed{5} \\boxed{", "5", True),
    (boxed_answer, "\\boxed{" * 30_000 + "5", "5", False),
    (boxed_answer, "\\boxed{" * 30_000 + "5" + "}" * 30_000, "5", True),
    (boxed_answer, "{" * 100_000 + "\\boxed{5}", "5", True),
    (boxed_answer, "\\boxed{5" + "}" * 100_000, "5", True),
    (boxed_answer, "\\boxed{\\text{5}}", "5", False),
    (boxed_answer, "% \\boxed{6}\n\\boxed{5}", "5", True),
    (boxed_answer, "boxed{5}", "5", False),
    (boxed_answer, "\\boxed" + " " * 100_000 + "{5}", "5", True),
]

# An expression, and its value or a part of what the refusal says.
CALCULATED = [
    ("9**9**9", "exponent"), ("9^9^9^9", "exponent"), ("9**-9**9", "exponent"), ("(9**99)**99", "more than 30 digits"),
    ("2**(2**(2**(2**2)))", "exponent"), ("10**100", "more than 30 digits"), ("1**9999999", "exponent"), ("0**0**0", 0),
    ("0.1**99", "more than 30 digits"), ("2**0.5", "exponent"), ("(-8)**(1/3)", "exponent"), ("0**-9", "division by zero"),
    ("((((((((((((((((((((2))))))))))))))))))))", 2), ("(" * 21 + "2" + ")" * 21, "21 deep"), ("(" * 5000 + "2" + ")" * 5000, "characters"),
    (")(", "no complete expression"), ("(2", "no complete expression"), ("2)", "no complete expression"), ("()", "no complete"),
    ("-" * 99 + "2", -2), ("-" * 100 + "2", "characters"), ("9" * 16, "longer than 15 digits"), ("9" * 100_000, "characters"),
    ("0" * 16 + "1", "longer than 15 digits"), ("1/3/7/11/13", Fraction(1, 3003)), ("1/0", "division by zero"), ("0/0", "division by zero"),
    ("1/(1-1)", "division by zero"), ("1//0", "division by zero"), ("1e309", "'e'"), ("inf", "'i'"), ("nan", "'n'"), ("∞", "'∞'"),
    ("٣+٣", "'٣'"), ("３+３", "'３'"), ("2²", "'²'"), ("½", "'½'"), ("2＋2", "'＋'"), ("2×2", "'×'"), ("6÷2", "'÷'"), ("5−2", "'−'"),
    ("__import__('os')", "'_'"), ("().__class__", "'.'"), ("f'{2}'", "'f'"), ("lambda:2", "'l'"), ("2if 1else 3", "'i'"),
    ("[2][0]", "'['"), ("{2}", "'{'"), ("'2'*9", '"\'"'), ("2;3", "';'"), ("2,3", "','"), ("2=2", "'='"), ("2==2", "'='"), ("2<3", "'<'"),
    ("2 # 3", "'#'"), ("2\n+3", r"'\n'"), ("2\\\n+3", r"'\\'"), ("2\x00", r"'\x00'"), ("\ufeff2", r"'\ufeff'"), ("2 3", "no complete"),
    ("2(3)", "no complete"), ("(2)(3)", "no complete"), ("2 1/2", "no complete"), ("5%", "'%'"), ("5%2", "'%'"), ("$5*2", "'$'"), ("€5", "'€'"),
    ("1_000", "'_'"), ("1,00", "','"), ("1,000,00", "','"), ("0x10", "'x'"), ("0b1", "'b'"), ("1j", "'j'"), ("2!", "'!'"), ("~2", "'~'"),
    ("2|1", "'|'"), ("x", "'x'"), ("two", "'t'"), ("", "no complete"), (" " * 101, "characters"), ("*" * 100, "no complete"),
    ("1.2.3", "no complete"),
    ("...", "'.'"), ("1+" * 49 + "1", 50), ("1+" * 1_000_000 + "1", "characters"),
]  # fmt: skip

# A text, and what the calculator writes after it.
SPLICED = [
    ("<<48/2=", "24>>"), ("<<9**9**9=", ""), ("<<" * 200_000 + "2+2=", "4>>"), ("<<2+2=" * 50_000, "4>>"), ("<<" + "2" * 500_000 + "=", ""),
    ("<<2+2=4>>=", ""), ("<<__import__('os')=", ""), ("<<1/0=", ""), ("<<٣+٣=", ""), ("<<\x00=", ""), ("<<2+2=\n", ""), ("＜＜2+2=", ""),
    ("<<0.0005*1=", "0.001>>"), ("<<-1/3=", "-0.333>>"), ("<<10**30=", "1" + 30 * "0" + ">>"),
]  # fmt: skip


def in_a_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns there, or the error that it raises."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(function(*arguments))
        except CalculatorError as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TIME)
    assert not thread.is_alive(), f"it takes more than {TIME} seconds"
    return outcome[0]


def short(argument: Any) -> str:
    return getattr(argument, "__name__", ascii(argument)[:40])


@pytest.mark.parametrize(("answer", "gold", "verdict"), GRADED, ids=short)
def test_the_grader_is_not_fooled(answer, gold, verdict):
    assert in_a_thread(is_correct, answer, gold) is verdict
    assert is_correct(answer, gold) is verdict


@pytest.mark.parametrize(("read", "text", "gold", "verdict"), READ, ids=short)
def test_an_answer_in_a_text_is_the_one_that_is_marked(read, text, gold, verdict):
    assert in_a_thread(lambda: is_correct(read(text) or "", gold)) is verdict
    assert is_correct(read(text) or "", gold) is verdict


@pytest.mark.parametrize(("expression", "outcome"), CALCULATED, ids=short)
def test_the_calculator_computes_or_says_why_not(expression, outcome):
    found = in_a_thread(calculate, expression)
    if isinstance(outcome, str):
        assert isinstance(found, CalculatorError) and outcome in str(found)
        assert annotations(f"<<{expression}=5>>") == [] or not any(map(agrees, annotations(f"<<{expression}=5>>")))
    else:
        assert found == outcome


@pytest.mark.parametrize(("text", "written"), SPLICED, ids=short)
def test_the_calculator_writes_only_what_it_computed(text, written):
    assert in_a_thread(splice, text) == written
