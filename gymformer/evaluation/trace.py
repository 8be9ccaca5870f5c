"""Traces of episodes: what actor, critic and reference say of every token."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gymformer.device import threads_for
from gymformer.monitoring.trace import UNFINISHED, TokenTrace, TracedToken
from gymformer.rl.advantages import gae
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.batch import States, parts
from gymformer.rl.kl import log_probs_and_entropy_of, log_probs_of
from gymformer.rl.networks import ActorNetwork, CriticNetwork, match_tokens, require_same_vocabulary
from gymformer.rl.segment import Segment

__all__ = ["pieces", "trace_episode", "trace_segment"]

Decode = Callable[[list[int]], str]

READABLE = (str, int, float, np.number)  # of an environment's info; arrays and objects are left out
WINDOW = 8  # tokens that are decoded together: a character of UTF-8 has 4 bytes, so no more than 4 tokens end within it
VALUES_AT_ONCE = 4096  # states


def trace_episode(agent: TrainedAgent, segment: Segment, reference: ActorNetwork | None = None, *, gamma: float = 1.0,
                  lam: float = 1.0) -> TokenTrace:  # fmt: skip
    """The trace of one episode, or a piece of one, as the agent sees it now: `print` it, `.html()`, `.table()`, `.save(path)`;
    a notebook shows it by itself.

    `segment` is one of `play_tokens(agent)` or of a rollout. Log-probabilities, entropies and values are of the agent's networks
    as they are now, the ratio compares them with what the rollout stored: 1 before an update. Advantages are those of `gae`
    with `gamma` and `lam`, not normalised. `reference`: a policy to compare with (`agent.actor.reference()` before training).
    """
    if not isinstance(agent, TrainedAgent):
        raise TypeError(f"agent is a {type(agent).__name__}, but must be a trained agent: the agent of train_agent's result (rewards.agent), or "
                        "load_agent(folder); of an actor alone there is trace_segment(segment, actor)")  # fmt: skip
    return trace_segment(segment, agent.actor, agent.critic, reference, gamma=gamma, lam=lam, title=agent.env_id or "")


def trace_segment(segment: Segment, actor: ActorNetwork, critic: CriticNetwork | None = None,
                  reference: ActorNetwork | None = None, *, gamma: float = 1.0, lam: float = 1.0, decode: Decode | None = None,
                  title: str = "") -> TokenTrace:  # fmt: skip
    """The trace of one segment, for loops of your own. What needs a critic or a reference is None without one.

    `decode` turns tokens into text; None: the actor's tokenizer does, and where it has none, tokens show their number. Raises
    ValueError for a segment of vectors.
    """
    if not isinstance(segment, Segment):
        raise TypeError(
            f"segment is a {type(segment).__name__}, but must be one episode: play_tokens(agent)[0], or one of a rollout's segments"
        )
    if not (reference is None or isinstance(reference, nn.Module)):
        raise TypeError(
            f"reference={reference!r} is no network; give the actor of another agent, or LMActorNetwork(model_name)"
        )
    if reference is not None:
        require_same_vocabulary(reference, actor)
    if segment.row is None or segment.col is None:
        raise ValueError("this segment holds vectors of observations, and a token trace is of rows of tokens; use plot_training or "
                         "save_gif to look at such an episode")  # fmt: skip
    if reference is not None and reference.distribution is None:
        reference = match_tokens(reference, actor.policy.num_outputs)
    with threads_for(actor.device, actor):
        columns = _columns(segment, actor, critic, reference, gamma, lam)
    return TokenTrace(
        tuple(_tokens(segment, columns, decode or decoder_of(actor))),
        title=title,
        episode_return=None if segment.episode_return is None else float(segment.episode_return),
        ended="terminated" if segment.terminated else "truncated" if segment.ended else "cut",
        info={str(name): str(value) for name, value in segment.info.items() if isinstance(value, READABLE)},
    )


def _columns(segment: Segment, actor: ActorNetwork, critic: CriticNetwork | None, reference: ActorNetwork | None, gamma: float,
             lam: float) -> dict[str, np.ndarray]:  # fmt: skip
    """Everything that is known of the decisions, each (T,), by the names of `TracedToken`'s fields."""
    log_probs, entropy = (numbers.cpu().numpy() for numbers in log_probs_and_entropy_of(actor, [segment]))
    ratio = np.exp(log_probs.astype(np.float64) - segment.log_probs)
    columns = {"log_prob": log_probs, "entropy": entropy, "reward": segment.rewards, "ratio": ratio}
    if reference is not None:
        columns["reference_log_prob"] = log_probs_of(reference, [segment]).cpu().numpy()
        columns["kl"] = log_probs - columns["reference_log_prob"]  # k1, as KLPenalty charges it
    if segment.penalties is not None:
        columns["penalty"] = segment.penalties
    if critic is not None:
        values = values_of(critic, segment)
        columns["value"] = values[:-1]
        columns["advantage"] = gae(segment.learning_rewards, values, segment.terminated, gamma, lam)
    return columns


@torch.no_grad()
def values_of(critic: CriticNetwork, segment: Segment) -> np.ndarray:
    """(T+1,) float32: V of every state of the segment, as the critic sees it now."""
    device = next(critic.parameters(), torch.empty(0)).device
    states = States.of([segment], device)
    values = torch.empty(len(states), device=device)
    for index in parts(states, VALUES_AT_ONCE):
        values[index] = critic.evaluate(states[index]).float()
    return values.cpu().numpy()


def _tokens(segment: Segment, columns: dict[str, np.ndarray], decode: Decode) -> list[TracedToken]:
    """The rows' tokens one after another; an action whose token the environment did not keep stands where it was chosen."""
    assert segment.row is not None
    kept, lost = places_of(segment)
    tokens = []
    for r, row in enumerate(segment.rows):
        ids = [int(token) for token in row]
        texts = pieces(ids, decode)
        for i in range(-1, len(ids)):  # place -1 is before the row's first token
            if i >= 0:
                t = kept.get((r, i))
                known: dict[str, Any] = {} if t is None else {**_numbers(columns, t), "noted": _noted(segment, t)}
                tokens.append(TracedToken(texts[i], ids[i], r, t, **known))
            for t in lost.get((r, i), ()):
                action = int(segment.actions[t])
                text = pieces([*ids[max(0, i + 1 - WINDOW) : i + 1], action], decode)[-1]
                tokens.append(TracedToken(text, action, r, t, kept=False, noted=_noted(segment, t), **_numbers(columns, t)))
    return tokens


def places_of(segment: Segment) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], list[int]]]:
    """Where the decisions' tokens stand: {(row, index): t} of those that the environment kept, and {(row, index): [t, ...]}, by
    the place at which they were chosen, of those that it did not.

    What is chosen in a state is kept if it stands right behind that state, and the next state, in the same row, has read it.
    """
    assert segment.row is not None and segment.col is not None
    kept: dict[tuple[int, int], int] = {}
    lost: dict[tuple[int, int], list[int]] = {}
    for t, action in enumerate(segment.actions):
        r, i = int(segment.row[t]), int(segment.col[t])
        row, is_read = segment.rows[r], segment.row[t + 1] == r and segment.col[t + 1] > i
        if is_read and (r, i + 1) not in kept and row[i + 1] == action:
            kept[r, i + 1] = t
        else:
            lost.setdefault((r, i), []).append(t)
    return kept, lost


def _numbers(columns: dict[str, np.ndarray], t: int) -> dict[str, float]:
    return {name: float(column[t]) for name, column in columns.items()}


def _noted(segment: Segment, t: int) -> dict[str, float]:
    """What this decision was paid by terms of the reward, and the policies that it violated."""
    return {name: values[t] for name, values in (segment.noted or {}).items() if values[t]}


def decoder_of(actor: ActorNetwork) -> Decode:
    """By the actor's tokenizer, special tokens included; where it has none, a token is written as its number."""
    if not getattr(actor, "has_tokenizer", False):
        return lambda ids: "".join(f"[{token}]" for token in ids)
    tokenizer: Any = actor.tokenizer  # type: ignore[attr-defined]
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def pieces(ids: Sequence[int], decode: Decode) -> list[str]:
    """The text that each token adds to the text before it, which is not always what it decodes to alone.

    A token that ends within a character (byte-level vocabularies cut there) adds U+FFFD; the one that completes the character
    has all of it.
    """
    texts, ids = [], list(ids)
    for end in range(1, len(ids) + 1):
        start = max(0, end - WINDOW)
        text = decode(ids[start:end])
        before = decode(ids[start : end - 1]) if end - start > 1 else ""
        same = next((i for i, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), min(len(before), len(text)))
        added = text[same:]
        texts.append(added or (UNFINISHED if text.endswith(UNFINISHED) else ""))
    return texts
