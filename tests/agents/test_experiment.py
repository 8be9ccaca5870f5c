"""An experiment keeps all that was said and got; what stops it costs nothing, and nothing is overwritten."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import yaml
from PIL import Image
from werkzeug import Response

from gymformer import cli
from gymformer.agents import (
    BackendAuthError,
    BackendBadOutput,
    BackendUnavailable,
    get_env,
    parse_config,
    results_table,
    run_experiment,
    run_experiments,
)
from gymformer.agents.journal import Journal
from gymformer.agents.settings import check_config
from tests.agents.server import KEY, Script, answer, config_for

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_that_comes_along_is_valid_and_its_environment_exists(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # found wherever one is
    config = parse_config(path=Path("configs") / name)
    assert config.get("agent")["backend"] == ("openai" if name.endswith("_openai.yaml") else "ollama")
    get_env(env_config=config.get("environment"), render_mode="rgb_array").close()


def test_there_is_a_configuration_of_each_game_for_each_backend():
    assert sorted(f"{game}{end}.yaml" for game in ("blackjack", "lunar_lander", "taxi") for end in ("", "_openai")) == CONFIGS


def test_the_folder_holds_what_is_promised(httpserver, tmp_path):
    Script(httpserver, lambda request: answer(2, "north <b>"))
    config = config_for(
        httpserver, tmp_path, "FrozenLakeLLM-v1", num_runs=2, seed=5, save_gif=True, kwargs={"is_slippery": False}, max_steps=4
    )
    results = run_experiment(config)
    folder = tmp_path / "test"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml", "results.json", "run_0_seed_5.gif", "run_0_seed_5_raw_outputs.json", "run_1_seed_6.gif",
        "run_1_seed_6_raw_outputs.json"]  # fmt: skip
    assert results == json.loads((folder / "results.json").read_text()) == {
        "total_rewards": [0.0, 0.0], "total_steps": [4, 4], "avg_reward": 0.0, "avg_steps": 4.0, "success_rate": 0.0,
        "seeds": [5, 6], "answers": {"asked": 8, "rejected": 0, "fallbacks": 0}}  # fmt: skip
    outputs = json.loads((folder / "run_0_seed_5_raw_outputs.json").read_text())
    assert outputs == {str(step): {"reflection": "north <b>", "action": 2} for step in range(4)}
    assert yaml.safe_load((folder / "config.yaml").read_text()) == check_config(config)
    with Image.open(folder / "run_0_seed_5.gif") as gif:
        assert gif.size == (256 + 340, 300)  # the lake, and the words beside it
        assert gif.n_frames >= 2


def test_success_is_counted(httpserver, tmp_path):
    path = iter([1, 1, 2, 2, 1, 2])
    Script(httpserver, lambda request: answer(next(path)))
    results = run_experiment(config_for(httpserver, tmp_path, "FrozenLakeLLM-v1", kwargs={"is_slippery": False}))
    assert (results["success_rate"], results["avg_reward"], results["avg_steps"]) == (1.0, 1.0, 6.0)


def steered(request: dict) -> str:
    """An answer that depends on all that the model was told, history included."""
    return answer(len(json.dumps(request["messages"])) % 4, f"told {len(request['messages'])} messages")


@pytest.mark.parametrize("failure", [Response("", 503), Response("", 401), Response("nonsense", 200)])
def test_an_interrupted_experiment_goes_on_as_if_nothing_had_been(httpserver, tmp_path, failure):
    whole = config_for(
        httpserver,
        tmp_path / "whole",
        "LunarLanderLLM-v2",
        num_runs=2,
        max_steps=20,
        agent={"max_retries": 0, "action_rate": 3},
    )
    Script(httpserver, steered)
    expected = run_experiment(whole)
    httpserver.clear()
    broken = {**whole, "experiment": {**whole["experiment"], "parent": str(tmp_path / "broken")}}
    script = Script(httpserver, *[steered] * 10, failure, steered)  # in the middle of the second run
    with pytest.raises((BackendUnavailable, BackendAuthError, BackendBadOutput)) as caught:
        run_experiment(broken)
    assert "goes on from there" in caught.value.__notes__[0]
    folder = tmp_path / "broken" / "test"
    assert not (folder / "results.json").exists()  # a failure is no result
    assert run_experiment(broken) == expected
    assert len(script.requests) == 15  # 14 answers and the failure: nothing was asked twice
    for path in (tmp_path / "whole" / "test").glob("run_*"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert not (folder / ".progress.jsonl").exists()


def test_a_half_written_line_of_the_journal_is_dropped(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.write({"run": 0})
    journal.close()
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"run": 1')
    journal = Journal(tmp_path / "j")
    assert journal.records == [{"run": 0}]
    journal.write({"run": 2})
    with pytest.raises(RuntimeError, match="played by another process"):
        Journal(tmp_path / "j")
    journal.close()
    assert (tmp_path / "j").read_text() == '{"run": 0}\n{"run": 2}\n'


def test_an_environment_that_does_not_repeat_itself_is_noticed(httpserver, tmp_path):
    config = config_for(httpserver, tmp_path, "TaxiLLM-v3", max_steps=5, agent={"max_retries": 0})
    Script(httpserver, answer(0), answer(0), Response("", 500))
    with pytest.raises(BackendUnavailable):
        run_experiment(config)
    path = tmp_path / "test" / ".progress.jsonl"
    path.write_text(path.read_text().replace('"seen": "', '"seen": "x'))
    with pytest.raises(RuntimeError, match="does not repeat itself with seed 0"):
        run_experiment(config)


def test_nothing_is_overwritten(httpserver, tmp_path, capsys):
    script = Script(httpserver, answer(0))
    config = config_for(httpserver, tmp_path)
    first = run_experiment(config)
    asked = len(script.requests)
    assert run_experiment(config) == first and len(script.requests) == asked
    assert "is complete" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="another configuration, and nothing is overwritten"):
        run_experiment(config_for(httpserver, tmp_path, seed=1))


def test_with_a_date_every_experiment_has_a_folder_and_an_unfinished_one_is_finished(httpserver, tmp_path):
    config = config_for(httpserver, tmp_path, use_datetime=True, agent={"max_retries": 0})
    Script(httpserver, Response("", 500), answer(0))
    with pytest.raises(BackendUnavailable):
        run_experiment(config)
    # what decides only whether answers come may change on the way
    run_experiment({**config, "agent": {**config["agent"], "timeout": 9}})
    assert len(list((tmp_path / "test").iterdir())) == 1
    run_experiment(config)
    run_experiment(config)
    assert len(list((tmp_path / "test").glob("*/results.json"))) == 3


def test_the_key_is_in_no_file(httpserver, tmp_path, capfd):
    Script(httpserver, answer(0, f"your key is {KEY}"))
    run_experiment(config_for(httpserver, tmp_path, save_gif=True, verbose=True))
    results_table(tmp_path).save(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    shown = capfd.readouterr()
    assert "your key is [key]" in shown.out and KEY not in shown.out + shown.err


def test_the_table_holds_all_experiments_and_escapes_what_they_say(httpserver, tmp_path):
    Script(httpserver, answer(0))
    configs = [config_for(httpserver, tmp_path, name=f"e{i}", save_gif=True, agent={"model": model})
               for i, model in enumerate(("a|b", "<script>"))]  # fmt: skip
    assert len(run_experiments(configs)) == 2
    table = results_table(tmp_path)
    text, page = (path.read_text() for path in table.save(tmp_path))
    head, rule, *rows = text.splitlines()
    assert head == "| Environment | LLM | Reward | Total steps | Action rate | Initial seed | % of successful runs | GIF |"
    assert rule.count("---") == 8 and len(rows) == 2
    assert "a\\|b" in text and "\\<script\\>" in text and "<script>" not in page and "&lt;script&gt;" in page
    assert "![GIF](e0/run_0_seed_0.gif)" in text and 'src="e0/run_0_seed_0.gif"' in page


def test_a_folder_without_experiments_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gymformer play config\.yaml"):
        results_table(tmp_path)


def test_a_trained_agent_stands_in_the_same_table(httpserver, tmp_path):
    from gymformer import train_agent

    result = train_agent("BlackjackLLM-v1", max_episodes=20, save_path=None, progress=False, seed=0)
    result.agent.save_pretrained(tmp_path / "agent")
    Script(httpserver, answer(0))
    language = config_for(httpserver, tmp_path / "all", num_runs=3)
    trained = {**language, "agent": {"backend": "trained", "model": str(tmp_path / "agent")},
               "experiment": {**language["experiment"], "name": "trained"}}  # fmt: skip
    for results in run_experiments([language, trained]):
        assert results["seeds"] == [0, 1, 2]
    assert "| agent (trained) |" in results_table(tmp_path / "all").markdown()
    with pytest.raises(ValueError, match=r"was trained for the observation_space .* \(of BlackjackLLM-v1\)"):
        run_experiment(
            {**trained, "environment": {"name": "TaxiLLM-v3"}, "experiment": {**trained["experiment"], "name": "other"}}
        )


@pytest.mark.parametrize(("section", "change", "problem"), [
    ("agent", {"bakend": 1}, "agent.bakend is not a setting; did you mean backend"),
    ("agent", {"api_key": KEY}, "agent.api_key is not a setting; the key is read from an environment variable"),
    ("agent", {"api_key_env": KEY}, "name of an environment variable"), ("agent", {"backend": "gpt"}, "agent.backend"),
    ("agent", {"base_url": f"https://user:{KEY}@host/v1"}, "user name or a password"),
    ("agent", {"base_url": "ftp://host"}, "expected http"), ("agent", {"base_url": "http://host:x"}, "expected http"),
    ("agent", {"base_url": f"http://host/v1?key={KEY}"}, "expected http"), ("agent", {"temperature": -1}, "agent.temperature=-1"),
    ("agent", {"action_rate": 0}, "agent.action_rate=0"), ("agent", {"model": ""}, "agent.model"),
    ("environment", {"name": "os:system"}, "would import a module"), ("experiment", {"num_runs": 0}, "experiment.num_runs=0"),
    ("experiment", {"sede": 1}, "did you mean seed")])  # fmt: skip
def test_a_wrong_setting_is_named_and_a_secret_is_not(httpserver, tmp_path, section, change, problem):
    config = config_for(httpserver, tmp_path)
    config[section] |= change
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=problem) as caught:
        parse_config(path)
    assert str(path) in str(caught.value) and KEY not in str(caught.value)


@pytest.mark.parametrize(("text", "problem"), [
    ("", "a NoneType was found"), ("- 1", "a list was found"), ("agent: {", "not a YAML file"), ("agents: {}", "did you mean agent"),
    ("agent: {model: m}", "agent.backend is missing"), ("agent: 5", "not one of keys"), ("a: &a [1]\nb: [*a, *a]", "anchors"),
    ("a: !!python/object/apply:os.getcwd []", "not a YAML file"), ("#" * 200_000, "200,000 characters")])  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, problem):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        parse_config(path)


@pytest.mark.parametrize(("env_config", "problem"), [
    ({"name": "TaxiLM-v3"}, "TaxiLM-v3 cannot be made"), ({"name": "TaxiLLM-v3", "kwargs": {"colour": 1}}, "colour")])  # fmt: skip
def test_an_environment_that_cannot_be_made_says_why(env_config, problem):
    with pytest.raises(ValueError, match=problem):
        get_env(env_config)


def test_the_command_line_plays_a_file(httpserver, tmp_path, capsys, monkeypatch):
    Script(httpserver, answer(0, "stay"))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config_for(httpserver, tmp_path / "out", verbose=True)))
    assert cli.main(["play", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "run 0, step 0: 0 (stay)" in shown and "average reward" in shown and "results_table.md" in shown
    assert cli.main(["play", str(path), "--greedy"]) == 2
    assert "--greedy would change it; write it into the file" in capsys.readouterr().err
    assert cli.main(["play", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml was not found" in capsys.readouterr().err
    monkeypatch.delenv("OPENAI_API_KEY")
    path.write_text(yaml.safe_dump(config_for(httpserver, tmp_path / "new")))
    assert cli.main(["play", str(path)]) == 2
    assert "OPENAI_API_KEY is not set" in capsys.readouterr().err


def test_a_kill_in_the_middle_loses_nothing(httpserver, tmp_path):
    config = config_for(httpserver, tmp_path, "TaxiLLM-v3", max_steps=12)
    script = Script(httpserver, steered)
    code = f"""
import os
from gymformer.agents import experiment, run_experiment
write = experiment.Journal.write
def killed(self, record):
    write(self, record)
    if record.get("step") == 6:
        os._exit(9)
experiment.Journal.write = killed
run_experiment({config!r})
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 9
    assert len(script.requests) == 7
    assert run_experiment(config)["answers"]["asked"] == 12 == len(script.requests)


def test_an_endless_game_is_cut_off(httpserver, tmp_path):
    Script(httpserver, answer(1))
    results = run_experiment(config_for(httpserver, tmp_path, "MiniGridEmptyLLM-v0", max_steps=3))
    assert results["total_steps"] == [3] and results["success_rate"] == 0
    assert gym.spec("MiniGridEmptyLLM-v0").max_episode_steps is None


def test_picture_and_reasoning_are_shown_in_one_window(httpserver, tmp_path, monkeypatch):
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    sizes = []
    flip = pygame.display.flip
    monkeypatch.setattr(pygame.display, "flip", lambda: (flip(), sizes.append(pygame.display.get_surface().get_size())))
    Script(httpserver, answer(2))
    config = config_for(httpserver, tmp_path, "FrozenLakeLLM-v1", window=True, max_steps=3)
    run_experiment(config)
    assert sizes == [(256 + 340, 300)] * 4
    assert not list(tmp_path.rglob("*.gif"))


def test_closing_the_window_stops_the_experiment_which_can_go_on(httpserver, tmp_path, monkeypatch):
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    script = Script(httpserver, answer(2))
    config = config_for(httpserver, tmp_path, "FrozenLakeLLM-v1", window=True, max_steps=3)
    monkeypatch.setattr(pygame.event, "get", lambda kind: [1] if len(script.requests) == 2 else [])
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config)
    config["experiment"]["window"] = False
    assert run_experiment(config)["total_steps"] == [3]
    assert len(script.requests) == 3


def test_a_window_needs_a_screen(httpserver, tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    Script(httpserver, answer(0))
    with pytest.raises(RuntimeError, match=r"needs a screen.*experiment\.window: false"):
        run_experiment(config_for(httpserver, tmp_path, window=True))
