"""Who plays an evaluation: agents, functions, language models behind HTTP, and the players that an environment brings."""

import copy
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from gymformer.agents.backends import Backend
from gymformer.agents.player import LLMAgent, get_env_definition
from gymformer.env.text_env import is_text_env, writes_lines
from gymformer.env.to_text import ToText
from gymformer.env.token_env import TokenEnv, is_token_env
from gymformer.rl.agent import TrainedAgent, language_agent, load_agent
from gymformer.rl.kl import fingerprint
from gymformer.rl.networks import ActorNetwork

__all__ = ["Move", "Player", "baseline", "identity", "legal_actions", "player_in", "resolved", "scripted"]

GO_ON = "Go on."  # to a model whose message is not finished


class Move(NamedTuple):
    """An action, and the words that led to it, where there are any."""

    action: Any
    words: str | None = None


class Player(Protocol):
    """Who plays one environment, one episode after another."""

    env: gym.Env  # the one that it plays: the one given, in words where it needs them

    def begin(self, seed: int) -> None:
        """A new episode; all that is random in it comes from `seed`."""
        ...

    def act(self, observation: Any, info: dict[str, Any]) -> Move: ...

    def usage(self) -> tuple[int, int] | None:
        """Tokens read and written so far; None where nobody counts them."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class PlaysGames(Protocol):
    """LLMAgent, and whatever else `run_experiment` takes."""

    def reset(self, seed: int | None = None) -> None: ...
    def get_action(self, observation: Any) -> tuple[dict[str, Any], Any]: ...


def resolved(given: Any) -> tuple[str, Any]:
    """A name for it, and who is meant: "expert" and "random" as they are, the agent of a folder, of a result or of a language
    model's actor, a Backend, who plays games, or a function. Raises TypeError for anything else."""
    match given:
        case "expert" | "random":
            return given, given
        case str() | Path():
            return Path(given).name, load_agent(given)
        case TrainedAgent():
            return "agent", given
        case ActorNetwork() if getattr(given, "has_tokenizer", False):
            return Path(str(getattr(given, "model_name", None) or "model")).name, language_agent(given)
        case Backend():
            return given.settings.model, given
        case _ if isinstance(getattr(given, "agent", None), TrainedAgent):  # of train_agent
            return "agent", given.agent
        case _ if isinstance(given, PlaysGames):
            settings = getattr(given, "settings", None)
            return getattr(settings, "model", type(given).__name__), given
        case _ if callable(given) and not isinstance(given, torch.nn.Module):
            name = getattr(given, "__name__", type(given).__name__)
            return "function" if name == "<lambda>" else name, given
    raise TypeError(f"a {type(given).__name__} cannot play; give a trained agent (result.agent), its folder, a language model's actor, a "
                    'Backend of gymformer.agents, a function from an observation to an action, "expert" or "random"')  # fmt: skip


def identity(given: Any) -> str | None:
    """What tells a player from another of its name: an agent's weights, the model behind a server; None where nothing does."""
    match given:
        case TrainedAgent():
            return fingerprint(given.actor)
        case Backend():
            return given.settings.model
    return None


def player_in(env: gym.Env, given: Any, greedy: bool = False) -> Player:
    """The player that `resolved` gave, in its environment. Raises ValueError where the two do not go together."""
    match given:
        case "expert":
            function = scripted(env, "expert")
            if function is None:
                raise ValueError(f"{_name(env)} brings no expert; give a function from an observation to an action instead")
            return FunctionPlayer(env, function)
        case "random":
            guesser = scripted(env, "guesser")
            return RandomPlayer(env) if guesser is None else FunctionPlayer(env, guesser)
        case TrainedAgent():
            return AgentPlayer(env, given, greedy)
        case Backend() if env.has_wrapper_attr("get_observation_schema"):
            own = LLMAgent(given.settings.model_dump(), **get_env_definition(env))
            return GamePlayer(env, own, own)
        case Backend() if is_token_env(env):
            return TokenModelPlayer(env, given)
        case Backend():
            return TextModelPlayer(env, given)
        case PlaysGames():
            return GamePlayer(env, given)
    return FunctionPlayer(env, given)


def scripted(env: gym.Env, kind: str) -> Callable[..., Any] | None:
    """The player that the module of the environment's class brings, named after the class: `logic_puzzle_expert` and
    `logic_puzzle_guesser` of LogicPuzzleEnv."""
    for parent in type(env.unwrapped).__mro__:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parent.__name__.removesuffix("Env")).lower()
        found = getattr(sys.modules[parent.__module__], f"{name}_{kind}", None)
        if found is not None:
            return found
    return None


def baseline(env: gym.Env) -> str:
    """What "random" is in this environment, in words."""
    return "random actions" if scripted(env, "guesser") is None else "its own guesser"


def legal_actions(env: gym.Env, info: dict[str, Any]) -> Any:
    """The mask of legal actions, where the environment tells one."""
    mask = info.get("action_mask")
    return env.get_wrapper_attr("action_masks")() if mask is None and env.has_wrapper_attr("action_masks") else mask


class FunctionPlayer:
    """A function of the observation, or of the observation and the info. A callable without arguments, or with the one
    argument `rng`, makes such a function for each episode."""

    def __init__(self, env: gym.Env, function: Callable[..., Any]):
        self.env, self.function = env, function
        self._act, self._takes_info = function, False

    def begin(self, seed: int) -> None:
        match _arguments(self.function):
            case []:
                self._act = self.function()
            case ["rng"]:
                self._act = self.function(np.random.default_rng(seed))
        self._takes_info = len(_arguments(self._act) or ()) == 2

    def act(self, observation: Any, info: dict[str, Any]) -> Move:
        action = self._act(observation, info) if self._takes_info else self._act(observation)
        return Move(action, action if isinstance(action, str) else None)

    def usage(self) -> None:
        return None

    def close(self) -> None:
        """There is nothing to close."""


class RandomPlayer:
    """Any action that is legal, each as likely as the space samples it."""

    def __init__(self, env: gym.Env):
        self.env, self.space = env, copy.deepcopy(env.action_space)  # the environment's own keeps its place

    def begin(self, seed: int) -> None:
        self.space.seed(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> Move:
        mask = legal_actions(self.env, info)
        if mask is not None and isinstance(self.space, spaces.Discrete):
            mask = np.asarray(mask, np.int8)
        action = self.space.sample() if mask is None else self.space.sample(mask)
        return Move(action, action if isinstance(action, str) else None)

    def usage(self) -> None:
        return None

    def close(self) -> None:
        """There is nothing to close."""


class AgentPlayer:
    """A trained agent that reads no tokens: the sampled policy, or its likeliest action."""

    def __init__(self, env: gym.Env, agent: TrainedAgent, greedy: bool):
        if (env.observation_space, env.action_space) != (agent.observation_space, agent.action_space):
            raise ValueError(f"the agent reads {agent.observation_space} and acts in {agent.action_space} (of {agent.env_id}), but "
                             f"{_name(env)} gives {env.observation_space} and takes {env.action_space}; choose the one of training")  # fmt: skip
        self.env, self.agent, self.greedy = env, agent, greedy
        self.generator = torch.Generator(next(agent.actor.parameters()).device)

    def begin(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> Move:
        mask = legal_actions(self.env, info)
        return Move(self.agent.act(observation, greedy=self.greedy, action_mask=mask, generator=self.generator))

    def usage(self) -> None:
        return None

    def close(self) -> None:
        """There is nothing to close."""


class GamePlayer:
    """An LLMAgent, whose reflection comes before its action."""

    def __init__(self, env: gym.Env, agent: PlaysGames, own: LLMAgent | None = None):
        self.env, self.agent, self._own = env, agent, own  # its own is closed with it

    def begin(self, seed: int) -> None:
        self.agent.reset(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> Move:
        raw_output, action = self.agent.get_action(observation)
        return Move(action, str(raw_output["reflection"]))

    def usage(self) -> tuple[int, int] | None:
        return _usage(getattr(self.agent, "backend", None))

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


class TextModelPlayer:
    """A language model behind HTTP in an environment of texts, or in any other, put into words: its reply is the turn.

    It is told the system prompt, the last `history` exchanges and the observation. What it thinks before a </think> counts as
    words and is no part of the turn.
    """

    def __init__(self, env: gym.Env, backend: Backend):
        self.env, self.backend = env if is_text_env(env) else ToText(env), backend
        self._system = self.env.get_wrapper_attr("system_prompt") if self.env.has_wrapper_attr("system_prompt") else None
        self._history: list[dict[str, str]] = []
        self._seed = 0

    def begin(self, seed: int) -> None:
        self._history, self._seed = [], seed

    def act(self, observation: Any, info: dict[str, Any]) -> Move:
        system = [{"role": "system", "content": self._system}] if self._system else []
        reply = self.backend.ask([*system, *self._asked(str(observation))], None, self._seed)
        turn = reply.rpartition("</think>")[2].strip()
        exchange = [{"role": "user", "content": str(observation)}, {"role": "assistant", "content": turn}]
        kept = 2 * self.backend.settings.history
        self._history = [*self._history, *exchange][-kept:] if kept else []
        return Move(turn, reply)

    def usage(self) -> tuple[int, int] | None:
        return _usage(self.backend)

    def close(self) -> None:
        """The backend is its owner's to close."""

    def _asked(self, observation: str) -> list[dict[str, str]]:
        if not writes_lines(self.env):
            return [*self._history, {"role": "user", "content": observation}]
        lines: Any = self.env.unwrapped
        messages = [{"role": role, "content": text} for role, text in lines.dialogue(observation)]
        return [*messages, {"role": "user", "content": GO_ON}] if messages[-1]["content"] else messages[:-1]


class TokenModelPlayer:
    """A language model behind HTTP in an environment of tokens: it reads the prompt's text, and its reply is put into the
    environment's own tokens."""

    def __init__(self, env: gym.Env, backend: Backend):
        if not isinstance(env.unwrapped, TokenEnv):
            raise ValueError(f"{_name(env)} takes tokens and has no tokenizer to turn a reply into them; make it a TokenEnv, or evaluate the "
                             "model in an environment of texts")  # fmt: skip
        self.env, self.backend, self.tokens = env, backend, env.unwrapped
        self._seed, self._waiting = 0, []

    def begin(self, seed: int) -> None:
        self._seed, self._waiting = seed, []

    def act(self, observation: Any, info: dict[str, Any]) -> Move:
        reply = None
        if not self._waiting:
            text: Any = self.tokens.tokenizer.decode(list(observation), skip_special_tokens=True)
            reply = self.backend.ask([{"role": "user", "content": text}], None, self._seed)
            self._waiting = [*self.tokens.codec.trusted(reply), *sorted(self.tokens.ends)[:1]]
            if not self._waiting:
                raise ValueError("the model answered with nothing, and the environment has no token that would end a text")
        return Move(self._waiting.pop(0), reply)

    def usage(self) -> tuple[int, int] | None:
        return _usage(self.backend)

    def close(self) -> None:
        """The backend is its owner's to close."""


def _usage(backend: Backend | None) -> tuple[int, int] | None:
    if backend is None or backend.usage.untold:  # a sum that lacks answers is none
        return None
    return backend.usage.prompt_tokens, backend.usage.completion_tokens


def _arguments(function: Callable[..., Any]) -> list[str] | None:
    """The names of the arguments that it must be given; None where it does not tell, or takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have none
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _name(env: gym.Env) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
