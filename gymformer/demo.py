"""The guided tour behind `gymformer demo`: stage by stage, agents learn from nothing on this machine."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from gymformer.evaluation import evaluate, play_episode, play_tokens, save_gif, trace_episode
from gymformer.monitoring.learning_curve import running_mean
from gymformer.presets import preset
from gymformer.rl.agent import TrainedAgent, language_agent
from gymformer.rl.segment import Segment
from gymformer.trainer import TrainingResult, load_agent, train_agent

__all__ = ["FULL", "QUICK", "Stage", "learn_control", "run_demo", "text_curve"]

EPISODES = 100  # of an evaluation
TEXTS = 2560  # questions that the reasoner learns from
EVALUATED = 300  # held-out questions
GOAL = 0.85  # share of likeliest answers that must be right
COMPARED = 1000  # questions whose four answers somebody has compared
PREFERRED = 0.33  # share of labels that the reward model must meet; by chance it is a quarter
DESCRIBED = 1280  # descriptions that the writer learns from
JUDGED = 150  # descriptions before and after
RISE = 0.75  # of the true score, in standard deviations
LINES = 100  # a line of progress every so many episodes, where no bar can be shown


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to see. `run(save_path, seed)` prints what it does, and returns whether it went as it should."""

    title: str
    run: Callable[[Path, int], bool]


def run_demo(stages: Sequence[Stage], save_path: Path, seed: int) -> bool:
    """Runs all stages, and returns whether each of them went as it should."""
    started, good = time.perf_counter(), []
    print("Everything you are about to see is computed now, on this machine. Nothing is downloaded.")
    for number, stage in enumerate(stages, start=1):
        print(f"\n[{number}/{len(stages)}] {stage.title}\n", flush=True)
        good.append(stage.run(save_path, seed))
    failed = [stage.title for stage, ok in zip(stages, good, strict=True) if not ok]
    print(f"\nThe demo took {time.perf_counter() - started:.0f} seconds.", end=" ")
    print(f"It missed its goal in {'; '.join(failed)}." if failed else "What next? gymformer envs, or gymformer train --help")
    return not failed


def learn_control(env_id: str, story: str, save_path: Path, seed: int, settings: dict[str, Any] | None = None) -> bool:
    """Trains with the preset (or `settings`), saves, loads, evaluates and films an agent; whether its mean return of 100
    sampled episodes reaches the environment's threshold."""
    threshold = gym.spec(env_id).reward_threshold
    assert threshold is not None
    print(f"{story}\nIt counts as solved at a mean return of {threshold:g} over {EPISODES} episodes.\n", flush=True)
    started = time.perf_counter()
    settings = preset(env_id) if settings is None else settings
    result = train_agent(env_id, **settings, seed=seed, save_path=save_path, log_interval=LINES)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    seconds = time.perf_counter() - started
    assert result.path is not None
    print(
        f"\nThe agent has played {len(result)} episodes, {result.timesteps:,} steps, in {seconds:.0f} seconds. How it learned:\n"
    )
    print(text_curve(running_mean(result), "mean return of the last 100 episodes", "episode"))
    curve = result.path / "learning_curve.png"
    result.plot(curve)
    agent = load_agent(result.path)
    print(f"\nThe agent, loaded again from its folder, plays {EPISODES} new episodes each way:\n")
    sampled = evaluate(agent, episodes=EPISODES, seed=seed)
    print(f"  actions sampled from its policy:  {sampled}")
    print(f"  always its likeliest action:      {evaluate(agent, episodes=EPISODES, greedy=True, seed=seed)}", flush=True)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures for a file need no screen, and pygame looks for one
    film = result.path / "episode.gif"
    with_pictures = gym.make(env_id, render_mode="rgb_array")
    total, frames = play_episode(agent, with_pictures, seed=seed)
    with_pictures.close()
    # Every second picture: half the file, and no less to see.
    save_gif(frames[::2], film, fps=with_pictures.metadata["render_fps"] // 2)
    solved = sampled.mean >= threshold
    print(f"\n{'Solved' if solved else 'Not solved'}: {sampled.mean:.1f}, and {threshold:g} is asked for.\n")
    _tell(env_id, result, curve, film, total, seed)
    return solved


def learn_reasoning(save_path: Path, seed: int) -> bool:
    """Improves the reasoner by PPO, with default settings, and shows its accuracy on held-out sums before and after, what it
    writes, and every token of one answer; whether it learned to be right where it guessed before."""
    from gymformer.rl.transformers_nn import LMActorNetwork

    print("A small language model that comes along has read sums, a few worked out step by step, most with the bare answer. So it\n"
          "guesses. It gets 1 point for a right answer and nothing else: no one tells it to think first.\n", flush=True)  # fmt: skip
    started = time.perf_counter()
    actor = LMActorNetwork("models/reasoner")
    held_out = {"split": "test"}
    before = language_agent(actor, "CoTEnv-v0")
    scores = [[accuracy(before, held_out, seed, greedy) for greedy in (True, False)]]
    _show_answers(before, held_out, seed)
    result = train_agent("CoTEnv-v0", actor=actor, max_episodes=TEXTS, seed=seed, save_path=save_path, log_interval=LINES * 4)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    assert result.path is not None
    print(f"\nIt has answered {len(result)} questions in {time.perf_counter() - started:.0f} seconds. How it learned:\n")
    print(text_curve(running_mean(result), "share of right answers among the last 100", "answer"))
    agent = load_agent(result.path)
    scores.append([accuracy(agent, held_out, seed, greedy) for greedy in (True, False)])
    print(f"\nOn {EVALUATED} sums of the held-out tenth, which it was never asked:\n")
    print(f"{'':>26}  before   after")
    for name, old, new in zip(("its likeliest answer right", "a sampled answer right"), *scores, strict=True):
        print(f"{name:>26}  {old:6.1%}  {new:6.1%}")
    print()
    episode = _show_answers(agent, held_out, seed)
    trace = trace_episode(agent, episode, reference=LMActorNetwork("models/reasoner"))
    page = trace.save(result.path / "trace.html")
    print(f"Token by token, beside the model as it was (the reference):\n\n{trace}\n", flush=True)
    learned = scores[1][0] >= GOAL
    print(
        f"{'Learned' if learned else 'Not learned'}: {scores[1][0]:.1%} of the likeliest answers are right, and {GOAL:.0%} is asked for.\n"
    )
    for what, where in (("the agent", result.path), ("every token of an answer", page)):
        print(f"  {what:<28}{where}")
    print('\nThe same in Python:\n\n  from gymformer import LMActorNetwork, train_agent\n'
          f'  train_agent("CoTEnv-v0", actor=LMActorNetwork("models/reasoner"), max_episodes={TEXTS}, seed={seed})')  # fmt: skip
    return learned


def learn_preferences(save_path: Path, seed: int) -> bool:
    """Trains a reward model on a part of the preferences that come along; whether it knows better than chance what is preferred."""
    from gymformer.data.preferences import load_preferences
    from gymformer.trainer.reward import train_reward

    everything = load_preferences("data/descriptiveness_offline_5k")
    compared = replace(everything, records=everything.records[:COMPARED])
    print("Somebody was shown four descriptions of a place at a time and said which one shows the most. One such row:\n")
    row = compared[0]
    print(f"  {row.prompt}")
    for number, text in enumerate(row.candidates):
        print(f"   {'*' if number in row.best else ' '} {text}")
    print(f"\nA language model with one output learns to give the preferred one the highest score, from {COMPARED} rows.\n"
          "It cannot always be right: labels are noisy, and who knows the truth behind them meets half.\n", flush=True)  # fmt: skip
    path = _reward_model_of(save_path, seed)
    shutil.rmtree(path.with_name(f"{path.name}.training"), ignore_errors=True)  # of a demo that was stopped
    model = train_reward("models/writer", compared, path, epochs=1, batch_size=4, template="chat", seed=seed)
    if model.run.stopped == "interrupted":
        raise KeyboardInterrupt
    report = model.run.report
    learned = report.accuracy >= PREFERRED
    verdict = f"{'Learned' if learned else 'Not learned'}: {report.accuracy:.1%} of the held-out labels"
    print(f"\n{verdict}, where chance is 25% and {PREFERRED:.0%} is asked for.\n")
    print(f"  {'the reward model':<28}{path}\n  {'its report':<28}{path / 'report.md'}")
    print('\nThe same in Python, with all rows:\n\n  from gymformer import train_reward\n'
          '  train_reward("models/writer", "data/descriptiveness_offline_5k", "runs/reward_model",\n'
          '               epochs=1, batch_size=4, template="chat")')  # fmt: skip
    return learned


def learn_to_describe(save_path: Path, seed: int) -> bool:
    """Tunes the writer against the reward model of the stage before by PPO with a KL penalty, and compares it with the truth that
    the reward model never saw; whether that has risen."""
    from gymformer.rl.transformers_nn import LMActorNetwork

    kwargs = {"reward_model": _reward_model_of(save_path, seed)}
    print("Now a model that writes simple English is paid what that reward model says of its descriptions, less a price for every nat\n"
          "that it moves away from what it was. The true score behind the labels, a formula, is only looked at.\n", flush=True)  # fmt: skip
    started = time.perf_counter()
    actor = LMActorNetwork("models/writer")
    scores = [_describe(language_agent(actor, "RLHFEnv-v0"), kwargs, seed)]
    result = train_agent("RLHFEnv-v0", actor=actor, env_kwargs=kwargs, kl_coef=0.1, num_envs=128, max_episodes=DESCRIBED, seed=seed,
                         save_path=save_path, log_interval=LINES * 4)  # fmt: skip
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    assert result.path is not None
    print(f"\nIt has written {len(result)} descriptions in {time.perf_counter() - started:.0f} seconds.\n")
    scores.append(_describe(load_agent(result.path), kwargs, seed))
    (proxy, gold), (new_proxy, new_gold) = scores
    print(f"On {JUDGED} places of the held-out tenth:\n\n{'':>28}  before   after")
    print(f"{'the reward model says':>28}  {proxy.mean():6.2f}  {new_proxy.mean():6.2f}")
    print(f"{'the truth':>28}  {gold.mean():6.2f}  {new_gold.mean():6.2f}\n")
    rise = (new_gold.mean() - gold.mean()) / gold.std()
    print(f"{'Learned' if rise >= RISE else 'Not learned'}: the truth rose by {rise:.2f} of its standard deviations, and {RISE:g} is asked for. "
          "With kl_coef=0 it would fall again: see notebooks/04_rlhf.ipynb.\n")  # fmt: skip
    print(f"  {'the agent':<28}{result.path}")
    print('\nThe same in Python:\n\n  from gymformer import LMActorNetwork, train_agent\n'
          '  train_agent("RLHFEnv-v0", actor=LMActorNetwork("models/writer"), env_kwargs={"reward_model": "runs/reward_model"},\n'
          f'              kl_coef=0.1, num_envs=128, max_episodes={DESCRIBED}, seed={seed})')  # fmt: skip
    return bool(rise >= RISE)


def _reward_model_of(save_path: Path, seed: int) -> Path:
    return save_path / f"reward_model-seed{seed}"


def _describe(agent: TrainedAgent, env_kwargs: dict[str, Any], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prints three sampled descriptions; the scores (JUDGED,) of all of them by the reward model, and the true ones."""
    from gymformer.data.world.gold import descriptiveness

    segments = play_tokens(agent, "RLHFEnv-v0", episodes=JUDGED, seed=seed, env_kwargs=env_kwargs | {"split": "test"})
    for segment in segments[:3]:
        print(f"  {segment.info['query']}\n    {segment.info['text']}   (score {segment.info['score']:.2f})")
    print(flush=True)
    return np.array([s.info["score"] for s in segments]), np.array([descriptiveness(s.info["text"]) for s in segments])


def accuracy(agent: TrainedAgent, env_kwargs: dict[str, Any], seed: int, greedy: bool) -> float:
    """Share of right answers to held-out questions."""
    segments = play_tokens(agent, "CoTEnv-v0", episodes=EVALUATED, greedy=greedy, seed=seed, env_kwargs=env_kwargs)
    return float(np.mean([segment.info["correct"] for segment in segments]))


def _show_answers(agent: TrainedAgent, env_kwargs: dict[str, Any], seed: int) -> Segment:
    """Prints three answers; the first one's episode."""
    segments = play_tokens(agent, "CoTEnv-v0", episodes=3, greedy=True, seed=seed, env_kwargs=env_kwargs)
    for segment in segments:
        judged = "right" if segment.info["correct"] else f"wrong: {segment.info['answer']}"
        print(f"  {segment.info['question']}\n    {segment.info['text']}   ({judged})")
    print(flush=True)
    return segments[0]


def _tell(env_id: str, result: TrainingResult, curve: Path, film: Path, total: float, seed: int) -> None:
    """Where everything is, and how to do it oneself."""
    for what, where in (("the agent", result.path), ("its learning curve", curve), (f"an episode of return {total:.0f}", film)):
        print(f"  {what:<28}{where}")
    print(f"\nThe same in Python:\n\n  from gymformer import evaluate, preset, train_agent\n"
          f'  result = train_agent("{env_id}", **preset("{env_id}"), seed={seed})\n'
          f"  print(evaluate(result.agent))")  # fmt: skip


def text_curve(values: Sequence[float] | np.ndarray, ylabel: str = "", xlabel: str = "", *, width: int = 64,
               height: int = 10) -> str:  # fmt: skip
    """A curve of plain characters: `values` from left to right, the axis labelled with the lowest and the highest."""
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return "(no episode has ended yet)"
    columns = np.interp(np.linspace(0, len(values) - 1, width), np.arange(len(values)), values)  # (width,)
    low, high = columns.min(), columns.max()
    rows = np.round((columns - low) / (high - low or 1) * (height - 1)).astype(int)  # 0 is the lowest line
    lines = []
    for row in reversed(range(height)):
        label = f"{low + (high - low) * row / (height - 1):.1f}" if row in (0, height - 1) else ""
        lines.append(f"{label:>9} |" + "".join("*" if row == at else " " for at in rows).rstrip())
    axis = f"{'':>9} +{'-' * width}"
    count = f"{xlabel} {len(values)}".strip()
    return "\n".join([f"{'':>11}{ylabel}", *lines, axis, f"{'':>11}1{count:>{width - 1}}"])


QUICK = [
    Stage("CartPole-v1: balance a pole", partial(
        learn_control, "CartPole-v1",
        "A cart can push left or right; a pole stands on it and must not fall. Every step it stands gives 1 point, 500 at most.\n"
        "The agent knows none of this: it sees four numbers, tries, and learns from its points (PPO, two small networks).",
    )),
    Stage("CoTEnv-v0: think before you answer", learn_reasoning),
    Stage("Preferences: learn what people like", learn_preferences),
    Stage("RLHFEnv-v0: write what people like", learn_to_describe),
]  # fmt: skip
FULL = [
    Stage("LunarLander-v3: land between the flags", partial(
        learn_control, "LunarLander-v3",
        "A lander falls towards the moon; it can fire its main engine or one at its side. A soft landing gives about 250 points,\n"
        "a crash costs 100, and so does a little of every drop of fuel.",
    )),
]  # fmt: skip
