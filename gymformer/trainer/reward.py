"""train_reward: a reward model learned from preferences."""

import contextlib
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gymformer.data.preferences import MAX_REFUSED, Preferences, load_preferences
from gymformer.device import num_parameters, resolve_device, threads_for
from gymformer.evaluation.preference_metrics import credits_of, log_softmax, losses_of, reciprocal_ranks, targets_of
from gymformer.evaluation.preference_report import Judged, PreferenceReport, preference_report
from gymformer.files import read_json, replaced_folder, write_json
from gymformer.lm.reward import SETTINGS, RewardModel, preference_loss
from gymformer.monitoring.log import MetricsLog
from gymformer.monitoring.progress import Progress
from gymformer.monitoring.trackers import Tracker, make_tracker
from gymformer.pretrained import with_lora
from gymformer.rl.errors import NonFiniteError
from gymformer.seeding import derive_seed
from gymformer.trainer.checkpoint import latest_checkpoint, load_checkpoint, part, run_lock, save_checkpoint
from gymformer.trainer.interrupts import Interruption, interruptible
from gymformer.trainer.preference_batches import Example, encode, epoch_batches, fingerprint, parts, stack

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["RewardTraining", "load_reward_model", "train_reward"]

MAX_NORM = 1.0  # of the gradient
TRIAL_ROWS = 256  # that a dry run evaluates on


@dataclass(frozen=True, slots=True)
class RewardTraining:
    """How a reward model was trained; `model.run` of what `train_reward` returns."""

    report: PreferenceReport  # on the held-out rows
    metrics: list[dict[str, Any]]  # of every evaluation
    steps: int
    best_step: int  # whose model was kept
    stopped: Literal["finished", "early", "interrupted", "dry run"]
    path: Path | None  # where the model is saved; None where nothing was written
    estimate: float | None = None  # seconds that a full run would take, of a dry run


def train_reward(
    model_name: str | Path | nn.Module,
    datasets_path: str | Path | Sequence[Mapping[str, Any]] | Preferences,
    reward_model_path: str | Path,
    test_size: float = 0.2,
    batch_size: int = 32,
    epochs: int = 3,
    warmup_steps: int | None = None,
    weight_decay: float = 0.01,
    learning_rate: float | None = None,
    device: str | torch.device = "auto",
    seed: int = 42,
    dry_run: bool = False,
    resume_checkpoint: str | Path | bool | None = None,
    *,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    split: str | None = None,
    template: Literal["auto", "plain", "chat"] = "auto",
    ending: Literal["eos", "none"] = "eos",
    max_length: int | None = None,
    max_refused: float = MAX_REFUSED,
    max_tokens: int = 16_384,
    lora: Any = None,
    eval_interval: int | None = None,
    patience: int | None = 4,
    progress: bool | None = None,
    log_interval: int = 10,
    tracker: str | Tracker | None = None,
) -> RewardModel:
    """Trains a reward model on preferences, saves it with a report, and returns it, frozen and ready to score.

    model_name: a causal language model: a hub id, a folder, one that comes along, or a module (with `tokenizer=`), which is
    copied. datasets_path: whatever `load_preferences` reads (a file, a folder, "hub:owner/name", a list of rows); `split` is the
    part of it. About `test_size` of the prompts are held out: none of them is trained on.

    The loss is -log softmax over a row's candidates (for pairs Bradley and Terry's), AdamW's learning rate rises for
    `warmup_steps` (None: a twentieth of all) and falls to 0; `learning_rate` None: chosen for the model's size, and said. Every
    `eval_interval` steps (None: twice an epoch) the held-out loss is measured and a checkpoint is written; after `patience`
    evaluations without a better one training stops (None: never), and the best model is kept. Its scores are then brought to
    mean 0 and variance 1 over the held-out candidates, which stand for the policy that wrote them.

    `template`: "auto" is "chat" for chat messages and "plain" otherwise; `ending`: what closes a row (`RewardModel`). Rows with
    more than `max_length` tokens (None: the model's context) are left out, and, as for rows that cannot be read, it is an error if
    these are more than `max_refused` of all. `max_tokens`: what is read in one pass; larger batches are taken in parts, with
    the same gradient. `lora`: a rank, or peft's LoraConfig; it is merged in the end.

    `reward_model_path` appears as a whole when training ends (an older reward model there is replaced): the model as transformers
    saves it, report.json, report.md, pictures, metrics.jsonl. Until then checkpoints are in a folder beside it, "<name>.training".
    Ctrl-C saves one and ends, returning the best model so far. `resume_checkpoint` (True, or the path of that folder or of a
    checkpoint in it), called with the same arguments, goes on as if nothing had happened. `dry_run` reads and checks everything,
    tries the longest batch and a usual one, evaluates on some rows, writes nothing, and says what a full run would take; the model
    returned is untrained.

    `model.run` holds the report, the metrics and how it ended. Raises NonFiniteError if a loss or gradient is NaN or infinite.
    """
    _require(
        test_size,
        batch_size,
        epochs,
        warmup_steps,
        weight_decay,
        learning_rate,
        max_tokens,
        eval_interval,
        patience,
        log_interval,
    )
    path = Path(reward_model_path)
    _require_replaceable(path)
    work = path.with_name(f"{path.name}.training")
    checkpoint = _checkpoint_to_resume(resume_checkpoint, work)
    if checkpoint is None and not dry_run and latest_checkpoint(work / "checkpoints") is not None:
        raise FileExistsError(f"{work} holds an unfinished run; go on with it (resume_checkpoint=True, on the command line "
                              "--resume-checkpoint True), or delete it")  # fmt: skip
    preferences = (
        datasets_path if isinstance(datasets_path, Preferences) else load_preferences(datasets_path, split, max_refused)
    )
    chosen = template if template != "auto" else "chat" if preferences.kind == "chat" else "plain"
    model = RewardModel.from_causal_lm(model_name, tokenizer, template=chosen, ending=ending, seed=derive_seed(seed, "head"))
    examples, refused = encode(model, preferences, max_length, max_refused)
    held_out = {id(record) for record in preferences.split(test_size, seed)[1]}
    train = [example for example in examples if id(example.record) not in held_out]
    test = [example for example in examples if id(example.record) in held_out]
    if not train or not test:
        raise ValueError(f"{preferences.source}: no row is left on one side of the split; give more rows, or another test_size")
    if lora is not None:
        model.replace_trunk(with_lora(model.trunk, lora))
    device = resolve_device(device, model)
    model.to(device)
    per_epoch = math.ceil(len(train) / batch_size)
    settings = {
        "model": str(model_name) if isinstance(model_name, str | Path) else type(model_name).__name__, "data": preferences.source,
        "rows": fingerprint(examples), "test_size": test_size, "batch_size": batch_size, "epochs": epochs,
        "warmup_steps": epochs * per_epoch // 20 if warmup_steps is None else warmup_steps, "weight_decay": weight_decay,
        "learning_rate": _learning_rate(model) if learning_rate is None else learning_rate, "seed": seed, "template": chosen,
        "ending": ending, "max_length": max_length, "max_tokens": max_tokens, "lora": _in_json(lora),
        "eval_interval": eval_interval or math.ceil(per_epoch / 2), "patience": patience,
    }  # fmt: skip
    if settings["warmup_steps"] > epochs * per_epoch:
        raise ValueError(f"warmup_steps={warmup_steps}, but there are only {epochs * per_epoch} steps ({epochs} epochs of {per_epoch}); "
                         "give fewer, or more epochs")  # fmt: skip
    show = Progress(epochs * per_epoch, "step", False if dry_run and progress is None else progress, log_interval)
    if dry_run:
        show.silent = progress is False
    show.say(str(preferences))
    if refused:
        show.say(f"{len(refused)} rows are too long: {'; '.join(map(str, refused[:3]))}{'; …' if len(refused) > 3 else ''}")
    show.say(f"{len(train)} rows to train on, {len(test)} held out; {device}, seed {seed}; learning rate {settings['learning_rate']:.2g}"
             f"{' (chosen for the size of the model)' if learning_rate is None else ''}, {epochs * per_epoch} steps")  # fmt: skip
    run = RewardRun(model, train, test, settings, device, show, make_tracker(tracker))
    with contextlib.ExitStack() as stack:
        stack.enter_context(threads_for(device, model))
        if dry_run:
            return run.dry_run(path)
        work.mkdir(parents=True, exist_ok=True)
        stack.enter_context(run_lock(work))
        run.folder = work
        if checkpoint is not None:
            run.restore(checkpoint)
        run.start()
        stack.callback(show.close, [], [])
        stack.callback(run.tracker.finish)
        stopped = run.train(stack.enter_context(interruptible()))
        return run.finish(path, stopped)


def load_reward_model(path: str | Path, device: str | torch.device = "auto") -> RewardModel:
    """The frozen reward model that `train_reward` saved, or one that comes along ("models/reward_model"): `.score(rows)`.

    Raises FileNotFoundError, or ValueError for a folder that holds none.
    """
    return RewardModel.from_pretrained(path, device)


@dataclass(slots=True)
class RewardRun:
    """One training run: its parts, and how far it is."""

    model: RewardModel
    train_rows: list[Example]
    test_rows: list[Example]
    settings: dict[str, Any]
    device: torch.device
    show: Progress
    tracker: Tracker
    folder: Path | None = None  # of checkpoints
    log: MetricsLog | None = None
    step: int = 0
    metrics: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = math.inf
    best_step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)  # parameters
    losses: list[float] = field(default_factory=list)  # since the last evaluation
    _optimizer: Any = None

    def __post_init__(self) -> None:
        learned = [p for p in self.model.parameters() if p.requires_grad]
        matrices = [p for p in learned if p.ndim >= 2]  # biases and the gains of norms do not decay
        others = [p for p in learned if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=self.settings["learning_rate"])

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.train_rows) / self.settings["batch_size"])

    @property
    def total(self) -> int:
        return self.settings["epochs"] * self.per_epoch

    def start(self) -> None:
        assert self.folder is not None
        (self.folder / "metrics.jsonl").unlink(missing_ok=True)
        self.log = MetricsLog(self.folder / "metrics.jsonl")
        for record in self.metrics:
            self.log.write(record)
        self.tracker.start(f"reward-seed{self.settings['seed']}", self.folder, self.settings, self.step)

    def train(self, interruption: Interruption) -> Literal["finished", "early", "interrupted"]:
        """Steps until all epochs are over, the held-out loss no longer falls, or a signal comes."""
        epoch, batches, started = -1, [], time.perf_counter()
        while self.step < self.total and not self._has_stalled():
            if self.step // self.per_epoch != epoch:
                epoch = self.step // self.per_epoch
                batches = epoch_batches(self.train_rows, self.settings["batch_size"], self.settings["seed"], epoch)
            self.losses.append(self.learn(batches[self.step % self.per_epoch]))
            self.step += 1
            recent = self.losses[-20:]
            self.show.step(self.step, f"loss {sum(recent) / len(recent):.4f}")
            if self.step % self.settings["eval_interval"] == 0 or self.step == self.total:
                self._evaluate(time.perf_counter() - started)
                started = time.perf_counter()
                self._checkpoint()
            elif interruption.requested:
                self._checkpoint()
            if interruption.requested:
                self.show.say(
                    f"{interruption.name or 'a signal'}: saved in {self.folder}; resume_checkpoint=True goes on from there"
                )
                return "interrupted"
        return "early" if self.step < self.total else "finished"

    def learn(self, examples: list[Example]) -> float:
        """One step on the mean loss of these examples. Returns that loss."""
        self.model.train()
        self._optimizer.zero_grad()
        total = 0.0
        for group in parts(examples, self.settings["max_tokens"]):
            batch = stack(group, self.device)
            scores = self.model(batch.inputs, batch.lengths).view_as(batch.target)  # (N, K)
            loss = preference_loss(scores, batch.target, batch.margin).sum() / len(examples)
            if not torch.isfinite(loss):
                self._raise_non_finite("the loss", {"scores": scores, "inputs": batch.inputs}, group)
            loss.backward()
            total += loss.item()
        learned = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(learned, MAX_NORM)
        if not torch.isfinite(norm):
            self._raise_non_finite("the gradient", {"norm": norm}, examples)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self._optimizer.step()
        return total

    def learning_rate(self, step: int) -> float:
        """Rises linearly over the first `warmup_steps`, then falls linearly, to reach 0 after the last step."""
        warmup = self.settings["warmup_steps"]
        share = (step + 1) / warmup if step < warmup else (self.total - step) / max(1, self.total - warmup)
        return self.settings["learning_rate"] * share

    @torch.no_grad()
    def scores_of(self, examples: Sequence[Example]) -> np.ndarray:
        """(N, K) scores, in the order of the examples."""
        self.model.eval()
        order = sorted(range(len(examples)), key=lambda i: examples[i].longest)
        scores = np.empty((len(examples), len(examples[0].rows)))
        done = 0
        for group in parts([examples[i] for i in order], self.settings["max_tokens"]):
            batch = stack(group, self.device)
            scores[order[done : done + len(group)]] = (
                self.model(batch.inputs, batch.lengths).view_as(batch.target).cpu().numpy()
            )
            done += len(group)
        if not np.isfinite(scores).all():
            self._raise_non_finite("a held-out score", {"scores": scores}, examples[:1])
        return scores

    def _evaluate(self, seconds: float) -> None:
        scores = self.scores_of(self.test_rows)
        target = targets_of([example.record.best for example in self.test_rows], scores.shape[1])
        loss = float(losses_of(log_softmax(scores), target).mean())
        record = {
            "step": self.step, "epoch": self.step / self.per_epoch, "train_loss": float(np.mean(self.losses)), "loss": loss,
            "accuracy": float(credits_of(scores, target).mean()),
            "mean_reciprocal_rank": float(reciprocal_ranks(scores, target).mean()),
            "learning_rate": self.learning_rate(self.step - 1), "seconds": seconds,
        }  # fmt: skip
        self.losses = []
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.best = loss, self.step, self._parameters()
        self.metrics.append(record)
        if self.log is not None:
            self.log.write(record)
        self.tracker.log({name: value for name, value in record.items() if name != "step"}, step=self.step)
        self.show.say(f"step {self.step}: held-out loss {loss:.4f}, accuracy {record['accuracy']:.3f}, training loss {record['train_loss']:.4f}"
                      f"{'' if self.best_step == self.step else f' (best: step {self.best_step})'}")  # fmt: skip

    def _has_stalled(self) -> bool:
        """The last `patience` evaluations have brought nothing better."""
        patience = self.settings["patience"]
        return patience is not None and sum(record["step"] > self.best_step for record in self.metrics) >= patience

    def _parameters(self) -> dict[str, Tensor]:
        """A copy of what is learned."""
        return {name: p.detach().cpu().clone() for name, p in self.model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def _load(self, parameters: Mapping[str, Tensor]) -> None:
        own = dict(self.model.named_parameters())
        for name, value in parameters.items():
            own[name].copy_(value)

    def _checkpoint(self) -> None:
        assert self.folder is not None
        tensors = {f"model/{name}": value for name, value in self._parameters().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        best_loss = self.best_loss if math.isfinite(self.best_loss) else None
        state = {"settings": self.settings, "step": self.step, "metrics": self.metrics, "best_loss": best_loss,
                 "best_step": self.best_step, "losses": self.losses}  # fmt: skip
        newest = latest_checkpoint(self.folder / "checkpoints")
        if newest is not None and newest.name == f"checkpoint-{self.step:06d}":  # resumed, and stopped again at once
            shutil.rmtree(newest)
        save_checkpoint(self.folder / "checkpoints", self.step, tensors, state)

    def restore(self, checkpoint: Path) -> None:
        """Everything as it was when the checkpoint was written."""
        tensors, state = load_checkpoint(checkpoint)
        stored = state["settings"]
        differing = [name for name, value in self.settings.items() if stored.get(name) != value]
        if differing:
            name = differing[0]
            raise ValueError(f"{checkpoint} was written with {name}={stored.get(name)!r}, and cannot go on with {self.settings[name]!r}; "
                             f"call train_reward as before (differing: {', '.join(differing)}), or give another reward_model_path")  # fmt: skip
        self._load(part(tensors, "model"))
        self.best = part(tensors, "best")
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part(tensors, "optimizer").items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        self._optimizer.load_state_dict({"state": moments, "param_groups": self._optimizer.state_dict()["param_groups"]})
        self.step, self.metrics, self.losses = state["step"], state["metrics"], state["losses"]
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.best_step = state["best_step"]
        self.show.say(f"resumed {checkpoint} after {self.step} of {self.total} steps")

    def finish(self, path: Path, stopped: Literal["finished", "early", "interrupted"]) -> RewardModel:
        """The best model, normalised and frozen; saved with its report unless training was interrupted."""
        if self.best:
            self._load(self.best)
        if hasattr(self.model.trunk, "merge_and_unload"):
            self.model.replace_trunk(self.model.trunk.merge_and_unload())
        raw = self.scores_of(self.test_rows)
        mean, std = float(raw.mean()), float(raw.std())
        self.model.rescale(mean, std)
        report = self._report((raw - mean) / std)
        self.model.requires_grad_(False).eval()
        if self.log is not None:
            self.log.close()
        self.model.run = RewardTraining(
            report, self.metrics, self.step, self.best_step, stopped, None if stopped == "interrupted" else path
        )
        if stopped == "interrupted":
            return self.model
        with replaced_folder(path) as unfinished:
            self.model.write(unfinished)
            report.save(unfinished, title=path.name, preface=self._preface(stopped))
            write_json(unfinished / "training.json", self.settings | {"steps": self.step, "best_step": self.best_step, "stopped": stopped,
                                                                      "gain": 1 / std, "bias": -mean / std})  # fmt: skip
            assert self.folder is not None
            shutil.copy(self.folder / "metrics.jsonl", unfinished / "metrics.jsonl")
        _remove_work(self.folder)
        if stopped == "early":
            self.show.say(f"stopped early: no better held-out loss in {self.settings['patience']} evaluations")
        self.show.say(f"{report}; saved in {path}")
        return self.model

    def dry_run(self, path: Path) -> RewardModel:
        """Tries everything that a full run does, in little, and undoes it; says what a full run would take."""
        before = self._parameters()
        batches = sorted(epoch_batches(self.train_rows, self.settings["batch_size"], self.settings["seed"], 0),
                         key=lambda batch: max(example.longest for example in batch))  # fmt: skip
        rates, losses = [], []
        for batch in (batches[-1], batches[len(batches) // 2]):
            started = time.perf_counter()
            losses.append(self.learn(batch))
            rates.append((time.perf_counter() - started) / _cells(batch))
        some = self.test_rows[:TRIAL_ROWS]
        started = time.perf_counter()
        scores = self.scores_of(some)
        seconds_each = (time.perf_counter() - started) / _cells(some)
        evaluations = math.ceil(self.total / self.settings["eval_interval"]) + 1
        estimate = (min(rates) * self.settings["epochs"] * sum(map(_cells, batches))
                    + seconds_each * evaluations * _cells(self.test_rows))  # fmt: skip
        self._load(before)
        longest = max(example.longest for example in batches[-1])
        self.show.say(f"dry run: nothing was written. Two batches had losses {losses[0]:.4f} and {losses[1]:.4f}; the longest row has {longest} "
                      f"tokens. A full run takes {self.total} steps ({self.settings['epochs']} epochs of {self.per_epoch}), fewer if it stops "
                      f"early, evaluates every {self.settings['eval_interval']} steps on {len(self.test_rows)} rows, needs about "
                      f"{_in_words(estimate)} on {self.device}, and writes {path}")  # fmt: skip
        self.model.requires_grad_(False).eval()
        report = self._report(scores, some)
        self.model.run = RewardTraining(report, [], 2, 0, "dry run", None, estimate)
        return self.model

    def _report(self, scores: np.ndarray, examples: Sequence[Example] | None = None) -> PreferenceReport:
        examples = self.test_rows if examples is None else examples
        rows = [Judged(e.record.place, self._text(e.record.prompt), tuple(map(self._text, e.record.candidates)), e.record.best)
                for e in examples]  # fmt: skip
        lengths = np.array([example.reply_lengths for example in examples])
        return preference_report(scores, rows, lengths, self.model.spread)

    def _preface(self, stopped: str) -> str:
        s = self.settings
        ended = "stopped early" if stopped == "early" else "all epochs over"
        return (f"{s['model']} trained on {len(self.train_rows)} rows of {s['data']}: {self.step} steps ({ended}), of which the model of "
                f"step {self.best_step} was kept, because it has the lowest loss on the rows below. They were not trained on, but chose "
                f"among {len(self.metrics)} models, so they are a little too good. Scores have mean 0 and variance 1 on them.")  # fmt: skip

    def _text(self, part: Any) -> str:
        """A prompt or reply as a reader sees it."""
        if isinstance(part, str):
            return part
        if part and not isinstance(part[0], int):
            return "\n".join(f"{role}: {content}" for role, content in part)
        if self.model.tokenizer is None:
            return " ".join(map(str, part))
        text: Any = self.model.tokenizer.decode(list(part), clean_up_tokenization_spaces=False)
        return text

    def _raise_non_finite(self, what: str, evidence: Mapping[str, Any], examples: Sequence[Example]) -> None:
        places = ", ".join(example.record.place for example in examples[:5])
        raise NonFiniteError(what, f"{what} is not finite at step {self.step} (learning rate {self.learning_rate(self.step):.3g}; {places}"
                                   f"{', …' if len(examples) > 5 else ''}). A lower learning_rate or more warmup_steps usually help; the newest "
                                   "checkpoint is from before", evidence)  # fmt: skip


def _require(test_size: float, batch_size: int, epochs: int, warmup_steps: int | None, weight_decay: float, learning_rate: float | None,
             max_tokens: int, eval_interval: int | None, patience: int | None, log_interval: int) -> None:  # fmt: skip
    """Raises ValueError for a number that makes no sense."""
    for name, value, least in (("batch_size", batch_size, 1), ("epochs", epochs, 1), ("warmup_steps", warmup_steps, 0),
                               ("patience", patience, 1), ("max_tokens", max_tokens, 1), ("eval_interval", eval_interval, 1),
                               ("log_interval", log_interval, 1)):  # fmt: skip
        optional = name in ("warmup_steps", "eval_interval", "patience")
        if not (value is None and optional) and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ValueError(
                f"{name}={value!r}; it must be a whole number of at least {least}{', or None' if optional else ''}"
            )
    if not 0 < test_size < 1:
        raise ValueError(f"test_size={test_size}; it is the share of the prompts to hold out, between 0 and 1")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate={learning_rate}; it must be positive")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay={weight_decay}; it must not be negative")


def _require_replaceable(path: Path) -> None:
    """What stands at `path` is a reward model, an empty folder, or nothing."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    config = path / "config.json"
    if not path.is_dir() or not config.is_file() or SETTINGS not in read_json(config):
        raise FileExistsError(f"{path} exists and is no reward model, so it is not replaced; give another reward_model_path")


def _checkpoint_to_resume(resume: str | Path | bool | None, work: Path) -> Path | None:
    if resume is None or resume is False:
        return None
    folder = work if resume is True else Path(resume)
    if (folder / "state.json").is_file():
        return folder
    for candidate in (folder, folder.with_name(f"{folder.name}.training")):
        newest = latest_checkpoint(candidate / "checkpoints")
        if newest is not None:
            return newest
    raise FileNotFoundError(
        f"there is no checkpoint in {folder}; a run that has ended leaves none. Start anew without resume_checkpoint"
    )


def _learning_rate(model: RewardModel) -> float:
    """About what works for fine-tuning models of this size: 1.5e-3 for half a million weights (with 7e-4 the held-out loss after
    200 steps is a sixth higher), 5.5e-5 for GPT-2's 124 million, 5e-6 for 7 billion; ten times that for a LoRA adapter, never
    above 2e-3."""
    usual = 1e-3 * (1e6 / num_parameters(model)) ** 0.6
    return min(2e-3, 10 * usual if hasattr(model.trunk, "peft_config") else usual)


def _in_json(lora: Any) -> Any:
    """A rank, or the settings of a LoraConfig, the same in every process."""
    if lora is None or isinstance(lora, int):
        return lora
    return {name: sorted(value) if isinstance(value, set) else str(value) for name, value in sorted(lora.to_dict().items())}


def _cells(examples: Sequence[Example]) -> int:
    """Tokens of these examples, with pads as in one batch each of about one length."""
    return sum(len(example.rows) * example.longest for example in examples)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _remove_work(folder: Path | None) -> None:
    """A finished run's checkpoints are of no use; what a tracker wrote stays."""
    assert folder is not None
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for name in ("metrics.jsonl", ".lock"):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
