"""Environments made of text: their bases, the wrapper from turns to tokens, and the ones that come along."""

from gymformer.env.chat import ChatFormat
from gymformer.env.codec import load_tokenizer
from gymformer.env.cot_env import CoTEnv
from gymformer.env.making import for_language_model
from gymformer.env.text_env import AnyText, TextEnv, is_text_env
from gymformer.env.text_to_tokens import TextToTokens
from gymformer.env.token_env import TokenEnv, is_token_env

__all__ = [
    "AnyText",
    "ChatFormat",
    "CoTEnv",
    "TextEnv",
    "TextToTokens",
    "TokenEnv",
    "for_language_model",
    "is_text_env",
    "is_token_env",
    "load_tokenizer",
]
