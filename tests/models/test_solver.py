"""models/solver: what its card says, in small, and that its recipe works."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gymformer.data.arithmetic import is_held_out
from gymformer.resources import resource
from models import make_solver
from models._training import as_batch

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "models" / "solver"


@pytest.fixture(scope="module")
def loaded():
    path = resource("models/solver")
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def test_its_scores_are_those_of_its_card(loaded):
    """Of 100 problems; a standard error is at most 0.05."""
    scores, card = json.loads((FOLDER / "scores.json").read_text()), (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{scores['sampled']['accuracy']:.1%}" in card and "--seed 0" in card
    problems = make_solver.held_out_problems(0, 100)
    sampled = make_solver.evaluate(*loaded, problems, sampled=True)
    assert sampled.accuracy == pytest.approx(scores["sampled"]["accuracy"], abs=0.17)
    assert sampled.right_if_worked > 0.75 and sampled.answered > 0.9
    assert make_solver.evaluate(*loaded, problems).worked < 0.3, "it mostly guesses: something is left to be brought out"


def test_no_held_out_question_is_in_the_text_it_reads():
    rng = np.random.default_rng(5)
    for _ in range(200):
        for question in make_solver.document(rng, 0.5, 0.5).split("<|user|>")[1:]:
            assert not is_held_out(question.split("<|end|>")[0])


def test_its_tokenizer_encodes_any_text_and_sets_calculations_apart(loaded):
    _, tokenizer = loaded
    for text in ("Ann has 12 eggs.\n", "Zwölf\n\tκαι 🙂", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    pieces = [tokenizer.decode([token]) for token in tokenizer("3*4 = <<3*4=12>>12")["input_ids"]]
    assert pieces == ["3", "*", "4", " = <<", "3", "*", "4", "=", "1", "2", ">>", "1", "2"]


def test_what_counts_is_what_the_model_is_to_write(loaded):
    _, tokenizer = loaded
    text = "<|system|>Solve <<1=1>>.<|end|><|user|>1?<|end|><|assistant|>It is 3*4 = <<3*4=12>>12.\n#### 12<|end|>"
    batch = make_solver.without_results(as_batch([tokenizer(text)["input_ids"]], tokenizer), tokenizer)
    assert tokenizer.decode(batch.ids[0][batch.counts[0]]) == "It is 3*4 = <<3*4=12.\n#### 12<|end|>"


def test_the_recipe_runs(tmp_path):
    command = [sys.executable, "-m", "models.make_solver", "--steps", "2", "--output", str(tmp_path / "trial")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "trial")
    assert model.num_parameters() == AutoModelForCausalLM.from_pretrained(FOLDER).num_parameters()
    assert "On 4 held-out problems" in (tmp_path / "trial" / "README.md").read_text(encoding="utf-8")
