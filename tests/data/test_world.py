"""The small world: texts that its own grammar recognises, a split that subjects decide, and every quality of writing."""

import re

import numpy as np
import pytest

from gymformer.data.arithmetic import is_held_out
from gymformer.data.world import KINDS, Features, articles, features, is_well_formed, reply, request, reviews
from gymformer.data.world.grammar import Grammar


def written(kind: str, count: int, seed: int = 0) -> list[tuple]:
    rng = np.random.default_rng(seed)
    requests = [request(rng, kind) for _ in range(count)]
    return [(asked, reply(rng, asked)) for asked in requests]


def test_a_grammar_writes_tidy_sentences_and_recognises_them():
    grammar = Grammar({"sight": ("there is a {animal}, and a {animal} sings.",), "animal": ("old owl", "fox")}, ["sight"])
    rng = np.random.default_rng(0)
    both = {"There is an old owl, and a fox sings.", "There is a fox, and an old owl sings."}  # neither twice
    assert {grammar.draw(rng, "sight") for _ in range(20)} == both
    assert grammar.draw(rng, "sight", {"animal": "fox"}) == "There is a fox, and a fox sings."
    assert all(grammar.accepts(text) for text in [*both, " ".join(both)])


@pytest.mark.parametrize(
    "text",
    ["", "There is a fox", "there is a fox.", "There is an fox.", "There is a  fox.", "There is a fox .", "There is a fox. ", "A fox is there.",
     "There is a dog.", "There is a old owl.", "There is a fox. There is.", "There is a fox; there is a fox."],
)  # fmt: skip
def test_what_is_no_sentence_is_refused(text):
    grammar = Grammar({"sight": ("there is a {animal}.",), "animal": ("old owl", "fox")}, ["sight"])
    assert grammar.accepts("There is a fox. There is an old owl.")
    assert not grammar.accepts(text)


def test_a_symbol_without_a_rule_is_named():
    with pytest.raises(ValueError, match="use animal, but none says what that is; add a rule"):
        Grammar({"sight": ("a {animal}.",)}, ["sight"])


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_written_is_well_formed(kind):
    for asked, text in written(kind, 80):
        assert is_well_formed(kind, text), text
        assert not is_well_formed(kind, text[:-1])
        if kind == "summary":
            assert is_well_formed("article", asked.prompt.split("\n")[0]), asked.prompt
            assert is_well_formed("summary", asked.reference)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no kind of text called 'poem'; choose one of description, story"):
        request(np.random.default_rng(0), "poem")


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_the_texts(kind):
    assert written(kind, 10) == written(kind, 10)
    assert written(kind, 10) != written(kind, 10, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_split_is_decided_by_the_subject_alone(kind):
    rng = np.random.default_rng(0)
    for side in (False, True):
        for _ in range(20):
            asked = request(rng, kind, held_out=side)
            assert asked.held_out == side == is_held_out(asked.subject)
    drawn = [KINDS[kind].ask(rng).held_out for _ in range(400)]
    assert 0.05 < np.mean(drawn) < 0.16  # subjects come several times where they are few


def test_no_article_is_written_on_a_held_out_event(monkeypatch):
    monkeypatch.setattr(articles, "is_held_out", lambda summary: " on Monday " in summary)
    rng = np.random.default_rng(0)
    for _ in range(200):
        text = reply(rng, request(rng, "article"))
        dated = re.search(r"\b(?:[Oo]n|was) (\w+day)", re.sub(r"The mayor.*?\.", "", text))
        assert dated and dated[1] != "Monday", text


@pytest.mark.parametrize(("kind", "fewest"), [("description", 600), ("story", 880), ("review", 550), ("letter", 950),
                                              ("answer", 950), ("article", 750), ("summary", 1000)])  # fmt: skip
def test_subjects_are_many(kind, fewest):
    """Of 1000 draws, so many are different."""
    rng = np.random.default_rng(0)
    assert len({KINDS[kind].ask(rng).subject for _ in range(1000)}) >= fewest


def test_a_reference_holds_the_key_facts_of_its_article():
    rng = np.random.default_rng(0)
    for _ in range(200):
        asked = request(rng, "summary")
        text = asked.prompt.split("\n")[0]
        for fact in ("town", "site", "day", "cause", "affected"):
            assert str(asked.facts[fact]) in asked.reference and str(asked.facts[fact]) in text
        number = str(asked.facts["number"])
        assert f"{number.capitalize()} people" in asked.reference and f"{number} people" in text.lower()
        assert 4 <= len(re.findall(r"\. |\.$", text)) <= 8


def test_summaries_are_of_every_quality():
    """Good ones say when and why; the rest are short, long or beside the point. Standard error of a share: at most 0.02."""
    pairs = written("summary", 600)
    good = np.mean([all(str(asked.facts[fact]) in text for fact in ("day", "cause")) for asked, text in pairs])
    perfect = np.mean([text == asked.reference for asked, text in pairs])
    beside = np.mean([str(asked.facts["site"]) not in text for asked, text in pairs])
    assert 0.22 < good < 0.42 and 0.05 < perfect < 0.14 and 0.1 < beside < 0.35
    assert max(share for share, *_ in articles.MANNERS) < 0.3
    assert sum(share for share, *_ in articles.MANNERS) == pytest.approx(1)


def test_descriptions_and_stories_are_of_every_quality():
    found = [features(text) for kind in ("description", "story") for _, text in written(kind, 300)]
    for name, least in {
        "words": 10,
        "adjectives": 1,
        "senses": 0.8,
        "comparisons": 0.4,
        "names": 0.7,
        "links": 0.8,
        "repetition": 0.1,
    }.items():
        assert np.std([getattr(one, name) for one in found]) > least, name
    assert {one.sentences for one in found} == {1, 2, 3, 4, 5}
    assert 0.1 < np.mean([one.repetition > 0.1 for one in found]) < 0.5


def test_a_review_keeps_its_opinion():
    for closing, opposite in (("I recommend it to everyone.", "blame"), ("I do not recommend it to anyone.", "praise")):
        texts = [text for _, text in written("review", 600) if closing in text]
        assert len(texts) > 20
        assert not [text for text in texts if set(re.findall(r"\w+", text)) & set(reviews.RULES[opposite])]


def test_a_story_calls_its_person_by_one_pronoun():
    for asked, text in written("story", 300):
        other = {"she": "he", "he": "she"}[str(asked.facts["she"])]
        assert not re.search(rf"\b{other}\b", text, re.IGNORECASE), text


def test_features_by_hand():
    text = "The quiet lake smells of pine. However, Mia from Arden sees dark, dark boats. They look like clouds. They look like clouds."
    assert features(text) == Features(
        words=22, sentences=4, adjectives=2, senses=1, comparisons=2, names=2, links=1,
        repetition=2 / 20,  # "They look like" and "look like clouds" come twice
    )  # fmt: skip
    assert features("") == Features(0, 0, 0, 0, 0, 0, 0, 0.0)
