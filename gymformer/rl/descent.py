"""One gradient step down a loss that is a mean over decisions: what the algorithms' pages have in common."""

import math
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from gymformer.rl.algorithm import Together
from gymformer.rl.batch import Batch, DecisionBatch, States, parts, per_decision
from gymformer.rl.errors import NonFiniteError, RatioError
from gymformer.rl.networks import ActorNetwork, CriticNetwork, ValueHead
from gymformer.rl.optim import PackedAdam
from gymformer.rl.segment import Segment

__all__ = ["check_ratio_is_one", "descend", "optimizers_for", "size_at_once", "stored_log_probs", "values_of"]

AT_ONCE = 2**25  # logits of token rows that are held at once, 128 MiB of float32
PRECISE = 1e-3  # nats by which two passes in float32 may differ
HALF_PRECISION = 0.5  # nats by which a cached and a whole pass in bfloat16 may differ


def descend(optimizers: list[PackedAdam], batch: Batch, loss: Callable[[Batch], tuple[Tensor, Tensor]], size: int,
            together: Together) -> tuple[list[float], list[float]]:  # fmt: skip
    """One step of every optimiser down `loss`; returns its statistics, and the gradients' norms before they are clipped.

    `loss` gives a mean over decisions, and a tensor of statistics that are such means too. Where memory asks for it, the batch
    is read in parts of about `size` decisions, whose gradients add up to the same. Raises NonFiniteError instead of stepping.
    """
    reading = parts(batch.states, size)
    for optimizer in optimizers:
        optimizer.zero_grad()
    losses: list[Tensor] = []
    for index in reading:
        part = batch if len(reading) == 1 else batch[index]
        share = len(part) / len(batch)
        of_part, statistics = loss(part)
        (of_part * share).backward()
        for optimizer in optimizers:
            optimizer.collect()
        losses.append(share * torch.cat([of_part.detach().reshape(1), statistics.detach()]))
    value, *numbers = torch.stack(losses).sum(0).tolist()  # one trip from the device
    for optimizer in optimizers:
        together.average(optimizer.gradient)
    norms = [optimizer.clip() for optimizer in optimizers]
    if not math.isfinite(sum(norms)):
        raise non_finite(value, norms, batch)
    for optimizer in optimizers:
        optimizer.step()
    return numbers, norms


def non_finite(loss: float, norms: list[float], batch: DecisionBatch) -> NonFiniteError:
    what = "gradient" if math.isfinite(loss) else "loss"
    evidence = {
        field.name: getattr(batch, field.name) for field in fields(batch) if isinstance(getattr(batch, field.name), Tensor)
    }
    message = (
        f"the {what} is not finite (loss {loss}, gradient norms {norms}); training stopped before the step that would have "
        "destroyed the networks. Try lower learning rates, normalize_observations=True or normalize_rewards=True"
    )
    return NonFiniteError(what, message, evidence | {"inputs": batch.states.inputs})


def optimizers_for(actor: ActorNetwork, critic: CriticNetwork | None, lr_actor: float, lr_critic: float,
                   max_norm: float | None) -> list[PackedAdam]:  # fmt: skip
    """One for the actor and one for the critic, if there is one; or one for both where they share a trunk, which would else be
    stepped twice."""
    own = [p for p in actor.parameters() if p.requires_grad]
    if critic is None:
        return [PackedAdam(own, lr_actor, max_norm)]
    of_critic = [p for p in critic.parameters() if p.requires_grad]
    apart = [p for p in of_critic if all(p is not q for q in own)]
    if len(apart) < len(of_critic) or (isinstance(critic, ValueHead) and critic.actor is actor):
        return [PackedAdam(own + apart, lr_actor, max_norm, faster=dict.fromkeys(apart, lr_critic / lr_actor))]
    return [PackedAdam(own, lr_actor, max_norm), PackedAdam(of_critic, lr_critic, max_norm)]


def size_at_once(actor: ActorNetwork, asked: int | None) -> int:
    """Decisions of token rows that are read at once: as many as asked, or as memory likes."""
    return asked or max(256, min(4096, AT_ONCE // actor.policy.num_outputs))


@torch.no_grad()
def values_of(critic: CriticNetwork, segments: list[Segment], states: States, size: int) -> Tensor:
    """V(s) of all states of the segments, (S,): as the rollout's own pass computed them, or by the critic now."""
    if isinstance(critic, ValueHead) and all(segment.values is not None for segment in segments):
        return per_decision(segments, "values", states.inputs.device)
    values = torch.empty(len(states), device=states.inputs.device)
    for index in parts(states, size):
        values[index] = critic.evaluate(states[index])
    return values


@torch.no_grad()
def stored_log_probs(
    actor: ActorNetwork, segments: list[Segment], states: States, actions: Tensor, legal: Tensor | None, size: int
) -> Tensor:
    """log π_old(a|s), (N,): as the rollout stored them, or, where the actor is in half precision, as a whole pass computes them,
    for a cached one differs from it by more than the ratio bears. Raises RatioError where rounding does not explain it, and for
    replayed segments, of which every decision is looked at, where anything but float32's would have to."""
    stored, replayed = per_decision(segments, "log_probs", states.inputs.device), any(s.replayed for s in segments)
    if actor.is_precise and not replayed:
        return stored
    log_probs = torch.empty_like(stored)
    for index in parts(states, size):
        mask = None if legal is None else legal[index]
        log_probs[index] = actor.policy.log_probs_and_entropy(actor.evaluate(states[index]), actions[index], mask)[0]
    check_ratio_is_one(log_probs - stored, PRECISE if replayed else HALF_PRECISION)
    return stored if actor.is_precise else log_probs


def check_ratio_is_one(log_ratio: Tensor, tolerance: float = PRECISE) -> None:
    """Raises RatioError if, before the first gradient step, the log-probabilities are not the ones that the rollout stored."""
    worst = log_ratio.detach().abs().max().item()
    if math.isnan(worst):
        raise NonFiniteError("network output", "the actor's outputs are NaN in the update, though they were finite in the rollout",
                             {"log_ratio": log_ratio})  # fmt: skip
    if not worst <= tolerance:
        raise RatioError(
            "before the first gradient step of an update, π(a|s) must be what the rollout stored, but log-probabilities "
            f"differ by {worst:.3g} (tolerance {tolerance}). The usual causes: dropout or batch normalisation behaves "
            "differently in rollout and update; the actor changed in between, or the segments are an "
            "older policy's, loaded or learned from before (then weight them for the present one: reweighted(segments, actor)); "
            "actions were sampled with another mask or "
            "temperature than the update uses; the network's outputs depend on what else is in the batch. Call actor.eval() "
            "before acting and learning, or take such layers out"
        )
