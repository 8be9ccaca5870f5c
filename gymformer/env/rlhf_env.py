"""RLHFEnv: prompts to be answered, one token at a time, as a reward model likes it."""

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gymformer.data.arithmetic import HELD_OUT_SHARE
from gymformer.data.problems import Split
from gymformer.data.prompts import PromptPool, describe_a_place
from gymformer.env.chat import ChatFormat
from gymformer.env.token_env import TokenEnv
from gymformer.resources import resource
from gymformer.rewards.component import RewardComponent, RewardSum

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from gymformer.lm.reward import RewardModel

__all__ = ["RLHFEnv", "Score", "create_vectorized_envs"]

# (prompts, replies) -> scores; or a function of the replies alone
Template = Literal["chat", "plain"]
Score = Callable[[list[str], list[str]], Sequence[float]] | Callable[[list[str]], Sequence[float]]

MODEL, REWARD_MODEL = "models/writer", "models/reward_model"
KEPT = 4  # reward models that stay loaded


class RLHFEnv(TokenEnv):
    """Description: a prompt, to be answered one token at a time; at the end a reward model scores the answer.

    Staying close to the reference policy is not this environment's business but the training loop's: it only declares which
    reference (`reference`) and how much a nat of divergence costs (`kl_coef`), and `train_agent` does so unless told otherwise.

    Action: `Discrete(V)`, one token of the tokenizer.
    Observation: `Sequence(Discrete(V))`, the prompt (in the tokenizer's chat format, where it has one) and the tokens so far.
    Reward: at the end, the score of prompt and answer. The reward model reads the very tokens that were written if its
        tokenizer has the same vocabulary and it was trained with the same template, else the text that was asked and the
        answer's, encoded as it was in its training. An answer that was
        cut off at `max_generation` is scored as if it had ended there; `missing_eos_penalty` is against that. With
        `whiten_scores` the scores that are given together have standard deviation 1 and the mean that they had (arXiv:2403.17031,
        detail 19; where all are the same, or one is given alone, they stay as they are); then they are clipped to ±`score_clip`;
        then `missing_eos_penalty` is taken from answers that did not come to an end.
    Episode end: `terminated` by the tokenizer's end of text or the token that ends a turn in its chat format, and after
        `max_generation` tokens (at_limit="truncate": `truncated` there, and nothing paid).
    Info: "prompt" and "text"; "query", the text that was asked (None where token ids were); at the end also "finished" (the
        answer came to its end), "prompt_ids", "reply_ids", "score" (as the reward model gave it), and "reward_terms".
    Reset options: "initial_state": a text, or a list of token ids, that is the prompt instead of a drawn one.

    Arguments:
    ref_model_name: the reference, a folder or a hub id, whose tokenizer is used. None: the writer that comes along, and in
        `train_agent` the actor as it is before training.
    reward_model: the folder of a reward model (`train_reward`), a `RewardModel`, a classifier of transformers with one label, or a
        function of (prompts, replies) or of the replies, both lists of texts. None: the one that comes along.
    dataset: prompts; whatever `PromptPool` takes. None: requests to describe a place.
    kl_coef: reward for a nat of divergence, taken by the training loop. device: of the reward model.
    seed: of the first reset that brings no seed of its own. tokenizer: one that is loaded already, instead of the reference's.
    split: "train" or "test" prompts; test_split: the share of given prompts that is held out.
    template: "chat" or "plain", how a text becomes the prompt; None: "chat" where the tokenizer has a chat template.
    """

    default_model = MODEL
    reset_options = ("initial_state",)

    def __init__(
        self,
        ref_model_name: str | Path | None = None,
        reward_model: "str | Path | nn.Module | Score | None" = None,
        dataset: Any = None,
        kl_coef: float = 0.01,
        max_generation: int = 64,
        device: str | None = None,
        seed: int | None = 42,
        *,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        split: Split = "train",
        test_split: float = HELD_OUT_SHARE,
        template: Template | None = None,
        missing_eos_penalty: float = 0.0,
        score_clip: float | None = None,
        whiten_scores: bool = False,
        at_limit: Literal["truncate", "terminate"] = "terminate",
        render_mode: str | None = None,
    ):
        for name, value in (("kl_coef", kl_coef), ("missing_eos_penalty", missing_eos_penalty)):
            if not value >= 0:
                raise ValueError(f"{name}={value}; it must not be negative: it is subtracted")
        if score_clip is not None and not score_clip > 0:
            raise ValueError(f"score_clip={score_clip}; it must be greater than 0, or None to leave scores as they are")
        terms = [RewardComponent("score", 1.0, self._shaped_score)]
        if missing_eos_penalty:
            terms.append(RewardComponent("missing_eos", -missing_eos_penalty, lambda state: float(not state["finished"])))
        super().__init__(tokenizer if tokenizer is not None else ref_model_name or MODEL, max_generation=max_generation, at_limit=at_limit,
                         reward_fn=RewardSum(terms), seed=seed, render_mode=render_mode)  # fmt: skip
        self.reference, self.kl_coef = ref_model_name, kl_coef
        self.score_clip, self.whiten_scores = score_clip, whiten_scores
        self.pool = PromptPool(describe_a_place if dataset is None else dataset, split, test_split)
        self.template = template or ("chat" if self.tokenizer.chat_template else "plain")
        self.format = ChatFormat(self.tokenizer)
        self.ends = self.format.end_of_text if self.template == "chat" else self.codec.eos
        self.judge = judge_of(REWARD_MODEL if reward_model is None else reward_model, self.tokenizer, self.template, device)
        self._query: str | None = None

    def prompt(self, options: dict[str, Any]) -> list[int]:
        asked = options.get("initial_state")
        asked = self.pool.draw(self.np_random) if asked is None else asked
        self._query = asked if isinstance(asked, str) else None
        if not isinstance(asked, str):
            return [operator.index(token) for token in asked]
        return self.format.opening(asked) if self.template == "chat" else self.codec.plain(asked)

    def is_over(self, new: Sequence[int]) -> bool:
        return new[-1] in self.ends

    def score(self, text: str) -> float:
        return self.score_together([{"prompt": self.codec.text(self._prompt), "text": text, **self.facts(text)}])[0]

    def facts(self, text: str | None) -> dict[str, Any]:
        if text is None:
            return {"query": self._query}
        return {
            "query": self._query,
            "prompt_ids": self._prompt,
            "reply_ids": tuple(self._new),
            "finished": self.is_over(self._new),
        }

    def score_together(self, infos: list[dict[str, Any]]) -> list[float]:
        """What the ends of episodes pay, by their last infos, to which "score" and "reward_terms" are added."""
        scores = finite(self.judge(infos), infos)
        mean, variance = float(np.mean(scores)), float(np.var(scores))
        rewards = []
        for info, score in zip(infos, scores, strict=True):
            info["score"] = score
            shaped = mean + (score - mean) / math.sqrt(variance + 1e-8) if self.whiten_scores and len(scores) > 1 else score
            terms = self.reward_fn.terms(info | {"whitened": shaped})  # type: ignore[union-attr]
            info["reward_terms"] = terms
            rewards.append(sum(terms.values()))
        return rewards

    def _shaped_score(self, state: dict[str, Any]) -> float:
        if "score" not in state:  # an episode that is paid for by itself
            state["score"] = finite(self.judge([state]), [state])[0]
        score = state.get("whitened", state["score"])
        return score if self.score_clip is None else min(self.score_clip, max(-self.score_clip, score))


def create_vectorized_envs(num_envs: int, **kwargs: Any) -> SyncVectorEnv:
    """`num_envs` RLHFEnvs of these arguments in Gymnasium's vector, which share one reward model; `train_agent` takes it too.

    Episodes that have ended are reset by whoever steps the vector (autoreset is disabled).
    """
    seed = kwargs.pop("seed", 42)
    envs = [lambda n=n: RLHFEnv(**kwargs, seed=None if seed is None else seed + n) for n in range(num_envs)]
    return SyncVectorEnv(envs, autoreset_mode=AutoresetMode.DISABLED)


Judge = Callable[[list[dict[str, Any]]], list[float]]  # of last infos


def judge_of(reward_model: Any, tokenizer: "PreTrainedTokenizerBase", template: Template, device: str | None = None) -> Judge:
    """A function of the last infos of episodes whose prompts are in this template. Raises TypeError for what is neither a model
    nor a function."""
    if isinstance(reward_model, str | Path):
        try:
            folder = resource(reward_model)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}. A reward model is made by train_reward(...); name its folder: "
                                    'env_kwargs={"reward_model": folder}, or give a function of the texts') from error  # fmt: skip
        return _by_model(loaded(folder, (folder / "config.json").stat().st_mtime_ns, device or "auto"), tokenizer)
    if inspect.isclass(reward_model) or not callable(reward_model):
        raise TypeError(f"reward_model is a {type(reward_model).__name__}; give a folder, a RewardModel, a classifier of transformers with "
                        "one label, or a function of (prompts, replies)")  # fmt: skip
    from torch import nn

    if not isinstance(reward_model, nn.Module):
        return _by_function(reward_model)  # type: ignore[arg-type]
    from gymformer.lm.reward import RewardModel

    if not isinstance(reward_model, RewardModel):
        reward_model = RewardModel(reward_model, tokenizer, template=template, end_token_id=tokenizer.eos_token_id)  # type: ignore[arg-type]
    return _by_model(reward_model, tokenizer)


@lru_cache(maxsize=KEPT)
def loaded(folder: Path, changed: int, device: str) -> "RewardModel":
    """The reward model of a folder as it was at the time `changed`, loaded once for all environments of a process."""
    from gymformer.lm.reward import RewardModel

    return RewardModel.from_pretrained(folder, device)


def finite(scores: Sequence[float], infos: list[dict[str, Any]]) -> Sequence[float]:
    """The scores. Raises FloatingPointError where one is NaN or infinite, which clipping would hide."""
    for score, info in zip(scores, infos, strict=True):
        if not math.isfinite(score):
            raise FloatingPointError(f"the reward model gave the reward {score} for the answer {info['text'][:80]!r} to {_asked(info)[:80]!r}; "
                                     "training stopped because nothing can be learned from it. Mend the reward model")  # fmt: skip
    return scores


def _by_model(model: "RewardModel", tokenizer: "PreTrainedTokenizerBase") -> Judge:
    reads_ids = model.tokenizer is None or model.tokenizer.get_vocab() == tokenizer.get_vocab()

    def row(info: dict[str, Any]) -> tuple[Any, Any]:
        """The ids themselves, where the prompt is what it was in the model's training; the row's end is the model's own."""
        prompt, query = list(info["prompt_ids"]), info["query"]
        if reads_ids and (model.tokenizer is None or query is None or model.rows.prompt_ids(query) == prompt):
            return prompt, list(info["reply_ids"][:-1] if info["finished"] else info["reply_ids"])
        if query is None:
            raise ValueError("a prompt that is given as token ids can be scored by a reward model of the same vocabulary only, and this one "
                             "has another; give the prompt as a text, or a function of texts as reward_model")  # fmt: skip
        return query, info["text"]

    return lambda infos: model.score([row(info) for info in infos]).tolist()


def _asked(info: dict[str, Any]) -> str:
    return info["prompt"] if info["query"] is None else info["query"]


def _by_function(function: Callable[..., Sequence[float]]) -> Judge:
    parameters = inspect.signature(function).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_prompts = len(required) >= 2

    def judge(infos: list[dict[str, Any]]) -> list[float]:
        prompts, replies = [_asked(info) for info in infos], [info["text"] for info in infos]
        scores = [float(score) for score in (function(prompts, replies) if takes_prompts else function(replies))]
        if len(scores) != len(infos):
            raise ValueError(
                f"the reward function gave {len(scores)} scores for {len(infos)} replies; one for each is expected"
            )
        return scores

    return judge
