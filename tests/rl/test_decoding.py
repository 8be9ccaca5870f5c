"""Rows that are read token by token through a cache give what a pass over each whole row gives."""

import warnings

import numpy as np
import pytest
import torch
from transformers import GPT2Model

from gymformer.lm import decoding
from gymformer.lm.decoding import KVReader
from gymformer.rl.batch import States
from gymformer.rl.networks import RecomputeSession, Session, match_tokens
from gymformer.rl.transformers_nn import LMActorNetwork, LMSession
from gymformer.testing import tiny_lm
from tests.language import ARCHITECTURES, TOKENS, lm_actor, sharp_lm, with_value_head


@pytest.fixture(autouse=True)
def steps_are_recorded_at_once(monkeypatch):
    monkeypatch.setattr(decoding, "PATIENCE", 0)


class Reading:
    """A session, and the same rows as plain lists: after each step the outputs must be those of every row read alone."""

    def __init__(self, session: Session, actor: LMActorNetwork, count: int, tolerance: float = 1e-5):
        self.session, self.actor, self.tolerance = session, actor, tolerance
        self.rows: list[list[int]] = [[] for _ in range(count)]

    def extend(self, blocks: list[list[int]]) -> None:
        outputs, values = self.session.extend(blocks)
        for i, (row, block) in enumerate(zip(self.rows, blocks, strict=True)):
            row.extend(block)
            if not block:
                continue
            with torch.no_grad():
                alone = torch.tensor([row])
                assert (outputs[i] - self.actor(alone)[0]).abs().max() < self.tolerance, (i, self.rows)
                if values is not None:
                    assert abs(values[i] - self.session.critic(alone)[0]) < self.tolerance

    def keep(self, slots: list[int]) -> None:
        self.session.keep(slots)
        self.rows = [list(self.rows[slot]) for slot in slots]

    def rewind(self, slot: int, length: int) -> None:
        self.session.rewind(slot, length)
        del self.rows[slot][length:]


def play_script(reading: Reading, seed: int, steps: int = 14, context: int = 64) -> None:
    """Ragged prompts, uneven blocks, parked rows, rows that leave or change places, histories rewritten."""
    rng = np.random.default_rng(seed)

    def block(most: int, least: int = 0) -> list[int]:
        return rng.integers(0, TOKENS, rng.integers(least, most + 1)).tolist()

    reading.extend([block(7, least=1) for _ in reading.rows])
    for step in range(steps):
        if step % 3 == 2:
            slot = int(rng.integers(len(reading.rows)))
            reading.rewind(slot, int(rng.integers(1, len(reading.rows[slot]) + 1)))
        if step % 5 == 4 and len(reading.rows) > 2:
            reading.keep(rng.permutation(len(reading.rows))[:-1].tolist())
        most = [1, 1, 4][step % 3]  # mostly single tokens, now and then a reply
        blocks = [block(min(most, context - len(row))) for row in reading.rows]
        if any(blocks):
            reading.extend(blocks)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cached_row_gives_what_the_whole_row_gives(architecture, attention, monkeypatch):
    monkeypatch.setattr(decoding, "ROOM", 2)  # so that the cache grows again and again
    actor, head = with_value_head(lm_actor(architecture))
    actor.lm.set_attn_implementation(attention)
    for seed in range(2):
        session = actor.session(5, head)
        assert isinstance(session, LMSession)
        play_script(Reading(session, actor, 5), seed)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_also_with_an_adapter_and_near_the_end_of_the_context(architecture):
    """Padding of the longest row reaches beyond the last position that the model has."""
    actor, head = with_value_head(lm_actor(architecture, lora=2, model={"context": 16}))
    reading = Reading(actor.session(3, head), actor, 3)
    reading.extend([[1] * 13, [2, 3], [4]])
    reading.extend([[5], [1, 2, 3, 4, 5, 6], []])
    reading.extend([[5, 6], [1, 2, 3, 4, 5, 6], [7]])
    assert [len(row) for row in reading.rows] == [16, 14, 2]
    for _ in range(2):
        reading.extend([[], [3], [8, 9]])


def test_recompute_is_the_same_definition():
    actor, head = with_value_head(lm_actor("llama"))
    play_script(Reading(RecomputeSession(actor, 5, head), actor, 5), seed=3)


@pytest.mark.parametrize("kind", [*ARCHITECTURES, "recompute"])
def test_a_row_that_is_kept_several_times_is_copied_and_each_copy_grows_for_itself(kind):
    """As a group's prompt is: uneven ones, then copies of which some wait, some are rewound and some leave."""
    actor, head = with_value_head(lm_actor("gpt2" if kind == "recompute" else kind))
    session = RecomputeSession(actor, 3, head) if kind == "recompute" else actor.session(3, head)
    reading = Reading(session, actor, 3)
    reading.extend([[3, 1, 4, 1, 5], [9], [2, 6]])
    reading.keep([0, 0, 2, 1, 2, 0])
    reading.extend([[1], [2], [3], [4], [], [7, 7, 7]])
    reading.rewind(1, 2)
    reading.extend([[5], [8], [5], [], [1], [6]])
    assert len(set(map(tuple, reading.rows))) == 6
    reading.keep([5, 1, 1, 4])
    reading.extend([[1], [2], [3], [4]])


def test_the_comparison_would_notice_a_wrong_position_or_a_visible_pad():
    """The counterpart of the tests above: a row read one position late, or with a pad in its middle, is far outside 1e-5."""
    for architecture in ARCHITECTURES:
        actor = lm_actor(architecture)
        with torch.no_grad():
            right = actor(torch.tensor([[3, 5, 7]]))
            late = actor._trunk.logits(
                actor._trunk.layers(
                    input_ids=torch.tensor([[3, 5, 7]]), position_ids=torch.tensor([[0, 2, 3]])
                ).last_hidden_state[:, -1]
            )
            padded = actor(torch.tensor([[3, 0, 5, 7]]))
        assert min((right - late).abs().max(), (right - padded).abs().max()) > 0.2, architecture


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_agrees_to_its_own_precision(architecture):
    """A bfloat16 has 8 bits: logits of size s are told apart to s/256, and a pass adds up a few such roundings."""
    actor = lm_actor(architecture, dtype=torch.bfloat16, model={"factor": 2.0})
    size = actor(torch.arange(TOKENS)[:, None]).detach().abs().max().item()
    play_script(Reading(actor.session(5), actor, 5, tolerance=size * 4 / 256), seed=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tokens_are_told_by_their_place_and_not_by_being_pad_or_end(architecture):
    """Rows full of the pad's and the end's ids, beside longer ones."""
    plain, marked = lm_actor(architecture), lm_actor(architecture, pad_token_id=0)
    marked.lm.config.eos_token_id = 1
    rows = [[0, 1, 0], [0], [5, 0, 0, 0, 1, 0, 1]]
    reading = Reading(marked.session(3), plain, 3)  # what the other model, which knows of no pad, says of each row alone
    reading.extend(rows)
    reading.extend([[0], [0], [1]])
    inputs = torch.zeros(3, 7, dtype=torch.int64)
    for line, row in zip(inputs, rows, strict=True):
        line[: len(row)] = torch.tensor(row)
    states = States(inputs, torch.arange(3), torch.tensor([2, 0, 6]))
    for i, row in enumerate(rows):
        assert (marked.evaluate(states)[i] - plain(torch.tensor([row]))[0]).abs().max() < 1e-5


def test_an_end_token_that_was_read_changes_what_is_expected():
    """V(s · end) is not V(s), also where the pad is the end."""
    _, head = with_value_head(lm_actor(pad_token_id=1))
    before, after = head(torch.tensor([[3, 4]])), head(torch.tensor([[3, 4, 1]]))
    assert abs(before - after) > 1e-2


# --- models that cannot be cached so ----------------------------------------------------------------------------------


def other_lm(kind: str) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM, BloomConfig, GPTNeoConfig, MistralConfig, RwkvConfig

    config = {
        "window": lambda: MistralConfig(vocab_size=TOKENS, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                        num_attention_heads=2, num_key_value_heads=2, sliding_window=3),
        "own masks": lambda: GPTNeoConfig(vocab_size=TOKENS, hidden_size=16, num_layers=2, num_heads=2, window_size=3,
                                          attention_types=[[["global", "local"], 1]], max_position_embeddings=64),
        "own positions": lambda: BloomConfig(vocab_size=TOKENS, hidden_size=16, n_layer=1, n_head=2),
        "a state": lambda: RwkvConfig(vocab_size=TOKENS, hidden_size=16, attention_hidden_size=16, num_hidden_layers=2),
    }[kind]()  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("kind", ["window", "own masks", "own positions", "a state"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_cache_would_get_wrong_is_read_anew(kind):
    actor = LMActorNetwork(other_lm(kind))
    match_tokens(actor, TOKENS)
    with pytest.warns(UserWarning, match="its rows are read anew for every token, which is right and slow"):
        session = actor.session(3)
    assert isinstance(session, RecomputeSession)
    play_script(Reading(session, actor, 3), seed=1, steps=6)


def test_models_that_can_be_cached_are_cached_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for architecture in ARCHITECTURES:
            actor = LMActorNetwork(sharp_lm(architecture))
            match_tokens(actor, TOKENS)
            assert isinstance(actor.session(2), LMSession)


def test_what_a_module_of_ones_own_keeps_of_a_cached_pass_can_be_trained_with():
    """Inference mode would forbid it; only transformers' own models, which keep nothing, are read in it."""

    class Keeps(GPT2Model):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            self.kept = output.last_hidden_state
            return output

    config = tiny_lm(16).config
    for kind, keeps in ((Keeps, True), (GPT2Model, False)):
        trunk = kind(config).eval()
        reader = KVReader(trunk, 1)
        reader.read([[1, 2, 3]])
        assert (reader.untracked is torch.inference_mode) != keeps
        if keeps:
            weight = torch.ones(config.n_embd, requires_grad=True)
            (trunk.kept @ weight).sum().backward()
            assert weight.grad is not None
