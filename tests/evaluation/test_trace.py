"""What a trace says of each token: the numbers of the update, at the right place, under the right text."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gymformer import PPOConfig, trace_episode, train_agent
from gymformer.evaluation import play_tokens, trace_segment
from gymformer.evaluation.trace import pieces
from gymformer.monitoring.trace import TokenTrace
from gymformer.rl.advantages import gae
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.kl import KLPenalty
from gymformer.rl.networks import ActorNetwork, Recompute, RecomputeCritic, match_tokens
from gymformer.rl.ppo import PPO
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import TokenEnvs
from gymformer.rl.token_rollouts import collect_tokens
from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork
from gymformer.testing import byte_tokenizer, tiny_lm

ROOT = Path(__file__).parents[2]
TOKENIZER = byte_tokenizer()
SIZE = len(TOKENIZER)
PROMPT = tuple(TOKENIZER("<|user|>né?<|end|>")["input_ids"])
REPLY = tuple(TOKENIZER("\nok ")["input_ids"])


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids))


class Talk(gym.Env):
    """Nine tokens are chosen; after every third comes a reply. With `forgets`, the history is then cut to its last five tokens
    before the reply; with `swallows`, every second token that was chosen is not kept."""

    observation_space = spaces.Sequence(spaces.Discrete(SIZE))
    action_space = spaces.Discrete(SIZE)

    def __init__(self, forgets: bool = False, swallows: bool = False):
        self.forgets, self.swallows = forgets, swallows

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.tokens, self.t = PROMPT, 0
        return self.tokens, {}

    def step(self, action):
        self.t += 1
        if not (self.swallows and self.t % 2 == 0):
            self.tokens += (int(action),)
        if self.t % 3 == 0:
            self.tokens = (self.tokens[-5:] if self.forgets else self.tokens) + REPLY
        over = self.t == 9
        return self.tokens, self.t / 10, over, False, {"text": "the end", "answer": 3, "array": np.zeros(2)} if over else {}


def actor_of(seed: int = 0, **sampling) -> ActorNetwork:
    lm = tiny_lm(SIZE, "llama", seed=seed)
    with torch.no_grad():  # random weights alone give distributions that are all but uniform
        lm.lm_head.weight.mul_(20)
    return match_tokens(LMActorNetwork(lm, tokenizer=TOKENIZER, **sampling), SIZE)


def critic_of(seed: int = 1) -> LMCriticNetwork:
    critic = LMCriticNetwork(tiny_lm(SIZE, seed=seed))
    nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(seed))
    return critic


def play(actor: ActorNetwork, **kinds: bool) -> Segment:
    generator = torch.Generator().manual_seed(0)
    return collect_tokens(TokenEnvs([Talk(**kinds)], "Talk-v0"), actor, episodes=1, generator=generator)[0]


def column(trace: TokenTrace, name: str) -> list:
    return [getattr(token, name) for token in trace.decisions]


class Table(nn.Module):
    """Outputs that depend on the last token alone."""

    def __init__(self, probs: list[list[float]]):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probs).log())

    def forward(self, tokens):
        return self.logits[tokens[:, -1]]


class Length(nn.Module):
    """V(s) is the number of tokens."""

    def forward(self, tokens):
        return torch.full((len(tokens),), float(tokens.shape[1]))


@pytest.fixture
def by_hand() -> Segment:
    """Prompt 0; 0 and 1 are chosen; the environment writes 2; 0 is chosen."""
    return Segment(
        [np.array([0, 0, 1, 2, 0])], np.array([0, 1, 0]), np.log(np.array([1 / 4, 1 / 4, 1 / 2], np.float32)),
        np.array([0.0, 1.0, -2.0]), terminated=True, row=np.zeros(4, np.int64), col=np.array([0, 1, 3, 4]),
        penalties=np.array([-0.1, 0.0, 0.2]), reward_scale=2.0,
    )  # fmt: skip


HALF, QUARTER = [1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2]


def test_the_numbers_by_hand(by_hand):
    """π(·|0) = (1/2, 1/4, 1/4), π(·|2) = (1/4, 1/4, 1/2), the reference is uniform; γ = λ = 1/2, V(s) = 1, 2, 4 and the end.

    Learning rewards 2·(r + p) = -0.2, 2, -3.6.  δ = -0.2 + 2/2 - 1 = -0.2,  2 + 4/2 - 2 = 2,  -3.6 - 4 = -7.6.
    A = -0.2 + 0.1/4 = -0.175,  2 - 7.6/4 = 0.1,  -7.6.   H = (ln 2)/2 + (ln 4)/2 = 1.5 ln 2 in all three states.
    """
    actor, reference = (match_tokens(Recompute(Table(p)), 3) for p in ([HALF, HALF, QUARTER], [[1 / 3] * 3] * 3))
    trace = trace_segment(by_hand, actor, RecomputeCritic(Length()), reference, gamma=0.5, lam=0.5)
    ln2, ln3 = math.log(2), math.log(3)
    expected = {
        "log_prob": [-ln2, -2 * ln2, -2 * ln2], "reference_log_prob": [-ln3] * 3, "kl": [ln3 - ln2, ln3 - 2 * ln2, ln3 - 2 * ln2],
        "entropy": [1.5 * ln2] * 3, "ratio": [2.0, 1.0, 0.5], "reward": [0.0, 1.0, -2.0], "penalty": [-0.1, 0.0, 0.2],
        "value": [1.0, 2.0, 4.0], "advantage": [-0.175, 0.1, -7.6],
    }  # fmt: skip
    for name, numbers in expected.items():
        assert column(trace, name) == pytest.approx(numbers, abs=1e-6), name
    assert [(token.id, token.text, token.decision) for token in trace.tokens] == [
        (0, "[0]", None), (0, "[0]", 0), (1, "[1]", 1), (2, "[2]", None), (0, "[0]", 2)
    ]  # fmt: skip


def test_a_segment_that_was_cut_bootstraps_its_last_state(by_hand):
    """V(s_3) = 5 counts: δ_2 = -3.6 + 5/2 - 4 = -5.1."""
    by_hand.terminated = False
    actor = match_tokens(Recompute(Table([HALF, HALF, QUARTER])), 3)
    trace = trace_segment(by_hand, actor, RecomputeCritic(Length()), gamma=0.5)
    assert column(trace, "advantage")[-1] == pytest.approx(-5.1)
    assert trace.summary["ended"] == "cut"
    assert "return" not in trace.summary


def test_without_critic_and_reference_their_columns_are_unknown(by_hand):
    by_hand.penalties = None
    trace = trace_segment(by_hand, match_tokens(Recompute(Table([HALF, HALF, QUARTER])), 3))
    for name in ("value", "advantage", "reference_log_prob", "kl", "penalty"):
        assert column(trace, name) == [None] * 3
    assert [metric.name for metric in trace.metrics] == ["reward", "log_prob", "entropy", "ratio"]


@pytest.mark.parametrize("kinds", [{}, {"forgets": True}, {"swallows": True}], ids=str)
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_k": 5}], ids=str)
def test_columns_equal_the_slow_definition(sampling, kinds):
    """Each state read by itself, and the distribution written out: logits over temperature, softmax over what was legal."""
    actor, critic, reference = actor_of(**sampling), critic_of(), actor_of(seed=5, **sampling)
    segment = play(actor, **kinds)
    trace = trace_segment(segment, actor, critic, reference)
    assert segment.row is not None
    assert segment.col is not None
    prefixes = [torch.tensor(segment.rows[r][: c + 1])[None] for r, c in zip(segment.row, segment.col, strict=True)]
    slow: dict[str, list[float]] = {"log_prob": [], "reference_log_prob": [], "entropy": []}
    with torch.no_grad():
        for t, action in enumerate(segment.actions):
            for name, network in (("log_prob", actor), ("reference_log_prob", reference)):
                logits = network(prefixes[t])[0] / sampling.get("temperature", 1)
                if segment.legal is not None:
                    logits[~torch.from_numpy(segment.legal[t])] = -math.inf
                probs = logits.double().exp() / logits.double().exp().sum()
                slow[name].append(probs[action].log().item())
                if name == "log_prob":
                    slow["entropy"].append(-(probs[probs > 0] * probs[probs > 0].log()).sum().item())
        values = [critic(prefix).item() for prefix in prefixes]
    slow["kl"] = [p - q for p, q in zip(slow["log_prob"], slow["reference_log_prob"], strict=True)]
    slow["value"], slow["reward"] = values[:-1], segment.rewards.tolist()
    slow["advantage"] = gae(segment.rewards, values, True, 1.0, 1.0).tolist()
    for name, numbers in slow.items():
        assert column(trace, name) == pytest.approx(numbers, abs=1e-4), name
    assert (segment.legal is not None) == ("top_k" in sampling)


def test_the_ratio_is_1_before_an_update_and_tells_of_it_after():
    actor, critic = actor_of(top_k=20), critic_of()
    reference = actor.reference()  # type: ignore[operator]
    segment = play(actor)
    before = trace_segment(segment, actor, critic, reference)
    assert column(before, "ratio") == pytest.approx([1.0] * 9, abs=1e-4)
    assert column(before, "kl") == pytest.approx([0.0] * 9, abs=1e-5)
    PPO(actor, critic, PPOConfig(lr_actor=1e-3)).update([segment])
    after = trace_segment(segment, actor, critic, reference)
    change = np.array(column(after, "log_prob")) - segment.log_probs
    assert np.abs(change).max() > 0.01
    assert column(after, "ratio") == pytest.approx(np.exp(change))
    assert column(after, "kl") == pytest.approx(change, abs=1e-4)  # the reference is the policy that sampled
    assert column(after, "reference_log_prob") == pytest.approx(segment.log_probs, abs=1e-4)


def test_what_is_traced_is_what_ppo_learns_from():
    actor, critic = actor_of(), critic_of()
    segment = play(actor)
    KLPenalty(actor_of(seed=5), 0.1)([segment])
    ppo = PPO(actor, critic, PPOConfig(lam=0.8))
    trace = trace_segment(segment, actor, critic, lam=0.8)
    batch = ppo.prepare([segment])
    assert column(trace, "advantage") == pytest.approx(batch.advantages.tolist(), abs=1e-5)
    assert column(trace, "value") == pytest.approx(batch.values.tolist(), abs=1e-5)
    assert column(trace, "penalty") == pytest.approx(segment.penalties.tolist())  # type: ignore[union-attr]
    assert (PPOConfig().for_text().gamma, PPOConfig().for_text().lam) == (1.0, 1.0)  # the defaults of a trace


def test_nothing_is_changed_by_looking():
    actor = actor_of()
    critic, segment = actor.value_head(), play(actor)  # type: ignore[operator]
    before = [p.clone() for p in actor.parameters()]
    trace = trace_segment(segment, actor, critic, actor.reference())  # type: ignore[operator]
    assert column(trace, "value") == [0.0] * 9  # where a value head starts
    assert all(torch.equal(p, q) and q.grad is None for p, q in zip(before, actor.parameters(), strict=True))
    assert segment.penalties is None


def test_replies_are_nobody_s_decisions():
    segment = play(actor_of())
    trace = trace_segment(segment, actor_of())
    assert [token.id for token in trace.tokens] == segment.rows[0].tolist()
    owners = "".join("." if token.decision is None else str(token.decision) for token in trace.tokens)
    assert owners == "." * len(PROMPT) + "012" + "." * len(REPLY) + "345" + "." * len(REPLY) + "678" + "." * len(REPLY)
    assert [token.id for token in trace.decisions] == segment.actions.tolist()
    assert all(token.kept for token in trace.tokens)


def test_a_history_that_was_rewritten_is_shown_row_by_row():
    """Rows end with the state in which the third, sixth and ninth token is chosen: that token is shown there all the same."""
    segment = play(actor_of(), forgets=True)
    trace = trace_segment(segment, actor_of())
    assert len(segment.rows) == 4
    assert column(trace, "row") == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert column(trace, "kept") == [True, True, False] * 3
    assert column(trace, "id") == segment.actions.tolist()
    for r, row in enumerate(segment.rows):
        assert [token.id for token in trace.tokens if token.row == r and token.kept] == row.tolist()
    assert "row 4 of 4" in str(trace)


def test_an_action_that_the_environment_did_not_keep_is_shown_where_it_was_chosen():
    segment = play(actor_of(), swallows=True)
    trace = trace_segment(segment, actor_of())
    assert column(trace, "decision") == list(range(9))
    assert column(trace, "kept") == [t % 2 == 0 for t in range(9)]
    assert [token.id for token in trace.tokens if token.kept] == segment.rows[0].tolist()
    lost = trace.tokens.index(trace.decisions[1])
    assert trace.tokens[lost - 1].decision == 0
    assert trace.tokens[lost + 1].decision == 2


def test_two_decisions_in_one_state_claim_one_token_once():
    """A segment that goes back: both decisions choose what stands behind the state, the first has it."""
    segment = Segment([np.array([0, 1, 1])], np.array([1, 1, 1]), np.zeros(3, np.float32), np.zeros(3), False,
                      row=np.zeros(4, np.int64), col=np.array([0, 1, 0, 1]))  # fmt: skip
    trace = trace_segment(segment, match_tokens(Recompute(Table([HALF] * 3)), 3))
    assert sorted((token.decision, token.kept) for token in trace.decisions) == [(0, True), (1, False), (2, False)]


def test_one_line_for_an_agent():
    actor = actor_of()
    agent = TrainedAgent(actor, critic_of(), Talk.observation_space, Talk.action_space, "Talk-v0")
    segment = play_tokens(agent, Talk, episodes=1)[0]
    trace = trace_episode(agent, segment, reference=actor.reference())  # type: ignore[operator]
    assert trace.title == "Talk-v0"
    assert trace.summary["return"] == pytest.approx(4.5)
    assert trace.summary["ended"] == "terminated"
    assert (trace.summary["tokens decided"], trace.summary["tokens read"]) == (9, len(PROMPT) + 3 * len(REPLY))
    assert trace.info == {"text": "the end", "answer": "3"}  # what can be read
    assert [token.text for token in trace.tokens[: len(PROMPT)]] == ["<|user|>", "n", "\ufffd", "é", "?", "<|end|>"]
    assert trace._repr_html_().count('class="t"') == 9


def test_the_readme_s_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(gym.registry, "Talk-v0", gym.envs.registration.EnvSpec("Talk-v0", entry_point=Talk))  # type: ignore[attr-defined]
    readme = (ROOT / "gymformer/monitoring/README.md").read_text(encoding="utf-8")
    actor = actor_of()
    agent = TrainedAgent(actor, critic_of(), Talk.observation_space, Talk.action_space, "Talk-v0")
    result, reference = SimpleNamespace(agent=agent), actor.reference()  # type: ignore[operator]
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "trace_episode" in code)
    exec(example, {"result": result, "reference": reference})
    assert len(capsys.readouterr().out.splitlines()) == 2 + 9 + 4  # two of a head, decisions, what is written between them
    assert (tmp_path / "trace.html").stat().st_size > 10_000


def test_a_reference_that_has_met_no_environment_is_introduced():
    reference = LMActorNetwork(tiny_lm(SIZE + 3, "qwen2"))  # some models pad their vocabulary
    assert reference.distribution is None
    assert None not in column(trace_segment(play(actor_of()), actor_of(), reference=reference), "kl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": actor_of()}, "agent is a LMActorNetwork, but must be a trained agent"),
        ({"segment": []}, r"segment is a list, but must be one episode: play_tokens\(agent\)\[0\]"),
        ({"reference": "initial"}, "reference='initial' is no network; give the actor of another agent"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_what_can(change, message):
    agent = TrainedAgent(actor_of(), None, Talk.observation_space, Talk.action_space)
    given: dict = {"agent": agent, "segment": play(actor_of())} | change
    with pytest.raises(TypeError, match=message):
        trace_episode(**given)


def test_an_agent_of_vectors_plays_no_tokens():
    agent = train_agent("CartPole-v1", max_episodes=1, save_path=None, progress=False).agent
    with pytest.raises(ValueError, match=r"CartPole-v1 is not played in tokens.*evaluate\(agent\) plays it"):
        play_tokens(agent, "CartPole-v1")


def test_a_segment_of_vectors_is_refused():
    segment = Segment(np.zeros((2, 4), np.float32), np.zeros(1, np.int64), np.zeros(1, np.float32), np.zeros(1), True)
    with pytest.raises(ValueError, match="holds vectors of observations, and a token trace is of rows of tokens"):
        trace_segment(segment, actor_of())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", ["a", "b"]),
        ("é!", ["\ufffd", "é", "!"]),
        ("<🙂>", ["<", "\ufffd", "\ufffd", "\ufffd", "🙂", ">"]),
        ("中文", ["\ufffd", "\ufffd", "中", "\ufffd", "\ufffd", "文"]),
        ("a<|end|>\n", ["a", "<|end|>", "\n"]),
        ("", []),
    ],
)
def test_a_character_of_several_bytes_stands_at_the_last_of_them(text, expected):
    assert pieces(TOKENIZER(text)["input_ids"], decode) == expected


def test_bytes_that_are_no_text_are_each_shown():
    """0xE4 begins a character that never ends; 0xFF is in none."""
    assert pieces([0xE4, ord("b"), 0xFF, 0xFF, ord("c")], decode) == ["\ufffd", "b", "\ufffd", "\ufffd", "c"]


def test_a_decoder_that_drops_the_first_space_keeps_those_between_words():
    """As SentencePiece does: decoded alone, " world" would have lost its space."""
    words = ["", " hello", " world", "s"]
    assert pieces([1, 2, 3, 0], lambda ids: "".join(words[i] for i in ids).lstrip(" ")) == ["hello", " world", "s", ""]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_the_pieces_of_any_text_are_that_text(text):
    ids = TOKENIZER(text)["input_ids"]
    joined = "".join(pieces(ids, decode))
    assert joined.replace("\ufffd", "") == decode(ids).replace("\ufffd", "")
