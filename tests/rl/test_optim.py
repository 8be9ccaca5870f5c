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
        clipped = packed.gradient(loss_with(ours, gradients))
        norm = packed.clipped(clipped)
        packed.step(clipped)
        assert norm == pytest.approx(expected_norm.item(), rel=1e-5)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_parameters_stay_views_of_one_vector_also_after_loading_values():
    network = nn.Linear(3, 2)
    packed = PackedAdam(list(network.parameters()), 0.1)
    network.load_state_dict(nn.Linear(3, 2).state_dict())
    packed.step(torch.ones(8))
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
        packed.step(packed.gradient(loss_with(ours, some_gradients(step))))
    state, values = copy.deepcopy(packed.state_dict()), [nn.Parameter(p.detach().clone()) for p in ours]
    restored = PackedAdam(values, 1e-2)
    restored.load_state_dict(state)
    for optimizer in (packed, restored):
        optimizer.step(optimizer.gradient(loss_with(optimizer.parameters, some_gradients(3))))
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
        gradient = copied.gradient(other(torch.ones(1, 3)).sum())
        copied.step(gradient)
        assert not torch.equal(other.weight, before) and torch.equal(network.weight, before)
