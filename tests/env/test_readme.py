"""What the environments' README says, done."""

import re
from pathlib import Path

import gymnasium as gym

import gymformer.env

README = Path(gymformer.env.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_python_runs_from_top_to_bottom(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 6
    namespace: dict = {}
    try:
        for block in blocks:
            exec(compile(block, "gymformer/env/README.md", "exec"), namespace)
    finally:
        gym.registry.pop("Guess-v0", None)
    shown = capsys.readouterr().out
    assert "defgx" in shown and "It lies between 0 and 9." in shown


def test_an_environment_takes_forty_lines_at_most():
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        assert len(block.splitlines()) <= 40
