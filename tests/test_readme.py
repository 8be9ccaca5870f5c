"""What the README says, done: its Python runs, its commands exist, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gymformer import presets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
BASH = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """With less training: what counts is that every line does what a reader would type."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    tuned = {name: {**settings, "total_timesteps": 2000} for name, settings in presets._presets().items()}
    monkeypatch.setattr(presets, "_presets", lambda: tuned)
    assert len(PYTHON) >= 6
    namespace: dict = {}
    rows = (ROOT / "data" / "descriptiveness_offline_5k" / "preferences.jsonl").read_text(encoding="utf-8").splitlines(True)
    (tmp_path / "few.jsonl").write_text("".join(rows[:40]), encoding="utf-8")
    for block in PYTHON:
        block = block.replace("data/descriptiveness_offline_5k", "few.jsonl").replace('"num_envs": 128', '"num_envs": 16')
        block = re.sub(r"(max_episodes|[^_]episodes)=(\d+)", lambda m: f"{m[1]}={max(4, int(m[2]) // 50)}", block)
        exec(compile(re.sub(r"range\(20\)", "range(2)", block), "README.md", "exec"), namespace)
    assert namespace["longer"][:4] == namespace["first"]
    assert (tmp_path / "cartpole.gif").stat().st_size > 1000
    assert namespace["statistics"]["gradient_steps"] > 0
    assert (tmp_path / "runs" / "reward_model" / "report.md").is_file()


def test_every_make_target_it_names_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"make ([a-z]+)", README))
    assert {"demo", "test", "bench"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_subcommand_it_names_exists():
    command = [sys.executable, "-c", "from gymformer.cli import main; main(['--help'])"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    named = {line.split()[1] for block in BASH for line in block.splitlines() if line.startswith("gymformer ")}
    assert {"train", "eval", "play", "envs"} <= named
    for subcommand in named:
        assert subcommand in shown


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:gymformer|benchmarks|tests|notebooks)/[^`]*)`", README))))
def test_every_file_it_names_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)h][^)]*)\)", README))))
def test_every_link_inside_the_project_leads_somewhere(link):
    assert (ROOT / link).exists()
