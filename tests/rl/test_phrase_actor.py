"""A language model that chooses among phrases: the distribution is the one of its definition, in rollout and update alike."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from gymformer import PPOConfig, evaluate, load_agent, train_agent
from gymformer.env import PhrasesToTokens, ToText
from gymformer.rl.batch import States, decision_index, padded
from gymformer.rl.networks import match_tokens
from gymformer.rl.phrase_actor import PhraseActor
from gymformer.rl.ppo import PPO
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm

TOKENIZER = byte_tokenizer()
PHRASES = ("a", "no way", "go", "b c d")  # 1, 6, 2 and 5 bytes, 1, 2, 1 and 3 words


class Corridor(gym.Env):
    """Four cells in a row; "go" leads to the last one, where 1 is paid; "a" cannot be chosen in the first."""

    def __init__(self):
        self.observation_space, self.action_space = gym.spaces.Discrete(4), gym.spaces.Discrete(4)
        self.place = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return 0, {"action_mask": self.mask()}

    def step(self, action):
        assert self.mask()[action]
        self.place += action == 2
        return self.place, float(self.place == 3), self.place == 3, False, {"action_mask": self.mask()}

    def mask(self):
        return np.array([self.place > 0, True, True, True])


def actor(per="token", cached=True, architecture="llama", **arguments) -> PhraseActor:
    lm = LMActorNetwork(tiny_lm(len(TOKENIZER), architecture, context=1024, width=16, layers=1), tokenizer=TOKENIZER)
    return PhraseActor(lm, PHRASES, per=per, cached=cached, **arguments)


def envs(window=None, count=3) -> TokenEnvs:
    made = [
        gym.wrappers.TimeLimit(
            PhrasesToTokens(ToText(Corridor(), actions=PHRASES, system_prompt=""), TOKENIZER, PHRASES, window=window), 6
        )
        for _ in range(count)
    ]
    result = TokenEnvs(made)
    result.reset(0)
    return result


@pytest.mark.parametrize(("per", "lengths"), [("token", (1, 6, 2, 5)), ("word", (1, 2, 1, 3)), ("phrase", (1, 1, 1, 1))])
def test_scores_are_mean_log_probabilities_of_the_phrases(per, lengths):
    """Each phrase read by itself after the state, one plain pass for each."""
    own, state = actor(per), TOKENIZER.encode("<|user|>What now?<|end|><|assistant|>")
    expected = []
    for phrase, length in zip(PHRASES, lengths, strict=True):
        said = list(phrase.encode())
        logits = own.lm.lm(input_ids=torch.tensor([[*state, *said]])).logits[0, len(state) - 1 : -1]
        expected.append(logits.log_softmax(-1).gather(-1, torch.tensor(said)[:, None]).sum() / length)
    assert torch.allclose(own(torch.tensor([state]))[0], torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("window", [None, 1, 0])
@pytest.mark.parametrize("cached", [True, False])
def test_a_rollout_stores_what_the_update_computes(cached, window):
    own = match_tokens(actor(cached=cached, temperature=0.7), len(PHRASES))
    head = own.value_head()
    torch.nn.init.normal_(head.head.weight, generator=torch.Generator().manual_seed(0))
    segments = collect_tokens(envs(window), own, episodes=6, generator=torch.Generator().manual_seed(0), critic=head)
    states, legal = States.of(segments), torch.from_numpy(np.concatenate([s.legal for s in segments]))
    with torch.no_grad():
        at = decision_index(segments)
        found, _ = own.policy.log_probs_and_entropy(
            own.evaluate(states[at]), torch.from_numpy(np.concatenate([s.actions for s in segments])), legal
        )
    assert np.allclose(found.numpy(), np.concatenate([s.log_probs for s in segments]), atol=1e-5)
    values = head.evaluate(states).detach().numpy()
    stored = np.concatenate([s.values for s in segments])
    open_ends = np.concatenate([[*[True] * len(s), not s.terminated] for s in segments])
    assert np.allclose(values[open_ends], stored[open_ends], atol=1e-4)
    assert not legal[0][0] and all(len(s.rows) == 1 for s in segments) == (window is None)


def test_equal_rows_are_there_once():
    inputs, place = padded([[5, 6], [7], [5, 6], [7, 0]])
    assert inputs.tolist() == [[5, 6], [7, 0], [7, 0]] and place.tolist() == [0, 1, 0, 2]  # [7] ends where [7, 0] goes on


def test_train_agent_names_the_actions_by_the_phrases_and_saves(tmp_path):
    def fresh(phrases=("left", "down", "right", "up"), per="token") -> PhraseActor:
        lm = LMActorNetwork(tiny_lm(len(TOKENIZER), context=512), tokenizer=TOKENIZER)
        return PhraseActor(lm, phrases, per=per)

    config = PPOConfig(lr_actor=1e-2, entropy_coef=1.0)  # nothing is paid within three steps
    result = train_agent("FrozenLake-v1", actor=fresh(), env_kwargs={"is_slippery": False}, max_episodes=2, update_interval=2,
                         save_path=tmp_path, ppo_config=config, seed=0, progress=False, max_timesteps=3)  # fmt: skip
    assert len(result) == 2 and result.agent.action_space == gym.spaces.Discrete(4)
    assert math.isfinite(result.metrics[-1]["policy_loss"])
    loaded, tokens = load_agent(result.path), torch.tensor([[5, 6, 7]])
    assert torch.equal(loaded.actor(tokens), result.agent.actor(tokens)) and not torch.equal(
        loaded.actor(tokens), fresh()(tokens)
    )
    assert evaluate(loaded, episodes=2, seed=0).lengths == evaluate(result.agent, episodes=2, seed=0).lengths
    torch.nn.init.constant_(result.agent.critic.head.weight, 0.5)
    again = load_agent(result.agent.save_pretrained(tmp_path / "again")).critic
    assert again(tokens) == result.agent.critic(tokens) != 0
    for other in (fresh(("left", "right", "down", "up")), fresh(per="phrase")):  # would do something else by the same weights
        with pytest.raises(ValueError, match="as it was trained"):
            other.load_state_dict(loaded.actor.state_dict())


def test_ppo_trains_trunk_and_head_together():
    own = match_tokens(actor(), len(PHRASES))
    algorithm = PPO(own, own.value_head(), PPOConfig(lr_actor=1e-3))
    assert len(algorithm.optimizers) == 1


def test_mistakes_are_said():
    lm = LMActorNetwork(tiny_lm(len(TOKENIZER)), tokenizer=TOKENIZER)
    with pytest.raises(ValueError, match="all different"):
        PhraseActor(lm, ("a", "a"))
    with pytest.raises(ValueError, match="word"):
        PhraseActor(lm, ("a", "b"), per="letter")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="put ToText around it"):
        PhrasesToTokens(Corridor(), TOKENIZER, PHRASES)
    env = PhrasesToTokens(ToText(Corridor(), actions=PHRASES), TOKENIZER, PHRASES)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="one of the 4 phrases"):
        env.step(4)
