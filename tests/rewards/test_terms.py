"""Terms for any task, weights that follow performance, and a wrapper that adds them to any environment."""

import gymnasium as gym
import numpy as np
import pytest

import gymformer  # noqa: F401  registers the environments
from gymformer import PPOConfig, train_agent
from gymformer.env import TextEnv, TokenEnv
from gymformer.env.logic_puzzle_env import logic_puzzle_expert
from gymformer.evaluation import trace_segment
from gymformer.rewards import (
    AdaptiveWeights,
    Novelty,
    RewardComponent,
    Rewarded,
    RewardError,
    RewardSum,
    completion_term,
    efficiency_term,
    feedback_term,
    safety_term,
)
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm


def ended(text: str = "", success: float = 1.0, **more) -> dict:
    return {"text": text, "success": success, "ended": True} | more


def test_completion_and_efficiency_pay_at_the_end_and_efficiency_only_with_success():
    completion, efficiency = completion_term(2.0), efficiency_term(10)
    assert completion(ended(success=0.5)) == 1.0
    assert completion({"success": 1.0, "ended": False}) == 0.0
    assert efficiency(ended(success=0.5, turn=3)) == pytest.approx(0.35)  # 0.5 · (1 - 3/10)
    assert efficiency(ended(success=1.0, turn=12)) == 0.0
    assert efficiency(ended(success=0.0, turn=0)) == 0.0
    assert efficiency_term(100, unit="tokens")(ended(tokens=25)) == 0.75


def test_a_success_that_the_environment_does_not_tell_is_no_failure():
    with pytest.raises(
        RewardError, match=r"component 'completion' raised ValueError: .*does not tell 'success', but 'ended', 'text'"
    ):
        completion_term()({"text": "", "ended": True})


def test_novelty_pays_each_order_of_words_once_and_only_where_it_succeeds():
    novelty = Novelty(n=2)
    prompt = "the red fox sees a dog"
    assert novelty(ended("the red fox", prompt=prompt)) == 1.0
    assert novelty(ended("the red fox", prompt=prompt)) == 0.0
    assert novelty(ended("The red dog!", prompt=prompt)) == 0.5  # "red dog" of two
    assert novelty(ended("a fox sees the dog", success=0.0, prompt=prompt)) == 0.0
    assert novelty(ended("a fox sees the dog", prompt=prompt)) == 0.0  # heard before, when it failed
    assert novelty(ended("fox dog fox dog fox dog", prompt=prompt)) == pytest.approx(2 / 5)  # a repetition counts once


def test_novelty_is_not_farmed_by_noise_or_length():
    novelty, rng = Novelty(n=2), np.random.default_rng(0)
    noise = ["".join(map(chr, rng.integers(97, 123, 6))) for _ in range(200)]
    assert [novelty(ended(f"yes {one}", prompt="yes or no")) for one in noise] == [0.0] * 200
    assert novelty(ended("yes or " + "yes " * 50, prompt="yes or no")) <= 3 / 51
    assert novelty(ended("")) == 0.0


def test_the_memory_of_novelty_forgets_the_oldest_and_can_be_kept():
    novelty = Novelty(n=1, memory=2)
    for text in ("a", "b", "c"):
        assert novelty(ended(text, prompt="a b c")) == 1.0
    copy = Novelty(n=1, memory=2)
    copy.load_state_dict(novelty.state_dict())
    for one in (novelty, copy):
        assert [one(ended(text)) for text in ("c", "a")] == [0.0, 1.0]


def test_violations_cost_and_a_rating_that_nobody_gave_has_a_stated_worth():
    assert safety_term(lambda text: text.count("x"), 0.5)({"text": "x ax"}) == -1.0
    assert safety_term(lambda text: list(text))({"text": "ab"}) == -2.0
    heard = []
    term = feedback_term(lambda text: heard.append(text) or {"well\ndone": 0.5}.get(text), weight=2.0, unrated=-0.1)
    assert term({"text": "done", "said": ["well", "done"], "ended": True}) == 1.0
    assert term({"text": "nobody", "ended": True}) == -0.2
    assert term({"text": "go on", "ended": False}) == 0.0 and heard == ["well\ndone", "nobody"]


# --- weights ----------------------------------------------------------------------------------------------------------


def a_sum(*weights: float) -> RewardSum:
    return RewardSum([RewardComponent(name, weight, lambda state: 0.0) for name, weight in zip("abc", weights, strict=False)])


def test_the_component_that_lags_gets_more():
    """|w| = 1, 3, so p = 1/4, 3/4. a lags by 1, b (a cost, at 0.5 instead of 0) by 0.5: with η = ln 4 they grow by 4 and 2, so
    q = 4 : 6 = 0.4, 0.6; half of the first shares: p = 0.325, 0.675."""
    total = a_sum(1.0, -3.0, 7.0)
    weights = AdaptiveWeights(total, {"a": 1.0, "b": 0.0}, eta=np.log(4), alpha=0.5)
    weights.observe({"a": 0.0, "b": 0.5})
    assert [component.weight for component in total.components] == pytest.approx([1.3, -2.7, 7.0])


def test_weights_keep_their_sum_and_their_bounds_for_ever():
    total = a_sum(1.0, 1.0)
    weights = AdaptiveWeights(total, {"a": 1.0, "b": 1.0}, eta=50.0, alpha=0.1)
    for _ in range(300):
        weights.observe({"a": -100.0, "b": 1.0})
    assert weights.weights == pytest.approx({"a": 1.9, "b": 0.1})  # 2 (1 - α/2), 2 α/2
    before = AdaptiveWeights(a_sum(1.0, 1.0), {"a": 1.0, "b": 1.0})
    before.load_state_dict(weights.state_dict())
    assert before.weights == weights.weights


def test_what_was_paid_in_episodes_moves_the_weights():
    """Of two episodes, a paid 2 · 0.25 in the mean and lags by 0.75 behind 1; b is where it should be."""
    weights = AdaptiveWeights(a_sum(2.0, 2.0), {"a": 1.0, "b": 1.0}, eta=1.0, alpha=0.5)
    blank = np.zeros(1)
    segments = [
        Segment([], blank, blank, blank, True, episode_return=0.0, info={"reward_terms": {"a": paid, "b": 2.0}})
        for paid in (0.0, 1.0)
    ]
    assert weights(segments) == {"reward_weight/a": 2.0, "reward_weight/b": 2.0}
    share = np.exp(0.75) / (np.exp(0.75) + 1)
    assert weights.weights["a"] == pytest.approx(4 * (0.5 * share + 0.25))


# --- the wrapper ------------------------------------------------------------------------------------------------------


def puzzle(*components: RewardComponent, **settings) -> Rewarded:
    return Rewarded(gym.make("LogicPuzzle-v0", difficulty=0.2), components, **settings)


def test_terms_are_added_to_what_a_text_environment_pays_and_told_so_far():
    words = RewardComponent("words", -0.1, lambda state: state["words"])
    env = puzzle(completion_term(0.5), words)
    observation, _ = env.reset(seed=0)
    _, first, *_, info = env.step("what is this")
    assert first == pytest.approx(-0.02 - 0.3)
    assert info["reward_terms"] == pytest.approx({"environment": -0.02, "completion": 0.0, "words": -0.3})
    _, second, terminated, _, info = env.step(logic_puzzle_expert(observation))
    assert terminated and second == pytest.approx(1 + 0.5 - 0.5)  # five words by then
    assert info["reward_terms"] == pytest.approx({"environment": 0.98, "completion": 0.5, "words": -0.8})
    alone = puzzle(completion_term(0.5), keep=False)
    observation, _ = alone.reset(seed=0)
    assert alone.step(logic_puzzle_expert(observation))[1] == 0.5


def test_terms_of_the_environments_own_keep_their_names():
    lines = RewardComponent("lines", 0.25, lambda state: 1.0)
    env = Rewarded(
        gym.make("GSM8K-v0", line_rewards=[lines], n_few_shot_examples=0), [RewardComponent("more", 2.0, lambda state: 1.0)]
    )
    _, info = env.reset(seed=0)
    env.step("First.")
    *_, info = env.step(f"#### {info['answer']}")
    assert info["reward_terms"] == {"environment": 1.0, "lines": 0.5, "more": 4.0}


class Talk(TextEnv):
    def opening(self, options):
        return "Go."

    def answer(self, turn):
        return "On.", 0.25, False


def talker() -> LMActorNetwork:
    """Of random bytes, 32 of them a turn."""
    return LMActorNetwork(tiny_lm(261, width=16, layers=1, context=128), tokenizer=byte_tokenizer())


@pytest.mark.parametrize(
    ("function", "how"), [(lambda state: 1 / 0, "raised ZeroDivisionError"), (lambda state: float("nan"), "gave nan")]
)
def test_a_component_that_fails_stops_the_run_with_its_name_and_the_environments(function, how):
    with pytest.raises(RewardError, match=rf"in <Talk instance>, the reward component 'broken' {how}") as caught:
        train_agent(lambda: Rewarded(Talk(), [RewardComponent("broken", 1.0, function)]), talker(), max_episodes=2, save_path=None,
                    progress=False)  # fmt: skip
    assert any(note.startswith("in environment ") and "at decision" in note for note in caught.value.__notes__)


def test_terms_reach_the_log_and_the_tokens_that_earned_them():
    total = RewardSum([RewardComponent("short", 0.5, lambda state: 1 / (1 + len(state["text"])))])
    actor = talker()
    rollouts: list[list[Segment]] = []
    result = train_agent(lambda: Rewarded(Talk(max_turns=2), total), actor, max_episodes=4, update_interval=4, seed=0,
                         save_path=None, progress=False, ppo_config=PPOConfig(update_epochs=1),
                         transforms=[lambda segments: rollouts.append(segments) or {}])  # fmt: skip
    [[*segments]], [record] = rollouts, result.metrics
    assert record["reward/environment"] + record["reward/short"] == pytest.approx(np.mean(result))
    for segment in segments:
        assert np.sum(list(segment.noted.values()), axis=0) == pytest.approx(segment.rewards)
        assert np.count_nonzero(segment.noted["reward/short"]) == 2  # the last tokens of two turns
    trace = trace_segment(segments[0], actor)
    paid = [token.noted for token in trace.decisions if token.noted]
    assert len(paid) == 2 and all(set(one) == {"reward/short", "reward/environment"} for one in paid)
    assert "reward/short" in str(trace) and "reward/short" in trace.html()


def test_what_a_term_added_is_paid_at_each_token_too():
    class Letters(TokenEnv):
        def prompt(self, options):
            return [97]

        def is_over(self, new):
            return len(new) == 3

        def score(self, text):
            return 0.0

    env = Letters(byte_tokenizer(), pays="token", reward_fn=[RewardComponent.of_text("x", lambda text: text.count("x"))])
    env.reset()
    told = [env.step(token)[4]["reward_terms"]["x"] for token in b"axx"]
    assert told == [0.0, 1.0, 2.0]
