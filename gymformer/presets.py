"""Tuned settings for known environments, as data."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["preset", "preset_names"]


@cache
def _presets() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(files("gymformer").joinpath("presets.yaml").read_text(encoding="utf-8"))


def preset_names() -> list[str]:
    """The environments that a preset exists for."""
    return sorted(_presets())


def preset(env_id: str) -> dict[str, Any]:
    """Keyword arguments for `train_agent(env_id, **preset(env_id))`. Raises KeyError naming the presets that exist."""
    from gymformer.rl.ppo import PPOConfig

    if env_id not in _presets():
        raise KeyError(f"no preset for {env_id!r}; there are presets for {', '.join(preset_names())}. Without one, "
                       "train_agent's defaults are a start")  # fmt: skip
    settings = dict(_presets()[env_id])
    return settings | {"ppo_config": PPOConfig(**settings["ppo_config"])}
