"""The benchmarks still run with the library as it is, and their README says what they measured."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY = {"seed": 0, "num_envs": 2, "rollout_steps": 8, "epochs": 1, "minibatch_size": 16, "gamma": 0.98, "lam": 0.8, "lr": 1e-3,
        "warm_up": 1, "iterations": 1}  # fmt: skip
TINY_LM = {"seed": 0, "shape": "XS", "batch": 2, "prompt": 4, "tokens": 3, "dtype": "float32", "device": "cpu", "warm_up": 1,
           "iterations": 2}  # fmt: skip


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, BENCHMARKS / script, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("script", ["classic.py", "language.py"])
def test_the_readmes_tables_are_those_of_the_results(script):
    run(script, "tables", "--check")


@pytest.mark.parametrize(
    ("script", "task", "settings"),
    [
        ("contenders/gymformer_ppo.py", "speed", TINY),
        ("contenders/numpy_ppo.py", "speed", TINY),
        ("contenders/parts.py", "gradient_step", {"seed": 0, "kind": "fused", "minibatch_size": 64, "steps": 10}),
        ("contenders/parts.py", "gradient_step", {"seed": 0, "kind": "packed", "minibatch_size": 64, "steps": 10}),
    ],
)
def test_a_contender_runs(script, task, settings):
    answer = json.loads(run(script, task, json.dumps(settings)).splitlines()[-1])
    assert answer["steps"] > 0


@pytest.fixture
def contender(monkeypatch):
    """Imports one of the contenders' modules."""
    monkeypatch.syspath_prepend(BENCHMARKS / "contenders")
    return importlib.import_module


def is_of_all_iterations(answer: dict) -> bool:
    return answer["steps"] == TINY_LM["batch"] * TINY_LM["tokens"] * TINY_LM["iterations"] and answer["rollout_seconds"] > 0


def test_the_loop_by_hand_runs_as_a_process():
    answer = json.loads(run("contenders/lang_hand.py", "speed", json.dumps(TINY_LM)).splitlines()[-1])
    assert is_of_all_iterations(answer)
    assert min(answer["update_seconds"], answer["flops"], answer["peak_bytes"]) > 0


def test_gymformer_plays_and_learns_as_a_contender(contender):
    assert is_of_all_iterations(contender("lang_loop").speed(contender("lang_gymformer").Loop(TINY_LM)))


@pytest.mark.parametrize("name", ["lang_generate", "lang_naive"])
def test_a_contender_with_a_language_model_runs(contender, name):
    assert is_of_all_iterations(contender(name).speed(TINY_LM))


def test_a_profile_names_the_operations_of_both_halves(contender, monkeypatch):
    lang_loop = contender("lang_loop")
    monkeypatch.setattr(lang_loop, "OPERATIONS", 10_000)  # all of them: which are slowest depends on the moment
    profile = lang_loop.where_time_goes(contender("lang_hand").Loop(TINY_LM))
    acting, learning = ({operation for operation, _, _ in profile[half]} for half in ("rollout", "update"))
    assert "aten::addmm" in acting & learning
    assert "aten::multinomial" in acting - learning


def test_the_loop_by_hand_learns_from_what_it_sampled(contender, monkeypatch):
    """log π of the sampled tokens, read anew, is what the cached rollout stored; and with a reference equal to the policy
    the only reward is the score at the end, so that with γ = λ = 1 and values 0 every advantage is that score."""
    lang_hand = contender("lang_hand")
    loop = lang_hand.Loop(TINY_LM)
    rollout = loop.rollout()
    assert torch.allclose(loop.read(loop.lm, rollout.tokens)[0], rollout.log_probs, atol=1e-5)
    rollout.values.zero_()
    monkeypatch.setattr(lang_hand, "LAM", 1.0)
    advantages = loop.advantages(rollout)
    assert torch.allclose(advantages, rollout.rewards[:, None].expand_as(advantages), atol=1e-5)


def test_a_gpu_is_asked_for_where_there_is_none():
    command = [sys.executable, BENCHMARKS / "language.py", "speed", "--device", "cuda"]
    done = subprocess.run(command, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "--device cuda needs a GPU" in done.stderr


def test_nominal_operations_of_an_iteration(contender):
    """XS has 2 blocks of width 16: each 16·48 + 16·16 + 16·64 + 64·16 = 3072 weights in matrices; 64·16 = 1024 in the projection.
    2 rows of 4 + 3 tokens: 2 · (2·3072 · 14 + 1024 · 6) = 184,320 operations a pass."""
    lang_setting = contender("lang_setting")
    assert lang_setting.iteration_flops(lang_setting.language_model(TINY_LM), TINY_LM, passes=5) == 5 * 184_320


def test_language_targets_are_ratios_of_the_same_round(monkeypatch):
    """gymformer makes 6 and 8 tokens a second in two rounds, TRL's PPO 2 and 4: 3 and 2 times as fast, 2.5 in the middle. A bound
    that was not measured is missed."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    targets = importlib.import_module("language_tables").targets

    def runs(*rates: float) -> list[dict[str, float]]:
        return [{"steps": rate, "rollout_seconds": 0.25, "update_seconds": 0.75} for rate in rates]

    measured = {"S": {"gymformer": runs(6, 8), "trl_ppo": runs(2, 4)}, "M": {"gymformer": runs(1), "trl_ppo": runs(1)}}
    found = {target.what: target for target in targets("speed", {"settings": measured})}
    fast = found["speed, S, gymformer / TRL's last PPO"]
    assert (fast.figure, fast.met) == (2.5, True)
    assert not found["speed, S, gymformer / TRL's GRPO"].met
    assert not found["speed, M, gymformer / TRL's last PPO"].met
    long = {"gymformer 64": runs(10), "gymformer 512": runs(5)}
    assert [str(target) for target in targets("length", {"runs": long})] == [
        "MISSED: length, gymformer, cost of a token at 512 / at 64: 2 (target: at most 1.5)"
    ]
