"""models/reasoner: what its card says, in small, and that its recipe works."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gymformer.data.arithmetic import is_held_out
from gymformer.resources import resource
from models import make_reasoner
from models._training import as_batch

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "models" / "reasoner"


@pytest.fixture(scope="module")
def loaded():
    path = resource("models/reasoner")
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def held_out(count):
    rng = np.random.default_rng([0, 3])  # the card's own problems, from the first on
    return [make_reasoner.draw(rng, held_out=True) for _ in range(count)]


def test_its_scores_are_those_of_its_card_and_within_what_was_promised(loaded):
    scores = json.loads((FOLDER / "scores.json").read_text())
    assert 0.25 <= scores["greedy"]["accuracy"] <= 0.5
    assert min(scores[how]["well_formed"] for how in scores) >= 0.95
    assert scores["given"]["accuracy"] >= 0.9
    model, tokenizer = loaded
    problems = held_out(200)  # standard error of the greedy accuracy: 0.034
    greedy = make_reasoner.evaluate(model, tokenizer, problems)
    given = make_reasoner.evaluate(model, tokenizer, problems, first_step_given=True)
    assert greedy.accuracy == pytest.approx(scores["greedy"]["accuracy"], abs=0.12)
    assert greedy.well_formed >= 0.95 and given.accuracy >= 0.93
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{scores['greedy']['accuracy']:.1%}" in card and "--seed 0" in card


def test_no_held_out_question_is_in_the_text_it_reads():
    rng = np.random.default_rng(5)
    for _ in range(300):
        for question in make_reasoner.document(rng, 0.5).split("<|user|>")[1:]:
            assert not is_held_out(question.split("<|end|>")[0])


def test_its_tokenizer_encodes_any_text_and_knows_the_format(loaded):
    _, tokenizer = loaded
    for text in ("What is 12 + 7?", "Zwölf\n\tκαι 🙂", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("2026")["input_ids"]) == 4
    ids = tokenizer("<think></think><final_answer>")["input_ids"]
    assert len(ids) == 3 and tokenizer.decode(ids, skip_special_tokens=True) == "<think></think><final_answer>"
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "1?"}], add_generation_prompt=True, tokenize=False)
    assert chat == "<|user|>1?<|end|><|assistant|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_what_counts_is_what_an_assistant_says_and_its_end(loaded):
    _, tokenizer = loaded
    ids = tokenizer("<|user|>1?<|end|><|assistant|>2<|end|><|user|>3?<|end|><|assistant|>45<|end|>")["input_ids"]
    batch = as_batch([ids, ids[:6]], tokenizer)
    assert tokenizer.decode(batch.ids[0][batch.counts[0]]) == "2<|end|>45<|end|>"
    assert not batch.counts[1][6:].any()


def test_the_recipe_runs(tmp_path):
    command = [sys.executable, "-m", "models.make_reasoner", "--steps", "2", "--output", str(tmp_path / "trial")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "trial")
    assert model.num_parameters() == AutoModelForCausalLM.from_pretrained(FOLDER).num_parameters()
    assert "On 20 held-out sums" in (tmp_path / "trial" / "README.md").read_text(encoding="utf-8")


def test_the_models_together_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "models").rglob("*") if path.is_file()) < 20e6
