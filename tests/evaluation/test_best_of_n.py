"""Best of n: each question n times, and the best paid answer."""

import math
import random

import pytest

from gymformer.env import RLHFEnv
from gymformer.evaluation.best_of_n import best_of_n, kl_of_best_of_n
from gymformer.evaluation.evaluate import play_tokens
from gymformer.rl.agent import language_agent
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm

TOKENIZER = byte_tokenizer()
PROMPTS = [f"Say {n}" for n in range(40)]


def an_agent():
    return language_agent(LMActorNetwork(tiny_lm(261), tokenizer=TOKENIZER))


def an_env(**more) -> RLHFEnv:
    return RLHFEnv(**{"tokenizer": TOKENIZER, "dataset": PROMPTS, "max_generation": 4,
                      "reward_model": lambda replies: [sum(map(ord, reply)) for reply in replies]} | more)  # fmt: skip


def test_the_best_of_each_question_is_kept():
    agent = an_agent()
    every = play_tokens(agent, an_env, episodes=12, seed=3, group_size=4)
    prompts = [segment.info["prompt"] for segment in every]
    assert all(len(set(prompts[i : i + 4])) == 1 for i in (0, 4, 8)) and len(set(prompts)) == 3
    best = best_of_n(agent, an_env, 4, episodes=3, seed=3)
    expected = [max(float(s.episode_return) for s in every[i : i + 4]) for i in (0, 4, 8)]
    assert [segment.episode_return for segment in best] == expected
    assert len({segment.info["text"] for segment in every}) > 6, "answers differ within a group"


def test_more_samples_pay_more():
    agent = an_agent()
    means = [sum(s.episode_return for s in best_of_n(agent, an_env, n, episodes=20)) for n in (1, 4, 16)]
    assert means[0] < means[1] < means[2]


def test_how_far_it_is_from_the_policy():
    assert kl_of_best_of_n(1) == 0 and kl_of_best_of_n(2) == pytest.approx(math.log(2) - 0.5)


def test_an_environment_that_ignores_the_seed_is_told():
    def unseeded(rng, split):
        return random.choice(PROMPTS)

    with pytest.raises(ValueError, match="begin differently"):
        best_of_n(an_agent(), lambda: an_env(dataset=unseeded), 8, episodes=2)


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="n=0"):
        best_of_n(an_agent(), an_env, 0)
