"""The dialogue part of tasks.yaml: what it gives, and what is wrong with it, by line."""

import pytest

from gymformer.data.scenarios import load_dialogue_scenarios

GOOD = """
logic_puzzle: {templates: ["If A then B"]}
dialogue:
  scenarios:
    - {type: "negotiation", context: "Salary discussion"}
    - type: debate
      context: School uniforms
"""
BAD = """dialogue:
  scenarios:
    - {type: quarrel, context: Salary}
    - {type: debate}
    - {type: debate, context: 7}
    - {type: debate, context: !!python/object/apply:os.system [ls]}
    - debate
    - {type: debate, type: negotiation, context: Rent}
    - {type: debate, context: "  "}
  colour: red
"""


def test_scenarios_are_read_beside_other_sections(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text(GOOD)
    assert load_dialogue_scenarios(path) == [
        {"type": "negotiation", "context": "Salary discussion"},
        {"type": "debate", "context": "School uniforms"},
    ]


def test_all_that_is_wrong_is_told_by_line(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text(BAD)
    with pytest.raises(ValueError, match=r"tasks\.yaml: line 3") as caught:
        load_dialogue_scenarios(path)
    told = dict(
        part.removeprefix("line ").split(": ", 1) for part in str(caught.value).removeprefix(f"{path}: ").split("; line ")
    )
    expected = {
        "3": "'quarrel' is no type of a scenario; use question-answering, negotiation, debate",
        "4": "a scenario has type, expected type and context",
        "5": "an entry is '7' (int), expected a text; put it in quotes",
        "7": "a scenario is text, expected a mapping",
        "8": "a scenario has 'type' twice",
        "9": "'  ' is no context",
        "10": "dialogue has no 'colour'; it has scenarios",
    }
    assert told.keys() == expected.keys() | {"6"} and "os.system" in told["6"]
    assert {line: told[line].startswith(start) or (line, told[line]) for line, start in expected.items()} == dict.fromkeys(
        expected, True
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("logic_puzzle: {}", r"no section dialogue: it has logic_puzzle. Write dialogue: \{scenarios"),
        ("dialogue: {}", "no scenarios in its section"),
        ("dialogue: {scenarios: [{type: debate, context: A}, {type: debate, context: A}]}", "twice"),
    ],
)
def test_a_file_without_scenarios_is_refused(tmp_path, text, message):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_dialogue_scenarios(path)
