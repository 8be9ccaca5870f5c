"""What the README about evaluation says, done."""

import re
from pathlib import Path

import gymformer.evaluation
from gymformer.evaluation.pipeline import SUCCESS

README = Path(gymformer.evaluation.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    namespace: dict = {}
    exec(compile(block, "gymformer/evaluation/README.md", "exec"), namespace)
    said = capsys.readouterr().out
    assert "| success rate | 100.0%" in said and "| less expert, seed by seed |" in said
    assert (tmp_path / "learning_curve.png").is_file()
    for name in namespace["results"].statistics:
        assert f"`{name}`" in README, name
    for key in SUCCESS:
        assert f'"{key}"' in README, key


def test_every_module_is_in_the_table():
    modules = {path.name for path in Path(gymformer.evaluation.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^\| `(\w+\.py)`", README, flags=re.MULTILINE)) == modules
