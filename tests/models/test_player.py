"""models/player: what its card says, in small, and that its recipe works."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gymformer.resources import resource
from models import make_player

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "models" / "player"


@pytest.fixture(scope="module")
def loaded():
    path = resource("models/player")
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def test_its_scores_are_those_of_its_card(loaded):
    """Of two answers to each game in words, and of 12 over HTTP: all parse but one, with a chance of at most 1 in 1,000."""
    scores, card = json.loads((FOLDER / "scores.json").read_text()), (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{scores['parsed']:.1%}" in card and "--seed 0" in card and scores["parsed"] > 0.95
    found = make_player.evaluate(*loaded, questions=2)
    assert found.parsed >= 11 / 12 and found.readable > 0.85
    assert found.undecided > 0.9, "it has no idea what is good: that is left to be learned"
    assert (FOLDER / "model.safetensors").stat().st_size <= 2_000_000


def test_a_transcript_is_what_the_player_over_http_is_sent(loaded):
    transcripts = make_player.Transcripts(np.random.default_rng(0))
    dialogue = make_player.dialogue_over_http(*transcripts.games[0])
    assert [message["role"] for message in dialogue[:3]] == ["system", "user", "assistant"]
    assert dialogue[1]["content"].startswith('<observation>{"player_sum": ')
    assert set(json.loads(dialogue[-1]["content"])) == {"reflection", "action"}
    assert "as a JSON schema" in dialogue[0]["content"]


def test_what_can_be_said_in_common_games_are_single_tokens(loaded):
    _, tokenizer = loaded
    for phrase in ("stick", "hit", "left", "down", "right", "up", "south", "north", "east", "west"):
        assert len(tokenizer(phrase)["input_ids"]) == 1
    assert tokenizer.decode(tokenizer("Zwölf\n\tκαι 🙂")["input_ids"]) == "Zwölf\n\tκαι 🙂"


def test_the_recipe_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_player", "--output", str(tmp_path), "--steps", "2"])
    monkeypatch.setattr(make_player, "LONGEST_ANSWER", 5)  # what has learned nothing finds no end
    make_player.main()
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "--seed 0" in card and "of 6 answers" in card and (tmp_path / "model.safetensors").is_file()
