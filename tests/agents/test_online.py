"""A language model that learns while it plays."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymformer.agents import Agent
from gymformer.lm import AutoModelForCausalLMWithValueHead
from gymformer.rl.batch import States, decision_index
from gymformer.testing import byte_tokenizer, tiny_lm

TOKENIZER = byte_tokenizer()
GENERATE, LEARN = {"max_new_tokens": 1}, {"batch_size": 4, "lr_actor": 1e-2}


class Letters(Agent):
    """Says letters: "a" to "m" is 0, "n" to "z" is 1, all else is nothing."""

    def get_system_prompt(self) -> str:
        return "Say a letter."

    def format_observation(self, observation) -> str:
        return f"Observed {observation}."

    def extract_action(self, response: str):
        if response == "!":
            raise ValueError("no letter")
        return None if not response.isalpha() or not response.isascii() else int(response.lower() > "m")


def agent(model=None, generate=GENERATE, learn=LEARN, **arguments) -> Letters:
    model = tiny_lm(len(TOKENIZER), context=512) if model is None else model
    return Letters(model, TOKENIZER, "cpu", generate, learn, action_space=spaces.Discrete(2), **arguments)


def says(own: Agent, text: str) -> None:
    """From now on it samples these characters."""
    ids = iter(TOKENIZER.encode(text, add_special_tokens=False))
    own.actor.policy.sample = lambda outputs, generator, legal=None: (torch.tensor([next(ids)]), torch.tensor([-1.0]))


def text_of(row) -> str:
    return TOKENIZER.decode(list(map(int, row)), skip_special_tokens=False)


def test_the_dialogue_only_grows_and_rewards_fall_on_the_turns_before_them():
    own = agent(learn={"batch_size": 2})
    says(own, "ax")
    assert own.act(7) == 0
    own.assign_reward(0.5)
    own.assign_reward(0.25)
    assert own.act(8) == 1
    own.assign_reward(2.0)
    assert own.terminate_episode() == {}
    ((segment, _),) = own._buffer
    read = (
        "<|system|>Say a letter.<|end|><|user|>Observed 7.<|end|><|assistant|>a<|end|><|user|>Observed 8.<|end|><|assistant|>x"
    )
    assert text_of(segment.rows[0]) == read
    assert segment.rewards.tolist() == [0.75, 2.0] and segment.terminated and segment.episode_return == 2.75
    assert [text_of(segment.rows[0][: col + 1])[-13:] for col in segment.col[:-1]] == ["<|assistant|>"] * 2


def test_what_is_no_action_is_asked_for_again_and_at_last_a_legal_one_is_played():
    own = agent(retries=1, penalty=0.1)
    says(own, "?a?!")
    assert own.act(1) == 0 and own.unreadable == 1
    assert own.act(1) == 0 and own.unreadable == 3  # two in a row: the first action of the space
    own.terminate_episode(train=False)
    ((segment, _),) = own._buffer
    assert segment.rewards.tolist() == [-0.1, 0.0, -0.1, -0.1]
    assert "No action could be read from that. Answer again.\nObserved 1." in text_of(segment.rows[0])
    stubborn = Letters(tiny_lm(len(TOKENIZER), context=512), TOKENIZER, "cpu", GENERATE, retries=0)
    says(stubborn, "?")
    with pytest.raises(ValueError, match="fallback_action"):
        stubborn.act(1)


def test_the_observation_is_there_when_it_is_asked_again():
    """Also where no exchange is remembered."""
    own = agent(window=0)
    says(own, "?a")
    own.act("a door")
    assert text_of(own._episode.tokens).count("Observed a door.") == 1


def test_an_observation_that_does_not_fit_begins_no_episode():
    own = agent(tiny_lm(len(TOKENIZER), context=64))
    with pytest.raises(ValueError, match="shorten them"):
        own.act("x" * 100)
    with pytest.raises(ValueError, match="no episode that could end"):
        own.terminate_episode()


def test_phrases_are_read_as_they_are_written():
    """A phrase with a space before it, as models without a chat template need them, is given to `extract_action` without."""
    own = agent(phrases=[" a", " z"])
    assert {own.act(n) for n in range(12)} == {0, 1} and own.unreadable == 0


def test_every_full_batch_is_learned_from_and_the_rest_is_kept():
    own = agent()
    for episode in range(10):
        own.act(episode)
        own.assign_reward(float(episode))
        stats = own.terminate_episode(train=episode == 9)
    assert len(own.log) == 2 and len(own._buffer) == 2 and stats == own.log[-1]
    assert (
        "importance_mean" not in own.log[0] and 0 < stats["effective_sample_size"] <= 1
    )  # the second batch is an older policy's
    assert stats["mean_reward"] == 4.5 and stats["episodes"] == 4 and len(stats["samples"]) == 3 and abs(stats["approx_kl"]) < 1


def test_it_learns_what_pays():
    """One letter of 261 tokens; from "n" on is paid. At first about one response in eight is."""
    own = agent(learn={"batch_size": 32, "lr_actor": 1e-2}, retries=0)
    paid = []
    for _ in range(20 * 32):
        paid.append(float(own.act("nothing")))
        own.assign_reward(paid[-1])
        own.terminate_episode()
    assert np.mean(paid[:64]) < 0.4 < 0.75 < np.mean(paid[-64:])


def test_its_log_probabilities_are_those_of_one_pass_over_the_row():
    own = agent(generate={"max_new_tokens": 5, "top_k": 20, "temperature": 0.7})
    for turn in range(3):
        own.act(turn)
    own.terminate_episode(train=False, truncated=True)
    ((segment, _),) = own._buffer
    states = States.of([segment])[decision_index([segment])]
    with torch.no_grad():
        log_probs, _ = own.actor.policy.log_probs_and_entropy(own.actor.evaluate(states), torch.from_numpy(segment.actions),
                                                              torch.from_numpy(segment.legal))  # fmt: skip
    assert np.allclose(log_probs.numpy(), segment.log_probs, atol=1e-4) and not segment.terminated
    assert segment.legal.sum(1).max() <= 20


def test_the_oldest_exchanges_leave_where_the_context_is_full():
    own = agent(tiny_lm(len(TOKENIZER), context=100), learn={"batch_size": 1})
    says(own, "abcdefgh")
    for turn in range(6):
        own.act(turn)
    own.assign_reward(1.0)
    segment_rows = own._episode
    newest = text_of(segment_rows.tokens)
    assert newest.startswith("<|system|>Say a letter.<|end|><|user|>Observed 1.<|end|><|assistant|>b<|end|><|user|>Observed 2.")
    assert newest.endswith("Observed 5.<|end|><|assistant|>f") and len(segment_rows.tokens) <= 100
    del own.actor.policy.sample
    own.terminate_episode(train=False)
    assert len(own._buffer[0][0].rows) > 1 and len(own._buffer[0][0]) == 6
    with pytest.raises(ValueError, match="shorten them"):
        agent(tiny_lm(len(TOKENIZER), context=64)).act("x" * 100)


def test_it_chooses_among_phrases_with_the_probabilities_that_it_stores():
    """No answer is unreadable, forbidden ones are never chosen, and what is stored is what one pass over the rows gives."""
    own = agent(phrases=["a", "zoo", "b"], window=2)
    for turn in range(6):
        assert own.act(turn, action_mask=[True, turn % 2 == 0, False]) in ((0, 1) if turn % 2 == 0 else (0,))
    own.terminate_episode(train=False)
    ((segment, _),) = own._buffer
    assert len(segment) == 6 and own.unreadable == 0 and set(segment.info["turns"]) <= {"a", "zoo"}
    said = segment.info["turns"]  # two exchanges are remembered beside the newest
    told = "".join(f"<|user|>Observed {n}.<|end|><|assistant|>{said[n]}<|end|>" for n in (3, 4, 5)).removesuffix("<|end|>")
    assert len(segment.rows) == 4 and text_of(segment.rows[-1]) == f"<|system|>Say a letter.<|end|>{told}"
    states = States.of([segment])[decision_index([segment])]
    with torch.no_grad():
        log_probs, _ = own.actor.policy.log_probs_and_entropy(own.actor.evaluate(states), torch.from_numpy(segment.actions),
                                                              torch.from_numpy(segment.legal))  # fmt: skip
    assert np.allclose(log_probs.numpy(), segment.log_probs, atol=1e-4) and segment.log_probs[1] == 0
    with pytest.raises(ValueError, match="reads no action from the phrase"):
        agent(phrases=["a", "?"])
    with pytest.raises(ValueError, match="an action_mask is for phrases"):
        agent().act(1, action_mask=[True, False])


def test_it_learns_which_phrase_pays():
    """At first each of two is said about half of the time. It remembers no exchange."""
    own = agent(phrases=["a", "z"], window=0, learn={"batch_size": 32, "lr_actor": 1e-2, "minibatch_size": -1})
    paid = []
    for _ in range(8 * 32):
        paid.append(float(own.act("nothing")))
        own.assign_reward(paid[-1])
        own.terminate_episode()
    assert np.mean(paid[:32]) < 0.85 and np.mean(paid[-64:]) > 0.95


def test_every_statistic_of_its_log_is_explained():
    own = agent(learn={"batch_size": 1})
    for _ in range(2):
        own.act(1)
        own.terminate_episode(train=False)
    own.act(1)
    own.terminate_episode()
    explained = (Path(__file__).parents[2] / "gymformer/monitoring/README.md").read_text()
    section = explained.partition("## Of an agent that learns while it plays")[2].partition("\n## ")[0]
    assert {name for entry in own.log for name in entry if f"`{name}`" not in section} == set()
    assert "importance_mean" in own.log[-1]


def test_in_inference_it_takes_the_likeliest_and_learns_nothing():
    own = agent(learn={"batch_size": 1}, retries=0)
    own.eval()
    before = [p.clone() for p in own.actor.parameters()]
    first = [own.act(1) for _ in range(2)]
    own.assign_reward(1.0)
    assert own.terminate_episode() == {} and own._buffer == [] and first[0] in (0, 1)
    assert all(torch.equal(p, q) for p, q in zip(before, own.actor.parameters(), strict=True))
    own.train()
    own.act(1)
    assert own.terminate_episode() != {}


def test_a_model_with_a_value_head_is_trained_in_place_and_saved(tmp_path):
    model = AutoModelForCausalLMWithValueHead(tiny_lm(len(TOKENIZER), context=512))
    own = agent(model, learn={"batch_size": 1, "lr_actor": 1e-2, "lr_critic": 1e-2})
    own.act(1)
    own.assign_reward(1.0)
    own.terminate_episode()
    assert model.v_head.weight.abs().sum() > 0
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLMWithValueHead.from_pretrained(tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    for one, other in zip(model(ids), again(ids), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert model(ids)[1].shape == (1, 3)


def test_it_plays_a_game():
    class Blackjack(Letters):
        def format_observation(self, observation):
            return f"Your sum is {observation[0]}, the dealer shows {observation[1]}."

    env = gym.make("Blackjack-v1")
    own = Blackjack(
        tiny_lm(len(TOKENIZER), context=512), TOKENIZER, "cpu", GENERATE, {"batch_size": 4}, action_space=env.action_space
    )
    for episode in range(4):
        observation, _ = env.reset(seed=episode)
        over = False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(own.act(observation))
            own.assign_reward(float(reward))
            over = terminated or truncated
        stats = own.terminate_episode()
    assert stats["episodes"] == 4 and np.isfinite(stats["policy_loss"])


def test_mistakes_are_said():
    own = agent()
    for call in (own.terminate_episode, lambda: own.assign_reward(1.0)):
        with pytest.raises(ValueError, match=r"call act\(observation\) first"):
            call()
    own.act(1)
    with pytest.raises(ValueError, match="must be finite"):
        own.assign_reward(float("nan"))
    with pytest.raises(ValueError, match="did you mean lr_actor"):
        agent(learn={"lr_aktor": 1.0})
    with pytest.raises(ValueError, match="did you mean temperature"):
        agent(generate={"temperatur": 1.0})
