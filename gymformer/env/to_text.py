"""ToText: any environment as one of texts, its observations described in words and its actions read from words."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from gymformer.env.llm_env import LLMEnv
from gymformer.env.rendering import printable
from gymformer.env.text_env import LONGEST_OBSERVATION, AnyText

__all__ = ["ToText", "describe", "has_words", "read_action"]

LONGEST_TURN = 2000  # characters
MOST_NUMBERS = 64  # of an array that is written out
WORD = re.compile(r"[\w-]+")
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
DECIMAL = re.compile(r"\d*\.\d+")  # names no action: 0.7 is neither 0 nor 7
NAMED = re.compile(r"\b(?:action|answer)\b\W*", re.IGNORECASE)
# MiniGrid's coding of a cell: minigrid.core.constants.IDX_TO_OBJECT, IDX_TO_COLOR, STATE_TO_IDX
OBJECTS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
DOORS = ("open", "closed", "locked")
NOT_WORTH_A_WORD = ("unseen", "empty", "wall", "floor", "agent")
MINIGRID_ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")


class ToText(gym.Wrapper[str, str, Any, Any]):
    """Description: an environment of any kind, played in words. An observation is described, an action is read from a text.

    Action: a text that names an action: its name, or its number ("hit", "I would say: 1", "Action: hit"); of a Box, its numbers.
        What no action can be read from, and what is not legal now (`info["action_mask"]`, `action_masks()`), is answered by a
        sentence that says what can be done, and costs `penalty`; after `retries` such answers in a row `fallback` is played.
    Observation: a text, `format_observation` of what the environment shows.
    Reward: the environment's, less the penalties. Episode end: the environment's.
    Info: the environment's, and "unreadable", how many answers of this episode were no action; "action", the one that was played.

    Arguments:
    format_observation, extract_action: functions in place of `describe` and `read_action`: observation -> text, and text -> action
        or None. system_prompt: what the player is told first; None: what the environment says of itself (`LLMEnv`), or its name,
        and the actions.
    names: of the numbers in a Box observation, or of the parts of a Tuple. actions: of the actions 0, 1, … (or from
        `start` on) of a Discrete space.
    """

    def __init__(
        self,
        env: gym.Env,
        *,
        system_prompt: str | None = None,
        format_observation: Callable[[Any], str] | None = None,
        extract_action: Callable[[str], Any] | None = None,
        names: Sequence[str] | None = None,
        actions: Sequence[str] | None = None,
        retries: int = 1,
        penalty: float = 0.0,
        fallback: Any = None,
    ):
        super().__init__(env)
        self.names, self.actions = names, _names_of(env, actions)
        space = env.action_space
        if self.actions is not None and isinstance(space, spaces.Discrete) and len(self.actions) != space.n:
            raise ValueError(f"actions={list(self.actions)} are {len(self.actions)} names, but {env} has {space.n} actions")
        if extract_action is None and not isinstance(
            space, spaces.Discrete | spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary
        ):
            raise ValueError(
                f"actions of {space} cannot be read from words; give extract_action, a function from a text to an action or None"
            )
        if fallback is not None and not space.contains(fallback):
            raise ValueError(f"fallback={fallback!r} is not an action of {space}")
        if retries < 0 or penalty < 0:
            raise ValueError(f"retries={retries}, penalty={penalty}; neither may be negative")
        self.retries, self.penalty, self.fallback = retries, float(penalty), fallback
        self._format, self._extract = format_observation, extract_action
        self.action_space, self.observation_space = AnyText(LONGEST_TURN), AnyText(LONGEST_OBSERVATION)
        self.system_prompt = self._introduction() if system_prompt is None else system_prompt
        self._info: dict[str, Any] = {}
        self._unreadable = self._in_a_row = 0
        self._playing = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        observation, self._info = self.env.reset(seed=seed, options=options)
        self._unreadable = self._in_a_row = 0
        self._playing = True
        return self.told(observation), {**self._info, "unreadable": 0}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not self._playing:
            raise ResetNeeded("there is no episode going on (it has ended, or none was begun); call reset()")
        mask = self._mask()
        chosen = self._read(action)
        refusal = self._refusal(chosen, mask)
        if refusal is not None:
            self._unreadable += 1
            self._in_a_row += 1
            if self._in_a_row <= self.retries:
                told = copy.deepcopy(self._info)  # the environment's own are the caller's by now
                return refusal, -self.penalty, False, False, {**told, "unreadable": self._unreadable}
            chosen = self._fallback(mask)
        self._in_a_row = 0
        observation, reward, terminated, truncated, self._info = self.env.step(chosen)
        self._playing = not (terminated or truncated)
        cost = 0.0 if refusal is None else self.penalty
        info = {**self._info, "unreadable": self._unreadable, "action": chosen}
        return self.told(observation), float(reward) - cost, bool(terminated), bool(truncated), info

    def told(self, observation: Any) -> str:
        """An observation of the environment in words."""
        if self._format is not None:
            return self._format(observation)
        return describe(self.env.observation_space, observation, self.names)

    def _read(self, text: str) -> Any:
        if self._extract is not None:
            return self._extract(text)
        return read_action(self.env.action_space, text, self.actions)

    def _refusal(self, chosen: Any, mask: np.ndarray | None) -> str | None:
        """What is wrong with what was read, in words; None if it can be played."""
        space = self.env.action_space
        if chosen is None or not space.contains(chosen):
            return f"No action could be read from that. {self._choices(mask)}"
        if mask is not None and isinstance(space, spaces.Discrete) and not mask[int(chosen) - int(space.start)]:
            return f"That is not possible now. {self._choices(mask)}"
        return None

    def _choices(self, mask: np.ndarray | None = None) -> str:
        space = self.env.action_space
        if not isinstance(space, spaces.Discrete):
            return f"An action is {_shape_in_words(space)}."
        start = int(space.start)
        legal = [start + n for n in range(int(space.n)) if mask is None or mask[n]]
        return f"Answer with one of: {', '.join(f'{n}' if self.actions is None else f'{n} ({self.actions[n - start]})' for n in legal)}."

    def _mask(self) -> np.ndarray | None:
        """(A,) bool: the legal actions, where the environment tells them."""
        given = self._info.get("action_mask")
        if given is None and self.env.has_wrapper_attr("action_masks"):
            given = self.env.get_wrapper_attr("action_masks")()
        return None if given is None else np.asarray(given, bool)

    def _fallback(self, mask: np.ndarray | None) -> Any:
        """The one that was named; else the first legal action, or, of a space without numbers, its middle."""
        space = self.env.action_space
        if self.fallback is not None and (mask is None or mask[int(self.fallback) - int(getattr(space, "start", 0))]):
            return self.fallback
        match space:
            case spaces.Discrete():
                return int(space.start) + (0 if mask is None else int(np.flatnonzero(mask)[0]))
            case spaces.Box():
                low, high = np.maximum(space.low, -1.0), np.minimum(space.high, 1.0)
                return ((low + high) / 2).astype(space.dtype)
            case spaces.MultiDiscrete():
                return np.array(space.start, space.dtype)
            case spaces.MultiBinary():
                return np.zeros(space.shape, space.dtype)
        raise ValueError(f"two answers in a row were no action of {space}, and there is no default one; give fallback=...")

    def _introduction(self) -> str:
        inner = self.env.unwrapped
        if isinstance(inner, LLMEnv):
            seen = inner.get_observation_schema().get("properties", {})
            meanings = "; ".join(f"{name}: {part['description']}" for name, part in seen.items() if "description" in part)
            said = [inner.get_goal_description(), *([f"You see {meanings}."] if meanings else [])]
        else:
            said = [f"You play {inner.spec.name if inner.spec is not None else type(inner).__name__}."]
        return " ".join([*said, self._choices()])


def has_words(env: gym.Env) -> bool:
    """Whether `ToText` can read an action of this environment without being told how."""
    return isinstance(env.action_space, spaces.Discrete | spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary)


def describe(space: spaces.Space, value: Any, names: Sequence[str] | None = None) -> str:
    """An observation in words: "player sum: 14, dealer card: 10"; numbers with at most three decimals.

    Of a Dict each part has its name; of a Box or a Tuple those given in `names`, else numbers alone. A view of MiniGrid or BabyAI
    is the mission, and what is seen and where. Raises ValueError for an array of more than 64 numbers, such as a picture.
    """
    match space:
        case spaces.Dict() if {"image", "mission"} <= space.spaces.keys():
            return _view(value)
        case spaces.Dict():
            return ", ".join(f"{str(name).replace('_', ' ')}: {describe(part, value[name])}" for name, part in space.items())
        case spaces.Tuple():
            labels = [""] * len(space) if names is None else [f"{name}: " for name in names]
            return ", ".join(f"{label}{describe(part, one)}" for label, part, one in zip(labels, space, value, strict=True))
        case spaces.Discrete():
            return str(int(value))
        case spaces.Text():
            return printable(str(value))
        case spaces.Box() | spaces.MultiDiscrete() | spaces.MultiBinary():
            return _numbers(np.asarray(value), names)
        case spaces.Sequence():
            return "[" + "; ".join(describe(space.feature_space, one) for one in value) + "]"
    raise ValueError(
        f"observations of {space} cannot be described; give format_observation, a function from an observation to a text"
    )


def read_action(space: spaces.Space, text: str, names: Sequence[str] | None = None) -> Any:
    """The action that a text names; None if it names none, or several.

    Of a Discrete space a whole text that is a name or a number is that one; else what follows the last "action" or "answer"; else
    the only name or number in it. Of other spaces as many numbers as they have, and no more.
    """
    if isinstance(space, spaces.Discrete):
        *_, last = NAMED.split(text)
        for part in (text, last):
            found = _choices_in(space, part, names)
            if len(found) == 1:
                return found.pop()
        return None
    numbers = [float(number) for number in NUMBER.findall(text)]
    if space.shape is None or len(numbers) != int(np.prod(space.shape)) or not np.isfinite(numbers).all():
        return None
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary) and any(number != int(number) for number in numbers):
        return None
    action = np.array(numbers).astype(space.dtype).reshape(space.shape)
    return action if space.contains(action) else None


def _choices_in(space: spaces.Discrete, text: str, names: Sequence[str] | None) -> set[int]:
    """All actions that are named, by whole words."""
    start = int(space.start)
    words = WORD.findall(DECIMAL.sub(" ", text.casefold()))
    found = {int(word) for word in words if word.isascii() and word.lstrip("-").isdigit() and len(word) < 10}
    found = {number for number in found if start <= number < start + int(space.n)}
    for number, name in enumerate(names or (), start):
        parts = WORD.findall(name.casefold())
        if parts and any(words[n : n + len(parts)] == parts for n in range(len(words) - len(parts) + 1)):
            found.add(number)
    return found


def _numbers(values: np.ndarray, names: Sequence[str] | None) -> str:
    if values.size > MOST_NUMBERS:
        raise ValueError(f"an observation of {values.size} numbers says nothing in words (at most {MOST_NUMBERS} are written out); give "
                         "format_observation, a function from an observation to a text")  # fmt: skip
    written = [_number(value) for value in values.reshape(-1).tolist()]
    if names is None:
        return written[0] if len(written) == 1 else " ".join(written)
    return ", ".join(f"{name}: {number}" for name, number in zip(names, written, strict=True))


def _number(value: float) -> str:
    if isinstance(value, bool | int):
        return str(int(value))
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _view(observation: Mapping[str, Any]) -> str:
    """What MiniGrid's agent sees before it (arXiv:2306.13831): it stands in the middle of the last row of its view."""
    image = np.asarray(observation["image"])
    width, depth, _ = image.shape
    middle, seen, carried = width // 2, [], ""
    for x in range(width):
        for y in range(depth):
            kind, colour, state = (int(number) for number in image[x, y])
            if OBJECTS[kind] in NOT_WORTH_A_WORD:
                continue
            thing = (
                f"{DOORS[state]} {COLOURS[colour]} door" if OBJECTS[kind] == "door" else f"{COLOURS[colour]} {OBJECTS[kind]}"
            )
            if (x, y) == (middle, depth - 1):  # where it stands is shown what it has picked up
                carried = f" You carry a {thing}."
            else:
                seen.append(f"a {thing} {_place(middle - x, depth - 1 - y)}")
    ahead = OBJECTS[int(image[middle, depth - 2, 0])]
    said = f"Mission: {printable(str(observation['mission']))}. You see {', '.join(seen) if seen else 'nothing'}."
    return said + (" A wall is right before you." if ahead == "wall" else "") + carried


def _place(left: int, ahead: int) -> str:
    parts = [f"{ahead} ahead"] if ahead else []
    if left:
        parts.append(f"{abs(left)} to the {'left' if left > 0 else 'right'}")
    return " and ".join(parts)


def _names_of(env: gym.Env, given: Sequence[str] | None) -> Sequence[str] | None:
    """The names of the actions: as given, as the environment's own schema has them, or MiniGrid's."""
    if given is not None:
        return list(given)
    inner = env.unwrapped
    if isinstance(inner, LLMEnv):
        described = inner.get_action_schema().get("description", "")
        names = [part.partition(":")[2].partition(":")[0].strip() for part in described.split(";")]
        return names if isinstance(inner.action_space, spaces.Discrete) and len(names) == inner.action_space.n else None
    space, shown = env.action_space, env.observation_space
    if isinstance(space, spaces.Discrete) and isinstance(shown, spaces.Dict) and "mission" in shown.spaces:
        return MINIGRID_ACTIONS[: int(space.n)]
    return None


def _shape_in_words(space: spaces.Space) -> str:
    size = int(np.prod(space.shape or ()))
    match space:
        case spaces.Box():
            return f"{size} {'number' if size == 1 else 'numbers'} from {_number(float(space.low.min()))} to {_number(float(space.high.max()))}"
        case spaces.MultiDiscrete():
            return f"{size} whole numbers, each below {', '.join(map(str, space.nvec.reshape(-1).tolist()))}"
    return f"{size} numbers, each 0 or 1"
