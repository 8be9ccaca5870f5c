"""A wheel carries what comes along, and works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from poetry.core.masonry.api import build_wheel

ROOT = Path(__file__).parent.parent

CHECK = """
from pathlib import Path
import gymformer
from gymformer import preset
from gymformer.resources import resource
for name in ("models/README.md", "data/README.md"):
    assert resource(name).is_relative_to(Path(gymformer.__file__).parent), resource(name)
assert preset("CartPole-v1")
from transformers import AutoModelForCausalLM, AutoTokenizer
for name in ("models/reasoner", "models/writer"):
    folder = resource(name)
    assert folder.is_relative_to(Path(gymformer.__file__).parent), folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) and tokenizer.chat_template
assert len(gymformer.train_agent("CoTEnv-v0", max_episodes=4, save_path=None, progress=False)) == 4
print(gymformer.__file__)
"""


def test_a_wheel_brings_models_data_presets_and_types(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "installed")
    assert {
        "gymformer/py.typed",
        "gymformer/presets.yaml",
        "gymformer/monitoring/README.md",
        "gymformer/monitoring/report.css",
        "gymformer/monitoring/report.html",
        "gymformer/monitoring/report.js",
        "gymformer/shipped/models/README.md",
        "gymformer/shipped/configs/blackjack.yaml",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "models/", "data/", "configs/"))]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    shown = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert Path(shown.strip()).is_relative_to(tmp_path)


def test_the_constraints_hold_each_package_once_and_name_no_host():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.split("==")[0] for line in lines if "==" in line]
    assert len(names) == len(set(names)) > 100
    assert not [line for line in lines if "://" in line]
