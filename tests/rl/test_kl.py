"""The penalty for leaving a reference: where it is zero, which way it points, and where it leads."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gymformer.rl.envs import make_envs
from gymformer.rl.kl import AdaptiveCoefficient, KLPenalty, kl_k3
from gymformer.rl.networks import match_critic, match_tokens
from gymformer.rl.rollouts import collect
from gymformer.rl.segment import Segment
from tests.helpers import ppo_for
from tests.language import ARCHITECTURES, TOKENS, Chatter, Table, TokenBandit, lm_actor, randomize, with_value_head


def rollout(actor, critic=None, episodes: int = 8) -> list[Segment]:
    envs = make_envs(lambda: Chatter(rewrites=True, masks="odd"), 4)
    return collect(envs, actor, episodes=episodes, generator=torch.Generator().manual_seed(0), critic=critic)


def zero_adapter(actor) -> None:
    with torch.no_grad():
        for name, parameter in actor.named_parameters():
            if "lora_B" in name:
                parameter.zero_()


def table(logits: list[list[float]]):
    """An actor whose outputs are row `a` after token `a`."""
    module = Table(len(logits), len(logits[0]))
    with torch.no_grad():
        module.table.weight.copy_(torch.tensor(logits))
    return match_tokens(module, len(logits[0]))


# --- zero at the first step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.6, "top_k": 5}], ids=["plain", "temperature and top-k"])
@pytest.mark.parametrize("kind", ["copy", "adapter off", "second adapter"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_at_the_first_step_the_divergence_of_every_token_is_zero(architecture, kind, sampling):
    """To 1e-5, with masks, replies and rewritten histories, although one is computed through a cache and one is not."""
    actor = lm_actor(architecture, lora=None if kind == "copy" else 2, **sampling)
    if kind == "adapter off":
        zero_adapter(actor)
    penalty = KLPenalty(actor.reference(refreshable=kind == "second adapter"), 1.0)
    segments = rollout(actor)
    statistics = penalty(segments)
    assert max(np.abs(segment.penalties).max() for segment in segments) < 1e-5
    assert abs(statistics["kl_to_reference"]) < 1e-6 and abs(statistics["kl_to_reference_k3"]) < 1e-6


def test_where_nothing_is_paid_the_first_update_does_not_learn_from_rounding():
    """Advantages are normalised: differences of 1e-8 between two passes of one policy would become a step of full size."""
    actor, critic = with_value_head(lm_actor("gpt2"))
    with torch.no_grad():
        critic.head.weight.zero_()
        critic.head.bias.zero_()
    segments = rollout(actor, critic)
    for segment in segments:
        segment.rewards = np.zeros(len(segment))
    KLPenalty(actor.reference(), 0.1)(segments)
    before = [parameter.detach().clone() for parameter in actor.parameters()]
    ppo_for(actor, critic, lr_actor=1e-2).update(segments)
    assert all(torch.equal(now, then) for now, then in zip(actor.parameters(), before, strict=True))


def test_what_a_refreshed_reference_had_become_is_not_given_to_one_that_stays():
    with pytest.raises(ValueError, match="refreshable=True"):
        KLPenalty(table([[0.0, 1.0]]), 0.1).load_tensors({"weight": torch.zeros(1)})


@pytest.mark.parametrize("kind", ["copy", "adapter off", "second adapter"])
def test_after_learning_it_is_not_and_refreshed_it_is_again(kind):
    actor, critic = with_value_head(lm_actor(lora=None if kind == "copy" else 2))
    if kind == "adapter off":
        zero_adapter(actor)
    reference = actor.reference(refreshable=kind == "second adapter")
    penalty, ppo = KLPenalty(reference, 0.1), ppo_for(actor, critic, lr_actor=1e-2)
    for _ in range(2):
        segments = rollout(actor, critic)
        penalty(segments)
        ppo.update(segments)
    moved = penalty(rollout(actor))
    assert moved["kl_to_reference_k3"] > 1e-3
    if kind != "adapter off":
        reference.refresh()
        assert abs(penalty(rollout(actor))["kl_to_reference_k3"]) < 1e-6


# --- the formulas -----------------------------------------------------------------------------------------------------


def test_the_penalty_by_hand():
    """π_old = (½, ¼, ¼), π_ref = (¼, ½, ¼), β = 2, actions 0, 1, 2: -2 log 2, 2 log 2, 0."""
    reference = table([[0.0, math.log(2), 0.0]] * 3)
    log_probs = np.log(np.array([0.5, 0.25, 0.25], np.float32))
    segment = Segment([np.array([0, 0, 1, 2])], np.array([0, 1, 2]), log_probs, np.array([1.0, 2.0, 3.0]), True,
                      row=np.zeros(4, np.int64), col=np.arange(4))  # fmt: skip
    statistics = KLPenalty(reference, 2.0)([segment])
    assert segment.penalties.tolist() == pytest.approx([-2 * math.log(2), 2 * math.log(2), 0.0], abs=1e-6)
    assert segment.rewards.tolist() == [1.0, 2.0, 3.0], "the environment's rewards are never overwritten"
    assert segment.learning_rewards.tolist() == pytest.approx([1 - 2 * math.log(2), 2 + 2 * math.log(2), 3.0])
    assert statistics["kl_to_reference"] == pytest.approx(0.0, abs=1e-6)  # (log 2 - log 2 + 0) / 3
    assert statistics["kl_to_reference_k3"] == pytest.approx(0.5 / 3, abs=1e-6)  # ½ - 1 + log 2, 2 - 1 - log 2, 0
    assert statistics["kl_coefficient"] == 2.0


def test_penalties_add_up_and_leave_what_the_environment_paid(generator):
    actor = lm_actor()
    segments = rollout(actor)
    paid, returns = [s.rewards.copy() for s in segments], [s.episode_return for s in segments]
    other = lm_actor(model={"seed": 5})
    for coefficient in (0.5, 0.25):
        KLPenalty(other, coefficient)(segments)
    once = rollout(actor)
    KLPenalty(other, 0.75)(once)
    for segment, single, rewards in zip(segments, once, paid, strict=True):
        np.testing.assert_allclose(segment.penalties, single.penalties, rtol=1e-5)
        np.testing.assert_array_equal(segment.rewards, rewards)
    assert [s.episode_return for s in segments] == returns


def test_k3_is_never_negative_and_both_estimates_are_of_the_divergence(generator):
    """3e5 samples of a 5-action policy; k1 and k3 within 5 standard errors of Σ π log(π/π_ref)."""
    policy, reference = (torch.log_softmax(torch.randn(5, generator=generator), 0) for _ in range(2))
    x = (policy - reference)[torch.multinomial(policy.exp(), 300_000, replacement=True, generator=generator)].double()
    exact = (policy.exp() * (policy - reference)).sum().item()
    for estimate in (x, kl_k3(x)):
        assert estimate.mean().item() == pytest.approx(exact, abs=5 * estimate.std().item() / len(x) ** 0.5)
    assert (kl_k3(x) >= 0).all() and (x < 0).any()
    assert kl_k3(torch.tensor([0.0, math.log(2), -math.log(2)])).tolist() == pytest.approx(
        [0.0, 0.5 - 1 + math.log(2), 2 - 1 - math.log(2)]
    )


def test_the_expected_gradient_is_that_of_reward_minus_beta_times_the_divergence():
    """Three tokens, π = (½, 3/10, 1/5): ten episodes in these proportions make PPO's first gradient exactly the expected one,
    which finite differences of J = Σ π r - β Σ π log(π/π_ref) confirm. A k1 that is differentiated, or a wrong sign, does not."""
    pays, beta = torch.tensor([1.0, 0.0, 0.3], dtype=torch.float64), 0.7
    start = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    log_reference = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64).log()

    def objective(logits: torch.Tensor) -> float:
        log_pi = torch.log_softmax(logits, 0)
        return float((log_pi.exp() * (pays - beta * (log_pi - log_reference))).sum())

    step = 1e-5 * torch.eye(3, dtype=torch.float64)
    expected = [(objective(start + e) - objective(start - e)) / 2e-5 for e in step]

    actor, reference = table([start.tolist()] * 3), table([log_reference.tolist()] * 3)
    critic = match_critic(Table(3, 1, scale=0.0), (1,), num_tokens=1)
    ppo = ppo_for(actor, critic, normalize_advantages=False, max_grad_norm=None, minibatch_size=-1, gamma=1.0)
    segments = [
        Segment([np.array([0, action])], np.array([action]), np.array([start[action]], np.float32), np.array([pays[action]]), True,
                row=np.zeros(2, np.int64), col=np.arange(2))
        for action in [0] * 5 + [1] * 3 + [2] * 2
    ]  # fmt: skip
    KLPenalty(reference, beta)(segments)
    given = []
    ppo.optimizers[0].step = lambda: given.append(-ppo.optimizers[0].gradient.clone())
    ppo.step(ppo.prepare(segments), is_first=True)
    assert given[0][:3].tolist() == pytest.approx(expected, abs=1e-5)
    assert max(map(abs, expected)) > 0.05


# --- the coefficient --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kl", "episodes", "expected"),
    [
        (6.0, 100, 0.1),  # on target
        (6.6, 100, 0.1 * (1 + 0.1 * 100 / 10_000)),  # 10% too far
        (60.0, 100, 0.1 * (1 + 0.2 * 100 / 10_000)),  # clipped
        (5.4, 100, 0.1 * (1 - 0.1 * 100 / 10_000)),
        (-3.0, 500, 0.1 * (1 - 0.2 * 500 / 10_000)),  # clipped
        (0.0, 10_000, 0.1 * 0.8),
    ],
)
def test_the_adaptive_coefficient_by_hand(kl, episodes, expected):
    coefficient = AdaptiveCoefficient()
    coefficient.observe(kl, episodes)
    assert coefficient.value == pytest.approx(expected, rel=1e-12)


def test_it_follows_whole_episodes_sums_after_they_were_penalised():
    actor, other = lm_actor(), lm_actor(model={"seed": 5})
    coefficient = AdaptiveCoefficient(value=0.5, target=1e-3, horizon=100.0)
    segments = rollout(actor)
    statistics = KLPenalty(other, coefficient)(segments)
    sums = [-segment.penalties.sum() / 0.5 for segment in segments]
    assert np.mean(sums) > 1e-3 * 1.2
    assert statistics["kl_coefficient"] == 0.5
    assert coefficient.value == pytest.approx(0.5 * (1 + 0.2 * len(segments) / 100))


def test_its_state_is_kept_and_restored():
    first, second = (KLPenalty(lm_actor(), AdaptiveCoefficient()) for _ in range(2))
    first.coefficient.observe(60.0, 1000)
    second.load_state_dict(first.state_dict())
    assert second.beta == first.beta != 0.1
    fixed = KLPenalty(lm_actor(), 0.3)
    fixed.load_state_dict({"beta": 0.7})
    assert fixed.beta == 0.3, "what was asked for in this call counts"


def test_another_reference_than_at_first_is_noticed():
    penalty, actor = KLPenalty(lm_actor(), 0.3), lm_actor()
    penalty.load_state_dict(KLPenalty(actor, 0.3).state_dict())
    with torch.no_grad():
        next(actor.parameters()).mul_(1.001)
    with pytest.raises(ValueError, match=r"not the one that this run began with.*build the actor anew before resuming"):
        penalty.load_state_dict(KLPenalty(actor, 0.3).state_dict())


@pytest.mark.parametrize("values", [{"value": 0.0}, {"target": -1.0}, {"horizon": 0.0}, {"value": math.nan}])
def test_it_must_be_positive(values):
    with pytest.raises(ValueError, match="value, target and horizon must be greater than 0"):
        AdaptiveCoefficient(**values)


# --- where it leads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_bandit_converges_to_the_reference_times_the_exponential_of_its_reward(beta):
    """The policy that maximises E r - β KL(π || π_ref) is π_ref · exp(r/β) / Z. Rewards 0, ½, 1, ⅕; PPO from samples."""
    actor = lm_actor(num_tokens=4, model={"layers": 1, "factor": 1.0, "context": 8})
    randomize(actor.lm.transformer.wte, "weight", 0.15)
    reference = actor.reference()
    prompt = torch.tensor([[0]])
    wanted = torch.log_softmax(reference(prompt)[0], 0).exp() * torch.tensor(TokenBandit().pays).div(beta).exp()
    wanted = wanted / wanted.sum()
    assert (wanted - torch.softmax(reference(prompt)[0], 0)).abs().sum() > 0.2
    penalty, envs, generator = KLPenalty(reference, beta), make_envs(TokenBandit, 128), torch.Generator().manual_seed(0)
    critic = actor.value_head()
    ppo = ppo_for(actor, critic, lr_actor=5e-3, lr_schedule="linear", minibatch_size=-1, normalize_advantages=False)
    for update in range(40):
        ppo.progress = update / 40
        segments = collect(envs, actor, episodes=128, generator=generator, critic=critic)
        penalty(segments)
        ppo.update(segments)
    found = torch.softmax(actor(prompt)[0], 0)
    assert (found - wanted).abs().max() < 0.01, (found, wanted)


def test_modules_of_ones_own_are_references_too(generator):
    actor, other = match_tokens(Table(TOKENS, TOKENS), TOKENS), match_tokens(Table(TOKENS, TOKENS), TOKENS)
    segments = collect(make_envs(Chatter, 2), actor, episodes=3, generator=generator)
    KLPenalty(other, 1.0)(segments)
    assert max(np.abs(segment.penalties).max() for segment in segments) < 1e-6
    assert isinstance(other, nn.Module)
