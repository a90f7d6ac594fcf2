"""In which encoding a text is, if not UTF-8: told when one reading of it is a language and no other is."""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass

from trainers.languages import LANGUAGES, Language
from trainers.naturalness import Parts, parts_of, sign_scores, word_scores

FEWEST_WORDS = 3
"""Frequent words, or characters, of the language that the text must hold ..."""
FEWEST_SHARE = 0.04
"""... and their share of all words; of running text it is 0.15 to 0.3."""
MOST_UNNATURAL = 0.01
"""Share of letters and signs beyond ASCII that the language does not explain."""
MOST_POSSIBLE = 0.1
MOST_CONTROLS = 0.001
"""Share of control characters, such as the end of file of DOS; a picture holds more."""
MARGIN = 12.0
"""Natural logarithm of how much likelier the reading must be than the best one that gives another text."""

ELSEWHERE = -8.0
"""Of a language in another encoding than that of Windows, which comes first."""
CONTROLS = frozenset("\t\n\r\f\v")


@dataclass(frozen=True)
class Reading:
    """A text as one encoding and language read it."""

    encoding: str
    language: str
    text: str
    likelihood: float
    """Natural logarithm."""
    unnatural: float
    """Share of letters and signs beyond ASCII that the language does not explain."""
    astray: bool
    """Whether it is English but for words of other languages, in an encoding that English is rarely in."""
    frequent: int
    """Frequent words, or characters, of the language in it."""
    words: int
    """All words, or characters, in it."""

    @property
    def is_possible(self) -> bool:
        """Whether it is worth naming where none is certain."""
        return self.unnatural <= MOST_POSSIBLE

    @property
    def is_plain(self) -> bool:
        enough = max(FEWEST_WORDS, FEWEST_SHARE * self.words)
        return self.frequent >= enough and self.unnatural <= MOST_UNNATURAL and not self.astray


def readings(sample: bytes) -> list[Reading]:
    """What the sample may be, the likeliest first; one for each different text."""
    found: dict[str, Reading] = {}
    for encoding in dict.fromkeys(encoding for language in LANGUAGES for encoding in language.encodings):
        text = decoded(sample, encoding)
        if text is None:
            continue
        parts = parts_of(text)
        written = (language for language in LANGUAGES if encoding in language.encodings)
        best = max((read_as(parts, encoding, one) for one in written), key=lambda one: one.likelihood)
        if text not in found or best.likelihood > found[text].likelihood:
            found[text] = best
    return sorted(found.values(), key=lambda reading: -reading.likelihood)


def certain(found: list[Reading]) -> Reading | None:
    """The likeliest reading, if it is a language and much likelier than any other text."""
    if not found or not found[0].is_plain:
        return None
    if len(found) > 1 and found[0].likelihood - found[1].likelihood < MARGIN:
        return None
    return found[0]


def decoded(sample: bytes, encoding: str, *, cut: bool = False) -> str | None:
    """The text, or None where it is none: a byte has no meaning, or a character is none that texts hold.

    A sample that is `cut` may end within a character.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample, final=not cut)
    except UnicodeDecodeError:
        return None
    strange = {c for c in set(text) - CONTROLS if unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs")}
    if "\0" in strange or not all(c < " " for c in strange):
        return None
    return text if sum(map(text.count, strange)) <= MOST_CONTROLS * len(text) else None


def read_as(parts: Parts, encoding: str, language: Language) -> Reading:
    scored = [*word_scores(parts, language), *sign_scores(parts, language)]
    home = encoding == language.encodings[0]
    return Reading(
        encoding=encoding,
        language=language.name,
        text=parts.text,
        likelihood=sum(one.likelihood for one in scored) + (0.0 if home else ELSEWHERE),
        unnatural=sum(one.unnatural for one in scored) / max(sum(one.beyond for one in scored), 1),
        astray=not (home or language.letters) and any(one.foreign for one in scored),
        frequent=sum(one.frequent for one in scored),
        words=sum(one.words for one in scored),
    )
