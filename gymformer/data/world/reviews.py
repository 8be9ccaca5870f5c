"""Reviews: for, against, and undecided."""

import numpy as np

from gymformer.data.world.grammar import Grammar
from gymformer.data.world.requests import Request, pick
from gymformer.data.world.words import WORDS

__all__ = ["GRAMMAR", "ask", "write"]

# What is reviewed: how one comes to know it, what tells it from others of its kind, and what can be said of it.
SORTS = {
    "cafe": ("visited", "{near}", ("coffee", "cake", "service", "music")),
    "restaurant": ("visited", "{near}", ("soup", "bread", "service", "price")),
    "hotel": ("visited", "{near}", ("room", "bed", "breakfast", "view")),
    "shop": ("visited", "{near}", ("service", "price", "choice", "music")),
    "film": ("watched", "{topic}", ("story", "music", "ending", "acting")),
    "book": ("read", "{topic}", ("story", "language", "ending", "cover")),
    "play": ("watched", "{topic}", ("story", "acting", "ending", "stage")),
    "game": ("played", "{topic}", ("story", "music", "price", "ending")),
    "phone": ("bought", "{maker}", ("screen", "camera", "battery", "price")),
    "bicycle": ("bought", "{maker}", ("saddle", "colour", "frame", "price")),
    "radio": ("bought", "{maker}", ("sound", "battery", "colour", "price")),
}
RULES = {
    "ask": ("Write a review of {it}.", "Review {it}.", "What do you think of {it}?", "Give me your opinion of {it}."),
    "it": ("the {sort} {tail}", "the {which} {sort} {tail}"),
    "sort": tuple(SORTS),
    "which": ("new", "old", "little", "famous", "popular", "cheap", "expensive"),
    "tail": ("{near}", "{topic}", "{maker}"),
    "near": ("by the {place}", "near the {place}", "behind the {place}"),
    "topic": ("about the sea", "about two sisters", "about a clever fox", "about a lost ship", "about the moon", "about an old king",
              "about a long winter", "about music", "about three friends", "about a secret garden", "about a lonely owl",
              "about the last train", "about {person}"),
    "maker": ("from {town}", "made by {surname}"),
    "tried": ("visited", "watched", "read", "played", "bought"),
    "aspect": tuple(dict.fromkeys(aspect for _, _, aspects in SORTS.values() for aspect in aspects)),
    "praise": ("wonderful", "excellent", "lovely", "delightful", "superb", "charming", "good", "great"),
    "blame": ("terrible", "awful", "disappointing", "boring", "poor", "bad", "dreadful", "dull"),
    "opening": ("last week I {tried} {it}.", "I {tried} {it} with {friend}.", "on {day} I {tried} {it}.", "{friend} and I {tried} {it}."),
    "for": ("the {aspect} was {praise}.", "the {aspect} was {praise} and {praise}.", "I loved the {aspect}.",
            "I loved the {aspect}, and the {aspect} was {praise} too.", "what a {praise} {sort}!", "it was worth every penny.",
            "I was {praise_feeling} from the first minute."),
    "praise_feeling": ("happy", "delighted", "charmed"),
    "against": ("the {aspect} was {blame}.", "the {aspect} was {blame} and {blame}.", "I did not like the {aspect}.",
                "I did not like the {aspect}, and the {aspect} was {blame} too.", "what a {blame} {sort}!",
                "it was a waste of money.", "I was {blame_feeling} from the first minute."),
    "blame_feeling": ("bored", "annoyed", "disappointed"),
    "undecided": ("the {aspect} was {praise}, but the {aspect} was {blame}.", "the {aspect} was {blame}, but I loved the {aspect}.",
                  "although the {aspect} was {praise}, the {aspect} was {blame}.", "the {aspect} was neither good nor bad."),
    "for_closing": ("I recommend it to everyone.", "there is no better {sort} in {town}.", "my friend {friend} loved it too.", "five stars."),
    "against_closing": ("I do not recommend it to anyone.", "there is no worse {sort} in {town}.", "my friend {friend} hated it too.",
                        "one star."),
    "undecided_closing": ("I am not sure what to think.", "perhaps you will like it more than I did.", "three stars.",
                          "my friend {friend} liked it better."),
}  # fmt: skip
OPINIONS = ("for", "against", "undecided")
GRAMMAR = Grammar(WORDS | RULES, ["opening", *OPINIONS, *(f"{opinion}_closing" for opinion in OPINIONS)])


def ask(rng: np.random.Generator) -> Request:
    sort = pick(rng, RULES["sort"])
    tried, tail, aspects = SORTS[sort]
    facts = {"sort": sort, "tried": tried, "aspect": aspects, "tail": (tail,)}
    facts["it"] = GRAMMAR.phrase(rng, "it", facts)
    return Request("review", GRAMMAR.draw(rng, "ask", facts), facts["it"], (sort,), facts)


def write(rng: np.random.Generator, request: Request) -> str:
    """One to five sentences of one opinion; an undecided one sees both sides."""
    opinion = OPINIONS[int(rng.choice(3, p=(0.4, 0.35, 0.25)))]
    sentences = [GRAMMAR.draw(rng, "opening", request.facts)] if rng.random() < 0.6 else []
    aspects = rng.permutation(np.array(request.facts["aspect"])).reshape(2, 2).tolist()  # two for each sentence
    for i in range(int(rng.integers(1, 2 if opinion == "undecided" else 3, endpoint=True))):
        sentences.append(GRAMMAR.draw(rng, opinion, {**request.facts, "aspect": tuple(aspects[i % 2])}))
    if rng.random() < 0.6:
        sentences.append(GRAMMAR.draw(rng, f"{opinion}_closing", request.facts))
    return " ".join(sentences)
