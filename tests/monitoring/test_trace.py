"""The token trace as table and heat map: complete, escaped, and in need of nothing from outside."""

import math
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gymformer.monitoring.trace import METRICS, TokenTrace, TracedToken, columns, number, save_traces, visible

BY_NAME = {metric.name: metric for metric in METRICS}
VOID = {"input", "meta", "br"}  # HTML elements without an end tag
NASTY = "<script>alert('x')</script>&\"\x1b[31m\x00\u202e\u200b\ud800\r\n\t"


def trace_of(tokens: list[TracedToken], **others) -> TokenTrace:
    return TokenTrace(tuple(tokens), **others)


def decided(**numbers: list[float]) -> TokenTrace:
    """A trace of decisions only, with these numbers."""
    count = len(next(iter(numbers.values())))
    plain = [TracedToken("x", t, decision=t) for t in range(count)]
    return trace_of([replace(token, **{name: v[t] for name, v in numbers.items()}) for t, token in enumerate(plain)])


@pytest.fixture
def trace() -> TokenTrace:
    return trace_of(
        [
            TracedToken("What?\n", 7),
            TracedToken(" 4", 52, decision=0, log_prob=-0.5, entropy=1.5, reward=0.0, value=0.25, advantage=-0.5, ratio=1.0,
                        reference_log_prob=-1.0, kl=0.5),
            TracedToken("\n", 10, decision=1, log_prob=-2.0, entropy=0.5, reward=1.0, value=0.5, advantage=0.25, ratio=2.0,
                        reference_log_prob=-1.5, kl=-0.5),
            TracedToken("Well done.", 99),
            TracedToken("!", 33, 1),
            TracedToken("中", 8, 1, decision=2, kept=False, log_prob=-3.5, entropy=0.0, reward=-1.0, value=0.0, advantage=2.0,
                        ratio=0.5, reference_log_prob=-0.5, kl=-3.0),
        ],
        title="CoTEnv-v0", episode_return=0.5, ended="terminated", info={"text": "4"},
    )  # fmt: skip


class Page(HTMLParser):
    """Checks that every element is closed where it should be, and keeps what a reader would see."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []  # of all elements but style and script
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.elements if name in (attrs.get("class") or "").split()]

    @property
    def radios(self) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == "input" and attrs["type"] == "radio"]


def colour(attrs: dict[str, str | None], name: str) -> float:
    """In [-1, 1], as the style has it."""
    found = re.search(rf"--{name}:(-?[\d.]+)", attrs["style"] or "")
    return float(found[1]) if found else 0.0


def test_the_table_has_every_field_of_every_token(trace):
    table = trace.table()
    assert len(table) == len(trace.tokens)
    assert set(table[0]) == {field.name for field in fields(TracedToken)}
    assert table[0]["decision"] is table[0]["log_prob"] is None
    assert (table[2]["text"], table[2]["id"], table[2]["advantage"], table[5]["kept"]) == ("\n", 10, 0.25, False)


def test_the_summary_by_hand(trace):
    """Means of the three decisions: KL (0.5 - 0.5 - 3)/3 = -1, entropy (1.5 + 0.5 + 0)/3, log-prob -6/3 = -2."""
    assert trace.summary == {
        "return": 0.5, "ended": "terminated", "tokens decided": 3, "tokens read": 3, "mean KL": pytest.approx(-1.0),
        "mean entropy": pytest.approx(2 / 3), "mean log-prob": pytest.approx(-2.0),
    }  # fmt: skip


def test_print_is_an_aligned_table(trace):
    assert str(trace).splitlines() == [
        "CoTEnv-v0: return 0.500, ended terminated, tokens decided 3, tokens read 3, mean KL -1.000, mean entropy 0.667, "
        "mean log-prob -2.000",
        "   token  advantage  value  reward  log-prob  reference      KL  entropy  ratio",
        "row 1 of 2",
        "   │ What?↵  (1 token)",
        "0  ·4        -0.500  0.250       0    -0.500     -1.000   0.500    1.500  1.000",
        "1  ↵          0.250  0.500   1.000    -2.000     -1.500  -0.500    0.500  2.000",
        "   │ Well done.  (1 token)",
        "row 2 of 2",
        "   │ !  (1 token)",
        "2  中         2.000      0  -1.000    -3.500     -0.500  -3.000        0  0.500  the row does not go on with it",
    ]


def test_its_repr_is_one_line(trace):
    assert repr(trace).startswith("<TokenTrace of CoTEnv-v0: return 0.500, ended terminated, tokens decided 3")
    assert "\n" not in repr(trace)


def test_a_long_prompt_takes_one_line_of_the_table():
    lines = str(trace_of([TracedToken(f"word{i} ", i) for i in range(500)])).splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r" +│ word0 .{40,80}word499   \(500 tokens\)", lines[2])


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "a b"), ("\n\t", "↵⇥"), ("\x1b[31m\x00\x7f", "␛[31m␀␡"), ("\x85", "‹U+0085›"), ("a\u202eb", "a‹U+202E›b"),
     ("\u00a0\u2028", "‹U+00A0›‹U+2028›"), ("\ud800", "‹U+D800›"), ("\u0301e", "◌\u0301e"), ("é🙂中", "é🙂中"), ("", "")],
)  # fmt: skip
def test_what_would_not_be_seen_or_would_move_others_shows(text, shown):
    assert visible(text) == shown


def test_a_terminal_s_columns():
    assert [columns(text) for text in ("abc", "中文", "e\u0301")] == [3, 4, 1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (-0.0, "0"), (1.0, "1.000"), (-0.0625, "-0.062"), (12345.6, "12345.600"), (2e-7, "2.0e-07"), (-1e9, "-1.0e+09"),
     (math.inf, "inf"), (math.nan, "nan")],
)  # fmt: skip
def test_numbers(value, shown):
    assert number(value) == shown


def test_html_is_well_formed_and_needs_nothing_from_outside(trace, tmp_path):
    for html in (trace.html(), save_traces([trace, trace], tmp_path / "two.html").read_text(encoding="utf-8")):
        Page(html)
        assert "http" not in html
        assert "//" not in html
        assert "url(" not in html
        assert not re.search(r"<(link|img|iframe|object)|\bsrc=|@import|\bon[a-z]+=", html)


def test_a_notebook_shows_it_by_itself(trace):
    assert trace._repr_html_() == trace.html()


def test_every_decision_carries_all_its_numbers(trace):
    page = Page(trace.html())
    spans = page.of_class("t")
    assert [span["data-t"] for span in spans] == ["0", "1", "2"]
    assert [line.split("\t") for line in (spans[1]["title"] or "").split("\n")] == [
        ["↵", "id 10"], ["decision", "1"], ["advantage", "0.250"], ["value", "0.500"], ["reward", "1.000"], ["log-prob", "−2.000"],
        ["reference", "−1.500"], ["KL", "−0.500"], ["entropy", "0.500"], ["ratio", "2.000"],
    ]  # fmt: skip
    assert "lost" in (spans[2]["class"] or "")
    assert "does not go on with it" in (spans[2]["title"] or "")


def test_the_environment_s_tokens_are_grey_and_have_no_colour(trace):
    spans = Page(trace.html()).of_class("e")
    assert [(span["title"] or "").split("\t")[0] for span in spans] == ["What?↵", "Well·done.", "!"]
    assert all("style" not in span for span in spans)


def test_rows_are_shown_apart(trace):
    page = Page(trace.html())
    assert len(page.of_class("tokens")) == 2
    headings = [text for text in page.texts if text.startswith("row ")]
    assert headings == ["row 1 of 2", "row 2 of 2: the environment rewrote the history"]
    one_row = trace_of([replace(token, row=0) for token in trace.tokens])
    assert not any(text.startswith("row ") for text in Page(one_row.html()).texts)


def test_the_text_can_be_read_off_the_page_with_its_spaces_and_line_ends(trace):
    """What is only a mark (↵) is in <em>, which a reader sees and copies no more than a line number."""
    text = "".join(Page(re.sub(r"<em>.*?</em>", "", trace.html())).texts)
    assert "What?\n 4\nWell done." in text


def test_the_reader_switches_between_what_is_known_and_only_that(trace):
    page = Page(trace.html("kl"))
    known = ["advantage", "value", "reward", "log_prob", "reference_log_prob", "kl", "entropy", "ratio"]  # no penalty
    assert [radio["value"] for radio in page.radios] == known
    assert [radio["value"] for radio in page.radios if "checked" in radio] == ["kl"]
    assert [radio["value"] for radio in Page(trace.html()).radios if "checked" in radio] == ["advantage"]
    for name in known:
        assert len(page.of_class(f"of-{name}")) == 1
        assert f"input[value={name}]:checked) .t{{--x:var(--{name},0)}}" in trace.html()
    with pytest.raises(ValueError, match=r"metric='penalty' is not known in this trace, which has advantage, value, reward"):
        trace.html("penalty")
    with pytest.raises(ValueError, match="metric='nonsense'"):
        trace.save("unwritten.html", "nonsense")


def test_radio_buttons_of_two_traces_do_not_know_each_other(trace, tmp_path):
    """Each group lies in a form of its own, which sends nothing."""
    page = Page(save_traces([trace, trace], tmp_path / "two.html").read_text(encoding="utf-8"))
    forms = [attrs for tag, attrs in page.elements if tag == "form"]
    assert [form["method"] for form in forms] == ["dialog", "dialog"]
    assert [radio["value"] for radio in page.radios if "checked" in radio] == ["advantage", "advantage"]


def test_colours_are_symmetric_around_what_is_blank(trace):
    spans = Page(trace.html()).of_class("t")
    assert [colour(span, "advantage") for span in spans] == [-0.25, 0.125, 1.0]  # of ±2
    assert [colour(span, "kl") for span in spans] == [0.167, -0.167, -1.0]  # of ±3
    assert [colour(span, "ratio") for span in spans] == [0.0, 1.0, -1.0]  # twice as likely is as far as half
    assert [colour(span, "log_prob") for span in spans] == [0.143, 0.571, 1.0]  # of 3.5, blank is certain
    assert [colour(span, "reference_log_prob") for span in spans] == [0.286, 0.429, 0.143]  # on the same scale
    assert [colour(span, "entropy") for span in spans] == [1.0, 0.333, 0.0]  # of 1.5


def test_the_legend_has_the_scale_s_ends(trace):
    html = trace.html()

    def ends(name: str) -> list[str]:
        return re.findall(r"<span>(.*?)</span>", html[html.index(f"of-{name} ") :].split("</div></div>")[0])

    assert ends("advantage") == ["−2.000", "0", "2.000"]
    assert ends("ratio") == ["0.500", "1.000", "2.000"]
    assert ends("log_prob") == ["0", "−3.500"]
    assert ends("entropy") == ["0", "1.500"]


def test_a_few_outliers_do_not_blanch_the_rest():
    """Of 100 values 98 are at most 1: the scale ends there, and says that something lies beyond."""
    trace = decided(advantage=[1.0, *[0.5] * 97, 50.0, -50.0])
    scale = trace.scale_of(BY_NAME["advantage"])
    assert (scale.end, scale.clipped) == (1.0, True)
    assert (scale(50.0), scale(-50.0), scale(0.5)) == (1.0, -1.0, 0.5)
    assert "<span>≤ −1.000</span><span>0</span><span>≥ 1.000</span>" in trace.html()


def test_one_reward_at_the_end_is_not_an_outlier():
    scale = decided(reward=[*[0.0] * 199, 1.0]).scale_of(BY_NAME["reward"])
    assert (scale.end, scale.clipped) == (1.0, False)


def test_rounding_is_not_painted():
    trace = decided(kl=[1e-7, -2e-7], ratio=[1 + 1e-6, 1 - 1e-6])
    assert all(colour(span, name) == 0 for span in Page(trace.html()).of_class("t") for name in ("kl", "ratio"))


def test_infinity_and_nan_are_shown_and_break_nothing():
    trace = decided(ratio=[math.inf, 0.0, math.nan, 2.0])
    assert [colour(span, "ratio") for span in Page(trace.html()).of_class("t")] == [1.0, -1.0, 0.0, 1.0]
    assert "nan" in str(trace)


def test_a_bar_for_each_decision_that_is_not_blank(trace):
    html = trace.html()
    chart = html[html.index('aria-label="ratio of each decision"') :].split("</svg>")[0]
    assert re.search(r'class="up" d="([^"]*)"', chart)[1] == "M1 0h.85V-1.000H1z"  # type: ignore[index]
    assert re.search(r'class="down" d="([^"]*)"', chart)[1] == "M2 0h.85V1.000H2z"  # type: ignore[index]


def test_nothing_that_a_token_or_an_environment_says_becomes_markup():
    token = TracedToken(NASTY, 1, decision=0, log_prob=-1.0)
    trace = trace_of([TracedToken(NASTY, 0), token], title=NASTY, ended=NASTY, info={NASTY: NASTY})
    html = trace.html()
    page = Page(html)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert html.count("<script>") == 1
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\u200b\ud800]", html)
    shown = "<script>alert('x')</script>&\"␛[31m␀‹U+202E›‹U+200B›‹U+D800›␍↵⇥"
    assert (page.of_class("t")[0]["title"] or "").startswith(shown)
    assert "<script>alert('x')</script>&\"" in "".join(page.texts)
    assert "\x1b" not in str(trace)
    assert len(str(trace).splitlines()) == 4
    html.encode()  # no lone surrogate is left


def test_a_long_stretch_of_the_environment_is_folded_and_all_there():
    trace = trace_of([*(TracedToken(f"w{i} ", i) for i in range(400)), TracedToken("x", 0, decision=0, reward=1.0)])
    html = trace.html()
    assert "… 280 more tokens …" in html
    assert len(Page(html).of_class("e")) == 400
    folded = html[html.index('<span class="folded">') :]
    assert folded.index(">w40<") < folded.index(">w319<") < folded.index("</span></span>") < folded.index(">w320<")
    assert "more tokens" not in trace_of([TracedToken("w", i) for i in range(160)]).html()


def test_a_trace_without_decisions_is_plain_text():
    page = Page(trace_of([TracedToken("a", 1)]).html())
    assert page.radios == []
    assert len(page.of_class("e")) == 1
    assert str(trace_of([])) == "an episode: tokens decided 0, tokens read 0\n  token"


def test_a_page_is_saved_whole(trace, tmp_path):
    path = trace.save(tmp_path / "new" / "trace.html", "kl")
    html = path.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.count("<style>") == html.count("<script>") == 1
    assert "<title>CoTEnv-v0</title>" in html
    assert [radio["value"] for radio in Page(html).radios if "checked" in radio] == ["kl"]
    assert [p.name for p in path.parent.iterdir()] == ["trace.html"]


def test_every_column_is_explained_in_the_readme():
    readme = Path(__file__).parents[2].joinpath("gymformer/monitoring/README.md").read_text(encoding="utf-8")
    section = readme[readme.index("# The token trace") :]
    for metric in METRICS:
        assert f"| `{metric.name}` |" in section
