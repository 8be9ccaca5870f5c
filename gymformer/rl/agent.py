"""A trained agent: what it needs to act, saved as a plain folder and rebuilt from it."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import safetensors.torch
import torch
from torch import nn

from gymformer.files import read_json, sha256, verify, write_file, write_json
from gymformer.rl.common_nn import MLPActorNetwork, MLPCriticNetwork
from gymformer.rl.networks import ActorNetwork, CriticNetwork, Recompute, match_actions, match_critic, match_tokens
from gymformer.rl.policy import Categorical, check_masks, flat_mask
from gymformer.rl.space_json import space_from_json, space_to_json
from gymformer.rl.spaces import ObservationEncoder, RunningMoments, one_as_batch
from gymformer.rl.token_envs import reads_tokens

__all__ = ["TrainedAgent", "language_agent", "load_agent"]

FORMAT, VERSION = "gymformer-agent", 1
# What a folder's config.json must hold.
CONFIG = {"env", "env_kwargs", "max_timesteps", "observation_space", "action_space", "normalize_observations",
          "normalize_rewards", "actor", "critic", "sha256"}  # fmt: skip
REBUILT = {"MLPActorNetwork": MLPActorNetwork, "MLPCriticNetwork": MLPCriticNetwork}


class TrainedAgent:
    """An actor, the critic that it was trained with, and the encoder of its observations.

    `agent.act(observation)` takes and returns what the environment gives and takes. Of a token environment, whose
    observations need no encoder, the space is given instead.
    """

    def __init__(self, actor: ActorNetwork, critic: CriticNetwork | None, encoder: "ObservationEncoder | gym.Space",
                 action_space: gym.Space, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None,
                 max_timesteps: int | None = None, reward_moments: RunningMoments | None = None):  # fmt: skip
        self.actor, self.critic, self.action_space = actor, critic, action_space
        self._encoder = encoder if isinstance(encoder, ObservationEncoder) else None
        self.observation_space: gym.Space = encoder.space if isinstance(encoder, ObservationEncoder) else encoder
        # By which its environment can be made again; env_id is None where that takes more than an id and plain arguments.
        plain = is_json(env_kwargs or {})
        self.env_id, self.env_kwargs = (env_id, dict(env_kwargs or {})) if plain else (None, {})
        self.max_timesteps = max_timesteps  # an episode's cap in training
        self.reward_moments = reward_moments  # of the returns whose spread was the unit of reward in training; None: 1

    @property
    def encoder(self) -> ObservationEncoder:
        """Turns observations into vectors. Raises ValueError for an agent that reads tokens, which need none."""
        if self._encoder is None:
            raise ValueError("this agent reads tokens, which no encoder turns into vectors; use act(observation)")
        return self._encoder

    @property
    def observation_moments(self) -> RunningMoments | None:
        """By which observations are normalised, if they are."""
        return None if self._encoder is None else self._encoder.moments

    @property
    def reads_tokens(self) -> bool:
        return self._encoder is None

    def act(self, observation: Any, *, greedy: bool = False, action_mask: Any = None,
            generator: torch.Generator | None = None) -> Any:  # fmt: skip
        """An action for one observation: sampled from the policy, or its likeliest (`greedy`)."""
        if self.reads_tokens:
            return self._next_token(observation, greedy, action_mask, generator)
        encoded = self.encoder(one_as_batch(self.encoder.space, observation))
        legal = None if action_mask is None else check_masks(flat_mask(action_mask), 1, self.actor.policy.num_outputs)
        action = self.act_batch(encoded, greedy=greedy, legal=legal, generator=generator)[0]
        return int(action) if isinstance(self.action_space, gym.spaces.Discrete) else action

    @torch.no_grad()
    def act_batch(self, encoded: np.ndarray, *, greedy: bool = False, legal: np.ndarray | None = None,
                  generator: torch.Generator | None = None) -> np.ndarray:  # fmt: skip
        """Actions in the environment's terms for B encoded observations (B, *shape); legal: (B, A) bool."""
        device, distribution = next(self.actor.parameters()).device, self.actor.policy
        mask = None if legal is None else torch.from_numpy(legal).to(device)
        outputs = self.actor(torch.from_numpy(np.ascontiguousarray(encoded)).to(device))
        sampled = distribution.mode(outputs, mask) if greedy else distribution.sample(outputs, generator, mask)[0]
        return distribution.to_env(sampled.cpu().numpy())

    @torch.no_grad()
    def _next_token(self, tokens: Any, greedy: bool, action_mask: Any, generator: torch.Generator | None) -> int:
        policy, row = self.actor.policy, torch.tensor([list(map(int, tokens))], device=self.actor.device)
        mask = None if action_mask is None else torch.from_numpy(check_masks(action_mask, 1, policy.num_outputs)).to(row.device)
        outputs = self.actor(row)
        mask = policy.narrowed(outputs, mask) if isinstance(policy, Categorical) else mask
        return int(policy.mode(outputs, mask) if greedy else policy.sample(outputs, generator, mask)[0])

    @torch.no_grad()
    def value(self, observation: Any) -> float:
        """The critic's V(s), in the environment's unit of reward, also where rewards were normalised in training."""
        if self.critic is None:
            raise ValueError("this agent has no critic; it was saved without one")
        if self.reads_tokens:
            return self.critic(torch.tensor([list(map(int, observation))], device=self.actor.device)).item()
        encoded = self.encoder(one_as_batch(self.encoder.space, observation))
        value = self.critic(torch.from_numpy(encoded).to(next(self.critic.parameters()).device)).item()
        return value if self.reward_moments is None else value / self.reward_moments.scale

    def tensors(self, learned_only: bool = False) -> dict[str, torch.Tensor]:
        """Every number the agent holds, by name; `learned_only`: without the weights that are frozen."""
        tensors = {f"actor.{name}": value for name, value in tensors_of(self.actor, learned_only).items()}
        if self.critic is not None:
            tensors |= {f"critic.{name}": value for name, value in tensors_of(self.critic, learned_only).items()}
        if self.observation_moments is not None:
            tensors |= {f"observations.{k}": torch.from_numpy(v) for k, v in self.observation_moments.state().items()}
        if self.reward_moments is not None:
            tensors |= {f"rewards.{k}": torch.from_numpy(v) for k, v in self.reward_moments.state().items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load_tensors(self, tensors: dict[str, torch.Tensor], learned_only: bool = False) -> None:
        """Takes over the values of `tensors()`. Raises ValueError for missing or superfluous names and other shapes."""
        own = self.tensors(learned_only)
        wrong = sorted(set(own) ^ set(tensors)) or [n for n in own if own[n].shape != tensors[n].shape]
        if wrong:
            raise ValueError(f"the saved tensors do not fit this agent; the first that differs is {wrong[0]!r}. Build the "
                             "networks with the sizes that they were saved with")  # fmt: skip
        parts: dict[str, dict[str, torch.Tensor]] = {"actor": {}, "critic": {}, "observations": {}, "rewards": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.actor.load_state_dict(
            parts["actor"], strict=False
        )  # names are checked above; what is missing is frozen, or shared
        if self.critic is not None:
            self.critic.load_state_dict(parts["critic"], strict=False)
        for moments, name in ((self.observation_moments, "observations"), (self.reward_moments, "rewards")):
            if moments is not None:
                moments.load({k: v.numpy() for k, v in parts[name].items()})

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes config.json and the safetensors file that it names; no pickle. A folder that holds an agent already is overwritten.

        A language model's folder is one of transformers, which loads it alone; beside it lie agent.json and the critic.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not holds_agent(folder))):
            raise FileExistsError(f"{folder} exists and is not an agent's folder; give a folder that is new or empty")
        if type(self.actor).__name__ in ("LMActorNetwork", "PhraseActor"):  # by name, for their modules import transformers
            from gymformer.rl.language_folder import save_language_agent

            return save_language_agent(self, folder)
        model = safetensors.torch.save(self.tensors())
        # The file is named by its content, and config.json names the file: whatever is killed when, the folder is whole.
        name = f"model-{sha256(model)[:12]}.safetensors"
        config = {
            "format": FORMAT, "version": VERSION, "env": self.env_id, "env_kwargs": self.env_kwargs, "max_timesteps": self.max_timesteps,
            "observation_space": space_to_json(self.observation_space), "action_space": space_to_json(self.action_space),
            "normalize_observations": self.observation_moments is not None,
            "normalize_rewards": self.reward_moments is not None,
            "actor": _describe(self.actor), "critic": None if self.critic is None else _describe(self.critic),
            "sha256": {name: sha256(model)},
        }  # fmt: skip
        write_file(folder / name, model)
        write_json(folder / "config.json", config)
        for old in folder.glob("model-*.safetensors"):
            if old.name != name:
                old.unlink()
        return folder


def language_agent(actor: ActorNetwork, env_id: str | None = None) -> TrainedAgent:
    """A language model as it is, without any training, as an agent over its own tokens. The actor needs a tokenizer."""
    tokens = gym.spaces.Discrete(len(actor.tokenizer))  # type: ignore[arg-type]
    return TrainedAgent(match_tokens(actor, int(tokens.n)), None, gym.spaces.Sequence(tokens), tokens, env_id)


def load_agent(path: str | Path, *, actor: nn.Module | None = None, critic: nn.Module | None = None,
               device: str | torch.device = "cpu") -> TrainedAgent:  # fmt: skip
    """The agent saved in a folder (its own, or a training run's). The networks that gymformer brings are rebuilt from the
    folder, a language model always (`actor` is not looked at then); a module of your own, which no folder can describe without
    running code, is passed in as `actor` or `critic`."""
    folder = Path(path)
    if not holds_agent(folder):
        folder = folder / "agent"
    if (folder / "agent.json").is_file():
        from gymformer.rl.language_folder import load_language_agent

        return load_language_agent(folder, device, critic=critic)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{path} holds no agent: neither it nor {folder} has a config.json of format {FORMAT!r}. Give "
                                "the folder that agent.save_pretrained wrote, or a training run's")  # fmt: skip
    config = read_json(folder / "config.json")
    if config.get("format") != FORMAT or config.get("version") != VERSION:
        raise ValueError(f"{folder} is of format {config.get('format')!r}, version {config.get('version')!r}; this gymformer "
                         f"reads {FORMAT!r}, version {VERSION}. Load it with the gymformer that wrote it")  # fmt: skip
    missing = sorted(CONFIG - set(config))
    if missing:
        raise ValueError(f"{folder / 'config.json'} lacks {', '.join(missing)}; the file was changed, copy the folder again")
    verify(folder, config["sha256"])
    try:
        model = next(iter(config["sha256"]))
        observation_space = space_from_json(config["observation_space"])
        on_tokens = reads_tokens(observation_space, space_from_json(config["action_space"]))
        encoder = (
            observation_space
            if on_tokens
            else ObservationEncoder(observation_space, normalize=config["normalize_observations"])
        )
        action_space = space_from_json(config["action_space"])
        networks = [
            _rebuild(config[name], given, name, folder)
            for name, given in (("actor", actor), ("critic", critic))
            if config[name]
        ]
    except (StopIteration, TypeError, KeyError, MemoryError, OverflowError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.json'} describes nothing that can be built ({error}); the file was changed, copy the "
                         "folder again") from error  # fmt: skip
    critics = networks[1:]
    if isinstance(encoder, ObservationEncoder):
        built_actor = match_actions(networks[0], action_space, encoder.shape).to(device)
        built_critic = match_critic(critics[0], encoder.shape).to(device) if critics else None
    else:
        num_tokens = int(action_space.n)  # type: ignore[attr-defined]
        built_actor = match_tokens(networks[0], num_tokens).to(device)
        built_critic = match_critic(critics[0], (1,), num_tokens).to(device) if critics else None
    agent = TrainedAgent(
        built_actor,
        built_critic,
        encoder,
        action_space,
        config["env"],
        config["env_kwargs"],
        config["max_timesteps"],
        RunningMoments(()) if config["normalize_rewards"] else None,
    )
    agent.load_tensors(safetensors.torch.load((folder / model).read_bytes()))
    return agent


def tensors_of(network: nn.Module, learned_only: bool = False) -> dict[str, torch.Tensor]:
    """The network's state, a tensor that two layers share under one name only; `learned_only`: without frozen parameters."""
    kept = {name for name, p in network.named_parameters() if p.requires_grad or not learned_only}
    others = {name for name, _ in network.named_parameters(remove_duplicate=False)} - kept
    return {name: value for name, value in network.state_dict().items() if name not in others}


def holds_agent(folder: Path) -> bool:
    """An agent was saved in the folder; not any model of transformers, whose config.json is of another kind."""
    config = folder / "config.json"
    return (folder / "agent.json").is_file() or (config.is_file() and "format" in read_json(config))


def is_json(value: Any) -> bool:
    """JSON can hold the value."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _describe(network: nn.Module) -> dict[str, Any]:
    inner = network.module if isinstance(network, Recompute) else network
    if type(network).__name__ in REBUILT:
        return {"class": type(network).__name__, "config": network.config}  # type: ignore[attr-defined]
    return {"class": type(inner).__qualname__, "config": None}


def _rebuild(description: dict[str, Any], given: nn.Module | None, name: str, folder: Path) -> nn.Module:
    if given is not None:
        return given
    if description["class"] in REBUILT and description["config"] is not None:
        return REBUILT[description["class"]](**description["config"])
    raise ValueError(f"the {name} in {folder} is a module of your own ({description['class']}); build it and pass it: "
                     f"load_agent({str(folder)!r}, {name}=...)")  # fmt: skip
