"""HumanFeedback: ratings arrive from where they were said to come from, and nothing waits for a person who is not there."""

import copy
import io
import json
import sys
import types
import warnings

import pytest

from gymformer.rewards import HumanFeedback, feedback
from gymformer.rewards.feedback import text_hash


@pytest.fixture(autouse=True)
def nothing_said_yet():
    feedback._say_once.cache_clear()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("source", "said"), [(None, "nobody rates"), ("terminal", "no terminal at standard input")])
def test_where_nobody_is_asked_there_is_no_rating_and_that_is_said_once(source, said, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    with pytest.warns(UserWarning, match=said):
        assert HumanFeedback(source).rate("a text") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert HumanFeedback(source).rate("another") is None


def test_a_function_is_asked_and_what_is_no_rating_is_refused_with_its_name():
    assert HumanFeedback(lambda text: len(text) / 10).rate("four") == 0.4
    assert HumanFeedback(lambda text: None).rate("four") is None
    for wrong in (1.5, float("nan"), "good", True, [1]):
        with pytest.raises(ValueError, match=r"HumanFeedback\(.*a rating is a number from -1 to 1, or None"):
            HumanFeedback(lambda text, wrong=wrong: wrong).rate("a text")
    with pytest.raises(TypeError, match="give a function of a text, a path"):
        HumanFeedback(3)  # type: ignore[arg-type]


def test_a_terminal_is_asked_until_it_gives_a_rating_and_obeys_no_text(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal("7\nnan\nwell\n-0.5\n\n"))
    person = HumanFeedback("terminal")
    assert person.rate("red \x1b[2J text") == -0.5
    assert person.rate("a text") is None  # Enter
    assert person.rate("a text") is None  # the terminal was closed
    shown = capsys.readouterr().out
    assert "red �[2J text" in shown and "\x1b" not in shown and "'7' is no number from -1 to 1" in shown


def test_a_file_takes_ratings_whenever_they_come_and_holds_what_waits(tmp_path):
    path, queue = tmp_path / "new" / "ratings.jsonl", tmp_path / "new" / "ratings.jsonl.unrated.jsonl"
    person = HumanFeedback(path)
    assert [person.rate(text) for text in ("first\nline", "second \ud83d", "first\nline")] == [None] * 3
    waiting = [json.loads(line) for line in queue.read_text().splitlines()]
    assert [row["text"] for row in waiting] == ["first\nline", "second \ud83d"]
    path.write_text(json.dumps(waiting[0] | {"rating": 0.5}) + "\n\n" + json.dumps(waiting[1]) + "\n")
    assert (person.rate("first\nline"), person.rate("second \ud83d")) == (0.5, None)
    with path.open("a") as file:
        file.write(json.dumps({"text": "first\nline", "rating": -1}) + "\n")
    assert person.rate("first\nline") == -1.0
    assert HumanFeedback(str(path)).rate("second \ud83d") is None
    assert len(queue.read_text().splitlines()) == 2  # a later process queues nothing twice


@pytest.mark.parametrize(
    "line",
    [
        '{"hash": "a"}',
        "[]",
        "3",
        "{",
        '{"text": "a", "rating": 2}',
        f'{{"text": "a", "rating": 1{"0" * 400}}}',
        '{"hash": 1, "rating": 1}',
    ],
)
def test_a_line_that_is_no_rating_is_named(line, tmp_path):
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"text": "a", "rating": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"ratings\.jsonl, line 2: .*correct"):
        HumanFeedback(path).rate("a")


class Widget:
    def __init__(self, children=(), value=None, **kwargs):
        self.children, self.value = children, value

    def on_click(self, function):
        self.click = lambda: function(self)


def test_a_notebook_shows_what_waits_and_never_waits_itself(monkeypatch):
    displayed = []
    widgets = types.SimpleNamespace(HTML=Widget, FloatSlider=Widget, Button=Widget, VBox=Widget, HBox=Widget)
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=displayed.append))
    person = HumanFeedback("notebook")
    assert copy.deepcopy(person) is person
    assert [person.rate(text) for text in ("<b>one</b>", "two", "<b>one</b>")] == [None] * 3
    [box] = displayed
    shown, row = box.children
    slider, rate, skip = row.children
    assert "&lt;b&gt;one" in shown.value and "2 waiting" in shown.value
    slider.value = 0.7
    rate.click()
    assert "two" in shown.value
    skip.click()
    rate.click()  # nothing is left, and nothing happens
    assert (person.rate("<b>one</b>"), person.rate("two")) == (0.7, None)


def test_a_notebook_without_widgets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match="pip install ipywidgets"):
        HumanFeedback("notebook")


def test_a_text_is_known_by_its_sha_256():
    """Of "abc", FIPS 180-2, appendix B.1."""
    assert text_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
