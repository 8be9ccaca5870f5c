"""Training on word problems, from Python and from the command line."""

import json
import signal
from dataclasses import fields

import pytest

from gymformer import load_segments
from gymformer.cli import main
from gymformer.config import OPTIONS
from gymformer.data.arithmetic import Problem
from gymformer.data.word_problems import in_gsm8k_form
from gymformer.rl.agent import load_agent
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm
from gymformer.trainer.gsm8k import _files, _plan, train_gsm8k

ROWS = [Problem(f"{n} + 1?", str(n + 1), (f"It is {n}+1 = <<{n}+1={n + 1}>>{n + 1}.",)) for n in range(8)]


@pytest.fixture
def files(tmp_path):
    for side, rows in (("train", ROWS[:5]), ("test", ROWS[5:])):
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(in_gsm8k_form(row)) + "\n" for row in rows))
    tiny_lm(len(byte_tokenizer()), context=1024).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path


def settings(files, **more):
    return {"gsm8k_path": files, "model_name_or_path": files / "model", "n_few_shot_examples": 0, "max_trajectory_steps": 1,
            "num_iterations": 2, "num_collection_episodes": 4, "save_path": files / "runs", "seed": 0, "progress": False} | more  # fmt: skip


def test_it_trains_tests_and_keeps_what_it_was_asked_to(files, monkeypatch):
    import gymformer.trainer.gsm8k as module

    asked = []
    play = module.play_tokens

    def watched(agent, env, **arguments):
        played = play(agent, env, **arguments)
        asked.append([segment.info["question"] for segment in played])
        return played

    monkeypatch.setattr(module, "play_tokens", watched)
    result = train_gsm8k(**settings(files, evaluation_iterations=1, n_eval_steps=2, save_best_model=True, cache_buffer=True,
                                    buffer_cache_path=files / "buffers"))  # fmt: skip
    assert asked == [[ROWS[5].question, ROWS[6].question]] * 4, (
        "at the start, after each iteration, at the end: in the file's order"
    )
    assert len(result.run) == 8 and result.problems == 2 and [m["test_accuracy"] for m in result.run.metrics] == [0.0, 0.0]
    assert load_agent(files / "runs" / "best").reads_tokens
    kept = load_segments(files / "buffers" / "update_000002.jsonl")
    assert len(kept) == 4 and {segment.info["question"] for segment in kept} <= {row.question for row in ROWS[:5]}


def test_the_best_model_is_kept_also_where_only_the_start_and_the_end_are_tested(files):
    result = train_gsm8k(**settings(files, save_best_model=True, num_iterations=1, max_trajectory_steps=2))
    best, last = load_agent(files / "runs" / "best"), load_agent(result.run.path)
    assert best.env_kwargs == last.env_kwargs and best.env_kwargs["max_lines"] == 2  # it is asked as in training
    assert best.max_timesteps == last.max_timesteps == 2 * 128  # lines are cut, not the solution
    with pytest.raises(ValueError, match="give a save_path"):
        train_gsm8k(**settings(files, save_best_model=True, save_path=None))


def test_the_first_test_is_where_the_training_will_be(files, monkeypatch):
    """A large model would be tested on the CPU for hours otherwise."""
    import gymformer.trainer.gsm8k as module

    done = []
    to, play = LMActorNetwork.to, module.play_tokens
    monkeypatch.setattr(LMActorNetwork, "to", lambda self, device: done.append("moved") or to(self, device))
    monkeypatch.setattr(module, "play_tokens", lambda *args, **more: done.append("tested") or play(*args, **more))
    train_gsm8k(**settings(files, num_iterations=1))
    assert done[:2] == ["moved", "tested"]


def test_a_run_that_is_interrupted_ends_untested_and_remembers_its_start(files, monkeypatch):
    import gymformer.trainer.gsm8k as module

    tests, play = [], module.play_tokens

    def interrupted(*args, **more):
        tests.append(play(*args, **more))
        if len(tests) == 2:  # after the first iteration
            signal.raise_signal(signal.SIGINT)
        return tests[-1]

    monkeypatch.setattr(module, "play_tokens", interrupted)
    result = train_gsm8k(**settings(files, evaluation_iterations=1))
    assert (result.run.stopped, result.before, result.after, len(tests)) == ("interrupted", 0.0, None, 2)
    result = train_gsm8k(**settings(files, evaluation_iterations=1, resume=result.run.path))
    assert (result.run.stopped, result.before, result.after, len(tests)) == ("finished", 0.0, 0.0, 4)


def test_problems_of_the_test_are_never_trained_on(files):
    with (files / "train.jsonl").open("a") as file:
        file.write(json.dumps(in_gsm8k_form(ROWS[6])).replace("6 + 1?", "6  + 1?") + "\n")
    with pytest.raises(
        ValueError,
        match=r"1 of the 3 problems in .*test\.jsonl are in .*train\.jsonl too.*row 6 is row 2 of the test, '6 \+ 1\?'",
    ):
        train_gsm8k(**settings(files))
    (files / "other.jsonl").write_text(json.dumps(in_gsm8k_form(ROWS[0])))
    with pytest.raises(ValueError, match=r"3 of the 3 problems"):  # nor shown as examples
        train_gsm8k(**settings(files, gsm8k_path=files / "other.jsonl", train_data_file=files / "test.jsonl"))


def test_a_folder_stands_for_the_file_in_it(files):
    assert _files(files, None) == _files(files / "train.jsonl", files) == (files / "train.jsonl", files / "test.jsonl")
    with pytest.raises(ValueError, match=r"3 of the 3 problems in .* are in .*test\.jsonl too"):
        train_gsm8k(**settings(files, gsm8k_path=files / "test.jsonl", test_gsm8k_path=files, train_data_file=files))
    (files / "test.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="test_gsm8k_path"):
        _files(files, None)


def test_what_an_option_becomes():
    config, interval = _plan("ppo", 256, 4, 2, lr_actor=1e-5, gamma=0.9, refresh_every=None)
    assert (config.update_epochs, config.lr_actor, config.gamma, interval) == (4, 1e-5, 0.9, 256)
    assert config.micro_batch_size == 512  # half of the minibatch that a step is taken from
    assert _plan("ppo", 256, 1, 1)[0].update_epochs == 1  # the algorithm's own choice is another
    config, interval = _plan("reinforce_stable", 256, 4, 2, lr_actor=None, gamma=None, refresh_every=3)
    assert (config.refresh_every, interval, config.micro_batch_size) == (3, 64, 2048)
    for algorithm, values, message in (("grpo", {"gamma": 0.9}, "gamma means nothing to grpo"), ("nonsense", {}, "is not known"),
                                       ("ppo", {"refresh_every": 2}, r"take another algorithm \(reinforce_stable\)")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            _plan(algorithm, 256, 1, 1, **values)
    with pytest.raises(ValueError, match="cannot be divided"):
        _plan("rloo", 10, 3, 1)


def test_a_reference_of_ones_own_is_not_for_the_one_that_has_its_own(files):
    with pytest.raises(ValueError, match="leave out ref_model_name"):
        train_gsm8k(**settings(files, ref_model_name=files / "model"))
    result = train_gsm8k(
        **settings(files, ref_model_name=files / "model", algorithm="reinforce", kl_coeff=0.5, evaluation_at_start=False)
    )
    assert result.before is None and result.run.metrics[0]["kl_coefficient"] == 0.5
    assert abs(result.run.metrics[0]["kl_to_reference"]) < 1e-5  # the same model, at first


def test_the_command_line_knows_every_option_in_both_spellings(files, capsys, monkeypatch):
    """interfaces: the names that users rely on."""
    monkeypatch.chdir(files)
    (files / "prompt.txt").write_text("Solve it.")
    words = f"""gsm8k --gsm8k-path {files / "train.jsonl"} --train-data-file {files / "train.jsonl"} --test-gsm8k-path {files / "test.jsonl"}
        --sys_prompt_path {files / "prompt.txt"} --model-name-or-path {files / "model"} --ref-model-name {files / "model"}
        --algorithm reinforce --cache-dir {files / "hub"} --n-few-shot-examples 1 --num-iterations 1 --num_collection_episodes 4
        --max-trajectory-steps 1 --num-update-steps 2 --cache-buffer --evaluation-iterations 1 --n-eval-steps 1
        --buffer-cache-path {files / "kept"} --gradient-accumulation-steps 2 --save-path {files / "runs"} --n-save-iterations 1
        --kl-coeff 0.1 --sym-calc --evaluation-at-start --use-lora --gamma 0.99 --save-best-model --seed 0 --progress False"""
    monkeypatch.setenv("HF_HUB_CACHE", "unset")
    assert main(["train", *words.split()]) == 0
    said = capsys.readouterr().out
    assert "of 1 test problems are solved, 0.0% before" in said and "saved in" in said
    assert len(load_segments(files / "kept" / "update_000001.jsonl")) == 2  # two steps, each from a half
    assert main(["train", "gsm8k", "--gsm8k-path", str(files), "--qlora", "--model-name-or-path", str(files / "model")]) == 2
    assert "bitsandbytes" in capsys.readouterr().err
    assert main(["train", "gsm8k", "--update-ref-iterations", "2", "--algorithm", "ppo"]) == 2
    assert "reinforce_stable" in capsys.readouterr().err
    assert main(["train", "gsm8k", "--num-iteration", "2"]) == 2
    assert "did you mean --num-iterations?" in capsys.readouterr().err


def test_the_options_are_the_functions():
    import inspect

    groups = [field.default_factory for field in fields(OPTIONS["train gsm8k"])]
    options = {name: field.default for group in groups for name, field in group.model_fields.items()}
    parameters = {name: parameter.default for name, parameter in inspect.signature(train_gsm8k).parameters.items()}
    assert options.pop("cache_dir") is None and options.keys() == parameters.keys()
    assert {name: str(value) for name, value in options.items()} == {name: str(value) for name, value in parameters.items()}
