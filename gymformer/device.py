"""Where a network computes, and with how many threads."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["is_small", "resolve_device", "threads_for"]

SMALL = 1_000_000  # parameters; below, a GPU's launch overhead and a second thread cost more than they bring (measured)


def num_parameters(*networks: nn.Module) -> int:
    return sum(p.numel() for p in {id(p): p for n in networks for p in n.parameters()}.values())


def is_small(*networks: nn.Module) -> bool:
    return num_parameters(*networks) < SMALL


def resolve_device(device: str | torch.device, *networks: nn.Module) -> torch.device:
    """The device that `device` names. "auto" is a GPU where there is one and the networks are large enough to use it."""
    if str(device) != "auto":
        try:
            resolved = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f'device="{device}" is not one that torch knows; use "auto", "cpu" or "cuda"') from error
        if resolved.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f'device="{device}" was asked for, but torch {torch.__version__} sees no CUDA device; '
                             'use device="auto" or device="cpu", or install a CUDA build of torch')  # fmt: skip
        return resolved
    if networks and is_small(*networks):
        return torch.device("cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def threads_for(device: torch.device, *networks: nn.Module) -> Iterator[int]:
    """Inside, torch uses one thread if the networks are small and on the CPU; afterwards as many as before.

    Yields the number of threads in use. A matrix of 64 x 64 is multiplied before a second thread has woken up.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and is_small(*networks):
        torch.set_num_threads(1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
