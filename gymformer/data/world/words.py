"""The words of the small world that the texts are about."""

import numpy as np

__all__ = ["LIGHT", "PLACES", "WORDS", "about", "temper"]

WOMEN = ("Mia", "Ada", "Rosa", "Nora", "Lena", "Clara", "Ruth", "Iris", "Emma", "Julia", "Alice", "Vera", "Tess", "Zoe")
MEN = ("Tom", "Leo", "Max", "Jonas", "Felix", "Otto", "Hugo", "Sam", "Oscar", "Ben", "Paul", "Emil", "Noah", "Finn")

# A place, how one is there, and what one sees there.
PLACES = {
    "harbour": ("at", ("boats", "nets", "gulls", "ropes")),
    "market": ("at", ("stalls", "baskets", "apples", "lamps")),
    "forest": ("in", ("trees", "leaves", "birds", "ferns")),
    "garden": ("in", ("roses", "bees", "paths", "benches")),
    "beach": ("on", ("shells", "waves", "stones", "gulls")),
    "library": ("in", ("books", "shelves", "lamps", "chairs")),
    "station": ("at", ("trains", "clocks", "bags", "benches")),
    "bridge": ("on", ("stones", "lamps", "boats", "ropes")),
    "castle": ("in", ("walls", "towers", "flags", "stairs")),
    "farm": ("on", ("cows", "barns", "fields", "hens")),
    "lake": ("at", ("ducks", "reeds", "boats", "waves")),
    "mill": ("at", ("wheels", "sacks", "stones", "doors")),
    "kitchen": ("in", ("pots", "plates", "spoons", "chairs")),
    "school": ("at", ("desks", "books", "bags", "windows")),
    "park": ("in", ("trees", "benches", "ducks", "paths")),
    "church": ("in", ("candles", "bells", "windows", "walls")),
    "square": ("in", ("stalls", "flags", "lamps", "windows")),
    "valley": ("in", ("fields", "sheep", "streams", "flowers")),
    "island": ("on", ("palms", "shells", "cliffs", "birds")),
    "bakery": ("in", ("loaves", "cakes", "baskets", "trays")),
    "museum": ("in", ("masks", "coins", "statues", "stairs")),
    "theatre": ("in", ("curtains", "seats", "masks", "lamps")),
    "lighthouse": ("at", ("stairs", "windows", "waves", "cliffs")),
    "orchard": ("in", ("apples", "bees", "trees", "ladders")),
    "village": ("in", ("roofs", "fields", "hens", "doors")),
    "meadow": ("in", ("flowers", "bees", "sheep", "streams")),
    "workshop": ("in", ("tools", "wheels", "shelves", "ladders")),
    "attic": ("in", ("boxes", "masks", "candles", "spiders")),
    "street": ("in", ("shops", "windows", "doors", "lamps")),
    "tower": ("in", ("bells", "stairs", "walls", "birds")),
}

# When, and what then falls on things.
LIGHT = {
    "in the morning": "sunlight", "at noon": "sunlight", "in the evening": "golden light", "at night": "moonlight",
    "at dawn": "pale light", "at dusk": "soft light", "in spring": "sunlight", "in summer": "bright light",
    "in autumn": "golden light", "in winter": "snow", "in the rain": "rain", "in the snow": "snow", "in the fog": "grey light",
    "after a storm": "soft light", "on a Sunday": "sunlight", "on a hot day": "bright light",
}  # fmt: skip

# Words that go together: what a place or a day is like, and how one feels there.
MOODS = (
    ("quiet", "peaceful", "calm", "silent", "sleepy", "dreamy", "magical"),
    ("busy", "lively", "cheerful", "friendly", "pleasant", "bustling", "festive"),
    ("gloomy", "lonely", "misty", "mysterious", "bleak", "silent", "windy"),
)
FEELINGS = (
    ("happy", "proud", "curious", "free", "safe", "brave", "thankful"),
    ("sad", "tired", "worried", "lonely", "restless"),
)

WORDS: dict[str, tuple[str, ...]] = {
    "person": WOMEN + MEN,
    "friend": WOMEN + MEN,
    "she": ("she", "he"),
    "her": ("her", "his"),
    "surname": ("Hall", "Stone", "Brook", "Carter", "Moss", "Webb", "Lane", "Marsh", "Frost", "Reed", "Shaw", "Doyle"),
    "town": ("Arden", "Belton", "Corfield", "Dunmore", "Elmsby", "Fairley", "Glenby", "Harwick", "Kelham", "Linden", "Milbrook",
             "Norton", "Oakham", "Selby"),
    "landmark": ("{town} Hill", "{town} Abbey", "{town} Tower"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "number": ("four", "seven", "nine", "ten", "twelve", "twenty", "thirty", "forty", "fifty", "sixty", "eighty", "ninety"),
    "place": tuple(PLACES),
    "spot": tuple(f"{at} the {place}" for place, (at, _) in PLACES.items()),
    "things": tuple(dict.fromkeys(thing for _, things in PLACES.values() for thing in things)),
    "when": tuple(LIGHT),
    "light": tuple(dict.fromkeys(LIGHT.values())),
    # Adjectives: what a place or a day is like, what a thing looks like, what it feels like, and those that say little.
    "mood": tuple(mood for moods in MOODS for mood in moods),
    "look": ("{size}", "{shade}"),
    "size": ("small", "large", "tiny", "huge", "heavy", "delicate", "elegant", "crooked", "simple", "graceful"),
    "shade": ("bright", "dark", "pale", "grey", "white", "brown", "golden", "silver", "dusty", "shiny", "colourful", "strange",
              "beautiful", "ancient"),
    "touch": ("smooth", "rough", "wet", "dry", "icy", "soft", "damp", "silky"),
    "dull": ("nice", "good", "fine", "okay"),
    "feeling": tuple(feeling for feelings in FEELINGS for feeling in feelings),
    # Senses
    "smell": ("bread", "salt", "smoke", "roses", "honey", "coffee", "rain", "apples", "pine", "old paper"),
    "sound": ("the wind", "distant bells", "soft music", "quiet footsteps", "birds", "laughter", "running water", "a far drum"),
    # Comparisons
    "image": ("sleeping cats", "old friends", "little stars", "toy soldiers", "dancers", "the pages of a book", "silver fish",
              "clouds"),
    "likeness": ("quiet as a mouse", "calm as a lake", "bright as a lamp", "still as a stone", "pretty as a picture",
                 "old as the hills", "strange as a dream", "fresh as the morning"),
}  # fmt: skip


def temper(rng: np.random.Generator) -> dict[str, tuple[str, ...]]:
    """Moods and feelings that one text can have without contradicting itself."""
    return {"mood": MOODS[int(rng.integers(len(MOODS)))], "feeling": FEELINGS[int(rng.integers(len(FEELINGS)))]}


def about(person: str) -> dict[str, str]:
    """The facts of a text about `person`: the name and its pronouns."""
    return {"person": person, "she": "she" if person in WOMEN else "he", "her": "her" if person in WOMEN else "his"}
