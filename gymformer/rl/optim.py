"""Adam over a network packed into one vector: its norm, its clipping and its step are one kernel each."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["PackedAdam"]


class PackedAdam:
    """Adam (arXiv:1412.6980, algorithm 1), after clipping the gradient to a norm of `max_norm` (None: not clipped).

    The parameters become views of one vector, so a small network pays for a handful of kernels instead of a dozen for each
    of its tensors (a quarter of a gradient step's time at minibatches of 64, a fifth at 256; at 2048 it costs an eighth:
    benchmarks/README.md). Tested equal to torch.optim.Adam. Values may
    be loaded into the parameters, but they must not be moved to another device afterwards.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, max_norm: float | None = None, *,
                 faster: Mapping[nn.Parameter, float] | None = None, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-5):  # fmt: skip
        kinds = {(p.dtype, p.device) for p in parameters}
        if len(kinds) != 1:
            raise ValueError("the parameters of one network must be of one type on one device, got "
                             f"{sorted(map(str, kinds)) or 'none'}; call network.to(device, dtype) first, and leave at least "
                             "one parameter trainable")  # fmt: skip
        self.parameters, self.lr, self.max_norm, self.betas, self.eps = parameters, lr, max_norm, betas, eps
        self.vector = torch.cat([p.detach().reshape(-1) for p in parameters])
        self._pack()
        # Steps are far smaller than bfloat16 can add to a weight, so the sum is kept in float32.
        self.exact = self.vector.to(torch.promote_types(self.vector.dtype, torch.float32))  # itself where it is precise
        self.mean, self.square = torch.zeros_like(self.exact), torch.zeros_like(self.exact)
        self.steps = 0
        self.pace: Tensor | None = None  # of each number's step, where they are not all the same
        if faster:
            self.pace = torch.cat([torch.full((p.numel(),), faster.get(p, 1.0), device=p.device) for p in parameters])

    def _pack(self) -> None:
        """The parameters become views of the vector."""
        for parameter, part in zip(self.parameters, self.vector.split([p.numel() for p in self.parameters]), strict=True):
            parameter.data = part.view_as(parameter)

    def __setstate__(self, state: dict) -> None:  # of a copy, or in another process, where views come as tensors of their own
        vars(self).update(state)
        self._pack()

    def gradient(self, loss: Tensor, retain_graph: bool = False) -> Tensor:
        """The gradient of `loss` as one vector, in float32 at least."""
        gradients = torch.autograd.grad(
            loss, self.parameters, retain_graph=retain_graph, allow_unused=True, materialize_grads=True
        )
        return torch.cat([g.reshape(-1) for g in gradients]).to(self.exact.dtype)

    def clipped(self, gradient: Tensor) -> float:
        """Clips the gradient in place; its norm before."""
        norm = torch.linalg.vector_norm(gradient).item()
        if self.max_norm is not None and norm > self.max_norm:
            gradient.mul_(self.max_norm / norm)
        return norm

    def step(self, gradient: Tensor) -> None:
        """θ ← θ - lr · m̂ / (√v̂ + ε) with the bias-corrected running means m̂ of g and v̂ of g²."""
        if self.parameters[0].data_ptr() != self.vector.data_ptr():
            raise RuntimeError("the parameters are no longer those that this optimiser packed: the network was moved or converted, or "
                               "a newer optimiser packed it; build a new PPO(actor, critic)")  # fmt: skip
        beta1, beta2 = self.betas
        self.steps += 1
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = self.square.sqrt().div_(math.sqrt(1 - beta2**self.steps)).add_(self.eps)
        if self.pace is not None:
            denominator.div_(self.pace)
        self.exact.addcdiv_(self.mean, denominator, value=-self.lr / (1 - beta1**self.steps))
        if self.exact is not self.vector:
            self.vector.copy_(self.exact)

    def state_dict(self) -> dict[str, Tensor]:
        exact = {} if self.exact is self.vector else {"exact": self.exact}
        return exact | {"mean": self.mean, "square": self.square, "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self.exact is not self.vector:
            self.exact.copy_(state["exact"])
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.steps = int(state["steps"])
