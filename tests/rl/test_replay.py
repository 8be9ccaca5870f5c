"""Segments in files are the ones that were played; what an older policy played is weighted or refused, never silently used."""

import copy
import json
import math
import warnings
from dataclasses import fields, replace

import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from gymformer import SaveRollouts, load_segments, rescored, reweighted, save_segments
from gymformer.rl.a2c import A2C, A2CConfig
from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.envs import make_envs
from gymformer.rl.errors import NonFiniteError, RatioError
from gymformer.rl.grpo import GRPO, GRPOConfig
from gymformer.rl.networks import match_critic
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.reinforce import Reinforce, ReinforceConfig, ReinforceStable, ReinforceStableConfig
from gymformer.rl.rloo import RLOO, RLOOConfig
from gymformer.rl.rollouts import collect
from gymformer.rl.segment import Segment
from gymformer.rl.segment_files import ARRAYS, KNOWN
from gymformer.trainer.trainer import train_agent
from tests.helpers import a_segment, ppo_for, uniform_actor
from tests.language import Chatter, lm_actor, randomize, with_value_head
from tests.rl.test_algorithms import gradient_of, grouped
from tests.toy_envs import Anything, Masked

SUFFIXES = (".jsonl", ".safetensors")


def control(env, steps: int | None = 40, seed: int = 0):
    """An actor, a critic, and segments of both kinds that they have played: ended ones and pieces."""
    envs = make_envs(env, num_envs=3)
    torch.manual_seed(seed)
    actor, critic = MLPActorNetwork.for_spaces(envs), MLPCriticNetwork.for_spaces(envs)
    segments = collect(envs, actor, steps=steps, generator=torch.Generator().manual_seed(seed))
    envs.close()
    return actor, critic, segments


def tokens(episodes: int = 6, **kind):
    actor, head = with_value_head(lm_actor())
    envs = make_envs(lambda: Chatter(**kind), 3)
    envs.group_size = 3
    segments = collect(envs, actor, episodes=episodes, generator=torch.Generator().manual_seed(1), critic=head)
    for segment in segments:
        segment.info = {}  # which is looked at by itself
    return actor, head, segments


def continuous() -> list[Segment]:
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    return control(lambda: Anything(gym.spaces.Box(-1, 1, (2, 3)), space))[2]


PLAYED = {
    "CartPole": lambda: control("CartPole-v1")[2],
    "masks": lambda: control(Masked)[2],
    "continuous actions": continuous,
    "several components": lambda: control(lambda: Anything(gym.spaces.Box(0, 1, (2,)), gym.spaces.MultiDiscrete([2, 3])))[2],
    "tokens": lambda: tokens()[2],
    "tokens, rewritten and masked": lambda: tokens(rewrites=True, masks="odd")[2],
}


def assert_equal(these: list[Segment], those: list[Segment]) -> None:
    """Every field, in type, shape and to the last bit."""
    assert len(these) == len(those) > 0
    for one, other in zip(these, those, strict=True):
        for name in KNOWN:
            a, b = getattr(one, name), getattr(other, name)
            if name not in ARRAYS or a is None:
                assert a == b and type(a) is type(b), name
            elif isinstance(a, list):
                assert isinstance(b, list) and [(x.dtype, x.tolist()) for x in a] == [(x.dtype, x.tolist()) for x in b]
            else:
                assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name


# --- files ------------------------------------------------------------------------------------------------------------


def test_every_field_of_a_segment_is_kept():
    assert set(KNOWN) | {"replayed"} == {field.name for field in fields(Segment)}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("played", PLAYED)
def test_what_is_loaded_is_what_was_saved(played, suffix, tmp_path):
    segments, path = PLAYED[played](), tmp_path / f"rollout{suffix}"
    assert any(segment.ended for segment in segments)
    for n, segment in enumerate(segments):
        segment.info = {"text": "2+2=4\u2028", "terms": {"length": 0.1 + 0.2}, "n": n}
        segment.reward_scale = 1 / 3
        segment.penalties = np.linspace(0, 1, len(segment))
        segment.weights = np.random.default_rng(n).random(len(segment)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_segments(segments, path)
    assert_equal(segments, load_segments(path))
    save_segments(load_segments(path), again := tmp_path / f"again{suffix}")
    assert path.read_bytes() == again.read_bytes()


def test_the_kinds_that_are_tested_have_what_they_are_named_for():
    assert any(len(segment.rows) > 1 for segment in PLAYED["tokens, rewritten and masked"]())
    assert any(segment.legal is not None and not segment.legal.all() for segment in PLAYED["tokens, rewritten and masked"]())
    assert all(segment.values is not None and segment.group is not None for segment in PLAYED["tokens"]())
    assert PLAYED["continuous actions"]()[0].actions.dtype == np.float32
    assert not all(segment.ended for segment in PLAYED["CartPole"]())


def test_a_line_can_be_read_by_people(tmp_path):
    segment = Segment([np.array([7, 1, 2])], np.array([1, 2]), np.array([-0.5, -0.1], np.float32), np.array([0.0, 1.0]), True,
                      row=np.array([0, 0, 0]), col=np.array([0, 1, 2]), legal=np.array([[0, 1, 1], [1, 0, 1]], bool))  # fmt: skip
    save_segments([segment], tmp_path / "one.jsonl")
    header, line = (tmp_path / "one.jsonl").read_text().splitlines()
    assert json.loads(header) == {"format": "gymformer-segments", "version": 1, "segments": 1}
    assert line == (
        '{"rows": [{"int64": [7, 1, 2]}], "actions": {"int64": [1, 2]}, "log_probs": {"float32": [-0.5, -0.10000000149011612]}, '
        '"rewards": {"float64": [0.0, 1.0]}, "row": {"int64": [0, 0, 0]}, "col": {"int64": [0, 1, 2]}, '
        '"legal": {"bool": ["011", "101"]}, "terminated": true, "reward_scale": 1.0, "info": {}, "options": {}}'
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_an_info_what_json_would_change_is_dropped_aloud(suffix, tmp_path):
    segment = a_segment([1.0])
    segment.info = {
        "mask": np.ones(2),
        "seen": [(1, 2)],
        "nan": math.nan,
        "score": np.float64(0.1),
        3: "x",
        "text": "kept",
        "is_success": np.True_,
        "none": None,
        "of": {"n": np.int64(3)},
    }
    with pytest.warns(UserWarning, match=r"without .* 'mask' \(ndarray\), 'seen' \(list\), 'nan' \(float\), '3' \(str\)"):
        save_segments([segment], tmp_path / f"one{suffix}")
    assert load_segments(tmp_path / f"one{suffix}")[0].info == {
        "score": 0.1,
        "text": "kept",
        "is_success": True,
        "none": None,
        "of": {"n": 3},
    }


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "one.jsonl"
    save_segments([a_segment([1.0])], path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"segment 1 cannot be written as JSON .*safetensors"):
        save_segments([a_segment([1.0]), a_segment([math.nan])], path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    broken = a_segment([math.nan])
    broken.episode_return = math.nan
    save_segments([broken], tmp_path / "one.safetensors")
    (loaded,) = load_segments(tmp_path / "one.safetensors")
    assert np.isnan([*loaded.rewards, loaded.episode_return]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("log_probs"), "it lacks log_probs"),
        (lambda s: s.update(advantages={"float32": [1.0]}), "it has the field 'advantages'"),
        (lambda s: s.update(replayed=False), "it has the field 'replayed'"),
        (lambda s: s.update(log_probs={"float32": [-0.1]}), r"log_probs has shape \(1,\); with 2 actions \(2,\) is expected"),
        (lambda s: s.update(log_probs=None), "an array must be written as"),
        (lambda s: s.update(log_probs={"object": [1, 2]}), "an array must be written as"),
        (lambda s: s.update(actions={"int64": [0.5, 1]}), "int64 numbers are expected"),
        (lambda s: s.update(actions={"int64": ["0", "1"]}), "int64 numbers are expected"),
        (lambda s: s.update(actions={"uint8": [1, 300]}), "out of bounds"),
        (lambda s: s.update(actions={"int64": []}, rewards={"float64": []}), "it has no decisions"),
        (lambda s: s.update(rows={"float32": [[1.0], [2.0, 3.0]]}), "inhomogeneous"),
        (lambda s: s.update(rows={"float32": [[1.0], [2.0]]}), r"rows has shape \(2, 1\)"),
        (lambda s: s.update(rows=[{"int64": [1, 2, 3]}]), "with row and col saying where"),
        (lambda s: s.update(rows=[{"int64": [1]}], row={"int64": [0, 0, 1]}, col={"int64": [0, 0, 0]}), "row less than 1"),
        (lambda s: s.update(rows=[{"int64": [1]}], row={"int64": [0, 0, 0]}, col={"int64": [0, 0, 1]}), "ends at token 1"),
        (lambda s: s.update(legal={"bool": ["01"]}), r"legal is bool of shape \(1, 2\)"),
        (lambda s: s.update(legal={"bool": ["01", "02"]}), "0 and 1 alone"),
        (lambda s: s.update(terminated=1), "terminated is 1; bool is expected"),
        (lambda s: s.update(group=True), "group is True; int is expected"),
        (lambda s: s.update(info=None), "info is None; dict is expected"),
    ],
)
def test_a_line_that_is_no_segment_is_refused_by_its_number(change, message, tmp_path):
    path = tmp_path / "rollout.jsonl"
    save_segments([a_segment([1.0, 2.0])] * 2, path)
    *lines, last = path.read_text().splitlines()
    segment = json.loads(last)
    change(segment)
    path.write_text("\n".join([*lines, json.dumps(segment)]))
    with pytest.raises(ValueError, match=rf"rollout.jsonl, line 3: .*{message}"):
        load_segments(path)


def test_files_that_are_none_of_ours_are_refused_by_name(tmp_path):
    path = tmp_path / "rollout.jsonl"
    save_segments([a_segment([1.0])] * 3, path)
    lines = path.read_text().splitlines(True)
    for content, message in [
        ("".join(lines[:-1]), "line 1: the header counts 3 segments, but 2 lines follow"),
        ("".join(lines)[:-9], "line 4: "),
        ('{"prompt": "2+2"}\n', "line 1: format None, version None; this gymformer reads 'gymformer-segments', version 1"),
        ("".join(lines).replace('"version": 1', '"version": 2'), "version 2; this gymformer reads"),
        ("".join([lines[0], "[]\n", *lines[2:]]), "line 2: a list stands where a segment is expected"),
        ("", "line 1: "),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError, match=f"rollout.jsonl, {message}" if message[0] == "l" else message):
            load_segments(path)
    with pytest.raises(ValueError, match=r'suffix "\.pkl"; segments are kept in "\.jsonl" or "\.safetensors"'):
        save_segments([a_segment([1.0])], tmp_path / "rollout.pkl")
    with pytest.raises(FileNotFoundError):
        load_segments(tmp_path / "none.jsonl")


def test_a_damaged_file_of_tensors_is_refused(tmp_path):
    path = tmp_path / "rollout.safetensors"
    save_segments([a_segment([1.0])] * 2, path)
    content, tensors = path.read_bytes(), safetensors.numpy.load(path.read_bytes())
    path.write_bytes(content[:-3])
    with pytest.raises(ValueError, match=r"rollout.safetensors cannot be read as safetensors"):
        load_segments(path)
    path.write_bytes(safetensors.numpy.save(tensors))
    with pytest.raises(ValueError, match=r"rollout.safetensors: format None"):
        load_segments(path)
    header = {"header": json.dumps({"format": "gymformer-segments", "version": 1, "segments": [{"terminated": True}, {}]})}
    path.write_bytes(safetensors.numpy.save(tensors, header))
    with pytest.raises(ValueError, match=r"rollout.safetensors, segment 1: it lacks terminated"):
        load_segments(path)
    path.write_bytes(safetensors.numpy.save(tensors | {"2/rewards": np.ones(1)}, header))
    with pytest.raises(ValueError, match=r"'2/rewards' belongs to none of its 2 segments"):
        load_segments(path)


# --- training again ---------------------------------------------------------------------------------------------------


def weights_of(learner) -> torch.Tensor:
    return torch.cat([optimizer.vector for optimizer in learner.optimizers])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_training_again_on_what_was_saved_equals_training_on_it_when_it_was_played(suffix, tmp_path):
    actor, critic, segments = control("CartPole-v1")
    save_segments(segments, tmp_path / f"rollout{suffix}")
    learned = []
    for given in (segments, *(load_segments(tmp_path / f"rollout{suffix}") for _ in range(2))):
        ppo = ppo_for(copy.deepcopy(actor), copy.deepcopy(critic), minibatch_size=16, update_epochs=3)
        ppo.update(given)
        learned.append(weights_of(ppo))
    assert torch.equal(learned[0], learned[1]) and torch.equal(learned[1], learned[2])
    assert not torch.equal(learned[0], weights_of(ppo_for(actor, critic)))


def test_also_of_tokens_with_a_value_head_and_in_groups(tmp_path):
    actor, head, segments = tokens(rewrites=True, masks="info")
    for segment, reward in zip(segments, np.random.default_rng(0).normal(size=len(segments)), strict=True):
        segment.rewards[-1] = reward
    save_segments(segments, tmp_path / "rollout.jsonl")
    initial = copy.deepcopy((actor.state_dict(), head.state_dict()))
    for make in (lambda: ppo_for(actor, head), lambda: GRPO(actor, generator=torch.Generator().manual_seed(0))):
        learned = []
        for given in (segments, load_segments(tmp_path / "rollout.jsonl")):
            actor.load_state_dict(initial[0])
            head.load_state_dict(initial[1])
            learner = make()
            learner.update(given)
            learned.append(weights_of(learner).clone())
        assert torch.equal(*learned)


# --- paid anew --------------------------------------------------------------------------------------------------------


def test_one_number_pays_the_end_and_a_list_every_decision():
    whole, piece = a_segment([1.0, 2.0, 3.0]), a_segment([1.0, 1.0], terminated=False)
    whole.episode_return, whole.episode_length = 6.0, 3
    (paid,) = rescored([whole], lambda segment: -len(segment))
    assert (paid.rewards.tolist(), paid.episode_return) == ([1.0, 2.0, -3.0], 0.0)
    paid, other = rescored([whole, piece], lambda segment: [0.5] * len(segment))
    assert (paid.rewards.tolist(), paid.episode_return) == ([0.5, 0.5, 0.5], 1.5)
    assert (other.rewards.tolist(), other.episode_return) == ([0.5, 0.5], None)
    assert (whole.rewards.tolist(), whole.episode_return) == ([1.0, 2.0, 3.0], 6.0)
    last = replace(whole, episode_return=16.0, episode_length=9)  # its first 6 decisions, in another piece, were paid 10
    assert rescored([last], lambda segment: 1.0)[0].episode_return == 14.0


def test_a_score_that_does_not_fit_is_refused():
    piece, whole = a_segment([1.0, 1.0], terminated=False), a_segment([1.0, 2.0])
    whole.episode_return, whole.episode_length = 3.0, 2
    with pytest.raises(ValueError, match=r"segment 1 is one number, for the episode's end, but .* cut .* return 2 rewards"):
        rescored([whole, piece], lambda segment: 1.0)
    with pytest.raises(ValueError, match=r"segment 0 has shape \(3,\); one number, or 2 rewards"):
        rescored([whole], lambda segment: [1, 2, 3])
    with pytest.raises(NonFiniteError, match="segment 0 is not finite"):
        rescored([whole], lambda segment: math.nan)


# --- older policies ---------------------------------------------------------------------------------------------------


def bandit(logits: list[float]) -> nn.Module:
    actor = uniform_actor(gym.spaces.Discrete(4))
    with torch.no_grad():
        actor.bias.copy_(torch.tensor(logits))
    return actor


PAYS = (0.0, 0.5, 1.0, 0.2)
# π_b = 1/2, 1/4, 1/8, 1/8: every eight pulls of it are, in expectation, these.
PULLS = [0, 0, 0, 0, 1, 1, 2, 3]
BEHAVIOUR = [0.5, 0.25, 0.125, 0.125]


def pulls() -> list[Segment]:
    """Episodes of one decision in which each arm is as frequent as the older policy pulls it."""
    segments = []
    for arm in PULLS:
        segment = a_segment([PAYS[arm]])
        segment.actions, segment.log_probs = np.array([arm]), np.log([BEHAVIOUR[arm]]).astype(np.float32)
        segment.episode_return, segment.episode_length = PAYS[arm], 1
        segments.append(segment)
    return segments


BASELINES = {"reinforce": 0.0, "reinforce, mean": 0.275, "a2c": 0.0, "ppo": 0.0}


@pytest.mark.parametrize("name", BASELINES)
def test_the_weighted_gradient_of_old_data_is_in_expectation_that_of_the_policy_that_learns(name):
    """By enumeration. The policy has logits log 1, 2, 3, 4, so π = .1, .2, .3, .4, and J = Σ π r = .1 + .3 + .08 = .48. Its gradient
    is ∂J/∂θ_k = π_k (r_k - J), with or without a baseline: -.048, .004, .156, -.112. The older policy's own, .0625, ... is another."""
    actor = bandit([math.log(n) for n in (1, 2, 3, 4)])
    critic = match_critic(nn.Sequential(nn.Linear(2, 1)), (2,))
    nn.init.zeros_(critic.module[0].weight), nn.init.zeros_(critic.module[0].bias)
    learner = {
        "reinforce": lambda: Reinforce(actor, config=ReinforceConfig(baseline="none", max_grad_norm=None)),
        "reinforce, mean": lambda: Reinforce(actor, config=ReinforceConfig(baseline="mean", max_grad_norm=None)),
        "a2c": lambda: A2C(actor, critic, A2CConfig(max_grad_norm=None)),
        "ppo": lambda: PPO(actor, critic, PPOConfig(max_grad_norm=None, normalize_advantages=False, minibatch_size=-1,
                                                    update_epochs=1)),
    }[name]()  # fmt: skip
    segments, stats = reweighted(pulls(), actor, max_ratio=100)
    # w = π/π_b = .2, .8, 2.4, 3.2 with mean 1 over the eight pulls, and Σw² = .16 + 1.28 + 5.76 + 10.24 = 17.44.
    assert [float(s.weights[0]) for s in segments] == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 2.4, 3.2])
    assert stats == pytest.approx({"importance_mean": 1.0, "importance_clipped": 0.0, "effective_sample_size": 8 / 17.44})
    gradient = -gradient_of(learner, segments)[:4]  # of the loss, which is descended
    assert gradient.tolist() == pytest.approx([-0.048, 0.004, 0.156, -0.112], abs=1e-6)
    with pytest.raises(RatioError, match=r"older policy's, loaded .*reweighted\(segments, actor\)"):
        learner.update(pulls())


def test_weights_are_cut_at_the_largest_ratio():
    segments, stats = reweighted(pulls(), bandit([math.log(n) for n in (1, 2, 3, 4)]), max_ratio=0.9)
    assert [float(s.weights[0]) for s in segments] == pytest.approx([0.2] * 4 + [0.8] * 2 + [0.9] * 2)
    assert stats["importance_clipped"] == 0.25
    assert [float(np.exp(s.log_probs[0])) for s in segments] == pytest.approx([0.1] * 4 + [0.2] * 2 + [0.3, 0.4])


def learners(actor, head):
    whole = {"max_grad_norm": None, "entropy_coef": 0.0}
    return {
        "ppo": PPO(actor, head, PPOConfig(minibatch_size=-1, update_epochs=1, **whole)),
        "a2c": A2C(actor, head, A2CConfig(**whole)),
        "reinforce": Reinforce(actor, config=ReinforceConfig(**whole)),
        "stable": ReinforceStable(actor, config=ReinforceStableConfig(kl_coef=0.0, **whole)),
        "rloo": RLOO(actor, RLOOConfig(**whole)),
        "grpo": GRPO(actor, GRPOConfig(minibatch_size=-1, kl_coef=0.0, **whole)),
    }


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce", "stable", "rloo", "grpo"])
def test_every_algorithm_multiplies_its_advantages_by_the_weights(name):
    """The policy's gradient is linear in them: those of w, and of 1 - w, add up to that of no weights. Weights of 1 change no bit."""
    actor, segments = grouped()
    learner = learners(actor, actor.value_head())[name]
    inner = getattr(learner, "learner", learner)
    of_actor = sum(p.numel() for p in actor.parameters())
    learned = inner.optimizers[0]
    rng = np.random.default_rng(0)
    weights = [rng.random(len(segment)).astype(np.float32) for segment in segments]

    def gradient(given: list[np.ndarray] | None) -> torch.Tensor:
        weighed = segments if given is None else [replace(s, weights=w) for s, w in zip(segments, given, strict=True)]
        kept, step, found = learned.vector.clone(), learned.step, []
        learned.step = lambda: found.append(learned.gradient.clone())
        learner.update(weighed)
        learned.step = step
        assert torch.equal(kept, learned.vector)
        return found[0][:of_actor]

    plain = gradient(None)
    assert torch.equal(gradient([np.ones(len(s), np.float32) for s in segments]), plain)
    if name in ("ppo", "a2c"):  # of these the value loss, which is not weighted, reaches the trunk too
        of_values = gradient([np.zeros(len(s), np.float32) for s in segments])
    else:
        of_values = torch.zeros_like(plain)
        assert gradient([np.zeros(len(s), np.float32) for s in segments]).abs().max() == 0
    parts = gradient(weights) + gradient([1 - w for w in weights]) - of_values
    torch.testing.assert_close(parts, plain, rtol=1e-4, atol=1e-5 * plain.abs().max().item())
    assert not torch.allclose(gradient(weights), plain, rtol=1e-2, atol=1e-3 * plain.abs().max().item())


def test_a_buffer_that_has_become_stale_is_refused_and_once_weighted_trained_on(tmp_path):
    actor, critic, segments = control("CartPole-v1")
    save_segments(segments, tmp_path / "rollout.safetensors")
    ppo = ppo_for(actor, critic, lr_actor=3e-3)
    ppo.update(segments)
    loaded = load_segments(tmp_path / "rollout.safetensors")
    with pytest.raises(RatioError, match=r"reweighted\(segments, actor\)"):
        ppo.update(loaded)
    weighted, stats = reweighted(loaded, actor)
    assert 0.5 < stats["effective_sample_size"] < 1 and 0 < stats["importance_mean"] < 2
    assert_equal(loaded, segments)
    assert ppo.update(weighted)["gradient_steps"] > 0
    with pytest.raises(ValueError, match="weighted already cannot be weighted anew"):
        reweighted(weighted, actor)


def test_a_few_old_decisions_among_many_fresh_ones_are_found(tmp_path):
    """One of 120 in minibatches of two: the first minibatch, which is always looked at, would miss it 59 times of 60."""
    actor, critic, segments = control("CartPole-v1")
    segments[-1].log_probs = segments[-1].log_probs.copy()
    segments[-1].log_probs[-1] -= 0.01
    save_segments(segments[-1:], tmp_path / "old.jsonl")
    ppo = ppo_for(actor, critic, minibatch_size=2, update_epochs=1)
    with pytest.raises(RatioError):
        ppo.update([*segments[:-1], *load_segments(tmp_path / "old.jsonl")])
    with pytest.raises(RatioError):
        ppo.update([*segments[:-1], *rescored(segments[-1:], lambda segment: np.zeros(len(segment)))])


def test_in_half_precision_too():
    """Where a fresh rollout's log_probs are recomputed, and differ by rounding, a replayed one cannot hide in the rounding."""
    actor = lm_actor(dtype=torch.bfloat16)
    segments = collect(make_envs(Chatter, 3), actor, episodes=6, generator=torch.Generator().manual_seed(1))
    learner = Reinforce(actor)
    learner.prepare(segments)
    replayed = [replace(segment, log_probs=segment.log_probs - np.float32(0.05), replayed=True) for segment in segments]
    with pytest.raises(RatioError):
        learner.prepare(replayed)
    learner.update(reweighted(replayed, actor)[0])


def test_values_of_an_older_critic_are_left_out():
    actor, head, segments = tokens()
    randomize(head, "head", 0.9)
    assert all(segment.values is None for segment in reweighted(segments, actor)[0])
    assert all(segment.values is not None for segment in segments)


def test_weighting_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"0 segments and max_ratio=2.0; at least one"):
        reweighted([], bandit([0.0] * 4))
    with pytest.raises(ValueError, match=r"max_ratio=0; .* above 0"):
        reweighted(pulls(), bandit([0.0] * 4), max_ratio=0)
    broken = pulls()
    broken[0].log_probs = np.array([-np.inf], np.float32)
    with pytest.raises(NonFiniteError, match="not finite for some decision"):
        reweighted(broken, bandit([0.0] * 4))


# --- while training ---------------------------------------------------------------------------------------------------


def trained(path, rollouts, resume=False, callback=None, keep=None):
    return train_agent("CartPole-v1", ppo_config=PPOConfig(update_epochs=1), seed=3, save_path=path, progress=False, num_envs=2,
                       rollout_steps=32, max_episodes=16, save_interval=4, resume=resume, callback=callback,
                       transforms=[SaveRollouts(rollouts, keep=keep)])  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*without some of what")
def test_a_training_writes_what_each_update_learned_from_also_when_it_was_killed(tmp_path):
    whole = trained(tmp_path / "whole", tmp_path / "a")
    names = [f"update_{n:06d}.jsonl" for n in range(1, len(whole.metrics) + 1)]
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == names
    first = load_segments(tmp_path / "a" / names[0])
    assert sum(map(len, first)) == whole.metrics[0]["timesteps"]
    assert [s.episode_return for s in first if s.ended] == whole.metrics[0]["returns"]

    class Killed(Exception):
        pass

    def kill(moment):
        if moment.timestep > whole.timesteps * 0.7:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "killed", tmp_path / "b", callback=kill)
    trained(tmp_path / "killed", tmp_path / "b", resume=True)
    assert [(tmp_path / "b" / name).read_bytes() for name in names] == [(tmp_path / "a" / name).read_bytes() for name in names]


def test_only_the_newest_rollouts_stay(tmp_path):
    save = SaveRollouts(tmp_path, suffix=".safetensors", keep=2)
    for _ in range(4):
        assert save([a_segment([1.0])]) == {}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["update_000003.safetensors", "update_000004.safetensors"]
    with pytest.raises(ValueError, match="keep=0"):
        SaveRollouts(tmp_path, keep=0)
    with pytest.raises(ValueError, match="suffix"):
        SaveRollouts(tmp_path, suffix=".pkl")


def test_of_several_processes_each_writes_files_of_its_own(tmp_path, monkeypatch):
    save = SaveRollouts(tmp_path)
    save([a_segment([1.0])])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    save.load_state_dict({"updates": 0})
    save([a_segment([2.0])])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["update_000001.jsonl", "update_000001_rank2.jsonl"]
