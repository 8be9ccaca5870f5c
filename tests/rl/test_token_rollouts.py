"""Rollouts in token environments store what was read, what was chosen, and with which probability."""

import contextlib
import itertools
import math
import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymformer.rl import token_rollouts
from gymformer.rl.batch import States
from gymformer.rl.envs import make_envs
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.networks import match_critic, match_tokens
from gymformer.rl.policy import Categorical
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.rollouts import RewardNormalizer, collect
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import TokenEnvs, reads_tokens
from gymformer.rl.token_rollouts import Wave, collect_tokens
from gymformer.rl.transformers_nn import LMActorNetwork, LMSession
from tests.helpers import ppo_for
from tests.language import (
    ARCHITECTURES,
    TOKENS,
    Chatter,
    Counting,
    Table,
    TokenBandit,
    Tutorial,
    lm_actor,
    stored_and_recomputed,
    with_value_head,
)
from tests.toy_envs import Forever

KINDS = {
    "plain": {"replies": False},
    "replies": {},
    "rewritten history": {"rewrites": True},
    "masks in info": {"masks": "info", "rewrites": True},
    "masks by method": {"masks": "method"},
    "masks now and then": {"masks": "odd"},
}


def chatters(num_envs: int = 4, seed: int = 0, max_timesteps: int | None = None, **kind) -> TokenEnvs:
    envs = make_envs(lambda: Chatter(**kind), num_envs, max_timesteps=max_timesteps)
    assert isinstance(envs, TokenEnvs)
    envs.reset(seed)
    return envs


def table_actor(num_tokens: int = TOKENS, seed: int = 0):
    return match_tokens(Table(num_tokens, num_tokens, seed), num_tokens)


def seen_at(segment: Segment, t: int) -> tuple[int, ...]:
    """What state t says that the network had read."""
    return tuple(segment.rows[segment.row[t]][: segment.col[t] + 1].tolist())


# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_is_what_the_environment_showed(kind, generator):
    """Replies and rewritten histories included; the reward of decision t is what its step paid."""
    segments = collect(chatters(**KINDS[kind]), table_actor(), episodes=20, generator=generator)
    assert len(segments) == 20
    for segment in segments:
        assert [seen_at(segment, t) for t in range(len(segment) + 1)] == segment.info["seen"]
        assert len(segment) == len(segment.log_probs) == len(segment.rewards) == segment.episode_length
        assert segment.episode_return == pytest.approx(sum(segment.rewards))
        assert segment.ended


def test_a_rewritten_history_opens_a_row_and_nothing_else_does(generator):
    plain = collect(chatters(replies=True), table_actor(), episodes=20, generator=generator)
    assert {len(segment.rows) for segment in plain} == {1}
    rewritten = collect(chatters(rewrites=True), table_actor(), episodes=20, generator=generator)
    assert max(len(segment.rows) for segment in rewritten) > 1
    for segment in rewritten:  # every row has a state, or it would be read for nothing
        assert set(segment.row.tolist()) == set(range(len(segment.rows)))


def test_tokens_that_the_environment_wrote_are_no_decisions(generator):
    segments = collect(chatters(), table_actor(), episodes=20, generator=generator)
    assert any((np.diff(segment.col) > 1).any() for segment in segments)
    for segment in segments:
        written = segment.rows[0][segment.col[:-1] + 1]  # the token after each state is the one that was chosen
        assert written.tolist() == segment.actions.tolist()


def test_each_token_is_read_once_and_replies_wait_for_each_other(generator, monkeypatch):
    """A row whose turn is over is parked until all others have ended theirs; then their replies are read in one call."""
    calls, extend = [], LMSession.extend
    monkeypatch.setattr(LMSession, "extend", lambda self, blocks: calls.append(blocks) or extend(self, blocks))
    segments = collect(chatters(6), lm_actor(), episodes=6, generator=generator)
    sizes = [set(map(len, blocks)) for blocks in calls[1:]]
    assert all(max(each) <= 1 or 1 not in each for each in sizes)
    assert any(max(each) > 1 for each in sizes) and any(each == {0, 1} for each in sizes)
    assert sum(len(block) for blocks in calls for block in blocks) == sum(segment.col[-2] + 1 for segment in segments)


def unshared(actor, critic, blocks):
    """The definition of `opened`: every row is read, whatever the others are."""
    session = actor.session(len(blocks), critic)
    return session, *session.extend(blocks)


def rollout_of_groups(make, kind: dict, num_envs: int) -> list[Segment]:
    """Groups of three; with other than three environments a wave has parts of groups."""
    envs = chatters(num_envs, **kind)
    envs.group_size = 3
    actor, head = make()
    return collect(envs, actor, episodes=9, generator=torch.Generator().manual_seed(0), critic=head)


@pytest.mark.parametrize("num_envs", [3, 5])
@pytest.mark.parametrize("kind", ["plain", "rewritten history", "masks by method"])
@pytest.mark.parametrize(
    "make", [lambda: with_value_head(lm_actor("llama")), lambda: (table_actor(), None)], ids=["cached", "anew"]
)
def test_a_group_that_shares_its_prompt_plays_what_it_plays_without(make, kind, num_envs, monkeypatch):
    shared = rollout_of_groups(make, KINDS[kind], num_envs)
    monkeypatch.setattr(token_rollouts, "opened", unshared)
    for one, other in zip(shared, rollout_of_groups(make, KINDS[kind], num_envs), strict=True):
        assert [row.tolist() for row in one.rows] == [row.tolist() for row in other.rows]
        assert (one.row.tolist(), one.col.tolist(), one.group) == (other.row.tolist(), other.col.tolist(), other.group)
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)
        assert (one.values is None) == (other.values is None)
        assert one.values is None or np.allclose(one.values, other.values, atol=1e-5)


@pytest.mark.parametrize(("num_envs", "opened"), [(3, [1, 1, 1]), (5, [2, 2]), (9, [3]), (4, [2, 2, 1])])
def test_a_prompt_that_several_episodes_begin_with_is_read_once(num_envs, opened, monkeypatch):
    """9 episodes in groups of 3. By 5 environments: groups 0 0 0 1 1, then 1 2 2 2."""
    calls, session, extend = [], LMActorNetwork.session, LMSession.extend
    monkeypatch.setattr(LMActorNetwork, "session", lambda *args: calls.append([]) or session(*args))
    monkeypatch.setattr(LMSession, "extend", lambda self, blocks: calls[-1].append(blocks) or extend(self, blocks))
    segments = rollout_of_groups(lambda: (lm_actor(), None), {}, num_envs)
    assert [len(wave[0]) for wave in calls] == opened
    prompts = {segment.group: int(segment.col[0]) + 1 for segment in segments}
    assert len(set(prompts.values())) > 1  # of different lengths
    waves = [segments[i : i + num_envs] for i in range(0, 9, num_envs)]
    spared = sum(prompts[s.group] for wave in waves for s in wave) - sum(
        prompts[g] for wave in waves for g in {s.group for s in wave}
    )
    assert spared > 0
    read = sum(len(block) for wave in calls for blocks in wave for block in blocks)
    assert read == sum(segment.col[-2] + 1 for segment in segments) - spared


def test_actions_arrive_as_plain_ints_and_the_list_may_be_the_same_one():
    """`Tutorial` asserts the type of its actions and grows the very list that it returned before."""
    random.seed(0)
    envs = make_envs(Tutorial, 3)
    segments = collect(envs, table_actor(), episodes=12, generator=torch.Generator().manual_seed(1))
    assert any(len(segment) == 1 for segment in segments), "some episode should end with its first token"
    for segment in segments:
        assert np.diff(segment.col).tolist() == [1] * len(segment)
        assert (segment.actions[-1] == Tutorial.END) == (len(segment) < Tutorial.LIMIT) or len(segment) == Tutorial.LIMIT
        assert segment.rows[0].tolist().count(1) == segment.episode_return


def test_an_environment_that_shows_the_same_whatever_is_done(generator):
    """All its states are one and the same place."""
    envs = make_envs(lambda: Counting(5, blind=True), 2)
    actor, head = with_value_head(lm_actor(num_tokens=4))
    for segment in collect(envs, actor, episodes=4, generator=generator, critic=head):
        assert (segment.row.tolist(), segment.col.tolist()) == ([0] * 6, [1] * 6)
        assert len(set(segment.values.round(5).tolist())) == 1
        assert [row.tolist() for row in segment.rows] == [[0, 0]]


def test_numpy_arrays_and_lists_of_numpy_integers_are_observations_too():
    class Array(Counting):
        def step(self, action):
            tokens, *rest = super().step(action)
            return (np.array(tokens) if self.t % 2 else [np.int64(t) for t in tokens]), *rest

    (segment,) = collect(make_envs(lambda: Array(4)), table_actor(4), episodes=1)
    assert segment.rows[0].tolist()[2:] == segment.actions.tolist()


# --- with which probability -------------------------------------------------------------------------------------------

SAMPLING = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "top-k": {"top_k": 4},
    "top-p": {"top_p": 0.7},
    "all": {"temperature": 1.5, "top_k": 8, "top_p": 0.9},
}


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_ratio_is_one_before_the_first_step(architecture, sampling, generator):
    """Through the cache, with masks, replies and rewritten histories; the values of the same pass are the critic's."""
    actor, head = with_value_head(lm_actor(architecture, **SAMPLING[sampling]))
    segments = collect(chatters(rewrites=True, masks="odd"), actor, episodes=10, generator=generator, critic=head)
    stored, recomputed = stored_and_recomputed(actor, segments)
    assert ((recomputed - stored).exp() - 1).abs().max() < 1e-4
    ppo = PPO(actor, head, PPOConfig())
    values = torch.from_numpy(np.concatenate([segment.values for segment in segments]))
    last_of_terminated = np.cumsum([len(s) + 1 for s in segments])[[s.terminated for s in segments]] - 1
    with torch.no_grad():
        expected = head.evaluate(States.of(segments))
    expected[last_of_terminated] = 0.0  # nothing comes after it
    assert (values - expected).abs().max() < 1e-4
    assert ppo.prepare(segments).values.shape == stored.shape


@pytest.mark.parametrize("kind", KINDS)
def test_the_ratio_is_one_for_a_module_of_ones_own(kind, generator):
    actor = table_actor()
    stored, recomputed = stored_and_recomputed(actor, collect(chatters(**KINDS[kind]), actor, episodes=10, generator=generator))
    assert (stored - recomputed).abs().max() < 1e-5


def test_masks_and_narrowing_are_in_the_stored_probability(generator):
    """Without its mask the update would compute another one."""
    actor = lm_actor(top_k=3)
    segments = collect(chatters(masks="info"), actor, episodes=5, generator=generator)
    for segment in segments:
        assert segment.legal.sum(1).max() <= 3
        assert segment.legal[np.arange(len(segment)), segment.actions].all()
        segment.legal = None
    stored, recomputed = stored_and_recomputed(actor, segments)
    assert (stored - recomputed).min() > 0.1


def test_another_temperature_in_the_update_is_noticed(generator):
    actor, head = with_value_head(lm_actor(temperature=0.7))
    segments = collect(chatters(), actor, episodes=5, generator=generator)
    actor.sampling = {"temperature": 1.0}
    with pytest.raises(RuntimeError, match="another mask or temperature"):
        ppo_for(match_tokens(actor, TOKENS), head).update(segments)


def upper_tail(df: int) -> float:
    """The value that a χ² of `df` degrees of freedom exceeds with a probability of 1e-6 (Wilson and Hilferty, 1931)."""
    return df * (1 - 2 / (9 * df) + 4.753 * math.sqrt(2 / (9 * df))) ** 3


@pytest.mark.parametrize(
    ("num_tokens", "sampling"), [(5, {}), (5, {"temperature": 0.5, "top_k": 3}), (200, {}), (200, {"top_p": 0.6})]
)
def test_sampled_frequencies_are_the_stored_probabilities(num_tokens, sampling, generator):
    """1e5 draws through the rollout's own sampling, below and above 64 tokens, where it draws otherwise. Chi-square: unseeded,
    one run of a million would fail."""
    actor = table_actor(num_tokens)
    actor.distribution = Categorical(num_tokens, **sampling)
    outputs = 1.5 * torch.randn(1, num_tokens, generator=torch.Generator().manual_seed(3))
    legal = torch.arange(num_tokens)[None] != 2
    wave = Wave(chatters(), actor, generator, None, greedy=False)
    count, per_call = 100_000, 2_000
    seen, stored = torch.zeros(num_tokens), torch.full((num_tokens,), -math.inf)
    for _ in range(count // per_call):
        actions, log_probs, _ = wave._sample(outputs.expand(per_call, -1), legal.expand(per_call, -1))
        seen += torch.bincount(torch.tensor(actions), minlength=num_tokens)
        stored[torch.tensor(actions)] = torch.tensor(log_probs)
    support = seen > 0
    expected = stored[support].exp().double() * count
    assert not support[2]
    assert expected.sum() == pytest.approx(count, rel=2e-3)  # what was never seen has next to no probability
    assert sampling or support.sum() > 0.9 * (num_tokens - 1)
    statistic = ((seen[support] - expected).square() / expected).sum().item()
    assert statistic < upper_tail(int(support.sum()) - 1)


def test_sampled_frequencies_of_a_whole_rollout(generator):
    """4,000 one-token episodes."""
    actor = table_actor(4)
    segments = collect(make_envs(TokenBandit, 500), actor, episodes=4_000, generator=generator)
    actions = np.concatenate([segment.actions for segment in segments])
    expected = 4_000 * torch.softmax(actor(torch.tensor([[0]])), -1)[0].detach().double().numpy()
    assert ((np.bincount(actions, minlength=4) - expected) ** 2 / expected).sum() < upper_tail(3)
    stored = np.concatenate([segment.log_probs for segment in segments])
    np.testing.assert_allclose(np.exp(stored) * 4_000, expected[actions], rtol=1e-4)


# --- where episodes end -----------------------------------------------------------------------------------------------


class Position(nn.Module):
    """V is the place of the token that was read last."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, tokens):
        return self.weight * torch.full((len(tokens),), tokens.shape[1] - 1.0)


def test_the_value_of_a_state_is_read_before_the_action_token(generator):
    """V(s_0) stands at the prompt's last token: with a prompt of two, 1, then 2, 3, ..."""
    envs = make_envs(lambda: Counting(4), 2)
    critic = match_critic(Position(), (1,), num_tokens=1)
    ppo = ppo_for(table_actor(4), critic)
    segments = collect(envs, ppo.actor, episodes=2, generator=generator)
    assert ppo.prepare(segments).values.tolist() == [1.0, 2.0, 3.0, 4.0] * 2


def test_the_value_of_the_rollouts_own_pass_is_read_before_the_action_token(generator):
    """A GPT-2 whose layers do nothing, whose position p is the number p in its first entry, and a head that reads that entry."""
    actor = lm_actor(num_tokens=4, model={"layers": 1})
    transformer = actor.lm.transformer
    with torch.no_grad():
        for parameter in actor.lm.parameters():
            parameter.zero_()
        transformer.wpe.weight[:, 0] = torch.arange(64.0)
    transformer.ln_f = nn.Identity()
    head = actor.value_head()
    with torch.no_grad():
        head.head.weight[0, 0] = 1.0
    segments = collect(make_envs(lambda: Counting(4), 2), actor, episodes=2, generator=generator, critic=head)
    assert [segment.values.tolist() for segment in segments] == [[1, 2, 3, 4, 5]] * 2
    terminated = collect(
        make_envs(lambda: Counting(4, terminates=True), 2), actor, episodes=2, generator=generator, critic=head
    )
    assert [segment.values.tolist() for segment in terminated] == [[1, 2, 3, 4, 0]] * 2


@pytest.mark.parametrize("own_critic", [False, True])
def test_an_episode_that_outgrows_the_context_is_cut_and_bootstrapped(own_critic, generator):
    """Context 10, prompt 2: eight decisions, and the state after the last is the last that can be read."""
    actor, head = with_value_head(lm_actor(num_tokens=4, model={"context": 10}))
    critic = match_critic(Position(), (1,), num_tokens=1) if own_critic else head
    segments = collect(make_envs(lambda: Counting(1000), 3), actor, episodes=3, generator=generator, critic=critic)
    ppo = ppo_for(actor, critic, gamma=1.0, lam=0.0)
    for segment in segments:
        assert (len(segment), segment.terminated, segment.ended) == (8, False, True)
        assert (len(segment.rows[0]), segment.col[-1]) == (10, 9)
    advantages, values = ppo.prepare(segments).advantages.view(3, 8), ppo.prepare(segments).values.view(3, 8)
    with torch.no_grad():
        last = torch.cat([critic(torch.from_numpy(segment.rows[0])[None]) for segment in segments])
    torch.testing.assert_close(advantages[:, -1], 1.0 + last - values[:, -1], rtol=1e-4, atol=1e-4)


def test_a_reply_that_outgrows_the_context_is_cut_where_it_can_still_be_read(generator):
    class LongReply(Counting):
        def step(self, action):
            tokens, *rest = super().step(action)
            self.tokens = (*tokens, *[3] * 7)
            return self.tokens, *rest

    actor, head = with_value_head(lm_actor(num_tokens=4, model={"context": 12}))
    for terminates in (False, True):
        envs = make_envs(lambda: LongReply(2, terminates), 2)  # noqa: B023
        for segment in collect(envs, actor, episodes=2, generator=generator, critic=head):
            assert (len(segment), len(segment.rows[0]), segment.terminated) == (2, 12, terminates)
            assert (segment.values[-1] == 0.0) == terminates
            stored, recomputed = stored_and_recomputed(actor, [segment])
            assert (stored - recomputed).abs().max() < 1e-4


@pytest.mark.parametrize("value_head", [True, False])
def test_max_timesteps_is_a_truncation_and_bootstraps(value_head, generator):
    actor, head = with_value_head(lm_actor(num_tokens=4))
    envs = make_envs(lambda: Counting(1000), 2, max_timesteps=5)
    segments = collect(envs, actor, episodes=4, generator=generator, critic=head if value_head else None)
    assert [(len(s), s.terminated, s.ended) for s in segments] == [(5, False, True)] * 4
    batch = ppo_for(actor, head, gamma=1.0, lam=1.0).prepare(segments)
    with torch.no_grad():
        last = head(torch.from_numpy(segments[0].rows[0])[None])
    assert batch.returns[0] == pytest.approx(5 + last.item(), rel=1e-4)


def constant_reward_value(terminates: bool, steps: int | None) -> float:
    """V of the only state of an environment that pays 1 for ever, learned by PPO with γ = 0.9 from episodes of 8 steps."""
    envs = make_envs(lambda: Counting(8, terminates, blind=True), 4)
    critic = match_critic(Table(4, 1, scale=0.0), (1,), num_tokens=1)
    ppo = ppo_for(table_actor(4), critic, gamma=0.9, lam=1.0 if terminates else 0.95, lr_critic=1e-1, minibatch_size=-1,
                  update_epochs=10)  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        episodes = 4 if steps is None else None
        ppo.update(collect(envs, ppo.actor, steps=steps, episodes=episodes, generator=generator))
    return ppo.critic(torch.tensor([[0, 0]])).item()


@pytest.mark.parametrize("steps", [None, 5], ids=["whole episodes", "pieces"])
def test_the_value_of_a_cut_off_state_is_that_of_the_infinite_horizon(steps):
    assert constant_reward_value(False, steps) == pytest.approx(10, rel=0.05)  # 1 / (1 - γ)


def test_the_value_of_a_state_that_terminates_is_that_of_what_is_left():
    expected = np.mean([(1 - 0.9**k) / 0.1 for k in range(1, 9)])  # with k of 8 steps left the return is (1 - γᵏ) / (1 - γ)
    assert constant_reward_value(True, None) == pytest.approx(expected, rel=0.05)


# --- how many, in which order, and with which seeds -------------------------------------------------------------------


def test_episode_n_has_the_same_seed_whatever_the_number_of_environments(generator):
    seeds = {
        n: [s.info["seed"] for s in collect(chatters(n), table_actor(), episodes=9, generator=generator)] for n in (1, 2, 5, 20)
    }
    assert len(set(seeds[1])) == 9
    assert all(one == seeds[1] for one in seeds.values())


def test_another_seed_and_the_seed_of_collect_give_other_episodes(generator):
    given = [make_envs(Chatter, 2) for _ in range(3)]
    first = [
        collect(envs, table_actor(), episodes=1, seed=seed)[0].info["seed"] for envs, seed in zip(given, (1, 1, 2), strict=True)
    ]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("kind", ["replies", "rewritten history"])
def test_greedy_episodes_do_not_depend_on_how_many_are_played_side_by_side(kind):
    actor = lm_actor()
    one, many = (collect_tokens(chatters(n, **KINDS[kind]), actor, episodes=12, greedy=True) for n in (1, 5))
    for a, b in zip(one, many, strict=True):
        assert a.actions.tolist() == b.actions.tolist() and a.rewards.tolist() == b.rewards.tolist()
        assert [row.tolist() for row in a.rows] == [row.tolist() for row in b.rows]
        np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-4)


def joined(pieces: list[Segment]) -> list[list[Segment]]:
    """The pieces of each episode, of one environment."""
    episodes: list[list[Segment]] = [[]]
    for piece in pieces:
        episodes[-1].append(piece)
        if piece.ended:
            episodes.append([])
    return [episode for episode in episodes if episode and episode[-1].ended]


@pytest.mark.parametrize("kind", ["replies", "rewritten history"])
def test_pieces_go_on_in_the_next_call_and_make_up_the_whole_episodes(kind):
    actor, head = with_value_head(lm_actor())
    whole = collect_tokens(chatters(1, **KINDS[kind]), actor, episodes=10, greedy=True, critic=head)
    envs, pieces = chatters(1, **KINDS[kind]), []
    while sum(piece.ended for piece in pieces) < 10:
        pieces += collect_tokens(envs, actor, steps=3, greedy=True, critic=head)
    for one, parts in zip(whole, joined(pieces), strict=False):
        for name in ("actions", "rewards", "log_probs"):
            np.testing.assert_allclose(np.concatenate([getattr(part, name) for part in parts]), getattr(one, name), atol=1e-4)
        values = np.concatenate([part.values[:-1] for part in parts] + [parts[-1].values[-1:]])
        np.testing.assert_allclose(values, one.values, atol=1e-4)
        for before, after in itertools.pairwise(parts):  # what is bootstrapped is what the next piece begins with
            assert before.values[-1] == pytest.approx(after.values[0], abs=1e-4)
            assert seen_at(before, len(before)) == seen_at(after, 0)
            assert not before.terminated
        assert (parts[-1].episode_return, parts[-1].episode_length) == (pytest.approx(one.episode_return), one.episode_length)


@pytest.mark.parametrize("critic", [False, True])
def test_pieces_of_several_environments_lose_and_repeat_nothing(critic, generator):
    actor, head = with_value_head(lm_actor())
    envs, pieces = chatters(4, rewrites=True), []
    for _ in range(8):
        made = collect(envs, actor, steps=4, generator=generator, critic=head if critic else None)
        assert 16 <= sum(map(len, made)) < 16 + 4  # of all together, to the end of the tick
        pieces += made
    stored, recomputed = stored_and_recomputed(actor, pieces)
    assert (stored - recomputed).abs().max() < 1e-4
    ended = [piece for piece in pieces if piece.ended]
    lengths = sum(piece.episode_length for piece in ended) + sum(one.length for one in envs.playing if one is not None)
    assert lengths == sum(map(len, pieces))
    assert all(len(piece.values) == len(piece) + 1 for piece in pieces) if critic else True


def test_a_reset_cuts_what_is_unfinished(generator):
    envs = chatters(4)
    collect(envs, table_actor(), steps=2, generator=generator)
    assert any(one is not None for one in envs.playing)
    envs.reset(0)
    assert collect(envs, table_actor(), episodes=1, generator=generator)[0].info["seed"] == collect(
        chatters(1), table_actor(), episodes=1, generator=generator)[0].info["seed"]  # fmt: skip


def test_who_watches_sees_every_decision_and_can_stop(generator):
    ticks = []

    def watch(tick):
        ticks.append(tick)
        return len(ticks) < 3

    segments = collect(chatters(3), table_actor(), episodes=9, generator=generator, on_tick=watch)
    assert len(ticks) == 3
    acted = [(tick.observations[b], int(tick.actions[b])) for tick in ticks for b in np.flatnonzero(~tick.phantom)]
    assert len(acted) == sum(map(len, segments))
    states = {seen_at(segment, t): segment.actions[t] for segment in segments for t in range(len(segment))}
    assert all(states[observation] == action for observation, action in acted)


def test_options_are_asked_for_at_every_reset(generator):
    class Asked(Chatter):
        def reset(self, *, seed=None, options=None):
            self.asked = options
            return super().reset(seed=seed, options=options)

    envs, count = make_envs(Asked, 2), iter(range(100))
    envs.options = lambda: {"difficulty": next(count)}
    collect(envs, table_actor(), episodes=6, generator=generator)
    assert next(count) == 6
    assert {env.unwrapped.asked["difficulty"] for env in envs.envs} == {4, 5}


# --- what is refused --------------------------------------------------------------------------------------------------


class Fixed(Counting):
    """Shows what it is told to: first at the reset, then after every step."""

    def __init__(self, shown: list, length: int = 3):
        super().__init__(length)
        self.shown = shown

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.shown[0], {}

    def step(self, action):
        return self.shown[self.t + 1], *super().step(action)[1:]


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="starts with no tokens at all, but a language model needs one to go on from"):
        collect(make_envs(lambda: Fixed([()])), table_actor(4), episodes=1)


def test_an_observation_that_becomes_empty_is_refused():
    with pytest.raises(ValueError, match="observation is empty after a step; a token environment must show at least one"):
        collect(make_envs(lambda: Fixed([(1,), ()])), table_actor(4), episodes=1)


def test_a_history_may_be_replaced_as_a_whole_or_lose_its_end(generator):
    shown = [(1, 2, 3), (3, 2), (3,), (1, 1)]
    actor, head = with_value_head(lm_actor(num_tokens=4))
    (segment,) = collect(make_envs(lambda: Fixed(shown)), actor, episodes=1, generator=generator, critic=head)
    assert [seen_at(segment, t) for t in range(4)] == shown
    stored, recomputed = stored_and_recomputed(actor, [segment])
    assert (stored - recomputed).abs().max() < 1e-4


@pytest.mark.parametrize("length", [10, 11])
def test_a_prompt_as_long_as_the_context_is_refused(length):
    actor = lm_actor(num_tokens=4, model={"context": 10})
    envs = make_envs(lambda: Fixed([(1,) * length]))
    with pytest.raises(
        ValueError, match=f"starts with {length} tokens, but the model reads 10 and needs room for an answer; shorten"
    ):
        collect(envs, actor, episodes=1)


@pytest.mark.parametrize("token", [-1, 4])
def test_a_token_that_does_not_exist_is_refused(token):
    for shown in ([(0, token)], [(0,), (0, token)]):
        with pytest.raises(ValueError, match=f"shows the token {token}, but by its observation space tokens are 0 to 3"):
            collect(make_envs(lambda: Fixed(shown)), lm_actor(num_tokens=4), episodes=1)  # noqa: B023


@pytest.mark.parametrize(
    ("mask", "said"), [(np.ones(3), "3 entries, 3 of them true"), (np.zeros(4), "4 entries, 0 of them true")]
)
def test_a_mask_that_does_not_fit_is_refused(mask, said):
    class Wrong(Counting):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0], {"action_mask": mask}

    with pytest.raises(ValueError, match=f"the action mask has {said}; it needs one for each of the 4 tokens"):
        collect(make_envs(Wrong), table_actor(4), episodes=1)


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_stops(reward):
    with pytest.raises(NonFiniteError, match=r"gave the reward (nan|inf) at decision 1;.*Mend the environment") as caught:
        collect(make_envs(lambda: TokenBandit((reward,) * 4)), table_actor(4), episodes=1)
    assert caught.value.evidence["tokens"].tolist()[0] == 0


def test_an_actor_that_is_not_finite_stops():
    actor = table_actor(4)
    with torch.no_grad():
        actor.module.table.weight[0] = math.nan
    with pytest.raises(NonFiniteError, match="the actor's outputs are not finite"):
        collect(make_envs(TokenBandit), actor, episodes=1)


def test_rewards_are_not_normalised_and_a_budget_is_needed():
    with pytest.raises(ValueError, match="rewards of token environments are not normalised"):
        collect(make_envs(TokenBandit), table_actor(4), episodes=1, reward_normalizer=RewardNormalizer(0.99, 1))
    for budget in ({}, {"steps": 1, "episodes": 1}):
        with pytest.raises(ValueError, match="needs either steps"):
            collect(make_envs(TokenBandit), table_actor(4), **budget)


def test_tokens_are_numbered_from_zero():
    class FromOne(TokenBandit):
        def __init__(self):
            super().__init__()
            self.action_space = spaces.Discrete(4, start=1)

    with pytest.raises(ValueError, match=r"tokens are numbered from 0: use Discrete\(4\)"):
        make_envs(FromOne)


def test_token_environments_have_no_vector_version():
    with pytest.raises(ValueError, match='vectorization="native" is for ids'):
        make_envs(TokenBandit, 2, vectorization="native")


def test_the_environments_of_a_sync_vector_are_stepped_one_after_another():
    envs = make_envs(gym.vector.SyncVectorEnv([TokenBandit] * 3))
    assert isinstance(envs, TokenEnvs) and envs.num_envs == 3


def test_a_vector_of_token_environments_in_processes_is_refused_with_the_way_round():
    vector = gym.vector.AsyncVectorEnv([TokenBandit] * 3, shared_memory=False)
    with (
        contextlib.closing(vector),
        pytest.raises(ValueError, match=r"a vector of token environments, .* a callable that makes one, and num_envs=3"),
    ):
        make_envs(vector)


def test_tokens_cannot_be_normalised():
    with pytest.raises(ValueError, match="shows tokens, which cannot be normalised; leave out normalize_observations"):
        make_envs(TokenBandit, normalize_observations=True)


@pytest.mark.parametrize(
    ("observations", "actions", "verdict"),
    [
        (spaces.Sequence(spaces.Discrete(5)), spaces.Discrete(5), True),
        (spaces.Sequence(spaces.Box(0, 1)), spaces.Discrete(5), False),
        (spaces.Sequence(spaces.Discrete(5)), spaces.MultiDiscrete([5, 5]), False),
        (spaces.Discrete(5), spaces.Discrete(5), False),
        (Forever.observation_space, Forever.action_space, False),
    ],
)
def test_a_token_environment_is_told_by_its_spaces(observations, actions, verdict):
    assert reads_tokens(observations, actions) == verdict


def test_only_the_values_of_the_actors_own_head_come_from_its_rollout(generator):
    actor, other = lm_actor(), lm_actor()
    with pytest.raises(ValueError, match="only a value head of this actor can read along"):
        collect(chatters(1), actor, episodes=1, generator=generator, critic=other.value_head())


def test_a_registered_id_without_base_class_is_recognised():
    gym.register("TokenBanditOfTests-v0", TokenBandit)
    try:
        envs = make_envs("TokenBanditOfTests-v0", 2, env_kwargs={"pays": (1.0, 0.0)})
        assert isinstance(envs, TokenEnvs) and envs.num_tokens == 2
    finally:
        del gym.registry["TokenBanditOfTests-v0"]
