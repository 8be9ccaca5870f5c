"""The reduced learning run of algorithms and mathematics: one seed, word problems in GSM8K-v0."""

import numpy as np

from gymformer import RLOO, LMActorNetwork, RLOOConfig, train_agent
from gymformer.data.word_problems import word_problem
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import language_agent

ASKED = {"data_file": word_problem, "n_few_shot_examples": 0}


def test_the_solver_learns_to_work_word_problems_out():
    """Of 150 held-out problems; a standard error is at most 0.041. (In full: benchmarks/algorithms.py learning.)"""
    actor = LMActorNetwork("models/solver")

    def accuracy() -> float:
        played = play_tokens(language_agent(actor), "GSM8K-v0", episodes=150, seed=1, env_kwargs=ASKED | {"split": "test"})
        return float(np.mean([segment.info.get("correct", False) for segment in played]))

    before = accuracy()
    train_agent("GSM8K-v0", actor=actor, algorithm=RLOO, config=RLOOConfig(), env_kwargs=ASKED, max_episodes=640, seed=0,
                save_path=None, progress=False)  # fmt: skip
    assert before < 0.55
    assert accuracy() > before + 0.15
