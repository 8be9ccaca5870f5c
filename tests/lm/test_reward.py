"""Reward models: what a row is, scores that depend on their row alone, the losses, and a folder for transformers alone."""

import doctest
import math
import re

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel, GPT2Config

import gymformer.lm.reward
from gymformer.env.chat import ChatFormat
from gymformer.lm.reward import RewardModel, as_batch, preference_log_probs, preference_loss
from gymformer.lm.rows import RowFormat
from gymformer.testing import byte_tokenizer, tiny_lm

ARCHITECTURES = ["gpt2", "llama", "qwen2"]
END = 260  # <|end|> of the byte tokenizer
ROWS = [("a prompt", " and a reply"), ("b", "c"), ("a longer prompt, " * 4, "short"), ("", "x"), ("p", "")]


def a_model(architecture: str = "gpt2", **options) -> RewardModel:
    return RewardModel.from_causal_lm(tiny_lm(261, architecture), byte_tokenizer(), **options)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_is_the_prompt_the_reply_and_the_end_once():
    model = a_model()
    row = [*b"2+2=", *b"4", END]
    assert model.encode(("2+2=", "4")) == row
    assert model.encode("2+2=4") == model.encode(list(b"2+2=4")) == model.encode(torch.tensor(list(b"2+2=4"))) == row
    assert model.encode(row) == row and model.encode((list(b"2+2="), [*b"4", END])) == row
    assert a_model(ending="none").encode(("2+2=", "4")) == row[:-1]


def test_a_reply_scores_the_same_as_text_as_ids_and_as_a_policy_leaves_it():
    """Training encodes texts, an environment hands over prompt and sampled ids, with or without the end."""
    model = a_model()
    texts = model.score(ROWS)
    ids = model.score([[*prompt.encode(), *reply.encode()] for prompt, reply in ROWS])
    ended = model.score([[*prompt.encode(), *reply.encode(), END] for prompt, reply in ROWS])
    assert torch.equal(texts, ids) and torch.equal(texts, ended)


def merging_tokenizer():
    """A tokenizer that knows the letters a and b and the pair ab."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2, "e": 3}, merges=[("a", "b")]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="e")


def test_prompt_and_reply_are_not_joined_across_their_seam():
    rows = RowFormat(merging_tokenizer())
    assert rows.row("a", "b") == [0, 1]  # what a policy that was given a and sampled b leaves behind
    assert rows.row("", "ab") == [2]  # what encoding both as one text would give


def test_chat_prompts_are_rendered_as_environments_render_them():
    model = a_model(template="chat")
    dialogue = (("user", "Hi <|end|>"), ("assistant", "Hello"), ("user", "?"))
    chat = ChatFormat(byte_tokenizer())
    expected = chat.ids([(role, chat.codec.plain(content)) for role, content in dialogue])
    assert model.encode((dialogue, "yes")) == [*expected, *b"yes", END]
    assert model.encode(("Hi", "yes")) == [*chat.opening("Hi"), *b"yes", END]
    assert expected.count(END) == 3  # the words "<|end|>" ended nothing


def test_rows_that_cannot_be_made_say_why():
    with pytest.raises(ValueError, match="needs a tokenizer with a chat template"):
        RowFormat(merging_tokenizer(), "chat")
    with pytest.raises(ValueError, match='needs template="chat"'):
        a_model().encode(((("user", "Hi"),), "yes"))
    with pytest.raises(ValueError, match="texts need a tokenizer"):
        RewardModel.from_causal_lm(tiny_lm(12)).encode("text")
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(ValueError, match="does not write each of 2 messages once"):
        RowFormat(tokenizer, "chat").row((("user", "a"), ("assistant", "b")), "c")


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_score_depends_on_its_row_alone(architecture):
    """Not on what it is batched with, nor on the pads, whatever they hold; not even a row that ends with the padding token."""
    model = a_model(architecture)
    rows = [*ROWS, [65, 256, 256], [65, 256], [65]]
    alone = torch.cat([model.score([row]) for row in rows])
    assert alone.std() > 0.1
    torch.testing.assert_close(model.score(rows), alone, rtol=0, atol=2e-6)
    torch.testing.assert_close(model.score(rows[::-1], batch_size=2).flip(0), alone, rtol=0, atol=2e-6)
    inputs, lengths = as_batch([model.encode(row) for row in rows], torch.device("cpu"))
    other = torch.full((len(rows), 100), 7)
    for number, length in enumerate(lengths):
        other[number, :length] = inputs[number, :length]
    with torch.no_grad():
        torch.testing.assert_close(model(other, lengths), alone, rtol=0, atol=2e-6)


def test_the_head_starts_with_the_stated_spread():
    """65,536 weights: the standard deviation is known to 0.3% (one σ); by the seed alone."""
    wide = tiny_lm(8, width=512, layers=1, heads=1)
    head = RewardModel.from_causal_lm(wide).model.score.weight
    assert abs(head.std().item() * math.sqrt(513) - 1) < 0.1
    assert torch.equal(head, RewardModel.from_causal_lm(wide).model.score.weight)
    assert not torch.equal(head, RewardModel.from_causal_lm(wide, seed=1).model.score.weight)


def test_making_one_leaves_the_language_model_and_the_generators_as_they_were():
    lm, tokenizer = tiny_lm(261), byte_tokenizer()
    before, state = {k: v.clone() for k, v in lm.state_dict().items()}, torch.get_rng_state()
    model = RewardModel.from_causal_lm(lm, tokenizer)
    model.normalise(ROWS)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in lm.state_dict().items())


def test_dropout_is_off_in_training_and_scoring():
    model = RewardModel.from_causal_lm(tiny_lm(261, dropout=0.5), byte_tokenizer())
    inputs, lengths = as_batch([[1, 2, 3]], torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(model.train()(inputs, lengths), model.eval()(inputs, lengths))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([261], "row 1 .*its token 261 is not one of the model's 261"),
        ([-1], "its token -1 is not"),
        (list(b"x" * 256), "it has 257 tokens, and the model's context 256"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(row, message):
    with pytest.raises(ValueError, match=message):
        a_model().score([[1], row])


def test_an_empty_row_is_an_error():
    with pytest.raises(ValueError, match="it has no token"):
        a_model(ending="none").score([("", "")])


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_loss_of_four_candidates_by_hand():
    """Scores 0, log 2, log 3, log 4: the likelihoods are 1/10, 2/10, 3/10, 4/10."""
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log()
    target = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    torch.testing.assert_close(preference_loss(scores, target), torch.tensor([-math.log(0.3)]))
    torch.testing.assert_close(preference_log_probs(scores).exp(), torch.tensor([[0.1, 0.2, 0.3, 0.4]]))


def test_two_candidates_are_bradley_and_terrys_model_with_margin():
    """r = (1.5, 0.5): -log σ(1) = 0.313262; with a margin of 1 -log σ(0) = 0.693147, with one of 3 -log σ(-2) = 2.126928."""
    scores, target = torch.tensor([[1.5, 0.5]] * 3), torch.tensor([[1.0, 0.0]] * 3)
    losses = preference_loss(scores, target, torch.tensor([0.0, 1.0, 3.0]))
    torch.testing.assert_close(losses, torch.tensor([0.313262, 0.693147, 2.126928]), rtol=0, atol=1e-6)
    torch.testing.assert_close(preference_loss(scores, target), torch.tensor([0.313262] * 3), rtol=0, atol=1e-6)


def test_a_tie_is_the_mean_of_both_directions_and_pulls_scores_together():
    """r = (1.5, 0.5): (0.313262 + 1.313262) / 2; a margin changes nothing. The gradient is softmax - 1/2: ±0.231059."""
    scores = torch.tensor([[1.5, 0.5]], requires_grad=True)
    loss = preference_loss(scores, torch.tensor([[0.5, 0.5]]), torch.tensor([4.0]))
    torch.testing.assert_close(loss.detach(), torch.tensor([0.813262]), rtol=0, atol=1e-6)
    loss.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[0.231059, -0.231059]]), rtol=0, atol=1e-6)


def test_a_constant_in_the_scores_changes_no_loss():
    scores, target = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.eye(4)[[0, 1, 2, 3, 0]]
    torch.testing.assert_close(preference_loss(scores + 7, target), preference_loss(scores, target))


# --- gain and bias ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_normalised_scores_have_mean_0_and_variance_1_and_rank_as_before(architecture):
    model = a_model(architecture)
    raw = model.score(ROWS)
    mean, std = model.normalise(ROWS)
    scores = model.score(ROWS)
    assert abs(mean - raw.mean()) < 1e-5 and abs(std - raw.std(correction=0)) < 1e-5
    torch.testing.assert_close(scores, (raw - raw.mean()) / raw.std(correction=0), rtol=0, atol=2e-5)
    torch.testing.assert_close(model.spread * (scores[0] - scores[1]), raw[0] - raw[1], rtol=0, atol=1e-5)
    assert (model.offset == 0) == (architecture == "gpt2")  # the others' last norm has no bias to carry it
    model.normalise([(prompt, reply + "!") for prompt, reply in ROWS])  # once more, by other replies
    torch.testing.assert_close(model.spread * (model.score(ROWS[:1]) - model.score(ROWS[1:2])), raw[:1] - raw[1:2],
                               rtol=0, atol=1e-5)  # fmt: skip


def test_scores_that_are_all_the_same_cannot_be_normalised():
    with pytest.raises(ValueError, match="cannot be brought to variance 1"):
        a_model().normalise([("a", "b")] * 3)


# --- the folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_folder_gives_the_same_scores_here_and_by_transformers_alone(architecture, tmp_path):
    byte_tokenizer().save_pretrained(tmp_path / "tokenizer")
    given = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", padding_side="left")  # as many are that generate
    model = RewardModel.from_causal_lm(tiny_lm(261, architecture), given, template="chat")
    rows = [("Hi", "yes"), ("Tell me more of it, please", "no"), ("Hi", "perhaps, if it does not rain")]
    model.normalise(rows)
    scores = model.score(rows)
    model.save_pretrained(tmp_path / "model")
    loaded = RewardModel.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.score(rows), scores)
    assert (loaded.rows.template, loaded.rows.end_token_id, loaded.spread) == ("chat", END, model.spread)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.encode(rows[0]) == model.encode(rows[0])

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert given.padding_side == "left" and tokenizer.padding_side == "right"
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    batch = tokenizer.pad({"input_ids": [model.encode(row) for row in rows]}, return_tensors="pt")  # with its own padding
    assert batch["attention_mask"].min() == 0
    with torch.no_grad():
        theirs = plain(**batch).logits[:, 0] - model.offset
    torch.testing.assert_close(theirs, scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("template", ["plain", "chat"])
@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_what_the_card_says_is_true(architecture, template, tmp_path):
    model = RewardModel.from_causal_lm(tiny_lm(261, architecture), byte_tokenizer(), template=template)
    model.normalise(ROWS)
    folder, prompt, reply = model.save_pretrained(tmp_path / "model"), "a prompt", " and a reply"
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)[1]
    names = {"folder": folder, "prompt": prompt, "reply": reply}
    exec(compile(code, "README.md", "exec"), names)
    torch.testing.assert_close(names["scores"].detach(), model.score([(prompt, reply)]), rtol=0, atol=1e-5)


def test_a_tokenizer_that_pads_with_its_end_gets_a_padding_token_of_its_own(tmp_path):
    """Otherwise transformers would take the end of a row for padding, and read the score one token too early."""
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    model = RewardModel.from_causal_lm(tiny_lm(261), tokenizer)
    assert tokenizer.pad_token_id == END  # the one given stays as it was
    assert model.tokenizer.pad_token_id == model.model.config.pad_token_id == 256  # <|pad|> was there already
    bare = merging_tokenizer()
    model = RewardModel.from_causal_lm(tiny_lm(4), bare)
    assert model.model.config.pad_token_id == 4 and model.num_tokens == 5 and bare.pad_token_id is None
    model.save_pretrained(tmp_path / "model")
    plain, rows = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model"), [[0, 1, 2, 3], [2, 3]]
    with torch.no_grad():
        theirs = plain(torch.tensor([[0, 1, 2, 3], [2, 3, 4, 4]])).logits[:, 0]
    torch.testing.assert_close(theirs, model.score(rows), rtol=0, atol=1e-6)


def test_a_folder_is_replaced_as_a_whole_and_a_failure_leaves_the_old_one(tmp_path, monkeypatch):
    first, second = a_model(), a_model("llama")
    first.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(gymformer.lm.reward, "write_file", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        second.save_pretrained(tmp_path / "model")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert torch.equal(RewardModel.from_pretrained(tmp_path / "model").score(ROWS), first.score(ROWS))
    second.save_pretrained(tmp_path / "model")
    assert torch.equal(RewardModel.from_pretrained(tmp_path / "model").score(ROWS), second.score(ROWS))


def test_what_is_no_reward_model_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.json").write_text("{}")
    tiny_lm(12).save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match=r"is not a model: it has no config\.json"):
        RewardModel.from_pretrained(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"is not a model: it has no config\.json"):
        RewardModel.from_causal_lm(tmp_path / "file.json")
    with pytest.raises(FileNotFoundError, match="nothing was not found"):
        RewardModel.from_pretrained(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"not a reward model of gymformer: .*train_reward"):
        RewardModel.from_pretrained(tmp_path / "lm")


def test_models_that_are_not_causal_or_not_classifiers_are_refused(tmp_path):
    bert = BertConfig(vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(bert).save_pretrained(tmp_path / "bert")
    with pytest.raises(TypeError, match="has no head `score`"):
        RewardModel.from_causal_lm(tmp_path / "bert")

    class Looking(nn.Module):
        """A trunk whose every state depends on the whole row."""

        def __init__(self, trunk):
            super().__init__()
            self.trunk = trunk

        def forward(self, *args, **inputs):
            output = self.trunk(*args, **inputs)
            output.last_hidden_state = output.last_hidden_state.mean(1, keepdim=True).expand_as(output.last_hidden_state)
            return output

    config = GPT2Config(vocab_size=12, n_embd=16, n_layer=1, n_head=1, num_labels=1, pad_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config)
    model.transformer = Looking(model.transformer)
    with pytest.raises(TypeError, match="is not causal"):
        RewardModel(model)
    with pytest.raises(TypeError, match="has no head `score` with one label"):
        RewardModel(AutoModelForSequenceClassification.from_config(GPT2Config(n_embd=16, n_layer=1, n_head=1, num_labels=2)))


def test_the_example_in_the_docstring_is_true():
    results = doctest.testmod(gymformer.lm.reward)
    assert results.failed == 0 and results.attempted >= 3
