"""The environments that come along, under their ids."""

import gymnasium as gym

__all__ = ["ENVIRONMENTS", "register_environments"]

# Where each lives; it is imported when it is made.
ENVIRONMENTS = {
    "CoTEnv-v0": "gymformer.env.cot_env:CoTEnv",
}


def register_environments() -> None:
    """Every id of ours that is still free makes our environment. One that is taken stays its owner's; whoever takes one
    later, by `gymnasium.register`, has it from then on (Gymnasium warns that it was overridden)."""
    for env_id, entry_point in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point)
