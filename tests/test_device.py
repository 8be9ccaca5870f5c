import pytest
import torch
from torch import nn

from gymformer import device
from gymformer.device import is_small, num_parameters, resolve_device, threads_for

SMALL, LARGE = nn.Linear(3, 2), nn.Linear(1000, 1000)


@pytest.fixture(params=[False, True], ids=["no GPU", "GPU"])
def has_gpu(request, monkeypatch) -> bool:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_shared_parameters_count_once():
    assert num_parameters(SMALL) == 8
    assert num_parameters(SMALL, SMALL, nn.Sequential(SMALL, nn.Linear(2, 1))) == 11


def test_small_is_less_than_a_million():
    assert is_small(SMALL) and not is_small(LARGE)
    assert not is_small(*(nn.Linear(500, 1000) for _ in range(2)))  # together
    assert device.SMALL == 1_000_000


def test_auto_takes_a_gpu_where_there_is_one_and_it_pays(has_gpu):
    gpu = "cuda" if has_gpu else "cpu"
    assert resolve_device("auto", SMALL) == torch.device("cpu")
    assert resolve_device("auto", LARGE) == torch.device(gpu)
    assert resolve_device("auto") == torch.device(gpu)


def test_a_device_asked_for_is_given_or_refused(has_gpu):
    assert resolve_device("cpu", LARGE) == resolve_device(torch.device("cpu")) == torch.device("cpu")
    if has_gpu:
        assert resolve_device("cuda:1", SMALL) == torch.device("cuda:1")
    else:
        with pytest.raises(ValueError, match=r'device="cuda" was asked for, but .* sees no CUDA device; use device="auto"'):
            resolve_device("cuda", SMALL)


@pytest.mark.parametrize(("kind", "network", "inside"), [("cpu", SMALL, 1), ("cpu", LARGE, 2), ("cuda", SMALL, 2)])
def test_small_networks_on_the_cpu_use_one_thread_and_afterwards_as_many_as_before(kind, network, inside):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), threads_for(torch.device(kind), network) as threads:
            assert threads == torch.get_num_threads() == inside
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
