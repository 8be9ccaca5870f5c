"""Makes the preference data and the articles that come along, from the small world and models/writer.

python -m data.make [--output FOLDER] [--seed 0] [--rows N]

The writer answers requests, and a formula that is known (`gymformer.data.world.gold`) says, with stated noise, which of its answers
is the best. So whoever learns from the labels can be compared with the truth behind them.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from gymformer.data.arithmetic import HELD_OUT_SHARE, is_held_out
from gymformer.data.world import Request, request
from gymformer.data.world.articles import article
from gymformer.data.world.gold import chances, descriptiveness, sentiment

WRITER = Path(__file__).parent.parent / "models" / "writer"
ROWS, PAIRS, ARTICLES = 5000, 3000, 1500
CANDIDATES = 4
TOKENS = 64  # at most, of an answer
AT_ONCE = 256  # answers that are sampled together
TOP_P = 0.95  # of the sampling: what is left out is mostly broken English
NOISE, PAIR_NOISE = 1.3, 0.5  # standard scale of the Gumbel noise on gold scores, in their units


@torch.no_grad()
def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Request], seed: int) -> list[str]:
    """One sampled answer to each request, at temperature 1, from the likeliest tokens with TOP_P of the probability."""
    texts: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(asked), AT_ONCE):
            prompts = [tokenizer.apply_chat_template([{"role": "user", "content": one.prompt}], tokenize=False, add_generation_prompt=True)
                       for one in asked[start : start + AT_ONCE]]  # fmt: skip
            rows = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
            out = model.generate(**rows, do_sample=True, top_k=0, top_p=TOP_P, max_new_tokens=TOKENS, pad_token_id=tokenizer.pad_token_id,
                                 eos_token_id=tokenizer.eos_token_id)[:, rows["input_ids"].shape[1] :]  # fmt: skip
            texts += tokenizer.batch_decode(out, skip_special_tokens=True)
    return texts


def judged(rng: np.random.Generator, gold: np.ndarray, noise: float) -> np.ndarray:
    """(N, K) -> (N,): argmax of gold + Gumbel noise, so that candidate k is the best with probability `chances`: what a reward
    model's loss assumes."""
    return (gold + rng.gumbel(scale=noise, size=gold.shape)).argmax(1)


def ceiling(gold: np.ndarray, noise: float) -> float:
    """How often the truly best candidate is labelled the best: no one who does not see the noise can be right more often."""
    return float(chances(gold, noise).max(1).mean())


def groups(rng: np.random.Generator, write: Callable[[list[Request], int], list[str]], kind: str, count: int, size: int,
           ) -> Iterator[tuple[str, list[str]]]:  # fmt: skip
    """`count` prompts of the training side, with `size` different answers each."""
    made = 0
    while made < count:
        asked = [request(rng, kind) for _ in range(min(500, 2 * (count - made)))]
        texts = write([one for one in asked for _ in range(size)], int(rng.integers(2**31)))
        for number, one in enumerate(asked):
            candidates = texts[number * size : (number + 1) * size]
            if len(set(candidates)) == size and all(candidates) and made < count:
                made += 1
                yield one.prompt, candidates


def preferences(rng: np.random.Generator, write: Callable[[list[Request], int], list[str]], kind: str, count: int, size: int,
                truth: Callable[[str], float], noise: float) -> tuple[list[tuple[str, list[str], int]], dict[str, float]]:  # fmt: skip
    """Rows of prompt, candidates and the best, and what is known of them."""
    drawn = list(groups(rng, write, kind, count, size))
    gold = np.array([[truth(text) for text in candidates] for _, candidates in drawn])
    best = judged(rng, gold, noise)
    rows = [(prompt, candidates, int(label)) for (prompt, candidates), label in zip(drawn, best, strict=True)]
    return rows, {
        "rows": count, "candidates": size, "noise": noise, "gold_mean": float(gold.mean()), "gold_std": float(gold.std()),
        "gold_std_within_a_row": float(gold.std(1).mean()), "ceiling": ceiling(gold, noise),
        "labelled_truly": float(np.mean(gold[np.arange(count), best] == gold.max(1))),
        "prompts": len({prompt for prompt, _ in drawn}),
        "words": float(np.mean([len(text.split()) for _, candidates in drawn for text in candidates])),
    }  # fmt: skip


def news(rng: np.random.Generator, count: int) -> Iterator[dict[str, str]]:
    """Articles with reference summaries. On which side an article lies (by its text) is on which side its event lies, so that no
    event of the test side is one that the writer was taught with."""
    for _ in range(count):
        held_out = bool(rng.random() < HELD_OUT_SHARE)
        while True:
            asked = request(rng, "summary", held_out=held_out)
            text = article(rng, asked.facts)[0]
            if is_held_out(text) == held_out:
                break
        yield {"article": text, "summary": asked.reference}


CARD = """# {title}

{what}

Made by `python -m data.make --seed {seed}`: {rows:,} requests of the training side of the small world (`gymformer.data.world`),
{prompts:,} of them different, each with {candidates} different answers that `models/writer` sampled at temperature 1 and top-p {top_p} (at most
{tokens} tokens, {words:.1f} words on average).

The labels come from a known gold score, `gymformer.data.world.gold.{truth}`, which the data do not contain:
answer k is labelled the best with probability softmax(gold / {noise})_k. Over all answers gold has mean {gold_mean:.3f} and standard
deviation {gold_std:.3f} ({gold_std_within_a_row:.3f} within a row). {labelled_truly:.1%} of the labels name the truly best
answer. A judge who knows the gold score, but not the noise, agrees with {ceiling:.1%} of the labels in expectation: no reward
model can do better but by luck.

{layout}
"""
DESCRIPTIVENESS = {
    "title": "descriptiveness_offline_5k", "truth": "descriptiveness",
    "what": "Preferences among four descriptions of a place: which one shows the most.",
    "layout": "`preferences.jsonl`: rows `query, sample0, sample1, sample2, sample3, best`.",
}  # fmt: skip
SENTIMENT = {
    "title": "sentiment_pairs", "truth": "sentiment",
    "what": "Preferences between two reviews of a thing: which one is more favourable.",
    "layout": "`preferences.jsonl`: rows `prompt, chosen, rejected`.",
}  # fmt: skip


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="of each set, for a trial")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(WRITER).eval(), AutoTokenizer.from_pretrained(WRITER)

    def write(asked: list[Request], seed: int) -> list[str]:
        return answers(model, tokenizer, asked, seed)

    for number, (about, kind, count, size, truth, noise) in enumerate((
        (DESCRIPTIVENESS, "description", options.rows or ROWS, CANDIDATES, descriptiveness, NOISE),
        (SENTIMENT, "review", options.rows or PAIRS, 2, sentiment, PAIR_NOISE),
    )):  # fmt: skip
        rng = np.random.default_rng([options.seed, number])
        rows, known = preferences(rng, write, kind, count, size, truth, noise)
        folder = options.output / about["title"]
        if size == 2:
            lines = [{"prompt": p, "chosen": c[best], "rejected": c[1 - best]} for p, c, best in rows]
        else:
            lines = [{"query": p, **{f"sample{n}": text for n, text in enumerate(c)}, "best": best} for p, c, best in rows]
        write_lines(folder / "preferences.jsonl", lines)
        (folder / "README.md").write_text(
            CARD.format(seed=options.seed, tokens=TOKENS, top_p=TOP_P, **about, **known), encoding="utf-8"
        )
        (folder / "facts.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        print(about["title"], json.dumps(known), flush=True)
    write_lines(
        options.output / "articles.jsonl", list(news(np.random.default_rng([options.seed, 2]), options.rows or ARTICLES))
    )
    print(f"{time.process_time() - started:.0f} CPU s in all")


if __name__ == "__main__":
    main()
