"""Word problems of primary school with solutions in GSM8K's form, drawn from a generator."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from gymformer.data.arithmetic import Problem

__all__ = ["in_gsm8k_form", "word_problem"]

NAMES = (
    "Ann",
    "Ben",
    "Carla",
    "David",
    "Ella",
    "Finn",
    "Grace",
    "Hugo",
    "Iris",
    "Jack",
    "Kim",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
)
THINGS = ("apples", "books", "cards", "eggs", "marbles", "pens", "shells", "stamps", "stickers", "toys")
GOODS = ("ball", "book", "cake", "cup", "game", "hat", "kite", "lamp", "pen", "scarf")
Drawn = tuple[list[str], list[str], str, int]  # sentences of the question, lines of the solution, what is asked, the answer


def word_problem(rng: np.random.Generator, difficulty: float | None = None) -> Problem:
    """A short story with numbers, and what follows from them line by line: 1 calculation at difficulty 0, 4 at 1; None: 2 or 3.

    Each line has one calculation with its annotation, "Ann has 3*4 = <<3*4=12>>12 apples." All numbers are whole and not
    negative.
    """
    count = int(rng.integers(2, 3, endpoint=True)) if difficulty is None else 1 + round(3 * difficulty)
    story = STORIES[int(rng.integers(len(STORIES)))]
    sentences, lines, asked, answer = story(rng, count)
    return Problem(" ".join([*sentences, asked]), str(answer), tuple(lines))


def in_gsm8k_form(problem: Problem) -> dict[str, str]:
    """The problem as a row of GSM8K: the lines of the solution, then "#### " and the answer."""
    return {"question": problem.question, "answer": "\n".join([*problem.steps, f"#### {problem.answer}"])}


def possessions(rng: np.random.Generator, count: int) -> Drawn:
    """Somebody has things, and gets, gives, finds or shares some, `count` times."""
    name, things = pick(rng, NAMES), pick(rng, THINGS)
    total = between(rng, 4, 20)
    sentences, lines = [f"{name} has {total} {things}."], []
    for _ in range(count):
        number, size = between(rng, 2, 9), between(rng, 2, 9)
        match pick(rng, ("buy", "give", "bags", "double", "halve")):
            case "give" if total > number:
                sentences.append(f"{name} gives away {number} {things}.")
                sum_, total = f"{total}-{number}", total - number
            case "bags":
                sentences.append(f"{name} finds {number} bags with {size} {things} each.")
                sum_, total = f"{total}+{number}*{size}", total + number * size
            case "double" if total <= 40:
                sentences.append(f"Then {name} doubles the number of {things}.")
                sum_, total = f"{total}*2", total * 2
            case "halve" if total % 2 == 0:
                sentences.append(f"{name} sells half of the {things}.")
                sum_, total = f"{total}/2", total // 2
            case _:
                sentences.append(f"{name} buys {number} more {things}.")
                sum_, total = f"{total}+{number}", total + number
        lines.append(f"{name} has {worked(sum_, total)} {things}.")
    return sentences, lines, f"How many {things} does {name} have now?", total


def shopping(rng: np.random.Generator, count: int) -> Drawn:
    """Several kinds of goods at their prices: each kind's cost, and from the second on the sum so far."""
    name = pick(rng, NAMES)
    sentences, lines, total = [], [], 0
    goods = rng.choice(len(GOODS), size=count, replace=False)
    for place, number in enumerate(goods):
        thing, price, amount = GOODS[int(number)], between(rng, 2, 12), between(rng, 2, 9)
        sentences.append(f"{name} buys {amount} {thing}s at ${price} each.")
        cost = amount * price
        sum_ = f"{amount}*{price}" if place == 0 else f"{total}+{amount}*{price}"
        total += cost
        lines.append(f"With the {thing}s it is ${worked(sum_, total)}.")
    return sentences, lines, f"How many dollars does {name} pay?", total


def reading(rng: np.random.Generator, count: int) -> Drawn:
    """Pages that are read day by day, and those that are left."""
    name = pick(rng, NAMES)
    sentences, lines, read = [], [], 0
    for place in range(max(1, count - 1)):
        days, pages = between(rng, 2, 7), between(rng, 5, 20)
        sentences.append(f"{name} {'reads' if place == 0 else 'then reads'} {pages} pages a day for {days} days.")
        sum_ = f"{days}*{pages}" if place == 0 else f"{read}+{days}*{pages}"
        read += days * pages
        lines.append(f"{name} has read {worked(sum_, read)} pages.")
    if count == 1:
        return sentences, lines, f"How many pages has {name} read?", read
    book = read + between(rng, 10, 90)
    sentences.append(f"The book has {book} pages.")
    lines.append(f"There are {worked(f'{book}-{read}', book - read)} pages left.")
    return sentences, lines, f"How many pages are left for {name} to read?", book - read


def ages(rng: np.random.Generator, count: int) -> Drawn:
    """A chain of people, each of whose ages follows from the one before."""
    people = [NAMES[int(number)] for number in rng.choice(len(NAMES), size=count + 1, replace=False)]
    age = between(rng, 5, 15)
    sentences, lines = [f"{people[0]} is {age} years old."], []
    for before, name in pairwise(people):
        years = between(rng, 2, 9)
        match pick(rng, ("older", "younger", "times")):
            case "younger" if age > years + 1:
                sentences.append(f"{name} is {years} years younger than {before}.")
                sum_, age = f"{age}-{years}", age - years
            case "times" if age <= 30:
                factor = between(rng, 2, 3)
                sentences.append(f"{name} is {factor} times as old as {before}.")
                sum_, age = f"{age}*{factor}", age * factor
            case _:
                sentences.append(f"{name} is {years} years older than {before}.")
                sum_, age = f"{age}+{years}", age + years
        lines.append(f"{name} is {worked(sum_, age)} years old.")
    return sentences, lines, f"How old is {people[-1]}?", age


def seats(rng: np.random.Generator, count: int) -> Drawn:
    """Rows of seats, of which some are taken, and people who come and go."""
    rows, size = between(rng, 4, 12), between(rng, 5, 15)
    total = rows * size
    sentences, lines = [f"A hall has {rows} rows of {size} seats."], [f"The hall has {worked(f'{rows}*{size}', total)} seats."]
    if count == 1:
        return sentences, lines, "How many seats does the hall have?", total
    free = total
    for place in range(count - 1):
        number = between(rng, 2, 9)
        if place and rng.random() < 0.5:
            sentences.append(f"Then {number} people leave.")
            sum_, free = f"{free}+{number}", free + number
        else:
            sentences.append(f"{'Then' if place else 'At first'} {number} people sit down.")
            sum_, free = f"{free}-{number}", free - number
        lines.append(f"There are {worked(sum_, free)} free seats.")
    return sentences, lines, "How many seats are free?", free


STORIES: tuple[Callable[[np.random.Generator, int], Drawn], ...] = (possessions, shopping, reading, ages, seats)


def worked(expression: str, value: int) -> str:
    """ "3*4 = <<3*4=12>>12"."""
    return f"{expression} = <<{expression}={value}>>{value}"


def pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def between(rng: np.random.Generator, fewest: int, most: int) -> int:
    return int(rng.integers(fewest, most, endpoint=True))
