"""Acting in token environments: B episodes grow side by side, and each token is read once."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from gymformer.rl.envs import Tick
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.networks import ActorNetwork, CriticNetwork, Session, ValueHead, match_tokens
from gymformer.rl.policy import Categorical
from gymformer.rl.segment import Segment
from gymformer.rl.token_envs import Playing, TokenEnvs
from gymformer.rl.workers import EpisodeLostError

__all__ = ["collect_tokens"]

EMPTY_SHARE = 0.25  # of a session's rows; when so many are of ended episodes, they are taken out (which copies the others)


def collect_tokens(envs: TokenEnvs, actor: ActorNetwork, *, steps: int | None = None, episodes: int | None = None,
                   generator: torch.Generator | None = None, on_tick: Callable[[Tick], bool] | None = None,
                   critic: CriticNetwork | None = None, greedy: bool = False) -> list[Segment]:  # fmt: skip
    """The segments of `episodes` whole episodes, or of `steps` decisions of each environment on average.

    Environments play in waves, one episode each. With `steps`, episodes under way at the end are cut and go on in the next
    call. `critic`, a value head on the actor's trunk, supplies the states' values from the same pass. `greedy` takes the
    likeliest token. Ended episodes come wave by wave in the order of their environments, which is that of their starts, then the
    pieces that were cut. An episode that was lost with a worker process is missing, as is all of its group; others are played instead.
    """
    if (steps is None) == (episodes is None):
        raise ValueError("collect needs either steps=... (of each environment) or episodes=... (whole ones)")
    if actor.distribution is None:
        actor = match_tokens(actor, envs.num_tokens)
    left = Budget(episodes, None if steps is None else steps * envs.num_envs)
    ended: list[Playing] = []
    cut: list[Playing] = []
    lost: set[int] = set()  # groups that a lost episode was of
    while left.any and not cut:
        count = envs.num_envs if left.episodes is None else min(envs.num_envs, left.episodes - len(ended))
        if count == 0:
            break
        wave = Wave(envs, actor, generator, critic if isinstance(critic, ValueHead) else None, greedy)
        started = envs.start(count)
        done, cut = wave.play(started, left, on_tick)
        lost |= {one.group for one in started if one.lost and one.group is not None}
        ended, done = ([one for one in episodes_over if one.group not in lost] for episodes_over in (ended, done))
        envs.settle(done)
        for one in done:
            envs.require_finite(one)
        ended += done
        if left.stopped:
            break
    if any(one.filled_context for one in ended):
        count = sum(one.filled_context for one in ended)
        warnings.warn(f"{count} of {len(ended)} episodes of {envs.id} filled the actor's context of {actor.context} tokens and were cut there: "
                      "truncated, before the environment paid for their ends. Shorten prompts or answers, or take a model with a "
                      "longer context", stacklevel=2)  # fmt: skip
    for playing in cut:
        envs.playing[playing.index] = playing
    segments = [playing.segment(envs.num_tokens) for playing in ended + cut]
    return [segment for segment in segments if len(segment)]


@dataclass(slots=True)
class Budget:
    """What a rollout may still spend."""

    episodes: int | None
    decisions: int | None
    stopped: bool = False  # by who watches

    @property
    def any(self) -> bool:
        return not self.stopped and (self.decisions is None or self.decisions > 0)


@dataclass(slots=True)
class Slot:
    """A row of the session: its episode, and what it is to read next."""

    playing: Playing
    block: list[int]
    waits: bool = False  # its block is an environment's reply, which is read when all live rows wait for one
    closing: bool = False  # its episode was cut; only the value of its last state is still to be read


@dataclass(slots=True)
class Wave:
    """Episodes that start together and share a session."""

    envs: TokenEnvs
    actor: ActorNetwork
    generator: torch.Generator | None
    critic: ValueHead | None
    greedy: bool
    slots: list[Slot | None] = field(default_factory=list)  # None: the episode has left the session

    def play(self, playing: list[Playing], left: Budget, on_tick: Callable[[Tick], bool] | None
             ) -> tuple[list[Playing], list[Playing]]:  # fmt: skip
        """Plays until all episodes are over or the budget is spent; the ended episodes, and those that were cut."""
        context = self.actor.context
        for one in playing:
            if context is not None and len(one.tokens) >= context:
                raise ValueError(f"{self.envs.id} starts with {len(one.tokens)} tokens, but the model reads {context} and needs room for "
                                 "an answer; shorten the prompt, or take a model with a longer context")  # fmt: skip
        session: Session | None = None
        self.slots = [Slot(one, list(one.tokens), waits=True) for one in playing]
        while any(self.slots):
            spent = not left.any
            reading = [slot for slot in self.slots if slot is not None and not slot.waits]
            if spent or not reading:  # at the end everything is read that has a value to give
                reading = [slot for slot in self.slots if slot is not None]
            if spent and self.critic is None:
                break
            now = set(map(id, reading))
            blocks = [slot.block if slot is not None and id(slot) in now else [] for slot in self.slots]
            if session is None:
                session, outputs, values = opened(self.actor, self.critic, blocks)
            else:
                outputs, values = session.extend(blocks)
            at = [i for i, slot in enumerate(self.slots) if slot is not None and id(slot) in now]
            if values is not None:
                for i, value in zip(at, values[at].tolist(), strict=True):
                    self.slots[i].playing.values.append(value)  # type: ignore[union-attr]
            for slot in reading:
                slot.waits = False
                slot.block = []
            if spent:
                break
            deciding = [i for i in at if not self.slots[i].closing]  # type: ignore[union-attr]
            for i in at:
                if self.slots[i].closing:  # type: ignore[union-attr]
                    self.slots[i] = None
            if deciding:
                self._decide(session, deciding, outputs, left, on_tick)
            live = [i for i, slot in enumerate(self.slots) if slot is not None]
            if live and len(live) <= (1 - EMPTY_SHARE) * len(self.slots):
                session.keep(live)
                self.slots = [self.slots[i] for i in live]
        for one in playing:
            one.stand()  # the state after the last action
        return [one for one in playing if one.over], [one for one in playing if not (one.over or one.lost)]

    def _decide(self, session: Session, deciding: list[int], outputs: torch.Tensor, left: Budget,
                on_tick: Callable[[Tick], bool] | None) -> None:  # fmt: skip
        """Samples a token for each deciding row, and lets its environment take it."""
        chosen = [slot for slot in (self.slots[i] for i in deciding) if slot is not None]
        outputs = outputs if len(deciding) == len(outputs) else outputs[deciding]
        masks = [slot.playing.mask(self.envs.num_tokens) for slot in chosen]
        legal = None
        if any(mask is not None for mask in masks):
            allowed = np.stack([np.ones(self.envs.num_tokens, bool) if mask is None else mask for mask in masks])
            legal = torch.from_numpy(allowed).to(outputs.device)
        actions, log_probs, legal = self._sample(outputs, legal)
        if not math.isfinite(sum(log_probs)):
            raise NonFiniteError("network output", "the actor's outputs are not finite in this rollout. The usual cause is a learning rate "
                                 "that is too high", {"outputs": outputs, "log_probs": np.array(log_probs)})  # fmt: skip
        kept = [None] * len(chosen) if legal is None else list(legal.cpu().numpy())
        before = [tuple(slot.playing.tokens) for slot in chosen] if on_tick is not None else []
        self.envs.ahead([(slot.playing, action) for slot, action in zip(chosen, actions, strict=True)])
        for i, slot, action, log_prob, mask in zip(deciding, chosen, actions, log_probs, kept, strict=True):
            one = slot.playing
            one.stand()
            one.legal.append(mask)
            read = len(one.tokens)
            try:
                standing, slot.block = one.step(action, log_prob)
            except EpisodeLostError:
                one.lost, self.slots[i] = True, None
                continue
            slot.waits = len(slot.block) != 1
            if standing < read:
                session.rewind(i, standing)
            self.envs.require_finite(one)
            one.cut_to(self.actor.context)
            if not one.over:
                continue
            slot.closing = self.critic is not None and not one.terminated
            slot.block = one.tokens[standing:]
            if not slot.closing:
                if self.critic is not None:
                    one.values.append(0.0)  # of an end: nothing comes after it
                self.slots[i] = None
        if left.decisions is not None:
            left.decisions -= len(chosen)
        if on_tick is not None and not on_tick(self._tick(chosen, before, actions)):
            left.stopped = True

    def _sample(self, outputs: torch.Tensor, legal: torch.Tensor | None) -> tuple[list[int], list[float], torch.Tensor | None]:
        """Tokens, their log-probabilities, and the tokens that could have been sampled (None: all)."""
        policy = self.actor.policy
        if isinstance(policy, Categorical):
            legal = policy.narrowed(outputs, legal)
        if self.greedy:
            actions = policy.mode(outputs, legal)
            log_probs, _ = policy.log_probs_and_entropy(outputs, actions, legal)
        else:
            actions, log_probs = policy.sample(outputs, self.generator, legal)
        return actions.tolist(), log_probs.tolist(), legal

    def _tick(self, slots: list[Slot], before: list[tuple[int, ...]], actions: list[int]) -> Tick:
        """The step as those who watch see it, one entry for each environment; one that did not act is a phantom."""
        count = self.envs.num_envs
        tick = Tick(np.zeros(count, np.int64), np.ones(count, bool), [()] * count, np.zeros(count), np.zeros(count, bool),
                    np.zeros(count, bool), {})  # fmt: skip
        for slot, observation, action in zip(slots, before, actions, strict=True):
            one, b = slot.playing, slot.playing.index
            if one.lost:
                tick.lost.append(b)
                continue
            tick.actions[b], tick.phantom[b], tick.observations[b] = action, False, observation
            tick.rewards[b], tick.terminated[b], tick.truncated[b] = one.rewards[-1], one.terminated, one.truncated
        return tick


def opened(actor: ActorNetwork, critic: ValueHead | None, blocks: list[list[int]]
           ) -> tuple[Session, torch.Tensor, torch.Tensor | None]:  # fmt: skip
    """A session that has read a row for each block, and what it says of them. Equal ones, such as the prompt of a group, are read
    once, and what was read is copied."""
    distinct = {row: place for place, row in enumerate(dict.fromkeys(map(tuple, blocks)))}
    session = actor.session(len(distinct), critic)
    outputs, values = session.extend([list(row) for row in distinct])
    if len(distinct) < len(blocks):
        copies = [distinct[tuple(block)] for block in blocks]
        session.keep(copies)
        outputs, values = outputs[copies], None if values is None else values[copies]
    return session, outputs, values
