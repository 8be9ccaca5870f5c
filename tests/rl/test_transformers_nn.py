"""Language models as actors and critics: what is learned, what is frozen, and what a reference is."""

import copy
import math

import pytest
import torch
from gymnasium import spaces
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from gymformer.rl.batch import States
from gymformer.rl.envs import make_envs
from gymformer.rl.networks import _one_by_one, match_actions, match_critic, match_tokens
from gymformer.rl.rollouts import collect
from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork
from gymformer.testing import byte_tokenizer, tiny_lm
from tests.helpers import parameters_of, ppo_for
from tests.language import ARCHITECTURES, TOKENS, Chatter, lm_actor, randomize, sharp_lm, stored_and_recomputed, with_value_head


def some_states() -> States:
    """Seven states of three rows of 8, 5 and 1 tokens, padded with tokens that are not 0."""
    inputs = torch.randint(0, TOKENS, (3, 8), generator=torch.Generator().manual_seed(0))
    return States(inputs, torch.tensor([0, 0, 0, 1, 1, 2, 0]), torch.tensor([2, 3, 7, 0, 4, 0, 3]))


def outputs(actor, tokens=((1, 2, 3), (4, 4, 4))) -> torch.Tensor:
    with torch.no_grad():
        return actor(torch.tensor(tokens))


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_pass_over_the_rows_gives_what_each_state_read_alone_gives(architecture, lora):
    actor, head = with_value_head(lm_actor(architecture, lora=lora))
    critic = LMCriticNetwork(sharp_lm(architecture))
    randomize(critic.head, "")
    states = some_states()
    with torch.no_grad():
        for network in (actor, head, critic):
            torch.testing.assert_close(network.evaluate(states), _one_by_one(network, states), rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_transformers(architecture):
    lm = sharp_lm(architecture)
    tokens = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 7]])
    with torch.no_grad():
        expected = lm(tokens).logits[:, -1]
    torch.testing.assert_close(outputs(LMActorNetwork(lm), tokens.tolist()), expected, rtol=0, atol=1e-5)


def test_a_model_that_scales_or_caps_its_logits_is_known_and_any_other_is_refused():
    from transformers import CohereConfig, CohereForCausalLM, GraniteConfig, GraniteForCausalLM

    shape = {"vocab_size": 8, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "num_key_value_heads": 2, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}  # fmt: skip
    for lm in (
        CohereForCausalLM(CohereConfig(logit_scale=0.25, **shape)),
        GraniteForCausalLM(GraniteConfig(logits_scaling=8.0, **shape)),
    ):
        with torch.no_grad():
            expected = lm.eval()(torch.tensor([[1, 2]])).logits[:, -1]
        torch.testing.assert_close(outputs(LMActorNetwork(lm), [[1, 2]]), expected)

    class Shifted(GPT2LMHeadModel):
        def forward(self, *args, **kwargs):
            result = super().forward(*args, **kwargs)
            result.logits = result.logits + torch.arange(result.logits.shape[-1])
            return result

    with pytest.raises(TypeError, match="Shifted does more to its logits than project its last hidden state, or reads more"):
        LMActorNetwork(Shifted(GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2)))


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_a_prompt_that_is_learned_is_refused(kind):
    """It would silently be left out: what is read is the model inside."""
    import peft

    lm = peft.get_peft_model(sharp_lm("llama"), getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(TypeError, match=r"reads more than its tokens \(as prompt tuning does\)"):
        LMActorNetwork(lm)


def test_a_row_longer_than_the_context_is_refused():
    actor = lm_actor(model={"context": 8})
    assert actor.context == 8
    with pytest.raises(ValueError, match="a row of 9 tokens is longer than the model's context of 8; shorten the prompt"):
        actor(torch.zeros(1, 9, dtype=torch.int64))


def test_the_head_starts_at_zero():
    head, critic = lm_actor().value_head(), LMCriticNetwork(sharp_lm())
    for network in (head, critic):
        assert network(torch.tensor([[1, 2], [3, 4]])).tolist() == [0.0, 0.0]


def test_a_critics_unused_vocabulary_is_not_trained_and_a_tied_one_is():
    frozen = {architecture: [name for name, p in LMCriticNetwork(tiny_lm(8, architecture)).named_parameters() if not p.requires_grad]
              for architecture in ("llama", "gpt2")}  # fmt: skip
    assert frozen == {"llama": ["lm.lm_head.weight"], "gpt2": []}


# --- dropout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [
    lambda: tiny_lm(TOKENS, "gpt2", dropout=0.5),
    lambda: tiny_lm(TOKENS, "llama", dropout=0.5),
    lambda: OPTForCausalLM(OPTConfig(vocab_size=TOKENS, hidden_size=16, ffn_dim=16, num_hidden_layers=3, num_attention_heads=2,
                                     max_position_embeddings=32, word_embed_proj_dim=16, dropout=0.5, attention_dropout=0.5, layerdrop=0.5)),
], ids=["gpt2", "llama", "opt, which drops whole layers"])  # fmt: skip
def test_a_model_with_dropout_in_train_mode_is_the_same_in_rollout_and_update(model, generator):
    lm = model()
    with torch.no_grad():  # of few layers the same ones may be dropped twice, but hardly fifty times
        first, *others = (lm.train()(torch.tensor([[1, 2]])).logits for _ in range(50))
    assert not all(first.equal(other) for other in others), "no dropout to begin with"
    actor = LMActorNetwork(lm)
    match_tokens(actor, TOKENS)
    actor.train()
    assert outputs(actor).equal(outputs(actor))
    stored, recomputed = stored_and_recomputed(actor, collect(make_envs(Chatter, 3), actor, episodes=6, generator=generator))
    assert (stored - recomputed).abs().max() < 1e-4


@pytest.mark.parametrize("ready", [False, True], ids=["config", "a model that peft has wrapped"])
def test_an_adapters_dropout_is_off_too(ready):
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=2, lora_dropout=0.5, target_modules="all-linear", fan_in_fan_out=True)
    actor = LMActorNetwork(get_peft_model(sharp_lm(), lora)) if ready else LMActorNetwork(sharp_lm(), lora=lora)
    randomize(actor, "lora_B")
    actor.train()
    assert outputs(actor).equal(outputs(actor))
    assert lora.lora_dropout == 0.5, "the user's own config was changed"


def test_matching_an_actor_leaves_each_of_its_modules_in_its_mode():
    """A model comes from its folder in eval mode, inside an actor that is in train mode as every new module."""
    actor = LMActorNetwork(tiny_lm(TOKENS))
    modes = [module.training for module in actor.modules()]
    assert {True, False} == set(modes)
    match_tokens(actor, TOKENS)
    assert [module.training for module in actor.modules()][: len(modes)] == modes


# --- the vocabulary ---------------------------------------------------------------------------------------------------


def test_rows_beyond_the_environments_tokens_have_probability_zero(generator):
    """As Qwen pads its vocabulary from 151,646 to 151,936."""
    actor = LMActorNetwork(sharp_lm(num_tokens=TOKENS + 30))
    with torch.no_grad():
        actor.lm.transformer.wte.weight[TOKENS:] *= 20
    match_tokens(actor, TOKENS)
    segments = collect(make_envs(Chatter, 5), actor, episodes=20, generator=generator)
    assert max(segment.actions.max() for segment in segments) < TOKENS
    stored, recomputed = stored_and_recomputed(actor, segments)
    assert (stored - recomputed).abs().max() < 1e-4
    for segment in segments:  # the probability is that among the tokens that there are
        logits = outputs(actor, [segment.rows[0][: segment.col[0] + 1].tolist()])[0]
        assert segment.log_probs[0] == pytest.approx(
            torch.log_softmax(logits[:TOKENS], -1)[segment.actions[0]].item(), abs=1e-4
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_too_few_rows_are_refused_and_the_remedy_works(architecture):
    actor = LMActorNetwork(tiny_lm(10, architecture))
    with pytest.raises(
        ValueError, match=r"has 10 output rows, but the environment has 12 tokens; call actor.lm.resize_token_embeddings\(12\)"
    ):
        match_tokens(actor, 12)
    actor.lm.resize_token_embeddings(12)
    match_tokens(actor, 12)
    assert outputs(actor, [[11, 10]]).shape == (1, 12)


def test_what_cannot_read_tokens_or_vectors_is_refused():
    with pytest.raises(ValueError, match="the actor cannot read a batch of rows of tokens"):
        match_tokens(nn.Linear(4, 2), 2)
    with pytest.raises(ValueError, match="the actor turned two rows of one token into outputs of shape"):
        match_tokens(nn.Flatten(0), 5)
    with pytest.raises(ValueError, match="the critic cannot read a batch of rows of tokens"):
        match_critic(nn.Linear(4, 1), (1,), num_tokens=1)
    with pytest.raises(ValueError, match=r"the actor cannot read a batch of observations of shape \(4,\)"):
        match_actions(LMActorNetwork(tiny_lm(8)), spaces.Discrete(2), (4,))
    with pytest.raises(AssertionError, match="reads tokens, not vectors"):
        lm_actor().evaluate(States(torch.zeros(2, 4)))


def test_a_ready_module_has_no_tokenizer_unless_one_is_given():
    actor = LMActorNetwork(tiny_lm(261))
    assert not actor.has_tokenizer
    with pytest.raises(
        ValueError, match=r"made of a ready module and has no tokenizer; give LMActorNetwork\(model, tokenizer=...\)"
    ):
        actor.tokenizer  # noqa: B018
    tokenizer = byte_tokenizer()
    assert LMActorNetwork(tiny_lm(261), tokenizer=tokenizer).tokenizer is tokenizer


def test_a_type_of_weights_has_a_name_or_is_one_of_torchs():
    for dtype in ("bfloat16", torch.bfloat16):
        assert LMActorNetwork("models/reasoner", dtype=dtype).lm.dtype == torch.bfloat16
    for dtype in ("bf16", torch.int64):
        with pytest.raises(ValueError, match='is not known; use "float32", "bfloat16" or "auto"'):
            LMActorNetwork("models/reasoner", dtype=dtype)


@pytest.mark.parametrize("lora", [True, "16"])
def test_an_adapter_has_a_rank(lora):
    with pytest.raises(TypeError, match=f"lora={lora!r}; give a rank such as lora=16"):
        LMActorNetwork(tiny_lm(TOKENS), lora=lora)


def test_a_model_that_is_not_there_is_not_looked_for_on_the_hub():
    with pytest.raises(FileNotFoundError, match="models/reasonr was not found; looked for"):
        LMActorNetwork("models/reasonr")


def test_the_tokenizer_lies_beside_the_model_or_there_is_none(tmp_path):
    tiny_lm(261).save_pretrained(tmp_path)
    assert not LMActorNetwork(tmp_path).has_tokenizer
    byte_tokenizer().save_pretrained(tmp_path)
    actor = LMActorNetwork(tmp_path)
    assert actor.has_tokenizer and actor.tokenizer.decode([72, 105]) == "Hi"


# --- what is learned --------------------------------------------------------------------------------------------------


def changed(ppo, segments) -> tuple[set[str], set[str]]:
    """Names of the parameters that an update changed, and of those that it left."""
    before = parameters_of(ppo)
    ppo.update(segments)
    after = parameters_of(ppo)
    moved = {name for name in after if not after[name].equal(before[name])}
    return moved, set(after) - moved


@pytest.mark.parametrize("lora", [None, 2], ids=["full", "lora"])
@pytest.mark.parametrize("shared", [True, False], ids=["value head", "critic of its own"])
@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_every_trainable_parameter_moves_and_no_frozen_one(architecture, shared, lora, generator):
    actor = lm_actor(architecture, lora=lora)
    critic = actor.value_head() if shared else LMCriticNetwork(sharp_lm(architecture), lora=lora)
    if not shared and lora:
        randomize(critic, "lora_B")
    ppo = ppo_for(actor, critic, lr_actor=1e-2, lr_critic=1e-2, minibatch_size=20)
    trainable = {id(p) for network in (actor, critic) for p in network.parameters() if p.requires_grad}
    held = [id(p) for optimizer in ppo.optimizers for p in optimizer.parameters]
    assert sorted(held) == sorted(trainable), "each trainable parameter belongs to exactly one optimiser"
    assert len(ppo.optimizers) == (1 if shared else 2)
    segments = collect(make_envs(lambda: Chatter(longest=12), 4), actor, episodes=12, generator=generator, critic=critic)
    moved, _ = changed(ppo, segments)
    names = {
        f"{name}.{key}": p.requires_grad for name, network in ppo.networks().items() for key, p in network.named_parameters()
    }
    assert moved == {name for name, learns in names.items() if learns}
    assert not lora or {name for name in moved if "lora_" not in name} == {"critic.head.weight", "critic.head.bias"}


def test_frozen_layers_stay(generator):
    lm = sharp_lm()
    lm.transformer.h[0].requires_grad_(False)
    actor = LMActorNetwork(lm)
    ppo = ppo_for(match_tokens(actor, TOKENS), actor.value_head(), lr_actor=1e-2)
    _, left = changed(ppo, collect(make_envs(Chatter, 3), actor, episodes=6, generator=generator))
    assert left == {f"actor.lm.transformer.h.0.{name}" for name, _ in lm.transformer.h[0].named_parameters()}


def test_a_bfloat16_model_has_a_head_that_the_same_optimiser_can_hold():
    for lora in (None, 2):
        actor = lm_actor(dtype=torch.bfloat16, lora=lora)
        head, critic = actor.value_head(), LMCriticNetwork(sharp_lm().bfloat16(), lora=lora)
        expected = torch.float32 if lora else torch.bfloat16  # peft keeps an adapter in float32
        assert head.head.weight.dtype == critic.head.weight.dtype == expected
        assert len(ppo_for(actor, head).optimizers) == 1
        assert len(ppo_for(actor, critic).optimizers) == 2
        assert outputs(head).dtype == outputs(critic).dtype == torch.float32


def test_a_copy_shares_nothing_but_the_tokenizer(generator):
    actor = LMActorNetwork(sharp_lm(num_tokens=261), tokenizer=byte_tokenizer(), lora=2)
    twin = copy.deepcopy(actor)
    assert twin.tokenizer is actor.tokenizer
    before = outputs(twin)
    assert before.equal(outputs(actor))
    randomize(actor, "lora_B")
    assert before.equal(outputs(twin)) and not before.equal(outputs(actor))
    assert {id(p) for p in twin.parameters()}.isdisjoint({id(p) for p in actor.parameters()})


def test_an_adapter_begins_with_the_same_weights_whatever_else_was_drawn():
    first = LMActorNetwork(sharp_lm(), lora=2).state_dict()
    state = torch.get_rng_state()
    second = LMActorNetwork(sharp_lm(), lora=2).state_dict()
    assert torch.get_rng_state().equal(state)
    torch.rand(3)
    third = LMActorNetwork(sharp_lm(), lora=2).state_dict()
    assert all(first[name].equal(second[name]) and first[name].equal(third[name]) for name in first)
    assert any("lora_A" in name and value.any() for name, value in first.items())


def test_a_merged_adapter_computes_the_same_and_leaves_the_actor_as_it_is():
    actor = lm_actor("llama", lora=2)
    merged = actor.merged()
    assert not any("lora" in name for name, _ in merged.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(
            merged(torch.tensor([[1, 2, 3]])).logits[:, -1], outputs(actor, [[1, 2, 3]]), rtol=0, atol=1e-5
        )
    assert any("lora" in name for name, _ in actor.named_parameters())


# --- references -------------------------------------------------------------------------------------------------------

REFERENCES = {
    "copy": lambda: (lm_actor(), False),
    "adapter off": lambda: (lm_actor(lora=2), False),
    "second adapter": lambda: (lm_actor(lora=2), True),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_reference_is_frozen_while_the_actor_learns(kind, generator):
    actor, refreshable = REFERENCES[kind]()
    reference = actor.reference(refreshable)
    at_first, base = outputs(reference), None
    if kind == "adapter off":
        with actor.lm.disable_adapter():
            base = outputs(actor)
        assert at_first.equal(base) and not at_first.equal(outputs(actor))
    else:
        assert at_first.equal(outputs(actor))
    assert not [p for p in reference.parameters() if p.requires_grad]
    ppo = ppo_for(actor, actor.value_head(), lr_actor=1e-2)
    before = outputs(actor)
    for _ in range(2):
        ppo.update(collect(make_envs(Chatter, 3), actor, episodes=4, generator=generator))
        assert outputs(reference).equal(at_first)
    assert not outputs(actor).equal(before)
    trainable = [name for name, p in actor.named_parameters() if p.requires_grad]
    assert len(trainable) == len(ppo.optimizers[0].parameters) - 2, "asking the reference must not change what is learned"


@pytest.mark.parametrize("kind", ["copy", "second adapter"])
def test_a_refreshed_reference_follows_the_actor(kind, generator):
    actor, refreshable = REFERENCES[kind]()
    reference = actor.reference(refreshable)
    ppo = ppo_for(actor, actor.value_head(), lr_actor=1e-2)
    ppo.update(collect(make_envs(Chatter, 3), actor, episodes=4, generator=generator))
    assert not outputs(reference).equal(outputs(actor))
    reference.refresh()
    assert outputs(reference).equal(outputs(actor))
    ppo.update(collect(make_envs(Chatter, 3), actor, episodes=4, generator=generator))
    assert not outputs(reference).equal(outputs(actor))


def test_a_second_adapter_of_embeddings_is_refreshed_too():
    """Whose parameters peft names without a `.weight` at their end."""
    from peft import LoraConfig

    lora = LoraConfig(r=2, target_modules=["wte", "c_attn"], fan_in_fan_out=True)
    actor = LMActorNetwork(sharp_lm(), lora=lora)
    randomize(actor, "lora_")
    reference = actor.reference(refreshable=True)
    assert outputs(reference).equal(outputs(actor))
    assert not math.isclose(outputs(reference).sum().item(), outputs(actor.reference()).sum().item())
    assert [name for name, p in actor.named_parameters() if p.requires_grad and "reference" in name] == []


def test_a_merged_actor_is_not_mixed_with_its_reference():
    actor = lm_actor(lora=2)
    actor.reference(refreshable=True)
    with torch.no_grad():
        torch.testing.assert_close(
            actor.merged()(torch.tensor([[1, 2, 3]])).logits[:, -1], outputs(actor, [[1, 2, 3]]), rtol=0, atol=1e-5
        )
