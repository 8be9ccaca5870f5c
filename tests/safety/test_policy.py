"""Rules: whole words, patterns and check digits; what they must not find, and what they cannot."""

import time

import pytest

from gymformer.safety import POLICIES, SafetyMonitor, load_rules, pattern_rule, word_rule
from gymformer.safety.policy import iban_is_valid, luhn_is_valid, normalized


def found(text: str) -> list[tuple[str, str]]:
    return [(v.rule, v.text) for rules in POLICIES.values() for rule in rules for v in rule.find(normalized(text))]


@pytest.mark.parametrize("text", [
    "Language in harmony at Scunthorpe: assess the class, pass the cassette, a shitake dish in Sussex.",
    "All men are mortal. Socrates is a man. The retardant slows the fire.",
    "order 1234-5678-9012-3456, order 4111111111111112, item 4111 1111 1111 1112",  # the last digit is no check digit
    "BE71 0961 2345 6768 here",
    "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000, 123456789",
    "192.168.0.1, 127.0.0.1, 300.1.1.1, 1.2.3.4.5, at 12:30:45, ::1",
    "5 +12345678 = 12345683, 3.14159265358979323, 1 2 3 4 5 6 7 8 9 10 11 12 13 14, 2024-11-21",
    "a @ b, me@home, @someone",
])  # fmt: skip
def test_what_is_harmless_is_not_found(text):
    assert found(text) == []


@pytest.mark.parametrize(("text", "rule", "part"), [
    ("FUcK!", "profanity", "fuck"),
    ("ｓｈｉｔ", "profanity", "shit"),  # wide letters
    ("sh\u00adi\u200bt\x07", "profanity", "shit"),  # a soft hyphen, a space without width, a bell
    ("you _shit_!", "profanity", "shit"),  # emphasis in Markdown
    ("I'm going to kill you", "threat", "i'm going to kill you"),
    ("an ass", "rudeness", "ass"),
    ("Women are naturally too emotional.", "a group called lesser", "women are naturally too emotional"),
    ("mail a.b+c@mail.example.org.", "e-mail", "a.b+c@mail.example.org"),
    ("card 4111 1111 1111 1111.", "payment card", "4111 1111 1111 1111"),
    ("3782 822463 10005", "payment card", "3782 822463 10005"),
    ("DE89 3704 0044 0532 0130 00 is mine", "IBAN", "de89 3704 0044 0532 0130 00"),
    ("(123-45-6789)", "US social security number", "123-45-6789"),
    ("call +49 170 1234567", "phone", "+49 170 1234567"),
    ("(212) 555-0100", "US phone", "(212) 555-0100"),
    ("at 8.8.8.8.", "IPv4 address", "8.8.8.8"),
    ("2001:4860:4860::8888", "IPv6 address", "2001:4860:4860::8888"),
    ("born on 3 May 1990", "date of birth", "born on 3 may 1990"),
    ("12 Baker Street", "street address", "12 baker street"),
])  # fmt: skip
def test_what_is_listed_is_found(text, rule, part):
    assert (rule, part) in found(text)


def test_evasions_that_rules_over_words_do_not_catch():
    """As the README says; a rule that learned one of them should say so there."""
    assert found("f u c k, fúck, fu\u0441k, 5hit, phuck, ffuck, Scheiße, four one one one, a at b dot org") == []


def test_check_digits():
    """4111…1: of the doubled digits 4 and 1s, 8 + 7·2 = 22, of the others 8·1: 30. GB82 is the example of ISO 13616."""
    assert luhn_is_valid("4111 1111 1111 1111") and not luhn_is_valid("4111 1111 1111 1112") and not luhn_is_valid("")
    assert iban_is_valid("gb82 west 1234 5698 7654 32") and not iban_is_valid("gb82 west 1234 5698 7654 23")
    assert not iban_is_valid("gb82 west") and not iban_is_valid("xx82 1234 5678")


def test_no_text_keeps_a_rule_busy():
    """Each takes some 0.05 s; a rule that tried the rest of the text from every place would take many seconds."""
    started = time.process_time()
    for piece in ("a.", "4 ", "aa11", ":", "women are ", "born on ", "1 a ", "+1 ", "a@a."):
        found(piece * 6_000)
    assert time.process_time() - started < 5


def test_rules_of_ones_own(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("house:\n  words: [Project X, Straße]\n  patterns_at_end: ['ticket \\d+']\n")
    monitor = SafetyMonitor(policies="content", rules=load_rules(path))
    assert monitor.policies == ("content", "house")
    assert [v.text for v in monitor.check("project\n x in the STRASSE; ticket 7; Project Xena")] == ["project\n x", "strasse"]
    assert [v.text for v in monitor.check_at_end("Ticket 7")] == ["ticket 7"]
    for content, message in [("- a", "holds a list"), ("house: {word: [a]}", "has 'word', but a policy has words"),
                             ("house: {words: [[a]]}", "give a list of words"), ("house: {patterns: ['(']}", "no regular expression"),
                             ("house: {patterns: ['a*']}", "finds something in the empty text")]:  # fmt: skip
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            load_rules(path)
    assert word_rule("house", ["a"]).name == "words" and pattern_rule("house", "a").name == "a"
