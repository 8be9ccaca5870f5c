"""A sweep file of Weights & Biases, run without a network."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from gymformer.cli import main
from gymformer.rl.errors import NonFiniteError
from gymformer.sweep import Trial, read_sweep, sweep_table

RANDOM = {
    "method": "random",
    "metric": {"name": "running_reward", "goal": "maximize"},
    "command": ["${env}", "gymformer", "train", "CartPole-v1", "${args}"],
    "parameters": {
        "a": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "b": {"min": 2, "max": 5},
        "c": {"min": 0.5, "max": 1.0},
        "d": {"values": ["x", "y"], "probabilities": [0.0, 1.0]},
        "e": {"distribution": "q_uniform", "min": 0, "max": 100, "q": 25},
        "f": {"distribution": "log_uniform", "min": 0, "max": 1},
        "g": {"value": 7},
    },
}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_parameters_are_drawn_as_their_distributions_say(tmp_path):
    sweep = read_sweep(written(tmp_path, RANDOM))
    drawn = [trial.parameters for trial in sweep.trials(200, seed=0)]
    assert all(
        1e-4 <= p["a"] <= 1e-2 and 0.5 <= p["c"] <= 1 and 1 <= p["f"] <= math.e and p["d"] == "y" and p["g"] == 7 for p in drawn
    )
    assert {p["b"] for p in drawn} == {2, 3, 4, 5} and {p["e"] for p in drawn} == {0, 25, 50, 75, 100}
    assert 60 < sum(p["a"] < 1e-3 for p in drawn) < 140, "uniform in the logarithm: half are in the lower decade"
    assert [t.parameters for t in sweep.trials(3, seed=0)] == drawn[:3] != [t.parameters for t in sweep.trials(3, seed=1)]
    arguments = sweep.arguments_of(
        Trial(0, {"ppo.lr_actor": 0.00123, "seed": 3, "ppo.normalize-advantages": False, "greedy": True})
    )
    assert arguments == ["CartPole-v1", "--ppo.lr_actor=0.00123", "--seed=3", "--ppo.no-normalize-advantages", "--greedy"]


def test_a_grid_is_gone_through_in_order_and_the_best_comes_first(tmp_path):
    grid = RANDOM | {"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"min": 0, "max": 1}}}
    sweep = read_sweep(written(tmp_path, grid))
    trials = list(sweep.trials(None, seed=0))
    assert [tuple(t.parameters.values()) for t in trials] == [(1, 0), (1, 1), (2, 0), (2, 1)] and sweep.grid_size == 4
    ended = [Trial(t.number, t.parameters, metric) for t, metric in zip(trials, (1.0, math.nan, 3.0, 2.0), strict=True)]
    assert [t.number for t in sweep.best(ended)] == [2, 3, 0, 1]
    capped = read_sweep(written(tmp_path, grid | {"run_cap": 2}))
    assert len(list(capped.trials(None, 0))) == 2 and len(list(capped.trials(3, 0))) == 3, "--runs goes before run_cap"
    assert sweep_table(sweep, ended).splitlines()[2] == "| 2 | 2 | 0 | 3 |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "bayes"}, "W&B's server does that"),
        ({"metric": {"name": "x"}}, "goal: maximize"),
        ({"parameters": {"a": {"min": 1.0}}}, r"parameters\.a"),
        ({"parameters": {"a": {"distribution": "beta", "min": 0.0, "max": 1.0}}}, "'beta' is not known"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}, "method": "grid"}, "draw from a distribution with method: random"),
        ({"command": ["rm", "-rf", "/", "${args}"]}, "only gymformer train is run"),
        ({"paramters": {}}, "did you mean parameters"),
        ({"parameters": {"a": {"min": 5, "max": 2}}, "method": "grid"}, "min is above max"),
        ({"run_cap": "ten"}, "expected a whole number"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        read_sweep(written(tmp_path, RANDOM | change))
    assert "sweep.yaml" in str(error.value)


def test_a_sweep_runs_records_and_goes_on(tmp_path, capsys, monkeypatch):
    """Two runs, then a third is added; the first two are not repeated."""
    monkeypatch.chdir(tmp_path)
    quick = ["--total-timesteps", "64", "--rollout-steps", "16", "--num-envs", "2", "--no-preset", "--tracker", "wandb"]
    content = {
        "method": "random",
        "metric": {"name": "value_loss", "goal": "minimize"},
        "command": ["${env}", "gymformer", "train", "CartPole-v1", *quick, "${args}"],
        "parameters": {"ppo.lr_actor": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}, "seed": {"value": 0}},
    }
    path = written(tmp_path, content)
    assert main(["sweep", str(path), "--runs", "2"]) == 0
    record = tmp_path / "sweeps" / "sweep" / "runs.jsonl"
    first = record.read_text().splitlines()
    assert len(first) == 2 and all(math.isfinite(json.loads(line)["metric"]) for line in first)
    assert all((Path(json.loads(line)["path"]) / "config.json").is_file() for line in first)
    record.write_text(first[0] + "\n" + first[1][:20])  # as if it had been killed while the second run was recorded
    assert main(["sweep", str(path), "--runs", "2"]) == 0 and record.read_text().splitlines() == first
    assert main(["sweep", str(path), "--runs", "3"]) == 0
    assert record.read_text().splitlines()[:2] == first and len(record.read_text().splitlines()) == 3
    shown = capsys.readouterr().out
    assert "value_loss (minimize)" in shown and shown.count("run 0:") == 1
    path.write_text(path.read_text().replace("0.01", "0.02"))
    assert main(["sweep", str(path), "--runs", "1"]) == 2
    assert "name another --folder" in capsys.readouterr().err


def test_a_run_whose_numbers_run_away_is_recorded_and_the_sweep_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, RANDOM | {"method": "grid", "parameters": {"seed": {"values": [0, 1]}}})

    def trained(args, folder):
        if "--seed=0" in args:
            raise NonFiniteError("loss", "the loss is nan", {})
        return SimpleNamespace(stopped="done", metrics=[{"running_reward": 3.0}], path=folder)

    monkeypatch.setattr("gymformer.cli._train_trial", trained)
    for _ in range(2):  # the second time everything is recorded
        assert main(["sweep", str(path)]) == 0
    record = (tmp_path / "sweeps" / "sweep" / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["metric"] for line in record] == [None, 3.0]
    said = capsys.readouterr()
    assert said.err == "run 0 failed: the loss is nan\n" and "| 0 | 0 | - |" in said.out


def test_the_sweep_that_comes_along_is_valid():
    sweep = read_sweep(Path(__file__).parent.parent / "configs" / "sweeps" / "ppo.yaml")
    assert sweep.metric == "running_reward" and len(list(sweep.trials(2, 0))) == 2
