import copy
import pickle

import pytest
import torch
from torch import nn

from gymformer.rl.optim import PackedAdam

SHAPES = [(3, 4), (4,), (2, 1, 2), ()]


def some_parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def some_gradients(step: int) -> tuple[torch.Tensor, ...]:
    """Of very different sizes, so that some are clipped and some are not."""
    generator = torch.Generator().manual_seed(100 + step)
    return tuple(torch.randn(shape, generator=generator) * 10.0 ** (step % 5 - 3) for shape in SHAPES)


def loss_with(parameters: list[nn.Parameter], gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A loss whose gradient is `gradients`: Σ θ · g."""
    return torch.stack([(p * g).sum() for p, g in zip(parameters, gradients, strict=True)]).sum()


def step_on(optimizer: PackedAdam, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.collect()
    optimizer.step()


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_equals_torch_adam_after_clipping(max_norm):
    ours, theirs = some_parameters(), some_parameters()
    packed, adam = PackedAdam(ours, 1e-2, max_norm), torch.optim.Adam(theirs, lr=1e-2, eps=1e-5)
    for step in range(20):
        gradients = some_gradients(step)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        expected_norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm or float("inf"))
        adam.step()
        packed.zero_grad()
        loss_with(ours, gradients).backward()
        norm = packed.clip()
        packed.step()
        assert norm == pytest.approx(expected_norm.item(), rel=1e-5)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_parameters_stay_views_of_one_vector_also_after_loading_values():
    network = nn.Linear(3, 2)
    packed = PackedAdam(list(network.parameters()), 0.1)
    network.load_state_dict(nn.Linear(3, 2).state_dict())
    packed.gradient.fill_(1.0)
    packed.step()
    assert all(p.data_ptr() - packed.vector.data_ptr() in range(8 * 4) for p in network.parameters())
    torch.testing.assert_close(torch.cat([p.reshape(-1) for p in network.parameters()]), packed.vector)


def test_packing_does_not_change_values_or_what_a_network_computes(generator):
    network, inputs = nn.Linear(3, 2), torch.randn(5, 3, generator=generator)
    before = network(inputs)
    PackedAdam(list(network.parameters()), 0.1)
    assert network(inputs).equal(before)


def test_state_dict_makes_the_next_step_identical():
    ours = some_parameters()
    packed = PackedAdam(ours, 1e-2)
    for step in range(3):
        step_on(packed, loss_with(ours, some_gradients(step)))
    state, values = copy.deepcopy(packed.state_dict()), [nn.Parameter(p.detach().clone()) for p in ours]
    restored = PackedAdam(values, 1e-2)
    restored.load_state_dict(state)
    for optimizer in (packed, restored):
        step_on(optimizer, loss_with(optimizer.parameters, some_gradients(3)))
    assert all(one.equal(other) for one, other in zip(ours, values, strict=True))


def test_no_parameters_are_refused():
    with pytest.raises(ValueError, match=r"got none; .*leave at least one parameter trainable"):
        PackedAdam([], 0.1)


def test_mixed_types_are_refused():
    mixed = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))]
    with pytest.raises(ValueError, match=r"of one type on one device, got .*float32.*float64.*call network.to"):
        PackedAdam(mixed, 0.1)


def test_a_copy_packs_parameters_of_its_own():
    """Pickled or deep-copied together with its network, as other processes get it; the original does not move."""
    network = nn.Linear(3, 2)
    optimizer = PackedAdam(list(network.parameters()), lr=0.1)
    for other, copied in (copy.deepcopy((network, optimizer)), pickle.loads(pickle.dumps((network, optimizer)))):
        before = network.weight.detach().clone()
        step_on(copied, other(torch.ones(1, 3)).sum())
        assert not torch.equal(other.weight, before) and torch.equal(network.weight, before)


def test_a_faster_parameter_moves_so_much_further():
    """Adam's first step is lr · sign(g), here 0.01 and three times that."""
    slow, fast, last = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    optimizer = PackedAdam([slow, fast, last], 0.01, faster={fast: 3.0}, eps=1e-12)
    step_on(optimizer, slow.sum() - fast.sum() + last.sum())
    assert [p.tolist() for p in (slow, fast, last)] == [pytest.approx([x, x]) for x in (-0.01, 0.03, -0.01)]


def test_gradients_of_several_losses_add_up_and_those_of_an_earlier_step_do_not():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = PackedAdam([weight], 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        for factor in (1.0, 2.0):
            (factor * weight.sum()).backward()
            optimizer.collect()
        assert optimizer.gradient.tolist() == [3.0, 3.0]


def test_small_gradients_of_bfloat16_weights_add_up_in_float32():
    """1 + 2⁻⁹ is 1 in bfloat16, whose neighbours of 1 are 2⁻⁷ away."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = PackedAdam([weight], 0.1)
    optimizer.zero_grad()
    for factor in (1.0, 2.0**-9):
        (factor * weight.float()).sum().backward()
        optimizer.collect()
    assert optimizer.gradient.tolist() == [1 + 2.0**-9]


def test_a_parameter_that_the_loss_does_not_see_stays_where_it_is():
    seen, unseen = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    step_on(PackedAdam([seen, unseen], 0.1), seen.sum())
    assert seen.item() != 1 and unseen.item() == 1
