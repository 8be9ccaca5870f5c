"""Finds what comes along: `models/`, `data/` and `configs/` of a checkout, or the same folders inside an installed package."""

from pathlib import Path

__all__ = ["folder_or_id", "resource"]

PACKAGE = Path(__file__).parent
ROOTS = (PACKAGE / "shipped", PACKAGE.parent)  # a wheel's place, a checkout's place


def resource(path: str | Path) -> Path:
    """The file or folder that `path` names: the user's own if it exists, else the one that comes along.

    `path` looks like "models/reasoner" or "data/articles.jsonl". Raises FileNotFoundError naming every place tried.
    """
    path = Path(path).expanduser()
    candidates = [path] if path.is_absolute() else [path, *(root / path for root in ROOTS)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    tried = ", ".join(str(candidate.absolute()) for candidate in candidates)
    raise FileNotFoundError(f"{path} was not found; looked for {tried}. Give the path of a file or folder that exists")


def folder_or_id(name: str | Path) -> str:
    """The path of a model's folder that exists, here or among what comes along; any other name is a hub id, as it is.

    A hub id reads "name" or "owner/name", and "models/reasoner" does too: what exists as a folder is one. Raises
    FileNotFoundError for a name that can only be a path.
    """
    try:
        return str(resource(name))
    except FileNotFoundError:
        if isinstance(name, Path) or name.startswith(("models/", ".", "/", "~")):
            raise
        return name
