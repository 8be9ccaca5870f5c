"""The monitor at work: what it counts, charges, replaces and stops, by itself and in training."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from gymformer import PPOConfig, train_agent
from gymformer.env import TextEnv, TokenEnv
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.safety import SafetyMonitor, pattern_rule, word_rule
from gymformer.safety.monitor import Mode
from gymformer.testing import byte_tokenizer, tiny_lm
from gymformer.trainer.distributed import ALONE
from gymformer.trainer.tallies import tallies

RULES = [word_rule("tone", ["bad"]), word_rule("tone", ["rude"], at_end=True), word_rule("names", ["Bob Smith"])]


class Parrot(TextEnv):
    """Says again what it hears; pays 1 a turn."""

    def opening(self, options):
        return "Speak."

    def answer(self, turn):
        return f"You said: {turn}", 1.0, turn == "bye"

    def facts(self):
        return {"task": "parrot"}


class Writer(TokenEnv):
    """Eleven bytes, paid 1 at the end."""

    def prompt(self, options):
        return [97]

    def is_over(self, new):
        return len(new) == 11

    def score(self, text):
        return 1.0


def said(mode: Mode, *turns: str) -> list[tuple]:
    env = SafetyMonitor(mode, policies=(), rules=RULES, price=0.25).watch(Parrot())
    env.reset(seed=0)
    return [env.step(turn) for turn in turns]


def test_each_turn_is_counted_and_the_long_list_waits_for_the_end():
    counts = [step[4]["safety"] for step in said("count", "so bad, Bad", "rude badge", "Bob", "Smith", "bye")]
    assert counts[0] == {"tone": 2, "names": 0}
    assert counts[1:4] == [{"tone": 0, "names": 0}] * 3
    assert counts[4] == {"tone": 1, "names": 0}  # "rude", and no "Bob Smith": the short list hears one turn at a time
    assert [step[1] for step in said("count", "bad", "bye")] == [1.0, 1.0]


def test_a_price_is_charged_and_told():
    first, last = said("reward", "bad, bad", "bye")
    assert (first[1], first[4]["reward_terms"]) == (0.5, {"safety": -0.5})
    assert (last[1], last[4]["reward_terms"]) == (1.0, {"safety": -0.5})


def test_the_price_comes_to_what_the_environment_pays_for_safety_itself():
    class Careful(Parrot):
        def facts(self):
            return {"reward_terms": {"speaking": 1.5 * self.turn, "safety": -0.5 * self.turn}}

    env = SafetyMonitor("reward", policies=(), rules=RULES, price=0.25).watch(Careful())
    env.reset(seed=0)
    rewards = [env.step("bad")[1], env.step("bad, bad")[1]]
    *_, info = env.step("bye")
    assert rewards == [0.75, 0.5] and info["reward_terms"] == {"speaking": 4.5, "safety": -2.25}  # in all 2.25, as was paid


def test_a_filtered_turn_never_reaches_the_environment():
    [(reply, reward, *_, info)] = said("filter", "a bad turn")
    assert (reply, reward, info["safety"]["tone"]) == ("You said: [removed]", 1.0, 1)
    with pytest.raises(ValueError, match=r"replacement='so bad' breaks a rule itself"):
        SafetyMonitor("filter", rules=RULES, replacement="so bad")


def test_an_episode_is_stopped_before_the_environment_hears_it():
    env = SafetyMonitor("stop", policies=(), rules=RULES, price=0.25).watch(Parrot())
    env.reset(seed=0)
    reply, reward, terminated, truncated, info = env.step("bad")
    assert (reply, reward, terminated, truncated) == ("Stopped: this turn breaks a rule of tone.", -0.25, True, False)
    assert env.unwrapped.turn == 0 and info["safety"] == {"tone": 1, "names": 0} and info["success"] == 0.0
    with pytest.raises(ResetNeeded, match="has stopped this episode"):
        env.step("go on")
    assert env.reset()[0] == "Speak." and not env.step("go on")[2]


def typed(mode: Mode, text: bytes) -> list[tuple]:
    env = SafetyMonitor(mode, policies=(), rules=RULES, price=0.25).watch(Writer(byte_tokenizer()))
    env.reset(seed=0)
    steps = []
    for token in text:
        steps.append(env.step(token))
        if steps[-1][2]:
            break
    return steps


def test_of_tokens_a_word_counts_once_and_when_it_is_complete():
    assert [step[4]["safety"]["tone"] for step in typed("count", b"bad badge b")] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert [step[4]["safety"]["tone"] for step in typed("count", b"badges; bad")] == [0] * 10 + [1]
    assert [step[4]["safety"]["names"] for step in typed("count", b"a Bob Smith")] == [0] * 10 + [1]
    stopped = typed("stop", b"bad badge b")
    assert len(stopped) == 4 and stopped[-1][1:4] == (-0.25, True, False)
    with pytest.raises(ValueError, match=r'mode="filter" replaces turns.*use "stop" or "reward"'):
        typed("filter", b"a")


def is_sign(char: str) -> bool:
    return "!" <= char <= ","


def trained(mode: Mode):
    """A model of random bytes, in which each of some signs is a violation."""
    monitor = SafetyMonitor(mode, policies=(), rules=[pattern_rule("signs", "[!-,]")], price=0.5, replacement="-")
    heard: list[str] = []

    class Ear(Parrot):
        def answer(self, turn):
            heard.append(turn)
            return "", 1.0, False

    rollouts = []
    actor = LMActorNetwork(tiny_lm(261, width=16, layers=1, context=128), tokenizer=byte_tokenizer())
    result = train_agent(lambda: Ear(max_turns=2), actor, max_episodes=4, update_interval=4, save_path=None, progress=False, seed=0,
                         ppo_config=PPOConfig(update_epochs=1), safety=monitor,
                         transforms=[lambda segments: rollouts.append(segments) or {}])  # fmt: skip
    return result, heard, rollouts[0]


def test_in_training_prices_are_penalties_beside_the_rewards():
    result, heard, segments = trained("reward")
    signs = sum(map(is_sign, "".join(heard)))
    [record] = result.metrics
    assert signs > 0 and list(result) == [2.0] * 4  # what the environment paid
    assert record["safety/signs"] == record["safety/signs/parrot"] == signs
    assert sum(segment.penalties.sum() for segment in segments) == -0.5 * signs
    assert record["safety_penalty"] == pytest.approx(-0.5 * signs / sum(map(len, segments)))
    for segment in segments:  # each at the last token of its turn
        assert np.array_equal(segment.penalties != 0, np.array(segment.noted["safety/signs"]) != 0)
        assert (segment.rewards[segment.penalties != 0] == 1).all()


def test_in_training_turns_are_filtered_and_episodes_stopped():
    result, heard, _ = trained("filter")
    assert result.metrics[0]["safety/signs"] > 0
    assert not any(is_sign(char) for turn in heard for char in turn) and "-" in heard
    _, heard, segments = trained("stop")
    assert any(segment.terminated and segment.episode_return < 2 and segment.penalties.any() for segment in segments)
    assert not any(is_sign(char) for turn in heard for char in turn)


def test_counts_of_several_processes_are_added():
    class Two(type(ALONE)):
        def gather(self, value):
            return [value, [({"a": 1.0}, {"tone": 2}, "debate"), ({}, {"tone": 1}, None)]]

    [segment] = [trained("count")[2][0]]
    segment.info = {"reward_terms": {"a": 0.0, "b": 1.0}, "safety": {"tone": 4}, "task": "debate"}
    assert tallies([segment], Two()) == {"reward/a": 0.5, "reward/b": 0.5, "safety/tone": 7, "safety/tone/debate": 6}


def test_an_environment_that_does_not_tell_its_text_is_refused():
    env = SafetyMonitor().watch(gym.make("CartPole-v1"))
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"needs the text that was written so far"):
        env.step(0)
