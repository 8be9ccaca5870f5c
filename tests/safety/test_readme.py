"""What the README about safety says, done."""

import doctest
import re
from pathlib import Path

import gymformer.safety

README = Path(gymformer.safety.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_examples_give_what_they_show():
    test = doctest.DocTestParser().get_doctest(README, {}, "README", None, 0)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


def test_the_file_of_rules_is_one(tmp_path):
    [block] = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "rules.yaml").write_text(block)
    monitor = gymformer.safety.SafetyMonitor(policies=(), rules=gymformer.safety.load_rules(tmp_path / "rules.yaml"))
    assert [v.text for v in monitor.check("Employee no. 12")] == ["employee no. 12"]
    assert [v.text for v in monitor.check_at_end("darn ticket 3")] == ["darn", "ticket 3"]


def test_every_module_is_in_the_table():
    modules = {path.name for path in Path(gymformer.safety.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^\| `(\w+\.py)`", README, flags=re.MULTILINE)) == modules
