"""What the results of language models that play say: Markdown tables, and which targets were met. The README's tables are these."""

from statistics import median
from typing import Any

from tables import Tables, Target, table

__all__ = ["TABLES", "targets"]

TITLES = {
    "blackjack": "Blackjack-v1: below the optimum of -0.0431",
    "lake": "FrozenLake-v1, not slippery: episodes at the goal",
}
GAP, SECONDS, TIMES = 0.015, 300, 10  # below the optimum; CPU seconds of a run; times the loop's steps
READABLE = 0.9  # of a served model's answers
CONTENDERS = {"gymformer": "gymformer, 32 environments", "loop": "one environment, everything read anew each turn"}


def targets(name: str, result: dict[str, Any]) -> list[Target]:
    """The worst seed's figure stands."""
    if name == "speed":
        found = times(result["rounds"])
        return [Target("speed, steps a CPU second, times the loop's", median(found), TIMES, True)] if found else []
    if name == "server":
        games = result["games"]
        share = sum(map(accepted, games)) / sum(map(answers, games))
        return [Target("server, answers that are an action, of all", share, READABLE, True)]
    wanted = []
    for task, runs in result["tasks"].items():
        worst = {how: min(run["after"][how] for run in runs) for how in ("greedy", "sampled")}
        if task == "blackjack":
            for how, figure in worst.items():
                wanted.append(
                    Target(f"learning, Blackjack, the {how} policy below the optimum, worst seed", -figure, GAP, False)
                )
        else:
            wanted.append(Target("learning, FrozenLake, the greedy policy at the goal, worst seed", worst["greedy"], 1.0, True))
        slowest = max(run["seconds"] for run in runs)
        wanted.append(Target(f"learning, {task}, CPU seconds, slowest seed", slowest, SECONDS, False))
    return wanted


def times(rounds: dict[str, list[dict[str, Any]]]) -> list[float]:
    """Steps a CPU second of ours over the loop's, at equally many sampled tokens a step, round by round."""
    if not {"gymformer", "loop"} <= rounds.keys():
        return []
    return [tokens_a_second(own) / tokens_a_second(loop) for own, loop in zip(rounds["gymformer"], rounds["loop"], strict=True)]


def tokens_a_second(record: dict[str, Any]) -> float:
    return record["tokens"] / record["seconds"]


def accepted(game: dict[str, Any]) -> int:
    """Answers that were an action."""
    return game["at_once"] + game["corrected"]


def answers(game: dict[str, Any]) -> int:
    """All that the model gave: one where it was accepted, two where it was corrected or given up."""
    return game["at_once"] + 2 * (game["corrected"] + game["fallbacks"])


def _learning(result: dict[str, Any]) -> str:
    parts = []
    for task, runs in result["tasks"].items():
        digits = ".4f" if task == "blackjack" else ".1%"
        rows = [[str(run["seed"]), *(f"{abs(run[when][how]):{digits}}" for when in ("before", "after") for how in ("greedy", "sampled")),
                 f"{run['episodes']:,}", f"{run['seconds']:.0f}"] for run in runs]  # fmt: skip
        header = [TITLES[task] + "; seed", "before, greedy", "sampled", "after, greedy", "sampled", "episodes", "CPU seconds"]
        parts.append(table(header, rows))
    return "\n\n".join(parts)


def _speed(result: dict[str, Any]) -> str:
    rows = []
    for name, records in result["rounds"].items():
        steps = sorted(record["steps"] / record["seconds"] for record in records)
        tokens = sorted(map(tokens_a_second, records))
        each = median(record["tokens"] / record["steps"] for record in records)
        rows.append(
            [
                CONTENDERS[name],
                f"{median(steps):,.1f}",
                f"{steps[0]:,.1f} to {steps[-1]:,.1f}",
                f"{median(tokens):,.1f}",
                f"{each:.2f}",
            ]
        )
    found = sorted(times(result["rounds"]))
    text = (
        f"\n\nAt equal sampled tokens: {median(found):.1f} times as many ({found[0]:.1f} to {found[-1]:.1f})." if found else ""
    )
    return (
        table(
            ["acting and learning", "steps a CPU second", "range over rounds", "sampled tokens a CPU second", "tokens a step"],
            rows,
        )
        + text
    )


def _server(result: dict[str, Any]) -> str:
    games = result["games"]
    names = ("episodes", "at_once", "corrected", "fallbacks")
    every = {"game": "**all**"} | {name: sum(game[name] for game in games) for name in names}
    rows = [
        [game["game"], *(str(game[name]) for name in names), str(answers(game)), f"{accepted(game) / answers(game):.1%}"]
        for game in [*games, every]
    ]
    header = ["models/player behind `transformers serve`", "episodes", "an action at once", "after one correction", "none: the fallback",
              "answers", "of them an action"]  # fmt: skip
    return table(header, rows)


TABLES = Tables(
    "agents", "agents: ", "agents_", {"learning": _learning, "speed": _speed, "server": _server}, targets, bullet="-"
)
