"""TokenEnv: one action, one token."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from gymformer.env import TokenEnv, is_text_env, is_token_env
from gymformer.rewards import RewardComponent, RewardSum
from gymformer.testing import byte_tokenizer
from tests.env.envs import Copy, Echo

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id


def write(env: gym.Env, text: str, end: bool = True):
    """The last step of an episode that writes `text`."""
    moment = None
    for token in [*text.encode(), *([END] if end else [])]:
        assert moment is None or not (moment[2] or moment[3]), "the episode ended before the text did"
        moment = env.step(token)
    return moment


def test_an_episode_appends_tokens_and_pays_at_the_end():
    env = Copy(TOKENIZER)
    observation, info = env.reset(options={"word": "abc"})
    assert observation == (97, 98, 99)
    assert info == {"prompt": "abc", "text": "", "word": "abc"}
    assert env.step(97) == ((97, 98, 99, 97), 0.0, False, False, {"text": "a"})
    assert env.step(120) == ((97, 98, 99, 97, 120), 0.0, False, False, {"text": "ax"})
    # one of three letters, and the end of text is no letter
    last = ((97, 98, 99, 97, 120, END), 1 / 3, True, False, {"prompt": "abc", "text": "ax", "tokens": 3, "word": "abc"})
    assert env.step(END) == last


def test_the_check_of_gymnasium_passes():
    check_env(Copy(TOKENIZER))


def test_an_end_at_the_first_step_is_an_empty_text():
    env = Copy(TOKENIZER)
    env.reset(seed=0)
    *_, reward, terminated, truncated, info = env.step(END)
    assert (reward, terminated, truncated, info["text"]) == (0.0, True, False, "")


def test_a_text_that_is_cut_is_truncated_and_pays_nothing():
    env = Copy(TOKENIZER, max_generation=2)
    env.reset(options={"word": "abc"})
    _, reward, terminated, truncated, info = write(env, "ab", end=False)
    assert (reward, terminated, truncated, info["text"]) == (0.0, False, True, "ab")


def test_a_limit_that_is_part_of_the_task_terminates_and_pays():
    env = Copy(TOKENIZER, max_generation=2, at_limit="terminate")
    env.reset(options={"word": "abc"})
    _, reward, terminated, truncated, _ = write(env, "ab", end=False)
    assert (reward, terminated, truncated) == (2 / 3, True, False)


def test_an_end_on_the_last_token_allowed_is_an_end_and_no_cut():
    env = Copy(TOKENIZER, max_generation=2)
    env.reset(options={"word": "abc"})
    _, reward, terminated, truncated, _ = write(env, "a")
    assert (reward, terminated, truncated) == (1 / 3, True, False)


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor])
def test_integers_of_every_kind_are_actions(kind):
    env = Copy(TOKENIZER)
    env.reset(seed=0)
    observation, *_ = env.step(kind(97))
    assert observation[-1] == 97 and type(observation[-1]) is int


@pytest.mark.parametrize(("action", "error"), [(261, ValueError), (-1, ValueError), (0.5, TypeError), ("a", TypeError)])
def test_what_is_no_token_is_refused_and_the_episode_goes_on(action, error):
    env = Copy(TOKENIZER)
    before, _ = env.reset(seed=0)
    with pytest.raises(error):
        env.step(action)
    assert env.step(97)[0] == (*before, 97)


def test_steps_outside_an_episode_are_refused():
    env = Copy(TOKENIZER)
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\)"):
        env.step(97)
    env.reset(seed=0)
    env.step(END)
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\)"):
        env.step(97)
    env.reset()
    env.step(97)


def test_a_plain_function_of_the_text_can_be_the_reward():
    env = Copy(TOKENIZER, reward_fn=len)
    env.reset(seed=0)
    *_, reward, _, _, info = write(env, "hello")
    assert (reward, type(reward)) == (5.0, float)
    assert "reward_terms" not in info


def test_a_component_sees_the_whole_moment():
    component = RewardComponent("copied", 2.0, lambda state: float(state["text"] == state["word"] == state["prompt"]))
    env = Copy(TOKENIZER, reward_fn=component)
    env.reset(options={"word": "abc"})
    assert write(env, "abc")[1] == 2.0


def test_several_weighted_terms_add_up_and_are_told_apart():
    terms = RewardSum([RewardComponent.of_text("length", len, weight=-0.5), RewardComponent("copied", 2.0, lambda state: 1.0)])
    env = Copy(TOKENIZER, reward_fn=terms)
    env.reset(options={"word": "abc"})
    *_, reward, _, _, info = write(env, "abcd")
    assert reward == 0.0  # -0.5 · 4 + 2
    assert info["reward_terms"] == {"length": -2.0, "copied": 2.0}


def test_an_empty_prompt_is_an_error():
    env = Copy(TOKENIZER)
    env.words = ("",) * 4
    with pytest.raises(ValueError, match=r"Copy.prompt\(\) gave no token, but a model needs one to read"):
        env.reset(seed=0)


def test_a_prompt_of_another_tokenizer_is_an_error():
    class Foreign(Copy):
        def prompt(self, options):
            return [999]

    with pytest.raises(
        ValueError, match=r"gave an id outside 0 to 260: \(999,\); encode it with the environment's own tokenizer"
    ):
        Foreign(TOKENIZER).reset(seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_generation": 0}, "max_generation=0; a text has at least 1 token"),
        ({"at_limit": "stop"}, "at_limit='stop' is not known"),
        ({"render_mode": "human"}, "render_mode='human' is not one of"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Copy(TOKENIZER, **arguments)


def test_several_rewards_that_are_no_sum_are_refused_with_the_way_to_add_them():
    with pytest.raises(
        TypeError, match=r"made of RewardComponents, not of <built-in function len>; wrap a function of the text"
    ):
        Copy(TOKENIZER, reward_fn=[len, len])

    def length_reward(completions, prompts):
        return [len(text) for text in completions]

    with pytest.raises(
        TypeError, match=r"called with one argument, the text, but 'length_reward' takes \(completions, prompts\)"
    ):
        Copy(TOKENIZER, reward_fn=length_reward)
    with pytest.raises(TypeError, match="reward_fn is a str"):
        Copy(TOKENIZER, reward_fn="len")


def test_ansi_shows_prompt_and_continuation_and_no_terminal_obeys_it():
    env = Copy(TOKENIZER, render_mode="ansi")
    env.reset(options={"word": "say\x1b[2J"})
    write(env, "hi\x07\n\x9b1m", end=False)
    shown = env.render()
    assert "say\\x1b[2J" in shown and "hi\\x07\n\\x9b1m" in shown
    assert shown.replace("\x1b[2m", "").replace("\x1b[0m", "").isprintable() is False  # the line end
    assert not any(code in shown.replace("\x1b[2m", "").replace("\x1b[0m", "") for code in "\x1b\x07\x9b")


def test_html_escapes_what_a_model_wrote_and_colours_each_token():
    env = Copy(TOKENIZER, render_mode="html")
    env.reset(options={"word": "<script>"})
    write(env, "a<\x1b")
    shown = env.render()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "\x1b" not in shown and "\\x1b" in shown
    assert shown.count("<span") == 1 + 4  # the prompt, three bytes, the end
    assert 'title="token 60">&lt;<' in shown


def test_nothing_is_rendered_unasked():
    env = Copy(TOKENIZER)
    env.reset(seed=0)
    assert env.render() is None


def test_token_environments_are_recognised_by_their_spaces():
    class Stranger(gym.Env):
        action_space = gym.spaces.Discrete(9)
        observation_space = gym.spaces.Sequence(gym.spaces.Discrete(9))

    assert is_token_env(Stranger()) and not isinstance(Stranger(), TokenEnv)
    assert is_token_env(Copy(TOKENIZER)) and not is_text_env(Copy(TOKENIZER))
    assert is_text_env(Echo()) and not is_token_env(Echo())
    assert not is_token_env(gym.make("CartPole-v1"))
