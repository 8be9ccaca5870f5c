"""Environments of language, and how they are made for a language model."""
