"""models/writer: what its card says, in small, and that its recipe works."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gymformer.data.arithmetic import is_held_out
from gymformer.data.world import KINDS
from gymformer.resources import resource
from models import make_writer

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "models" / "writer"


@pytest.fixture(scope="module")
def loaded():
    path = resource("models/writer")
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


@pytest.fixture(scope="module")
def scores():
    return json.loads((FOLDER / "scores.json").read_text())


def test_it_is_competent_and_undecided(scores):
    for kind in KINDS:
        of_kind = scores["kinds"][kind]
        assert of_kind["ended"] >= 0.99 and of_kind["different"] >= 0.8
        assert of_kind["sentences_well_formed"] >= 0.85 and of_kind["well_formed"] >= 0.6
        assert of_kind["on_subject"] >= of_kind["on_subject_world"] - 0.1
    assert 0.35 <= min(scores["rouge_l"].values()) <= max(scores["rouge_l"].values()) <= 0.55
    assert scores["features"]["adjectives"]["sd"] > 1 and scores["features"]["repetition"]["sd"] > 0.08


def test_its_losses_are_those_of_its_card(loaded, scores):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for kind in KINDS:
        pairs = make_writer.held_out(0, kind, scores["requests"])
        loss = make_writer.loss_per_token(*loaded, pairs)
        assert loss == pytest.approx(scores["kinds"][kind]["loss"], abs=2e-3)
        assert f"| {kind} | {scores['kinds'][kind]['loss']:.3f} |" in card


@pytest.mark.parametrize("kind", ["description", "letter"])
def test_its_samples_are_those_of_its_card(loaded, scores, kind):
    """Of 40 samples. Standard error of a share of 0.7: 0.072."""
    found, texts = make_writer.evaluate(*loaded, make_writer.held_out(0, kind, 10))
    assert len(texts) == 40 and found.ended >= 0.95
    assert found.well_formed == pytest.approx(scores["kinds"][kind]["well_formed"], abs=0.22)
    assert found.on_subject == pytest.approx(scores["kinds"][kind]["on_subject"], abs=0.2)


def test_its_summaries_are_those_of_its_card(loaded, scores):
    """Of 25 articles. Standard deviation of one summary's ROUGE-L: 0.28."""
    requests = [asked for asked, _ in make_writer.held_out(0, "summary", 25)]
    greedy = [text for text, _, _ in make_writer.write(*loaded, requests, sampled=False)]
    assert make_writer.rouge(greedy, requests) == pytest.approx(scores["rouge_l"]["greedy"], abs=0.2)
    assert make_writer.rouge([asked.reference for asked in requests], requests) == 1


def test_no_held_out_subject_is_in_the_text_it_reads(loaded):
    rng = np.random.default_rng(5)
    for kind in KINDS:
        for asked, _ in make_writer.examples(rng, kind, 100):
            assert not is_held_out(asked.subject)
        held_out = {asked.prompt for asked, _ in make_writer.held_out(0, kind, 50)}
        assert not held_out & {asked.prompt for asked, _ in make_writer.examples(rng, kind, 300)}


def test_the_kinds_divide_the_tokens_that_are_learned(loaded):
    """Standard deviation of a kind's share over 700 documents: about 0.015; four of them."""
    _, tokenizer = loaded
    source = make_writer.documents(np.random.default_rng(0), tokenizer)
    texts = [source() for _ in range(700)]
    tokens = [len(ids) for ids in tokenizer([text.split("<|assistant|>")[1] for text in texts])["input_ids"]]
    summaries = [count for text, count in zip(texts, tokens, strict=True) if "\n" in text]
    assert sum(make_writer.SHARES.values()) == pytest.approx(1) and list(make_writer.SHARES) == list(KINDS)
    assert sum(summaries) / sum(tokens) == pytest.approx(make_writer.SHARES["summary"], abs=0.06)


def test_its_tokenizer_encodes_any_text_and_knows_the_format(loaded):
    _, tokenizer = loaded
    for text in ("Describe the old harbour.", "Zwölf\n\tκαι 🙂 __x__", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("2026")["input_ids"]) == 4
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], add_generation_prompt=True, tokenize=False)
    assert chat == "<|user|>Hi.<|end|><|assistant|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_recipe_runs(tmp_path, monkeypatch):
    """With fewer texts for the tokenizer and short replies, for time."""
    monkeypatch.setattr(make_writer, "TEXTS", 100)
    monkeypatch.setattr(make_writer, "LIMIT", 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["make_writer", "--steps", "2", "--output", str(tmp_path / "trial")])
    make_writer.main()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "trial")
    assert model.num_parameters() == AutoModelForCausalLM.from_pretrained(FOLDER).num_parameters()
    assert "On 2 held-out requests of each kind" in (tmp_path / "trial" / "README.md").read_text(encoding="utf-8")


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6e6
