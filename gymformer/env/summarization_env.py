"""SummarizationEnv: articles, to be summarized one token at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gymformer.data.arithmetic import HELD_OUT_SHARE
from gymformer.data.articles import Article, ArticlePool
from gymformer.data.problems import Split
from gymformer.env.chat import ChatFormat
from gymformer.env.token_env import RewardFn, TokenEnv
from gymformer.rewards.component import RewardSum
from gymformer.rewards.summaries import brevity, brevity_term, coverage, coverage_term, rouge_l, rouge_term

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["SummarizationEnv"]

MODEL, ARTICLES = "models/writer", "data/articles.jsonl"
INSTRUCTION = "{article}\nSummarize."


class SummarizationEnv(TokenEnv):
    """Description: an article, to be summarized one token at a time; the summary is compared with a reference.

    Action: `Discrete(V)`, one token of the tokenizer.
    Observation: `Sequence(Discrete(V))`, the article with the instruction, in the tokenizer's chat format, and the tokens so far.
    Reward: rouge_weight · ROUGE-L F1 with the reference + brevity_weight · brevity + coverage_weight · coverage
        (`gymformer.rewards.summaries`), of the whole summary at its end; with `pays="token"` each token is paid by how much
        it raised this, which adds up to the same. `reward_fn` replaces it by a function of the text, or by components, whose
        state has "article" and "summary" (the reference) too.
    Episode end: `terminated` by the tokenizer's end of text or the token that ends a turn in its chat format, and after
        `max_generation` tokens (at_limit="truncate": `truncated` there, and nothing paid for the end).
    Info: "article", "summary" and "prompt" at reset; at the end also "text", "rouge_l", "brevity", "coverage", "reward_terms".
    Reset options: "article" and "summary", to be used instead of drawn ones.

    Arguments:
    model_name: whose tokenizer to use, a folder or a hub id; None is the writer that comes along. tokenizer: one that is loaded
        already, instead.
    dataset_path: a file of {"article", "summary"} rows, or whatever `ArticlePool` takes; None is what comes along.
    instruction: what the user says; "{article}" stands for the article.
    seed: of the first reset that brings no seed of its own. split: "train" or "test"; test_split: the share held out.
    """

    default_model = MODEL
    reset_options = ("article", "summary")

    def __init__(
        self,
        model_name: str | Path | None = None,
        dataset_path: Any = None,
        max_generation: int = 64,
        seed: int | None = 42,
        test_split: float = HELD_OUT_SHARE,
        *,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        split: Split = "train",
        rouge_weight: float = 1.0,
        brevity_weight: float = 0.0,
        coverage_weight: float = 0.0,
        reward_fn: RewardFn | None = None,
        pays: Literal["end", "token"] = "end",
        instruction: str = INSTRUCTION,
        at_limit: Literal["truncate", "terminate"] = "terminate",
        render_mode: str | None = None,
    ):
        if tokenizer is not None and model_name is not None:
            raise ValueError(f"both model_name={model_name!r} and a tokenizer were given; give one of them")
        if "{article}" not in instruction:
            raise ValueError(f'instruction={instruction!r} has no place for the article; write "{{article}}" where it belongs')
        if reward_fn is None and not (rouge_weight or brevity_weight or coverage_weight):
            raise ValueError("rouge_weight, brevity_weight and coverage_weight are 0, so that nothing would ever be paid; raise one of them, or "
                             "give a reward_fn")  # fmt: skip
        rouge_l("", "")  # its package is missed now rather than at the end of the first episode
        weighted = ((rouge_term, rouge_weight), (brevity_term, brevity_weight), (coverage_term, coverage_weight))
        self.default_reward = RewardSum(term(weight) for term, weight in weighted if weight)
        super().__init__(tokenizer or model_name or MODEL, max_generation=max_generation, at_limit=at_limit, pays=pays,
                         reward_fn=reward_fn or self.default_reward, seed=seed, render_mode=render_mode)  # fmt: skip
        self.pool = ArticlePool(ARTICLES if dataset_path is None else dataset_path, split, test_split)
        self.instruction = instruction
        self.format = ChatFormat(self.tokenizer)
        self.ends = self.format.end_of_text
        self.article = Article("", "")

    def prompt(self, options: dict[str, Any]) -> list[int]:
        match options:
            case {"article": str() as text, "summary": str() as summary}:
                self.article = Article(text, summary)
            case {"article": _} | {"summary": _}:
                raise ValueError("the options name an article or a summary, but not both as texts; give both, or neither")
            case _:
                self.article = self.pool.draw(self.np_random)
        return self.format.opening(self.instruction.replace("{article}", self.article.text))

    def is_over(self, new: Sequence[int]) -> bool:
        return new[-1] in self.ends

    def score(self, text: str) -> float:
        return self.default_reward({"text": text, **self.facts(text)})

    def facts(self, text: str | None) -> dict[str, Any]:
        known = {"article": self.article.text, "summary": self.article.summary}
        if text is None or self._playing:
            return known
        return known | {"rouge_l": rouge_l(text, self.article.summary), "brevity": brevity(text, self.article.text),
                        "coverage": coverage(text, self.article.text)}  # fmt: skip
