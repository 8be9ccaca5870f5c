"""Stories of a person and a thing."""

import numpy as np

from gymformer.data.world.grammar import Grammar
from gymformer.data.world.requests import Request, Style, compose, pick
from gymformer.data.world.words import WORDS, about

__all__ = ["GRAMMAR", "ask", "write"]

RULES = {
    "ask": ("Tell a story about {person} and {thing}.", "Write a story about {person} and {thing}.",
            "Tell me what happened to {person} and {thing}."),
    "noun": ("kite", "map", "key", "letter", "hat", "lamp", "ring", "clock", "drum", "ball", "book", "coin", "umbrella", "mirror",
             "box", "dog", "cat", "horse", "owl", "fox", "duck", "goat", "rabbit", "violin"),
    "sort": ("lost", "old", "broken", "secret", "red", "blue", "green", "golden", "silver", "forgotten", "magic", "lonely"),
    "shade": ("bright", "dusty", "shiny", "colourful", "strange", "beautiful", "ancient"),  # colours have been named
    "thing": ("a {sort} {noun}",),
    "opening_plain": ("{person} had {thing}.", "{person} found {thing}.", "{person} saw {thing} {spot}.",
                      "there was {thing} {spot}.", "this is about {person} and {thing}."),
    "opening_rich": ("one {mood} morning, {person} found {thing} {spot}.",
                     "one {mood} and {mood} evening, {person} met {friend} {spot} and saw {thing}.",
                     "long ago in {town}, {person} dreamed of {thing} every night.",
                     "{person} was {feeling}, because there was {thing} {spot}."),
    "middle_plain": ("{she} liked the {noun}.", "{she} was {feeling}.", "the {noun} was {dull}.", "{she} looked at the {noun}.",
                     "the {noun} was {look}.", "{person} went home.", "it was a {dull} {noun}."),
    "middle_rich": ("the {noun} was {size} and {shade}, and it shone like a star.", "the {noun} was as {likeness}.",
                    "the air smelled of {smell}, and {she} could hear {sound}.", "{she} touched the {look} {noun}, and it felt {touch}.",
                    "{her} friend {friend} asked about the {noun}, but {she} only smiled.",
                    "suddenly, {she} heard {sound} and felt {feeling}.",
                    "then {she} took the {noun} to {friend} in {town}.", "because {she} was {feeling}, {she} hid the {noun} {spot}.",
                    "meanwhile, {friend} waited {spot}, {feeling} and {feeling}.",
                    "however, a {mood} wind carried the smell of {smell} from {landmark}."),
    "closing_plain": ("that was all.", "it was {dull}.", "{she} was happy.", "then {she} went home.", "{she} kept the {noun}."),
    "closing_rich": ("in the end, {she} gave the {noun} to {friend}, and both were {feeling}.",
                     "from that day on, {person} and the {look} {noun} were like old friends.",
                     "so {she} kept it {spot} and told nobody but {friend}.", "at last {she} went home, {feeling} and {feeling}."),
}  # fmt: skip
STAGES = [("opening_plain", "opening_rich"), ("middle_plain", "middle_rich"), ("closing_plain", "closing_rich")]
GRAMMAR = Grammar(WORDS | RULES, [symbol for stage in STAGES for symbol in stage])


def ask(rng: np.random.Generator) -> Request:
    person, noun = pick(rng, WORDS["person"]), pick(rng, RULES["noun"])
    facts = about(person) | {"noun": noun, "friend": pick(rng, WORDS["person"], other_than=person)}
    facts["thing"] = GRAMMAR.phrase(rng, "thing", facts)
    return Request("story", GRAMMAR.draw(rng, "ask", facts), f"{person} and {facts['thing']}", (person, noun), facts)


def write(rng: np.random.Generator, request: Request) -> str:
    return compose(rng, GRAMMAR, request.facts, Style.drawn(rng), STAGES)
