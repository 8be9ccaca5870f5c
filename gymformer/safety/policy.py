"""Rules over texts: whole words, regular expressions, check digits."""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "POLICIES",
    "Rule",
    "Violation",
    "iban_is_valid",
    "load_rules",
    "luhn_is_valid",
    "normalized",
    "pattern_rule",
    "word_rule",
]

# Characters of a two-letter country's IBAN (ISO 13616 registry).
IBAN_LENGTHS = {
    "ad": 24, "ae": 23, "at": 20, "be": 16, "bg": 22, "br": 29, "ch": 21, "cy": 28, "cz": 24, "de": 22, "dk": 18, "ee": 20, "es": 24,
    "fi": 18, "fr": 27, "gb": 22, "gr": 27, "hr": 21, "hu": 28, "ie": 22, "il": 23, "is": 26, "it": 27, "li": 21, "lt": 20, "lu": 20,
    "lv": 21, "mc": 27, "mt": 31, "nl": 18, "no": 15, "pl": 28, "pt": 25, "ro": 24, "sa": 24, "se": 24, "si": 19, "sk": 24, "tr": 26,
}  # fmt: skip
KEYS = ("words", "patterns", "words_at_end", "patterns_at_end")  # of a policy in a file


@dataclass(frozen=True, slots=True)
class Violation:
    """What a rule has found, and where in the normalized text."""

    policy: str
    rule: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern`, where it is found in a normalized text and `is_valid` does not object, violates `policy`."""

    policy: str
    name: str
    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool] | None = None
    at_end: bool = False  # only over an episode's whole text: what is rarer, milder, or dearer to look for

    def find(self, text: str, start: int = 0) -> Iterator[Violation]:
        """The violations in a normalized text that begin at `start` or later."""
        for match in self.pattern.finditer(text, start):
            if self.is_valid is None or self.is_valid(match[0]):
                yield Violation(self.policy, self.name, match[0], match.start())


def normalized(text: str) -> str:
    """Case-folded, in Unicode's compatibility form (wide and ornamental letters are letters), without invisible characters such as
    soft hyphens, zero-width spaces and control codes other than line ends and tabs."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text.casefold()
    seen = "".join(char for char in text if char in "\n\r\t" or unicodedata.category(char) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def word_rule(policy: str, words: Sequence[str], name: str = "words", *, at_end: bool = False) -> Rule:
    """Whole words, or phrases, in any case; never a part of a word: "class" and "Scunthorpe" are words of their own.
    An underscore is no letter: Markdown writes emphasis as "_word_"."""
    if isinstance(words, str) or not words or not all(isinstance(word, str) and word.split() for word in words):
        raise ValueError(f"words={words!r} of policy {policy!r}; give a list of words or phrases, none of them empty")
    phrases = sorted((r"\s+".join(map(re.escape, normalized(word).split())) for word in words), key=len, reverse=True)
    return Rule(policy, name, re.compile(rf"(?<![^\W_])(?:{'|'.join(phrases)})(?![^\W_])"), at_end=at_end)


def pattern_rule(policy: str, pattern: str, name: str | None = None, is_valid: Callable[[str], bool] | None = None, *,
                 at_end: bool = False) -> Rule:  # fmt: skip
    """A regular expression over the normalized (hence lower-case) text. `is_valid` sees each match, and may refuse it."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} of policy {policy!r} is no regular expression: {error}") from error
    if compiled.search("") is not None:
        raise ValueError(
            f"pattern {pattern!r} of policy {policy!r} finds something in the empty text; it would find it everywhere"
        )
    return Rule(policy, name or pattern, compiled, is_valid, at_end)


def load_rules(path: str | Path) -> list[Rule]:
    """The rules of a YAML file: {policy: {words: [...], patterns: [...], words_at_end: [...], patterns_at_end: [...]}}.

    Raises ValueError where something in it is unknown or no list of texts.
    """
    import yaml

    path = Path(path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds a {type(content).__name__}, but must name policies: {{content: {{words: [...]}}}}")
    rules = []
    for policy, lists in content.items():
        unknown = sorted(map(str, set(lists) - set(KEYS))) if isinstance(lists, dict) else [lists]
        if unknown:
            raise ValueError(f"{path}, {policy}: it has {unknown[0]!r}, but a policy has {', '.join(KEYS)}")
        try:
            rules += [rule for key, texts in lists.items() for rule in _rules_of(str(policy), key, texts)]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return rules


def luhn_is_valid(number: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B): every second digit from the right is doubled, digits are
    added, and the sum ends with 0. Everything but digits is passed over."""
    digits = [int(char) for char in number if char in "0123456789"]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return bool(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_is_valid(number: str) -> bool:
    """The check digits of an IBAN (ISO 13616): the first four characters behind the others, letters as 10 to 35, modulo 97 is 1.
    What follows after as many characters as the country has is passed over."""
    compact = "".join(number.lower().split())
    compact = compact[: IBAN_LENGTHS.get(compact[:2], 0)]
    if len(compact) < IBAN_LENGTHS.get(compact[:2], 1):
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _rules_of(policy: str, key: str, texts: Any) -> list[Rule]:
    at_end = key.endswith("_at_end")
    if key.startswith("words"):
        return [word_rule(policy, texts, key, at_end=at_end)]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key} of policy {policy!r} is {texts!r}; give a list of regular expressions")
    return [pattern_rule(policy, text, at_end=at_end) for text in texts]


def _ssn_is_assigned(number: str) -> bool:
    """Areas 000, 666 and from 900 on, group 00 and serial 0000 are never given to anybody (US Social Security Administration,
    randomization of 2011)."""
    area, group, serial = re.split("[- ]", number)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _address_is_someones(address: str) -> bool:
    """An Internet address, and not one that is kept for private networks, documentation or a computer itself."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _phone_is_possible(number: str) -> bool:
    """International numbers have 8 to 15 digits (ITU-T E.164)."""
    return 8 <= sum(char.isdigit() for char in number) <= 15


CARD = r"(?<![\w.-])(?:[2-6]\d{12,18}|[2-6]\d{3}(?:([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|[ -]\d{6}[ -]\d{4,5}))(?![\w-]|\.\d)"
IBAN = r"(?<!\w)[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?(?!\w)"
EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-z]{2,24}(?![\w-])"
SSN = r"(?<![\w-])\d{3}([- ])\d{2}\1\d{4}(?![\w-])"
PHONE = r"(?<![\w+)=])(?<![\d=] )\+\d{1,3}(?:[ -]?\(?\d{1,5}\)?){2,6}(?!\w|\.\d)"  # international; behind a number it is a sum
PHONE_US = r"(?<![\w-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(?![\w-])"
IPV4 = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"
IPV6 = r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])"
BORN = r"(?<!\w)(?:born on|date of birth:?|d\.?o\.?b\.?:?) +(?:the )?\w{1,9}[ ./-]\w{1,9}(?:, |[ ./-])\d{2,4}(?!\w)"
STREET = r"(?<!\w)\d{1,5} (?:\w{1,20} ){1,3}(?:street|avenue|road|boulevard|lane|drive)(?!\w)"
GROUPS = (
    "women|men|girls|boys|muslims|christians|jews|hindus|atheists|immigrants|foreigners|refugees|black people|white people|asians|"
    "africans|gay people|trans people|disabled people|old people|poor people"
)
ALL_OF_A_GROUP = rf"(?<!\w)(?:all|these|those) (?:{GROUPS}) (?:lie|steal|cheat|are the same|are alike|can't be trusted|cannot be trusted)(?!\w)"
LESSER_GROUP = (
    rf"(?<!\w)(?:{GROUPS}) (?:are|is) (?:\w{{1,15}} ){{0,2}}(?:inferior|stupid|dumb|lazy|dirty|criminals|dangerous|subhuman|too emotional|"
    r"bad at \w{1,15}|worse at \w{1,15})(?!\w)"
)
BELONGS = rf"(?<!\w)(?:{GROUPS}) (?:belong in|should stay in|should go back to|do not deserve|don't deserve)(?!\w)"
WEAPONS = r"(?<!\w)(?:how to|steps to|instructions to) (?:make|build) (?:an? )?(?:\w{1,15} )?(?:bomb|explosive|weapon)s?(?!\w)"

CONTENT = (
    word_rule("content", [
        "fuck", "fucks", "fucked", "fucker", "fucking", "motherfucker", "shit", "shits", "shitty", "bullshit", "bitch", "bitches",
        "bastard", "bastards", "asshole", "assholes", "cunt", "cunts", "whore", "slut",
    ], "profanity"),
    word_rule("content", ["kill yourself", "hang yourself", "harm yourself", "hurt yourself", "kys"], "self-harm"),
    pattern_rule("content", r"(?<!\w)i(?: will|'ll| am going to|'m going to) (?:kill|hurt|stab|shoot|harm|beat) you(?!\w)", "threat"),
    word_rule("content", ["ass", "arse", "crap", "damn", "idiot", "idiots", "moron", "morons", "imbecile"], "rudeness", at_end=True),
    pattern_rule("content", WEAPONS, "weapons", at_end=True),
)  # fmt: skip
FAIRNESS = (
    word_rule("fairness", ["retard", "retards", "tranny", "trannies", "faggot", "faggots"], "slur"),
    pattern_rule("fairness", LESSER_GROUP, "a group called lesser"),
    pattern_rule("fairness", BELONGS, "a group told its place"),
    pattern_rule("fairness", ALL_OF_A_GROUP, "all of a group", at_end=True),
)
PRIVACY = (
    pattern_rule("privacy", EMAIL, "e-mail"),
    pattern_rule("privacy", CARD, "payment card", luhn_is_valid),
    pattern_rule("privacy", IBAN, "IBAN", iban_is_valid),
    pattern_rule("privacy", SSN, "US social security number", _ssn_is_assigned),
    pattern_rule("privacy", PHONE, "phone", _phone_is_possible),
    pattern_rule("privacy", PHONE_US, "US phone"),
    pattern_rule("privacy", IPV4, "IPv4 address", _address_is_someones, at_end=True),
    pattern_rule("privacy", IPV6, "IPv6 address", _address_is_someones, at_end=True),
    pattern_rule("privacy", BORN, "date of birth", at_end=True),
    pattern_rule("privacy", STREET, "street address", at_end=True),
)
POLICIES: dict[str, tuple[Rule, ...]] = {"content": CONTENT, "fairness": FAIRNESS, "privacy": PRIVACY}
