"""What the curriculum's README says, done."""

import re
from pathlib import Path

import gymformer.curriculum

README = Path(gymformer.curriculum.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_python_runs_from_top_to_bottom(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(block, "gymformer/curriculum/README.md", "exec"), namespace)
    shown = capsys.readouterr().out
    assert "{'difficulty': 0.1}" in shown and "Answers: yes, no, unknown" in shown and "mastered" in shown
