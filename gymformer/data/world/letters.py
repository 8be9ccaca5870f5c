"""Letters that ask for something, and their answers; polite, curt, and in between."""

import numpy as np

from gymformer.data.world.grammar import Grammar
from gymformer.data.world.requests import Request, pick
from gymformer.data.world.words import WORDS

__all__ = ["GRAMMAR", "ask_answer", "ask_letter", "write_answer", "write_letter"]

RULES = {
    "ask_letter": ("Write a letter from {person} to {other} asking for {wish}.", "{person} wants {wish} from {other}. Write the letter.",
                   "Help {person} to ask {other} for {wish}."),
    "ask_answer": ("Dear {other}, could I please have {wish}? Yours, {person}. Write an answer.",
                   "{person} has asked {other} for {wish}. Write the answer.", "How does {other} answer when {person} asks for {wish}?"),
    "other": ("Mrs {surname}", "Mr {surname}"),
    "wish": ("the long ladder", "a quiet room", "help with the garden", "more time", "a key to the library", "two tickets",
             "a lift to the station", "the recipe for apple cake", "a warm coat", "some fresh eggs", "a new lamp", "an old map",
             "lessons in music", "a seat by the window", "the blue bicycle", "a longer holiday", "some firewood", "a fair price",
             "a letter of advice", "a place for a tent", "less noise", "the name of a doctor", "seeds for the field", "a small boat"),
    "reason": ("my sister is ill", "my house is cold", "the fair begins on {day}", "I have waited for weeks", "nobody else can help me",
               "the old one is broken", "my friend {friend} told me about it", "I promised it to my mother", "winter is near"),
    "letter_polite": ("dear {other}, could I please have {wish}?", "dear {other}, I am writing to ask you kindly for {wish}.",
                      "dear {other}, would you be so kind as to give me {wish}?"),
    "letter_curt": ("dear {other}, I want {wish}.", "{other}, give me {wish}.", "dear {other}, I need {wish} now."),
    "why": ("I ask because {reason}.", "you see, {reason}, and {reason}.", "I need it because {reason}."),
    "thanks": ("I would be very grateful.", "thank you very much for your help.", "I would gladly help you in return.",
               "please let me know before {day}."),
    "push": ("do it today.", "I will not wait.", "I do not want to ask again."),
    "yes_polite": ("dear {person}, of course you can have {wish}.", "dear {person}, it is a pleasure to give you {wish}.",
                   "dear {person}, thank you for asking, and yes, you can have {wish}."),
    "yes_curt": ("yes.", "take {wish}.", "{person}, you can have {wish}."),
    "yes_why": ("come to me on {day}.", "my friend {friend} will bring it on {day}.", "you can come to {town} on {day}."),
    "no_polite": ("dear {person}, I am very sorry, but I cannot give you {wish}.",
                  "dear {person}, thank you for asking, but I do not have {wish}."),
    "no_curt": ("no.", "{person}, you cannot have {wish}.", "dear {person}, I have no time for this."),
    "no_why": ("the truth is that {reason}.", "perhaps {friend} in {town} can help you.", "you see, {reason}, and {reason}."),
    "answer_thanks": ("I wish you all the best.", "please give my regards to {friend}.", "I hope that we meet on {day}."),
    "answer_push": ("do not ask again.", "that is all.", "I am busy."),
    "close_letter": ("yours, {person}.", "yours sincerely, {person}.", "kind regards, {person}."),
    "close_answer": ("yours, {other}.", "yours sincerely, {other}.", "kind regards, {other}."),
}  # fmt: skip
SENTENCES = [symbol for symbol in RULES if symbol not in ("ask_letter", "ask_answer", "other", "wish", "reason")]
GRAMMAR = Grammar(WORDS | RULES, SENTENCES)


def ask(rng: np.random.Generator, kind: str) -> Request:
    person = pick(rng, WORDS["person"])
    facts = {"person": person, "friend": pick(rng, WORDS["person"], other_than=person), "wish": pick(rng, RULES["wish"])}
    facts["other"] = GRAMMAR.phrase(rng, "other")
    subject = f"{person} asks {facts['other']} for {facts['wish']}"
    return Request(kind, GRAMMAR.draw(rng, f"ask_{kind}", facts), subject, (facts["wish"].split()[-1],), facts)


def ask_letter(rng: np.random.Generator) -> Request:
    return ask(rng, "letter")


def ask_answer(rng: np.random.Generator) -> Request:
    return ask(rng, "answer")


def write(rng: np.random.Generator, request: Request, symbols: tuple[str, str, str, str, str, str]) -> str:
    """The matter, then perhaps a reason, a word of thanks or the opposite, and the name."""
    polite, curt, why, thanks, push, close = symbols
    friendly = rng.random() < 0.65
    sentences = [polite if friendly else curt]
    if rng.random() < 0.6:
        sentences.append(why)
    if rng.random() < 0.5:
        sentences.append(thanks if friendly else push)
    if rng.random() < (0.9 if friendly else 0.5):
        sentences.append(close)
    return " ".join(GRAMMAR.draw(rng, symbol, request.facts) for symbol in sentences)


def write_letter(rng: np.random.Generator, request: Request) -> str:
    return write(rng, request, ("letter_polite", "letter_curt", "why", "thanks", "push", "close_letter"))


def write_answer(rng: np.random.Generator, request: Request) -> str:
    verdict = "yes" if rng.random() < 0.5 else "no"
    own = (f"{verdict}_polite", f"{verdict}_curt", f"{verdict}_why")
    return write(rng, request, (*own, "answer_thanks", "answer_push", "close_answer"))
