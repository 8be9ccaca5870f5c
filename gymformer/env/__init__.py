"""Environments made of text: their bases, the wrapper from turns to tokens, and the ones that come along."""

from gymformer.env.chat import ChatFormat
from gymformer.env.codec import load_tokenizer
from gymformer.env.cot_env import CoTEnv
from gymformer.env.dialogue_env import DialogueEnv
from gymformer.env.gsm8k_env import GSM8KEnv
from gymformer.env.lines_to_tokens import LinesToTokens
from gymformer.env.llm_env import LLMEnv
from gymformer.env.logic_puzzle_env import LogicPuzzleEnv
from gymformer.env.making import for_language_model
from gymformer.env.math_env import MATHEnv
from gymformer.env.memory_buffer_env import MemoryBufferEnv
from gymformer.env.meta_reasoning_env import MetaReasoningEnv
from gymformer.env.rlhf_env import RLHFEnv, create_vectorized_envs
from gymformer.env.solution_env import SolutionEnv
from gymformer.env.summarization_env import SummarizationEnv
from gymformer.env.text_env import AnyText, TextEnv, is_text_env, writes_lines
from gymformer.env.text_to_tokens import TextToTokens
from gymformer.env.to_text import ToText
from gymformer.env.token_env import TokenEnv, is_token_env

__all__ = [
    "AnyText",
    "ChatFormat",
    "CoTEnv",
    "DialogueEnv",
    "GSM8KEnv",
    "LLMEnv",
    "LinesToTokens",
    "LogicPuzzleEnv",
    "MATHEnv",
    "MemoryBufferEnv",
    "MetaReasoningEnv",
    "RLHFEnv",
    "SolutionEnv",
    "SummarizationEnv",
    "TextEnv",
    "TextToTokens",
    "ToText",
    "TokenEnv",
    "create_vectorized_envs",
    "for_language_model",
    "is_text_env",
    "is_token_env",
    "load_tokenizer",
    "writes_lines",
]
