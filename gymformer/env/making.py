"""From what a user names to the environment that a language model with a given tokenizer plays."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, load_env_creator, parse_env_id
from gymnasium.vector import VectorEnv

from gymformer.env.lines_to_tokens import LinesToTokens
from gymformer.env.phrases_to_tokens import PhrasesToTokens
from gymformer.env.text_env import is_text_env, writes_lines
from gymformer.env.text_to_tokens import MAX_TURN_TOKENS, TextToTokens
from gymformer.env.to_text import ToText, has_words
from gymformer.env.token_env import is_token_env

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["default_model", "for_language_model", "is_for_language", "wrapped"]

Source = str | gym.Env | VectorEnv | Callable[..., gym.Env]
Around = Callable[[gym.Env], gym.Env]


def for_language_model(
    env: Source,
    env_kwargs: dict[str, Any] | None,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_turn_tokens: int | None = None,
    context: int | None = None,
    around: Around | None = None,
    phrases: Sequence[str] | None = None,
) -> tuple[Source, dict[str, Any]]:
    """The environment, and the arguments to make it with, as an actor with this tokenizer plays it.

    Where the environment's maker (an id's entry point, or the callable given) takes a `tokenizer`, and the arguments name
    neither `tokenizer` nor `model_name`, it gets the actor's; where it takes a `model_name` alone, the name by which the actor's
    was loaded. An environment from texts to texts becomes one of tokens (`TextToTokens` with `context` and `max_turn_tokens`;
    None: 128, or a quarter of a context that is small, so that it holds several turns; or, where its actions are the lines of
    one message, `LinesToTokens` with lines of so many tokens), and any other whose actions can be read from words becomes one of
    texts first (`ToText`). An actor that chooses among `phrases` plays one of texts by saying these (`PhrasesToTokens`), and any
    other with as many actions by their names. `around` puts a wrapper around it: around its texts, where it becomes one of tokens.
    What is left is passed on unchanged. To see which it is, an id or a callable is made once.

    The arguments returned may hold the tokenizer: what is written to a file is what the user gave.
    """
    arguments = dict(env_kwargs or {})
    if max_turn_tokens is None:
        max_turn_tokens = MAX_TURN_TOKENS if context is None else max(1, min(MAX_TURN_TOKENS, context // 4))
    if isinstance(env, VectorEnv):
        return env, arguments
    if isinstance(env, gym.Env):
        if not _is_put_into_tokens(env):
            return wrapped(env, around), arguments
        return _in_tokens(env, tokenizer, max_turn_tokens, context, around, phrases), arguments
    maker, registered = _maker(_spec(env)) if isinstance(env, str) else (env, {})
    if maker is None:  # a vector version alone
        return env, arguments
    if not {"tokenizer", "model_name"} & (arguments.keys() | registered.keys()):
        known = {"tokenizer": tokenizer, "model_name": tokenizer.name_or_path or None}
        taken = next((name for name in known if name in _parameters(maker) and known[name] is not None), None)
        arguments |= {} if taken is None else {taken: known[taken]}
    probe = _make(env, arguments)
    wraps = isinstance(probe, gym.Env) and _is_put_into_tokens(probe)
    if isinstance(env, str):  # what a callable gave may be its only one
        probe.close()
    if not wraps:
        return wrapped(env, around), arguments
    return TurnsAsTokens(env, tokenizer, max_turn_tokens, context, around, phrases, _name(env)), arguments


def wrapped(env: Source, around: Around | None) -> Source:
    """The environment, or what makes it, with a wrapper around it; as it is where there is none. Raises ValueError for a vector."""
    if around is None:
        return env
    if isinstance(env, VectorEnv):
        raise ValueError("a wrapper cannot be put around the environments of a ready vector; wrap each of them before")
    return around(env) if isinstance(env, gym.Env) else Made(env, around, _name(env))


def is_for_language(env: Source) -> bool:
    """The environment speaks the tokens of whoever plays it: its maker takes a `tokenizer`."""
    if isinstance(env, gym.Env | VectorEnv):
        return False
    maker = _maker(_spec(env))[0] if isinstance(env, str) else env
    return maker is not None and "tokenizer" in _parameters(maker)


def default_model(env: Source) -> str | None:
    """The model that comes along and knows what the environment asks for: `default_model` of its class, if it has one."""
    if isinstance(env, VectorEnv):
        return None
    maker = env.unwrapped if isinstance(env, gym.Env) else _maker(_spec(env))[0] if isinstance(env, str) else env
    return getattr(maker, "default_model", None)


@dataclass(frozen=True)
class TurnsAsTokens:
    """Makes an environment of texts, and wraps it into one of tokens. It can be sent to another process."""

    env: str | Callable[..., gym.Env]
    tokenizer: "PreTrainedTokenizerBase" = field(repr=False)
    max_turn_tokens: int
    context: int | None
    around: Around | None
    phrases: Sequence[str] | None
    __name__: str

    def __call__(self, **arguments: Any) -> gym.Env:
        made = _make(self.env, arguments)
        return _in_tokens(made, self.tokenizer, self.max_turn_tokens, self.context, self.around, self.phrases)


@dataclass(frozen=True)
class Made:
    """Makes an environment, and puts a wrapper around it. It can be sent to another process where both parts can."""

    env: str | Callable[..., gym.Env]
    around: Around
    __name__: str

    def __call__(self, **arguments: Any) -> gym.Env:
        return self.around(_make(self.env, arguments))


def _is_put_into_tokens(env: gym.Env) -> bool:
    return is_text_env(env) or (not is_token_env(env) and has_words(env))


def _in_tokens(env: gym.Env, tokenizer: "PreTrainedTokenizerBase", max_turn_tokens: int, context: int | None,
               around: Around | None, phrases: Sequence[str] | None) -> gym.Env:  # fmt: skip
    """An environment of texts, or one that can be put into words, as one of tokens."""
    if not is_text_env(env):
        env = ToText(env, actions=None if phrases is None else [phrase.strip() for phrase in phrases])
    if around is not None:
        env = around(env)
    if phrases is not None:
        return PhrasesToTokens(env, tokenizer, phrases, context=context)
    if writes_lines(env):
        return LinesToTokens(env, tokenizer, max_line_tokens=max_turn_tokens)
    return TextToTokens(env, tokenizer, max_turn_tokens=max_turn_tokens, context=context)


def _name(env: str | Callable[..., gym.Env]) -> str:
    return env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)


def _make(env: str | Callable[..., gym.Env], arguments: dict[str, Any]) -> gym.Env:
    if not isinstance(env, str):
        return env(**arguments)
    try:
        return gym.make(env, disable_env_checker=True, **arguments)
    except TypeError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
        cause = error.__cause__  # Gymnasium adds all arguments at length, a tokenizer and its tokens among them
    cause.add_note(f"while {env} was made with {', '.join(arguments) or 'no arguments'}")
    raise cause


def _maker(spec: EnvSpec) -> tuple[Callable[..., Any] | None, dict[str, Any]]:
    """What makes the environment, and the arguments that it was registered with."""
    entry_point = spec.entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point, spec.kwargs


def _parameters(maker: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(maker).parameters)
    except (TypeError, ValueError):  # some callables written in C have none
        return set()


def _spec(env_id: str) -> EnvSpec:
    """The registered specification of an id, as gym.make finds it: "module:Id" imports the module, and an id without a
    version is its newest."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    namespace, short, version = parse_env_id(name)
    if version is None:
        version = find_highest_version(namespace, short)
    return gym.spec(get_env_id(namespace, short, version))
