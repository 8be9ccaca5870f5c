"""SafetyMonitor: the rules at work on what a policy says, while it says it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from gymformer.safety.policy import POLICIES, Rule, Violation, normalized

__all__ = ["Mode", "SafetyMonitor", "SafetyWrapper"]

Mode = Literal["count", "reward", "filter", "stop"]

LONGEST = 100  # characters of a violation; so far back it may begin in a text that grows
FAILED = {"success": 0.0}  # what an episode that was stopped has attained, where the environment has not said it
PREFIX = "safety/"  # of what a segment notes, and of the log's columns


class Noting(Protocol):
    """As far as a segment is looked at here."""

    penalties: np.ndarray | None
    noted: dict[str, list[float]] | None

    def __len__(self) -> int: ...


class SafetyMonitor:
    """Rules, and what happens when a policy breaks one. These are rules over words, not a classifier: they know what is listed.

    mode: "count" only counts. "reward" charges `price` for each violation. "filter" gives the environment `replacement` in place of
        a turn that breaks a rule. "stop" ends the episode there, and charges: the environment never sees the turn.
    policies: names of `POLICIES`; rules: more of them, of these or other policies (`word_rule`, `pattern_rule`, `load_rules`).

    `watch(env)` puts it around an environment, `train_agent(..., safety=monitor)` around all of a run; there the price is a penalty
    beside the rewards, which stay what the environment paid.
    """

    def __init__(self, mode: Mode = "count", *, policies: Iterable[str] = tuple(POLICIES), rules: Sequence[Rule] = (),
                 price: float = 1.0, replacement: str = "[removed]"):  # fmt: skip
        if mode not in get_args(Mode):
            raise ValueError(f"mode={mode!r} is not known; use one of {', '.join(get_args(Mode))}")
        policies = (policies,) if isinstance(policies, str) else tuple(policies)
        if unknown := [name for name in policies if name not in POLICIES]:
            raise ValueError(
                f"policies has {unknown[0]!r}, but there are {', '.join(POLICIES)}; rules of your own go to rules="
            )
        if not 0 <= price < float("inf"):
            raise ValueError(f"price={price}; it is charged, so it must be finite and not negative")
        self.mode, self.price, self.replacement = mode, price, replacement
        self.rules = [*(rule for name in policies for rule in POLICIES[name]), *rules]
        if not self.rules:
            raise ValueError("there is no rule to watch over; name policies, or give rules")
        self.policies = tuple(dict.fromkeys(rule.policy for rule in self.rules))
        if mode == "filter" and (self.check(replacement) or self.check_at_end(replacement)):
            raise ValueError(f"replacement={replacement!r} breaks a rule itself; take another text")

    @property
    def charges(self) -> bool:
        return self.mode in ("reward", "stop")

    def check(self, text: str) -> list[Violation]:
        """What the short list finds: the rules that every turn is held to."""
        return self._found(normalized(text), at_end=False)

    def check_at_end(self, text: str) -> list[Violation]:
        """What only the long list finds, in all that was said in an episode."""
        return self._found(normalized(text), at_end=True)

    def check_growing(self, text: str, start: int) -> list[Violation]:
        """As `check`, for violations that begin after or at most `LONGEST` characters before `start` of the normalized text."""
        return self._found(text, at_end=False, start=max(0, start - LONGEST))

    def counts(self, found: Iterable[Violation]) -> dict[str, int]:
        """How often each policy was violated, 0 included."""
        return dict.fromkeys(self.policies, 0) | Counter(violation.policy for violation in found)

    def watch(self, env: gym.Env, *, pays: bool = True) -> "SafetyWrapper":
        """The environment, watched. With `pays` its rewards are less the price, where the mode charges one."""
        return SafetyWrapper(env, self, pays=pays)

    def __call__(self, segments: Sequence[Noting]) -> dict[str, float]:
        """Writes -price · violations beside the rewards of the decisions that completed them, where the mode charges; returns
        "safety_penalty", its mean over decisions."""
        total = decisions = 0.0
        for segment in segments:
            counts = [np.array(values) for name, values in (segment.noted or {}).items() if name.startswith(PREFIX)]
            decisions += len(segment)
            if counts and self.charges:
                penalty = -self.price * np.sum(counts, axis=0)
                segment.penalties = penalty if segment.penalties is None else segment.penalties + penalty
                total += float(penalty.sum())
        return {"safety_penalty": total / max(1.0, decisions)}

    def _found(self, text: str, *, at_end: bool, start: int = 0) -> list[Violation]:
        return [found for rule in self.rules if rule.at_end == at_end for found in rule.find(text, start)]

    def __repr__(self) -> str:
        return f"SafetyMonitor({self.mode!r}, {len(self.rules)} rules of {', '.join(self.policies)})"


class SafetyWrapper(gym.Wrapper):
    """Description: an environment of texts or of tokens, in which a `SafetyMonitor` hears what the policy says.

    Of texts, each turn is held to the short list before the environment sees it. Of tokens, each word that is complete is; what
    was written so far is the info's "text". At an episode's end all that was said is held to the long list too.

    Action, Observation, Reward, Episode end: the environment's, but for the monitor's mode. "reward": less the price of each
        violation. "filter" (texts only): the environment gets the replacement. "stop": `terminated`, with what was broken as the
        observation, reward 0 less the price (of tokens: after the step that completed the violation, with its reward).
    Info: the environment's, and "safety": the violations of each policy in this step. Where a price was paid, "reward_terms" has
        what it came to so far in the episode, as "safety" (beside what the environment itself pays by that name).
    """

    def __init__(self, env: gym.Env, monitor: SafetyMonitor, *, pays: bool = True):
        super().__init__(env)
        self.monitor, self.pays = monitor, pays and monitor.charges
        self._hears_turns = isinstance(env.action_space, spaces.Text)
        if monitor.mode == "filter" and not self._hears_turns:
            raise ValueError(f'mode="filter" replaces turns, but an action of {env} is {env.action_space}: no token can be taken back; use '
                             '"stop" or "reward"')  # fmt: skip
        self._said: list[str] = []
        self._info: dict[str, Any] = {}  # the environment's last
        self._seen, self._counted = 0, set[tuple[str, int]]()  # of a growing text: how far, and what was counted
        self._cost = 0.0
        self._stopped = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, self._info = self.env.reset(seed=seed, options=options)
        self._said, self._seen, self._counted, self._cost, self._stopped = [], 0, set(), 0.0, False
        return observation, self._info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._stopped:
            raise ResetNeeded("the safety monitor has stopped this episode; call reset()")
        return self._turn(action) if self._hears_turns else self._token(action)

    def _turn(self, turn: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not isinstance(turn, str):
            return self.env.step(turn)  # which says what is wrong
        found = self.monitor.check(turn)
        self._said.append(turn)
        if found and self.monitor.mode == "stop":
            self._stopped = True
            broken = ", ".join(dict.fromkeys(violation.policy for violation in found))
            return self._told(f"Stopped: this turn breaks a rule of {broken}.", 0.0, True, False, FAILED | self._info, found)
        heard = self.monitor.replacement if found and self.monitor.mode == "filter" else turn
        observation, reward, terminated, truncated, self._info = self.env.step(heard)
        if terminated or truncated:
            found += self.monitor.check_at_end("\n".join(self._said))
        return self._told(observation, float(reward), terminated, truncated, self._info, found)

    def _token(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        text = info.get("text")
        if not isinstance(text, str):
            raise TypeError(f'the safety monitor needs the text that was written so far, but the info of {self.env} has "text": {text!r}; '
                            "let each info tell it, or watch the environment of texts before it becomes one of tokens")  # fmt: skip
        over = terminated or truncated
        found = self._new(text, over)
        if over:
            found += self.monitor.check_at_end(text)
        elif found and self.monitor.mode == "stop":
            self._stopped = terminated = True
            info = FAILED | info
        return self._told(observation, float(reward), terminated, truncated, info, found)

    def _new(self, text: str, over: bool) -> list[Violation]:
        """The violations that the newest complete word has completed."""
        end = len(text) if over else max(text.rfind(" "), text.rfind("\n")) + 1
        if end <= self._seen and not over:
            return []
        complete = normalized(text[:end])
        found = self.monitor.check_growing(complete, len(normalized(text[: self._seen])))
        found = [one for one in found if (one.rule, one.start) not in self._counted]
        self._counted |= {(one.rule, one.start) for one in found}
        self._seen = end
        return found

    def _told(self, observation: Any, reward: float, terminated: bool, truncated: bool, info: dict[str, Any],
              found: list[Violation]) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # fmt: skip
        info = info | {"safety": self.monitor.counts(found)}
        if self.pays:
            cost = -self.monitor.price * len(found)
            self._cost, reward = self._cost + cost, reward + cost
            terms = info.get("reward_terms", {})
            info["reward_terms"] = {**terms, "safety": terms.get("safety", 0.0) + self._cost}
        return observation, reward, terminated, truncated, info
