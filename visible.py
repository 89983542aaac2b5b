"""Whether there is anything to see in a text. `static/visible.js` says the same in the browser."""

import re
import unicodedata

# Spaces, controls, joiners, marks of direction, variation selectors, the fillers of Hangul and
# Braille, the place of an object that is not there. Further ones are known by their category.
INVISIBLE = re.compile(
    r"[\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
MARKS = ("Mn", "Me")  # accents and the like: they need a letter to stand on
FORMATS = ("Cf",)
NO_CHARACTERS = range(0xFDD0, 0xFDF0)  # and the last two of each plane


def is_visible(text: str) -> bool:
    """Whether a text has a letter, a sign or a picture; emoji and letters with joiners have."""
    rest = INVISIBLE.sub("", text)
    return any(map(_is_seen, rest))


def _is_seen(letter: str) -> bool:
    code = ord(letter)
    is_none = code in NO_CHARACTERS or code & 0xFFFE == 0xFFFE
    return not is_none and unicodedata.category(letter) not in MARKS + FORMATS
