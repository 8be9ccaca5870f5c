"""Descriptions of places: from a bare sentence to a paragraph for all senses."""

import numpy as np

from gymformer.data.world.grammar import Grammar
from gymformer.data.world.requests import Request, Style, compose, pick
from gymformer.data.world.words import LIGHT, PLACES, WORDS

__all__ = ["GRAMMAR", "ask", "write"]

RULES = {
    "ask": ("Describe {where} {when}.", "Write about {where} {when}.", "What is {where} like {when}?",
            "Tell me about {where} {when}."),
    "where": ("the {place}", "the {which} {place}"),
    "which": ("old", "new", "little", "big", "empty", "crowded", "famous", "hidden", "deserted", "abandoned", "nearest"),
    "opening_plain": ("{where} is {mood}.", "{where} is {mood} {when}.", "this is {where}.", "I know {where}.",
                      "I like {where} {when}.", "{where} is {dull} {when}."),
    "opening_rich": ("{when}, {where} is {mood} and {mood}.", "{where} is a {mood} and {mood} place {when}.",
                     "{light} falls on the {look} {things} of {where}.", "{where} is as {likeness} {when}.",
                     "{when}, {where} is full of {look} {things} and {look} {things}."),
    "middle_plain": ("there are {things}.", "there are some {things}.", "I see the {things}.", "the {things} are {dull}.",
                     "the {things} are {look}.", "it is {mood}.", "it is very {mood}.", "there are {things} and {things}."),
    "middle_rich": ("{sight}", "{sense}", "{sense}", "{comparison}", "{company}", "{link}"),
    "sight": ("you can see {look} {things} beside {look} {things}.", "the {size}, {shade} {things} shine in the distance.",
              "{light} falls on {look} {things} and {look} {things}.", "between the {things} there are {size}, {shade} {things}."),
    "sense": ("the air smells of {smell}.", "a smell of {smell} and {smell} hangs in the {mood} air.", "you can hear {sound}.",
              "somewhere you can hear {sound} and {sound}.", "the {look} {things} feel {touch} and {touch}.",
              "the wind tastes of {smell}, and the {things} are {touch}."),
    "comparison": ("the {things} look like {image}.", "the {look} {things} are like {image}.", "it is as {likeness}.",
                   "from far away, the {look} {things} seem like {image}."),
    "company": ("{person} walks past the {things} and hums a song.", "{person} and {person} talk about the {look} {things}.",
                "from here you can see {landmark}.", "{person} from {town} sits there and counts the {things}."),
    "link": ("however, the {things} are {look}.", "meanwhile, {person} waits beside the {look} {things}.",
             "because it is so {mood}, {person} stays for a while.", "it is {mood}, so nobody is in a hurry.",
             "although the {things} are {look}, the {things} are {look}."),
    "closing_plain": ("it is {dull}.", "I like it.", "it is a {dull} place.", "that is all.", "there are {things} too."),
    "closing_rich": ("it makes you feel {feeling} and {feeling}.", "so nobody wants to leave this {mood} place.",
                     "at last, {person} goes home, {feeling} and {feeling}.", "it is a {mood} place, as {likeness}.",
                     "you leave with the smell of {smell} in your coat."),
}  # fmt: skip
STAGES = [("opening_plain", "opening_rich"), ("middle_plain", "middle_rich"), ("closing_plain", "closing_rich")]
GRAMMAR = Grammar(WORDS | RULES, [symbol for stage in STAGES for symbol in stage])


def ask(rng: np.random.Generator) -> Request:
    place, when = pick(rng, WORDS["place"]), pick(rng, WORDS["when"])
    facts = {"place": place, "when": when, "light": LIGHT[when], "things": PLACES[place][1]}
    facts["where"] = GRAMMAR.phrase(rng, "where", {"place": place})
    return Request("description", GRAMMAR.draw(rng, "ask", facts), f"{facts['where']} {when}", (place,), facts)


def write(rng: np.random.Generator, request: Request) -> str:
    return compose(rng, GRAMMAR, request.facts, Style.drawn(rng), STAGES)
