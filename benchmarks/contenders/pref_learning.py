"""Preferences from the data to the policy: a reward model, a policy that is tuned against it, what else can be done with it,
and summaries. What is asked is the first argument; all that is compared is known, for the gold score behind the labels is."""

import copy
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import measure
import numpy as np
import torch

from gymformer import LMActorNetwork, train_agent, train_reward
from gymformer.data.preferences import load_preferences
from gymformer.data.world.gold import chances, descriptiveness, sentiment
from gymformer.evaluation import play_tokens
from gymformer.evaluation.best_of_n import kl_of_best_of_n
from gymformer.lm.rows import RowFormat
from gymformer.resources import resource
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.dpo import DPO, DPOConfig
from gymformer.rl.kl import log_probs_of
from gymformer.rl.segment import Segment
from gymformer.trainer.preference_batches import pairs_of

ENV, WRITER = "RLHFEnv-v0", "models/writer"
HELD_OUT = {"split": "test"}
TRUTHS = {"descriptiveness_offline_5k": descriptiveness, "sentiment_pairs": sentiment}


def reward(s: dict) -> dict:
    """A reward model, and how often its favourite of a held-out prompt's candidates is the label, beside the gold score's."""
    source = resource(f"data/{s['data']}")
    preferences = load_preferences(source)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = train_reward(WRITER, preferences, Path(folder) / "model", seed=s["seed"], progress=False, **s["settings"])
    spent = time.process_time() - started
    records = preferences.split(s["settings"]["test_size"], s["seed"])[1]
    gold = np.array([[TRUTHS[s["data"]](text) for text in record.candidates] for record in records])  # (N, K)
    scores = model.score([(r.prompt, text) for r in records for text in r.candidates]).numpy().reshape(gold.shape)
    odds = chances(gold, json.loads((source / "facts.json").read_text())["noise"])
    labels, each, best = (
        np.array([record.best[0] for record in records]),
        np.arange(len(gold)),
        gold == gold.max(1, keepdims=True),
    )
    return {"seed": s["seed"], "seconds": spent, "rows": len(gold), "expected": float(odds[each, scores.argmax(1)].mean()),
            "ceiling": float(odds.max(1).mean()), "agreement": float((scores.argmax(1) == labels).mean()),
            "gold_agreement": float((best[each, labels] / best.sum(1)).mean()),  # ties count their share
            "correlation": float(np.corrcoef(scores.ravel(), gold.ravel())[0, 1])}  # fmt: skip


def measured(segments: Iterable[Segment], kl: Iterable[float]) -> dict[str, float]:
    """Means over episodes: what the reward model says, what is true, and nats from the reference."""
    infos = [segment.info for segment in segments]
    gold = [descriptiveness(info["text"]) for info in infos]
    return {"proxy": float(np.mean([info["score"] for info in infos])), "gold": float(np.mean(gold)), "gold_std": float(np.std(gold)),
            "kl": float(np.mean(list(kl))), "tokens": float(np.mean([len(info["reply_ids"]) for info in infos])),
            "finished": float(np.mean([info["finished"] for info in infos]))}  # fmt: skip


class Policy:
    """The writer that learns, and the one that it was."""

    def __init__(self) -> None:
        self.actor = LMActorNetwork(WRITER)
        self.agent: TrainedAgent = language_agent(self.actor, ENV)
        self.reference = copy.deepcopy(self.agent.actor).requires_grad_(False)

    def nats(self, segments: list[Segment]) -> list[float]:
        """log π/π_ref of whole episodes; its mean over episodes is the KL divergence of sequences."""
        ratio = torch.from_numpy(np.concatenate([segment.log_probs for segment in segments])) - log_probs_of(
            self.reference, segments
        )
        return [float(part.sum()) for part in ratio.split([len(segment) for segment in segments])]

    def evaluate(self, prompts: int) -> dict[str, float]:
        """On the same held-out prompts each time."""
        segments = play_tokens(self.agent, ENV, episodes=prompts, seed=1, env_kwargs=HELD_OUT)
        return measured(segments, self.nats(segments))


class Watch:
    """Writes down what every update's episodes were like, while the clock stands. It has the face of a curriculum that wants
    nothing."""

    def __init__(self, policy: Policy):
        self.policy, self.curve, self.episodes, self.seconds = policy, [], 0, 0.0
        self.since = time.process_time()

    def options(self) -> dict:
        return {}

    def observe(self, segments: list[Segment]) -> None:
        self.seconds += time.process_time() - self.since
        whole = [segment for segment in segments if segment.info]
        self.curve.append({"seconds": self.seconds, "episodes": self.episodes, **measured(whole, self.policy.nats(whole))})
        self.episodes += len(whole)
        self.since = time.process_time()


def rlhf(s: dict) -> dict:
    """PPO against the reward model that comes along. Seconds are CPU seconds of training alone; of the curve's points, each of
    one update's episodes, they and the episodes are those before."""
    policy = Policy()
    before, watch = policy.evaluate(s["prompts"]), Watch(policy)
    train_agent(ENV, actor=policy.actor, kl_coef=s["kl_coef"], max_episodes=s["episodes"], num_envs=s["envs"], curriculum=watch,
                seed=s["seed"], save_path=None, progress=False)  # fmt: skip
    watch.seconds += time.process_time() - watch.since
    return {"seed": s["seed"], "kl_coef": s["kl_coef"], "before": before, "after": policy.evaluate(s["prompts"]),
            "curve": watch.curve, "seconds": watch.seconds}  # fmt: skip


def best_of_n(s: dict) -> dict:
    """What the best of n of the writer's answers is like, by the reward model; of n answers all groups of the largest n serve."""
    policy, largest = Policy(), max(s["n"])
    segments = play_tokens(policy.agent, ENV, episodes=s["prompts"] * largest, seed=1, env_kwargs=HELD_OUT, group_size=largest)
    curve = []
    for n in s["n"]:
        groups = [segments[start : start + n] for start in range(0, len(segments), n)]
        best = [max(group, key=lambda segment: segment.info["score"]) for group in groups]
        curve.append({"n": n, **measured(best, [kl_of_best_of_n(n)])})
    return {"curve": curve}


def dpo(s: dict) -> dict:
    """DPO on the preferences themselves, without a reward model: the best of four against each of the others."""
    policy = Policy()
    records = load_preferences("data/descriptiveness_offline_5k").split(0.1, s["seed"])[0]
    rows = RowFormat(policy.actor.tokenizer, "chat", policy.actor.tokenizer.eos_token_id)
    pairs = pairs_of(records, rows)
    np.random.default_rng(s["seed"]).shuffle(pairs)  # type: ignore[arg-type]
    learner = DPO(
        policy.agent.actor, policy.reference, DPOConfig(beta=s["beta"], lr=s["lr"]), torch.Generator().manual_seed(s["seed"])
    )
    curve, spent = [{"pairs": 0, "seconds": 0.0, **policy.evaluate(s["prompts"])}], 0.0
    for start in range(0, s["pairs"], s["every"]):
        started = time.process_time()
        learner.update([pairs[i % len(pairs)] for i in range(start, start + s["every"])])
        spent += time.process_time() - started
        curve.append({"pairs": start + s["every"], "seconds": spent, **policy.evaluate(s["prompts"])})
    return {"seed": s["seed"], "beta": s["beta"], "curve": curve}


def summaries(s: dict) -> dict:
    """PPO on ROUGE-L with the references; on held-out articles before and after."""
    actor = LMActorNetwork(WRITER)

    def rouge() -> dict[str, float]:
        return {how: float(np.mean([segment.info["rouge_l"] for segment in play_tokens(
            language_agent(actor), "Summarization-v0", episodes=s["articles"], greedy=how == "greedy", seed=1, env_kwargs=HELD_OUT)]))
            for how in ("greedy", "sampled")}  # fmt: skip

    before, started = rouge(), time.process_time()
    train_agent("Summarization-v0", actor=actor, max_episodes=s["episodes"], num_envs=s["envs"], seed=s["seed"], save_path=None,
                progress=False)  # fmt: skip
    spent = time.process_time() - started
    return {"seed": s["seed"], "before": before, "after": rouge(), "seconds": spent}


TASKS = {task.__name__: task for task in (reward, rlhf, best_of_n, dpo, summaries)}

if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer(TASKS[name](settings))
