"""What the README about rewards says, done."""

import doctest
import re
from fractions import Fraction
from pathlib import Path

import gymformer.rewards

README = Path(gymformer.rewards.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_each_line_of_the_example_gives_what_stands_behind_it():
    [block] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    imports, lines = block.split("\n\n")
    namespace: dict = {}
    exec(imports, namespace)

    namespace["Fraction"] = Fraction
    for line in lines.splitlines():
        said, _, expected = line.rpartition("  # ")
        assert eval(said, namespace) == eval(expected.partition(":")[0], namespace), line


def test_the_examples_about_terms_give_what_they_show():
    test = doctest.DocTestParser().get_doctest(README, {}, "README", None, 0)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


def test_every_module_is_in_the_table():
    modules = {path.name for path in Path(gymformer.rewards.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^\| `(\w+\.py)`", README, flags=re.MULTILINE)) == modules
