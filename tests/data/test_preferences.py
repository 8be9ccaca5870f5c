"""Preferences from every usual layout and file, what is said of bad ones, and a split that shares no prompt."""

import doctest
import json
import re
import sys

import pytest

from gymformer.data import preferences
from gymformer.data.preferences import load_preferences

PAIRS = [{"prompt": f"prompt {n}", "chosen": f" good {n}", "rejected": f" bad {n}"} for n in range(200)]
FOUR_WAY = [{"query": [n, 7], **{f"sample{k}": [k, n, 3] for k in range(4)}, "best": n % 4} for n in range(200)]


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def jsonl(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def refusal_of(row: dict) -> str:
    """Why `row` is refused among good rows of its layout."""
    found = load_preferences([*(PAIRS if "chosen" in row else FOUR_WAY), row])
    assert len(found) == 200 and len(found.refused) == 1 and found.refused[0].place == "row 201"
    return found.refused[0].reason


@pytest.mark.parametrize("rows", [PAIRS, FOUR_WAY], ids=["pairs of texts", "four-way token ids"])
def test_every_file_format_gives_the_same_records(rows, tmp_path):
    pytest.importorskip("pyarrow")
    from datasets import Dataset, DatasetDict

    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "lines.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    jsonl(tmp_path / "rows.jsonl", rows)
    dataset = Dataset.from_list(rows)
    dataset.to_parquet(tmp_path / "rows.parquet")
    dataset.save_to_disk(tmp_path / "dataset")
    DatasetDict({"train": Dataset.from_list(rows[:150]), "test": Dataset.from_list(rows[150:])}).save_to_disk(tmp_path / "dict")
    (tmp_path / "folder").mkdir()
    jsonl(tmp_path / "folder" / "a_train.jsonl", rows[:150])
    jsonl(tmp_path / "folder" / "b_test.jsonl", rows[150:])
    expected = load_preferences(rows)
    formats = {
        "rows.json": "JSON",
        "lines.json": "JSON Lines",
        "rows.jsonl": "JSON Lines",
        "rows.parquet": "Parquet",
        "dataset": "Dataset saved by datasets",
        "dict": "DatasetDict saved by datasets (train, test)",
        "folder": "JSON Lines in a folder (a_train, b_test)",
    }
    for name, said in formats.items():
        found = load_preferences(tmp_path / name)
        assert found.format == said
        strip = [(r.prompt, r.candidates, r.best, r.margin) for r in found]
        assert strip == [(r.prompt, r.candidates, r.best, r.margin) for r in expected], name
    assert load_preferences(tmp_path / "dict")[150].place == "test row 1"
    assert len(load_preferences(tmp_path / "dict", split="test")) == 50
    assert len(load_preferences(tmp_path / "folder", split="a_train")) == 150
    with pytest.raises(ValueError, match="has no part named 'train'; it has 'a_train', 'b_test'"):
        load_preferences(tmp_path / "folder", split="train")


def test_k_way_rows_keep_their_ids_and_their_best():
    found = load_preferences(FOUR_WAY)
    assert (found.layout, found.K, found.kind, len(found)) == ("K-way", 4, "tokens", 200)
    assert found[5].prompt == (5, 7) and found[5].candidates[2] == (2, 5, 3) and found[5].best == (1,)


def test_chat_messages_are_read_with_and_without_their_prompt():
    chosen, rejected = assistant("four"), assistant("five")
    rows = [
        {"prompt": "2+2?", "chosen": [user("2+2?"), chosen], "rejected": [user("2+2?"), rejected]},  # ultrafeedback
        {"prompt": [user("2+2?")], "chosen": [chosen], "rejected": [rejected]},
        {"prompt": [user("2+2?")], "chosen": [user("2+2?"), chosen], "rejected": [user("2+2?"), rejected]},
        {"chosen": [user("2+2?"), chosen], "rejected": [user("2+2?"), rejected]},
        {"prompt": "2+2?", "chosen": [chosen], "rejected": [rejected]},
        {"prompt": [user("2+2?")], "chosen": "four", "rejected": "five"},
    ]
    found = load_preferences(rows)
    assert found.kind == "chat"
    assert {(record.prompt, record.candidates) for record in found} == {((("user", "2+2?"),), ("four", "five"))}


def test_a_prompt_that_both_dialogues_begin_with_is_found():
    before = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a colour"
    rows = [{"chosen": f"{before}\n\nAssistant: red", "rejected": f"{before}\n\nAssistant: rather not"}]
    (record,) = load_preferences(rows)
    assert record.prompt == f"{before}\n\nAssistant:" and record.candidates == (" red", " rather not")
    (record,) = load_preferences([{"chosen": "The sky is blue", "rejected": "The sky is black"}])
    assert record.prompt == "The sky is" and record.candidates == (" blue", " black")
    (record,) = load_preferences([{"chosen": [1, 2, 3, 4], "rejected": [1, 2, 5]}])
    assert record.prompt == (1, 2) and record.candidates == ((3, 4), (5,))


def test_margins_and_ties_are_read():
    pairs = load_preferences([*PAIRS, PAIRS[0] | {"margin": 1.5}, PAIRS[1] | {"tie": True}, PAIRS[2] | {"tie": False}])
    assert [pairs[i].margin for i in (0, 200)] == [None, 1.5]
    assert [pairs[i].best for i in (200, 201, 202)] == [(0,), (0, 1), (0,)]
    assert "1 ties" in str(pairs) and "1 with a margin" in str(pairs)
    row = {name: value for name, value in FOUR_WAY[0].items() if name != "best"}
    ways = load_preferences([*FOUR_WAY, row | {"best": [3, 1]}, row | {"tie": True}, row | {"best": 2.0}])
    assert [ways[i].best for i in (200, 201, 202)] == [(1, 3), (0, 1, 2, 3), (2,)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "a"}, "lacks rejected"),
        ({"prompt": "a", "chosen": None, "rejected": "b"}, "lacks chosen"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "its prompt is 3; a text, a list of token ids, or a list of messages"),
        ({"prompt": "a", "chosen": "b", "rejected": 4}, "its chosen is 'b'"),
        ({"prompt": "a", "chosen": [1, 2], "rejected": [3]}, "mixes texts and token ids"),
        ({"prompt": [1], "chosen": [1, 2], "rejected": [3]}, "its form is pairs of tokens, but of most rows pairs of text"),
        (PAIRS[0] | {"margin": -1}, "its margin is -1"),
        (PAIRS[0] | {"margin": float("nan")}, "its margin is nan"),
        (PAIRS[0] | {"tie": "yes"}, "its tie is 'yes'"),
        ({"chosen": "abc", "rejected": "xyz"}, "nothing in common"),
        ({"chosen": [user("a"), assistant("b"), user("c")], "rejected": [user("a"), assistant("x")]}, "more than the last message"),
        ({"chosen": [user("a"), user("c")], "rejected": [user("a"), assistant("x")]}, "both must be by 'assistant'"),
        (FOUR_WAY[0] | {"best": 4}, "its best is 4; it must be an index from 0 to 3"),
        (FOUR_WAY[0] | {"best": -1}, "its best is -1"),
        (FOUR_WAY[0] | {"best": None}, "its best is None"),
        (FOUR_WAY[0] | {"best": True}, "its best is True"),
        (FOUR_WAY[0] | {"sample2": None}, "lacks sample2"),
        (FOUR_WAY[0] | {"sample2": "text"}, "mixes texts and token ids"),
        (FOUR_WAY[0] | {"sample2": [-1]}, "its sample2 is \\[-1\\]"),
        ({k: v for k, v in FOUR_WAY[0].items() if k != "sample3"}, "its form is 3-way of tokens, but of most rows 4-way"),
        ({"question": "a", "answer": "b"}, "lacks query, sample0, sample1 \\(it has question, answer\\)"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_number_and_the_reason(row, reason):
    assert re.search(reason, refusal_of(row))


def test_more_than_a_few_bad_rows_are_an_error_that_names_them():
    rows = [*PAIRS[:5], {"chosen": "a"}]
    with pytest.raises(
        ValueError, match=r"1 of 6 rows cannot be used: row 6: it lacks rejected .*Mend or remove .*max_refused"
    ):
        load_preferences(rows)
    found = load_preferences(rows, max_refused=0.5)
    assert len(found) == 5 and "1 of 6 rows refused: row 6: it lacks rejected" in str(found)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "?", "sample0": "a", "best": 0}, "it lacks sample1 "),
        ({"prompt": "x"}, "it lacks chosen, rejected "),
        ({"x": 1}, "it lacks query, sample0, sample1 "),
    ],
)
def test_a_row_that_lacks_something_is_told_what(row, message):
    with pytest.raises(ValueError, match=message):
        load_preferences([row])


def test_lines_that_are_no_json_are_refused_by_their_number(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(["", *map(json.dumps, PAIRS), '{"chosen": ']) + "\n")
    assert load_preferences(path).refused[0].place == "row 202"


def test_files_that_hold_no_preferences_say_so(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "broken.json").write_text('[{"a": 1}')
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "latin.jsonl").write_bytes('{"a": "ü"}'.encode("latin-1"))
    (tmp_path / "table.csv").write_text("a,b")
    for name in ("nothing", "model", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "damaged" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for name, message in {
        "empty.jsonl": "is empty: it holds no row", "empty.json": "is empty: it holds no row", "record.json": "holds a JSON dict",
        "broken.json": "is no JSON", "broken.parquet": "is no Parquet file", "latin.jsonl": "is not text in UTF-8",
        "table.csv": "has the suffix '.csv'", "nothing": "holds no data", "model": "holds a model", "damaged": "is damaged",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_preferences(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="ask for it: hub:owner/name"):
        load_preferences("owner/name")
    with pytest.raises(ValueError, match="are empty"):
        load_preferences([])


def test_the_hub_is_asked_only_on_demand_and_its_silence_is_explained(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def offline(name):
        asked.append(name)
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(ValueError, match=r"'owner/name' could not be loaded from the hub .*is there a network"):
        load_preferences("hub:owner/name")
    with pytest.raises(FileNotFoundError):
        load_preferences("owner/name")
    assert asked == ["owner/name"]
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name: datasets.DatasetDict({"train": datasets.Dataset.from_list(PAIRS)})
    )
    assert load_preferences("hub:owner/name", split="train").format == "DatasetDict of the hub"


@pytest.mark.parametrize(("missing", "name"), [("pyarrow", "rows.parquet"), ("datasets", "folder")])
def test_what_needs_an_extra_says_which(missing, name, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "state.json").write_text("{}")
    (tmp_path / "rows.parquet").write_text("")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'gymformer\[lm\]'"):
        load_preferences(tmp_path / name)


def test_labels_that_say_nothing_are_told():
    same = [row | {f"sample{k}": [1] for k in range(4)} for row in FOUR_WAY]
    with pytest.raises(ValueError, match="in each of its 200 rows all candidates are the same"):
        load_preferences(same)
    with pytest.raises(ValueError, match="each of its 200 rows is a tie"):
        load_preferences([row | {"tie": True} for row in PAIRS])
    assert "200 with all candidates" not in str(load_preferences([*same[:1], *FOUR_WAY]))
    assert "1 with all candidates the same" in str(load_preferences([*same[:1], *FOUR_WAY]))
    (note,) = load_preferences([row | {"best": 0} for row in FOUR_WAY]).notes
    assert "best is 0 in every row" in note
    assert load_preferences(PAIRS).notes == () and load_preferences(FOUR_WAY).notes == ()
    (note,) = load_preferences([{"prompt": "a b", "chosen": "a b c", "rejected": "a b d"}]).notes
    assert "begins with its prompt" in note


def test_the_split_shares_no_prompt_and_does_not_depend_on_the_order():
    rows = [{"prompt": f"prompt {n % 50}", "chosen": f"{n}", "rejected": f"{n + 1}"} for n in range(200)]
    train, test = load_preferences(rows).split(0.3, seed=7)
    assert len(train) + len(test) == 200
    sides = {record.prompt for record in train}, {record.prompt for record in test}
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 50
    assert {record.prompt for record in load_preferences(rows[::-1]).split(0.3, seed=7)[1]} == sides[1]
    assert {record.prompt for record in load_preferences(rows[:90]).split(0.3, seed=7)[1]} <= sides[1]
    assert {record.prompt for record in load_preferences(rows).split(0.3, seed=8)[1]} != sides[1]


def test_the_split_holds_out_about_its_share_of_the_prompts():
    """2,000 prompts at 0.2: three standard deviations are 54; the hash is fixed, so this either holds or does not."""
    rows = [{"prompt": [n], "chosen": [1], "rejected": [2]} for n in range(2000)]
    assert abs(len(load_preferences(rows).split(0.2)[1]) - 400) < 54


def test_a_split_that_leaves_a_side_empty_is_an_error():
    with pytest.raises(ValueError, match=r"all rows are on one side: they share 1 prompt\(s\)"):
        load_preferences([row | {"prompt": "p"} for row in PAIRS]).split()
    with pytest.raises(ValueError, match=r"test_size=1\.5"):
        load_preferences(PAIRS).split(1.5)


def test_the_example_in_the_docstring_is_true():
    assert doctest.testmod(preferences).failed == 0 and doctest.testmod(preferences).attempted >= 3
