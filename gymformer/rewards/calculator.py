"""The calculator of GSM8K: what stands in `<<48/2=24>>`, worked out exactly and without running code."""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gymformer.rewards.answers import plain_number

__all__ = ["Annotation", "CalculatorError", "agrees", "annotations", "calculate", "splice", "written"]

LONGEST = 100  # characters of an expression; the longest of GSM8K has 36
MOST_DIGITS = 15  # of one number
MOST_BRACKETS = 20  # one within another
LARGEST_EXPONENT = 100
LARGEST = 10**30  # of numerators and denominators, also on the way
DECIMALS = 3  # of a result that has more; no result of GSM8K has

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+"
# A number, a sign or spaces; or anything else, which is refused.
PIECE = re.compile(rf"(?P<number>{NUMBER})|(?P<sign>\*\*|//|[-+*/^()])| +|(?P<unknown>.)", re.ASCII | re.DOTALL)
ANNOTATION = re.compile(r"<<([^<>=\n]*)=([^<>\n]*)>>")
OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip


class CalculatorError(ValueError):
    """An expression that is none, has no value, or is too large to work out."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """`<<expression=result>>`, both as they are written."""

    expression: str
    result: str


def calculate(expression: str) -> Fraction:
    """The value of `expression`, exactly.

    Numbers in the digits 0 to 9 ("5", "05", "12.", ".5", "1,000" in groups of three), + - * / and signs before a number,
    // (rounded down), ** or ^ with a whole exponent, round brackets, spaces; each binds as in Python. Raises CalculatorError,
    which says what is wrong, for everything else, for a division by zero, and for what is longer, deeper or larger than the
    limits of this module: they bound the time, and no power is taken before they are checked.
    """
    if len(expression) > LONGEST:
        raise CalculatorError(f"the expression has {len(expression)} characters; at most {LONGEST} are worked out")
    try:
        numbers, source = _pieces(expression)
        return _value(_tree(source), numbers)
    except CalculatorError as error:
        raise CalculatorError(f"{expression!r}: {error}") from error


def written(value: Fraction) -> str:
    """`value` as most annotations of GSM8K write it: "24", "0.2"; and "3.333", which none of them has to.

    At most `DECIMALS` decimals, rounded to the nearest (halves away from zero), without zeros at the end. The results of the data
    are all exact; 27,175 of the 27,998 are written thus, the others with fewer or more zeros (".5", "4.00") or as "3/4".
    """
    units, rest = divmod(abs(value) * 10**DECIMALS, 1)
    digits = str(int(units) + (rest >= Fraction(1, 2))).zfill(DECIMALS + 1)
    text = f"{digits[:-DECIMALS]}.{digits[-DECIMALS:]}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and text != "0" else text


def splice(text: str) -> str:
    """What the calculator writes after `text`: "24>>" if that ends in "<<48/2=", and "" where it has nothing to write."""
    start = text.rfind("<<", -(LONGEST + len("<<=")), len(text))
    if start < 0 or not text.endswith("="):
        return ""
    try:
        return f"{written(calculate(text[start + len('<<') : -len('=')]))}>>"
    except CalculatorError:
        return ""


def annotations(text: str) -> list[Annotation]:
    """All that are complete, in order; what is written in them need not be right, nor an expression."""
    return [Annotation(expression, result) for expression, result in ANNOTATION.findall(text)]


def agrees(annotation: Annotation) -> bool:
    """Whether the result is the expression's value: exactly, rounded to the decimals that it is written with, or as `written`.

    So 2/3 is 0.7, 0.67 and 0.667, but not 1: whole numbers are exact. Of a half, such as 1/8 with two decimals, either neighbour
    will do (0.12 and 0.13). A result that is no number, and an expression that cannot be calculated, agree with nothing.
    """
    result = plain_number(annotation.result)
    if result is None:
        return False
    try:
        value = calculate(annotation.expression)
    except CalculatorError:
        return False
    decimals = sum(map(str.isdigit, annotation.result.partition(".")[2]))
    if decimals and abs(value - result) * 10**decimals <= Fraction(1, 2):
        return True
    return result in (value, Fraction(written(value)))


def _pieces(expression: str) -> tuple[list[Fraction], str]:
    """The numbers of an expression, and the expression with the index of each in its place: no other text reaches Python's
    parser, which would refuse 05 and round 0.1."""
    numbers: list[Fraction] = []
    source: list[str] = []
    for piece in PIECE.finditer(expression):
        if piece["unknown"]:
            raise CalculatorError(f"it has {piece['unknown']!r}, which is none of 0123456789.,+-*/^() and no part of a number")
        if digits := piece["number"]:
            if sum(map(str.isdigit, digits)) > MOST_DIGITS:
                raise CalculatorError(f"{digits} is longer than {MOST_DIGITS} digits")
            source.append(str(len(numbers)))
            numbers.append(Fraction(digits.replace(",", "")))
        elif sign := piece["sign"]:
            source.append("**" if sign == "^" else sign)
    depth = deepest = 0
    for sign in source:
        depth += (sign == "(") - (sign == ")")
        deepest = max(deepest, depth)
    if deepest > MOST_BRACKETS:
        raise CalculatorError(f"its brackets are {deepest} deep; at most {MOST_BRACKETS} are worked out")
    return numbers, " ".join(source)


def _tree(source: str) -> ast.expr:
    try:
        return ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise CalculatorError("it is no complete expression of numbers, signs and brackets") from error


def _value(tree: ast.expr, numbers: list[Fraction]) -> Fraction:
    match tree:
        case ast.Constant(value=int(index)):
            return numbers[index]
        case ast.UnaryOp(op=operation, operand=operand) if type(operation) in OPERATIONS:
            return OPERATIONS[type(operation)](_value(operand, numbers))
        case ast.BinOp(left=left, op=operation, right=right):
            result = _combined(_value(left, numbers), operation, _value(right, numbers))
        case _:
            raise CalculatorError("it is no complete expression of numbers, signs and brackets")
    if max(abs(result.numerator), result.denominator) > LARGEST:
        raise CalculatorError(f"it leads to numbers of more than {len(str(LARGEST)) - 1} digits")
    return result


def _combined(left: Fraction, operation: ast.operator, right: Fraction) -> Fraction:
    match operation:
        case ast.Div() | ast.FloorDiv() if right == 0:
            raise CalculatorError("division by zero")
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return Fraction(left // right)
        case ast.Pow():
            return _power(left, right)
    return OPERATIONS[type(operation)](left, right)


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > LARGEST_EXPONENT:
        raise CalculatorError(f"an exponent is a whole number of at most {LARGEST_EXPONENT}, not {written(exponent)}")
    if base == 0 and exponent < 0:
        raise CalculatorError("division by zero")
    return base ** int(exponent)
