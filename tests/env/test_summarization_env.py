"""SummarizationEnv: overlap with a reference, paid at the end or token by token."""

import json

import pytest

from gymformer.data.articles import Article, ArticlePool
from gymformer.env import SummarizationEnv
from gymformer.rewards.summaries import brevity, coverage, rouge_l
from gymformer.testing import byte_tokenizer

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id
ROWS = [{"article": f"The cat {n} sat on the mat. It was warm.", "summary": f"Cat {n} sat on the mat."} for n in range(40)]


def an_env(**settings) -> SummarizationEnv:
    return SummarizationEnv(tokenizer=TOKENIZER, **{"dataset_path": ROWS} | settings)


def write(env: SummarizationEnv, text: str, **options) -> tuple[list[float], dict]:
    env.reset(seed=0, options=options or {"article": "the cat sat on the mat", "summary": "the cat sat"})
    rewards = []
    for token in [*text.encode(), END]:
        _, reward, _, _, info = env.step(token)
        rewards.append(reward)
    return rewards, info


def test_rouge_l_is_that_of_the_longest_common_subsequence():
    """the _ sat: 2 of 3 words said, 2 of 4 of the reference; F1 = 2·(2/3)(1/2)/(2/3 + 1/2) = 4/7."""
    assert rouge_l("the dog sat", "the cat now sat") == pytest.approx(4 / 7)
    assert rouge_l("", "the cat") == 0 and rouge_l("The CAT!", "the cat") == 1


def test_brevity_is_what_was_saved():
    assert brevity("one two", "one two three four five six seven eight") == 0.75
    assert brevity("", "a b") == 1 and brevity("a b c", "a b") == 0


def test_coverage_is_the_share_of_words_that_the_article_has():
    """ "the cat sat" and "mat" are fragments; "dog" is made up: 4 of 5 words."""
    assert coverage("the cat sat dog mat", "today the cat sat on the mat") == pytest.approx(0.8)
    assert coverage("", "a") == 0 and coverage("dogs", "cats") == 0


def test_the_end_pays_the_weighted_terms():
    rewards, info = write(an_env(brevity_weight=0.5, coverage_weight=2.0), "the cat sat")
    assert not any(rewards[:-1]) and rewards[-1] == pytest.approx(1.0 + 0.5 * 0.5 + 2.0)
    assert info["reward_terms"] == pytest.approx({"rouge_l": 1.0, "brevity": 0.25, "coverage": 2.0})
    assert (info["rouge_l"], info["brevity"], info["coverage"]) == pytest.approx((1.0, 0.5, 1.0))


def test_paid_by_token_the_sum_is_the_same_and_a_word_is_paid_when_it_is_written():
    env = an_env(pays="token")
    rewards, _info = write(env, "the cat sat")
    assert sum(rewards) == pytest.approx(write(an_env(), "the cat sat")[0][-1])
    assert rewards[2] == pytest.approx(0.5), "'the': 1 of 1 and 1 of 3 words, F1 1/2"
    assert rewards[10] > 0 and rewards[8] < 0, "'sat' is paid, and the half word 's' before it costs precision"
    second, _ = write(env, "the")
    assert second[2] == pytest.approx(0.5), "a new episode begins at nothing"


def test_a_reward_function_and_components_see_article_and_summary():
    from gymformer.rewards.component import RewardComponent

    component = RewardComponent("same", 1.0, lambda state: float(state["text"] == state["summary"]))
    assert write(an_env(reward_fn=component), "the cat sat")[0][-1] == 1.0
    assert write(an_env(reward_fn=len), "four")[0][-1] == 4.0


def test_the_prompt_is_the_article_with_the_instruction():
    env = an_env(instruction="TL;DR {article}")
    _, info = env.reset(options={"article": "All is well <|end|>.", "summary": "Well."})
    assert info["prompt"] == "<|user|>TL;DR All is well <|end|>.<|end|><|assistant|>"
    assert info["article"] == "All is well <|end|>." and info["summary"] == "Well."


def test_articles_are_on_one_side_of_the_split():
    train, test = (ArticlePool(ROWS, split, 0.3) for split in ("train", "test"))
    texts = [{article.text for article in pool.articles} for pool in (train, test)]
    assert not texts[0] & texts[1] and len(texts[0] | texts[1]) == len(ROWS)


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_articles_come_from_files(tmp_path, suffix):
    path = tmp_path / f"articles.{suffix}"
    path.write_text(json.dumps(ROWS) if suffix == "json" else "\n".join(map(json.dumps, ROWS)))
    pool = ArticlePool(path, share=0.0)
    assert pool.articles == [Article(row["article"], row["summary"]) for row in ROWS]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset_path": [*ROWS[:2], {"article": "x"}]}, r"row 3 is not \{\"article\": text, \"summary\": text\}"),
        ({"dataset_path": []}, "none of the 0 articles"),
        ({"instruction": "Summarize."}, "has no place for the article"),
        ({"pays": "sometimes"}, "pays='sometimes' is not known"),
        ({"model_name": "models/writer"}, "both model_name"),
        ({"rouge_weight": 0}, "nothing would ever be paid"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        an_env(**settings)


def test_an_article_without_a_summary_is_refused():
    with pytest.raises(ValueError, match="but not both"):
        an_env().reset(options={"article": "a"})
