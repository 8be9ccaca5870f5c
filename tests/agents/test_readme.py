"""What the README of the players says, done."""

import re
import warnings
from pathlib import Path

import gymnasium as gym
import yaml
from gymnasium.utils.env_checker import check_env

import gymformer.agents
from gymformer.agents.settings import SECTIONS
from tests.agents.server import Script, answer

README = (Path(gymformer.agents.__file__).parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_configuration_is_played_from_python(httpserver, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Script(httpserver, answer(2, "to the right"))
    config = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)[0])
    config["agent"]["base_url"] = httpserver.url_for("/v1")
    config["experiment"] |= {"max_steps": 3, "verbose": False}
    Path("lake.yaml").write_text(yaml.safe_dump(config))
    exec(compile(PYTHON[0], "gymformer/agents/README.md", "exec"), {})
    first, *_, table = capsys.readouterr().out.split("\n", 1)
    assert first == "to the right 2"
    assert "| FrozenLakeLLM-v1 | my-model | 0 | 6 | 1 | 0 | 0 | ![GIF](experiments/lake/" in table


def test_an_environment_takes_about_twenty_lines_and_passes_gymnasiums_check():
    assert len(PYTHON[1].split("class ")[1].split("gym.register")[0].strip().splitlines()) <= 20
    namespace: dict = {"__name__": "readme"}
    try:
        exec(compile(PYTHON[1], "gymformer/agents/README.md", "exec"), namespace)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(gym.make("MountainCarLLM-v0").unwrapped, skip_render_check=True)
    finally:
        gym.registry.pop("MountainCarLLM-v0", None)


def test_every_setting_is_named():
    for model in SECTIONS.values():
        for name in model.model_fields:
            assert re.search(rf"\b{name}\b", README), name


def test_a_solution_is_written_line_by_line(capsys):
    exec(compile(PYTHON[2], "gymformer/agents/README.md", "exec"), {})
    assert "policy_loss" in capsys.readouterr().out


def test_an_agent_learns_while_it_plays(capsys):
    space: dict = {}
    exec(compile(PYTHON[3], "gymformer/agents/README.md", "exec"), space)
    assert len(space["agent"].log) == 2 and set(space["train_stats"]) >= {"mean_reward", "approx_kl", "unreadable", "samples"}
