"""What a dialogue is about: scenarios from a file."""

from pathlib import Path

from gymformer.data.task_file import TaskFile

__all__ = ["SCENARIO_TYPES", "load_dialogue_scenarios"]

SCENARIO_TYPES = ("question-answering", "negotiation", "debate")
EXAMPLE = 'dialogue: {scenarios: [{type: "negotiation", context: "Salary discussion"}]}'
LONGEST_CONTEXT = 200  # characters


def load_dialogue_scenarios(path: str | Path) -> list[dict[str, str]]:
    """The section `dialogue` of a YAML file, {scenarios: [{type: "negotiation", context: "Salary discussion"}, …]}, as the list of
    its scenarios, at least one: {"type": one of `SCENARIO_TYPES`, "context": a line of text}.

    Other sections are left alone. Nothing in the file can name something to import. Raises ValueError with the lines of all
    that is wrong, FileNotFoundError.
    """
    file, scenarios = TaskFile(path), list[dict[str, str]]()
    section = file.section("dialogue", EXAMPLE)
    for key, node in file.entries(section, "dialogue") if section else ():
        if key != "scenarios":
            file.refuse(node, f"dialogue has no {key!r}; it has scenarios")
            continue
        for item in file.items(node, key):
            known, fields = len(file.errors), dict(file.entries(item, "a scenario"))
            if fields.keys() != {"type", "context"}:
                if len(file.errors) == known:
                    file.refuse(item, f"a scenario has {', '.join(fields) or 'nothing'}, expected type and context")
                continue
            scenarios.append(
                {"type": file.text(fields["type"], _check_type), "context": file.text(fields["context"], _check_context)}
            )
    file.require_sound()
    if not scenarios:
        raise ValueError(f"{file.path} has no scenarios in its section dialogue. Write {EXAMPLE}")
    if twice := [one for n, one in enumerate(scenarios) if one in scenarios[:n]]:
        raise ValueError(f"{file.path} has the scenario {twice[0]} twice; leave one out")
    return scenarios


def _check_type(text: str) -> None:
    if text not in SCENARIO_TYPES:
        raise ValueError(f"{text!r} is no type of a scenario; use {', '.join(SCENARIO_TYPES)}")


def _check_context(text: str) -> None:
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_CONTEXT:
        raise ValueError(f"{text[:40]!r} is no context; write one line of up to {LONGEST_CONTEXT} characters")
