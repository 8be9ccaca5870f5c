"""News reports of a few sentences, and their summaries."""

import numpy as np

from gymformer.data.arithmetic import is_held_out
from gymformer.data.world.grammar import Facts, Grammar
from gymformer.data.world.requests import Request, pick
from gymformer.data.world.words import PLACES, WORDS, temper

__all__ = ["GRAMMAR", "article", "ask_article", "ask_summary", "reference", "write_article", "write_summary"]

# What happened: its headline, what it was, what may have been the reason, and what that meant for people.
EVENTS = {
    "fire": ("a fire at {site}", "a fire damaged {site}", ("a broken lamp", "a forgotten candle", "a hot oven", "an old wire"),
             ("had to leave", "watched the smoke", "helped with buckets")),
    "flood": ("a flood at {site}", "a flood closed {site}", ("heavy rain", "melting snow", "a broken pipe", "a weak dam"),
              ("had to leave", "lost their tools", "carried sand bags")),
    "theft": ("a theft at {site}", "thieves stole {treasure} from {site}", ("an open window", "a broken lock",
              "a sleeping guard", "a lost key"),
              ("were questioned", "searched the streets", "lost money")),
    "find": ("a find at {site}", "workers found {treasure} under {site}", ("a deep hole", "a curious dog", "a fallen tree", "new pipes"),
             ("came to look", "asked for a share", "took pictures")),
    "closing": ("the end of {site}", "the council closed {site}", ("a lack of money", "cracks in the walls",
                "a shortage of staff", "high costs"),
                ("lost their jobs", "signed a letter", "were angry")),
    "opening": ("the return of {site}", "the council opened {site} again", ("a large gift", "many letters", "a new roof", "better times"),
                ("found new jobs", "came to the party", "danced all night")),
    "crash": ("a crash at {site}", "a lorry hit {site}", ("thick fog", "icy roads", "a tired driver", "a flat tyre"),
              ("had to wait", "were late for work", "helped the driver")),
    "rescue": ("a rescue at {site}", "{hero} rescued {lost} at {site}", ("a rotten ladder", "strong wind", "a sudden storm", "a loose stone"),
               ("clapped their hands", "joined the search", "held the ropes")),
    "prize": ("a prize for {site}", "{hero} won a prize for {site}", ("years of hard work", "a clever idea",
              "great courage", "a fine speech"),
              ("came to the party", "sent flowers", "sang a song")),
    "concert": ("a concert at {site}", "{hero} gave a concert at {site}", ("an old promise", "a birthday",
                "the end of the war", "a good harvest"),
                ("sang a song", "danced all night", "bought tickets")),
    "protest": ("a protest at {site}", "farmers marched to {site}", ("high prices", "a new tax", "low wages", "a broken promise"),
                ("carried flags", "were late for work", "signed a letter")),
}  # fmt: skip
JOBS = (
    "baker",
    "teacher",
    "doctor",
    "farmer",
    "nurse",
    "painter",
    "driver",
    "gardener",
    "sailor",
    "student",
    "miller",
    "tailor",
)
RULES = {
    "ask_article": ("Write a news report about {headline} in {town}.", "Write an article about {headline} in {town}.",
                    "Report on {headline} in {town}."),
    "ask_summary": ("Summarize.", "Summarize the article.", "Write a short summary.", "What happened, in short?"),
    "headline": tuple(headline for headline, *_ in EVENTS.values()),
    "event": tuple(what for _, what, _, _ in EVENTS.values()),
    "cause": tuple(dict.fromkeys(cause for *_, causes, _ in EVENTS.values() for cause in causes)),
    "affected": tuple(dict.fromkeys(effect for *_, effects in EVENTS.values() for effect in effects)),
    "site": ("the {which} {building}",),
    "which": ("old", "new", "little", "famous"),
    "building": tuple(place for place in PLACES if place not in ("forest", "beach", "lake", "valley", "island", "meadow", "street",
                                                                "village", "park", "garden", "square", "orchard", "kitchen", "attic")),
    "treasure": ("a painting", "a golden cup", "old coins", "a silver ring", "rare books", "a stone mask"),
    "lost": ("a child", "two sisters", "a dog", "an old man", "three sailors", "a horse"),
    "name": ("{person} {surname}",),
    "hero": ("{name}",),
    "witness": ("{name}",),
    "job": JOBS,
    # Sentences with a key fact
    "what": ("{event} in {town}.", "in {town}, {event}."),
    "what_when": ("{event} in {town} on {day}.", "on {day}, {event} in {town}."),
    "when": ("it happened on {day}.", "it was {day} when it happened.", "this was on {day}."),
    "why": ("the reason was {cause}.", "according to {witness}, a {job}, {cause} was the reason.",
            "{witness}, a {job}, said that the reason was {cause}.", "it came about because of {cause}."),
    "effect": ("{number} people {affected}.", "as a result, {number} people {affected}.", "in all, {number} people {affected}."),
    # Sentences without one
    "before": ("it has been a {mood} week.", "the weather was {mood} and {mood}.", "{town} is a {mood} and {mood} town.",
               "many people know {town} for its {things}.", "nobody in {town} expected any news.",
               "{town} has a {look} market and a {look} bridge."),
    "behind": ("{neighbour} has lived in {town} for {other_number} years.", "{neighbour}, a {job}, was {feeling}.",
               "the mayor, {mayor}, will visit {town} on {other_day}.", "the neighbours brought bread and tea.",
               "people talk about it at the market.",
               "the {things} nearby are {size} and {shade}.", "a song about {town} was played on the radio."),
    "neighbour": ("{name}",),
    "mayor": ("{name}",),
    "other_number": WORDS["number"],
    "other_day": WORDS["day"],
    # Sentences of a summary only
    "whole": ("{event} in {town} on {day} because of {cause}.",),
    "whole_first": ("in {town}, {event} on {day} because of {cause}.",),
    "bare": ("{event}.",),
    "topic": ("this is about {headline}.", "the article is about {headline}."),
    "vague": ("something happened in {town}.", "there was news from {town}.", "{number} people {affected}."),
    "effect_short": ("{number} people {affected}.",),
}  # fmt: skip
SENTENCES = ("what", "what_when", "when", "why", "effect", "before", "behind", "whole", "whole_first", "bare", "topic", "vague")
GRAMMAR = Grammar(WORDS | RULES, SENTENCES)

# How training text summarizes: how often, the sentences, and whether an article's background comes before or after them.
MANNERS = (
    (0.09, ("whole", "effect_short"), "none"),  # all there is to say
    (0.08, ("whole",), "none"),
    (0.10, ("whole_first",), "none"),
    (0.28, ("bare",), "none"),  # not where, when or why
    (0.08, ("topic",), "none"),
    (0.10, ("vague",), "none"),
    (0.13, ("bare",), "before"),
    (0.10, (), "before"),  # beside the point
    (0.04, ("whole", "effect_short"), "after"),  # too long
)


def happening(rng: np.random.Generator, known: Facts | None = None) -> dict[str, str | tuple[str, ...]]:
    """The facts of an event, those that `known` names among them."""
    facts = {"kind": pick(rng, tuple(EVENTS)), "building": pick(rng, RULES["building"]), **(known or {})}
    headline, event, causes, effects = EVENTS[str(facts["kind"])]
    for symbol in ("town", "site", "day", "number"):
        facts.setdefault(symbol, GRAMMAR.phrase(rng, symbol, facts))
    facts |= temper(rng) | {"things": PLACES[str(facts["building"])][1]}
    names: set[str] = set()
    for symbol in ("hero", "witness", "neighbour", "mayor"):
        while (name := GRAMMAR.phrase(rng, symbol)) in names:
            pass
        names.add(name)
        facts[symbol] = name
    facts["cause"], facts["affected"] = pick(rng, causes), pick(rng, effects)
    facts["other_number"] = pick(rng, WORDS["number"], other_than=str(facts["number"]))
    facts["other_day"] = pick(rng, WORDS["day"], other_than=str(facts["day"]))
    facts["event"] = GRAMMAR.phrase(rng, "event", {**facts, "event": (event,)})
    facts["headline"] = GRAMMAR.phrase(rng, "headline", {**facts, "headline": (headline,)})
    return facts


def reference(facts: Facts) -> str:
    """A good summary: what happened, where, when, why, and what it meant, in two sentences."""
    rng = np.random.default_rng(0)  # for symbols that the facts decide: there is nothing to draw
    return f"{GRAMMAR.draw(rng, 'whole', facts)} {GRAMMAR.draw(rng, 'effect_short', facts)}"


def article(rng: np.random.Generator, facts: Facts) -> tuple[str, tuple[str, ...]]:
    """A report of four to eight sentences, the key facts in three or four of them, and its sentences without a key fact."""
    together = rng.random() < 0.5
    key = ["what_when", "why", "effect"] if together else ["what", "when", "why", "effect"]
    if rng.random() < 0.3:
        key[-1], key[-2] = key[-2], key[-1]
    before = int(rng.random() < 0.5)
    behind = int(rng.integers(1, 3, endpoint=True))
    order = [*["before"] * before, *key]
    for _ in range(behind):
        order.insert(int(rng.integers(before + 1, len(order), endpoint=True)), "behind")
    sorts = iter(rng.permutation(np.array(RULES["behind"])).tolist())  # each once
    sentences = [
        GRAMMAR.draw(rng, symbol, {**facts, "behind": (next(sorts),)} if symbol == "behind" else facts) for symbol in order
    ]
    background = tuple(sentence for symbol, sentence in zip(order, sentences, strict=True) if symbol in ("before", "behind"))
    return " ".join(sentences), background


def ask_article(rng: np.random.Generator) -> Request:
    facts = happening(rng)
    known = {symbol: facts[symbol] for symbol in ("kind", "building", "town", "site", "headline")}
    subject = f"{facts['headline']} in {facts['town']}"
    return Request("article", GRAMMAR.draw(rng, "ask_article", known), subject, (str(facts["town"]), str(facts["site"])), known)


def write_article(rng: np.random.Generator, request: Request) -> str:
    """An article on an event that is not among those that held-out summaries are about."""
    while is_held_out(reference(facts := happening(rng, request.facts))):
        pass
    return article(rng, facts)[0]


def ask_summary(rng: np.random.Generator) -> Request:
    facts = happening(rng)
    text, background = article(rng, facts)
    summary = reference(facts)
    prompt = f"{text}\n{GRAMMAR.draw(rng, 'ask_summary')}"
    return Request("summary", prompt, summary, (str(facts["town"]),), {**facts, "background": background}, summary)


def write_summary(rng: np.random.Generator, request: Request) -> str:
    """A summary as training text has them: about a quarter are good, the others too short, too long, too vague or beside the point."""
    _, symbols, where = MANNERS[int(rng.choice(len(MANNERS), p=[share for share, _, _ in MANNERS]))]
    sentences = [GRAMMAR.draw(rng, symbol, request.facts) for symbol in symbols]
    background = request.facts["background"]
    beside = [str(background[i]) for i in sorted(rng.permutation(len(background))[:2])] if where != "none" else []
    return " ".join(beside + sentences if where == "before" else sentences + beside)
