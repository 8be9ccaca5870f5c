"""Lines as tokens: one message that only grows, with the calculator's results between the policy's tokens."""

import gymnasium as gym
import pytest

from gymformer.data.arithmetic import Problem
from gymformer.env import GSM8KEnv, LinesToTokens, TextToTokens, for_language_model
from gymformer.testing import byte_tokenizer
from tests.env.envs import Guess, bpe_tokenizer

BYTES, MERGES = byte_tokenizer(), bpe_tokenizer()
PROBLEM = Problem("How much is 48 + 24?", "72", ("It is 48+24 = <<48+24=72>>72.",))


def env_of(tokenizer=BYTES, **arguments) -> LinesToTokens:
    return LinesToTokens(GSM8KEnv([PROBLEM], 0, max_lines=4), tokenizer, **arguments)


def write(env: LinesToTokens, text: str) -> list:
    return [env.step(token) for token in env.codec.plain(text)]


def test_the_message_grows_within_one_turn_of_the_chat():
    env = env_of(system_prompt="Solve it.")
    observation, info = env.reset(seed=0)
    opening = f"<|system|>Solve it.<|end|><|user|>{PROBLEM.question}<|end|><|assistant|>"
    assert env.codec.text(observation) == info["prompt"] == opening
    *within, last = write(env, "It is easy.\n")
    assert all(step[1:] == (0.0, False, False, {}) for step in within)
    assert env.codec.text(last[0]) == opening + "It is easy.\n" and last[4]["text"] == "It is easy.\n"
    *_, (observation, reward, terminated, truncated, info) = write(env, "#### 72\n")
    assert env.codec.text(observation) == opening + "It is easy.\n#### 72\n"
    assert (reward, terminated, truncated, info["correct"]) == (1.0, True, False, True)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(65)


def test_examples_are_messages_of_their_own():
    env = LinesToTokens(
        GSM8KEnv([PROBLEM], 1, train_data_file=[Problem("1 + 1?", "2", ("It is 2.",))]), BYTES, system_prompt=""
    )
    observation, _ = env.reset()
    shown = "<|user|>1 + 1?<|end|><|assistant|>It is 2.\n#### 2<|end|>"
    assert shown + f"<|user|>{PROBLEM.question}<|end|><|assistant|>" in env.codec.text(observation)


@pytest.mark.parametrize("tokenizer", [BYTES, MERGES], ids=["bytes", "merges"])
def test_the_calculator_writes_between_the_policys_tokens(tokenizer):
    env = env_of(tokenizer)
    observation, _ = env.reset()
    before = len(observation)
    policy = env.codec.plain("It is 48+24 = <<48+24=")
    *_, (observation, *_) = [env.step(token) for token in policy]
    written = list(observation[before:])
    assert written[: len(policy)] == policy and env.codec.text(written[len(policy) :]) == "72>>"
    *_, (_, _, _, _, info) = write(env, "72.\n")
    assert info["solution"] == "It is 48+24 = <<48+24=72>>72."


def test_the_end_of_the_text_ends_the_line_and_the_solution():
    env = env_of()
    env.reset()
    write(env, "#### 72")
    *_, reward, terminated, _, info = env.step(BYTES.eos_token_id)
    assert (reward, terminated, info["correct"]) == (1.0, True, True)
    env.reset()
    write(env, "It is 72.")
    *_, reward, terminated, _, info = env.step(BYTES.eos_token_id)
    assert (reward, terminated, info["final_answer"], info["solution"]) == (0.0, True, None, "It is 72.")


def test_a_line_that_is_too_long_is_ended_by_the_environment():
    env = env_of(max_line_tokens=4)
    observation, _ = env.reset()
    before = len(observation)
    *_, (observation, _, _, _, info) = write(env, "Easy")
    assert env.codec.text(observation[before:]) == "Easy\n" and info["solution"] == "Easy"


def test_a_line_whose_last_token_calls_the_calculator_is_ended_behind_the_result():
    env = env_of(max_line_tokens=6)
    observation, _ = env.reset()
    before = len(observation)
    *_, (observation, _, terminated, _, info) = write(env, "<<1+1=")
    assert env.codec.text(observation[before:]) == "<<1+1=2>>\n" and info["solution"] == "<<1+1=2>>" and not terminated


def test_empty_lines_are_none_but_nothing_else_is_an_end():
    env = env_of(max_line_tokens=6)
    env.reset()
    assert all(step[4] == {} for step in write(env, "\n \n"))
    *_, (_, _, terminated, _, info) = write(env, "a\n")
    assert not terminated and info["solution"] == "a"
    steps = write(env, "\n" * 6)
    assert [step[2] for step in steps] == [False] * 5 + [True]


def test_a_token_of_several_lines_is_several_lines():
    """A vocabulary may hold a line's end with what stands on both sides of it."""
    env = env_of()
    env.reset()
    env._write(env.codec.plain("One.\nTwo.\n#### 7"))  # what one token might write
    *_, reward, terminated, _, info = env.step(ord("2"))
    assert not terminated and info["solution"] == "One.\nTwo." and reward == 0.0
    *_, (_, reward, terminated, _, _) = write(env, "\n")
    assert terminated and reward == 1.0


def test_each_kind_of_text_environment_finds_its_wrapper():
    env, _ = for_language_model(GSM8KEnv([PROBLEM], 0), None, BYTES)
    assert isinstance(env, LinesToTokens)
    env, _ = for_language_model(Guess(), None, BYTES)
    assert isinstance(env, TextToTokens)
    source, arguments = for_language_model("GSM8K-v0", {"n_few_shot_examples": 0}, BYTES, max_turn_tokens=7)
    made = source(**arguments)
    assert isinstance(made, LinesToTokens) and made.max_line_tokens == 7
    with pytest.raises(TypeError, match="TextToTokens"):
        LinesToTokens(Guess(), BYTES)
    with pytest.raises(TypeError, match="LinesToTokens"):
        TextToTokens(GSM8KEnv([PROBLEM], 0), BYTES)
