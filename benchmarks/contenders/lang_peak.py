"""What a core of this machine computes at best: one large product of matrices, over and over."""

import lang_setting
import measure
import torch


def peak(s: dict) -> dict:
    """Floating-point operations and the seconds they took."""
    a, b = (torch.randn(s["size"], s["size"], device=s["device"]).to(getattr(torch, s["dtype"])) for _ in range(2))
    clock = lang_setting.clock(s)
    for _ in range(2):
        a @ b
    started = clock()
    for _ in range(s["repeats"]):
        a @ b
    return {"flops": 2 * s["size"] ** 3 * s["repeats"], "seconds": clock() - started}


if __name__ == "__main__":
    measure.one_thread()
    _, settings = measure.task()
    measure.answer(peak(settings))
