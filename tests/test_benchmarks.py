"""The benchmarks still run with the library as it is, and their README says what they measured."""

import importlib
import json
import math
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


@pytest.mark.parametrize("script", ["classic.py", "language.py", "preferences.py"])
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


# --- preferences ------------------------------------------------------------------------------------------------------

TINY_PREFERENCES = {
    "reward": {"data": "sentiment_pairs", "seed": 0,
               "settings": {"epochs": 1, "batch_size": 2048, "test_size": 0.5, "template": "chat", "max_tokens": 100_000}},
    "rlhf": {"kl_coef": 0.1, "episodes": 8, "envs": 4, "prompts": 4, "seed": 0},
    "best_of_n": {"n": [1, 2], "prompts": 2},
    "dpo": {"beta": 0.1, "lr": 1e-4, "pairs": 8, "every": 4, "prompts": 2, "seed": 0},
    "summaries": {"episodes": 4, "envs": 4, "articles": 2, "seed": 0},
}  # fmt: skip


@pytest.fixture
def task(monkeypatch):
    """A function that runs one of the tasks in this process."""
    monkeypatch.syspath_prepend(BENCHMARKS / "contenders")
    tasks = importlib.import_module("pref_learning").TASKS
    return lambda name: tasks[name](TINY_PREFERENCES[name])


def test_a_policy_is_compared_with_the_truth_and_with_what_it_was(task):
    answer = task("rlhf")
    assert answer["before"]["kl"] == pytest.approx(0, abs=1e-3) and answer["after"]["kl"] != answer["before"]["kl"]
    assert [point["episodes"] for point in answer["curve"]] == [0] and answer["seconds"] > 0
    assert answer["before"].keys() == {"proxy", "gold", "gold_std", "kl", "tokens", "finished"}


def test_best_of_n_takes_what_the_proxy_likes(task):
    one, two = task("best_of_n")["curve"]
    assert two["proxy"] >= one["proxy"] and two["kl"] == pytest.approx(math.log(2) - 0.5) and one["kl"] == 0


def test_dpo_is_watched_from_the_start(task):
    curve = task("dpo")["curve"]
    assert [point["pairs"] for point in curve] == [0, 4, 8] and abs(curve[0]["kl"]) < 1e-3


def test_summaries_are_scored_before_and_after(task):
    answer = task("summaries")
    assert all(0 <= answer[when][how] <= 1 for when in ("before", "after") for how in ("greedy", "sampled"))


def test_reward_models_are_compared_with_what_the_noise_allows(task):
    answer = task("reward")
    assert 0.5 < answer["ceiling"] < 1 and answer["expected"] <= answer["ceiling"] and answer["rows"] > 1000


def a_curve(golds: list[float]) -> list[dict]:
    return [{"proxy": n / 2, "gold": gold, "kl": float(n), "episodes": 256 * n} for n, gold in enumerate(golds)]


def test_the_targets_of_preferences_take_the_worst_seed(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    tables = importlib.import_module("preference_tables")
    good = {"seed": 0, "before": {"gold": 1.0, "gold_std": 1.0}, "after": {"gold": 2.5, "kl": 9.0}, "seconds": 100.0}
    worse = good | {"after": {"gold": 1.9, "kl": 20.0}}
    rise, nats, seconds = tables.targets("rlhf", {"runs": [good, worse]})
    assert rise.figure == pytest.approx(0.9) and not rise.met and not nats.met and seconds.met
    falls, stays = a_curve([1, 2, 3, 3, 3, 3, 3, 2, 1, 1]), a_curve([1, 2, 3, 2.9, 3.1, 3, 3, 2.9, 3.1, 3])
    runs = [{"kl_coef": 0.0, "seed": seed, "curve": curve} for seed, curve in enumerate((falls, stays))]
    result = {"ppo": runs, "dpo": {"beta": 0.1, "curve": falls}, "best_of_n": {"curve": [point | {"n": 1} for point in falls]}}
    fall, rise = tables.targets("overoptimisation", result)
    assert fall.figure == pytest.approx(0, abs=0.05) and not fall.met, "one of the two does not fall"
    fall, rise = tables.targets("overoptimisation", result | {"ppo": runs[:1]})
    assert fall.figure == pytest.approx(3 - (3 + 3 + 2 + 1 + 1) / 5) and rise.figure == pytest.approx((9 - 6) / 2)
    tables.draw(result, tmp_path / "it.png")
    assert (tmp_path / "it.png").stat().st_size > 5000
