"""A language model trained with one algorithm on so many sampled tokens: how often it is right about problems that it never saw,
before, after and on the way."""

import time
from dataclasses import dataclass, field
from typing import Any

import measure
import numpy as np

from gymformer import LMActorNetwork, train_agent
from gymformer.data.word_problems import word_problem
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.segment import Segment
from gymformer.trainer.plan import ALGORITHMS

HOW = ("greedy", "sampled")


@dataclass(frozen=True)
class Task:
    env: str
    model: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    def accuracy(self, agent: TrainedAgent, problems: int, how: str) -> float:
        """Share of right answers to the same held-out problems, in [0, 1]."""
        held_out = self.env_kwargs | {"split": "test"}
        segments = play_tokens(agent, self.env, episodes=problems, greedy=how == "greedy", seed=1, env_kwargs=held_out)
        return float(np.mean([segment.info.get("correct", False) for segment in segments]))


TASKS = {
    "sums": Task("CoTEnv-v0", "models/reasoner"),
    "words": Task("GSM8K-v0", "models/solver", {"data_file": word_problem, "n_few_shot_examples": 0}),
}


class Watch:
    """Evaluates the sampled policy every so many tokens, while the clock stands. It has the face of a curriculum that wants
    nothing."""

    def __init__(self, task: Task, agent: TrainedAgent, start: float, every: int, problems: int):
        self.task, self.agent, self.every, self.problems = task, agent, every, problems
        self.curve, self.tokens, self.seconds = [[0, start]], 0, 0.0
        self.since = time.process_time()

    def options(self) -> dict:
        return {}

    def observe(self, segments: list[Segment]) -> None:
        self.seconds += time.process_time() - self.since
        self.tokens += sum(map(len, segments))
        if self.tokens >= self.curve[-1][0] + self.every:
            self.curve.append([self.tokens, self.task.accuracy(self.agent, self.problems, "sampled")])
        self.since = time.process_time()


def learn(s: dict) -> dict:
    """One run; seconds are CPU seconds of training alone. The curve has the sampled accuracy after so many tokens."""
    task = TASKS[s["task"]]
    actor = LMActorNetwork(task.model)
    agent = language_agent(actor)
    before = {how: task.accuracy(agent, s["problems"], how) for how in HOW}
    watch = Watch(task, agent, before["sampled"], s["tokens"] // s["points"], s["curve_problems"])
    config = ALGORITHMS[s["algorithm"]].config_class
    assert config is not None
    train_agent(task.env, actor=actor, env_kwargs=task.env_kwargs, algorithm=s["algorithm"], config=config(**s["config"]),
                total_timesteps=s["tokens"], curriculum=watch, seed=s["seed"], save_path=None, progress=False)  # fmt: skip
    after = {how: task.accuracy(agent, s["problems"], how) for how in HOW}
    return {"seed": s["seed"], "before": before, "after": after, "curve": watch.curve, "tokens": watch.tokens,
            "seconds": watch.seconds}  # fmt: skip


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(learn(measure.task()[1]))
