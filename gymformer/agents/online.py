"""Agent: a language model that learns while it plays, whatever the loop around it."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from gymformer.env.chat import ChatFormat
from gymformer.lm.value_head import AutoModelForCausalLMWithValueHead
from gymformer.rl.networks import CriticNetwork, Session, match_tokens
from gymformer.rl.phrase_actor import PhraseActor
from gymformer.rl.policy import check_masks
from gymformer.rl.ppo import PPO, PPOConfig
from gymformer.rl.replay import reweighted
from gymformer.rl.segment import Segment
from gymformer.rl.transformers_nn import LMActorNetwork

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Agent"]

MAX_NEW_TOKENS, BATCH_SIZE = 32, 16
RUNNING = 100  # episodes of the sliding mean
SAMPLES = 3  # completions that a log entry shows
SORRY = "No action could be read from that. Answer again."


@dataclass(slots=True)
class Episode:
    """The episode under way: rows of tokens, where each token or phrase was chosen, and what it brought."""

    tokens: list[int] = field(default_factory=list)  # of the row that grows
    exchanges: list[tuple[str, int]] = field(default_factory=list)  # what the user said, and where in it the answer begins
    rows: list[np.ndarray] = field(default_factory=list)  # before it; the oldest exchanges have left since
    row: list[int] = field(default_factory=list)
    col: list[int] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    legal: list[np.ndarray] = field(default_factory=list)  # what could be chosen, where not all could
    turn: list[int] = field(default_factory=list)  # the newest
    unread: list[int] = field(default_factory=list)  # tokens that the session has not read
    texts: list[str] = field(default_factory=list)

    def segment(self, terminated: bool) -> Segment:
        rows = [*self.rows, np.array(self.tokens, np.int64)]
        return Segment(
            rows, np.array(self.actions, np.int64), np.array(self.log_probs, np.float32), np.array(self.rewards), terminated,
            row=np.array([*self.row, len(self.rows)]), col=np.array([*self.col, len(self.tokens) - 1]), info={"turns": list(self.texts)},
            legal=np.stack(self.legal) if self.legal else None, episode_return=sum(self.rewards), episode_length=len(self.actions),
        )  # fmt: skip


class Agent(ABC):
    """A language model as an agent in any environment. A subclass says three things:

        class BlackjackAgent(Agent):
            def get_system_prompt(self):
                return "You play Blackjack. Answer with 0 (stick) or 1 (hit)."

            def format_observation(self, observation):
                return f"Your sum is {observation[0]}, the dealer shows {observation[1]}."

            def extract_action(self, response):
                return int(response) if response in ("0", "1") else None

    and plays in a loop of one's own: `action = agent.act(observation)`, `agent.assign_reward(reward)` after each step, and
    `agent.terminate_episode()` at the end. Observations are a user's messages and turns are the assistant's, in the chat format of the
    tokenizer; what was sampled stays as it was sampled. A reward falls on the last token of the turn before it, and PPO, the
    same as `train_agent`'s, works out what each token has to do with it.

    model: a causal language model (a name, a folder, a module, LoRA or not) or an AutoModelForCausalLMWithValueHead; it learns in
        place. tokenizer: None is the model's own.
    generate_config_dict: "max_new_tokens" (32), "temperature", "top_k", "top_p". ppo_config_dict: "batch_size", the episodes that it
        learns from at a time (16), and all fields of `PPOConfig`.
    action_space: of the environment. What is not in it, and a response for which `extract_action` gives None or raises ValueError,
        is answered "No action could be read …" and the observation once more, costs `penalty`, `retries` times; then
        `fallback_action` is played. `unreadable` counts such responses.
    critic: a network of its own; None is the model's value head.
    phrases: instead of writing freely it says one of these, each chosen with the probability that `PhraseActor` gives it, and
        `extract_action` reads it as ever. `act(observation, action_mask=...)` says which of them are allowed.
    window: exchanges that it remembers, beside the newest observation; None is as many as fit.

    Where the dialogue would not fit into the model's context, the oldest exchanges leave, each observation with its response; the system
    prompt and the newest stay.
    """

    def __init__(
        self,
        model: "str | Path | nn.Module",
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        device: str | torch.device = "cpu",
        generate_config_dict: Mapping[str, Any] | None = None,
        ppo_config_dict: Mapping[str, Any] | None = None,
        *,
        action_space: spaces.Space | None = None,
        retries: int = 1,
        penalty: float = 0.0,
        critic: CriticNetwork | None = None,
        phrases: Sequence[str] | None = None,
        window: int | None = None,
        seed: int = 0,
    ):
        generation, learning = dict(generate_config_dict or {}), dict(ppo_config_dict or {})
        self.max_new_tokens, self.batch_size = (
            generation.pop("max_new_tokens", MAX_NEW_TOKENS),
            learning.pop("batch_size", BATCH_SIZE),
        )
        _require_known("generate_config_dict", generation, ["temperature", "top_k", "top_p"])
        _require_known("ppo_config_dict", learning, [one.name for one in fields(PPOConfig)])
        if self.max_new_tokens < 1 or self.batch_size < 1 or retries < 0 or penalty < 0 or (window or 0) < 0:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}, batch_size={self.batch_size}, retries={retries}, penalty={penalty}, "
                             f"window={window}; the first two are at least 1, the others not negative")  # fmt: skip
        if phrases is not None and {"top_k", "top_p"} & generation.keys():
            raise ValueError("top_k and top_p are for tokens; of phrases, leave them out of generate_config_dict")
        with_head = model if isinstance(model, AutoModelForCausalLMWithValueHead) else None
        temperature = {} if phrases is None else {"temperature": generation.pop("temperature", 1.0)}
        lm = LMActorNetwork(model if with_head is None else with_head.lm, tokenizer=tokenizer, **generation).to(device)
        self.format = ChatFormat(lm.tokenizer, self.get_system_prompt())
        self.codec = self.format.codec
        self.actor = lm if phrases is None else PhraseActor(lm, phrases, **temperature).to(device)
        self.phrases, self.window = phrases, window
        match_tokens(self.actor, self.codec.size if phrases is None else len(phrases))
        if critic is None:
            critic = self.actor.value_head()
            if with_head is not None:
                critic.head = with_head.v_head.to(device)
        self.critic = critic
        self.algorithm = PPO(
            self.actor, self.critic, PPOConfig(**learning), generator=torch.Generator(device).manual_seed(seed)
        )
        self.action_space, self.retries, self.penalty = action_space, retries, penalty
        for ids in self.actor.ids if isinstance(self.actor, PhraseActor) else ():
            if self._read(response := self._response(ids)) is None:
                raise ValueError(f"extract_action reads no action from the phrase {response!r}; every phrase must be one")
        self.learning = True
        self.unreadable = 0
        self.log: list[dict[str, Any]] = []  # an entry for each update
        self.returns: deque[float] = deque(maxlen=RUNNING)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._buffer: list[tuple[Segment, int]] = []  # and how many updates there had been before it was played
        self._episode: Episode | None = None
        self._session: Session | None = None

    @abstractmethod
    def get_system_prompt(self) -> str:
        """What the model is told before anything else."""

    @abstractmethod
    def format_observation(self, observation: Any) -> str:
        """The observation in words."""

    @abstractmethod
    def extract_action(self, response: str) -> Any:
        """The action that a response names; None, or a ValueError, if it names none."""

    def fallback_action(self, observation: Any) -> Any:
        """What is played where no response could be read: the first action of a Discrete `action_space`."""
        if isinstance(self.action_space, spaces.Discrete):
            return int(self.action_space.start)
        raise ValueError(f"{self.retries + 1} responses in a row were no action, and there is no default one; give action_space=Discrete(...), "
                         "or define fallback_action(observation)")  # fmt: skip

    def train(self) -> None:
        """From now on it samples, and learns from what it plays."""
        self.learning = True

    def eval(self) -> None:
        """From now on it takes the likeliest tokens, and learns nothing."""
        self.learning = False

    @torch.no_grad()
    def act(self, observation: Any, action_mask: Any = None) -> Any:
        """The action that the model chooses; never None. `action_mask` (A,) bool: the phrases that are allowed now."""
        legal = None
        if action_mask is not None:
            if self.phrases is None:
                raise ValueError("an action_mask is for phrases, one entry for each; give Agent(..., phrases=[...])")
            legal = torch.from_numpy(check_masks(action_mask, 1, len(self.phrases))).to(self.actor.device)
        text = said = self.format_observation(observation)
        for _ in range(self.retries + 1):
            response = self._write(said, legal)
            action = self._read(response)
            if action is not None:
                return action
            self.unreadable += 1
            self.assign_reward(-self.penalty)
            said = f"{SORRY}\n{text}"  # what was observed may have left the row
        return self.fallback_action(observation)

    def assign_reward(self, reward: float) -> None:
        """What the newest action brought; several add up."""
        if self._episode is None:
            raise ValueError("there is no action yet that could be rewarded; call act(observation) first")
        if not np.isfinite(reward):
            raise ValueError(f"the reward is {reward}; it must be finite")
        self._episode.rewards[-1] += float(reward)

    def terminate_episode(self, train: bool = True, truncated: bool = False) -> dict[str, Any]:
        """The episode is over (`truncated`: it was only cut off). Learns from every full batch of episodes and keeps the rest, which
        counts for what it is worth when its turn comes, after an update (`reweighted`).

        Returns the statistics of the last update, nothing where none took place: PPO's (gymformer/monitoring/README.md says what is
        healthy; among them "approx_kl", in nats), "mean_reward" of the last 100 episodes, "episodes" learned from, "unreadable"
        responses since the last update, and "samples", some responses.
        """
        if self._episode is None:
            raise ValueError("there is no episode that could end; call act(observation) first")
        segment, self._episode, self._session = self._episode.segment(not truncated), None, None
        self.returns.append(float(segment.episode_return or 0.0))
        if not self.learning:
            return {}
        self._buffer.append((segment, len(self.log)))
        stats: dict[str, Any] = {}
        while train and len(self._buffer) >= self.batch_size:
            batch, self._buffer = self._buffer[: self.batch_size], self._buffer[self.batch_size :]
            segments = [segment for segment, _ in batch]
            importance: dict[str, float] = {}
            if any(played < len(self.log) for _, played in batch):  # by the policy before the last update
                segments, importance = reweighted(segments, self.actor)
            stats = self.algorithm.update(segments) | importance
            samples = [text for one in segments for text in one.info["turns"]][:SAMPLES]
            stats |= {
                "mean_reward": float(np.mean(self.returns)),
                "episodes": len(segments),
                "unreadable": self.unreadable,
                "samples": samples,
            }
            self.unreadable = 0
            self.log.append(stats)
        return stats

    def _read(self, response: str) -> Any:
        try:
            action = self.extract_action(response)
        except ValueError:
            return None
        return None if self.action_space is not None and not self.action_space.contains(action) else action

    def _write(self, text: str, legal: torch.Tensor | None = None) -> str:
        """A turn is written after the user's `text`; the response without the token that ends it."""
        episode = self._episode or Episode()
        if self.window is not None:
            self._leave(episode, max(0, len(episode.exchanges) - self.window))
        block = self.format.reply(text, episode.turn) if episode.exchanges else self.format.opening(text)
        self._make_room(episode, len(block))
        self._episode = episode  # not before its first observation is known to fit
        if self._session is None:
            self._session, episode.unread = self.actor.session(1), list(episode.tokens)
        episode.tokens += block
        episode.exchanges.append((text, len(episode.tokens)))
        episode.unread += block
        episode.turn = []
        if self.phrases is not None:
            self._choose(episode, legal)
        while self.phrases is None and self._goes_on(episode.turn):
            self._choose(episode, None)
        episode.texts.append(self._response(episode.turn))
        return episode.texts[-1]

    def _response(self, turn: list[int]) -> str:
        """What `extract_action` is given of a turn."""
        return self.codec.text_until(turn, self.format.end_of_turn).strip()

    def _goes_on(self, turn: list[int]) -> bool:
        return not turn or (turn[-1] not in self.format.end_of_turn and len(turn) < self.max_new_tokens)

    def _choose(self, episode: Episode, legal: torch.Tensor | None) -> None:
        """One token more, or a phrase."""
        assert self._session is not None
        outputs, _ = self._session.extend([episode.unread])  # (1, V), of phrases (1, A)
        policy = self.actor.policy
        legal = policy.narrowed(outputs, legal)  # type: ignore[attr-defined]  # top-k and top-p
        if self.learning:
            action, log_prob = policy.sample(outputs, self._generator, legal)
        else:
            action = policy.mode(outputs, legal)
            log_prob, _ = policy.log_probs_and_entropy(outputs, action, legal)
        said = [int(action)] if isinstance(self.actor, LMActorNetwork) else self.actor.ids[int(action)]
        if legal is not None or episode.legal:
            everything = np.ones(policy.num_outputs, bool)
            episode.legal += [everything] * (len(episode.actions) - len(episode.legal))  # where no mask was given before
            episode.legal.append(everything if legal is None else legal[0].cpu().numpy())
        episode.row.append(len(episode.rows))
        episode.col.append(len(episode.tokens) - 1)
        episode.actions.append(int(action))
        episode.log_probs.append(float(log_prob))
        episode.rewards.append(0.0)
        episode.tokens += said
        episode.turn += said
        episode.unread = list(said)

    def _leave(self, episode: Episode, count: int) -> None:
        """The oldest exchanges are forgotten, each observation with its response; what is left begins a new row."""
        if count == 0:
            return
        episode.rows.append(np.array(episode.tokens, np.int64))
        kept = episode.exchanges[count:]
        opening, begin = (self.format.opening(kept[0][0]), kept[0][1]) if kept else ([], len(episode.tokens))
        episode.tokens = [*opening, *episode.tokens[begin:]]
        episode.exchanges = [(said, start - begin + len(opening)) for said, start in kept]
        self._session = None

    def _make_room(self, episode: Episode, block: int) -> None:
        """The oldest exchanges leave, if the next turn might not fit."""
        context = self.actor.context
        room = None if context is None else context - block - self.max_new_tokens
        if room is None or len(episode.tokens) <= room:
            return
        for place, (text, begin) in enumerate(episode.exchanges[1:], start=1):
            if len(self.format.opening(text)) + len(episode.tokens) - begin <= room:
                self._leave(episode, place)
                return
        raise ValueError(f"an observation of {block} tokens, the newest exchange and a response of up to {self.max_new_tokens} do "
                         f"not fit into the model's context of {context}; shorten them, or take a model with a longer one")  # fmt: skip


def _require_known(name: str, given: Mapping[str, Any], known: list[str]) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1) or known
            raise ValueError(f"{name} has {key!r}, which is not known; did you mean {', '.join(near)}?")
