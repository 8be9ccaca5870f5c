"""models/reasoner trained with PPO: its accuracy on held-out sums as it learns."""

import time

import measure
import numpy as np

from gymformer import LMActorNetwork, LMCriticNetwork, PPOConfig, train_agent
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import TrainedAgent, language_agent

HELD_OUT = {"split": "test"}


def accuracy(agent: TrainedAgent, problems: int, greedy: bool) -> float:
    """Share of right answers to the same held-out sums."""
    segments = play_tokens(agent, "CoTEnv-v0", episodes=problems, greedy=greedy, seed=1, env_kwargs=HELD_OUT)
    return float(np.mean([segment.info["correct"] for segment in segments]))


class Watch:
    """Evaluates after every second update, while the clock stands. It has the face of a curriculum that wants nothing."""

    def __init__(self, agent: TrainedAgent, problems: int):
        self.agent, self.problems, self.curve, self.updates, self.seconds = agent, problems, [], 0, 0.0
        self.since = time.process_time()

    def options(self) -> dict:
        return {}

    def observe(self, segments: list) -> None:
        self.seconds += time.process_time() - self.since
        self.updates += 1
        if self.updates % 2 == 0:
            self.curve.append([self.seconds, accuracy(self.agent, self.problems, greedy=True)])
        self.since = time.process_time()


def learn(s: dict) -> dict:
    """One run; seconds are CPU seconds of training alone."""
    actor = LMActorNetwork("models/reasoner", lora=s["lora"])
    critic = None if s["critic"] == "head" else LMCriticNetwork("models/reasoner")
    agent = language_agent(actor)
    before = {how: accuracy(agent, s["problems"], how == "greedy") for how in ("greedy", "sampled")}
    watch = Watch(agent, s["curve_problems"])
    train_agent("CoTEnv-v0", actor=actor, critic=critic, ppo_config=PPOConfig(**s["config"]), max_episodes=s["episodes"],
                curriculum=watch, seed=s["seed"], save_path=None, progress=False)  # fmt: skip
    after = {how: accuracy(agent, s["problems"], how == "greedy") for how in ("greedy", "sampled")}
    return {"before": before, "after": after, "curve": watch.curve, "seconds": watch.seconds, "seed": s["seed"]}


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(learn(measure.task()[1]))
