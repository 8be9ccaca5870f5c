"""The reduced learning run of preferences: one seed, four updates."""

import numpy as np

from gymformer import LMActorNetwork, train_agent
from gymformer.data.world.gold import descriptiveness


def test_the_truth_rises_with_the_reward_models_score():
    """Of 256 descriptions each; standard error of a mean of gold about 0.08. (In full: benchmarks/preferences.py rlhf.)"""
    seen: list[np.ndarray] = []

    def watch(segments) -> dict[str, float]:
        seen.append(np.array([[s.info["score"], descriptiveness(s.info["text"])] for s in segments if s.ended]))  # (N, 2)
        return {}

    result = train_agent("RLHFEnv-v0", actor=LMActorNetwork("models/writer"), kl_coef=0.1, num_envs=128, max_episodes=1024,
                         update_interval=256, transforms=[watch], seed=0, save_path=None, progress=False)  # fmt: skip
    (proxy, gold), (new_proxy, new_gold) = seen[0].mean(0), seen[-1].mean(0)
    assert abs(proxy) < 0.3, "about 0 before training: the reward model was normalised on such descriptions"
    assert new_proxy - proxy > 0.5
    assert new_gold - gold > 0.5 * seen[0][:, 1].std()
    assert abs(result.metrics[0]["kl_to_reference"]) < 1e-5 and 0 < result.metrics[-1]["kl_to_reference"] < 0.3
