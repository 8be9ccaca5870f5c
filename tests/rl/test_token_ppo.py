"""PPO on rows of tokens: the same page, and nothing in it depends on padding, parts or precision. It learns what is known."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gymformer.rl.batch import States, minibatches
from gymformer.rl.envs import make_envs
from gymformer.rl.errors import RatioError
from gymformer.rl.networks import match_critic, match_tokens
from gymformer.rl.optim import PackedAdam
from gymformer.rl.policy import Categorical
from gymformer.rl.ppo import PPO, PPOBatch, PPOConfig
from gymformer.rl.rollouts import collect
from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork
from gymformer.testing import tiny_lm
from tests.helpers import parameters_of, ppo_for
from tests.language import (
    ARCHITECTURES,
    TOKENS,
    Chatter,
    Doors,
    Increasing,
    Table,
    TokenBandit,
    lm_actor,
    randomize,
    sharp_lm,
    with_value_head,
)

KIND = {"rewrites": True, "masks": "odd"}


def learner(architecture: str = "gpt2", shared: bool = True, actor_settings: dict | None = None, **config) -> tuple[PPO, list]:
    """PPO on a language model with non-zero values, and a rollout with replies, masks and rewritten histories."""
    actor, critic = with_value_head(lm_actor(architecture, **actor_settings or {}))
    if not shared:
        critic = LMCriticNetwork(sharp_lm(architecture))
        randomize(critic.head, "")
    envs = make_envs(lambda: Chatter(**KIND), 4)
    ppo = ppo_for(actor, critic, **{"max_grad_norm": None, "entropy_coef": 0.01, "value_clip": 0.3} | config)
    return ppo, collect(envs, actor, episodes=8, generator=torch.Generator().manual_seed(1), critic=critic)


def step_of(ppo: PPO, batch: PPOBatch) -> tuple[dict[str, float], Tensor]:
    """The statistics of one step and the gradient of all parameters, which are left as they are."""
    given = []
    for optimizer in ppo.optimizers:
        optimizer.step = lambda one=optimizer: given.append(one.gradient.clone())
    statistics = ppo.step(batch, is_first=True)
    for optimizer in ppo.optimizers:
        del optimizer.step
    return statistics, torch.cat(given)


def assert_same_step(one, other, tolerance: float = 1e-5) -> None:
    assert one[0] == pytest.approx(other[0], rel=tolerance, abs=tolerance)
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=tolerance * other[1].abs().max().item())


# --- what must not matter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["value head", "critic of its own"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_amount_of_padding_changes_no_loss_no_metric_and_no_gradient(architecture, shared):
    ppo, segments = learner(architecture, shared)
    batch = ppo.prepare(segments)
    padded = dataclasses.replace(batch.states, inputs=nn.functional.pad(batch.states.inputs, (0, 17), value=5))
    assert_same_step(step_of(ppo, batch), step_of(ppo, dataclasses.replace(batch, states=padded)))


def test_a_long_row_beside_them_changes_nothing_for_the_others():
    """The first episodes alone, and their part of a batch in which another row is three times as long."""
    ppo, segments = learner(normalize_advantages=False)
    longest = make_envs(lambda: Chatter(longest=30), 1)
    longest.reset(3)
    long = collect(longest, ppo.actor, episodes=2, generator=torch.Generator().manual_seed(2), critic=ppo.critic)
    alone, together = ppo.prepare(segments), ppo.prepare(segments + long)
    assert together.states.inputs.shape[1] > 1.5 * alone.states.inputs.shape[1]
    count = len(alone)
    for name in ("actions", "log_probs", "advantages", "returns", "values"):
        torch.testing.assert_close(getattr(alone, name), getattr(together, name)[:count])
    beside = States(
        together.states.inputs, together.states.row[:count], together.states.col[:count]
    )  # the long rows stay in it
    assert_same_step(step_of(ppo, alone), step_of(ppo, dataclasses.replace(alone, states=beside)))


@pytest.mark.parametrize("shared", [True, False], ids=["value head", "critic of its own"])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_parts_of_a_minibatch_add_up_to_the_whole(size, shared):
    ppo, segments = learner(shared=shared)
    batch = ppo.prepare(segments)
    whole = step_of(ppo, batch)
    ppo.config = dataclasses.replace(ppo.config, micro_batch_size=size)
    torch.testing.assert_close(ppo.prepare(segments).values, batch.values)
    assert_same_step(step_of(ppo, batch), whole, tolerance=2e-6)


@pytest.mark.parametrize("lora", [None, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_checkpointing_gives_the_same_gradient_and_really_recomputes(architecture, lora):
    ppo, segments = learner(architecture, actor_settings={"lora": lora})
    checkpointed, same = learner(architecture, actor_settings={"lora": lora, "gradient_checkpointing": True})
    for one, other in zip(segments, same, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)
    reads = {ppo: 0, checkpointed: 0}
    for one in reads:
        layers = one.actor._trunk.layers

        def count(*_, one=one):
            reads[one] += 1

        (layers.h if architecture == "gpt2" else layers.layers)[0].mlp.register_forward_pre_hook(count)
    assert_same_step(step_of(ppo, ppo.prepare(segments)), step_of(checkpointed, checkpointed.prepare(segments)))
    assert list(reads.values()) == [1, 2]
    actor = checkpointed.actor  # and acting again, through the cache, is as before
    again = collect(make_envs(lambda: Chatter(**KIND), 4), actor, episodes=8, generator=torch.Generator().manual_seed(1))
    for one, other in zip(segments, again, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)


def test_a_row_is_never_split_and_every_decision_comes_once_an_epoch(generator):
    ppo, segments = learner()
    batch = ppo.prepare(segments)
    batch = dataclasses.replace(batch, returns=torch.arange(len(batch), dtype=torch.float32))  # to tell them by
    parts = list(minibatches(batch, 10, generator))
    assert len(parts) > 2
    assert sorted(torch.cat([part.returns for part in parts]).tolist()) == list(range(len(batch)))
    rows = [{tuple(part.states.inputs[row].tolist()) for row in part.states.row.unique()} for part in parts]
    assert all(part.states.inputs.shape[1] == part.states.col.max() + 1 for part in parts), "each is cut to its longest"
    assert sum(map(len, rows)) == len(batch.states.inputs)


# --- warm-up, early stop, shared trunk --------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["value head", "critic of its own"])
def test_in_the_critics_warm_up_only_values_are_learned(shared):
    ppo, segments = learner(shared=shared, critic_warmup=1, lr_actor=1e-2, lr_critic=1e-2)
    before = parameters_of(ppo)
    statistics = ppo.update(segments)
    moved = {name for name, value in parameters_of(ppo).items() if not value.equal(before[name])}
    assert moved == {name for name in before if name.startswith("critic." if not shared else "critic.head")}
    assert statistics["approx_kl"] == pytest.approx(0, abs=1e-6) and statistics["value_loss"] > 0
    ppo.update(segments)  # the second is a whole one
    moved = {name for name, value in parameters_of(ppo).items() if not value.equal(before[name])}
    assert moved == set(before)


def test_target_kl_stops_the_epochs():
    ppo, segments = learner(lr_actor=1e-2, update_epochs=6, minibatch_size=-1, target_kl=1e-3)
    assert ppo.update(segments)["gradient_steps"] == 2  # the first step is on the policy itself
    patient, segments = learner(lr_actor=1e-2, update_epochs=6, minibatch_size=-1)
    assert patient.update(segments)["gradient_steps"] == 6


def test_a_value_head_is_clipped_together_with_its_trunk():
    ppo, segments = learner(max_grad_norm=1e-3)
    given = []
    (optimizer,) = ppo.optimizers
    optimizer.step = lambda one=optimizer: given.append(one.gradient.norm().item())
    statistics = ppo.step(ppo.prepare(segments))
    assert given == pytest.approx([1e-3], rel=1e-4)
    assert statistics["grad_norm_actor"] == statistics["grad_norm_critic"] > 1e-3


def test_the_trunk_is_read_once_for_actions_and_values():
    ppo, segments = learner(minibatch_size=-1, update_epochs=1)
    reads = []
    ppo.actor._trunk.layers.register_forward_hook(lambda *_: reads.append(1))
    ppo.update(segments)
    assert len(reads) == 1, "neither the values before the update nor those in it need a pass of their own"


def test_defaults_are_those_of_text():
    ppo, _ = learner()
    assert (ppo.config.gamma, ppo.config.minibatch_size) == (1.0, 1024)
    assert None not in (ppo.config.lr_actor, ppo.config.lr_critic, ppo.config.update_epochs)


def test_a_changed_actor_is_noticed():
    ppo, segments = learner()
    with torch.no_grad():
        ppo.actor.lm.transformer.wpe.weight.mul_(0.5)
    with pytest.raises(RatioError, match=r"must be what the rollout stored.*the actor changed in between"):
        ppo.update(segments)


# --- half precision ---------------------------------------------------------------------------------------------------


def test_tiny_steps_move_a_bfloat16_weight():
    """Steps of 1e-4 on a weight of 1, whose neighbours are 2⁻⁸ away: each alone is rounded off, 200 of them are five neighbours."""
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    adam = PackedAdam([weight], lr=1e-4)
    adam.gradient.fill_(1.0)
    for _ in range(200):
        adam.step()
    assert weight.tolist() == pytest.approx([0.98] * 3, abs=2**-8)
    rounded = torch.ones(3, dtype=torch.bfloat16)
    assert (rounded - 1e-4).equal(rounded), "the same steps taken in bfloat16"


def test_float64_stays_float64():
    weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
    adam = PackedAdam([weight], lr=1e-12)
    adam.gradient.fill_(1.0)
    adam.step()
    assert weight.dtype == torch.float64 and 0 < 1 - weight[0].item() < 2e-12


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_bfloat16_model_learns_from_the_log_probs_that_its_update_computes(architecture):
    """A cached pass and a whole one differ by roundings, which would be taken for a change of the policy."""
    ppo, segments = learner(architecture, actor_settings={"dtype": torch.bfloat16, "model": {"factor": 2.0}}, lr_actor=1e-5)
    batch = ppo.prepare(segments)
    stored = torch.from_numpy(np.concatenate([segment.log_probs for segment in segments]))
    assert 0 < (batch.log_probs - stored).abs().max() < 0.1
    assert ppo.update(segments)["gradient_steps"] == 2
    assert all(value.dtype == torch.bfloat16 for value in parameters_of(ppo).values())


def test_a_bfloat16_model_that_changed_is_noticed():
    ppo, segments = learner(actor_settings={"dtype": torch.bfloat16})
    for segment in segments:
        segment.log_probs = segment.log_probs - 0.6
    with pytest.raises(RatioError, match=r"tolerance 0\.5"):
        ppo.update(segments)


# --- log-probability and entropy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_entropy_and_their_gradients_are_those_of_the_plain_formulas(temperature, masked):
    """In float64: log p_a and -Σ p log p by autograd, and both gradients by finite differences."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    actions = torch.tensor([0, 1, 2, 3, 4, 0])
    legal = (torch.rand(6, 5, generator=generator) < 0.5).scatter(1, actions[:, None], True) if masked else None
    policy = Categorical(5, temperature=temperature)
    log_probs, entropy = policy.log_probs_and_entropy(logits, actions, legal)
    scaled = logits / temperature if legal is None else (logits / temperature).masked_fill(~legal, -1e30)
    plain = torch.log_softmax(scaled, -1)
    torch.testing.assert_close(log_probs, plain.gather(1, actions[:, None])[:, 0])
    torch.testing.assert_close(entropy, -(plain.exp() * plain).sum(-1))
    weights = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((w * weights).sum(), logits, retain_graph=True)[0] for w in (
        torch.stack([log_probs, entropy]), torch.stack([plain.gather(1, actions[:, None])[:, 0], -(plain.exp() * plain).sum(-1)])))  # fmt: skip
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(lambda z: policy.log_probs_and_entropy(z, actions, legal), [logits])


def test_one_of_the_two_gradients_alone():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    actions = torch.tensor([0, 1, 2])
    for index in (0, 1):
        assert torch.autograd.gradcheck(lambda z: Categorical(4).log_probs_and_entropy(z, actions)[index], [logits])  # noqa: B023


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"top_k": 2}, [True, False, True, False]),
        ({"top_k": 1}, [True, False, False, False]),
        ({"top_k": 9}, [True] * 4),
        ({"top_p": 0.3}, [True, False, False, False]),  # the likeliest is always kept
        ({"top_p": 0.6}, [True, False, True, False]),
        ({"top_p": 0.9}, [True, True, True, False]),  # before the last lie 0.947
        ({"top_p": 1.0}, [True] * 4),
        ({"top_k": 3, "top_p": 0.86}, [True, False, True, False]),  # of the three left: 0.556, 0.333, 0.111
        ({"temperature": 0.5, "top_p": 0.65}, [True, False, False, False]),  # 0.25 : 0.09 : 0.01 : 0.0025 make 0.71
    ],
)
def test_narrowing_by_hand(settings, expected):
    """Probabilities in the ratio 0.5, 0.1, 0.3, 0.05: 0.526, 0.105, 0.316, 0.053. A fifth is not legal."""
    logits = torch.tensor([[0.5, 0.1, 0.3, 0.05, 0.05]]).log()
    legal = torch.tensor([[True, True, True, True, False]])
    assert Categorical(5, **settings).narrowed(logits, legal).tolist() == [[*expected, False]]


def test_ties_at_the_edge_of_top_k_are_kept_and_without_narrowing_the_mask_is_left_alone():
    assert Categorical(4, top_k=2).narrowed(torch.tensor([[1.0, 0.0, 0.0, -1.0]]), None).tolist() == [[True, True, True, False]]
    assert Categorical(4).narrowed(torch.zeros(1, 4), None) is None


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"temperature": 0.0}, r"temperature=0.0; it must be greater than 0 \(greedy play is greedy=True\)"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"top_k": 0}, "top_k=0; it must be a whole number of at least 1"),
        ({"top_k": 2.5}, "top_k=2.5; it must be a whole number"),
        ({"top_p": 0.0}, r"top_p=0.0; it must lie in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p=1.5; it must lie in \(0, 1\]"),
    ],
)
def test_sampling_settings_are_checked(settings, match):
    with pytest.raises(ValueError, match=match):
        Categorical(4, **settings)


# --- learning what is known -------------------------------------------------------------------------------------------


def trained(
    env, num_tokens: int, updates: int, episodes: int, seed: int = 0, model: dict | None = None, **config
) -> tuple[LMActorNetwork, list[float]]:
    """A small GPT-2 after `updates` updates of `episodes` episodes, and the mean return of each."""
    actor = LMActorNetwork(tiny_lm(num_tokens, seed=seed, **{"width": 32, "layers": 2, "context": 16} | (model or {})))
    match_tokens(actor, num_tokens)
    critic, envs, generator = actor.value_head(), make_envs(env, episodes), torch.Generator().manual_seed(seed)
    envs.reset(seed)
    ppo = ppo_for(
        actor, critic, seed, **{"lr_actor": 5e-3, "lr_schedule": "linear", "minibatch_size": -1, "update_epochs": 4} | config
    )
    returns = []
    for update in range(updates):
        ppo.progress = update / updates
        segments = collect(envs, actor, episodes=episodes, generator=generator, critic=critic)
        returns.append(float(np.mean([segment.episode_return for segment in segments])))
        ppo.update(segments)
    return actor, returns


@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_of_four_tokens_is_found(seed):
    actor, _ = trained(TokenBandit, 4, updates=15, episodes=64, seed=seed, model={"layers": 1, "width": 16})
    assert torch.softmax(actor(torch.tensor([[0]])), -1)[0, 2] > 0.95


def test_increasing_digits():
    """Four digits, each greater than the one before: 1 at best, 0.55 by chance."""
    _, returns = trained(Increasing, 10, updates=30, episodes=64, entropy_coef=0.003)
    assert returns[0] < 0.65
    assert np.mean(returns[-3:]) > 0.9


def test_a_small_decision_process_is_solved_to_95_percent():
    """0.2 at once, or 1 for asking and then recalling the prompt over the environment's reply."""
    _, returns = trained(Doors, 5, updates=45, episodes=64, lr_actor=2e-3, minibatch_size=64, entropy_coef=0.003,
                         normalize_advantages=False)  # fmt: skip
    assert returns[0] < 0.3
    assert np.mean(returns[-3:]) > 0.95


class Enders(Chatter):
    """Pays only for having stopped, with token 0, before the eighth token."""

    def __init__(self):
        super().__init__(replies=False)

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.tokens, self.count = (*self.tokens, action), self.count + 1
        self.seen.append(self.tokens)
        return self.tokens, float(action == 0), action == 0, action != 0 and self.count == 8, {}


def test_a_policy_that_is_paid_for_it_learns_to_stop():
    """The end token is a decision like any other: it stays in the loss."""
    _, returns = trained(Enders, TOKENS, updates=16, episodes=48, model={"layers": 1, "width": 16}, lr_actor=1e-2,
                         normalize_advantages=False)  # fmt: skip
    assert np.mean(returns[-3:]) > 0.95


def test_a_module_of_ones_own_that_reads_tokens_learns(generator):
    actor = match_tokens(Table(4, 4, scale=0.1), 4)
    ppo = ppo_for(actor, match_critic(Table(4, 1, scale=0.0), (1,), num_tokens=1), lr_actor=1e-1, minibatch_size=-1)
    for _ in range(20):
        ppo.update(collect(make_envs(TokenBandit, 32), actor, episodes=32, generator=generator))
    assert torch.softmax(actor(torch.tensor([[0]])), -1)[0, 2] > 0.9


def test_config_of_parts_and_warm_up_is_checked():
    with pytest.raises(ValueError, match="micro_batch_size=0; it must be at least 1, or None"):
        PPOConfig(micro_batch_size=0)
    with pytest.raises(ValueError, match="critic_warmup=-1; it must not be negative"):
        PPOConfig(critic_warmup=-1)
