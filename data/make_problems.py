"""Makes the word problems and the problems in formulas that come along, in the forms of GSM8K and MATH.

python -m data.make_problems [--output FOLDER] [--seed 0] [--rows N]

No problem of a test file is in the other: on which side one is follows from its text alone (`is_held_out`).
"""

import argparse
import json
from collections.abc import Callable
from fractions import Fraction
from math import gcd, lcm
from pathlib import Path

import numpy as np

from gymformer.data.arithmetic import is_held_out
from gymformer.data.word_problems import in_gsm8k_form, word_problem

TRAIN, TEST = 1000, 200  # problems of each form
Row = dict[str, str]


def equation(rng: np.random.Generator) -> tuple[str, list[str]]:
    """a x + b = c, whose solution is a whole number."""
    a, x, b = (int(n) for n in rng.integers((2, -9, 1), (9, 9, 20), endpoint=True))
    c = a * x + b
    return f"Solve ${a}x + {b} = {c}$ for $x$.", [f"Subtracting ${b}$ gives ${a}x = {c - b}$.", f"So $x = \\boxed{{{x}}}$."]


def sum_of_fractions(rng: np.random.Generator) -> tuple[str, list[str]]:
    below = [int(n) for n in rng.integers(2, 9, size=2, endpoint=True)]
    above = [int(rng.integers(1, number)) for number in below]
    common = lcm(*below)
    scaled = [a * common // b for a, b in zip(above, below, strict=True)]
    (a, c), (b, d) = above, below
    return (f"Compute $\\frac{{{a}}}{{{b}}} + \\frac{{{c}}}{{{d}}}$. Express your answer as a common fraction in lowest terms.",
            [f"With the denominator ${common}$ this is $\\frac{{{scaled[0]}}}{{{common}}} + \\frac{{{scaled[1]}}}{{{common}}}$.",
             f"The sum is $\\boxed{{{in_latex(Fraction(sum(scaled), common))}}}$."])  # fmt: skip


def root(rng: np.random.Generator) -> tuple[str, list[str]]:
    """Asked for a number: the root itself would be an answer to the question how to write it."""
    outside, inside = int(rng.integers(2, 9, endpoint=True)), int(rng.choice([2, 3, 5, 6, 7, 10, 11, 13]))
    square = outside * outside
    return (f"Write $\\sqrt{{{square * inside}}}$ as $a\\sqrt{{b}}$, where $b$ is as small as possible. What is $a + b$?",
            [f"We have ${square * inside} = {square} \\cdot {inside}$, so it is ${outside}\\sqrt{{{inside}}}$.",
             f"So $a + b = {outside} + {inside} = \\boxed{{{outside + inside}}}$."])  # fmt: skip


def area(rng: np.random.Generator) -> tuple[str, list[str]]:
    radius = int(rng.integers(2, 60, endpoint=True))
    return (f"A circle has radius ${radius}$. What is its area? Express your answer in terms of $\\pi$.",
            ["The area of a circle is $\\pi r^2$.", f"Here it is $\\pi \\cdot {radius}^2 = \\boxed{{{radius * radius}\\pi}}$."])  # fmt: skip


def divisor(rng: np.random.Generator) -> tuple[str, list[str]]:
    factors = [int(n) for n in rng.integers((2, 2, 2), (12, 12, 12), endpoint=True)]
    first, second = factors[0] * factors[1], factors[0] * factors[2]
    common = gcd(first, second)
    a, b = first // common, second // common
    return (f"What is the greatest common divisor of ${first}$ and ${second}$?",
            [f"Both are divisible by ${common}$: ${first} = {common} \\cdot {a}$ and ${second} = {common} \\cdot {b}$.",
             f"${a}$ and ${b}$ have no common divisor, so it is $\\boxed{{{common}}}$."])  # fmt: skip


def product(rng: np.random.Generator) -> tuple[str, list[str]]:
    a, b = (int(n) for n in rng.integers(1, 12, size=2, endpoint=True))
    return (f"The product $(x + {a})(x - {b})$ is $x^2 + px + q$. What is $p - q$?",
            [f"It is $x^2 - {b}x + {a}x - {a * b}$, so $p = {a - b}$ and $q = {-a * b}$.",
             f"So $p - q = {a - b} + {a * b} = \\boxed{{{a - b + a * b}}}$."])  # fmt: skip


FAMILIES: tuple[Callable[[np.random.Generator], tuple[str, list[str]]], ...] = (
    equation, sum_of_fractions, root, area, divisor, product,
)  # fmt: skip


def in_math_form(rng: np.random.Generator) -> Row:
    problem, lines = FAMILIES[int(rng.integers(len(FAMILIES)))](rng)
    return {"problem": problem, "solution": "\n".join(lines)}


def in_latex(number: Fraction) -> str:
    return str(number) if number.denominator == 1 else f"\\frac{{{number.numerator}}}{{{number.denominator}}}"


def rows(draw: Callable[[], Row], key: str, count: int, *, held_out: bool) -> list[Row]:
    """`count` different problems of one side."""
    found: dict[str, Row] = {}
    while len(found) < count:
        row = draw()
        if is_held_out(row[key]) == held_out:
            found.setdefault(row[key], row)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="of each file, for a trial")
    options = parser.parse_args()
    words, formulas = (np.random.default_rng([options.seed, number]) for number in (3, 4))
    for name, key, draw in (("gsm8k_sample", "question", lambda: in_gsm8k_form(word_problem(words))),
                            ("math_sample", "problem", lambda: in_math_form(formulas))):  # fmt: skip
        for side, count, held_out in (("train", TRAIN, False), ("test", TEST, True)):
            path = options.output / name / f"{side}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(row, ensure_ascii=False) for row in rows(draw, key, options.rows or count, held_out=held_out))
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
