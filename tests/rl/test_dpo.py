"""DPO: the loss by hand, the implied rewards, and that it prefers what was chosen."""

import math

import pytest
import torch

from gymformer.data.preferences import load_preferences
from gymformer.lm.rows import RowFormat
from gymformer.rl.dpo import DPO, DPOConfig, Pair, answered, dpo_loss, log_probs_of_answers
from gymformer.rl.networks import match_tokens
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm
from gymformer.trainer.preference_batches import pairs_of

PAIRS = [Pair((i, 2), (3, 4, 5), (6, 7)) for i in range(8)]


def learner(**config) -> DPO:
    actor = LMActorNetwork(tiny_lm(12))
    match_tokens(actor, 12)
    return DPO(actor, actor.reference(), DPOConfig(**config), torch.Generator().manual_seed(0))


def test_the_loss_of_three_margins():
    """-log σ(0) = log 2; -log σ(1) = log(1 + e⁻¹) = 0.3133; smoothed by 0.1: 0.9·0.3133 + 0.1·1.3133 = 0.4133."""
    assert dpo_loss(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([math.log(2), 0.313262], abs=1e-5)
    assert dpo_loss(torch.tensor([1.0]), 0.1).item() == pytest.approx(0.413262, abs=1e-5)


def test_the_log_probability_of_an_answer_is_the_sum_over_its_tokens():
    actor = learner().actor
    expected = sum(
        torch.log_softmax(actor(torch.tensor([[1, 2, *(3, 4, 5)[:i]]])), -1)[0, token].item()
        for i, token in enumerate((3, 4, 5))
    )
    together = log_probs_of_answers(actor, [answered((1, 2), (3, 4, 5)), answered((0, 2), (6, 7))])
    assert together[0].item() == pytest.approx(expected, abs=1e-5)


def test_at_first_nothing_is_preferred():
    stats = learner(lr=1e-9).step(PAIRS)
    assert stats["loss"] == pytest.approx(math.log(2), abs=1e-6) and stats["margin"] == pytest.approx(0, abs=1e-6)


def test_the_gradient_is_that_of_the_formula():
    """By autograd on log-probabilities of each answer by itself."""
    dpo = learner(beta=0.5, max_grad_norm=None, lr=1e-9)
    with torch.no_grad():
        for parameter in dpo.actor.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))

    def margin(pair: Pair) -> torch.Tensor:
        one, other = (log_probs_of_answers(dpo.actor, [answered(pair.prompt, a)])[0] for a in (pair.chosen, pair.rejected))
        with torch.no_grad():
            a, b = (log_probs_of_answers(dpo.reference, [answered(pair.prompt, a)])[0] for a in (pair.chosen, pair.rejected))
        return 0.5 * ((one - a) - (other - b))

    loss = -torch.stack([torch.log(torch.sigmoid(margin(pair))) for pair in PAIRS]).mean()
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, dpo.optimizer.parameters)])
    assert dpo.step(PAIRS)["loss"] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(dpo.optimizer.gradient, expected, rtol=1e-4, atol=1e-6)


def test_it_learns_to_prefer_what_was_chosen_and_leaves_the_reference_alone():
    dpo = learner(lr=1e-3, epochs=20, minibatch_size=4)
    before = log_probs_of_answers(dpo.reference, [answered((1, 2), (3, 4, 5))]).item()
    dpo.update(PAIRS)
    stats = dpo.step(PAIRS)
    assert stats["accuracy"] == 1.0 and stats["margin"] > 0.3
    assert log_probs_of_answers(dpo.reference, [answered((1, 2), (3, 4, 5))]).item() == before


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"beta": -1}, {"label_smoothing": 0.5}, {"minibatch_size": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=f"DPOConfig.{next(iter(wrong))}="):
        DPOConfig(**wrong)


def test_empty_answers_and_no_pairs_are_refused():
    with pytest.raises(ValueError, match="at least one token each"):
        Pair((1,), (), (2,))
    with pytest.raises(ValueError, match="no pairs"):
        learner().update([])


def test_pairs_are_each_best_candidate_against_each_other_one():
    rows = RowFormat(byte_tokenizer(), "chat", byte_tokenizer().eos_token_id)
    records = load_preferences([{"query": "Hi", "sample0": "a", "sample1": "b", "sample2": "c", "best": [0, 2]},
                                {"query": "Yo", "sample0": "d", "sample1": "e", "sample2": "f", "best": 1}])  # fmt: skip
    pairs = pairs_of(records, rows)
    end = byte_tokenizer().eos_token_id
    answers = [(bytes(p.chosen[:-1]).decode(), bytes(p.rejected[:-1]).decode()) for p in pairs]
    assert answers == [("a", "b"), ("c", "b"), ("e", "d"), ("e", "f")]
    assert all(p.chosen[-1] == p.rejected[-1] == end for p in pairs)
    assert pairs[0].prompt == tuple(rows.prompt_ids("Hi")) and len(pairs[0].prompt) > 2
