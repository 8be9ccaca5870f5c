"""train_reward: it learns, resumes as if nothing had happened, is honest when dry, and refuses bad input before it writes."""

import json
import os
import random
import signal
import threading

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import gymformer
from gymformer.data.preferences import load_preferences
from gymformer.evaluation.preference_report import PreferenceReport
from gymformer.lm.reward import RewardModel
from gymformer.rl.errors import NonFiniteError
from gymformer.seeding import derive_seed
from gymformer.testing import byte_tokenizer, tiny_lm
from gymformer.trainer import load_reward_model, train_reward
from gymformer.trainer.preference_batches import encode, epoch_batches, parts, stack
from gymformer.trainer.reward import RewardRun

WORDS = ["red", "big", "old", "wet"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the training; the test of the folder draws them."""
    monkeypatch.setattr(PreferenceReport, "charts", lambda self: {})


def sentence(rng: random.Random, good: bool) -> str:
    """Two to five words; good ones have "!" among them."""
    words = [rng.choice(WORDS) for _ in range(rng.randint(2, 5))]
    if good:
        words[rng.randrange(len(words))] += "!"
    return " " + " ".join(words)


def easy(count: int, candidates: int = 2, seed: int = 0) -> list[dict]:
    """Preferences for the one sentence with an exclamation mark, whatever the prompt."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        best = rng.randrange(candidates)
        samples = [sentence(rng, k == best) for k in range(candidates)]
        if candidates == 2:
            rows.append({"prompt": f"{number}:", "chosen": samples[best], "rejected": samples[1 - best]})
        else:
            rows.append({"query": f"{number}:", **{f"sample{k}": text for k, text in enumerate(samples)}, "best": best})
    return rows


def noise() -> list[dict]:
    """80 pairs whose labels nothing explains."""
    rng = random.Random(1)
    return [{"prompt": f"{n}:", "chosen": sentence(rng, False), "rejected": sentence(rng, False)} for n in range(80)]


def train(path, rows=None, architecture: str = "gpt2", **options) -> RewardModel:
    settings = {"learning_rate": 3e-3, "epochs": 2, "batch_size": 8, "progress": False, "tokenizer": byte_tokenizer()}
    lm = tiny_lm(261, architecture, width=16, heads=1, context=64)
    return train_reward(lm, easy(60) if rows is None else rows, path, **settings | options)


def files_of(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def numbers(metrics: list[dict]) -> list[dict]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in metrics]


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("candidates", "architecture"), [(2, "gpt2"), (4, "llama")])
def test_an_easy_preference_is_learned(candidates, architecture, tmp_path):
    """Above 90% on prompts that were held out, by chance 50% and 25%; saved, loaded, and loaded by transformers alone."""
    rows = easy(200, candidates)
    lm = tiny_lm(261, architecture, width=32, heads=2)
    model = train_reward(lm, rows, tmp_path / "model", learning_rate=5e-3, batch_size=16, epochs=3, patience=None, seed=0,
                         tokenizer=byte_tokenizer(), progress=False)  # fmt: skip
    report = model.run.report
    assert report.accuracy > 0.9 and report.mean_reciprocal_rank > 0.94 and report.loss < 0.4
    assert report.score_mean == pytest.approx(0, abs=1e-6) and report.score_std == pytest.approx(1, abs=1e-6)

    pairs = [("x:", " big old! red"), ("x:", " big old red"), ("x:", " wet! wet"), ("x:", " wet wet wet wet wet")]
    scores = model.score(pairs)
    assert scores[0] > scores[1] and scores[2] > scores[3]
    loaded = load_reward_model(tmp_path / "model")
    assert torch.equal(loaded.score(pairs), scores)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    batch = tokenizer.pad({"input_ids": [model.encode(pair) for pair in pairs]}, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(plain(**batch).logits[:, 0] - model.offset, scores, rtol=0, atol=1e-5)


def test_the_folder_holds_the_model_its_report_and_nothing_else_remains(tmp_path, monkeypatch):
    monkeypatch.undo()
    model = train(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "report.json", "report.md", "reliability.png", "scores.png",
            "lengths.png", "metrics.jsonl", "training.json"} <= set(files_of(tmp_path / "model"))  # fmt: skip
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    assert model.run.path == tmp_path / "model" and model.run.stopped == "finished"
    metrics = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    assert metrics == model.run.metrics and metrics[-1]["step"] == model.run.steps
    assert {"train_loss", "loss", "accuracy", "mean_reciprocal_rank", "learning_rate"} <= set(metrics[0])


def test_the_report_is_of_the_model_that_was_saved(tmp_path):
    rows = easy(60)
    model = train(tmp_path / "model", rows)
    _, test = load_preferences(rows).split(0.2, 42)
    loaded = load_reward_model(tmp_path / "model")
    scores = loaded.score([(record.prompt, reply) for record in test for reply in record.candidates]).view(-1, 2)
    assert torch.allclose(scores.double(), torch.from_numpy(model.run.report.scores), atol=1e-4)
    assert float((scores[:, 0] > scores[:, 1]).double().mean()) == model.run.report.accuracy


def test_the_best_model_is_kept_and_training_stops_early(tmp_path):
    """Labels at random: the held-out loss soon rises, and what is kept is the model of its lowest point."""
    model = train(tmp_path / "model", noise(), epochs=30, learning_rate=1e-2, patience=3)
    losses = {record["step"]: record["loss"] for record in model.run.metrics}
    assert model.run.stopped == "early" and model.run.steps < 30 * 8
    assert model.run.best_step == min(losses, key=losses.__getitem__)
    assert sum(step > model.run.best_step for step in losses) == 3
    assert model.run.report.loss == pytest.approx(losses[model.run.best_step], abs=1e-4)


def test_lora_learns_and_is_merged(tmp_path):
    pytest.importorskip("peft")
    before = RewardModel.from_causal_lm(tiny_lm(261, "llama", width=16, heads=1, context=64), byte_tokenizer())
    model = train(tmp_path / "model", architecture="llama", lora=4, learning_rate=1e-2)
    assert not any("lora" in name for name, _ in model.named_parameters())
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before.state_dict()[name])]
    assert any("q_proj" in name for name in changed) and not any("embed" in name for name in changed)
    assert torch.allclose(load_reward_model(tmp_path / "model").score([("a", "b")]), model.score([("a", "b")]))


def test_chat_messages_and_token_ids_are_trained_on(tmp_path):
    user, say = lambda text: {"role": "user", "content": text}, lambda text: {"role": "assistant", "content": text}
    chat = [
        {"prompt": [user(row["prompt"])], "chosen": [say(row["chosen"])], "rejected": [say(row["rejected"])]}
        for row in easy(30)
    ]
    model = train(tmp_path / "chat", chat, epochs=1)
    assert load_reward_model(tmp_path / "chat").rows.template == "chat"
    assert model.encode(((("user", "a"),), "b")) == byte_tokenizer().encode("<|user|>a<|end|><|assistant|>b<|end|>")
    ids = [{name: list(text.encode()) for name, text in row.items()} for row in easy(30)]
    model = train(tmp_path / "ids", ids, epochs=1, tokenizer=None)
    assert model.tokenizer is None and model.rows.end_token_id is None
    assert load_reward_model(tmp_path / "ids").score([[1, 2, 3]]).shape == (1,)


# --- batches ----------------------------------------------------------------------------------------------------------


def test_an_epoch_has_every_example_once_in_batches_of_about_one_length():
    model = RewardModel.from_causal_lm(tiny_lm(261), byte_tokenizer())
    examples, _ = encode(model, load_preferences(easy(100)), None, 0.0)
    batches = epoch_batches(examples, 8, seed=0, epoch=0)
    assert sorted(id(example) for batch in batches for example in batch) == sorted(map(id, examples)) and len(batches) == 13
    spans = [max(e.longest for e in batch) - min(e.longest for e in batch) for batch in batches]
    assert sum(spans) / len(spans) < 3 < max(e.longest for e in examples) - min(e.longest for e in examples)
    again, other = epoch_batches(examples, 8, seed=0, epoch=0), epoch_batches(examples, 8, seed=0, epoch=1)
    assert [list(map(id, b)) for b in again] == [list(map(id, b)) for b in batches] != [list(map(id, b)) for b in other]


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path):
    """Steps with everything in one pass and with one row a pass end at the same weights, to rounding."""
    whole = train(tmp_path / "whole", max_tokens=10**6, epochs=1)
    piecemeal = train(tmp_path / "parts", max_tokens=1, epochs=1)
    for (name, a), b in zip(whole.state_dict().items(), piecemeal.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4, msg=name)
    assert [r["train_loss"] for r in piecemeal.run.metrics] == pytest.approx(
        [r["train_loss"] for r in whole.run.metrics], rel=1e-3
    )
    examples, _ = encode(whole, load_preferences(easy(20)), None, 0.0)
    for group in parts(examples, 300):
        inputs = stack(group, torch.device("cpu")).inputs
        assert inputs.numel() <= 300
    assert sum(map(len, parts(examples, 300))) == 20


def test_targets_and_margins_reach_the_loss():
    rows = [*easy(2), easy(1)[0] | {"margin": 2.5}, easy(1)[0] | {"tie": True}]
    model = RewardModel.from_causal_lm(tiny_lm(261), byte_tokenizer())
    examples, _ = encode(model, load_preferences(rows), None, 0.0)
    batch = stack(examples, torch.device("cpu"))
    assert batch.target.tolist() == [[1, 0], [1, 0], [1, 0], [0.5, 0.5]] and batch.margin.tolist() == [0, 0, 2.5, 0]
    assert batch.inputs.shape == (8, int(batch.lengths.max()))
    assert batch.inputs[1, : batch.lengths[1]].tolist() == model.encode((rows[0]["prompt"], rows[0]["rejected"]))


def test_the_learning_rate_rises_and_falls_linearly_and_biases_do_not_decay(tmp_path, monkeypatch):
    """Two of ten steps of warm-up to 1: 1/2, 1, then 8/8, 7/8 … down to 1/8 in the last step."""
    seen: list[tuple[float, float]] = []
    step = torch.optim.AdamW.step

    def watched(self, *args):
        seen.append(tuple(group["lr"] for group in self.param_groups))
        sizes = [{parameter.ndim for parameter in group["params"]} for group in self.param_groups]
        assert sizes == [{2}, {1}] and [group["weight_decay"] for group in self.param_groups] == [0.3, 0.0]
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    rows = easy(60)
    count = len(load_preferences(rows).split(0.2, 42)[0])
    train(tmp_path / "model", rows, epochs=1, batch_size=-(-count // 10), warmup_steps=2, learning_rate=1e-3, weight_decay=0.3)
    expected = [0.5, 1, *(n / 8 for n in range(8, 0, -1))]
    assert [pair[0] for pair in seen] == pytest.approx([1e-3 * share for share in expected])
    assert all(one == other for one, other in seen)


# --- resuming ---------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize("lora", [None, 2])
def test_a_run_resumed_after_a_kill_equals_the_uninterrupted_one(lora, tmp_path, monkeypatch):
    if lora:
        pytest.importorskip("peft")
    whole = train(tmp_path / "whole", lora=lora)
    learn = RewardRun.learn

    def until_killed(self, examples):
        if self.step == 8:
            raise Killed
        return learn(self, examples)

    monkeypatch.setattr(RewardRun, "learn", until_killed)
    with pytest.raises(Killed):
        train(tmp_path / "killed", lora=lora)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if "killed" in path.name] == ["killed.training"]
    with pytest.raises(FileExistsError, match=r"holds an unfinished run; go on with it \(resume_checkpoint=True"):
        train(tmp_path / "killed", lora=lora)
    resumed = train(tmp_path / "killed", lora=lora, resume_checkpoint=True)
    assert numbers(resumed.run.metrics) == numbers(whole.run.metrics)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not (tmp_path / "killed.training").exists()
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        train(tmp_path / "killed", lora=lora, resume_checkpoint=True)


def test_a_resumed_run_remembers_the_best_model(tmp_path, monkeypatch):
    """Killed after the held-out loss has begun to rise."""
    options = {"rows": noise(), "epochs": 30, "learning_rate": 1e-2, "patience": 3}
    whole = train(tmp_path / "whole", **options)
    learn = RewardRun.learn

    def until_killed(self, examples):
        if self.step == whole.run.steps - 1:
            raise Killed
        return learn(self, examples)

    monkeypatch.setattr(RewardRun, "learn", until_killed)
    with pytest.raises(Killed):
        train(tmp_path / "killed", **options)
    monkeypatch.undo()
    resumed = train(tmp_path / "killed", resume_checkpoint=True, **options)
    assert resumed.run.best_step == whole.run.best_step < whole.run.steps and resumed.run.stopped == "early"
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))


def test_ctrl_c_saves_returns_the_best_so_far_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    assert threading.current_thread() is threading.main_thread()
    whole = train(tmp_path / "whole")
    learn = RewardRun.learn

    def interrupted(self, examples):
        if self.step == 4:  # in the middle between two evaluations
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self, examples)

    monkeypatch.setattr(RewardRun, "learn", interrupted)
    model = train(tmp_path / "model")
    monkeypatch.undo()
    assert model.run.stopped == "interrupted" and model.run.steps == 5 and model.run.path is None
    assert not (tmp_path / "model").exists() and model.score([("a", "b")]).isfinite().all()
    resumed = train(tmp_path / "model", resume_checkpoint=tmp_path / "model.training" / "checkpoints" / "checkpoint-000005")
    assert numbers(resumed.run.metrics) == numbers(whole.run.metrics)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))


def test_a_run_goes_on_only_with_the_same_settings_and_rows(tmp_path, monkeypatch):
    evaluate = RewardRun._evaluate

    def killed(self, seconds):
        if self.metrics:
            raise Killed
        evaluate(self, seconds)

    monkeypatch.setattr(RewardRun, "_evaluate", killed)
    with pytest.raises(Killed):
        train(tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"was written with learning_rate=0\.003, and cannot go on with 0\.001"):
        train(tmp_path / "model", resume_checkpoint=True, learning_rate=1e-3)
    with pytest.raises(ValueError, match="was written with rows="):
        train(tmp_path / "model", easy(60, seed=1), resume_checkpoint=True)


def test_one_seed_is_one_run_and_another_seed_another(tmp_path):
    first, same, other = (train(tmp_path / name, seed=seed, epochs=1) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert numbers(first.run.metrics) == numbers(same.run.metrics) != numbers(other.run.metrics)


# --- dry runs ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_and_says_what_a_full_run_takes(tmp_path, capsys):
    rows = easy(60)
    model = train(tmp_path / "model", rows, dry_run=True, progress=None)
    said = capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    train_rows, test_rows = load_preferences(rows).split(0.2, 42)
    steps = 2 * -(-len(train_rows) // 8)
    assert f"A full run takes {steps} steps (2 epochs of {steps // 2})" in said and f"on {len(test_rows)} rows" in said
    assert "60 pairs, texts" in said and "needs about" in said and "nothing was written" in said
    assert model.run.stopped == "dry run" and model.run.path is None and model.run.estimate > 0
    lm = tiny_lm(261, width=16, heads=1, context=64)
    untrained = RewardModel.from_causal_lm(lm, byte_tokenizer(), seed=derive_seed(42, "head"))
    assert torch.equal(untrained.score([("a", "b")]), model.score([("a", "b")]))
    full = train(tmp_path / "model", rows)
    assert full.run.steps == steps


def test_a_dry_run_fails_where_a_full_run_would(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    for options, error, message in [
        ({"path": tmp_path / "other"}, FileExistsError, "exists and is no reward model"),
        ({"rows": [{"chosen": "a"}] * 3}, ValueError, "3 of 3 rows cannot be used"),
        ({"max_length": 3}, ValueError, "more than max_length=3"),
    ]:
        with pytest.raises(error, match=message):
            train(**{"path": tmp_path / "model", "dry_run": True} | options)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "are empty"),
        ([*easy(5), {"prompt": "a"}], {}, "row 6: it lacks chosen, rejected"),
        ([*easy(5), {"prompt": "x" * 64, "chosen": "a", "rejected": "b"}], {},
         r"row 6: its prompt has 64 tokens, which leaves no room for a reply in the model's context of 64\..*max_refused"),
        ([*easy(5), {"prompt": "x" * 60, "chosen": "abcdef", "rejected": "b"}], {}, "row 6: its prompt and reply have 67 tokens, more than the"),
        ([{"prompt": [n], "chosen": [1, 2], "rejected": [3]} for n in range(259, 264)], {}, "row 3: its token 261 is not one of the"),
        ([row | {"rejected": row["chosen"]} for row in easy(5)], {}, "all candidates are the same"),
        (easy(1), {}, "all rows are on one side"),
        (easy(9), {"template": "chat", "tokenizer": None}, "needs a tokenizer with a chat template"),
        (easy(9), {"tokenizer": None}, "texts need a tokenizer"),
        (easy(9), {"batch_size": 0}, "batch_size=0; it must be a whole number of at least 1"),
        (easy(9), {"test_size": 1.0}, "test_size=1.0"),
        (easy(9), {"learning_rate": 0.0}, "learning_rate=0.0"),
        (easy(9), {"warmup_steps": 1000}, "warmup_steps=1000, but there are only"),
        (easy(9), {"weight_decay": -1.0}, "weight_decay=-1.0"),
        (easy(9), {"ending": "full stop"}, "ending='full stop' is not known"),
        (easy(9), {"device": "abacus"}, 'device="abacus"'),
        (easy(9), {"tracker": "papyrus"}, 'tracker="papyrus"'),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_before_anything_is_written(rows, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "model", rows, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_model_or_a_file_that_is_no_data_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="is not a model: it has no config"):
        train_reward(tmp_path / "folder", easy(9), tmp_path / "model")
    with pytest.raises(ValueError, match="holds no data"):
        train(tmp_path / "model", tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        train(tmp_path / "model", tmp_path / "rows.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_few_rows_that_are_too_long_are_left_out_aloud(tmp_path, capsys):
    rows = [*easy(20), {"prompt": "x" * 64, "chosen": "a", "rejected": "b"}]
    model = train(tmp_path / "model", rows, max_refused=0.1, epochs=1, progress=None)
    assert "1 rows are too long: row 21" in capsys.readouterr().err
    assert model.run.report.rows < 20


def test_a_loss_that_is_not_finite_stops_training_and_names_the_rows(tmp_path):
    lm = tiny_lm(261, width=16, heads=1, context=64)
    with torch.no_grad():
        lm.transformer.wte.weight[ord("!")] = float("nan")
    with pytest.raises(NonFiniteError, match=r"the loss is not finite at step 0 .*row \d+.*A lower learning_rate"):
        train_reward(lm, easy(60), tmp_path / "model", tokenizer=byte_tokenizer(), progress=False)
    assert not (tmp_path / "model").exists()


def test_an_older_reward_model_is_replaced_and_anything_else_is_not(tmp_path):
    train(tmp_path / "model", epochs=1)
    newer = train(tmp_path / "model", epochs=1, seed=1)
    assert torch.equal(load_reward_model(tmp_path / "model").score([("a", "b")]), newer.score([("a", "b")]))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="is no reward model, so it is not replaced"):
        train(tmp_path / "mine")


# --- beside -----------------------------------------------------------------------------------------------------------


def test_a_tracker_sees_every_evaluation(tmp_path):
    class Notes:
        def __init__(self):
            self.seen, self.over = [], False

        def start(self, name, folder, config, step):
            assert config["batch_size"] == 8 and step == 0

        def log(self, metrics, step):
            self.seen.append((step, metrics["loss"], metrics["accuracy"]))

        def finish(self):
            self.over = True

    notes = Notes()
    model = train(tmp_path / "model", tracker=notes)
    assert notes.seen == [(r["step"], r["loss"], r["accuracy"]) for r in model.run.metrics] and notes.over


def test_the_names_are_where_users_look_for_them():
    assert gymformer.train_reward is train_reward and gymformer.load_reward_model is load_reward_model
    assert gymformer.RewardModel is RewardModel and gymformer.load_preferences is load_preferences
    with pytest.raises(AttributeError, match="has no attribute 'train_rewards'"):
        gymformer.trainer.train_rewards  # noqa: B018
