"""Mixture: whose episode it is, what is drawn, what goes through, and training on several at once."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import gymformer  # noqa: F401  # registers the ids
from gymformer import train_agent
from gymformer.curriculum import CurriculumGenerator
from gymformer.env import LogicPuzzleEnv, MemoryBufferEnv, Mixture, TextToTokens
from gymformer.env.logic_puzzle_env import logic_puzzle_expert
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm


class Silent(gym.Env):
    """What no words describe."""

    action_space = observation_space = spaces.Tuple(())


BOTH = ["LogicPuzzle-v0", "MemoryBuffer-v0"]


def test_an_episode_is_one_of_the_environment_that_is_asked_for():
    env = Mixture(BOTH, render_mode="ansi")
    options = {"task": "LogicPuzzle-v0", "difficulty": 0.3}
    observation, info = env.reset(seed=1, options=options)
    assert observation.startswith(f"{LogicPuzzleEnv.system_prompt}\n\n1. ")
    assert (info["task"], info["subtask"], info["difficulty"]) == ("LogicPuzzle-v0", "templates", 0.3)
    puzzle = observation.partition("\n\n")[2]
    assert env.step(logic_puzzle_expert(puzzle))[1:3] == (1.0, True) and puzzle.splitlines()[0] in env.render()
    assert env.reset(seed=1, options=options)[0] == observation
    observation, info = env.reset(options={"task": "MemoryBuffer-v0"})
    assert "Day 1." in observation and info["task"] == "MemoryBuffer-v0" and "answer" not in info
    assert env.step("hello")[4]["task"] == "MemoryBuffer-v0"


def test_what_is_drawn_follows_weights_and_seed_and_nothing_else():
    env = Mixture({"a": LogicPuzzleEnv, "b": LogicPuzzleEnv(difficulty=0.9)}, weights=[3, 1])
    tasks = [env.reset(seed=seed)[1]["task"] for seed in range(200)]  # standard deviation of a share: 3.1 points
    assert tasks.count("a") / 200 == pytest.approx(0.75, abs=0.1)
    assert tasks[:50] == [env.reset(seed=seed)[1]["task"] for seed in range(50)]
    openings = [[env.reset(seed=5 if n == 0 else None)[0] for n in range(8)] for _ in range(2)]
    assert openings[0] == openings[1] and len(set(openings[0])) == 8


def test_an_environment_keeps_what_it_keeps_over_its_episodes():
    env = Mixture({"memory": MemoryBufferEnv, "puzzle": LogicPuzzleEnv})
    env.reset(seed=0, options={"task": "memory"})
    over = False
    while not over:
        *_, terminated, truncated, _ = env.step("ANSWER red")
        over = terminated or truncated
    env.reset(options={"task": "puzzle"})
    assert env.reset(options={"task": "memory"})[1]["day"] == 2
    assert env.reset(seed=0, options={"task": "memory"})[1]["day"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "give different names"),
        (("LogicPuzzle-v0",), "give different names"),
        ((["LogicPuzzle-v0"] * 2,), "give different names"),
        ((BOTH, [1]), "give 2 numbers"),
        ((BOTH, [1, -1]), "give 2 numbers"),
        ((["GSM8K-v0"],), "lines of one message"),
        (({"silent": Silent},), "there are no words"),
    ],
)
def test_what_cannot_be_mixed_is_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Mixture(*arguments)


def test_what_is_asked_wrongly_is_refused():
    env = Mixture(BOTH)
    with pytest.raises(gym.error.ResetNeeded):
        env.step("SOLVE yes")
    with pytest.raises(ValueError, match="this mixture has LogicPuzzle-v0, MemoryBuffer-v0"):
        env.reset(options={"task": "Dialogue"})


def test_a_game_is_mixed_in_by_words_and_all_of_it_goes_in_tokens():
    env = TextToTokens(Mixture(["CliffWalking-v1", "LogicPuzzle-v0"]), byte_tokenizer())
    for task, words in (("CliffWalking-v1", "one of: 0, 1, 2, 3"), ("LogicPuzzle-v0", "SOLVE")):
        assert words in env.codec.text(env.reset(seed=0, options={"task": task})[0])


def test_one_actor_learns_several_environments_with_the_curriculum_that_chooses_them():
    """A group's episodes are of one task; the groups' tasks differ, and each has its own figures."""
    curriculum = CurriculumGenerator(0.0, tasks=BOTH)
    actor = LMActorNetwork(tiny_lm(261, width=16, layers=1, context=1024), tokenizer=byte_tokenizer())
    seen = []
    result = train_agent(Mixture, actor, env_kwargs={"envs": BOTH}, algorithm="grpo", max_episodes=16, update_interval=16, num_envs=8, seed=0,
                         max_timesteps=8, curriculum=curriculum, save_path=None, progress=False,
                         transforms=[lambda segments: seen.extend(segments) or {}])  # fmt: skip
    by_group = {s.group: {t.options["task"] for t in seen if t.group == s.group} for s in seen}
    assert all(len(tasks) == 1 for tasks in by_group.values())
    assert {"curriculum/LogicPuzzle-v0", "chance/MemoryBuffer-v0"} <= result.metrics[0].keys()
    assert sum(np.isin([s.options.task for s in seen], BOTH)) == 16  # type: ignore[attr-defined]
