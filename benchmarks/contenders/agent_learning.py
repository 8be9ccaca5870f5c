"""models/player learns a game from its words, choosing among the phrases that name the actions: how good its policy is then."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import measure
import torch

from gymformer import PhraseActor, PPOConfig, evaluate, train_agent
from gymformer.env import PhrasesToTokens, ToText
from gymformer.evaluation.blackjack import blackjack_optimum, blackjack_return, blackjack_states
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.batch import States, padded
from gymformer.rl.segment import Segment

MODEL = "models/player"
EPISODES = 200  # of a sampled policy that is not evaluated exactly


@dataclass(frozen=True)
class Task:
    """A game in words, each observation a prompt of its own, and the figures that a policy is judged by."""

    game: Callable[[], gym.Env]
    phrases: tuple[str, ...]
    words: dict[str, Any]
    scores: Callable[["Task", PhraseActor], dict[str, float]]

    def tokens(self, actor: PhraseActor) -> PhrasesToTokens:
        text = ToText(self.game(), actions=self.phrases, system_prompt="", **self.words)
        return PhrasesToTokens(text, actor.tokenizer, self.phrases, window=0)


def below_the_optimum(task: Task, actor: PhraseActor) -> dict[str, float]:
    """The policy is asked in all states of Blackjack, and its expected return computed: how far it is from the highest."""
    env, optimum, states = task.tokens(actor), blackjack_optimum()[0], blackjack_states()
    rows = [env.format.opening(task.words["format_observation"](state)) for state in states]
    inputs, place = padded(rows)
    prompts = States(torch.from_numpy(inputs), torch.from_numpy(place), torch.tensor([len(row) - 1 for row in rows]))
    with torch.no_grad():
        hit = dict(zip(states, torch.softmax(actor.evaluate(prompts), dim=-1)[:, 1].tolist(), strict=True))
    greedy = {state: float(p > 0.5) for state, p in hit.items()}
    return {"greedy": blackjack_return(greedy) - optimum, "sampled": blackjack_return(hit) - optimum}


def a_hand(hand: tuple[int, int, int]) -> str:
    return f"Your sum is {hand[0]}, the dealer shows {hand[1]}." + (" You have a usable ace." if hand[2] else "")


def success(task: Task, actor: PhraseActor) -> dict[str, float]:
    """Share of episodes that reach the goal. The game leaves nothing to chance: the greedy player's one episode is all there are."""
    env = task.tokens(actor)
    agent = TrainedAgent(actor, None, env.observation_space, env.action_space)
    return {how: evaluate(agent, lambda: task.tokens(actor), episodes=episodes, greedy=how == "greedy", seed=1).mean
            for how, episodes in (("greedy", 1), ("sampled", EPISODES))}  # fmt: skip


TASKS = {
    "blackjack": Task(lambda: gym.make("Blackjack-v1", disable_env_checker=True), ("stick", "hit"),
                      {"format_observation": a_hand}, below_the_optimum),
    "lake": Task(lambda: gym.make("FrozenLake-v1", is_slippery=False, disable_env_checker=True), ("left", "down", "right", "up"),
                 {"format_observation": lambda cell: f"row: {cell // 4}, column: {cell % 4}"}, success),
}  # fmt: skip


class Watch:
    """Looks at the policy every so many updates, while the clock stands. It has the face of a curriculum that wants nothing."""

    def __init__(self, task: Task, actor: PhraseActor, every: int):
        self.task, self.actor, self.every = task, actor, every
        self.curve, self.updates, self.episodes, self.seconds = [], 0, 0, 0.0
        self.since = time.process_time()

    def options(self) -> dict:
        return {}

    def observe(self, segments: list[Segment]) -> None:
        self.seconds += time.process_time() - self.since
        self.updates, self.episodes = self.updates + 1, self.episodes + len(segments)
        if self.updates % self.every == 0:
            self.curve.append([self.episodes, self.seconds, self.task.scores(self.task, self.actor)])
        self.since = time.process_time()


def learn(s: dict) -> dict:
    """One run; seconds are CPU seconds of training alone, environments and all."""
    task = TASKS[s["task"]]
    actor = PhraseActor(MODEL, task.phrases, cached=False)
    before, watch = task.scores(task, actor), Watch(task, actor, s["every"])
    train_agent(lambda: task.tokens(actor), actor=actor, ppo_config=PPOConfig(**s["config"]), max_episodes=s["episodes"],
                update_interval=s["update_interval"], num_envs=s["num_envs"], seed=s["seed"], curriculum=watch, save_path=None,
                progress=False)  # fmt: skip
    return {"task": s["task"], "seed": s["seed"], "episodes": watch.episodes, "before": before, "after": task.scores(task, actor),
            "curve": watch.curve, "seconds": watch.seconds}  # fmt: skip


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(learn(measure.task()[1]))
