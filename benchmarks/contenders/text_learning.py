"""A language model trained to speak in an environment of turns: what it does in held-out episodes before and after, and what an expert and
a random player do in the same environment."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import measure
import numpy as np

from gymformer import LMActorNetwork, train_agent
from gymformer.evaluation import play_tokens
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.segment import Segment
from gymformer.seeding import derive_seed
from gymformer.trainer.plan import ALGORITHMS

Info = dict[str, Any]
Player = Callable[[str, Info], str]  # an observation and its info -> a turn
HOW = ("greedy", "sampled")
HELD_OUT = 2  # the seed of the episodes that are evaluated; training has others, and settings were chosen on those of 1


@dataclass(frozen=True)
class Task:
    """An environment with its arguments, what its last info tells, and who plays it without learning."""

    env: str
    env_kwargs: dict[str, Any]
    held_out: dict[str, Any]  # the further arguments of the episodes that are evaluated
    measures: dict[str, str]  # what is measured -> key of the last info
    expert: Callable[[], Player]
    random: Callable[[np.random.Generator], Player]


def logic() -> Task:
    from gymformer.env.logic_puzzle_env import logic_puzzle_expert, logic_puzzle_guesser

    return Task("LogicPuzzle-v0", {"use_curriculum": False, "difficulty": 0.15}, {"split": "test"},
                {"success": "success", "hints": "hints", "turns": "turn"},
                lambda: reading(logic_puzzle_expert), lambda rng: reading(logic_puzzle_guesser(rng)))  # fmt: skip


def memory() -> Task:
    from gymformer.env.memory_buffer_players import expert, random_player

    return Task("MemoryBuffer-v0", {"difficulty": 0.25}, {}, {"success": "success", "stored": "stored", "turns": "turn"},
                lambda: expert, random_player)  # fmt: skip


def meta() -> Task:
    from gymformer.env.meta_reasoning_players import meta_reasoning_expert, meta_reasoning_guesser

    return Task("MetaReasoning-v0", {"use_curriculum": False, "difficulty": 0.5}, {"split": "test"},
                {"brier": "brier", "success": "success", "turns": "turn"},
                lambda: reading(meta_reasoning_expert()), lambda rng: reading(meta_reasoning_guesser(rng)))  # fmt: skip


def dialogue() -> Task:
    from gymformer.env.dialogue_players import dialogue_expert, dialogue_guesser

    return Task("Dialogue-v0", {"use_human_feedback": False, "difficulty": 0.4}, {"split": "test"},
                {"elements": "elements", "success": "success", "turns": "turn"},
                lambda: reading(dialogue_expert()), lambda rng: reading(dialogue_guesser(rng)))  # fmt: skip


def reading(player: Callable[[str], str]) -> Player:
    """A player that asks for no info."""
    return lambda observation, info: player(observation)


TASKS = {"logic": logic, "memory": memory, "meta": meta, "dialogue": dialogue}


def means(task: Task, infos: Iterable[Info], returns: Iterable[float]) -> dict[str, float]:
    """Of all measures, and of the returns."""
    told = list(infos)
    found = {name: [info[key] for info in told] for name, key in task.measures.items()} | {"return": list(returns)}
    return {name: float(np.mean(values)) for name, values in found.items()}


def played_by_model(task: Task, agent: TrainedAgent, episodes: int, how: str) -> dict[str, float]:
    segments = play_tokens(
        agent, task.env, episodes=episodes, greedy=how == "greedy", seed=HELD_OUT, env_kwargs=task.env_kwargs | task.held_out
    )
    return means(task, [s.info for s in segments], [s.episode_return for s in segments]) | {
        "tokens": float(np.mean(list(map(len, segments))))
    }


def played_by(task: Task, player: Callable[[int], Player], episodes: int) -> dict[str, float]:
    """By a scripted player, a new one (of a number) for each episode."""
    env = gym.make(task.env, disable_env_checker=True, **task.env_kwargs, **task.held_out)
    infos, returns = [], []
    for number in range(episodes):
        act, total, over = player(number), 0.0, False
        observation, info = env.reset(seed=derive_seed(HELD_OUT, "players", number))
        while not over:
            observation, reward, terminated, truncated, info = env.step(act(observation, info))
            total, over = total + float(reward), terminated or truncated
        infos.append(info)
        returns.append(total)
    return means(task, infos, returns)


class Watch:
    """What the sampled policy does in its own training episodes, rollout by rollout. It has the face of a curriculum that wants nothing."""

    def __init__(self, task: Task):
        self.task, self.tokens, self.episodes = task, 0, 0
        self.curve: list[list[float]] = []  # tokens so far, and the means of the first measure

    def options(self) -> dict:
        return {}

    def observe(self, segments: list[Segment]) -> None:
        key = next(iter(self.task.measures.values()))
        self.tokens += sum(map(len, segments))
        ended = [segment.info[key] for segment in segments if segment.ended]
        self.episodes += len(ended)
        if ended:  # the last rollout may end before any of its episodes does
            self.curve.append([self.tokens, float(np.mean(ended))])


def learn(s: dict) -> dict:
    """One run; seconds are CPU seconds of `train_agent` alone."""
    task = TASKS[s["task"]]()
    actor = LMActorNetwork(s["model"])
    before = {how: played_by_model(task, language_agent(actor), s["episodes"], how) for how in HOW}
    watch = Watch(task)
    config = ALGORITHMS[s["algorithm"]].config_class
    assert config is not None
    start = time.process_time()
    train_agent(task.env, actor=actor, env_kwargs=task.env_kwargs, algorithm=s["algorithm"], config=config(**s["config"]),
                total_timesteps=s["tokens"], update_interval=s["update_interval"], curriculum=watch, seed=s["seed"], save_path=None,
                progress=False)  # fmt: skip
    seconds = time.process_time() - start
    after = {how: played_by_model(task, language_agent(actor), s["episodes"], how) for how in HOW}
    return {"seed": s["seed"], "before": before, "after": after, "curve": watch.curve, "tokens": watch.tokens,
            "episodes": watch.episodes, "seconds": seconds}  # fmt: skip


def players(s: dict) -> dict:
    """What an expert and a random player do in the held-out environment."""
    task = TASKS[s["task"]]()
    return {"expert": played_by(task, lambda _: task.expert(), s["episodes"]),
            "random": played_by(task, lambda number: task.random(np.random.default_rng([HELD_OUT, number])), s["episodes"])}  # fmt: skip


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"learn": learn, "players": players}[name](settings))
