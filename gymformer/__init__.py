"""Any agent, from a two-layer network to a language model, learns in any Gymnasium environment through one loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymformer.registration import register_environments

if TYPE_CHECKING:
    from gymformer.data.preferences import load_preferences as load_preferences
    from gymformer.evaluation import evaluate as evaluate
    from gymformer.evaluation import trace_episode as trace_episode
    from gymformer.lm.reward import RewardModel as RewardModel
    from gymformer.presets import preset as preset
    from gymformer.rl.a2c import A2C as A2C
    from gymformer.rl.a2c import A2CConfig as A2CConfig
    from gymformer.rl.agent import load_agent as load_agent
    from gymformer.rl.algorithm import Algorithm as Algorithm
    from gymformer.rl.common_nn import MLPActorNetwork as MLPActorNetwork
    from gymformer.rl.common_nn import MLPCriticNetwork as MLPCriticNetwork
    from gymformer.rl.dpo import DPO as DPO
    from gymformer.rl.dpo import DPOConfig as DPOConfig
    from gymformer.rl.envs import make_envs as make_envs
    from gymformer.rl.grpo import GRPO as GRPO
    from gymformer.rl.grpo import GRPOConfig as GRPOConfig
    from gymformer.rl.kl import KLPenalty as KLPenalty
    from gymformer.rl.phrase_actor import PhraseActor as PhraseActor
    from gymformer.rl.ppo import PPO as PPO
    from gymformer.rl.ppo import PPOConfig as PPOConfig
    from gymformer.rl.reinforce import Reinforce as Reinforce
    from gymformer.rl.reinforce import ReinforceConfig as ReinforceConfig
    from gymformer.rl.reinforce import ReinforceStable as ReinforceStable
    from gymformer.rl.reinforce import ReinforceStableConfig as ReinforceStableConfig
    from gymformer.rl.replay import rescored as rescored
    from gymformer.rl.replay import reweighted as reweighted
    from gymformer.rl.rloo import RLOO as RLOO
    from gymformer.rl.rloo import RLOOConfig as RLOOConfig
    from gymformer.rl.rollouts import collect as collect
    from gymformer.rl.segment_files import SaveRollouts as SaveRollouts
    from gymformer.rl.segment_files import load_segments as load_segments
    from gymformer.rl.segment_files import save_segments as save_segments
    from gymformer.rl.sft import SFT as SFT
    from gymformer.rl.sft import SFTConfig as SFTConfig
    from gymformer.rl.transformers_nn import LMActorNetwork as LMActorNetwork
    from gymformer.rl.transformers_nn import LMCriticNetwork as LMCriticNetwork
    from gymformer.rl.workers import Workers as Workers
    from gymformer.trainer.reward import load_reward_model as load_reward_model
    from gymformer.trainer.reward import train_reward as train_reward
    from gymformer.trainer.trainer import train_agent as train_agent

# Where each public name lives. It is imported when it is first used: `import gymformer` alone
# loads Gymnasium, to register our environments there, but neither torch nor files.
_HOMES = {
    "A2C": "gymformer.rl.a2c",
    "A2CConfig": "gymformer.rl.a2c",
    "Algorithm": "gymformer.rl.algorithm",
    "DPO": "gymformer.rl.dpo",
    "DPOConfig": "gymformer.rl.dpo",
    "GRPO": "gymformer.rl.grpo",
    "GRPOConfig": "gymformer.rl.grpo",
    "KLPenalty": "gymformer.rl.kl",
    "LMActorNetwork": "gymformer.rl.transformers_nn",
    "LMCriticNetwork": "gymformer.rl.transformers_nn",
    "MLPActorNetwork": "gymformer.rl.common_nn",
    "MLPCriticNetwork": "gymformer.rl.common_nn",
    "PPO": "gymformer.rl.ppo",
    "PPOConfig": "gymformer.rl.ppo",
    "PhraseActor": "gymformer.rl.phrase_actor",
    "RLOO": "gymformer.rl.rloo",
    "RLOOConfig": "gymformer.rl.rloo",
    "Reinforce": "gymformer.rl.reinforce",
    "ReinforceConfig": "gymformer.rl.reinforce",
    "ReinforceStable": "gymformer.rl.reinforce",
    "ReinforceStableConfig": "gymformer.rl.reinforce",
    "RewardModel": "gymformer.lm.reward",
    "SFT": "gymformer.rl.sft",
    "SFTConfig": "gymformer.rl.sft",
    "SaveRollouts": "gymformer.rl.segment_files",
    "Workers": "gymformer.rl.workers",
    "collect": "gymformer.rl.rollouts",
    "evaluate": "gymformer.evaluation",
    "load_agent": "gymformer.rl.agent",
    "load_preferences": "gymformer.data.preferences",
    "load_reward_model": "gymformer.trainer.reward",
    "load_segments": "gymformer.rl.segment_files",
    "make_envs": "gymformer.rl.envs",
    "preset": "gymformer.presets",
    "rescored": "gymformer.rl.replay",
    "reweighted": "gymformer.rl.replay",
    "save_segments": "gymformer.rl.segment_files",
    "trace_episode": "gymformer.evaluation",
    "train_agent": "gymformer.trainer.trainer",
    "train_reward": "gymformer.trainer.reward",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gymformer' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


register_environments()
