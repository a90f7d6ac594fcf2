"""How natural the words and signs of a text are in a language: a wrong encoding turns letters into others."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from trainers.languages import LANGUAGES, Language

# Natural logarithms of how likely a character beyond ASCII is, roughly.
NATIVE, CAPITAL, FOREIGN, UNNATURAL = -3.5, -1.5, -9.0, -16.0
SIGN, RARE_SIGN, INSIDE = -4.0, -7.0, -8.0
FREQUENT, CHARACTER, RARE_CHARACTER = -4.5, -8.0, -13.0
# The same of a word, compared with another language.
FREQUENT_WORD, OTHER_WORD = 4.0, -0.4

SIGNS = frozenset("“”‘’„«»–—…€£°\xa0¿¡،؛؟、。「」，・！？：；（）《》．～ー")
RARE_SIGNS = frozenset("§©®™·•½¼¾±²³µ×÷†‡‹›‚ªº´№¢¥【】『』　")
JOINING = frozenset("’·\xa0´")
"""Signs that stand between letters."""
MONEY = frozenset("£€¥¢")
LETTERS = re.compile(r"[^\W\d_]+")
BEYOND = re.compile(r"[^\x00-\x7f]+")
EAST = ("Japanese", "Chinese", "Korean")
# Standard, and the first bytes of its frequent characters.
COMMON = {
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "cp950": ("big5", 0xA4, 0xC6),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}


@dataclass(frozen=True)
class Parts:
    """A text in words and signs, with how often each occurs."""

    text: str
    words: Counter[str]
    signs: Counter[tuple[str, bool, bool]]
    """Characters beyond ASCII that are no letters, with whether one stands before and after them."""


def parts_of(text: str) -> Parts:
    signs: Counter[tuple[str, bool, bool]] = Counter()
    for match in BEYOND.finditer(text):
        for place, character in enumerate(match.group(), start=match.start()):
            if not character.isalpha():
                before, after = text[max(place - 1, 0) : place], text[place + 1 : place + 2]
                signs[character, is_letter(before), is_letter(after)] += 1
    return Parts(text, Counter(LETTERS.findall(text)), signs)


@dataclass(frozen=True)
class Scored:
    """Some equal words or signs."""

    likelihood: float
    beyond: int = 0
    """How many characters of them are beyond ASCII."""
    unnatural: int = 0
    """How many of these the language does not explain."""
    foreign: int = 0
    """How many of them stand in words of another language."""
    words: int = 0
    """How many are words, or characters that stand for one."""
    frequent: int = 0
    """How many of these are frequent."""


def word_scores(parts: Parts, language: Language) -> Iterator[Scored]:
    for word, count in parts.words.items():
        beyond = [c for c in word if not c.isascii()]
        if language.name in EAST and beyond:
            for character in beyond:
                score, frequent = character_score(character, language)
                yield Scored(count * score, count, count * (score == UNNATURAL), 0, count, count * frequent)
            continue
        frequent = word.lower() in language.words
        score = FREQUENT_WORD if frequent else OTHER_WORD
        each = word_score(word, language) if beyond else 0.0
        if not language.words:
            frequent = bool(beyond) and each == NATIVE
        yield Scored(
            count * (score + each * len(beyond)),
            count * len(beyond),
            count * len(beyond) * (each == UNNATURAL),
            count * len(beyond) * (each == FOREIGN),
            count,
            count * frequent,
        )


def word_score(word: str, language: Language) -> float:
    """Of each letter of a word that is beyond ASCII."""
    if not natural(word):
        return UNNATURAL
    lower = {c for c in word.replace("İ", "i").lower() if not c.isascii()}
    if lower <= language.letters:
        return NATIVE + (CAPITAL if word[-1].isupper() else 0)
    if any(lower <= other for other in alphabets(language.encodings)):
        return FOREIGN
    return UNNATURAL


@lru_cache(maxsize=1 << 16)
def natural(word: str) -> bool:
    """Whether a word is of one script, and in capitals from its second letter on only as a whole."""
    scripts = {script(c) for c in word}
    return len(scripts) == 1 and (word[1:] == word[1:].lower() or word == word.upper())


@cache
def script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


@cache
def alphabets(encodings: tuple[str, ...]) -> frozenset[frozenset[str]]:
    """Those of the languages that are written in any of the encodings."""
    return frozenset(one.letters for one in LANGUAGES if set(encodings) & set(one.encodings))


def character_score(character: str, language: Language) -> tuple[float, bool]:
    """Of a character of Chinese, Japanese or Korean, and whether it is a frequent one."""
    if character in language.letters:
        return FREQUENT, True
    kind = script(character)
    if language.name == "Japanese" and kind.startswith(("HIRAGANA", "KATAKANA")):
        return FREQUENT - 1, False
    if kind != ("HANGUL" if language.name == "Korean" else "CJK"):
        return UNNATURAL, False
    return (CHARACTER if is_common(character, language) else RARE_CHARACTER), False


def is_common(character: str, language: Language) -> bool:
    """Whether it stands among the frequent characters of a standard, which lists these first."""
    encoding, first, last = COMMON[language.encodings[0]]
    try:
        return first <= character.encode(encoding)[0] <= last
    except UnicodeEncodeError:
        return False


def sign_scores(parts: Parts, language: Language) -> Iterator[Scored]:
    """Of what is beyond ASCII and no letter; a sign between letters is most often a misread letter."""
    for (character, behind, ahead), count in parts.signs.items():
        score = SIGN if character in SIGNS else RARE_SIGN if character in RARE_SIGNS else UNNATURAL
        if character in language.letters:  # such as the marks of vowels, which stand behind a letter
            score = NATIVE if behind else UNNATURAL
        elif language.name not in EAST and (behind or ahead if character in MONEY else behind and ahead):
            score += 0 if character in JOINING or score == UNNATURAL else INSIDE
        yield Scored(count * score, count, count * (score == UNNATURAL))


@lru_cache(maxsize=1 << 16)
def is_letter(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LM"
