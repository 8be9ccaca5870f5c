"""A language model trained on sums of several difficulties with so many sampled tokens: how often it is right about held-out sums, by
difficulty, before and after."""

import time
from typing import Any

import measure
import numpy as np

from gymformer import LMActorNetwork, train_agent
from gymformer.curriculum import CurriculumGenerator
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.segment import Segment

ENV, MODEL = "CoTEnv-v0", "models/reasoner"


class Uniform:
    """Every difficulty alike, whatever the success."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def options(self) -> dict[str, Any]:
        return {"difficulty": float(self.rng.uniform())}

    def observe(self, segments: list[Segment]) -> dict[str, float]:
        return {}


class Hard:
    """The hardest alone: what is asked in the end."""

    def options(self) -> dict[str, Any]:
        return {"difficulty": 1.0}

    def observe(self, segments: list[Segment]) -> dict[str, float]:
        return {}


def right(agent: TrainedAgent, difficulties: list[float], problems: int, tokens: int) -> dict[str, float]:
    """Share of right answers, greedy, to the same held-out problems of each difficulty, in [0, 1]."""
    held_out = {"split": "test", "max_generation": tokens}
    return {
        str(difficulty): float(np.mean([
            segment.info["success"]
            for segment in play_tokens(agent, ENV, episodes=problems, greedy=True, seed=1, env_kwargs=held_out | {"difficulty": difficulty})
        ]))
        for difficulty in difficulties
    }  # fmt: skip


def start(s: dict[str, Any]) -> dict[str, float]:
    """The model as it comes along."""
    return right(language_agent(LMActorNetwork(MODEL)), s["difficulties"], s["problems"], s["longest"])


def learn(s: dict[str, Any]) -> dict[str, Any]:
    """One run; seconds are CPU seconds of training alone. Of each update: tokens so far, mean return, the curriculum's difficulty."""
    actor = LMActorNetwork(MODEL)
    curriculum = PLANS[s["plan"]](s)
    began = time.process_time()
    result = train_agent(ENV, actor, env_kwargs={"max_generation": s["longest"]}, update_interval=s["update_interval"],
                         total_timesteps=s["tokens"], curriculum=curriculum, seed=s["seed"], save_path=None, progress=False)  # fmt: skip
    seconds = time.process_time() - began
    updates = [[m["timesteps"], m["return_mean"], m.get("curriculum/all")] for m in result.metrics]
    after = right(result.agent, s["difficulties"], s["problems"], s["longest"])
    return {
        "plan": s["plan"],
        "seed": s["seed"],
        "after": after,
        "updates": updates,
        "tokens": result.timesteps,
        "seconds": seconds,
    }


PLANS = {
    "curriculum": lambda s: CurriculumGenerator(s["initial_difficulty"], seed=s["seed"]),
    "uniform": lambda s: Uniform(s["seed"]),
    "hard": lambda s: Hard(),
}
COMMANDS = {"start": start, "learn": learn}


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer(COMMANDS[name](settings))
