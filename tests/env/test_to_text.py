"""Any environment in words: what is seen is described, what is said is read, and what cannot be read is never played."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import gymformer
from gymformer import LMActorNetwork, train_agent
from gymformer.env import TextToTokens, ToText, for_language_model
from gymformer.env.to_text import describe, read_action
from gymformer.testing import byte_tokenizer, tiny_lm

gym.register_envs(gymformer)
HIT = ("stick", "hit")


@pytest.mark.parametrize(("space", "value", "names", "words"), [
    (spaces.Discrete(16), 7, None, "7"),
    (spaces.Box(-1, 1, (2,)), np.array([0.12345, -1.0]), None, "0.123 -1"),
    (spaces.Box(-1, 1, (2,)), np.array([0.5, -0.0001]), ["position", "velocity"], "position: 0.5, velocity: 0"),
    (spaces.Tuple([spaces.Discrete(32), spaces.Discrete(2)]), (14, 0), ["sum", "ace"], "sum: 14, ace: 0"),
    (spaces.Dict({"player_sum": spaces.Discrete(32), "x": spaces.Box(0, 1, (1,))}), {"player_sum": 14, "x": np.array([0.25])}, None,
     "player sum: 14, x: 0.25"),
    (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8), None, "1 0 1"),
    (spaces.Sequence(spaces.Discrete(4)), (1, 3), None, "[1; 3]"),
    (spaces.Text(20), "hello\x1b", None, "hello\\x1b"),
])  # fmt: skip
def test_observations_in_words(space, value, names, words):
    assert describe(space, value, names) == words


@pytest.mark.parametrize(("text", "action"), [
    ("1", 1), ("hit", 1), ("Hit!", 1), ("I have 14, the dealer 10. Action: hit", 1), ("action=0", 0), ("My answer is stick.", 0),
    ("hit or stick?", None), ("", None), ("2", None), ("-1", None), ("hitman", None), ("yes", None), ("Action: hit. Action: stick", 0),
    ("١", None), ("1" * 30, None),
])  # fmt: skip
def test_choices_are_read_by_name_or_number(text, action):
    assert read_action(spaces.Discrete(2), text, HIT) == action


def test_choices_that_begin_elsewhere_and_names_of_several_words():
    assert read_action(spaces.Discrete(2, start=5), "6") == 6 and read_action(spaces.Discrete(2, start=5), "1") is None
    for said, meant in (
        ("0.7", None),
        ("the chance is .5, so 1.", 1),
        ("Action: 0.7", None),
        ("1.0 or 0", 0),
        ("I take 1...", 1),
    ):
        assert read_action(spaces.Discrete(2), said) == meant, said
    assert read_action(spaces.Discrete(3), "I push left now", ["push left", "do nothing", "push right"]) == 0


def test_numbers_are_read_where_they_are_as_many_as_there_must_be():
    box = spaces.Box(-2, 2, (2,))
    assert read_action(box, "Push 0.5 and -1.5").tolist() == [0.5, -1.5]
    assert read_action(box, "0.5") is None and read_action(box, "1 2 3") is None and read_action(box, "1 9") is None
    assert read_action(spaces.MultiDiscrete([3, 3]), "2 1").tolist() == [2, 1]
    assert read_action(spaces.MultiDiscrete([3, 3]), "2 1.5") is None


class Doors(gym.Env):
    """Three doors, of which the first is locked; the third pays."""

    action_space, observation_space = spaces.Discrete(3), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = []
        return 0, {"action_mask": np.array([0, 1, 1], np.int8)}

    def step(self, action):
        assert self.action_space.contains(action) and action != 0
        self.taken.append(action)
        return 1, float(action == 2), action == 2, False, {"action_mask": np.array([0, 1, 1], np.int8)}


def test_what_is_no_action_is_explained_and_counted_and_at_last_a_legal_one_is_played():
    env = ToText(Doors(), actions=["red", "green", "blue"], retries=1, penalty=0.1)
    assert env.system_prompt == "You play Doors. Answer with one of: 0 (red), 1 (green), 2 (blue)."
    assert env.reset(seed=0) == ("0", {"action_mask": pytest.approx([0, 1, 1]), "unreadable": 0})
    reply, reward, *_, info = env.step("well")
    assert reply == "No action could be read from that. Answer with one of: 1 (green), 2 (blue)."
    assert (reward, info["unreadable"], env.unwrapped.taken) == (-0.1, 1, [])
    reply, reward, *_, info = env.step("red")  # not legal; and the second time in a row
    assert (reply, reward, info["unreadable"], info["action"]) == ("1", -0.1, 2, 1)
    reply, reward, *_ = env.step("red")  # counting anew
    assert reply.startswith("That is not possible now.") and reward == -0.1
    *_, reward, terminated, _, info = env.step("the blue one")
    assert (reward, terminated, info["unreadable"], env.unwrapped.taken) == (1.0, True, 3, [1, 2])
    with pytest.raises(gym.error.ResetNeeded):
        env.step("blue")


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Taxi-v4", "FrozenLake-v1", "Blackjack-v1", "Pendulum-v1", "BlackjackLLM-v1", "TaxiLLM-v3"]
)
def test_games_of_gymnasium_are_played_in_words(env_id):
    env = ToText(gym.make(env_id, disable_env_checker=True))
    text, _ = env.reset(seed=0)
    assert text and env.observation_space.contains(text)
    answer = "0.5" if env_id == "Pendulum-v1" else "1"
    text, reward, *_, info = env.step(answer)
    assert info["unreadable"] == 0 and np.isfinite(reward) and env.observation_space.contains(text)


def test_a_game_that_describes_itself_is_introduced_in_its_words():
    env = ToText(gym.make("BlackjackLLM-v1"))
    assert (
        "You play Blackjack against a dealer" in env.system_prompt
        and "dealer_card: the dealer's open card" in env.system_prompt
    )
    assert env.system_prompt.endswith("Answer with one of: 0 (stick), 1 (hit).")
    text, _ = env.reset(seed=1)
    assert text.startswith("player sum: ")
    assert env.step("I hit.")[-1]["action"] == 1


def test_a_view_of_minigrid_in_words():
    image = np.zeros((7, 7, 3), np.uint8)
    image[..., 0] = 1
    image[3, 5] = (2, 5, 0)  # a wall right ahead
    image[1, 4] = (4, 0, 2)  # a locked red door
    image[5, 6] = (6, 2, 0)  # a blue ball
    image[3, 6] = (5, 4, 0)  # where the agent stands MiniGrid shows what it carries, here a yellow key
    space = spaces.Dict(
        {"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4), "mission": spaces.Text(50)}
    )
    words = describe(space, {"image": image, "direction": 0, "mission": "open the red door"})
    assert words == ("Mission: open the red door. You see a locked red door 2 ahead and 2 to the left, a blue ball 2 to the right. "
                     "A wall is right before you. You carry a yellow key.")  # fmt: skip


def test_its_seeds_and_spaces_are_those_of_an_environment():
    env = ToText(Doors())
    with pytest.warns(UserWarning, match="different from the unwrapped version"):
        check_env(env, skip_render_check=True)


def test_what_it_cannot_put_into_words_is_said():
    with pytest.raises(ValueError, match="format_observation"):
        describe(spaces.Box(0, 255, (96, 96, 3), np.uint8), np.zeros((96, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="2 actions"):
        ToText(gym.make("Blackjack-v1"), actions=["a", "b", "c"])
    with pytest.raises(ValueError, match="is not an action"):
        ToText(gym.make("Blackjack-v1"), fallback=7)


def test_a_language_model_trains_in_a_game_without_more():
    """An observation in words, a turn of tokens, an action: through the one loop."""
    actor = LMActorNetwork(tiny_lm(len(byte_tokenizer()), context=512), tokenizer=byte_tokenizer())
    env, _ = for_language_model(gym.make("FrozenLake-v1"), None, byte_tokenizer(), max_turn_tokens=3)
    assert isinstance(env, TextToTokens) and isinstance(env.env, ToText)
    result = train_agent("FrozenLake-v1", actor=actor, max_episodes=4, update_interval=2, num_envs=2, max_timesteps=40, seed=0,
                         save_path=None, progress=False)  # fmt: skip
    assert len(result) == 4 and result.metrics[-1]["update"] == 2
