"""Reinforce, ReinforceStable, RLOO, GRPO, A2C and SFT: formulas by hand, gradients of the plain formula, and that they learn."""

import math
import random
import textwrap

import gymnasium as gym
import numpy as np
import pytest
import torch

from gymformer.rl.a2c import A2C, A2CConfig
from gymformer.rl.advantages import group_advantages, leave_one_out, rewards_to_go
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.envs import make_envs
from gymformer.rl.errors import RatioError
from gymformer.rl.grpo import GRPO, GRPOConfig, aggregation_weights
from gymformer.rl.kl import kl_k3, log_probs_of
from gymformer.rl.networks import match_tokens
from gymformer.rl.ppo import PPOConfig, clipped_objective
from gymformer.rl.reinforce import Reinforce, ReinforceConfig, ReinforceStable, ReinforceStableConfig
from gymformer.rl.rloo import RLOO, RLOOConfig
from gymformer.rl.rollouts import collect
from gymformer.rl.sft import SFT, Demonstration, SFTConfig
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import tiny_lm
from gymformer.trainer.trainer import train_agent
from tests.helpers import a_segment, uniform_actor
from tests.language import TOKENS, Chatter, Table, TokenBandit, Tutorial, lm_actor
from tests.toy_envs import Bandit

TWO = gym.spaces.Discrete(2)
QUIET = {"save_path": None, "progress": False, "seed": 0}


def grouped(size: int = 4, episodes: int = 8, actor=None):
    """A sharp language model and whole episodes of it, in groups, with replies and masks."""
    actor = actor or lm_actor()
    envs = make_envs(lambda: Chatter(masks="info"), 4)
    envs.reset(0)
    envs.group_size = size
    segments, rng = (
        collect(envs, actor, episodes=episodes, generator=torch.Generator().manual_seed(1)),
        np.random.default_rng(0),
    )
    for segment in segments:  # Chatter pays what its seed says, and so all of a group alike
        segment.rewards = rng.normal(size=len(segment))
    return actor, segments


def gradient_of(algorithm, segments) -> torch.Tensor:
    """What the optimiser was given, before its step."""
    given = []
    for optimizer in algorithm.optimizers:
        optimizer.step = lambda one=optimizer: given.append(one.gradient.clone())
    algorithm.update(segments)
    for optimizer in algorithm.optimizers:
        del optimizer.step
    return torch.cat(given)


def plain_gradient(algorithm, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, algorithm.optimizers[0].parameters)])


def log_probs_with_grad(actor, segments) -> list[torch.Tensor]:
    """log π of each segment's decisions, one state at a time."""
    found = []
    for s in segments:
        of_states = [actor(torch.from_numpy(s.rows[r][: c + 1])[None]) for r, c in zip(s.row[:-1], s.col[:-1], strict=True)]
        logits = torch.cat(of_states)
        if s.legal is not None:
            logits = logits.masked_fill(~torch.from_numpy(s.legal), -math.inf)
        found.append(torch.log_softmax(logits, -1)[torch.arange(len(s)), torch.from_numpy(s.actions)])
    return found


# --- formulas ---------------------------------------------------------------------------------------------------------


def test_rewards_to_go_by_hand():
    """γ = ½: G₂ = 3, G₁ = 2 + ½·3 = 3.5, G₀ = 1 + ½·3.5 = 2.75; with 8 beyond: 7, 5.5, 3.75."""
    assert rewards_to_go([1, 2, 3], 0.5).tolist() == [2.75, 3.5, 3.0]
    assert rewards_to_go([1, 2, 3], 0.5, beyond=8).tolist() == [3.75, 5.5, 7.0]


def test_leave_one_out_by_hand():
    """1 - (2+6)/2 = -3; 2 - (1+6)/2 = -1.5; 6 - (1+2)/2 = 4.5."""
    assert leave_one_out([1, 2, 6]).tolist() == [-3.0, -1.5, 4.5]


def test_group_advantages_by_hand():
    """Of 1, 3, 5, 7 the mean is 4 and the variance (9 + 1 + 1 + 9)/4 = 5."""
    assert group_advantages([1, 3, 5, 7], by_std=False).tolist() == [-3, -1, 1, 3]
    assert group_advantages([1, 3, 5, 7]).tolist() == pytest.approx([x / math.sqrt(5) for x in (-3, -1, 1, 3)])


@pytest.mark.parametrize("compare", [leave_one_out, group_advantages])
def test_a_group_paid_alike_teaches_nothing_and_one_episode_is_no_group(compare):
    assert compare([0.1] * 7).tolist() == [0.0] * 7
    with pytest.raises(ValueError, match="a group of 1"):
        compare([1.0])


@pytest.mark.parametrize(
    ("how", "length", "expected"),
    # Two episodes of 1 and 3 decisions with x = 8 and 2, 2, 2: 14/4; (8 + 2)/2; (8/4 + 6/4)/2.
    [("token-mean", None, 3.5), ("sequence-mean", None, 5.0), ("fixed-length", 4, 1.75)],
)
def test_aggregation_by_hand(how, length, expected):
    lengths, x = torch.tensor([1.0, 3, 3, 3]), torch.tensor([8.0, 2, 2, 2])
    assert (aggregation_weights(lengths, 0.5, how, length) * x).mean().item() == pytest.approx(expected)


def test_clip_higher_by_hand():
    """ρ = 1.25, A = 2: up to 1.2 it is cut to 2.4, up to 1.28 it is 2.5."""
    ratio, advantage = torch.tensor([math.log(1.25)]), torch.tensor([2.0])
    assert clipped_objective(ratio, advantage, 0.2).item() == pytest.approx(2.4)
    assert clipped_objective(ratio, advantage, 0.2, 0.28).item() == pytest.approx(2.5)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 5], ids=["whole", "in parts"])
def test_rloo_has_the_gradient_of_the_plain_formula(size):
    actor, segments = grouped()
    rloo = RLOO(actor, RLOOConfig(max_grad_norm=None, micro_batch_size=size))
    returns = [s.rewards.sum() for s in segments]
    advantages = [returns[i] - (sum(returns[i // 4 * 4 :][:4]) - returns[i]) / 3 for i in range(8)]
    loss = -sum((a * p.sum() for a, p in zip(advantages, log_probs_with_grad(actor, segments), strict=True)), torch.zeros(()))
    expected = plain_gradient(rloo, loss / sum(map(len, segments)))
    torch.testing.assert_close(gradient_of(rloo, segments), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("size", [None, 5], ids=["whole", "in parts"])
def test_grpo_by_sequences_with_a_reference_has_the_gradient_of_the_plain_formula(size):
    actor, segments = grouped()
    reference = lm_actor("gpt2", model={"seed": 1})
    grpo = GRPO(actor, GRPOConfig(max_grad_norm=None, aggregation="sequence-mean", minibatch_size=-1, kl_coef=0.3,
                                  micro_batch_size=size), reference=reference)  # fmt: skip
    of_reference = log_probs_of(reference, segments).split([len(s) for s in segments])
    returns, loss = np.array([s.rewards.sum() for s in segments]).reshape(2, 4), torch.zeros(())
    advantages = ((returns - returns.mean(1, keepdims=True)) / returns.std(1, keepdims=True)).reshape(-1)
    for a, p, r in zip(advantages, log_probs_with_grad(actor, segments), of_reference, strict=True):
        loss = loss - ((p - p.detach()).exp() * a - 0.3 * kl_k3(p - r)).mean() / 8
    expected = plain_gradient(grpo, loss)
    torch.testing.assert_close(gradient_of(grpo, segments), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_reinforce_with_the_mean_as_baseline_has_the_gradient_of_the_plain_formula():
    actor, segments = grouped()
    learner = Reinforce(actor, config=ReinforceConfig(gamma=0.5, max_grad_norm=None))
    togo = [[sum(0.5 ** (k - t) * s.rewards[k] for k in range(t, len(s))) for t in range(len(s))] for s in segments]
    mean = np.mean(np.concatenate(togo))
    pairs = zip(togo, log_probs_with_grad(actor, segments), strict=True)
    loss = -sum(((torch.tensor(g) - mean) * p).sum() for g, p in pairs) / sum(map(len, segments))
    expected = plain_gradient(learner, loss)
    torch.testing.assert_close(gradient_of(learner, segments), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


# --- segments ---------------------------------------------------------------------------------------------------------


def test_an_episode_that_was_cut_is_left_out_without_a_critic():
    whole, cut = a_segment([1.0, 2.0]), a_segment([50.0], terminated=False)
    whole.episode_return, whole.episode_length = 3.0, 2
    batch = Reinforce(uniform_actor(TWO), config=ReinforceConfig(gamma=1.0)).prepare([whole, cut])
    assert batch.advantages.tolist() == [0.5, -0.5, 0.0]  # G = 3, 2, of mean 2.5


def test_groups_that_are_none_or_begin_differently_are_refused():
    _, segments = grouped()
    segments[1].group = None
    with pytest.raises(ValueError, match="1 of 8 segments belong to no group"):
        RLOO(lm_actor(), RLOOConfig()).prepare(segments)
    for segment in segments:
        segment.group = 0
    with pytest.raises(ValueError, match="begin differently"):
        GRPO(lm_actor(), GRPOConfig()).prepare(segments)


def test_an_environment_that_ignores_the_seed_is_named_at_the_reset():
    random.seed(0)
    envs = make_envs(Tutorial, 8, vectorization="auto")
    envs.id, envs.group_size = "Tutorial-v0", 8
    with pytest.raises(ValueError, match=r"Tutorial-v0 was reset with the same seed .* begin differently"):
        collect(envs, lm_actor(), episodes=8)


def test_a_changed_actor_is_noticed():
    actor, segments = grouped()
    for segment in segments:
        segment.log_probs = segment.log_probs - 0.1
    for learner in (RLOO(actor), GRPO(actor), Reinforce(actor)):
        with pytest.raises(RatioError):
            learner.update(segments)


# --- state ------------------------------------------------------------------------------------------------------------

MAKE = {
    "reinforce": lambda actor: Reinforce(actor),
    "stable": lambda actor: ReinforceStable(actor, config=ReinforceStableConfig(refresh_every=2)),
    "rloo": lambda actor: RLOO(actor),
    "grpo": lambda actor: GRPO(actor, GRPOConfig(minibatch_size=8), torch.Generator().manual_seed(0)),
    "a2c": lambda actor: A2C(actor, actor.value_head()),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_learner_goes_on_from_its_state(name):
    """Three updates in a row, and one, then two by another that took over its state, are the same."""

    def updated(learner, times):
        for _ in range(times):
            learner.update(grouped(actor=learner.actor)[1])
        return learner

    through, first, second = updated(MAKE[name](lm_actor()), 3), updated(MAKE[name](lm_actor()), 1), MAKE[name](lm_actor())
    for key, network in second.networks().items():
        network.load_state_dict(first.networks()[key].state_dict())
    second.load_state_dict(first.state_dict())
    updated(second, 2)
    for one, other in zip(through.actor.parameters(), second.actor.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_reference_is_refreshed_every_k_updates_and_the_actor_is_itself_again():
    actor, segments = grouped()
    learner = MAKE["stable"](actor)
    first = learner.reference.clone()
    learner.update(segments)
    assert learner.reference.equal(first) and not learner._learned.equal(first)
    stats = learner.update(grouped(actor=actor)[1])
    assert stats["kl_to_own_reference_k3"] > 0 and learner.reference.equal(learner._learned)
    assert segments[0].penalties is None


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reinforce", "reinforce_stable", "rloo", "grpo", "a2c"])
def test_the_best_of_four_tokens_is_found_through_train_agent(name):
    config = {"reinforce": ReinforceConfig(lr_actor=2e-2), "reinforce_stable": ReinforceStableConfig(lr_actor=2e-2, kl_coef=0.01),
              "rloo": RLOOConfig(lr_actor=2e-2), "grpo": GRPOConfig(lr_actor=2e-2, kl_coef=0.0),
              "a2c": A2CConfig(lr_actor=2e-2, lr_critic=2e-2)}[name]  # fmt: skip
    actor = LMActorNetwork(tiny_lm(4, width=16, layers=1))
    result = train_agent(TokenBandit, actor, algorithm=name, config=config, max_episodes=1250, update_interval=31, **QUIET)
    assert (result.agent.critic is None) == (name != "a2c")
    assert result.running_reward > 0.9
    group = getattr(config, "group_size", 1)
    assert len(result) == -(-1250 // group) * group


@pytest.mark.parametrize("name", ["reinforce", "reinforce_stable", "a2c"])
def test_the_best_of_four_arms_is_found(name):
    result = train_agent(Bandit, algorithm=name, max_episodes=2000, hidden_dim=16, **QUIET)
    assert torch.softmax(result.agent.actor(torch.ones(1, 1)), -1)[0, 2] > 0.9


def test_a_reference_is_in_the_loss_of_grpo():
    actor = LMActorNetwork(tiny_lm(4, width=16, layers=1))
    result = train_agent(
        TokenBandit, actor, algorithm="grpo", reference="initial", kl_coef=0.5, max_episodes=64, update_interval=32, **QUIET
    )
    assert "kl_coefficient" not in result.metrics[0] and abs(result.metrics[0]["kl_to_reference"]) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"algorithm": "grpo"}, "compares 8 episodes of one task, but CartPole-v1 is stepped as a vector"),
        ({"algorithm": "rloo", "rollout_steps": 8}, "compares whole episodes"),
        ({"algorithm": "grpo", "config": RLOOConfig()}, "GRPO takes a GRPOConfig"),
        ({"algorithm": "a2c", "ppo_config": PPOConfig()}, "A2C takes a A2CConfig"),
        ({"config": PPOConfig(), "ppo_config": PPOConfig()}, "both given"),
        ({"algorithm": "reinforce", "critic": torch.nn.Linear(4, 1)}, "a critic is given, but Reinforce has none"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments, match):
    with pytest.raises((ValueError, TypeError), match=match):
        train_agent("CartPole-v1", max_episodes=4, **arguments, **QUIET)


@pytest.mark.parametrize(
    "make",
    [lambda: RLOOConfig(group_size=1), lambda: GRPOConfig(aggregation="mean"), lambda: GRPOConfig(aggregation="fixed-length"),
     lambda: GRPOConfig(fixed_length=9), lambda: ReinforceConfig(baseline="median"), lambda: A2CConfig(lam=2.0),
     lambda: ReinforceStableConfig(refresh_every=0), lambda: ReinforceStableConfig(lr_actor=-1.0), lambda: SFTConfig(epochs=0)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match=r"Config\.\w+="):
        make()


def test_the_algorithm_of_the_documentation_learns_vectors_and_tokens():
    text = textwrap.dedent((Algorithm.__doc__ or "").partition("may be left out:")[2].partition("The same page")[0])
    scope: dict = {"Algorithm": Algorithm, "np": np, "torch": torch, "rewards_to_go": rewards_to_go}
    exec(
        "from gymformer.rl.batch import *\nfrom gymformer.rl.batch import decision_index\nfrom gymformer.rl.optim import PackedAdam",
        scope,
    )
    exec(text, scope)
    assert len(text.strip().splitlines()) <= 40
    control = train_agent(Bandit, algorithm=scope["Simple"], update_interval=10, max_episodes=1500, hidden_dim=16, **QUIET)
    assert torch.softmax(control.agent.actor(torch.ones(1, 1)), -1)[0, 2] > 0.9
    tokens = train_agent(
        TokenBandit, Table(4, 4, scale=0.1), algorithm=scope["Simple"], max_episodes=8000, update_interval=16, **QUIET
    )
    assert tokens.running_reward > 0.75


# --- demonstrations ---------------------------------------------------------------------------------------------------


def test_sft_has_the_gradient_of_the_cross_entropy_of_the_replies_and_learns_them():
    actor = match_tokens(LMActorNetwork(tiny_lm(TOKENS, width=32), temperature=0.5, top_k=2), TOKENS)
    demonstrations = [Demonstration((i, 2), (3, 4, i)) for i in range(5, 9)]
    sft = SFT(actor, SFTConfig(max_grad_norm=None, lr=5e-3, epochs=120, minibatch_size=-1, micro_batch_size=4))
    rows = torch.tensor([[*d.prompt, *d.reply] for d in demonstrations])
    logits = torch.stack([actor(rows[:, :length]) for length in (2, 3, 4)], 1)  # (R, 3, V)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 2:].flatten())
    expected = plain_gradient(sft, loss)
    assert sft.step(sft.prepare(demonstrations))["loss"] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(sft.optimizers[0].gradient, expected, rtol=1e-4, atol=1e-6)
    sft.update(demonstrations)
    found = sft.evaluate(demonstrations)
    assert found["accuracy"] == 1.0 and found["loss"] < 0.1


def test_demonstrations_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least one token each"):
        Demonstration((1,), ())
    sft = SFT(lm_actor())
    with pytest.raises(ValueError, match="has the token 99"):
        sft.update([Demonstration((1,), (99,))])
    with pytest.raises(ValueError, match="no demonstrations"):
        sft.update([])
