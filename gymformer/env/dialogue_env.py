"""DialogueEnv: talks with a partner whose goals are hidden, in which manners pay as far as the goal is attained."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gymformer.curriculum.difficulty import Pace, checked_difficulty
from gymformer.data.arithmetic import is_held_out
from gymformer.data.scenarios import SCENARIO_TYPES, load_dialogue_scenarios
from gymformer.env.dialogue_elements import ELEMENTS, GLAD, SORRY, Person, draw_person, shown
from gymformer.env.dialogue_partners import SCENARIOS, Heard, Partner
from gymformer.env.dialogue_voice import Voice, says_the_same
from gymformer.env.rendering import indented, printable
from gymformer.env.text_env import Dialogue, TextEnv
from gymformer.rewards.feedback import HumanFeedback

__all__ = ["DialogueEnv"]

GOAL = 0.6  # weight of the goal's success
MANNERS = 0.4  # weight of the share of required elements, times the goal's success
FEEDBACK = 0.2  # weight of a person's rating
CONSTANT_DIFFICULTY = 0.5
FEWEST_TURNS = 4  # what the longest questioning, without any asking again, takes
FEELS_AGAIN = 0.5  # the chance of a new feeling with each reply
TITLES = {"question-answering": "Questions", "negotiation": "Negotiation", "debate": "Debate"}
ATTEMPTS = 2  # of a language model at one line


class DialogueEnv(TextEnv):
    """Description: a dialogue with a partner who follows hidden goals by rules, in one of three scenarios.
    "negotiation": to sell or buy at a good price. The partner has a best price, which is hidden, and concedes where the player
        moves, more to who is polite (`Negotiation` has the rules).
    "debate": to answer claims with claims. A claim counts only with a fitting piece of evidence, a rebuttal only with the one on
        its issue, and none twice (`Debate`).
    "question-answering": to answer questions from given facts, with nothing false, and with "I do not know" where the facts
        do not say; what is no answer is asked again, once (`Answers`).
    Beside the goal, the opening says which elements are to be shown: politeness, coherence, feeling (acknowledgement of it),
    setting (the usual address); `gymformer.env.dialogue_elements.shown` has the rules, over whole words and what was just said.

    Action: a turn, a text.
    Observation: a text. The opening has a line each for the scenario and its title, for what the player knows, for the elements, and
        for the partner's first words; then come the partner's replies, a line each.
    Reward: 0.6 (`GOAL`) times what a turn adds to the goal's success; at the end 0.4 (`MANNERS`) times success times the share of
        elements shown, so that manners without progress earn nothing; and 0.2 (`FEEDBACK`) times the rating that a person gives to
        the dialogue, if there is one. What "goal", "elements" and "feedback" have paid so far is in info["reward_terms"].
        Without ratings the best return is 1.
    Episode end: `terminated` when the partner has done (a deal or no patience, the last question or claim), or after `max_turns`
        turns: what was not reached by then is not reached.
    Info: "turn"; "task", the scenario; "difficulty"; "success", from 0 to 1, of the goal so far; "elements", from 0 to 1, the mean
        over the required elements of the share of turns that showed each (feeling: of the turns that had one to acknowledge);
        "reward_terms"; at the end "elements_shown", these shares by name. With a language model: "unfaithful", how many
        lines the partner had to say in its own words because the model's did not mean the same.
    Reset options: "difficulty", from 0 to 1; "scenario", a type that this environment has, or a mapping as in `scenarios`; "elements",
        a list of those to be required.
    Rendering: "ansi", the dialogue so far.

    Difficulty d: 2 elements are required (from 0.3 on 3, from 0.6 on 4); 2 to 4 questions or claims; 3 to 6 facts. From 0.3 on the
    player may also buy, or be against, and subjects have several facts; from 0.5 on the opening names place and partner, and the
    player has to know the address; from 0.6 on prices have three digits, partners may be firm, and there are studies for both
    sides of an issue.

    Arguments:
    use_curriculum: where neither the argument nor the option "difficulty" says one, it starts at 0 and follows the success of this
        environment's own last episodes (`Pace` has the rule), also over reset(seed=...). Else it is 0.5.
    use_human_feedback: people rate whole dialogues, opening and turns, at their end. max_turns: at least 4.
    feedback: where ratings come from, a `HumanFeedback` or a function. None: from nowhere, which is said once, in a warning; nothing
        waits.
    scenarios: types, or mappings such as {"type": "negotiation", "context": "Salary discussion"}, drawn equally often. None: those of
        `task_templates_path`, a YAML file (`load_dialogue_scenarios`), or the three types.
    partner: puts the partner's lines into words, such as a `LanguagePartner`; None: they are said as they are. The rules decide what
        is offered, claimed and asked, and read the player's turns, whatever a model says: its words are used only where they mean
        to the rules what the line means (`says_the_same`), within 2 attempts; else the line is said, and counted.
    difficulty: from 0 to 1. split: "train" or "test", a tenth of all openings, told apart by a hash of their words.
    """

    default_model = "models/speaker"
    system_prompt = "Talk with the partner, one or two short sentences a turn. Reach your goal, and show what is asked for."
    reset_options = ("difficulty", "scenario", "elements")

    def __init__(
        self,
        use_curriculum: bool = True,
        use_human_feedback: bool = True,
        max_turns: int = 10,
        *,
        feedback: HumanFeedback | Callable[[str], float | None] | None = None,
        scenarios: Sequence[str | Mapping[str, str]] | None = None,
        task_templates_path: str | Path | None = None,
        partner: Voice | None = None,
        difficulty: float | None = None,
        split: Literal["train", "test"] = "train",
        render_mode: str | None = None,
    ):
        if max_turns < FEWEST_TURNS:
            raise ValueError(f"max_turns={max_turns}; a dialogue needs at least {FEWEST_TURNS}, for as many questions")
        super().__init__(max_turns=max_turns, render_mode=render_mode)
        if feedback is not None and not use_human_feedback:
            raise ValueError("feedback is given and use_human_feedback=False; leave out one of them")
        if scenarios is not None and task_templates_path is not None:
            raise ValueError("scenarios and task_templates_path are both given; leave out one of them")
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is not known; use "train" or "test"')
        if difficulty is None and not use_curriculum:
            difficulty = CONSTANT_DIFFICULTY
        if task_templates_path is not None:
            scenarios = load_dialogue_scenarios(task_templates_path)
        self.scenarios = _scenarios(SCENARIO_TYPES if scenarios is None else scenarios)
        self.feedback: HumanFeedback | None = None
        if use_human_feedback:
            self.feedback = feedback if isinstance(feedback, HumanFeedback) else HumanFeedback(feedback)
        self.constant_difficulty = None if difficulty is None else checked_difficulty(difficulty)
        self.voice, self.split, self.pace = partner, split, Pace()
        self.task, self.difficulty, self.required = "", 0.0, tuple[str, ...]()
        self.reward_terms: dict[str, float] = {}
        self._at_own_pace, self._over = False, False
        self._partner: Partner
        self._person: Person
        self._feeling: str | None = None  # that the partner just uttered
        self._briefing = ""
        self._shown: dict[str, list[bool]] = {}  # of each required element, at every chance to show it
        self._unfaithful = 0

    def opening(self, options: dict[str, Any]) -> str:
        given = options.get("difficulty", self.constant_difficulty)
        self._at_own_pace = given is None
        self.difficulty = self.pace.difficulty if given is None else checked_difficulty(given)
        choices = self._choices(options.get("scenario"))
        wanted = _elements(options["elements"]) if "elements" in options else None
        self._draw(choices, wanted)
        while is_held_out(f"{self._briefing}\n{self._line()}") != (self.split == "test"):
            self._draw(choices, wanted)
        self._shown = {element: [] for element in self.required}
        self.reward_terms = {"goal": 0.0, "elements": 0.0} | ({} if self.feedback is None else {"feedback": 0.0})
        self._over, self._unfaithful = False, 0
        return f"{self._briefing}\nPartner: {self._said([])}"

    def answer(self, turn: str) -> tuple[str, float, bool]:
        heard, partner, before, paid = Heard(turn), self._partner, self._partner.success, sum(self.reward_terms.values())
        for element, is_shown in shown(heard, partner, self._person, self._feeling).items():
            if element in self._shown:
                self._shown[element].append(is_shown)
        partner.hear(heard)
        self._over = partner.over or self.turn >= self.max_turns
        self._feel(before)
        reply = self._said([*self._past(), ("user", turn)])
        self.reward_terms["goal"] = GOAL * partner.success
        if self._over:
            self._end([*self._past(), ("user", turn), ("assistant", reply)])
        return reply, sum(self.reward_terms.values()) - paid, self._over

    def facts(self) -> dict[str, Any]:
        told = {"task": self.task, "difficulty": self.difficulty, "success": float(self._partner.success),
                "elements": self._elements_shown(), "reward_terms": dict(self.reward_terms)}  # fmt: skip
        if self.voice is not None:
            told["unfaithful"] = self._unfaithful
        return told | ({"elements_shown": self._shares()} if self._over else {})

    def _choices(self, asked: Any) -> list[tuple[str, str | None]]:
        """The scenarios that options["scenario"] leaves to be drawn from."""
        if isinstance(asked, Mapping):
            return _scenarios([asked])
        choices = [one for one in self.scenarios if asked in (None, one[0])]
        if not choices:
            types = ", ".join(dict.fromkeys(kind for kind, _ in self.scenarios))
            raise ValueError(f'options["scenario"] is {asked!r}; this environment has {types}')
        return choices

    def _draw(self, choices: list[tuple[str, str | None]], wanted: tuple[str, ...] | None) -> None:
        """A scenario, a partner, and what is to be shown."""
        rng = self.np_random
        self.task, context = choices[int(rng.integers(len(choices)))]
        self._partner = SCENARIOS[self.task](rng, self.difficulty, context)
        self._person = draw_person(rng)
        count = 2 + (self.difficulty >= 0.3) + (self.difficulty >= 0.6)
        chosen = {str(element) for element in rng.permutation(ELEMENTS)[:count]} if wanted is None else set(wanted)
        self.required = tuple(element for element in ELEMENTS if element in chosen)
        self._feeling = str(rng.choice(GLAD + SORRY)) if "feeling" in chosen else None
        setting = f" {self._person.setting(self.difficulty)}" if "setting" in chosen else ""
        shows = f"Show: {', '.join(self.required) or 'nothing'}.{setting}"
        self._briefing = f"{TITLES[self.task]}: {self._partner.title}\n{self._partner.brief}\n{shows}"

    def _feel(self, success: float) -> None:
        """After a turn the partner may say what they feel: something good if it brought the player forward, else not."""
        self._feeling = None
        if "feeling" in self.required and not self._over and self.np_random.random() < FEELS_AGAIN:
            self._feeling = str(self.np_random.choice(GLAD if self._partner.success > success else SORRY))

    def _line(self) -> str:
        return f"I am {self._feeling}. {self._partner.line}" if self._feeling else self._partner.line

    def _said(self, dialogue: Dialogue) -> str:
        """The partner's line, in the words of the voice if there is one and they mean the same."""
        line = self._line()
        if self.voice is None:
            return line
        for _ in range(ATTEMPTS):
            words = printable(self.voice.reply(self._briefing, dialogue, line)).strip()
            if says_the_same(words, line):
                return words
        self._unfaithful += 1
        return line

    def _past(self) -> Dialogue:
        """All that was said before this turn."""
        opening, *rest = self._dialogue
        said: Dialogue = [("assistant", opening.removeprefix(f"{self._briefing}\nPartner: "))]
        for place, text in enumerate(rest):
            said.append(("assistant" if place % 2 else "user", text))
        return said

    def _end(self, dialogue: Dialogue) -> None:
        """What is paid at the end of a dialogue, and what is learnt from its success."""
        success = self._partner.success
        self.reward_terms["elements"] = MANNERS * success * self._elements_shown()
        if self.feedback is not None:
            speakers = {"user": "Player", "assistant": "Partner"}
            said = "\n".join(f"{speakers[role]}: {indented(text)}" for role, text in dialogue)
            self.reward_terms["feedback"] = FEEDBACK * (self.feedback.rate(f"{self._briefing}\n{said}") or 0.0)
        if self._at_own_pace:
            self.pace.observe(success)

    def _shares(self) -> dict[str, float]:
        """Of each required element, the share of its chances at which it was shown."""
        return {element: sum(chances) / max(1, len(chances)) for element, chances in self._shown.items()}

    def _elements_shown(self) -> float:
        shares = self._shares().values()
        return sum(shares) / len(shares) if shares else 1.0


def _scenarios(given: Sequence[str | Mapping[str, str]]) -> list[tuple[str, str | None]]:
    """Types, each with its context or None."""
    if isinstance(given, str) or not given:
        raise ValueError(f'scenarios={given!r}; give a list of at least one, such as ["negotiation"]')
    pairs: list[tuple[str, str | None]] = []
    for one in given:
        scenario = {"type": one} if isinstance(one, str) else dict(one)
        context = scenario.get("context")
        if not scenario.keys() <= {"type", "context"} or not (
            context is None or (isinstance(context, str) and context.isprintable())
        ):
            raise ValueError(f'the scenario {one!r} is none; give a type, or {{"type": ..., "context": one line of text}}')
        pairs.append((scenario.get("type", ""), context))
    for kind, _ in pairs:
        if kind not in SCENARIO_TYPES:
            raise ValueError(f"{kind!r} is no type of a scenario; use {', '.join(SCENARIO_TYPES)}")
    return pairs


def _elements(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not set(given) <= set(ELEMENTS):
        raise ValueError(f'options["elements"] is {given!r}; give a list of some of {", ".join(ELEMENTS)}')
    return tuple(given)
