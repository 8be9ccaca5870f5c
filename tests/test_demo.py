"""The demo, on a budget of seconds."""

import re
from functools import partial

import numpy as np
import pytest

from gymformer import PPOConfig, cli, demo
from gymformer.demo import (
    FULL,
    QUICK,
    Stage,
    learn_control,
    learn_preferences,
    learn_reasoning,
    learn_to_describe,
    run_demo,
    text_curve,
)
from gymformer.presets import preset_names

TINY = {"total_timesteps": 512, "num_envs": 4, "rollout_steps": 64, "ppo_config": PPOConfig(update_epochs=1), "progress": False}


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def test_an_agent_that_learned_too_little_is_told_so_and_everything_is_saved(tmp_path, capsys):
    stage = Stage("CartPole", partial(learn_control, "CartPole-v1", "A story.", settings=TINY))
    assert run_demo([stage], tmp_path, seed=0) is False
    said = capsys.readouterr().out
    (run,) = (tmp_path / "CartPole-v1").iterdir()
    for file in ("agent/config.json", "learning_curve.png", "episode.gif"):
        assert (run / file).stat().st_size > 0
    assert "Not solved" in said and "475 is asked for" in said and "It missed its goal in CartPole." in said
    assert "100 sampled episodes" in said and "100 greedy episodes" in said
    assert str(run / "episode.gif") in said and 'train_agent("CartPole-v1", **preset("CartPole-v1"), seed=0)' in said


def test_the_reasoner_is_shown_before_and_after_and_token_by_token(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "TEXTS", 16)
    monkeypatch.setattr(demo, "EVALUATED", 20)
    assert run_demo([Stage("reasoner", learn_reasoning)], tmp_path, seed=0) is False, "16 questions are too few to learn from"
    said = capsys.readouterr().out
    assert re.search(r"its likeliest answer right +\d+\.\d% +\d+\.\d%\n +a sampled answer right +\d+\.\d% +\d+\.\d%\n", said)
    assert said.count("<final_answer>") >= 6, "three answers before, three after"
    assert re.search(r"token +advantage +value +reward +log-prob +reference +KL +entropy +ratio\n", said)
    (run,) = (tmp_path / "CoTEnv-v0").iterdir()
    assert "<html" in (run / "trace.html").read_text() and str(run / "trace.html") in said
    assert "Not learned" in said and "85% is asked for" in said


def test_preferences_become_a_reward_model_and_that_tunes_the_writer(tmp_path, capsys, monkeypatch):
    for name, value in (("COMPARED", 60), ("DESCRIBED", 16), ("JUDGED", 12), ("PREFERRED", 1.0), ("RISE", 100)):
        monkeypatch.setattr(demo, name, value)
    stages = [Stage("preferences", learn_preferences), Stage("rlhf", learn_to_describe)]
    assert run_demo(stages, tmp_path, seed=1) is False, "so much cannot be reached"
    said = capsys.readouterr().out
    assert said.count("   * ") == 1, "one of four is the best"
    assert re.search(r"Not learned: \d+\.\d% of the held-out labels, where chance is 25% and 100% is asked for\.", said)
    assert re.search(r"the reward model says +-?\d+\.\d+ +-?\d+\.\d+\n +the truth +-?\d+\.\d+ +-?\d+\.\d+\n", said)
    assert "Not learned: the truth rose by" in said and said.count("(score ") == 6
    assert (tmp_path / "reward_model-seed1" / "report.md").is_file()


def test_the_exit_status_says_whether_the_goal_was_reached(monkeypatch, tmp_path, capsys):
    seen = []
    for good, status in ((True, 0), (False, 1)):
        stage = Stage("a stage", lambda path, seed, good=good: seen.append((path, seed)) or good)
        monkeypatch.setattr(demo, "QUICK", [stage])
        assert cli.main(["demo", "--save-path", str(tmp_path), "--seed", "3"]) == status
    assert seen == [(tmp_path, 3)] * 2
    assert "[1/1] a stage" in capsys.readouterr().out


def test_every_later_stage_runs_even_if_one_missed_its_goal(tmp_path):
    seen = []
    stages = [Stage("one", lambda *_: bool(seen.append(1))), Stage("two", lambda *_: not seen.append(2))]
    assert run_demo(stages, tmp_path, 0) is False
    assert seen == [1, 2]


def test_the_quick_demo_has_a_preset():
    assert [stage.title.split(":")[0] for stage in QUICK] == ["CartPole-v1", "CoTEnv-v0", "Preferences", "RLHFEnv-v0"]
    assert "CartPole-v1" in preset_names()
    assert [stage.title.split(":")[0] for stage in FULL] == ["LunarLander-v3"]


def test_text_curve_rises_from_the_lowest_to_the_highest_value():
    lines = text_curve(np.array([0.0, 1.0, 2.0]), "return", "episode", width=3, height=3).splitlines()
    assert lines == [
        "           return",
        "      2.0 |  *",
        "          | *",
        "      0.0 |*",
        "          +---",
        "           1episode 3",
    ]


def test_text_curve_of_a_constant_and_of_nothing():
    assert text_curve([5.0] * 4, width=4, height=2).count("*") == 4
    assert "no episode" in text_curve([])
