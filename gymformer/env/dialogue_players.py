"""Who plays DialogueEnv without learning: an expert, one that guesses, and an undecided one whose dialogues can be learnt from.

They read the observations' texts and nothing else, and know the scripted wordings."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gymformer.env.dialogue_elements import FEELINGS, Person
from gymformer.env.dialogue_partners import FACTS, ISSUES, SUBJECTS, Heard

__all__ = ["dialogue_expert", "dialogue_guesser", "dialogue_student"]

Player = Callable[[str], str]
Core = tuple[str, str]  # what is to be said, and the same with what the partner just talked about

FIRST_MOVE = 32  # from the partner's first price; ten times that where prices have three digits
LARGEST_GAP = 24  # between a partner's first and best price, likewise


@dataclass
class Scene:
    """What a player knows of the episode so far, from the texts alone."""

    kind: str  # "Questions", "Negotiation" or "Debate"
    brief: str
    required: tuple[str, ...]
    address: str  # "" where none is required
    feeling: str | None = None  # just uttered
    about: str = ""  # what the partner just talked about
    # negotiation
    offers: list[int] = field(default_factory=list)  # the partner's prices
    asked: list[tuple[int, bool]] = field(
        default_factory=list
    )  # one's own, each before a price of theirs; whether it was polite
    # debate
    used: set[int] = field(default_factory=set)  # studies that were named
    # question answering
    question: tuple[str, str] | None = None  # subject and kind of fact

    @classmethod
    def opened(cls, opening: str) -> "Scene":
        lines = opening.split("\n")
        if len(lines) != 4 or not lines[3].startswith("Partner: "):
            raise ValueError(f"the players understand only what DialogueEnv says in its own words; they got {opening!r}")
        title, brief, shows, first = lines
        required, _, setting = shows.removeprefix("Show: ").partition(".")
        scene = cls(title.partition(":")[0], brief, tuple(required.split(", ")), _address(setting.strip()))
        scene.hear(first.removeprefix("Partner: "))
        return scene

    def hear(self, reply: str) -> None:
        feeling = re.match(r"I am (\w+)\. ", reply)
        self.feeling = feeling[1] if feeling and feeling[1] in FEELINGS else None
        if self.kind == "Negotiation" and (match := re.search(r"The (\w+) is \w+\. I (?:offer|ask) (\d+)\.", reply)):
            self.about = match[1]
            self.offers.append(int(match[2]))
        elif self.kind == "Debate" and (match := re.search(r"I say (\w+) gets", reply)):
            self.about = match[1]
        elif self.kind == "Questions":
            for kind, (_, question, _, _) in FACTS.items():
                before, after = question.split("{}")
                if match := re.search(f"{re.escape(before)}({'|'.join(SUBJECTS)}){re.escape(after)}", reply):
                    self.question, self.about = (match[1], kind), match[1]

    def say(self, turn: Heard) -> None:
        """What is to be remembered of one's own turn."""
        if self.kind == "Negotiation" and turn.numbers:
            self.asked.append((turn.numbers[0], turn.is_polite))
        elif self.kind == "Debate":
            issue, way = self.evidence[turn.numbers[0]]
            if way == self.mine and issue in turn.words:
                self.used.add(turn.numbers[0])

    @property
    def up(self) -> int:
        """Which way a price is good."""
        return 1 if self.brief.startswith("You sell") else -1

    @property
    def scale(self) -> int:
        return 10 if self.offers[0] >= 100 else 1

    @property
    def mine(self) -> str:
        return "better" if self.brief.startswith("You are for") else "worse"

    @property
    def evidence(self) -> dict[int, tuple[str, str]]:
        found = re.findall(rf"Study (\d+): ({'|'.join(ISSUES)}) (better|worse)\.", self.brief)
        return {int(number): (issue, direction) for number, issue, direction in found}

    @property
    def facts(self) -> dict[tuple[str, str], int]:
        found = {}
        for kind, (told, _, _, _) in FACTS.items():
            for subject, value in re.findall(re.escape(told).replace(r"\{\}", r"(\w+)"), self.brief):
                found[subject, kind] = int(value)
        return found


def dialogue_expert() -> Player:
    """A player that reaches the goal and shows what is required, in every turn. It works out a partner's best price from the size of
    their first concession, rebuts what can be rebutted, and knows what it does not know."""
    return _Player(_right, lambda element: True)


def dialogue_guesser(rng: np.random.Generator) -> Player:
    """A player of well-formed turns that do not depend on what was said: any price, any study for any issue, any number that was
    told; and each required element by a coin's toss."""
    return _Player(lambda scene: _any(scene, rng), lambda element: bool(rng.random() < 0.5))


def dialogue_student(rng: np.random.Generator, skill: float = 0.8, manners: float = 0.4) -> Player:
    """A player that says the right thing with probability `skill`, else anything; and shows each required element, in each turn, with
    probability `manners`."""

    def core(scene: Scene) -> Core:
        return _right(scene) if rng.random() < skill else _any(scene, rng)

    return _Player(core, lambda element: bool(rng.random() < manners))


class _Player:
    """Says the core of a turn, and with it those of the required elements that it chooses to show."""

    def __init__(self, core: Callable[[Scene], Core], shows: Callable[[str], bool]):
        self._core, self._shows = core, shows
        self._scene: Scene | None = None

    def __call__(self, observation: str) -> str:
        if self._scene is None or "\n" in observation:
            self._scene = Scene.opened(observation)
        else:
            self._scene.hear(observation)
        plain, coherent = self._core(self._scene)
        chosen = {element for element in self._scene.required if self._shows(element)}
        turn = _with_manners(self._scene, coherent if "coherence" in chosen else plain, chosen)
        self._scene.say(Heard(turn))
        return turn


def _with_manners(scene: Scene, core: str, chosen: set[str]) -> str:
    feeling = f"I see you are {scene.feeling}. " if "feeling" in chosen and scene.feeling else ""
    address = f", {scene.address}" if "setting" in chosen else ""
    if "politeness" not in chosen:
        return f"{feeling}{core}{address}."
    if scene.kind == "Negotiation":
        return f"{feeling}{core}, please{address}."
    return f"{feeling}Thank you. {core}{address}."


def _right(scene: Scene) -> Core:
    match scene.kind:
        case "Negotiation":
            return _priced(scene, _best_price(scene))
        case "Debate":
            return _claimed(scene, _best_study(scene))
        case _:
            return _answered(scene, scene.facts.get(scene.question or ("", "")))


def _any(scene: Scene, rng: np.random.Generator) -> Core:
    match scene.kind:
        case "Negotiation":
            steps = int(rng.integers(-1, FIRST_MOVE // 4 + 1))
            return _priced(scene, None if steps < 0 else scene.offers[0] + scene.up * scene.scale * 4 * steps)
        case "Debate":
            return _claimed(scene, int(rng.choice(list(scene.evidence))))
        case _:
            values = [None, *scene.facts.values()]
            return _answered(scene, values[int(rng.integers(len(values)))])


def _best_price(scene: Scene) -> int | None:
    """The partner's best price, as far as it can be known; None is a yes to theirs.

    A partner moves by 1/2 of the way to it (who is firm by 1/4), and by half as much where the offer was not polite.
    """
    first, up, scale = scene.offers[0], scene.up, scene.scale
    if not scene.asked:
        return first + up * scale * FIRST_MOVE
    moved = next((place for place, offer in enumerate(scene.offers) if offer != first), None)
    last = scene.asked[-1][0]
    if moved is None:
        return last - up * scale * 4
    step = abs(scene.offers[moved] - first) * (1 if scene.asked[moved - 1][1] else 2)
    gaps = [4 * step, 2 * step] if scale > 1 else [2 * step]
    prices = [first + up * gap for gap in gaps if gap <= scale * LARGEST_GAP]
    return next((price for price in prices if up * (last - price) > 0), None)


def _best_study(scene: Scene) -> int:
    """One that rebuts the partner's claim, or else one that supports one's own side, and was not used."""
    mine = [number for number, (_, way) in scene.evidence.items() if way == scene.mine and number not in scene.used]
    rebuts = [number for number in mine if scene.evidence[number][0] == scene.about]
    return [*rebuts, *mine, *scene.evidence][0]


def _priced(scene: Scene, price: int | None) -> Core:
    core = "Deal" if price is None else f"I say {price}"
    return core, f"The {scene.about} is fine. {core}"


def _claimed(scene: Scene, number: int) -> Core:
    issue = scene.evidence[number][0]
    core = f"tudy {number} shows {issue} gets {scene.mine}"
    return f"S{core}", f"S{core}" if issue == scene.about else f"As for {scene.about}, s{core}"


def _answered(scene: Scene, value: int | None) -> Core:
    subject, kind = scene.question or ("", "")
    if value is None:
        return "I do not know", f"I do not know about the {subject}"
    told = FACTS[kind][0].format(subject, value).removesuffix(".")
    return told.replace(f"The {subject}", "It"), told


def _address(setting: str) -> str:
    """How the partner is to be addressed, by what the opening says of the setting; "" if it says nothing."""
    if match := re.search(r"; say (.+)\.$", setting):
        return match[1]
    if match := re.fullmatch(r"Setting: (.+); partner: (\S+) (\S+), a (\w+)\.", setting):
        place, first, last, sex = match.groups()
        return Person(first, last, sex, place).address()
    return ""
