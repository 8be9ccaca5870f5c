"""Answers: where a text gives its own, and whether that equals the right one: exactly as numbers, else symbolically."""

import contextlib
import ctypes
import logging
import math
import re
import threading
from collections.abc import Callable
from fractions import Fraction

__all__ = ["boxed_answer", "closeness", "hash_answer", "is_correct", "plain_number"]

LONGEST = 120  # characters of a number or formula; no right one is longer, and a wrong one must not keep a parser busy
MOST_BRACKETS = 20
LARGEST_EXPONENT = 1000  # of powers of powers, multiplied: 9**9**9 has 370 million digits
LARGEST_EXPONENT_OF_LETTERS = 12
MOST_TERMS = 500  # of a power of a sum, which is multiplied out: (a+b+c+d+e+f+g+h)^12 has 50,388
LARGEST_LOGARITHM = 24  # bits of all factors beside a logarithm, and of their powers
TIMEOUT = 5  # seconds for one comparison, of which nearly all take milliseconds

HASHES = "####"
BOX = r"\\(?:boxed|fbox)(?![a-zA-Z])"
LATEX_PIECE = re.compile(rf"(?P<open>{BOX}\s*\{{|\{{)|(?P<close>\}})|(?P<box>{BOX})|\\.", re.DOTALL)
SURROUNDINGS = re.compile(r"^(?:\\?\$)?\s*(.*?)\s*\.?\s*\$?$")
WRAPPED_WORDS = re.compile(r"\\(?:text|mathrm|boxed)\{([^{}]*)\}")
INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
DECIMAL = re.compile(rf"[+-]?(?:{INTEGER}(?:\.\d*)?|\.\d+)", re.ASCII)
RATIO = re.compile(r"([+-]?\d+) ?/ ?(\d+)", re.ASCII)
LATEX_RATIO = re.compile(r"([+-]?)\\[dt]?frac *(?:\{ *([+-]?\d+) *\}|(\d)) *(?:\{ *(\d+) *\}|(\d))", re.ASCII)  # \frac12 is 1/2
UNIT = re.compile(r"(?:\\ )?\s*\\(?:text|mbox|mathrm)\{[^{}]*\}(?:\^\{?\d\}?)?\$?$")  # at the end: \text{ cm}^2
SPACES = re.compile(r"(?<![^\W_]) | (?![^\W_])")  # beside anything but a letter or digit, where they mean nothing
# Signs, names and commands that a mathematical answer is made of. No factorials, no sums, no words.
SIGNS = re.compile(r"\\[a-zA-Z]+|\\[{}%,;:! $]|[0-9]+|[a-zA-Z]|[-+*/^_=<>(){}\[\],.|%:; ]", re.ASCII)
COMMAND = re.compile(
    "frac|dfrac|tfrac|sqrt|pi|theta|alpha|beta|gamma|cdot|times|div|pm|infty|cup|cap|in|le|leq|ge|geq|lt|gt|ne|neq|left|right|"
    "sin|cos|tan|log|ln|circ|quad"
)
# The end of what is raised to a power, and the exponent, which is not itself raised to one.
POWER = re.compile(r"(?<=(.))\s*\^\s*[-+]?(\{[^{}^]*\}|\([^()^]*\)|\\?\w+)(?!\s*\^)")
WORD = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]{2,}")  # letters that no backslash makes a command
# What a computer algebra system would read as a product or a quotient, and nobody else: 0x24c and "7 0 3" (0 to it), 1b2, 04:16.
NO_FORMULA = re.compile(r"[a-zA-Z]\d|(?<![\d.])0\d*[a-zA-Z]|\d:\d|\d +\d|[a-zA-Z] +[a-zA-Z]", re.ASCII)
ASSIGNMENT = re.compile(r"\s*(?:[a-zA-Z]|\\(?:theta|alpha|beta|gamma))(?:_\{?\w+\}?)?\s*=(?!=)")


def is_correct(answer: str, gold: str) -> bool:
    """Whether `answer`, and nothing beside it, equals `gold`.

    If `gold` is a number, `answer` must be one, written plainly (`plain_number`) and exactly equal: 18.0 is 18 and 3/4 is
    0.75, but neither 0.333 is 1/3 nor 6+2 or 16/2 is 8, or a policy would be paid for repeating the question. A unit in LaTeX may be left
    out ("18" of "18\\text{ cm}"). Otherwise equal are texts that differ only in capitals and in spaces that mean nothing (numerals
    of other bases, lists and times are texts), and formulas in LaTeX that math-verify finds equal (which needs the extra
    "tasks"). Too long, too nested and too powerful formulas are wrong unread. A formula that the question already contains
    counts as its answer, so use questions whose answer is not an equal formula.
    """
    if not answer.strip() or not gold.strip() or len(answer) > max(LONGEST, 2 * len(gold)):
        return False
    number = plain_number(answer)
    if number is not None and number == plain_number(UNIT.sub("", gold.strip())):
        return number.denominator > 1 or _is_divided(gold) or not _is_divided(answer)
    if plain_number(gold) is not None:
        return False
    answer, gold = (WRAPPED_WORDS.sub(r"\1", text).strip().strip("$") for text in (answer, gold))
    if _bare(answer) == _bare(gold):
        return True
    answer, gold = (_right_side(text.replace("**", "^")) for text in (answer, gold))
    if any(NO_FORMULA.search(_without_commands(text)) for text in (answer, gold)):
        return False
    if not (_is_harmless(answer) and _is_harmless(gold)) or not _letters(answer) <= _letters(gold) | {"e", "i"}:
        return False
    if not _logarithms_are_small(f"{answer} {gold}"):
        return False
    return ("=" in gold or "=" not in answer) and _equal_formulas(answer, gold)  # math-verify reads 1 = √2 as √2


def plain_number(text: str) -> Fraction | None:
    """The number that `text` is, exactly; None if it is anything else.

    Numbers are written in the digits 0 to 9: "18", "+18.0", "-.5", "1,000" (groups of three; LaTeX has "1,\\!000" and "1{,}000"),
    "3/4", "\\frac{3}{4}", "\\frac34"; within "$…$" or "\\boxed{…}", after a currency's "$", before a full stop. No number are: "nan",
    "inf", "1e3" (exponents), "6+2", "5%", "1,00", "3/0", "١٨" (digits of other scripts), "1_000", the empty text and what is
    longer than `LONGEST`.
    """
    text = text.strip()
    if len(text) > LONGEST:
        return None
    if text.startswith("\\boxed{") and text.endswith("}"):
        text = text[len("\\boxed{") : -1].strip()
    text = SURROUNDINGS.sub(r"\1", text).replace("−", "-").replace(",\\!", ",").replace("{,}", ",")
    if DECIMAL.fullmatch(text):
        return Fraction(text.replace(",", ""))
    if match := RATIO.fullmatch(text):
        above, below = int(match[1]), int(match[2])
    elif match := LATEX_RATIO.fullmatch(text):
        above, below = int(match[2] or match[3]) * (-1 if match[1] == "-" else 1), int(match[4] or match[5])
    else:
        return None
    return Fraction(above, below) if below else None


def hash_answer(text: str) -> str | None:
    """What follows the first "####" on its line, as GSM8K writes answers: "72" of "… = 72 clips.\\n#### 72".

    None without the mark, or with nothing behind it. A second mark on the line stays, so that "#### 5 #### 6" is no number.
    """
    return text.partition(HASHES)[2].partition("\n")[0].strip() or None


def boxed_answer(text: str) -> str | None:
    """What the last box holds, as MATH writes answers: "\\frac{3}{4}" of "… is $\\boxed{\\frac{3}{4}}$."

    A box is \\boxed or \\fbox. In braces it ends with the brace that closes it (\\{ and \\} are none), and one that is not closed
    is no box; without braces, as in "$\\boxed 7$", it ends with the formula or the line. None without a box, or if the last is
    blank. Takes time linear in the length of `text`.
    """
    opened: list[int | None] = []  # where the contents of each box begin; None for a brace that opens none
    contents, start = "", -1  # of the closed box that begins last
    bare = -1  # where the contents of the last box without braces begin
    for piece in LATEX_PIECE.finditer(text):
        if piece["box"]:
            bare = piece.end()
        elif piece["close"]:
            begin = opened.pop() if opened else None
            if begin is not None and begin > start:
                contents, start = text[begin : piece.start()], begin
        elif piece["open"]:
            opened.append(piece.end() if len(piece["open"]) > 1 else None)
    if bare > start:
        contents = re.split(r"[$\n]", text[bare:], maxsplit=1)[0]
    return contents.strip() or None


def closeness(answer: str, gold: str) -> float:
    """1 / (1 + |answer - gold|) if both are plain numbers, else 0: 1 when equal, 1/2 when one apart."""
    numbers = plain_number(answer), plain_number(gold)
    if numbers[0] is None or numbers[1] is None:
        return 0.0
    return float(1 / (1 + abs(numbers[0] - numbers[1])))


def _is_divided(number: str) -> bool:
    return "/" in number or "frac" in number


def _bare(text: str) -> str:
    return SPACES.sub("", " ".join(text.casefold().split()))


def _right_side(formula: str) -> str:
    """What `x = ` gives a value to, without it."""
    return ASSIGNMENT.sub("", formula, count=1)


def _letters(formula: str) -> set[str]:
    return set(re.findall("[a-zA-Z]", _without_commands(formula)))


def _without_commands(formula: str) -> str:
    return re.sub(r"\\[a-zA-Z]+", "\\\\", formula)


def _is_harmless(formula: str) -> bool:
    """Made of known signs only, and of a size that a computer algebra system deals with in no time."""
    if len(formula) > LONGEST or SIGNS.sub("", formula) or WORD.search(formula):
        return False
    commands = re.findall(r"\\([a-zA-Z]+)", formula)
    if not all(map(COMMAND.fullmatch, commands)) or sum(map(formula.count, "([{")) > MOST_BRACKETS:
        return False
    powers = POWER.findall(formula)
    if len(powers) < formula.count("^") or not _braces_close(formula):
        return False
    sizes = [
        (base, math.prod(int(digits) for digits in re.findall(r"\d+", exponent) if int(digits))) for base, exponent in powers
    ]
    of_brackets = math.prod(size for base, size in sizes if not base.isalnum())
    largest = of_brackets * max((size for base, size in sizes if base.isalnum()), default=1)
    if not _letters(formula) and not commands:
        return largest <= LARGEST_EXPONENT
    terms = (
        math.comb(formula.count("+") + formula.count("-") + of_brackets, of_brackets)
        if of_brackets <= LARGEST_EXPONENT
        else math.inf
    )
    return terms <= MOST_TERMS and largest <= (LARGEST_EXPONENT_OF_LETTERS if _letters(formula) else LARGEST_EXPONENT)


def _logarithms_are_small(formulas: str) -> bool:
    """Whether no power comes of n log 10 = log 10^n that is too large to write down: in no thread can that be ended."""
    if not re.search(r"\\(?:log|ln)", formulas):
        return True
    factor = math.prod(int(digits) or 1 for digits in re.findall(r"\d+", formulas))
    exponent = math.prod(int(digits) or 1 for _, power in POWER.findall(formulas) for digits in re.findall(r"\d+", power))
    return factor.bit_length() * exponent <= LARGEST_LOGARITHM


def _braces_close(formula: str) -> bool:
    """Whether each brace that opens is closed, and no other: \boxed{√2} , 3 {} is read as √2."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", formula):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def _equal_formulas(answer: str, gold: str) -> bool:
    try:
        import math_verify
    except ImportError as error:
        raise ImportError(f"comparing formulas such as {gold!r} needs math-verify; install gymformer[tasks]") from error
    # It warns of having no time limit, and of formulas that are none.
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    # LaTeX alone: its parser for plain expressions goes through eval. Its own time-outs need signals, which only the main thread gets.
    latex = [math_verify.LatexExtractionConfig()]

    def equal() -> bool:
        right, given = (
            math_verify.parse(f"\\boxed{{{formula}}}", latex, fallback_mode="no_fallback", parsing_timeout=None)  # type: ignore[arg-type]
            for formula in (gold, answer)
        )
        return bool(right and given) and math_verify.verify(right, given, timeout_seconds=None)

    return _true_in_time(equal)


def _true_in_time(question: Callable[[], bool]) -> bool:
    """What `question` answers; False after `TIMEOUT` seconds, when its thread is told to exit: at its next step in Python."""
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(SystemExit):
            answers.append(question())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    return answers == [True]
