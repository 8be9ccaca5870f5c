"""What is measured of a loop of rollout and update: its seconds, and which operations they go to."""

from collections.abc import Callable
from typing import Any, Protocol

import lang_setting
import measure
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

OPERATIONS = 12  # that a profile names


class Loop(Protocol):
    """What `rollout` returns, `update` learns from."""

    s: dict
    lm: PreTrainedModel
    passes: int  # over the tokens: rollout, reference if there is one, update, and two more for the update's backward pass

    def rollout(self) -> Any: ...
    def update(self, rollout: Any, /) -> None: ...


def speed(loop: Loop) -> dict:
    """Sampled tokens, the seconds of both halves, and the nominal operations of all counted iterations."""
    s = loop.s
    laps = measure.Laps(s["warm_up"], lang_setting.clock(s))
    for _ in range(s["warm_up"] + s["iterations"]):
        rollout = loop.rollout()
        laps.mark()
        loop.update(rollout)
        laps.end(s["batch"] * s["tokens"])
    return laps.report() | {"flops": s["iterations"] * lang_setting.iteration_flops(loop.lm, s, loop.passes)}


def where_time_goes(loop: Loop) -> dict:
    """For rollout and update the operations that take the most of the device's time: name, seconds, calls."""
    loop.update(loop.rollout())
    on_gpu = loop.s["device"] != "cpu"
    rollout, acting = _profiled(loop.rollout, on_gpu)
    _, learning = _profiled(lambda: loop.update(rollout), on_gpu)
    return {"rollout": acting, "update": learning}


def _profiled(run: Callable[[], object], on_gpu: bool) -> tuple[object, list[tuple[str, float, int]]]:
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        result = run()
        if on_gpu:
            torch.cuda.synchronize()
    rows = [(event.key, (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6, event.count)
            for event in profiler.key_averages()]  # fmt: skip
    return result, sorted(rows, key=lambda row: -row[1])[:OPERATIONS]


def answer(make: Callable[[dict], Loop]) -> None:
    """Measures what this process was asked to, and hands it over."""
    measure.one_thread()
    name, s = measure.task()
    report = {"speed": speed, "profile": where_time_goes}[name](make(s))
    measure.answer(report | {"peak_bytes": measure.peak_bytes()})
