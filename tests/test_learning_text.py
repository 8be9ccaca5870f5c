"""The reduced learning run of the text environments: one seed, confidence in MetaReasoning-v0."""

import numpy as np

from gymformer import GRPOConfig, LMActorNetwork, train_agent
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import language_agent

ASKED = {"use_curriculum": False, "difficulty": 0.5}


def test_the_speaker_learns_to_be_less_sure():
    """Of 150 held-out problems; a standard error is at most 0.03. (In full: benchmarks/text_environments.py learning.)"""
    actor = LMActorNetwork("models/speaker")

    def brier() -> float:
        played = play_tokens(
            language_agent(actor), "MetaReasoning-v0", episodes=150, seed=1, env_kwargs=ASKED | {"split": "test"}
        )
        return float(np.mean([segment.info["brier"] for segment in played]))

    before = brier()
    train_agent("MetaReasoning-v0", actor=actor, algorithm="grpo", config=GRPOConfig(lr_actor=5e-4), env_kwargs=ASKED, max_episodes=256,
                update_interval=64, seed=0, save_path=None, progress=False)  # fmt: skip
    assert before > 0.35
    assert brier() < 0.8 * before
