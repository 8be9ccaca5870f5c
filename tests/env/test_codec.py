"""Text into ids and back: what was trusted may control, what was not may not."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gymformer.env import load_tokenizer
from gymformer.env.codec import Codec, RunningText
from gymformer.testing import byte_tokenizer
from tests.env.envs import bpe_tokenizer

BYTES, MERGES = Codec(byte_tokenizer()), Codec(bpe_tokenizer())
NAMES = [*BYTES.control.values(), *MERGES.control.values()]
both = pytest.mark.parametrize("codec", [BYTES, MERGES], ids=["bytes", "bpe"])


@both
def test_trusted_text_controls(codec):
    name = "<|end|>" if codec is BYTES else "</final_answer>"
    ids = codec.trusted(f"a{name}b")
    assert len(ids) == 3 and codec.control[ids[1]] == name


@both
@given(text=st.lists(st.one_of(st.text(max_size=5), st.sampled_from(NAMES)), max_size=6).map("".join))
def test_text_from_elsewhere_never_controls_and_stays_what_it_says(codec, text):
    ids = codec.plain(text)
    assert codec.control.keys().isdisjoint(ids)
    assert codec.text(ids) == text


@both
def test_half_a_character_is_a_question_mark(codec):
    assert codec.text(codec.plain("a\ud800b")) == "a?b"


def test_names_within_names_are_spelled_out_too():
    codec = Codec(bpe_tokenizer(tags=("<a>", "<<a>>", "a>>")))
    for text in ("<<a>>", "<<a>>>", "<a><a>", "x<<<a>>a>>"):
        ids = codec.plain(text)
        assert codec.control.keys().isdisjoint(ids) and codec.text(ids) == text


def test_a_run_of_spaces_that_is_a_token_controls_nothing():
    codec = Codec(bpe_tokenizer(tags=("    ", "</tag>")))
    assert set(codec.control.values()) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "</tag>"}
    assert codec.text(codec.plain("a    b")) == "a    b"


@pytest.mark.parametrize("action", [65, np.int64(65), np.uint8(65), np.array(65), torch.tensor(65)])
def test_an_action_may_be_any_integer(action):
    token = BYTES.token(action)
    assert token == 65 and type(token) is int


@pytest.mark.parametrize("action", [6.5, "A", None, np.array([65, 66]), np.float32(65), [65]])
def test_an_action_that_is_no_integer_is_refused(action):
    with pytest.raises(TypeError, match="an action is one token id, an integer; got"):
        BYTES.token(action)


@pytest.mark.parametrize("action", [-1, 261, 300])
def test_an_id_that_the_tokenizer_lacks_is_refused(action):
    with pytest.raises(
        ValueError, match=rf"token {action} is not one of this environment's 261 \(0 to 260\).*env.action_space.n"
    ):
        BYTES.token(action)


def test_ids_above_a_hole_in_the_vocabulary_count():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<|new|>"])
    assert Codec(tokenizer).size == len(tokenizer) == 262


@both
def test_the_running_text_is_a_prefix_of_the_text_and_complete_at_whole_characters(codec):
    draw = random.Random(0)
    for _ in range(50):
        ids, running = [draw.randrange(codec.size) for _ in range(30)], RunningText(codec)
        for n, token in enumerate(ids, start=1):
            text, whole = running.append(token), codec.text(ids[:n])
            assert whole.startswith(text)
            if not whole.endswith("\ufffd"):
                assert text == whole


def test_the_running_text_shows_a_character_when_its_last_byte_came():
    running = RunningText(BYTES)
    assert [running.append(byte) for byte in "aé€!".encode()] == ["a", "a", "aé", "aé", "aé", "aé€", "aé€!"]


def test_a_tokenizer_is_taken_as_it_is_loaded_from_a_folder_or_looked_for(tmp_path):
    tokenizer = byte_tokenizer()
    assert load_tokenizer(tokenizer) is tokenizer
    tokenizer.save_pretrained(tmp_path / "folder")
    for source in (tmp_path / "folder", str(tmp_path / "folder")):
        loaded = load_tokenizer(source)
        assert loaded.encode("<|user|>é<|end|>") == tokenizer.encode("<|user|>é<|end|>")
        assert loaded.chat_template == tokenizer.chat_template
    for missing in (tmp_path / "nothing", str(tmp_path / "nothing"), "models/nothing"):
        with pytest.raises(FileNotFoundError, match="nothing was not found; looked for"):
            load_tokenizer(missing)
