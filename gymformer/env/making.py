"""Environments for a language model: made so that they speak its tokens."""

from typing import Any

__all__ = ["for_language_model", "is_for_language"]


def is_for_language(env: Any) -> bool:
    return False


def for_language_model(env: Any, env_kwargs: dict[str, Any] | None, tokenizer: Any, context: int | None = None) -> Any:
    return env, env_kwargs
