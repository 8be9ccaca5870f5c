"""models/reward_model: what its card says, and that its recipe works."""

import json
import sys

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gymformer import LMCriticNetwork, load_reward_model
from gymformer.data.preferences import load_preferences
from gymformer.resources import resource
from models import make_reward_model

FOLDER = resource("models/reward_model")


@pytest.fixture(scope="module")
def model():
    return load_reward_model("models/reward_model", device="cpu")


def test_it_scores_what_its_card_says(model):
    scores = json.loads((FOLDER / "scores.json").read_text())
    noise = json.loads((resource(make_reward_model.DATA) / "facts.json").read_text())["noise"]
    held_out = load_preferences(make_reward_model.DATA).split(make_reward_model.SETTINGS["test_size"], 0)[1]
    found = make_reward_model.compared(model, held_out, noise)
    assert found.rows == scores["rows"]
    assert found.expected == pytest.approx(scores["expected"], abs=2e-3) and found.ceiling == pytest.approx(scores["ceiling"])
    assert found.correlation == pytest.approx(scores["correlation"], abs=1e-3)
    assert found.ceiling - found.expected <= 0.03, "three points below what the noise allows"
    assert f"{scores['expected']:.1%} |" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_transformers_alone_gives_the_same_scores(model):
    tokenizer, plain = AutoTokenizer.from_pretrained(FOLDER), AutoModelForSequenceClassification.from_pretrained(FOLDER).eval()
    prompt, replies = (
        "Tell me about the lake.",
        ["Golden light falls on the pale boats. The wind tastes of rain.", "It is nice. It is nice."],
    )
    chat = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
    rows = [tokenizer(chat + reply + tokenizer.eos_token, add_special_tokens=False)["input_ids"] for reply in replies]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    with torch.no_grad():
        theirs = plain(**batch).logits[:, 0]
    torch.testing.assert_close(model.score([(prompt, reply) for reply in replies]), theirs, atol=1e-4, rtol=1e-4)
    assert theirs[0] > theirs[1] + 1


def test_its_scale_is_that_of_the_held_out_candidates(model):
    held_out = load_preferences(make_reward_model.DATA).split(make_reward_model.SETTINGS["test_size"], 0)[1]
    scores = model.score([(record.prompt, text) for record in held_out for text in record.candidates])
    assert scores.mean().item() == pytest.approx(0, abs=1e-3) and scores.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_a_critic_that_starts_from_it_reads_with_its_head(model):
    """Of tokens with and without an end: what the reward model's head makes of the last of them."""
    critic = LMCriticNetwork.from_reward_model(model)
    rows = torch.tensor([[1, 40, 200, 4], [1, 60, 61, 77]])
    with torch.no_grad():
        values, expected = critic(rows), model(rows, torch.tensor([4, 4]))
    assert torch.allclose(values, expected, atol=1e-5)
    assert all(parameter.requires_grad for parameter in critic.head.parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters()), "a copy: the reward model stays frozen"
    with pytest.raises(TypeError, match=r"load_reward_model\(folder\)"):
        LMCriticNetwork.from_reward_model("models/reward_model")


def test_the_recipe_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["make_reward_model", "--rows", "40", "--output", str(tmp_path / "trial")])
    make_reward_model.main()
    assert load_reward_model(tmp_path / "trial").rows.template == "chat"
    assert "four candidates each" in (tmp_path / "trial" / "README.md").read_text(encoding="utf-8")


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5e6
