"""Token environments, and the episode in which each of them is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymformer.rl.errors import NonFiniteError
from gymformer.rl.segment import Segment
from gymformer.rl.workers import WorkerPool
from gymformer.seeding import derive_seed

__all__ = ["Playing", "ScoresTogether", "TokenEnvs", "reads_tokens"]

SCORE_LATER = "score_later"  # the reset option, and the key of the last info
TASK = "task"  # the reset option
REWARD_TERMS, SAFETY = "reward_terms", "safety"  # keys of infos: what each term has paid so far; violations of this step


def reads_tokens(observation_space: gym.Space, action_space: gym.Space) -> bool:
    """A token environment: actions are tokens, Discrete(V), and observations the tokens so far, Sequence(Discrete(V))."""
    return (
        isinstance(action_space, spaces.Discrete)
        and isinstance(observation_space, spaces.Sequence)
        and isinstance(observation_space.feature_space, spaces.Discrete)
    )


@runtime_checkable
class ScoresTogether(Protocol):
    """An environment whose last reward is dear, and cheaper for many episodes at once (a reward model's score).

    Reset with the option "score_later": True, it pays 0 for the end of an episode, and the last info has the key "score_later".
    """

    def score_together(self, infos: list[dict[str, Any]]) -> list[float]:
        """What is paid for the ends of episodes, also of others of this kind, by their last infos; it may add to these."""
        ...


class TokenEnvs:
    """B token environments, each reset with a seed of its own for every episode.

    They are stepped one after another in this process: a language model's step costs more than a hundred of most of them. Those of
    a `pool` live in worker processes, which are asked all at once. `options` is asked for at each reset (a curriculum).
    """

    def __init__(self, envs: Sequence[gym.Env], id: str = "environment", pool: WorkerPool | None = None):
        self.envs, self.id, self.num_envs, self.pool = envs, id, len(envs), pool
        self.keep_raw = True  # a tick's observations are the token rows, which are there anyway
        self.observation_space, self.action_space = envs[0].observation_space, envs[0].action_space
        assert isinstance(self.action_space, spaces.Discrete)
        if self.action_space.start != 0:
            raise ValueError(
                f"{id} has actions {self.action_space}; tokens are numbered from 0: use Discrete({self.action_space.n})"
            )
        self.num_tokens = int(self.action_space.n)
        self.num_shown = int(self.observation_space.feature_space.n)  # type: ignore[attr-defined]  # the tokens it may show
        self.judge = envs[0].unwrapped if all(isinstance(env.unwrapped, ScoresTogether) for env in envs) else None
        self.options: Callable[[], dict[str, Any]] = dict
        # Tasks in the order of a file: a seed would begin it again with each episode.
        self.in_order = all(getattr(env.unwrapped, "in_order", False) for env in envs)
        self.first_task, self.task_step = 0, 1  # of the episodes that follow a reset; several processes take turns
        self.group_size = 1  # so many episodes in a row are of one task: they share seed and options
        self._options: dict[str, Any] = {}  # of the group that was begun last
        self._beginning: list[int] = []  # its first observation
        self.seed: int | None = None  # none before the first reset
        self.episodes = 0  # the next one is reset with a seed derived from `seed` and this number
        self.playing: list[Playing | None] = [None] * self.num_envs  # an episode that a rollout of steps left unfinished

    def reset(self, seed: int) -> None:
        """Unfinished episodes are cut; the next ones are those of `seed`."""
        self.seed, self.episodes = seed, 0
        self.playing = [None] * self.num_envs

    def start(self, count: int) -> "list[Playing]":
        """The first `count` environments begin the next episodes, or go on with those that they are in. Raises ValueError where the
        episodes of a group begin differently: they are then not of one task, and must not be compared."""
        unfinished = self.playing[:count]
        self.playing[:count] = [None] * count
        opening = {index: self._next_opening() for index in range(count) if unfinished[index] is None}
        if self.pool is not None:
            self.pool.ask((self.pool.envs[i], "reset", (one.seed, one.reset_options)) for i, one in opening.items())
        return [one or self._begin(index, opening[index]) for index, one in enumerate(unfinished)]

    def _next_opening(self) -> "Opening":
        group, member = divmod(self.episodes, self.group_size)
        if member == 0:
            self._options = self.options()
        self.episodes += 1
        options = self._options | ({} if self.judge is None else {SCORE_LATER: True})
        if self.in_order:
            options |= {TASK: self.first_task + group * self.task_step}
        return Opening(group, member, derive_seed(self.seed or 0, "episode", group), self._options, options or None)

    def _begin(self, index: int, opening: "Opening") -> "Playing":
        group, member, seed = opening.group, opening.member, opening.seed
        env = self.envs[index]
        observation, info = env.reset(seed=seed, options=opening.reset_options)
        playing = Playing(env, index, self.num_shown, info, opening.options, has_masks=env.has_wrapper_attr("action_masks"),
                          group=group if self.group_size > 1 else None)  # fmt: skip
        playing.see(observation)
        if not playing.tokens:
            raise ValueError(f"{self.id} starts with no tokens at all, but a language model needs one to go on from; let the prompt "
                             "begin with a token that marks the beginning of a text")  # fmt: skip
        if member == 0:
            self._beginning = list(playing.tokens)
        elif playing.tokens != self._beginning:
            raise ValueError(f"{self.id} was reset with the same seed ({seed}) and options for each of the {self.group_size} episodes of a "
                             f"group, but those of group {group} begin differently; the environment must draw from self.np_random in "
                             "reset(), or take its task from the options")  # fmt: skip
        return playing

    def ahead(self, steps: "list[tuple[Playing, int]]") -> None:
        """Environments in worker processes take these steps, all at once; `Playing.step` then finds what came of them."""
        if self.pool is not None:
            self.pool.ask((self.pool.envs[one.index], "step", action) for one, action in steps)

    def settle(self, ended: "list[Playing]") -> None:
        """The ends of these episodes are paid for, where that was put off, all at once."""
        waiting = [playing for playing in ended if playing.info.get(SCORE_LATER)]
        if not waiting:
            return
        assert isinstance(self.judge, ScoresTogether)
        for playing, reward in zip(waiting, self.judge.score_together([one.info for one in waiting]), strict=True):
            playing.info.pop(SCORE_LATER)
            playing.rewards[-1] += float(reward)
            playing.total += float(reward)
            playing.note()

    def require_finite(self, playing: "Playing") -> None:
        """Raises NonFiniteError if the last reward is NaN or infinite."""
        if not math.isfinite(playing.rewards[-1]):
            raise NonFiniteError("reward", f"{self.id} gave the reward {playing.rewards[-1]} at decision {playing.length}; training "
                                 "stopped because nothing can be learned from it. Mend the environment, or its reward_fn",
                                 {"tokens": np.array(playing.tokens), "rewards": np.array(playing.rewards)})  # fmt: skip

    @property
    def episode_returns(self) -> np.ndarray:
        """(B,) what the unfinished episodes have brought so far."""
        return np.array([0.0 if playing is None else playing.total for playing in self.playing])

    def each(self, observations: list[Any]) -> list[Any]:
        """A tick's observations, one for each environment."""
        return observations

    def close(self) -> None:
        for env in self.envs:
            env.close()


@dataclass(frozen=True, slots=True)
class Opening:
    """With what an episode is to begin."""

    group: int
    member: int  # of the group
    seed: int
    options: dict[str, Any]  # by whoever chooses: `TokenEnvs.options`
    reset_options: dict[str, Any] | None  # and ours beside them


@dataclass(slots=True)
class Playing:
    """An episode under way: what was read, where actions were chosen, and what they brought."""

    env: gym.Env
    index: int  # of the environment
    num_shown: int  # it shows tokens below this
    info: dict[str, Any]
    options: dict[str, Any]  # what the reset was asked for by whoever chooses: `TokenEnvs.options`
    has_masks: bool = False  # the environment has a method action_masks()
    group: int | None = None  # of the episodes that share its task, where there are such
    tokens: list[int] = field(default_factory=list)  # the row that grows
    rows: list[np.ndarray] = field(default_factory=list)  # rows before it, which the environment rewrote
    row: list[int] = field(default_factory=list)  # where each state lies
    col: list[int] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    legal: list[np.ndarray | None] = field(default_factory=list)
    noted: dict[str, dict[int, float]] = field(default_factory=dict)  # "reward/NAME", "safety/POLICY" -> decision -> number
    paid: dict[str, float] = field(default_factory=dict)  # by each term, in the whole episode
    violations: dict[str, int] = field(default_factory=dict)  # of each policy, in the whole episode
    total: float = 0.0  # of the whole episode, earlier pieces included
    length: int = 0  # decisions of the whole episode, earlier pieces included
    terminated: bool = False
    truncated: bool = False
    filled_context: bool = False  # which ended it
    lost: bool = False  # its environment's process has died
    told: dict[str, Any] = field(init=False)  # the last info that said anything

    def __post_init__(self) -> None:
        self.told = self.info

    @property
    def over(self) -> bool:
        return self.terminated or self.truncated

    def see(self, observation: Any) -> tuple[int, list[int]]:
        """Takes in what the environment shows now: how many of the known tokens still stand, and those to read after them.

        The environment may return the very list that it returned before, grown in place, so the comparison is with a copy of
        our own. A history that was rewritten opens a new row.
        """
        new = observation.tolist() if isinstance(observation, np.ndarray) else list(observation)
        known = len(self.tokens)
        if new[:known] == self.tokens:
            block = self._checked(new[known:])
            self.tokens += block
            return (known, block) if block else (known - 1, self.tokens[-1:])  # nothing new: the last is read again
        if not new:
            raise ValueError(
                "the environment's observation is empty after a step; a token environment must show at least one token"
            )
        same = next((i for i, (a, b) in enumerate(zip(new, self.tokens, strict=False)) if a != b), min(len(new), known))
        same = min(same, len(new) - 1)  # at least one token is read, for what comes after it
        if self.row and self.row[-1] == len(self.rows):  # a row in which nothing was decided is nobody's state
            self.rows.append(np.array(self.tokens, np.int64))
        self.tokens = self._checked(new)
        return same, self.tokens[same:]

    def _checked(self, tokens: list[Any]) -> list[int]:
        """Plain ints. Raises ValueError for one that is not in the environment's observation space."""
        checked = [int(token) for token in tokens]
        if checked and not 0 <= min(checked) <= max(checked) < self.num_shown:
            wrong = next(token for token in checked if not 0 <= token < self.num_shown)
            raise ValueError(f"the environment shows the token {wrong}, but by its observation space tokens are 0 to {self.num_shown - 1}; "
                             "let its observation_space name all that it shows, and give the model as many rows")  # fmt: skip
        return checked

    def stand(self) -> None:
        """The state that is reached, where the next action is chosen or the episode ends."""
        self.row.append(len(self.rows))
        self.col.append(len(self.tokens) - 1)

    def step(self, action: int, log_prob: float) -> tuple[int, list[int]]:
        """One action; returns what `see` says of the observation after it."""
        try:
            observation, reward, terminated, truncated, self.info = self.env.step(action)
        except Exception as error:
            error.add_note(f"in environment {self.index}, at decision {self.length} of its episode")
            raise
        self.actions.append(action)
        self.log_probs.append(log_prob)
        self.rewards.append(float(reward))
        self.total += self.rewards[-1]
        self.length += 1
        self.terminated, self.truncated = bool(terminated), bool(truncated)
        if self.info:
            self.told = self.info
            self.note()
        return self.see(observation)

    def note(self) -> None:
        """Takes down what the last info says of the last decision: terms of the reward, violations of policies."""
        t = len(self.actions) - 1
        for name, so_far in _numbers(self.info.get(REWARD_TERMS)):
            self.noted.setdefault(f"reward/{name}", {})[t] = so_far - self.paid.get(name, 0.0)
            self.paid[name] = so_far
        for policy, count in _numbers(self.info.get(SAFETY)):
            self.noted.setdefault(f"safety/{policy}", {})[t] = count
            self.violations[policy] = self.violations.get(policy, 0) + int(count)

    def cut_to(self, context: int | None) -> None:
        """A row that has filled the network's context ends the episode there: a truncation, whose last readable state stands
        for the state that it reached."""
        if context is not None and len(self.tokens) >= context:
            del self.tokens[context:]
            self.filled_context = not self.over
            self.truncated = not self.terminated

    def mask(self, num_tokens: int) -> np.ndarray | None:
        """(V,) bool: the tokens that the environment allows now, where it says so."""
        given = self.info.get("action_mask")
        if given is None and self.has_masks:
            given = self.env.get_wrapper_attr("action_masks")()
        if given is None:
            return None
        mask = np.asarray(given, bool).reshape(-1)
        if len(mask) != num_tokens or not mask.any():
            raise ValueError(f"the action mask has {len(mask)} entries, {int(mask.sum())} of them true; it needs one for each of the "
                             f"{num_tokens} tokens, and at least one true")  # fmt: skip
        return mask

    def segment(self, num_tokens: int) -> Segment:
        """What was recorded as a segment; what follows is recorded anew."""
        rows = [*self.rows, np.array(self.tokens, np.int64)]
        legal = None
        if any(mask is not None for mask in self.legal):
            legal = np.stack([np.ones(num_tokens, bool) if mask is None else mask for mask in self.legal])
        segment = Segment(
            rows, np.array(self.actions, np.int64), np.array(self.log_probs, np.float32), np.array(self.rewards),
            terminated=self.terminated, row=np.array(self.row), col=np.array(self.col),
            values=np.array(self.values, np.float32) if self.values else None, legal=legal, group=self.group,
            noted={name: [at.get(t, 0.0) for t in range(len(self.actions))] for name, at in self.noted.items()} or None,
        )  # fmt: skip
        if self.over:
            segment.episode_return, segment.episode_length = self.total, self.length
            # What is cut within a turn, of which nothing is told, has come to what was told last.
            segment.info, segment.options = (self.told if self.truncated and not self.info else self.info), self.options
            if self.violations:
                segment.info = segment.info | {SAFETY: dict(self.violations)}
        self.rows, self.row, self.col, self.legal = [], [], [], []
        self.actions, self.log_probs, self.rewards, self.values = [], [], [], []
        self.noted = {}
        return segment


def _numbers(told: Any) -> list[tuple[str, float]]:
    """Name and number of each entry; nothing where an environment means something else by this key."""
    if not isinstance(told, dict):
        return []
    return [(str(name), float(number)) for name, number in told.items() if isinstance(number, int | float | np.number)]
