"""A step of a language model that is recorded and played says what the model itself says."""

import gc
import threading
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gymformer import LMActorNetwork, train_agent
from gymformer.lm import decoding
from gymformer.lm.decoding import PLAYABLE, KVReader
from gymformer.lm.recording import CannotRecordError, Recording
from tests.language import ARCHITECTURES, TOKENS, lm_actor

ROWS = [[3, 1, 4], [1, 5, 9, 2], [6, 5]]


@pytest.fixture(autouse=True)
def steps_are_recorded_at_once(monkeypatch):
    monkeypatch.setattr(decoding, "PATIENCE", 0)


def recorded(step, *inputs: Tensor):
    with Recording(*inputs) as recording:
        result = step(*inputs)
    return result, recording.finished(result)


# --- recording --------------------------------------------------------------------------------------------------------


def test_what_was_recorded_is_called_again_with_other_inputs():
    weight, memory = torch.randn(6, 4), torch.zeros(3, 6)

    def step(x: Tensor, y: Tensor) -> Tensor:
        h = F.layer_norm(x, (x.shape[-1],)) @ weight.t()
        first, second = h.split(h.shape[1] // 2, dim=1)
        h = torch.cat([second, first * 2], dim=-1)
        h += y[:, None]
        h[:, 0] = 1.5
        memory.copy_(h)
        low, _ = h.min(-1, keepdim=True)
        return F.dropout(h - low, 0.5, training=False)[..., 1:-1].T

    given = torch.randn(3, 4), torch.randn(3)
    result, play = recorded(step, *given)
    assert torch.equal(play(*given), result)
    others = torch.randn(3, 4), torch.randn(3)
    played = play(*others)
    seen = memory.clone()
    assert torch.equal(step(*others), played) and torch.equal(seen, memory)
    weight.add_(1)  # looked at where it is
    assert torch.equal(play(*others), step(*others)) and not torch.equal(play(*others), played)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x * x.max().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x[x > 0],
        lambda x: torch.where(x > 0)[0],
        lambda x: x.repeat_interleave((x > 0).long(), dim=0),
        lambda x: x * int(x[0]),
        lambda x: x.nonzero(),
    ],
    ids=["item", "bool", "mask", "where", "repeats", "int", "nonzero"],
)
def test_a_step_that_looks_at_its_numbers_is_not_recorded(step):
    with pytest.raises(CannotRecordError):
        recorded(step, torch.ones(3))


def test_tensors_that_hide_in_something_else_are_not_recorded():
    with pytest.raises(CannotRecordError, match="in a slice"):
        recorded(lambda x: torch.arange(9)[x[0] : x[1]], torch.tensor([2, 5]))


def test_a_played_step_keeps_nothing_alive():
    made: list[weakref.ref] = []

    def step(x: Tensor) -> Tensor:
        y = x + 1
        made.append(weakref.ref(y))
        return y * 2

    gc.disable()  # so that nothing is freed but by its last reference
    try:
        x = torch.zeros(2)
        owner = weakref.ref(x)
        result, play = recorded(step, x)
        del x, result
        assert made[0]() is None and owner() is None
        scope = weakref.ref(play)
        del play
        assert scope() is None
    finally:
        gc.enable()


# --- playing ----------------------------------------------------------------------------------------------------------


def read_on(trunk: nn.Module, steps: int = 8) -> tuple[list[Tensor], KVReader]:
    """Three rows of different lengths, one of which leaves, one of which waits once and is rewound."""
    reader, generator, said = KVReader(trunk, 3, 64), torch.Generator().manual_seed(0), []
    reader.read([list(row) for row in ROWS])
    for step in range(steps):
        if step == 4:
            reader.keep([0, 2])
        if step == 6:
            reader.rewind(0, 3)
        blocks = torch.randint(TOKENS, (len(reader.lengths), 1), generator=generator).tolist()
        if step == 5:
            blocks[1] = []
        said.append(reader.read(blocks)[: 1 if step == 5 else None])
    return said, reader


@pytest.mark.parametrize("kind", [*ARCHITECTURES, "lora", "bfloat16"])
def test_a_played_step_says_what_the_model_says(kind):
    settings = {"lora": {"lora": 2}, "bfloat16": {"dtype": torch.bfloat16}}.get(kind, {})
    trunk = lm_actor("llama" if settings else kind, **settings)._trunk.layers
    PLAYABLE[trunk] = False
    own, reader = read_on(trunk)
    assert reader.play is None
    del PLAYABLE[trunk]
    first, reader = read_on(trunk)
    assert PLAYABLE[trunk] and reader.play is not None and reader.rows == 2
    again, _ = read_on(trunk)
    for expected, *found in zip(own, first, again, strict=True):
        for hidden in found:
            assert (expected - hidden).abs().max() <= (0.05 if kind == "bfloat16" else 1e-5) * expected.abs().max()


def test_the_reading_whose_steps_are_compared_is_bit_for_bit_every_later_one():
    """Else a resumed run would not be the one that was never interrupted. Where heads share keys, the model's own keys and values may
    differ in their last bits, and must not be those that the next step looks at."""
    trunk, said = lm_actor("llama", model={"width": 256, "heads": 8})._trunk.layers, []
    for _ in range(2):
        reader = KVReader(trunk, 4)
        said.append(torch.stack([reader.read([[row + step, 5][: 1 + (step == 0)] for row in range(4)]) for step in range(8)]))
        assert PLAYABLE[trunk]
    assert torch.equal(said[0], said[1])


@pytest.mark.parametrize(("dtype", "playable"), [(torch.float32, False), (torch.bfloat16, True)])
def test_what_is_a_rounding_in_bfloat16_does_not_tell_one_reading_from_another(dtype, playable, monkeypatch):
    attend = decoding.RaggedCache.attend
    monkeypatch.setattr(decoding.RaggedCache, "attend", lambda *args: attend(*args) * (1 + torch.finfo(torch.bfloat16).eps))
    trunk = lm_actor("llama", dtype=dtype)._trunk.layers
    read_on(trunk)
    assert PLAYABLE[trunk] is playable


def test_weights_that_moved_between_two_rollouts_are_those_that_are_played():
    actor = lm_actor("gpt2")
    trunk = actor._trunk.layers
    before, _ = read_on(trunk)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.data = parameter * 1.5
    after, _ = read_on(trunk)
    PLAYABLE[trunk] = False
    expected, _ = read_on(trunk)
    assert all((a - e).abs().max() < 1e-5 * e.abs().max() for a, e in zip(after, expected, strict=True))
    assert (before[0] - after[0]).abs().max() > 0.01


class Looks(nn.Module):
    """A norm that does another thing where its input is large."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) if x.abs().max() < 1 else self.norm(x) * 2


class Counts(Looks):
    """A norm that scales by how often it was called, which no tensor tells."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(x) * (1 + self.calls % 7)


class Fails(Looks):
    def forward(self, x: Tensor) -> Tensor:
        raise FloatingPointError("the model's own")


class Precise(Looks):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.norm(x) @ torch.eye(x.shape[-1])


class Meanwhile(Looks):
    """Another thread reads another model while this one is read."""

    def __init__(self, norm: nn.Module):
        super().__init__(norm)
        self.others = lm_actor("gpt2")._trunk.layers

    def forward(self, x: Tensor) -> Tensor:
        other = threading.Thread(target=read_on, args=(self.others,))
        other.start()
        other.join()
        return self.norm(x)


def test_where_autocast_is_on_nothing_is_played():
    """A model that switches it off for a few lines does so by no torch function."""
    trunk, said = lm_actor("llama")._trunk.layers, []
    trunk.norm = Precise(trunk.norm)
    read_on(trunk)
    assert PLAYABLE[trunk]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for PLAYABLE[trunk] in (True, False):
            said.append(read_on(trunk)[0])
    assert all(torch.equal(played, own) for played, own in zip(*said, strict=True))


def test_two_threads_may_record_two_models():
    alone, _ = read_on(lm_actor("llama")._trunk.layers)
    trunk = lm_actor("llama")._trunk.layers
    trunk.layers[0].mlp = Meanwhile(trunk.layers[0].mlp)
    both, _ = read_on(trunk)
    assert PLAYABLE[trunk] and all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))


@pytest.mark.parametrize("norm", [Looks, Counts])
def test_a_model_that_cannot_be_played_is_read_by_itself(norm):
    said = []
    for playable in (True, False):
        trunk = lm_actor("llama")._trunk.layers
        trunk.norm = norm(trunk.norm)
        if not playable:
            PLAYABLE[trunk] = False
        if norm is Looks or not playable:
            said.append(read_on(trunk)[0])
        else:  # it counts the recorded and the compared step as well
            read_on(trunk)
        assert PLAYABLE[trunk] is False
    assert all(torch.equal(a, b) for a, b in zip(said[0], said[-1], strict=True))


def test_a_model_that_changes_what_the_cache_gives_it_is_read_by_itself_from_the_first_step_on():
    """DiffLlama doubles its values' heads after the cache has taken them, so a recorded step would hold others."""
    from transformers import DiffLlamaConfig, DiffLlamaModel

    torch.manual_seed(0)
    trunk = DiffLlamaModel(DiffLlamaConfig(vocab_size=TOKENS, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                                           num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)).eval()  # fmt: skip
    first, _ = read_on(trunk)
    assert PLAYABLE[trunk] is False
    assert all(torch.equal(a, b) for a, b in zip(first, read_on(trunk)[0], strict=True))


def test_what_goes_wrong_in_a_model_is_told_as_it_is():
    trunk = lm_actor("llama")._trunk.layers
    reader = KVReader(trunk, 3)
    reader.read([list(row) for row in ROWS])
    trunk.norm = Fails(trunk.norm)
    with pytest.raises(FloatingPointError, match="the model's own"):
        reader.read([[1], [2], [3]])
    assert trunk.config._attn_implementation == "sdpa"
    assert not any(name.startswith(decoding.STEP) for name in decoding.ALL_ATTENTION_FUNCTIONS)


def test_a_step_is_recorded_once_it_has_been_taken_often_enough(monkeypatch):
    monkeypatch.setattr(decoding, "PATIENCE", 2)
    reader, recorded_at = KVReader(lm_actor("gpt2")._trunk.layers, 3), []
    reader.read([list(row) for row in ROWS])
    for step in range(9):
        if step == 4:
            reader.keep([0, 2])
        reader.read([[5, 6] if step == 5 else [1]] * len(reader.lengths))
        recorded_at.append(reader.play is not None)
    assert recorded_at == [False, False, True, True, False, False, False, True, True]


def test_hooks_are_called_for_every_token():
    trunk = lm_actor("llama")._trunk.layers
    shapes: list[tuple[int, ...]] = []
    trunk.layers[0].register_forward_hook(lambda module, args, output: shapes.append(tuple(args[0].shape[:2])))
    read_on(trunk)
    assert shapes == [(3, 4), *[(3, 1)] * 4, *[(2, 1)] * 4]


def test_a_session_is_let_go_with_its_last_reference():
    """Keys and values of a rollout must not wait for the garbage collector."""
    trunk = lm_actor("gpt2")._trunk.layers
    gc.disable()
    try:
        _, reader = read_on(trunk)
        cache = weakref.ref(reader.cache)
        assert reader.play is not None
        del reader
        assert cache() is None
    finally:
        gc.enable()


def test_a_run_is_the_same_with_and_without_recorded_steps(monkeypatch):
    """Bit for bit, where each head has keys of its own: what is played are the same kernels on the same numbers."""
    outcomes = []
    for records in (True, False):
        monkeypatch.setattr(decoding, "PLAYABLE", weakref.WeakKeyDictionary() if records else Never())
        actor = LMActorNetwork("models/reasoner")
        result = train_agent("CoTEnv-v0", actor, max_episodes=48, num_envs=24, update_interval=24, seed=0, save_path=None)
        outcomes.append((list(result), [p.detach().clone() for p in actor.parameters()]))
        assert records == (True in dict(decoding.PLAYABLE).values())
    (with_returns, with_weights), (returns, weights) = outcomes
    assert with_returns == returns and all(torch.equal(a, b) for a, b in zip(with_weights, weights, strict=True))


class Never(dict):
    """Says of every model that it cannot be played."""

    def get(self, key, default=None):
        return False
