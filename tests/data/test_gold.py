"""The known truth behind the preferences, by hand."""

import math

import numpy as np
import pytest

from data.make import ceiling, judged
from gymformer.data.world.gold import chances, descriptiveness, sentiment

e = math.exp


def test_a_bare_sentence_that_says_itself_again():
    """No detail; of the 10 sequences of three words 4 occurred before: -6 · 0.4."""
    assert descriptiveness("The market is nice in winter. The market is nice in winter.") == pytest.approx(-2.4)


def test_two_adjectives():
    assert descriptiveness("After a storm, the theatre is sleepy and quiet.") == pytest.approx(2 * (1 - e(-2 / 3)))


def test_all_kinds_of_detail_count():
    """Adjectives grey, icy, silky, bustling and lonely, which is one of the world's moods too; senses feel, icy, silky, smell;
    a name, Clara; a link, "last"."""
    text = ("The grey curtains feel icy and silky. A smell of old paper and roses hangs in the bustling air. "
            "At last, Clara goes home, tired and lonely.")  # fmt: skip
    adjectives, senses = 5, 4
    expected = (
        2 * (1 - e(-adjectives / 3))
        + 1.5 * (1 - e(-senses / 2))
        + 0.5 * (1 - e(-1))
        + 0.5 * (1 - e(-1))
        + 0.5 * math.tanh(20 / 6)
    )
    assert descriptiveness(text) == pytest.approx(expected)


def test_a_broken_sentence_costs_two():
    good, broken = "The park is fine in winter.", "The park is fime in winter."
    assert descriptiveness(good) - descriptiveness(broken) == pytest.approx(2)


def test_rambling_costs_with_the_square_of_what_is_too_long():
    short = " ".join(f"It is {word}." for word in ("quiet", "peaceful", "calm"))
    things = ("boats", "nets", "gulls", "ropes", "stalls", "baskets", "apples", "lamps", "trees", "leaves", "birds", "ferns", "roses",
              "bees", "paths")  # fmt: skip
    sentences = [f"I see the {thing}." for thing in things]
    text = short + " " + " ".join(sentences)
    words = 9 + 60
    threes = [tuple(w.strip(".").lower() for w in text.split()[i : i + 3]) for i in range(words - 2)]
    repetition = (len(threes) - len(set(threes))) / len(threes)
    expected = 2 * (1 - e(-1)) - 6 * repetition - (29 / 15) ** 2
    assert descriptiveness(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "balance", "judged", "stars"),
    [
        ("The music was great.", 1, 1, 3),
        ("The music was terrible.", -1, 1, 3),
        ("The music was neither good nor bad.", -1 + 1, 1, 3),
        ("I did not like the music.", -1, 1, 3),
        ("The music was disappointing, but I loved the acting.", -1 + 2, 2, 3),
        ("I loved the ending. It was worth every penny.", 2, 1, 3),
        ("I do not recommend it to anyone. One star.", -1, 0, 1),
        ("There is no better cafe in Belton. Five stars.", 1, 0, 5),
        ("There is no worse cafe in Belton.", -1, 0, 3),
        ("My friend Noah liked it better.", 0, 0, 3),
    ],
)
def test_the_sentiment_of_a_review(text, balance, judged, stars):
    assert sentiment(text) == pytest.approx((2 - e(-judged / 2)) * math.tanh(balance / 2) + (stars - 3) / 4)


def test_a_review_that_repeats_itself_or_is_broken_costs():
    """Twice six words: 10 sequences of three, 4 of them occurred before; and a sentence in two is none of the world's."""
    good = "I loved the music very much."
    assert sentiment("The music was great and great. The music was great and great.") == pytest.approx(
        (2 - e(-0.5)) * math.tanh(2) - 3 * 0.4
    )
    assert sentiment(f"{good} The service was.") < sentiment("I loved the music.")
    assert sentiment("Loved loved. " * 20) < 0 < sentiment("I loved the music.")
    assert sentiment("") == pytest.approx(-1), "no sentence is none of the world's"


def test_labels_follow_the_softmax_of_gold_over_noise():
    """Gold 0, 1, 2 and noise 0.7: 30,000 labels; standard error of a share at most 0.003."""
    gold = np.tile([0.0, 1.0, 2.0], (30_000, 1))
    shares = np.bincount(judged(np.random.default_rng(0), gold, 0.7), minlength=3) / len(gold)
    odds = np.exp(np.array([0, 1, 2]) / 0.7)
    assert shares == pytest.approx(odds / odds.sum(), abs=0.012)
    assert ceiling(gold, 0.7) == pytest.approx(odds[2] / odds.sum())


def test_chances_are_the_softmax_of_gold_over_noise():
    """e^(1/0.5) = 7.389: shares 1/8.389 and 7.389/8.389."""
    assert chances(np.array([[0.0, 1.0], [1000.0, 0.0]]), 0.5) == pytest.approx(
        np.array([[0.11920, 0.88080], [1, 0]]), abs=1e-5
    )
