"""The environments that come along, under their ids."""

import gymnasium as gym

__all__ = ["ENVIRONMENTS", "GAMES", "register_environments"]

# Where each lives; it is imported when it is made.
ENVIRONMENTS = {
    "CoTEnv-v0": "gymformer.env.cot_env:CoTEnv",
    "Dialogue-v0": "gymformer.env.dialogue_env:DialogueEnv",
    "GSM8K-v0": "gymformer.env.gsm8k_env:GSM8KEnv",
    "LogicPuzzle-v0": "gymformer.env.logic_puzzle_env:LogicPuzzleEnv",
    "MATH-v0": "gymformer.env.math_env:MATHEnv",
    "MemoryBuffer-v0": "gymformer.env.memory_buffer_env:MemoryBufferEnv",
    "MetaReasoning-v0": "gymformer.env.meta_reasoning_env:MetaReasoningEnv",
    "RLHFEnv-v0": "gymformer.env.rlhf_env:RLHFEnv",
    "Summarization-v0": "gymformer.env.summarization_env:SummarizationEnv",
}
# Games of others, with words for a language model that plays them; their observations are Dicts.
GAMES = {
    "BlackjackLLM-v1": "gymformer.env.llm_games:BlackjackLLM",
    "CartPoleLLM-v1": "gymformer.env.llm_games:CartPoleLLM",
    "FrozenLakeLLM-v1": "gymformer.env.llm_games:FrozenLakeLLM",
    "LunarLanderLLM-v2": "gymformer.env.llm_games:LunarLanderLLM",
    "MiniGridEmptyLLM-v0": "gymformer.env.llm_games:MiniGridEmptyLLM",
    "TaxiLLM-v3": "gymformer.env.llm_games:TaxiLLM",
}


def register_environments() -> None:
    """Every id of ours that is still free makes our environment. One that is taken stays its owner's; whoever takes one
    later, by `gymnasium.register`, has it from then on (Gymnasium warns that it was overridden)."""
    for env_id, entry_point in (ENVIRONMENTS | GAMES).items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point)
