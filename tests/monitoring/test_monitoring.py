"""The log, the curves, the trackers and the progress that a user sees."""

import re
from pathlib import Path

import numpy as np
import pytest

from gymformer import PPOConfig, train_agent
from gymformer.monitoring.curves import plot_training
from gymformer.monitoring.learning_curve import running_mean
from gymformer.monitoring.log import MetricsLog, read_metrics
from gymformer.monitoring.progress import Progress
from gymformer.monitoring.trackers import make_tracker

QUICK = {"ppo_config": PPOConfig(update_epochs=1), "max_episodes": 6, "update_interval": 3, "seed": 0}


def test_the_log_reads_back_what_was_written_and_nan_as_null(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"update": 1, "value": 0.5, "broken": float("nan")})
    assert read_metrics(tmp_path) == [{"update": 1, "value": 0.5, "broken": None}]


def test_a_log_cut_back_forgets_what_came_after(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"update": 1})
    offset = log.offset()
    log.write({"update": 2})
    log.truncate(offset)
    log.write({"update": 3})
    assert [record["update"] for record in read_metrics(tmp_path)] == [1, 3]
    with pytest.raises(ValueError, match="the log was cut or replaced"):
        log.truncate(10_000)


def test_a_line_that_a_killed_process_left_unfinished_is_left_out_and_a_broken_one_is_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"update": 1}\n{"upda')
    assert read_metrics(file) == [{"update": 1}]
    file.write_text('{"update": 1}\nrubbish\n{"update": 2}\n')
    with pytest.raises(ValueError, match="line 2: not a JSON record"):
        read_metrics(file)
    file.write_text('[1, 2]\n{"update": 2}\n')
    with pytest.raises(ValueError, match=r"line 1: not a JSON record \(it is a list"):
        read_metrics(file)
    file.write_text('{"update": 1, "return_mean": NaN, "loss": -Infinity}\n')  # as others write it
    assert read_metrics(file) == [{"update": 1, "return_mean": None, "loss": None}]
    with pytest.raises(FileNotFoundError, match="give a training run's folder"):
        read_metrics(tmp_path / "nowhere")


def test_the_running_mean_by_hand():
    assert running_mean([1.0, 3.0, 5.0, 7.0], window=2).tolist() == [1.0, 2.0, 4.0, 6.0]


def test_a_chart_of_nothing_of_one_and_of_gaps_can_be_drawn():
    for returns, metrics in (
        ([], []),
        ([1.0], []),
        ([1.0, 2.0], [{"timesteps": 1, "entropy": None}, {"timesteps": 2, "entropy": 1.0}]),
    ):
        assert plot_training(returns, metrics)._repr_png_().startswith(b"\x89PNG")


def test_every_statistic_of_a_run_is_defined_in_the_readme(tmp_path):
    readme = Path(__file__).parents[2].joinpath("gymformer/monitoring/README.md").read_text(encoding="utf-8")
    defined = set(re.findall(r"`([a-z_]+)`", readme))
    result = train_agent("CartPole-v1", **QUICK, save_path=tmp_path, eval_interval=3, eval_episodes=1, progress=False)
    for record in read_metrics(result.path):
        assert set(record) <= defined


def test_without_a_terminal_lines_are_printed_every_log_interval(capsys):
    train_agent("CartPole-v1", **QUICK, save_path=None, log_interval=3)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("episode")]
    assert len(lines) == 2
    assert "chosen" not in lines[0]


def test_the_choices_are_said_aloud_and_progress_false_is_silent(capsys):
    train_agent("CartPole-v1", **QUICK, save_path=None)
    said = capsys.readouterr().err
    assert "chosen for control: lr_actor=0.0003, lr_critic=0.001, gamma=0.99, minibatch_size=64" in said
    assert "seed 0" in said
    assert "one thread because the networks are small" in said
    train_agent("CartPole-v1", **QUICK, save_path=None, progress=False)
    assert capsys.readouterr() == ("", "")


def test_the_bar_advances_to_its_end(capsys):
    train_agent("CartPole-v1", **QUICK, save_path=None, progress=True)
    assert "6/6" in capsys.readouterr().err
    progress = Progress(10, "episodes", True, 1)
    progress.update(25, 25, 1.0, {"timesteps": 1}, [], [])
    assert progress._bar.n == 10
    progress.close([], [])


def test_tensorboard_gets_every_number(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train_agent("CartPole-v1", **QUICK, save_path=tmp_path, tracker="tensorboard", progress=False)
    events = EventAccumulator(str(result.path)).Reload()
    values = [scalar.value for scalar in events.Scalars("entropy")]
    assert np.allclose(values, [record["entropy"] for record in result.metrics])


@pytest.mark.parametrize("mode", ["offline", "disabled", None])
def test_wandb_is_never_online_unasked(mode, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    result = train_agent("CartPole-v1", **QUICK, save_path=tmp_path, tracker="wandb", progress=False)
    written = list(result.path.glob("wandb/offline-run-*"))
    assert len(written) == (0 if mode == "disabled" else 1)


def test_wandb_online_without_a_network_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens on the discard port
    with pytest.raises(ConnectionError, match="set WANDB_MODE=offline"):
        train_agent("CartPole-v1", **QUICK, save_path=tmp_path, tracker="wandb", progress=False)


def test_a_tracker_must_be_known():
    with pytest.raises(ValueError, match='use "wandb", "tensorboard", None'):
        make_tracker("tensorbord")
