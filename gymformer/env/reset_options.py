"""The options of a reset: which ones an environment knows."""

import difflib
from collections.abc import Mapping
from typing import Any

__all__ = ["require_known"]


def require_known(options: Mapping[str, Any], known: tuple[str, ...] | None, name: str) -> None:
    """Raises ValueError for an option that the environment would not look at, and so play another task than was asked for. `known`
    None: it has not said which ones it looks at."""
    unknown = [] if known is None else [option for option in options if option not in known]
    if unknown:
        meant = difflib.get_close_matches(str(unknown[0]), known or (), n=1)
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ValueError(f"{name} has no reset option {unknown[0]!r}; {f'did you mean {meant[0]!r}? ' if meant else ''}{has} "
                         "(a subclass that reads others names them in `reset_options`)")  # fmt: skip
