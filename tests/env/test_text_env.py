"""TextEnv: one step, one turn."""

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from gymformer.env import AnyText
from tests.env.envs import Guess


def test_a_turn_is_answered():
    env = Guess()
    assert env.reset(options={"number": 7}) == ("Between 0 and 9.", {"turn": 0, "number": 7})
    assert env.step("5") == ("higher higher ", 0.0, False, False, {"turn": 1, "number": 7})
    assert env.step("7") == ("right", 1.0, True, False, {"turn": 2, "number": 7})
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\)"):
        env.step("7")


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
def test_the_check_of_gymnasium_passes():
    check_env(Guess())


def test_too_many_turns_are_cut_and_an_end_on_the_last_is_none():
    env = Guess(max_turns=2)
    env.reset(options={"number": 7})
    assert env.step("1")[2:4] == (False, False)
    assert env.step("1")[2:4] == (False, True)
    env.reset(options={"number": 7})
    env.step("1")
    assert env.step("7")[2:4] == (True, False)


def test_long_turns_are_cut_and_control_characters_spelled_out():
    env = Guess(max_turn_chars=6)
    env.reset(seed=0)
    assert env.step("ab\x1bcdefgh")[0] == "No number: ab\\x1b"


def test_an_action_that_is_no_text_is_refused():
    env = Guess()
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"an action is a text; got int \(5\).*TextToTokens\(env, tokenizer\)"):
        env.step(5)  # type: ignore[arg-type]


def test_rendering_shows_the_dialogue():
    env = Guess(render_mode="ansi")
    env.reset(options={"number": 7})
    env.step("\x1b5")
    assert env.render() == "Environment: Between 0 and 9.\nAgent: \\x1b5\nEnvironment: No number: \\x1b5"
    assert Guess().render() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"max_turns": 0}, "max_turns=0 and max_turn_chars"), ({"render_mode": "html"}, "render_mode='html' is not one of")],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Guess(**arguments)


def test_any_text_holds_what_people_write():
    space = AnyText(30)
    for text in ("", "Two words.", "2 + 2 = 4\n\t!", "naïve 東京 🙂 – “yes”", "\ufffd"):
        assert text in space
    for text in ("\x1b[2J", "\x00", "\ud800", "x" * 31, 5, None, ["a"]):
        assert text not in space


def test_any_text_draws_its_own_members_from_its_seed():
    space = AnyText(1000, seed=3)
    samples = [space.sample() for _ in range(50)]
    assert all(sample in space and len(sample) <= 40 for sample in samples) and len(set(samples)) > 40
    assert samples == [sample for again in [AnyText(1000, seed=3)] for sample in (again.sample() for _ in range(50))]
    assert space == AnyText(1000) != AnyText(999)
    assert gym.spaces.Text(1000) != space
    assert repr(space) == "AnyText(1000)"


@pytest.mark.parametrize("kind", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_it_works_in_vectors(kind):
    arguments = {} if kind is gym.vector.SyncVectorEnv else {"shared_memory": False}
    envs = kind([Guess] * 2, **arguments)
    try:
        observations, _ = envs.reset(seed=[1, 2])
        assert observations == ("Between 0 and 9.",) * 2
        observations, rewards, *_ = envs.step(("東京", "x y"))
        assert observations == ("No number: 東京", "No number: x y") and rewards.tolist() == [-1.0, -1.0]
    finally:
        envs.close()


def test_gymnasiums_shared_memory_which_never_shows_a_new_text_is_refused():
    with pytest.raises(ValueError, match="shared_memory=False"):
        gym.vector.AsyncVectorEnv([Guess] * 2)


def test_spaces_of_all_widths_and_windows_line_ends_are_what_they_look_like():
    env = Guess()
    env.reset()
    assert env.step("a\u00a0b\u202fc\u2028d\r\ne\rf\x1b")[0] == "No number: a b c d\ne\\rf\\x1b"
