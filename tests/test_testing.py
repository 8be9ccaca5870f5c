"""The stand-ins are what their docstrings say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gymformer.testing import SPECIAL_TOKENS, byte_tokenizer, tiny_lm

TOKENIZER = byte_tokenizer()


def test_a_byte_is_its_own_id_and_the_special_tokens_follow():
    assert len(TOKENIZER) == 261
    assert TOKENIZER.encode("Aé", add_special_tokens=False) == [65, 0xC3, 0xA9]
    assert TOKENIZER.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [256, 257, 258, 259, 260]
    assert (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id) == (256, 260)


@given(st.text())
def test_every_text_comes_back(text):
    ids = TOKENIZER.encode(text, split_special_tokens=True)
    assert ids == list(text.encode("utf-8"))
    assert TOKENIZER.decode(ids) == text


def test_ids_that_are_no_utf8_come_back_as_the_replacement_character():
    assert TOKENIZER.decode([65, 0xC3]) == "A\ufffd"


def test_the_chat_template_renders_roles():
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    text = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>S<|end|><|user|>U<|end|><|assistant|>"


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_tiny_models_depend_on_the_seed_alone(architecture):
    before = torch.get_rng_state()
    models = [tiny_lm(261, architecture, seed=seed, dropout=0.1) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    tokens = torch.tensor([TOKENIZER.encode("2 + 2")])
    with torch.no_grad():
        first, again, other = (model(tokens).logits for model in models)
    assert first.shape == (1, 5, 261)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert sum(p.numel() for p in models[0].parameters()) < 100_000


def test_dropout_acts_in_train_mode():
    model = tiny_lm(16, dropout=0.5).train()
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    assert not torch.equal(model(tokens).logits, model(tokens).logits)


def test_an_unknown_architecture_is_an_error():
    with pytest.raises(ValueError, match='architecture=\'rnn\' is not known; use "gpt2", "llama" or "qwen2"'):
        tiny_lm(10, "rnn")
