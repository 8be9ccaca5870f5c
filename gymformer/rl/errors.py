"""The errors that stop training, with what led there."""

import pickle
from collections.abc import Mapping

import numpy as np
import torch

__all__ = ["NonFiniteError", "RatioError", "portable"]


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity in a reward, an observation, the loss or a gradient; `evidence` holds the arrays around it."""

    def __init__(self, what: str, message: str, evidence: Mapping[str, np.ndarray | torch.Tensor]):
        super().__init__(message)
        self.what = what
        self.evidence = {name: np.asarray(torch.as_tensor(value).detach().cpu()) for name, value in evidence.items()}

    def __reduce__(self) -> tuple:  # an exception is rebuilt from its message alone unless it says otherwise
        return type(self), (self.what, str(self), self.evidence), vars(self)


class RatioError(RuntimeError):
    """The update recomputed other log-probabilities than those that the rollout stored: π(a|s) / π_old(a|s) is not 1."""


def portable(error: Exception) -> Exception:
    """The error itself where another process can rebuild it, else a RuntimeError of the same words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does not allow
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
