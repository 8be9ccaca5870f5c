"""The data that come along: what their cards say, and that their recipe works."""

import json
import sys

import numpy as np
import pytest

from data import make, make_problems
from gymformer.data.arithmetic import is_held_out
from gymformer.data.articles import ArticlePool
from gymformer.data.preferences import load_preferences
from gymformer.data.world.gold import chances, descriptiveness, sentiment
from gymformer.resources import resource

SETS = {"descriptiveness_offline_5k": (descriptiveness, 5000, 4), "sentiment_pairs": (sentiment, 3000, 2)}
every_set = pytest.mark.parametrize(("name", "truth", "count", "size"), [(name, *what) for name, what in SETS.items()])


@every_set
def test_the_loader_reads_all_of_it(name, truth, count, size):
    preferences = load_preferences(f"data/{name}")
    assert len(preferences) == count and size == preferences.K and preferences.kind == "text" and not preferences.refused
    assert all(len(set(record.candidates)) == size and all(record.candidates) for record in preferences)


@every_set
def test_its_card_and_facts_follow_from_its_texts(name, truth, count, size):
    """The labels are drawn: the share of them that names the best is compared with its expectation, four standard errors wide."""
    folder = resource(f"data/{name}")
    facts, card = json.loads((folder / "facts.json").read_text()), (folder / "README.md").read_text(encoding="utf-8")
    records = load_preferences(folder)
    gold = np.array([[truth(text) for text in record.candidates] for record in records])
    labels = np.array([record.best[0] for record in records])
    odds = chances(gold, facts["noise"])
    assert gold.mean() == pytest.approx(facts["gold_mean"]) and gold.std() == pytest.approx(facts["gold_std"])
    assert (
        odds.max(1).mean() == pytest.approx(facts["ceiling"]) and f"{facts['ceiling']:.1%} of the labels in expectation" in card
    )
    best = gold == gold.max(1, keepdims=True)
    met = (best[np.arange(count), labels] / best.sum(1)).mean()  # of m that are equally good each is the label in 1 of m
    assert abs(met - facts["ceiling"]) < 4 * 0.5 / count**0.5
    assert (gold[np.arange(count), labels] == gold.max(1)).mean() == pytest.approx(facts["labelled_truly"])


def test_the_articles_lie_on_both_sides_of_their_split():
    train, test = ArticlePool("data/articles.jsonl", "train"), ArticlePool("data/articles.jsonl", "test")
    assert len(train.articles) + len(test.articles) == make.ARTICLES
    assert 0.05 < len(test.articles) / make.ARTICLES < 0.15
    assert all(is_held_out(article.text) for article in test.articles) and all(article.summary for article in train.articles)


def test_the_recipe_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "TOKENS", 12)
    monkeypatch.setattr(make.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["make", "--rows", "2", "--output", str(tmp_path)])
    make.main()
    for name, (_, _, size) in SETS.items():
        preferences = load_preferences(tmp_path / name)
        assert len(preferences) == 2 and size == preferences.K
        assert "2 requests of the training side" in (tmp_path / name / "README.md").read_text(encoding="utf-8")
    assert len((tmp_path / "articles.jsonl").read_text().splitlines()) == 2


def test_the_problems_are_those_of_their_recipe_and_lie_on_both_sides(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_problems", "--output", str(tmp_path)])
    make_problems.main()
    for name, key in (("gsm8k_sample", "question"), ("math_sample", "problem")):
        texts = {}
        for side, count in (("train", make_problems.TRAIN), ("test", make_problems.TEST)):
            path = resource(f"data/{name}") / f"{side}.jsonl"
            assert path.read_text(encoding="utf-8") == (tmp_path / name / f"{side}.jsonl").read_text(encoding="utf-8")
            texts[side] = [json.loads(line)[key] for line in path.read_text(encoding="utf-8").splitlines()]
            assert len(set(texts[side])) == count and all(is_held_out(text) == (side == "test") for text in texts[side])
        assert not set(texts["train"]) & set(texts["test"])
