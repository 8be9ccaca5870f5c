"""What a turn shows of politeness, coherence, feeling and cultural setting, by rules over whole words and the dialogue's state."""

from dataclasses import dataclass

import numpy as np

from gymformer.env.dialogue_partners import Heard, Partner

__all__ = ["ELEMENTS", "FEELINGS", "Person", "draw_person", "shown"]

ELEMENTS = ("politeness", "coherence", "feeling", "setting")
GLAD, SORRY = ("happy", "proud", "calm", "hopeful"), ("worried", "angry", "sad", "tired")
FEELINGS = GLAD + SORRY
CASUAL = frozenset({"hi", "hey", "yeah", "dude", "bro", "yo"})

NAMES = (("Yuki", "Tanaka", "woman"), ("Ken", "Sato", "man"), ("Anna", "Weber", "woman"), ("Max", "Vogel", "man"),
         ("Mary", "Clark", "woman"), ("Tom", "Reed", "man"), ("Lea", "Moreau", "woman"), ("Ravi", "Nair", "man"))  # fmt: skip
# how people are addressed where; {title} is for a woman or a man
PLACES = {
    "friends": ("{first}", "", ""),
    "a German office": ("{title} {last}", "Frau", "Herr"),
    "a Japanese office": ("{last}-san", "", ""),
    "an English office": ("{title} {last}", "Ms", "Mr"),
}
TELLS_THE_ADDRESS = 0.5  # below this difficulty


@dataclass(frozen=True, slots=True)
class Person:
    """The partner as somebody who is to be addressed."""

    first: str
    last: str
    sex: str
    place: str

    def address(self, place: str | None = None) -> str:
        form, woman, man = PLACES[place or self.place]
        return form.format(first=self.first, last=self.last, title=woman if self.sex == "woman" else man)

    def setting(self, difficulty: float) -> str:
        """What the player is told; with growing difficulty they have to know what is said where."""
        if difficulty < TELLS_THE_ADDRESS:
            return f"Setting: {self.place}; say {self.address()}."
        return f"Setting: {self.place}; partner: {self.first} {self.last}, a {self.sex}."


def draw_person(rng: np.random.Generator) -> Person:
    return Person(*NAMES[int(rng.integers(len(NAMES)))], place=list(PLACES)[int(rng.integers(len(PLACES)))])


def shown(turn: Heard, partner: Partner, person: Person, feeling: str | None) -> dict[str, bool]:
    """Each element, and whether a turn shows it; read before the partner hears the turn. Without a feeling to be acknowledged,
    "feeling" is missing.

    politeness: one or two polite words, no insult.
    coherence: it names what the partner just talked about, and nothing else that they might have.
    feeling: it names the feeling that the partner just uttered, no other, and speaks of them ("you").
    setting: it addresses the partner as is usual there, in no other way, and away from friends without casual words.
    """
    addresses = {person.address(place) for place in PLACES}
    casual = person.place != "friends" and not CASUAL.isdisjoint(turn.words)
    found = {
        "politeness": turn.is_polite,
        "coherence": partner.keeps_to(turn),
        "setting": turn.named(addresses) == {person.address()} and not casual,
    }
    if feeling is not None:
        found["feeling"] = turn.named(FEELINGS) == {feeling} and bool(turn.named(("you", "your", "you're")))
    return found
