"""Makes models/reward_model: what data/descriptiveness_offline_5k teaches about descriptions of places.

python -m models.make_reward_model [--output FOLDER] [--seed 0] [--rows N]

The reward model learns from noisy labels alone. The card compares it with the gold score behind them.
"""

import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gymformer import train_reward
from gymformer.data.preferences import Preferences, load_preferences
from gymformer.data.world.gold import chances, descriptiveness
from gymformer.device import num_parameters
from gymformer.lm.reward import RewardModel
from gymformer.resources import resource
from models._command import options_of, write_card

DATA = "data/descriptiveness_offline_5k"
# One pass in small steps: a second one would learn the noise by heart.
SETTINGS: dict[str, Any] = {"epochs": 1, "batch_size": 4, "test_size": 0.1, "template": "chat"}


@dataclass(frozen=True, slots=True)
class Scores:
    """On the held-out prompts. The expected shares follow from the gold score and the noise that is known; of the labels
    themselves there are few enough for luck to matter."""

    rows: int
    expected: float  # share of labels that the model's favourite can be expected to be
    ceiling: float  # the same of the gold score's favourite
    agreement: float  # share of labels that the model's favourite is
    gold_agreement: float  # share of labels that the gold score's favourite is
    correlation: float  # with the gold score, over all candidates


def compared(model: RewardModel, held_out: Preferences, noise: float) -> Scores:
    """The model beside the gold score on rows of `DATA`, whose labels have this noise."""
    records = list(held_out.records)
    gold = np.array([[descriptiveness(text) for text in record.candidates] for record in records])  # (N, K)
    asked = [(record.prompt, text) for record in records for text in record.candidates]
    scores = model.score(asked).double().numpy().reshape(gold.shape)
    each, odds = np.arange(len(gold)), chances(gold, noise)
    labels, best = np.array([record.best[0] for record in records]), gold == gold.max(1, keepdims=True)
    return Scores(
        rows=len(gold),
        expected=float(odds[each, scores.argmax(1)].mean()),
        ceiling=float(odds.max(1).mean()),
        agreement=float((scores.argmax(1) == labels).mean()),
        gold_agreement=float((best[each, labels] / best.sum(1)).mean()),  # ties count their share
        correlation=float(np.corrcoef(scores.ravel(), gold.ravel())[0, 1]),
    )


CARD = """---
library_name: transformers
license: mit
---

# reward_model

Scores descriptions of places of the small world that `models/writer` writes about: a GPT-2 of {parameters:,} weights with one
label.

```python
from gymformer import load_reward_model

scores = load_reward_model("models/reward_model").score([(prompt, description)])
```

A row is a prompt in the chat format of the tokenizer beside it, the description, and the end token; with transformers alone it is
an `AutoModelForSequenceClassification`. Over the held-out descriptions scores have mean 0 and variance 1, and one is preferred to
another with probability σ({spread:.3f} · (difference of their scores)).

## How it was made

`python -m models.make_reward_model --seed {seed}`: `train_reward` on `{data}`, started from `models/writer`,
{settings}; {steps} steps, {seconds:.0f} CPU seconds on one thread. It has seen labels, which are noisy, and never the gold score.

## What it does

On the {scores.rows} rows of the held-out prompts, four candidates each:

| | agrees with the label | can be expected to |
|---|---|---|
| by chance | | 25.0% |
| this model's favourite | {scores.agreement:.1%} | {scores.expected:.1%} |
| the gold score's favourite: what the noise allows | {scores.gold_agreement:.1%} | {scores.ceiling:.1%} |

(The second column follows from the gold score and the noise, which are known; in the first there is luck. The same rows have
chosen among the checkpoints of the run, so both are a little too good.) Its correlation with
the gold score is {scores.correlation:.3f}. It is a proxy: what the writer seldom does wrong, such as broken English, rambling or three
times the same, it has hardly seen and does not mind as much as the gold score does. Whoever optimises it without restraint finds
that out.
"""


def main() -> None:
    options = options_of("reward_model", __doc__, "rows", "of the data")
    source = resource(DATA)
    preferences = load_preferences(source)
    if options.rows:
        preferences = replace(preferences, records=preferences.records[: options.rows])
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = train_reward("models/writer", preferences, Path(folder) / "model", seed=options.seed, **SETTINGS)
    seconds, steps = time.process_time() - started, model.run.steps
    held_out = preferences.split(SETTINGS["test_size"], options.seed)[1]
    scores = compared(model, held_out, json.loads((source / "facts.json").read_text())["noise"])
    model.save_pretrained(options.output)
    card = CARD.format(parameters=num_parameters(model), seed=options.seed, data=DATA, scores=scores, steps=steps,
                       seconds=seconds, spread=model.spread, settings=", ".join(f"{k}={v!r}" for k, v in SETTINGS.items()))  # fmt: skip
    write_card(options.output, card, asdict(scores))


if __name__ == "__main__":
    main()
