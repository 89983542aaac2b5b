"""Which variable of ours is meant by a name that is not quite one of them.

An `.env` file of ours may also hold what other programs read, so a name is left alone unless it is
near one of ours.
"""

import difflib
import re
import unicodedata
from collections import Counter
from functools import cache

from settings.keys import PREFIX, known_keys

SYSTEM = ("LOG_LEVEL", "WEB_CONCURRENCY")  # ours as well, though without the prefix
# Letters that look like Latin ones, and those that they look like.
ALIKE = str.maketrans("АВЕЅІЈКМНОРСТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABESIJKMHOPCTYXABEZHIKMNOPTYX")
# Keys whose last part alone is a word of other programs, too.
COMMON = {"language", "token", "enabled", "notify", "types", "files", "format", "url", "id", "name"}
SAME, NEAR_PREFIX = 0.88, 0.85  # by difflib: CLIENT_IP is another word than CLIENT_ID, at 0.875
NAMED = re.compile(rf"['\"]?({PREFIX}\w+)=", re.IGNORECASE)


def variable_of(key: str) -> str:
    """The environment variable of a key."""
    return PREFIX + key.replace(".", "__").upper()


def variables() -> list[str]:
    """The variables of all keys that have a use."""
    return [variable_of(key) for key in known_keys()]


def letters_of(name: str) -> str:
    """What stays of a name whose spelling is not looked at: its letters and digits."""
    plain = unicodedata.normalize("NFKC", name).upper().translate(ALIKE)
    return re.sub("[^A-Z0-9]", "", plain)


def inner_name(value: str) -> str | None:
    """The variable of ours with which a value begins, as behind systemd's `Environment=`."""
    found = NAMED.match(value)
    return found[1] if found and found[1].upper() in variables() else None


def meant_variable(name: str) -> str | None:
    """The variable that a name in a file of ours means; None for names of other programs."""
    letters = letters_of(name)
    known = _by_letters()
    if letters in known:
        return known[letters]
    if _has_near_prefix(letters):
        return nearest(letters, 0.6)
    long = [one for one in known if len(one) >= 8]
    return next((known[one] for one in difflib.get_close_matches(letters, long, 1, SAME)), None)


@cache  # each look at the settings asks for all names of the environment, which stay the same
def nearest(letters: str, least: float) -> str | None:
    """The variable with the prefix that is most like a name whose prefix may have a mistake."""
    known = {one: name for one, name in _by_letters().items() if one.startswith("SITECHAT")}
    return next((known[one] for one in difflib.get_close_matches(letters, known, 1, least)), None)


def _has_near_prefix(letters: str) -> bool:
    prefix = letters_of(PREFIX)
    starts = (letters[:length] for length in range(len(prefix) - 1, len(prefix) + 2))
    return any(
        difflib.SequenceMatcher(a=start, b=prefix).ratio() >= NEAR_PREFIX for start in starts
    )


@cache
def _by_letters() -> dict[str, str]:
    """Each way to write a variable that means one alone, by its letters."""
    known = {letters_of(way): name for name in SYSTEM for way in (name, PREFIX + name)}
    known[letters_of(f"{PREFIX}LOGS_LEVEL")] = SYSTEM[0]
    last = Counter(key.rpartition(".")[2] for key in known_keys())
    for key in known_keys():
        word = key.rpartition(".")[2]
        ways = [key, PREFIX + key]
        if last[word] == 1:
            ways += [PREFIX + word] if word in COMMON else [word, PREFIX + word]
        known |= {letters_of(way): variable_of(key) for way in ways}
    return known
