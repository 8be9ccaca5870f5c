"""What the README about preferences says, done."""

import re
from pathlib import Path

import gymformer.data

README = Path(gymformer.data.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 3
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "gymformer/data/README.md", "exec"), namespace)
    assert "the rows given: 201 pairs, texts (a list); 201 prompts, 1 ties\n" in capsys.readouterr().out
    assert namespace["scores"][0] > namespace["scores"][1]
    assert namespace["model"].run.report.accuracy > 0.9
    assert (tmp_path / "runs" / "reward" / "report.md").is_file()
