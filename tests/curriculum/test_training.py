"""The generator in train_agent: every episode's own task, what is observed, and a run that is resumed."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymformer import PPOConfig, load_segments, save_segments, train_agent
from gymformer.curriculum import CurriculumGenerator
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import tiny_lm


class Hill(gym.Env):
    """Ends at once; succeeds where it is not too steep for its kind. What was asked for is in the info."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
    start: object = np.zeros(1, np.float32)
    top = {"hill": 0.25, "plain": 2.0}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.asked: dict[str, Any] = options or {}
        return self.start, {}

    def step(self, action):
        return (
            self.start,
            1.0,
            True,
            False,
            {"asked": self.asked, "success": self.asked["difficulty"] < self.top[self.asked["task"]]},
        )


class TokenHill(Hill):
    observation_space, action_space = spaces.Sequence(spaces.Discrete(12)), spaces.Discrete(12)
    start = (1, 2)


def test_each_episode_is_observed_as_what_it_was_asked_for(tmp_path):
    """Several environments that end in the same step share the options of their resets, several in turn do not."""
    token_actor = LMActorNetwork(tiny_lm(12, width=16, layers=1, context=8))
    each: list[tuple[type[Hill], Any, dict[str, Any]]] = [
        (Hill, None, {"ppo_config": PPOConfig(update_epochs=1), "num_envs": 3}),
        (TokenHill, token_actor, {"algorithm": "rloo", "num_envs": 8}),
    ]
    ends, told = list[Segment](), list[dict[str, Any]]()
    for env, actor, settings in each:
        curriculum, seen = CurriculumGenerator(tasks=["hill", "plain"]), list[Segment]()
        train_agent(env, actor, curriculum=curriculum, max_episodes=240, update_interval=16, seed=0, save_path=None, progress=False,
                    transforms=[lambda segments, seen=seen: seen.extend(segments) or {}], **settings)  # fmt: skip
        assert curriculum.difficulty("plain") > 0.35 >= curriculum.difficulty("hill") >= 0.1
        assert curriculum.progress["hill"].episodes + curriculum.progress["plain"].episodes >= 240
        ends = [segment for segment in seen if segment.ended]
        told = [{key: value for key, value in segment.info["asked"].items() if key != "reset_mask"} for segment in ends]
        assert [segment.options for segment in ends] == told and {one["task"] for one in told} == {"hill", "plain"}
    save_segments(ends[:3], tmp_path / "played.jsonl")
    assert [segment.options for segment in load_segments(tmp_path / "played.jsonl")] == told[:3]


def test_a_resumed_run_goes_on_with_its_curriculum(tmp_path):
    def trained(folder, episodes: int, resume: bool = False):
        curriculum = CurriculumGenerator(tasks=["hill", "plain"])
        actor = LMActorNetwork(tiny_lm(12, width=16, layers=1, context=8))
        result = train_agent(TokenHill, actor, ppo_config=PPOConfig(update_epochs=1), curriculum=curriculum, num_envs=4,
                             max_episodes=episodes, update_interval=16, save_interval=32, seed=0, save_path=tmp_path / folder,
                             progress=False, resume=resume)  # fmt: skip
        return curriculum, [{k: v for k, v in m.items() if "/" in k} for m in result.metrics]

    whole, figures = trained("whole", 96)
    trained("parts", 32)
    resumed, again = trained("parts", 96, resume=True)
    assert resumed.state_dict() == whole.state_dict() and again == figures and len(figures[0]) == 4
