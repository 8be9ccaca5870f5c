"""A language agent's folder: transformers' own files, and beside them what makes it an agent."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from gymformer.files import read_json, replaced_folder, sha256, verify, write_file, write_json
from gymformer.pretrained import no_bars
from gymformer.rl.agent import TrainedAgent, tensors_of
from gymformer.rl.networks import CriticNetwork, ValueHead, match_critic, match_tokens
from gymformer.rl.phrase_actor import PhraseActor
from gymformer.rl.space_json import space_from_json, space_to_json
from gymformer.rl.transformers_nn import LMActorNetwork, LMCriticNetwork

__all__ = ["load_language_agent", "save_language_agent"]

FORMAT, VERSION = "gymformer-agent", 1
CONFIG = {"env", "env_kwargs", "max_timesteps", "observation_space", "action_space", "sampling", "critic", "sha256",
          "critic_sha256"}  # fmt: skip


def save_language_agent(agent: TrainedAgent, folder: Path) -> Path:
    """The folder holds the actor as transformers saves a model (LoRA merged in), its tokenizer, agent.json, and the critic. Of a
    PhraseActor it is its language model's, and agent.json has the phrases.

    It is written beside and put in place as a whole, so what stands there is never half of one.
    """
    actor: Any = agent.actor.lm if isinstance(agent.actor, PhraseActor) else agent.actor
    phrases = agent.actor.settings if isinstance(agent.actor, PhraseActor) else None
    with replaced_folder(folder) as unfinished:
        with no_bars():
            actor.merged().save_pretrained(unfinished)
        if actor.has_tokenizer:
            actor.tokenizer.save_pretrained(unfinished)
        critic = _save_critic(agent.critic, unfinished)
        write_json(unfinished / "agent.json", {
            "format": FORMAT, "version": VERSION, "env": agent.env_id, "env_kwargs": agent.env_kwargs,
            "max_timesteps": agent.max_timesteps, "observation_space": space_to_json(agent.observation_space),
            "action_space": space_to_json(agent.action_space), "sampling": dict(actor.sampling), "critic": critic,
            "phrases": phrases,
            "sha256": hashes(unfinished), "critic_sha256": hashes(unfinished / "critic"),
        })  # fmt: skip
    return folder


def load_language_agent(folder: Path, device: str | torch.device, critic: nn.Module | None = None) -> TrainedAgent:
    """The agent that `save_language_agent` wrote. Raises ValueError for a folder that is damaged or of another format."""
    description = read_json(folder / "agent.json")
    if description.get("format") != FORMAT or description.get("version") != VERSION:
        raise ValueError(f"{folder} is of format {description.get('format')!r}, version {description.get('version')!r}; this gymformer "
                         f"reads {FORMAT!r}, version {VERSION}. Load it with the gymformer that wrote it")  # fmt: skip
    missing = sorted(CONFIG - set(description))
    if missing:
        raise ValueError(f"{folder / 'agent.json'} lacks {', '.join(missing)}; the file was changed, copy the folder again")
    verify(folder, description["sha256"])
    verify(folder / "critic", description["critic_sha256"])
    try:
        action_space = space_from_json(description["action_space"])
        observation_space = space_from_json(description["observation_space"])
        actor: Any = LMActorNetwork(folder.absolute(), dtype="auto", **description["sampling"])
        if description.get("phrases") is not None:  # older folders have none
            actor = PhraseActor(actor, **description["phrases"])
    except (TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"{folder / 'agent.json'} describes nothing that can be built ({error}); the file was changed, copy the "
                         "folder again") from error  # fmt: skip
    match_tokens(actor, int(action_space.n))  # type: ignore[attr-defined]
    if actor.has_tokenizer:
        _ = actor.tokenizer  # now, for the folder may be gone when it is first asked for
    value = _load_critic(description["critic"], actor, folder) if critic is None else _given_critic(critic, folder)
    return TrainedAgent(actor.to(device), None if value is None else value.to(device), observation_space, action_space,
                        description["env"], description["env_kwargs"], description["max_timesteps"])  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of weights that lies in the folder, by name."""
    return {path.name: sha256(path.read_bytes()) for path in sorted(folder.glob("*.safetensors"))}


def _save_critic(critic: CriticNetwork | None, folder: Path) -> str | None:
    """Writes the critic's own tensors; returns its kind."""
    if critic is None:
        return None
    if isinstance(critic, LMCriticNetwork):
        with no_bars():
            critic.merged().save_pretrained(folder / "critic")
        write_file(folder / "value_head.safetensors", safetensors.torch.save(tensors_of(critic.head)))
        return "LMCriticNetwork"
    if isinstance(critic, ValueHead):
        write_file(folder / "value_head.safetensors", safetensors.torch.save(tensors_of(critic.head)))
        return "ValueHead"
    write_file(folder / "critic.safetensors", safetensors.torch.save(tensors_of(critic)))
    return type(critic).__name__


def _given_critic(critic: nn.Module, folder: Path) -> CriticNetwork:
    """A critic that its owner built, with the tensors that were saved of it, if any were."""
    value = match_critic(critic, (1,), num_tokens=1)
    if (folder / "critic.safetensors").is_file():
        saved, own = safetensors.torch.load((folder / "critic.safetensors").read_bytes()), tensors_of(value)
        if {name: tensor.shape for name, tensor in saved.items()} != {name: tensor.shape for name, tensor in own.items()}:
            raise ValueError(
                f"the critic given does not fit the tensors in {folder}; build it with the sizes that it was saved with"
            )
        value.load_state_dict(saved, strict=False)  # what is missing is shared by two layers
    return value


def _load_critic(kind: str | None, actor: Any, folder: Path) -> CriticNetwork | None:
    match kind:
        case None:
            return None
        case "ValueHead":
            critic: Any = actor.value_head()
        case "LMCriticNetwork":
            critic = LMCriticNetwork(folder.absolute() / "critic", dtype="auto")
        case _:
            raise ValueError(f"the critic in {folder} is a module of your own ({kind}); build it, and pass it: "
                             f"load_agent({str(folder)!r}, critic=...)")  # fmt: skip
    critic.head.load_state_dict(safetensors.torch.load((folder / "value_head.safetensors").read_bytes()))
    return critic
