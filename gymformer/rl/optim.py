"""Adam over a network packed into one vector: its norm, its clipping and its step are one kernel each."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["PackedAdam"]


class PackedAdam:
    """Adam (arXiv:1412.6980, algorithm 1), after clipping the gradient to a norm of `max_norm` (None: not clipped).

    The parameters become views of one vector, and their gradients of another, so a small network pays for a handful of kernels
    instead of a dozen for each of its tensors (benchmarks/README.md says how much that saves), and the gradients of a large one
    are never gathered. Between `zero_grad` and `step`, `backward()` adds to `gradient`. Tested equal to torch.optim.Adam. Values
    may be loaded into the parameters, but they must not be moved to another device afterwards.
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
        # Steps are far smaller than bfloat16 can add to a weight, and so are its gradient's parts: their sums are float32.
        self.exact = self.vector.to(torch.promote_types(self.vector.dtype, torch.float32))  # itself where it is precise
        self.gradient, self.mean, self.square = (torch.zeros_like(self.exact) for _ in range(3))
        self.rough = self.gradient if self.exact is self.vector else torch.zeros_like(self.vector)  # what backward() adds to
        self._pack()
        self.steps = 0
        self.paces = self._paces(faster or {})

    def _pack(self) -> None:
        """The parameters become views of the vector."""
        for parameter, part in zip(self.parameters, self._views(self.vector), strict=True):
            parameter.data = part
        self.gradients = self._views(self.rough)

    def _views(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([p.numel() for p in self.parameters])
        return [part.view_as(parameter) for parameter, part in zip(self.parameters, parts, strict=True)]

    def _paces(self, faster: Mapping[nn.Parameter, float]) -> list[tuple[slice, float]]:
        """Stretches of the vector, and how much faster than `lr` their numbers move."""
        paces: list[tuple[slice, float]] = []
        stop = 0
        for parameter in self.parameters:
            start, stop, pace = stop, stop + parameter.numel(), faster.get(parameter, 1.0)
            if paces and paces[-1][1] == pace:
                start = paces.pop()[0].start
            paces.append((slice(start, stop), pace))
        return paces

    def __setstate__(self, state: dict) -> None:  # of a copy, or in another process, where views come as tensors of their own
        vars(self).update(state)
        self._pack()

    def zero_grad(self) -> None:
        """The gradient is zero, and the next `backward()` adds to it."""
        self.gradient.zero_()
        if self.rough is not self.gradient:
            self.rough.zero_()
        for parameter, part in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = part

    def collect(self) -> None:
        """To be called after each `backward()`, so that several of them add up in float32."""
        if self.rough is not self.gradient:
            self.gradient.add_(self.rough)
            self.rough.zero_()

    def clip(self) -> float:
        """Clips the gradient in place; its norm before."""
        norm = torch.linalg.vector_norm(self.gradient).item()
        if self.max_norm is not None and norm > self.max_norm:
            self.gradient.mul_(self.max_norm / norm)
        return norm

    def step(self) -> None:
        """θ ← θ - lr · m̂ / (√v̂ + ε) with the bias-corrected running means m̂ of g and v̂ of g²."""
        if self.parameters[0].data_ptr() != self.vector.data_ptr():
            raise RuntimeError("the parameters are no longer those that this optimiser packed: the network was moved or converted, or "
                               "a newer optimiser packed it; build a new PPO(actor, critic)")  # fmt: skip
        self.steps += 1
        beta1, beta2 = self.betas
        count = torch.full((), float(self.steps), device=self.vector.device)
        for part, pace in self.paces:  # one pass over memory; torch.optim.Adam would import torch's compiler for it
            torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
                [self.exact[part]], [self.gradient[part]], [self.mean[part]], [self.square[part]], [], [count], lr=self.lr * pace,
                beta1=beta1, beta2=beta2, eps=self.eps, weight_decay=0.0, amsgrad=False, maximize=False,
            )  # fmt: skip
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
