"""models/speaker: what its card says, in small, and that its recipe works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gymformer.data.puzzles import read_puzzle, solution
from gymformer.env.chat import ChatFormat
from gymformer.resources import resource
from models import make_speaker
from models._students import logic_puzzle_student, memory_buffer_student, thoughts
from models._training import as_batch

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "models" / "speaker"


@pytest.fixture(scope="module")
def loaded():
    path = resource("models/speaker")
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def test_its_scores_are_those_of_its_card(loaded):
    """Of 100 puzzles; the standard errors of their mean and of the card's, of 300, are together at most 0.055."""
    scores, card = json.loads((FOLDER / "scores.json").read_text()), (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, found in scores.items():
        assert make_speaker.card_row(name, "sampled", found["sampled"]) in card
    model, tokenizer = loaded
    sampled = make_speaker.evaluate(model, tokenizer, "LogicPuzzle-v0", 100, sampled=True)
    assert sampled["success"] == pytest.approx(scores["LogicPuzzle-v0"]["sampled"]["success"], abs=0.2)


@pytest.mark.parametrize("name", make_speaker.TASKS)
def test_a_transcript_is_what_the_model_reads_in_the_environment(loaded, name):
    """Token for token: the document that is learned, and the dialogue as `TextToTokens` puts it together."""
    _, tokenizer = loaded
    document = make_speaker.Transcripts(np.random.default_rng(7), phase=0).of(name)
    (_, system), (_, opening), *rest = re.findall(r"<\|(\w+)\|>(.*?)<\|end\|>", document, re.DOTALL)
    chat = ChatFormat(tokenizer, system)
    ids, turn = chat.opening(opening), []
    for role, text in rest:
        if role == "assistant":
            turn = [*tokenizer.encode(text), tokenizer.eos_token_id]
            ids += turn
        else:
            ids += chat.reply(text, turn)
    assert len(rest) >= 1
    assert ids == tokenizer(document)["input_ids"]


def test_thoughts_lead_to_the_answer():
    """Also where the student is never right by luck: 60 puzzles, each worked out."""
    env = gym.make("LogicPuzzle-v0", use_curriculum=False, difficulty=0.7)
    for seed in range(60):
        text, _ = env.reset(seed=seed)
        worked_out, answer = thoughts(text)
        assert answer == solution(read_puzzle(text))
        assert worked_out.endswith(f": {answer}.")


@pytest.mark.parametrize(
    ("name", "student"), [("LogicPuzzle-v0", logic_puzzle_student), ("MemoryBuffer-v0", memory_buffer_student)]
)
def test_a_careful_student_succeeds_and_a_careless_one_mostly_does_not(name, student):
    def success(care: float) -> float:
        rng, env = np.random.default_rng(0), gym.make(name, **make_speaker.TASKS[name].arguments)
        outcomes = []
        for seed in range(40):
            act, over = student(rng, care), False
            observation, info = env.reset(seed=seed)
            while not over:
                observation, _, terminated, truncated, info = env.step(act(observation, info))
                over = terminated or truncated
            outcomes.append(info["success"])
        return float(np.mean(outcomes))

    assert success(1.0) == 1.0
    assert success(0.0) < 0.4


def test_only_turns_of_assistants_count_later_and_everything_at_first(loaded):
    _, tokenizer = loaded
    text = "<|system|>Solve.<|end|><|user|>Wet?<|end|><|assistant|>SOLVE yes<|end|>"
    batch = as_batch([tokenizer(text)["input_ids"], tokenizer("<|user|>Wet?<|end|>")["input_ids"]], tokenizer)
    assert tokenizer.decode(batch.ids[0][batch.counts[0]]) == "SOLVE yes<|end|>"
    everything = make_speaker.with_all_tokens(batch, tokenizer)
    assert tokenizer.decode(everything.ids[0][everything.counts[0]]) == text.removeprefix("<|system|>")
    assert tokenizer.decode(everything.ids[1][everything.counts[1]]) == "Wet?<|end|>"


def test_the_recipe_runs(tmp_path):
    command = [sys.executable, "-m", "models.make_speaker", "--steps", "2", "--output", str(tmp_path / "trial")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "trial")
    assert model.config.num_hidden_layers == AutoModelForCausalLM.from_pretrained(FOLDER).config.num_hidden_layers
    assert "In 2 episodes of each environment" in (tmp_path / "trial" / "README.md").read_text(encoding="utf-8")
