"""MemoryBufferEnv: news to be remembered, over turns and over episodes, and asked for in other words."""

import json
import re
from collections import deque
from dataclasses import astuple
from pathlib import Path
from typing import Any

from gymformer.curriculum.difficulty import Pace, checked_difficulty
from gymformer.data.world.news import CATEGORIES, Fact, ask, deny, draw_fact, small_talk, state
from gymformer.env.memory_buffer_players import expert as memory_buffer_expert
from gymformer.env.memory_buffer_players import random_player as memory_buffer_guesser
from gymformer.env.memory_store import Entry, MemoryStore
from gymformer.env.text_env import TextEnv

__all__ = ["MALFORMED", "RIGHT", "WRONG", "MemoryBufferEnv", "memory_buffer_expert", "memory_buffer_guesser"]

RIGHT = 1.0  # shared by the questions of an episode
WRONG = -0.1  # shared likewise
MALFORMED = -0.02  # a turn

CONSTANT_DIFFICULTY = 0.5
FEWEST_STEPS = 5  # three pieces of news, a search and an answer
FEWEST_NEWS = 3  # also of one category; with fewer, who repeats the last thing heard would often be right
LONGEST_DAY = 100  # turns; there are not values enough for news that fill more
SHARE_OF_QUESTIONS = 0.3  # of the turns, at most; each takes two
MOST_DISTRACTORS = 3  # sentences in a piece of news
RESULTS = 3  # of a search
LONGEST_ENTRY = 300  # characters

VERB = re.compile(r"\s*(STORE|RETRIEVE|ANSWER)\b:?(.*)", re.DOTALL | re.IGNORECASE)
FILTER = re.compile(r"(?<!\S)(topic|category|day):(\S+)\s*", re.IGNORECASE)
DAYS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
BEFORE_THE_ANSWER = {"a", "an", "the", "in", "at", "to", "on"}


class MalformedTurn(ValueError):
    """What is wrong with a turn, in words for whoever took it."""


class MemoryBufferEnv(TextEnv):
    """Description: every episode is a day with a few pieces of news, each of which holds one fact about a person, between
    sentences that do not matter. After the news come questions about facts of this day and of earlier ones, perhaps in other
    words. Facts change: asked is the latest state, or that of a day that the question names. Nothing but the memory, an
    SQLite store of `memory_size` entries, lasts from one episode to the next.

    Action: one of three, a text.
        STORE <content>: an entry of up to 300 characters. It may have labels: "STORE topic:Mia category:hat Mia's hat is red."
            The day is noted. Where the memory is full, the oldest entry leaves.
        RETRIEVE <query>: up to 3 entries: those that hold all the words, newest first, then those that hold some, best first.
            Filters: "topic:Mia", "category:hat", "day:3", "day:2-5". Only what was stored is ever found.
        ANSWER <response>: the value that was asked for ("red"), and nothing beside it but an article or preposition. Capitals do
            not matter. There is one answer to each question.
    News passes with the turn that follows it, whatever that is. A question stays until it is answered.
    Observation: a text: what came of the last turn; below it, in one line, the news or the question.
    Reward: 1 for right answers and -0.1 for wrong ones (`RIGHT`, `WRONG`), both divided by the number of the episode's
        questions, so that the best return is 1; -0.02 (`MALFORMED`) for a turn that is none of the three, which is explained; 0
        for everything else. Storing and searching earn nothing by themselves.
    Episode end: `terminated` with the last answer; `truncated` after `max_steps` turns.
    Info: "turn"; "day"; "task", "memory"; "difficulty"; "questions", how many the episode has; "right", how many were answered
        rightly; "success", 1.0 if all were, else 0.0; "stored", entries in the memory.
    Reset options: "difficulty", from 0 to 1, of this episode; "keep_memory", a bool. By default reset(seed=...) empties the memory
        where it has no file, and begins again with day 1; so training and evaluation on tokens, which seed each episode,
        stay within one day unless a curriculum's options ask for "keep_memory", or there is a file.
    Rendering: "ansi", the episode so far.

    Difficulty d, with 10 steps: 3 pieces of news, with d > 0.5 one more; 1 to 3 questions; 0 to 3 sentences of distraction in each
    piece, of which a share d names a wrong value of the same person; a share d of facts and questions in other words; and what
    is asked is among the news of today, or, with growing d, of up to the last `memory_size`. More steps, up to 100, have more
    news and questions.

    Arguments:
    use_curriculum: where neither the argument nor the option "difficulty" says one, it starts at 0 and follows the success of
        this environment's own last episodes (`Pace` has the rule), also over reset(seed=...). Else it is 0.5. Where episodes of one
        seed must be alike (groups, comparisons), give a difficulty.
    max_steps: turns of an episode, at least 5. memory_size: entries.
    memory_path: a file that keeps the memory, and what was told, across processes; made where there is none. One environment at a
        time has it (RuntimeError), so each of a vector needs its own. A process that is killed leaves a file that can be used.
    difficulty: from 0 to 1. seed: of the first reset that brings none of its own.
    """

    default_model = "models/speaker"
    system_prompt = (
        "You hear news and answer questions about it later, also about news of earlier days. Each turn is one line:\n"
        "STORE topic:<name> category:<kind> <content>\n"
        "RETRIEVE topic:<name> category:<kind> day:<number> <words>\n"
        "ANSWER <one value>\n"
        "Topic, category and day may be left out. Your memory is all that you have from earlier days."
    )
    reset_options = ("difficulty", "keep_memory")

    def __init__(
        self,
        use_curriculum: bool = True,
        max_steps: int = 10,
        memory_size: int = 100,
        *,
        memory_path: str | Path | None = None,
        difficulty: float | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
    ):
        if max_steps < FEWEST_STEPS:
            raise ValueError(
                f"max_steps={max_steps}; an episode needs at least {FEWEST_STEPS}: {FEWEST_NEWS} news, a search, an answer"
            )
        if memory_size < 1:
            raise ValueError(f"memory_size={memory_size}; a memory holds at least 1 entry")
        super().__init__(max_turns=max_steps, render_mode=render_mode)
        if difficulty is None and not use_curriculum:
            difficulty = CONSTANT_DIFFICULTY
        self.constant_difficulty = None if difficulty is None else checked_difficulty(difficulty)
        self.pace = Pace()
        self.memory = MemoryStore(memory_size, memory_path)
        self._told = deque((Fact(*json.loads(line)) for line in self.memory.journal()), maxlen=memory_size)
        self._first_seed = seed
        self.day, self.difficulty, self.questions, self.right = 0, 0.0, 0, 0
        self._at_own_pace = False
        self._news: list[tuple[Fact, str]] = []  # of today, each with the text that tells it
        self._heard = 0  # of these
        self._asked: list[tuple[Fact, str]] = []  # the questions, once the news is over
        self._answered = 0  # of these

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        if not (options or {}).get("keep_memory", seed is None or self.memory.path is not None):
            self.memory.clear()
            self._told.clear()
        observation, info = super().reset(seed=self._first_seed if seed is None else seed, options=options)
        self._first_seed = None
        return observation, info

    def opening(self, options: dict[str, Any]) -> str:
        given = options.get("difficulty", self.constant_difficulty)
        self._at_own_pace = given is None
        self.difficulty = self.pace.difficulty if given is None else checked_difficulty(given)
        self.day = self._told[-1].day + 1 if self._told else 1
        turns = min(self.max_turns, LONGEST_DAY)
        most = max(1, int(SHARE_OF_QUESTIONS * turns))
        self.questions = min(1 + round(self.difficulty * (most - 1)), self.memory.capacity)
        count = FEWEST_NEWS + round(self.difficulty * (turns - 2 * most - FEWEST_NEWS))
        self._news = [(fact, self._message(fact)) for fact in self._facts(count)]
        self._heard = self._answered = self.right = 0
        self._asked = []
        return f"Day {self.day}.\n{self._next()}"

    def answer(self, turn: str) -> tuple[str, float, bool]:
        hearing = self._heard < len(self._news)
        try:
            outcome, reward = self._obey(turn, hearing)
        except MalformedTurn as error:
            outcome, reward = f"Not understood: {error}.", MALFORMED
        if hearing:
            self._pass_on()
        terminated = self._heard == len(self._news) and self._answered == self.questions
        if self._at_own_pace and (terminated or self.turn >= self.max_turns):
            self.pace.observe(self.right / self.questions)
        return f"{outcome}\n{self._next()}", reward, terminated

    def facts(self) -> dict[str, Any]:
        return {"day": self.day, "task": "memory", "difficulty": self.difficulty, "questions": self.questions, "right": self.right,
                "success": float(self.right == self.questions), "stored": len(self.memory)}  # fmt: skip

    def close(self) -> None:
        self.memory.close()

    def _obey(self, turn: str, hearing: bool) -> tuple[str, float]:
        """What a turn does, in words, and what it earns."""
        match = VERB.match(turn)
        if match is None:
            raise MalformedTurn("a turn begins with STORE, RETRIEVE or ANSWER")
        verb, text = match[1].upper(), " ".join(match[2].split())
        if verb == "ANSWER":
            if hearing:
                raise MalformedTurn("nothing was asked")
            return self._judge(text)
        text, filters = _split(text)
        return (self._store(text, filters) if verb == "STORE" else self._retrieve(text, filters)), 0.0

    def _store(self, content: str, filters: dict[str, str]) -> str:
        if not content:
            raise MalformedTurn("STORE needs something to be stored")
        if len(content) > LONGEST_ENTRY:
            raise MalformedTurn(f"an entry has up to {LONGEST_ENTRY} characters, this has {len(content)}")
        if "day" in filters:
            raise MalformedTurn("the day of an entry is noted by itself; leave out day: where you store")
        self.memory.add(Entry(content, self.day, filters.get("topic", ""), filters.get("category", "")))
        return f"Stored ({len(self.memory)} of {self.memory.capacity})."

    def _retrieve(self, words: str, filters: dict[str, str]) -> str:
        if not words and not filters:
            raise MalformedTurn("RETRIEVE needs words, or topic:, category: or day:")
        days = filters.get("day")
        found = self.memory.search(words, topic=filters.get("topic"), category=filters.get("category"),
                                   days=None if days is None else _days(days), limit=RESULTS)  # fmt: skip
        return "\n".join([f"Found {len(found)}."] + [f"[day {entry.day}] {entry.content}" for entry in found])

    def _judge(self, response: str) -> tuple[str, float]:
        words = _words(response)
        if not words:
            raise MalformedTurn("ANSWER needs a value")
        fact, _ = self._asked[self._answered]
        self._answered += 1
        right = words == _words(fact.value)
        self.right += right
        return ("Right.", RIGHT / self.questions) if right else ("Wrong.", WRONG / self.questions)

    def _pass_on(self) -> None:
        """A piece of news is over: the policy had its turn, so that it can be asked. After the last, the questions are drawn."""
        fact, _ = self._news[self._heard]
        self._told.append(fact)
        self.memory.log(json.dumps(astuple(fact)))
        self._heard += 1
        if self._heard == len(self._news):
            self._asked = self._questions_of_the_day()

    def _next(self) -> str:
        """The news or the question that waits for a turn."""
        if self._heard < len(self._news):
            return f"News {self._heard + 1} of {len(self._news)}: {self._news[self._heard][1]}"
        if self._answered < self.questions:
            return f"Question {self._answered + 1} of {self.questions}: {self._asked[self._answered][1]}"
        return f"The day is over: {self.right} of {self.questions} right."

    def _facts(self, count: int) -> list[Fact]:
        """Facts of one day, in any order: no two have the same value, and no person has two of a category. Each has at least two
        others of its category, so that the category does not tell which was asked."""
        kinds = self.np_random.permutation(list(CATEGORIES))[: count // FEWEST_NEWS]
        facts: list[Fact] = []
        while len(facts) < count:
            fact = draw_fact(self.np_random, self.day, str(kinds[len(facts) % len(kinds)]))
            if all(fact.key != other.key and fact.value != other.value for other in facts):
                facts.append(fact)
        return [facts[int(index)] for index in self.np_random.permutation(count)]

    def _message(self, fact: Fact) -> str:
        """A fact among what distracts from it."""
        draw, difficulty = self.np_random.random, self.difficulty
        sentences = [state(self.np_random, fact, reworded=draw() < difficulty)]
        for _ in range(round(difficulty * MOST_DISTRACTORS)):
            sentences.append(deny(self.np_random, fact) if draw() < difficulty else small_talk(self.np_random))
        return " ".join(sentences[int(index)] for index in self.np_random.permutation(len(sentences)))

    def _questions_of_the_day(self) -> list[tuple[Fact, str]]:
        """Different facts, each with a question, from as far back as the difficulty allows and the memory reaches."""
        told, today = list(self._told), len(self._news)
        reach = today + round(self.difficulty * max(0, self.memory.capacity - today))
        recent = told[-reach:]
        latest = {fact.key: fact for fact in told}
        questions: list[tuple[Fact, str]] = []
        for index in self.np_random.permutation(len(recent))[: self.questions]:
            fact = recent[int(index)]
            reworded = self.np_random.random() < self.difficulty
            questions.append((fact, ask(self.np_random, fact, reworded=reworded, dated=latest[fact.key] is not fact)))
        return questions


def _split(text: str) -> tuple[str, dict[str, str]]:
    """A text without its filters, and these."""
    return FILTER.sub("", text).strip(), {name.lower(): value for name, value in FILTER.findall(text)}


def _days(text: str) -> tuple[int, int]:
    match = DAYS.fullmatch(text)
    if match is None:
        raise MalformedTurn(f"day:{text} is no day; write day:3, or day:2-5 for several")
    return int(match[1]), int(match[2] or match[1])


def _words(text: str) -> list[str]:
    """The words of an answer, without capitals, punctuation, and what may stand before it."""
    words = re.findall(r"\w+", text.casefold())
    while len(words) > 1 and words[0] in BEFORE_THE_ANSWER:
        words = words[1:]
    return words
