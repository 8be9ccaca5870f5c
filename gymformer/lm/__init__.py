"""What language models need and no algorithm knows of."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gymformer.lm.judge import Judgement as Judgement
    from gymformer.lm.judge import VerbalJudge as VerbalJudge
    from gymformer.lm.reward import RewardModel as RewardModel
    from gymformer.lm.value_head import AutoModelForCausalLMWithValueHead as AutoModelForCausalLMWithValueHead

# Where each public name lives. It is imported when it is first used: torch and transformers take seconds.
_HOMES = {
    "AutoModelForCausalLMWithValueHead": "gymformer.lm.value_head",
    "Judgement": "gymformer.lm.judge",
    "RewardModel": "gymformer.lm.reward",
    "VerbalJudge": "gymformer.lm.judge",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gymformer.lm' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
