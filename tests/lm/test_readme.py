"""What the README about language models says, done, with a small random model in place of the one from the hub."""

import re
import warnings
from pathlib import Path

import gymformer.lm
from gymformer.testing import tiny_lm
from tests.lm.test_judge import word_tokenizer

README = Path(gymformer.lm.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_python_runs_from_top_to_bottom(tmp_path, capsys):
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    tiny_lm(len(tokenizer), context=1024).save_pretrained(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 2 and blocks[0].count("Qwen/Qwen2.5-0.5B-Instruct") == 1
    namespace: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a random model is no judge
        for block in blocks:
            exec(
                compile(block.replace("Qwen/Qwen2.5-0.5B-Instruct", str(tmp_path)), "gymformer/lm/README.md", "exec"), namespace
            )
        paid = {component.name: component(namespace["state"]) for component in namespace["env_kwargs"]["line_rewards"]}
    assert set(paid) == {"quality", "correct", "relevant"} and all(0 < value < 0.1 for value in paid.values())
    shown = capsys.readouterr().out
    assert re.search(r"\[Judgement\(score=0\.\d+, mass=0\.\d+\)\]", shown)
    assert "> 48/2 = 24\n> 24 + 3 = 28\n\nHow good is the newest line" in shown


def test_every_module_is_in_the_table():
    modules = {path.name for path in Path(gymformer.lm.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^\| `(\w+\.py)`", README, flags=re.MULTILINE)) == modules
