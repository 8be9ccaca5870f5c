"""A tasks.yaml, read node by node: nothing is made of it but texts, and what is wrong with it is told by line."""

from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from gymformer.resources import resource

__all__ = ["TaskFile"]

LARGEST_FILE = 100_000  # characters
TEXT, LIST, MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
KIND = {TEXT: "text", LIST: "list", MAP: "mapping"}


class TaskFile:
    """The sections of a YAML file, as nodes, which know their lines. `entries`, `items` and `text` read them and collect what is
    wrong; `require_sound` raises it. Nothing in the file can name something to import.

    Raises FileNotFoundError; ValueError for what is no YAML, or too large.
    """

    def __init__(self, path: str | Path):
        self.path = resource(path)
        self.errors: list[str] = []
        text = self.path.read_text(encoding="utf-8")
        if len(text) > LARGEST_FILE:
            raise ValueError(f"{self.path} has {len(text):,} characters; at most {LARGEST_FILE:,} are read")
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)  # its nodes know their lines, and nothing is made of them
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"{self.path} is not a YAML file: {error}") from error
        self.sections = dict(self.entries(root, "the file"))

    def section(self, name: str, example: str) -> yaml.Node | None:
        """Raises ValueError with the example where a sound file has no such section; None where it is not sound."""
        if name not in self.sections and not self.errors:
            there = ", ".join(self.sections) or "nothing"
            raise ValueError(f"{self.path} has no section {name}: it has {there}. Write {example}")
        return self.sections.get(name)

    def require_sound(self) -> None:
        """Raises ValueError with all that was wrong in what has been read."""
        if self.errors:
            raise ValueError(f"{self.path}: {'; '.join(self.errors)}")

    def refuse(self, node: yaml.Node | None, what: str) -> None:
        self.errors.append(f"line {1 if node is None else node.start_mark.line + 1}: {what}")

    def entries(self, node: yaml.Node | None, name: str) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and values of a mapping; a key that comes twice is refused."""
        seen = set()
        if self._is(node, MAP, name):
            for key, value in node.value:  # type: ignore[union-attr]
                if key.value in seen:
                    self.refuse(key, f"{name} has {key.value!r} twice; put both into one")
                elif self._is(key, TEXT, f"a key of {name}"):
                    seen.add(key.value)
                    yield key.value, value

    def items(self, node: yaml.Node, name: str) -> list[yaml.Node]:
        return node.value if self._is(node, LIST, name) else []

    def text(self, node: yaml.Node, check: Callable[[str], None]) -> str:
        """A text that `check`, which raises ValueError, finds nothing wrong with."""
        if self._is(node, TEXT, "an entry"):
            try:
                check(node.value)
            except ValueError as error:
                self.refuse(node, str(error))
        return str(node.value)

    def _is(self, node: yaml.Node | None, tag: str, name: str) -> bool:
        if node is not None and node.tag == tag:
            return True
        found = "nothing" if node is None else KIND.get(node.tag, f"{node.value!r} ({node.tag.rpartition(':')[2]})")
        self.refuse(node, f"{name} is {found}, expected a {KIND[tag]}" + "; put it in quotes" * (tag == TEXT))
        return False
