"""Language models that play in any Gymnasium environment."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gymformer.agents.backends import Backend as Backend
    from gymformer.agents.backends import BackendAuthError as BackendAuthError
    from gymformer.agents.backends import BackendBadOutput as BackendBadOutput
    from gymformer.agents.backends import BackendError as BackendError
    from gymformer.agents.backends import BackendTimeout as BackendTimeout
    from gymformer.agents.backends import BackendUnavailable as BackendUnavailable
    from gymformer.agents.experiment import get_env as get_env
    from gymformer.agents.experiment import run_experiment as run_experiment
    from gymformer.agents.experiment import run_experiments as run_experiments
    from gymformer.agents.line_buffer import LineBuffer as LineBuffer
    from gymformer.agents.online import Agent as Agent
    from gymformer.agents.player import LLMAgent as LLMAgent
    from gymformer.agents.player import get_env_definition as get_env_definition
    from gymformer.agents.results import results_table as results_table
    from gymformer.agents.settings import parse_config as parse_config
    from gymformer.agents.stepwise import Line as Line
    from gymformer.agents.stepwise import StepwiseMathPolicy as StepwiseMathPolicy
    from gymformer.env.llm_env import LLMEnv as LLMEnv

# Where each public name lives. It is imported when it is first used: who plays over HTTP never loads torch.
_HOMES = {
    "Agent": "gymformer.agents.online",
    "Backend": "gymformer.agents.backends",
    "BackendAuthError": "gymformer.agents.backends",
    "BackendBadOutput": "gymformer.agents.backends",
    "BackendError": "gymformer.agents.backends",
    "BackendTimeout": "gymformer.agents.backends",
    "BackendUnavailable": "gymformer.agents.backends",
    "LLMAgent": "gymformer.agents.player",
    "LLMEnv": "gymformer.env.llm_env",
    "Line": "gymformer.agents.stepwise",
    "LineBuffer": "gymformer.agents.line_buffer",
    "StepwiseMathPolicy": "gymformer.agents.stepwise",
    "get_env": "gymformer.agents.experiment",
    "get_env_definition": "gymformer.agents.player",
    "parse_config": "gymformer.agents.settings",
    "results_table": "gymformer.agents.results",
    "run_experiment": "gymformer.agents.experiment",
    "run_experiments": "gymformer.agents.experiment",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gymformer.agents' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
