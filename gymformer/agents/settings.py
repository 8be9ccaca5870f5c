"""The file that describes an experiment: an agent, an environment, and how often they meet."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, field_validator

from gymformer.config import describe, did_you_mean
from gymformer.resources import resource

__all__ = ["AgentSettings", "EnvironmentSettings", "ExperimentSettings", "check_base_url", "check_config", "parse_config"]

LARGEST_FILE = 100_000  # characters
EXAMPLE_URL = "http://localhost:11434/v1"


def check_base_url(url: str) -> str:
    """The address of a server, such as http://localhost:8000/v1. Raises ValueError, which never repeats a URL with a password."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url holds a user name or a password; the key comes from an environment variable only")
    try:
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        well_formed = False
    if not well_formed or parts.query or parts.fragment or any(c.isspace() for c in url):
        shown = url.partition("?")[0]
        raise ValueError(f"base_url={shown!r}; expected http(s)://host[:port]/path, such as {EXAMPLE_URL}")
    return url.rstrip("/")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AgentSettings(Section):
    """Who plays."""

    backend: Literal["openai", "ollama", "trained"]  # trained: an agent of train_agent, for comparison
    model: Annotated[str, Field(min_length=1)]  # the server's name for it; of a trained agent its folder
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    history: NonNegativeInt = 10  # whole exchanges (an observation and its answer) that are told again
    action_rate: PositiveInt = 1  # the model is asked at every so many steps; in between its action is repeated
    base_url: str | None = None  # None: OpenAI's own, or Ollama's on this machine
    api_key_env: str | None = None  # None: the backend's; "": no key
    response_format: Literal["json_schema", "json_object", "text"] = "json_schema"  # what the server is asked to enforce
    max_tokens: PositiveInt | None = 1024  # of an answer. None: the server's limit
    timeout: PositiveFloat = 120.0  # seconds for an answer
    connect_timeout: PositiveFloat = 10.0  # seconds
    max_retries: Annotated[int, Field(ge=0, le=10)] = 3  # of 429, 5xx and time-outs
    answer_retries: Annotated[int, Field(ge=0, le=10)] = 2  # of an answer that is not a legal action
    fallback: int | None = None  # the action when no answer is legal, counted. None: the run stops
    describe_reward: bool = False  # tell the model what is rewarded

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else check_base_url(url)

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        if name and not re.fullmatch(r"[A-Z][A-Z0-9_]*_API_KEY", name):  # what was written here may be the key itself
            raise ValueError("agent.api_key_env is the name of an environment variable that ends in _API_KEY, never the key")
        return name


class EnvironmentSettings(Section):
    """What is played."""

    name: Annotated[str, Field(min_length=1)]
    kwargs: dict[str, Any] | None = None

    @field_validator("name")
    @classmethod
    def _imports_nothing(cls, name: str) -> str:
        if ":" in name:
            raise ValueError(
                "environment.name would import a module, and a file must not; import it in Python, then run_experiment"
            )
        return name


class ExperimentSettings(Section):
    """How often, and what is kept."""

    parent: Path = Path("experiments")
    name: Annotated[str, Field(min_length=1)]
    use_datetime: bool = True  # a folder for each experiment, named by its beginning
    seed: NonNegativeInt = 0  # of the first run; the next has the next one
    save_gif: bool = True
    gif_fps: PositiveInt = 30
    window: bool = False  # show the picture beside the reasoning on the screen, while they play
    num_runs: PositiveInt = 1
    max_steps: PositiveInt = 1000  # an episode is cut off after so many
    verbose: bool = True  # print what the model thinks and does


SECTIONS: dict[str, type[Section]] = {"agent": AgentSettings, "environment": EnvironmentSettings,
                                      "experiment": ExperimentSettings}  # fmt: skip


def parse_config(path: str | Path) -> dict[str, dict[str, Any]]:
    """The sections of a YAML file ("configs/taxi.yaml" also finds the one that comes along), with every default filled in.

    Raises FileNotFoundError, or ValueError naming the file and the key.
    """
    found = resource(path)
    text = found.read_text(encoding="utf-8")
    if len(text) > LARGEST_FILE:
        raise ValueError(f"{found} has {len(text):,} characters, and an experiment needs a few hundred; is it the right file?")
    if re.search(r"(^|[\s\[{,:-])[&*][A-Za-z0-9_]", text, flags=re.MULTILINE):
        raise ValueError(
            f"{found} has YAML anchors or aliases (& or *), which an experiment does not need; write the values out, or in quotes"
        )
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{found} is not a YAML file: {error}") from error
    try:
        return check_config(content)
    except ValueError as error:
        raise ValueError(f"{found}: {error}") from None


def check_config(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The same sections, checked, with every default filled in. Raises ValueError naming the key; never showing a secret."""
    if not isinstance(config, Mapping):
        raise ValueError(f"a {type(config).__name__} was found, but the sections {', '.join(SECTIONS)} are expected")
    for name in config:
        if name not in SECTIONS:
            raise ValueError(f"{name} is not a section; {did_you_mean(str(name), SECTIONS)}")
    checked = {name: section_settings(name, config.get(name)) for name in SECTIONS}
    return {name: settings.model_dump(mode="json") for name, settings in checked.items()}


def section_settings(name: str, content: Any) -> Any:
    """The settings of one section, typed and checked."""
    if not isinstance(content, Mapping):
        raise ValueError(f"the section {name} is {'missing' if content is None else 'not one of keys with values'}; it names "
                         f"{', '.join(SECTIONS[name].model_fields)}")  # fmt: skip
    for key in content:
        if key not in SECTIONS[name].model_fields:
            hint = ("the key is read from an environment variable, and stays out of files" if "key" in str(key).lower()
                    else did_you_mean(str(key), SECTIONS[name].model_fields))  # fmt: skip
            raise ValueError(f"{name}.{key} is not a setting; {hint}")
    try:
        return SECTIONS[name].model_validate(content)
    except ValidationError as error:
        problem = describe(error, f"{name}.")
        missing = [str(part["loc"][0]) for part in error.errors() if part["type"] == "missing"]
    raise ValueError(f"{name}.{missing[0]} is missing" if missing else problem)
