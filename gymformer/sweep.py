"""A sweep over hyper-parameters, described by a file of Weights & Biases' sweep format and run without a network."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from gymformer.config import did_you_mean
from gymformer.seeding import derive_seed

__all__ = ["Sweep", "Trial", "read_sweep", "sweep_table"]

KEYS = ("command", "description", "method", "metric", "name", "parameters", "program", "project", "entity", "run_cap")
COMMAND = ["${env}", "gymformer", "train", "${args}"]
OUR_WORDS = (
    "${env}",
    "${interpreter}",
    "${program}",
    "gymformer",
    "train",
)  # what may precede the arguments of `gymformer train`


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep: the values that were drawn, and what it reached."""

    number: int
    parameters: dict[str, Any]
    metric: float | None = None  # None: it has not ended, or failed
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is tried, and what is wanted."""

    method: Literal["grid", "random"]
    parameters: dict[str, dict[str, Any]]
    metric: str
    goal: Literal["minimize", "maximize"] = "maximize"
    arguments: list[str] = field(default_factory=list)  # of `gymformer train`, the same in every run
    most: int | None = None  # runs, by the file (run_cap)

    @property
    def grid_size(self) -> int:
        return math.prod(len(_values(spec)) for spec in self.parameters.values())

    def trials(self, runs: int | None, seed: int) -> Iterator[Trial]:
        """So many runs; those of a grid in order (None: all of it). Trial n of a seed is always the same."""
        count = self.most if runs is None else runs
        if self.method == "random":
            if count is None:
                raise ValueError("a random sweep has no end of its own; say how many runs (--runs 10), or run_cap in the file")
            for number in range(count):
                rng = np.random.default_rng(derive_seed(seed, "sweep", number))
                yield Trial(number, {name: _drawn(spec, rng) for name, spec in self.parameters.items()})
            return
        grid = itertools.product(*(_values(spec) for spec in self.parameters.values()))
        for number, values in enumerate(itertools.islice(grid, count)):
            yield Trial(number, dict(zip(self.parameters, values, strict=True)))

    def arguments_of(self, trial: Trial) -> list[str]:
        """As W&B's agent would write them: --name=value, and a truth value as the command line has it: --name or --no-name."""
        return [*self.arguments, *(_argument(name, value) for name, value in trial.parameters.items())]

    def best(self, trials: Sequence[Trial]) -> list[Trial]:
        """The best first; those without a finite metric last."""

        def key(trial: Trial) -> float:
            if trial.metric is None or not math.isfinite(trial.metric):
                return math.inf
            return trial.metric if self.goal == "minimize" else -trial.metric

        return sorted(trials, key=key)


def read_sweep(path: Path) -> Sweep:
    """The sweep in a file. Raises ValueError naming the file and what is wrong in it, or OSError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping):
            raise ValueError(
                f"a {type(content).__name__} was found, but keys with values are expected: method, metric, parameters"
            )
        return _checked(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def sweep_table(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """The trials as a Markdown table, the best first."""
    names = list(sweep.parameters)
    rows = [[str(t.number), *(_written(t.parameters[name]) for name in names), "-" if t.metric is None else f"{t.metric:.4g}"]
            for t in sweep.best(trials)]  # fmt: skip
    lines = [["run", *names, f"{sweep.metric} ({sweep.goal})"], ["---"] * (len(names) + 2), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _checked(content: Mapping[str, Any]) -> Sweep:
    for key in content:
        if key not in KEYS:
            raise ValueError(f"{key} is not a setting of a sweep; {did_you_mean(str(key), KEYS)}")
    method = content.get("method")
    if method not in ("grid", "random"):
        said = "W&B's server does that; here it is" if method == "bayes" else "it is"
        raise ValueError(f"method={method!r}; {said} grid or random")
    metric = content.get("metric")
    if (
        not isinstance(metric, Mapping)
        or not isinstance(metric.get("name"), str)
        or metric.get("goal") not in ("minimize", "maximize")
    ):
        raise ValueError(f"metric={metric!r}; expected name and goal, such as {{name: running_reward, goal: maximize}}")
    parameters = content.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise ValueError(f"parameters={parameters!r}; expected names, each with value, values, or min and max")
    most = content.get("run_cap")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise ValueError(f"run_cap={most!r}; expected a whole number of at least 1")
    rng = np.random.default_rng(0)
    for name, spec in parameters.items():
        if not isinstance(spec, Mapping):
            raise ValueError(f"parameters.{name}={spec!r}; expected value, values, or min and max")
        try:
            _values(spec) if method == "grid" else _drawn(spec, rng)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"parameters.{name}={dict(spec)}: {error}") from None
    command = [str(word) for word in content.get("command", COMMAND)]
    words = list(itertools.takewhile(lambda word: word in OUR_WORDS, command))
    if "train" not in words or "${args}" not in command:
        raise ValueError(
            f"command={command}; only gymformer train is run: {COMMAND}, with arguments of your own before ${{args}}"
        )
    rest = [word for word in command[len(words) :] if word != "${args}"]
    return Sweep(
        method, {str(name): dict(spec) for name, spec in parameters.items()}, metric["name"], metric["goal"], rest, most
    )


def _values(spec: Mapping[str, Any]) -> list[Any]:
    """All values of a parameter, of which a grid has finitely many."""
    if "value" in spec:
        return [spec["value"]]
    if "values" in spec:
        if not isinstance(spec["values"], list) or not spec["values"]:
            raise ValueError("values must be a list that is not empty")
        return spec["values"]
    if (
        spec.get("distribution", "int_uniform") == "int_uniform"
        and isinstance(spec.get("min"), int)
        and isinstance(spec.get("max"), int)
    ):
        if spec["min"] > spec["max"]:
            raise ValueError("min is above max")
        return list(range(spec["min"], spec["max"] + 1))
    raise ValueError("a grid needs value, values, or whole numbers min and max; draw from a distribution with method: random")


def _drawn(spec: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """One value, from the distribution that the parameter names (https://docs.wandb.ai/guides/sweeps, distributions)."""
    if "value" in spec or "values" in spec:
        values, weights = _values(spec), spec.get("probabilities")
        return values[int(rng.choice(len(values), p=weights))]
    low, high = spec.get("min"), spec.get("max")
    both_whole = isinstance(low, int) and isinstance(high, int)
    kind = spec.get("distribution", "int_uniform" if both_whole else "uniform")
    if kind in ("normal", "q_normal", "log_normal", "q_log_normal"):
        drawn = float(rng.normal(spec.get("mu", 0.0), spec.get("sigma", 1.0)))
        drawn = math.exp(drawn) if "log" in kind else drawn
    elif not isinstance(low, int | float) or not isinstance(high, int | float) or not low <= high:
        raise ValueError("expected numbers min and max, min not above max")
    elif kind == "int_uniform":
        return int(rng.integers(int(low), int(high), endpoint=True))
    elif kind in ("uniform", "q_uniform"):
        drawn = float(rng.uniform(low, high))
    elif kind in ("log_uniform", "q_log_uniform"):  # whose bounds are exponents of e
        drawn = math.exp(rng.uniform(low, high))
    elif kind in ("log_uniform_values", "q_log_uniform_values"):
        if low <= 0:
            raise ValueError("log_uniform_values needs bounds above 0")
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
    else:
        raise ValueError(f"the distribution {kind!r} is not known")
    if kind.startswith("q_"):
        step = spec.get("q", 1.0)
        drawn = round(drawn / step) * step
        return int(drawn) if isinstance(step, int) else drawn
    return drawn


def _argument(name: str, value: Any) -> str:
    if isinstance(value, bool):
        group, dot, option = name.rpartition(".")
        return f"--{group}{dot}{'' if value else 'no-'}{option}"
    return f"--{name}={_written(value)}"


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, list | dict) else str(value)
