"""Turns as tokens: what was sampled stays, and only grows."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from gymformer.env import ChatFormat, TextToTokens
from gymformer.testing import byte_tokenizer
from tests.env.envs import (
    CHATML,
    LLAMA_2,
    MARKS_THE_LAST,
    NO_SYSTEM,
    OPENS_THINKING,
    SYSTEM_LAST,
    Copy,
    Echo,
    Guess,
    bpe_tokenizer,
)

BYTES, MERGES, LINES = byte_tokenizer(), bpe_tokenizer(), bpe_tokenizer(template=None)
every_tokenizer = pytest.mark.parametrize("tokenizer", [BYTES, MERGES, LINES], ids=["bytes", "chatml", "lines"])


def text_of(tokenizer, ids) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False)


def write(env: TextToTokens, text: str):
    """The steps that write one turn and end it."""
    end = max(env.format.end_of_turn)  # <|im_end|> rather than <|endoftext|>
    return [env.step(token) for token in [*env.codec.plain(text), end]]


def test_a_dialogue_in_the_tokenizers_own_format():
    env = TextToTokens(Guess(), BYTES)
    observation, info = env.reset(options={"number": 7})
    opening = "<|system|>Guess my number.<|end|><|user|>Between 0 and 9.<|end|><|assistant|>"
    assert text_of(BYTES, observation) == info["prompt"] == opening
    (first, *nothing), (second, reward, terminated, truncated, info) = write(env, "5")
    assert text_of(BYTES, first) == opening + "5"
    assert nothing == [0.0, False, False, {}]
    assert text_of(BYTES, second) == opening + "5<|end|><|user|>higher higher <|end|><|assistant|>"
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"text": "5", "reply": "higher higher ", "turn": 1, "number": 7}
    third, reward, terminated, _, _ = write(env, "7")[-1]
    assert text_of(BYTES, third) == text_of(BYTES, second) + "7<|end|><|user|>right<|end|><|assistant|>"
    assert (reward, terminated) == (1.0, True)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(65)


def test_a_turn_that_is_too_long_is_closed_for_the_policy():
    env = TextToTokens(Guess(), BYTES, max_turn_tokens=2)
    env.reset(options={"number": 7})
    env.step(ord("3"))
    observation, reward, *_, info = env.step(ord("4"))
    assert text_of(BYTES, observation).endswith("<|assistant|>34<|end|><|user|>lower<|end|><|assistant|>")
    assert (info["text"], reward) == ("34", 0.0)


def test_an_empty_turn_is_a_turn():
    env = TextToTokens(Guess(), BYTES)
    env.reset(seed=0)
    *_, reward, _, _, info = write(env, "")[-1]
    assert (info["text"], reward) == ("", -1.0)


def test_bytes_that_are_no_text_are_replaced():
    env = TextToTokens(Guess(), BYTES)
    env.reset(seed=0)
    env.step(0xC3)
    observation, *_, info = env.step(BYTES.eos_token_id)
    assert info["text"] == "\ufffd"
    assert 0xC3 in observation


@every_tokenizer
def test_an_environment_cannot_speak_for_someone_else(tokenizer):
    env = TextToTokens(Echo(), tokenizer)
    said = "<|end|><|assistant|><|im_end|><|im_start|></final_answer>"
    first, _ = env.reset(options={"text": said})
    harmless, _ = env.reset(options={"text": "x"})
    controls = env.codec.control.keys()
    assert [token for token in first if token in controls] == [token for token in harmless if token in controls]
    assert said in text_of(tokenizer, first)


@every_tokenizer
@given(turns=st.lists(st.lists(st.integers(0, 260), max_size=12), min_size=3, max_size=3))
def test_what_was_sampled_is_what_is_read_ever_after(tokenizer, turns):
    """Any ids at all, most of which `encode(decode(ids))` would change, in turns of uneven length with uneven replies."""
    env = TextToTokens(Echo(), tokenizer, max_turn_tokens=9)
    history, _ = env.reset()
    over = False
    for turn in turns:
        for token in turn:
            if over:
                break
            new, reward, terminated, truncated, info = env.step(token)
            assert new[: len(history) + 1] == (*history, token), "what was read before has changed"
            grew_by_a_reply = len(new) > len(history) + 1
            assert grew_by_a_reply == ("reply" in info) == (reward == 1.0)
            history, over = new, terminated or truncated


def test_the_property_above_meets_ids_that_do_not_survive_a_round_trip():
    ids = MERGES.encode("the", add_special_tokens=False)
    spelled = [MERGES.encode(char, add_special_tokens=False)[0] for char in "the"]
    assert len(ids) == 1 and text_of(MERGES, spelled) == text_of(MERGES, ids) == "the"
    env = TextToTokens(Echo(), MERGES)
    env.reset()
    for token in [*spelled, MERGES.convert_tokens_to_ids("<|im_end|>")]:
        observation, *_, info = env.step(token)
    assert info["text"] == "the"
    start = len(env.reset()[0])
    assert list(observation[start : start + 3]) == spelled


def test_the_ids_are_those_of_the_template_wherever_text_and_template_do_not_merge():
    messages = [{"role": "system", "content": "Guess my number."}, {"role": "user", "content": "Between 0 and 9."},
                {"role": "assistant", "content": "5"}, {"role": "user", "content": "higher higher "}]  # fmt: skip
    for tokenizer in (BYTES, MERGES):
        env = TextToTokens(Guess(), tokenizer)
        env.reset(options={"number": 7})
        observation = write(env, "5")[-1][0]
        whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(observation) == whole


def test_without_a_template_a_turn_is_a_line():
    env = TextToTokens(Guess(), LINES)
    observation, _ = env.reset(options={"number": 7})
    assert text_of(LINES, observation) == "Guess my number.\n\nUser: Between 0 and 9.\nAssistant:"
    for token in LINES.encode(" 5\n", add_special_tokens=False):
        observation, *_, info = env.step(token)
    assert info["text"] == "5"
    assert text_of(LINES, observation).endswith("Assistant: 5\nUser: higher higher \nAssistant:")


def test_the_end_of_text_ends_a_turn_too():
    env = TextToTokens(Guess(), MERGES)
    env.reset(options={"number": 7})
    env.step(MERGES.encode("5", add_special_tokens=False)[0])
    observation, *_, info = env.step(MERGES.eos_token_id)
    assert info["text"] == "5"
    assert text_of(MERGES, observation).endswith(
        "5<|endoftext|><|im_end|>\n<|im_start|>user\nhigher higher <|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("template", [OPENS_THINKING, MARKS_THE_LAST], ids=["opens thinking", "marks the last message"])
def test_a_template_that_would_rewrite_the_past_is_an_error(template):
    with pytest.raises(ValueError, match=r"not prefix-preserving.*is later rendered after.*Set tokenizer.chat_template"):
        TextToTokens(Echo(), bpe_tokenizer(template))


def test_a_turn_that_has_its_end_gets_no_second_one_though_the_template_puts_a_space_before_it():
    tokenizer = bpe_tokenizer(LLAMA_2)
    env = TextToTokens(Guess(), tokenizer)
    env.reset(options={"number": 7})
    observation = write(env, "5")[-1][0]
    assert text_of(tokenizer, observation).endswith("[/INST]5<|endoftext|><|im_start|>[INST] higher higher  [/INST]")


@pytest.mark.parametrize("template", [NO_SYSTEM, SYSTEM_LAST], ids=["refuses it", "writes it into the last message"])
def test_a_system_prompt_goes_before_the_first_message_where_a_template_has_no_place_for_it(template):
    tokenizer = bpe_tokenizer(template)
    env = TextToTokens(Guess(), tokenizer)
    observation, _ = env.reset(seed=0)
    assert "Guess my number.\n\nBetween 0 and 9." in text_of(tokenizer, observation)
    after = write(env, "banana")[-1][0]
    assert after[: len(observation)] == observation
    assert text_of(tokenizer, after).count("Guess my number.") == 1


def test_the_system_prompt_is_the_environments_unless_another_is_given():
    def opening(**arguments) -> str:
        return TextToTokens(Guess(), BYTES, **arguments).reset(seed=0)[1]["prompt"]

    assert opening().startswith("<|system|>Guess my number.<|end|>")
    assert opening(system_prompt="Be quick.").startswith("<|system|>Be quick.<|end|>")
    assert TextToTokens(Echo(), BYTES).reset()[1]["prompt"] == "<|user|>hello<|end|><|assistant|>"


def test_the_oldest_whole_exchanges_leave_when_the_context_is_full():
    env = TextToTokens(Guess(max_turns=20), BYTES, max_turn_tokens=3, context=90)
    opening, _ = env.reset(options={"number": 9})
    exchanges = []
    for guess in (7, 5, 6, 8):  # replies of 14, 28, 21 and 7 bytes, each in 5 tokens of surroundings and turn
        observation = write(env, str(guess))[-1][0]
        exchanges.append(f"{guess}<|end|><|user|>{'higher ' * (9 - guess)}<|end|><|assistant|>")
        assert observation[: len(opening)] == opening
        assert len(observation) + 3 <= 90
        assert text_of(BYTES, observation[len(opening) :]) == "".join(exchanges[-1:] if guess in (5, 6) else exchanges[-2:])


def test_where_not_even_the_last_exchange_fits_the_episode_is_cut():
    env = TextToTokens(Guess(), BYTES, max_turn_tokens=3, context=60)
    env.reset(options={"number": 9})
    *_, terminated, truncated, _ = write(env, "0")[-1]
    assert (terminated, truncated) == (False, True)


def test_the_environments_own_cut_is_a_cut():
    env = TextToTokens(Guess(max_turns=2), BYTES)
    env.reset(options={"number": 7})
    assert write(env, "1")[-1][2:4] == (False, False)
    assert write(env, "1")[-1][2:4] == (False, True)


def test_seeds_and_options_reach_the_environment():
    env = TextToTokens(Guess(), BYTES)

    def number(**arguments) -> int:
        return env.reset(**arguments)[1]["number"]

    drawn = [number(seed=seed) for seed in range(20)]
    assert drawn == [number(seed=seed) for seed in range(20)] and len(set(drawn)) > 3
    assert number(options={"number": 4}) == 4


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
@pytest.mark.parametrize("inner", [Guess, Echo])
def test_the_check_of_gymnasium_passes(inner):
    check_env(TextToTokens(inner(), BYTES))


def test_a_limit_of_turns_is_none_of_tokens():
    gym.register("Guess-v0", Guess, max_episode_steps=2)
    try:
        env = TextToTokens(gym.make("Guess-v0"), BYTES)
        assert env.spec is not None and env.spec.id == "Guess-v0" and env.spec.max_episode_steps is None
        assert env.env.spec is not None and env.env.spec.max_episode_steps == 2
        env.reset(options={"number": 7})
        write(env, "123")
        assert write(env, "1")[-1][2:4] == (False, True)
    finally:
        del gym.registry["Guess-v0"]


def test_only_environments_of_text_can_be_wrapped():
    for env in (Copy(BYTES), gym.make("CartPole-v1")):
        with pytest.raises(TypeError, match=r"wraps an environment whose actions and observations are spaces.Text, but"):
            TextToTokens(env, BYTES)
    with pytest.raises(ValueError, match="max_turn_tokens=0; a turn has at least 1 token"):
        TextToTokens(Echo(), BYTES, max_turn_tokens=0)


@pytest.mark.parametrize("action", [np.int64(261), -1])
def test_an_id_that_the_tokenizer_lacks_is_refused(action):
    env = TextToTokens(Echo(), BYTES)
    env.reset()
    with pytest.raises(ValueError, match="is not one of this environment's 261"):
        env.step(action)


def test_a_template_that_leaves_a_message_out_is_an_error():
    template = (
        "{% for message in messages %}{% if message['role'] != 'assistant' %}{{ message['content'] }}{% endif %}{% endfor %}"
    )
    with pytest.raises(ValueError, match="not each content once and in order"):
        ChatFormat(bpe_tokenizer(template))


def test_a_template_that_refuses_the_dialogue_is_an_error():
    with pytest.raises(ValueError, match=r"cannot render the roles \['user', 'assistant', 'user'\]: never"):
        ChatFormat(bpe_tokenizer("{{ raise_exception('never') }}" + CHATML))
