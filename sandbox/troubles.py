"""Everything that can go wrong, as switches; and the portal's request limit.

Knows nothing of HTTP or of chats: it only says what is on.
"""

import random
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

CHOICES = {
    "no_session": ("", "stored", "not stored"),
    "signature": ("new", "old", "none"),
}
ALIASES = {"html": "http_500", "strict": "strict_names"}
MIXED = ("down", "http_500", "query_limit", "drop", "slow")


@dataclass
class Troubles:
    """Durations in seconds; an int counts the next calls hit and runs down to 0."""

    slow_seconds: float = 0.0  # each call: slept after the work, before the answer
    slow_method: str = ""  # only this method is slow; empty: all
    item_seconds: float = 0.0  # each send.messages item: waits so long before it is stored
    down: bool = False  # connections close, nothing is done
    http_500: bool = False  # a 502 page of a proxy, nothing is done
    drop_answers: int = 0  # done, then the connection closes
    drop_method: str = ""  # empty: any REST method; "oauth": the token answer
    query_limit: int = 0
    operation_time_limit: float = 0.0  # seconds until the method works again
    operation_method: str = ""
    broken_method: str = ""  # nothing is done, the answer is an error of `broken_code`
    broken_code: str = "ERROR_CORE"  # or "HTML": a 502 page of a proxy
    overload: bool = False
    oauth_down: bool = False
    fail_items: str = ""  # items whose text holds this fail
    no_files: bool = False  # nothing that messages refer to can be fetched
    no_session: str = ""  # "stored" or "not stored": SUCCESS without session
    lose_events: bool = False
    duplicate_events: bool = False
    delay_events_seconds: float = 0.0
    reorder_events: bool = False
    inactive_line: bool = False
    deny_history: bool = False
    strict_names: bool = True
    limit: bool = True  # the leaky bucket, section 9
    rate: dict[str, float] = field(default_factory=lambda: {"burst": 50.0, "per_second": 2.0})
    old_build: bool = False
    placement_token: bool = True
    signature: str = "new"
    welcome: str = ""  # automatic text of each new session
    scope: str = "imopenlines,imconnector,im,user_brief,placement,disk"
    mixed: dict[str, float] | None = None  # {"probability", "seed"}

    def change(self, values: dict[str, Any]) -> None:
        """Set several at once, or none: ValueError names the wrong one."""
        checked = {name: self._checked(name, value) for name, value in values.items()}
        for name, value in checked.items():
            setattr(self, ALIASES.get(name, name), value)

    def _checked(self, given: str, value: Any) -> Any:
        name = ALIASES.get(given, given)
        kinds = {item.name: item.type for item in fields(self)}
        if name not in kinds:
            raise ValueError(f"{given}: no such trouble")
        if name == "no_session" and isinstance(value, bool):
            return "stored" if value else ""
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{given}: one of {', '.join(map(repr, CHOICES[name]))}")
        if name == "rate":
            return _numbers(given, value, ("burst", "per_second"))
        if name == "mixed":
            return _mixed(value)
        default = getattr(Troubles(), name)
        if isinstance(default, bool):
            return _flag(given, value)
        if not isinstance(value, str if isinstance(default, str) else (int, float)):
            raise ValueError(f"{given}: {type(default).__name__} expected")
        return type(default)(value)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _flag(name: str, value: Any) -> bool:
    if value not in (True, False, 0, 1):
        raise ValueError(f"{name}: true or false expected")
    return bool(value)


def _mixed(value: Any) -> dict[str, float] | None:
    if not value:
        return None
    if isinstance(value, dict):
        value = {"seed": 1, **value}
    return _numbers("mixed", value, ("probability", "seed"))


def _numbers(name: str, value: Any, keys: tuple[str, ...]) -> dict[str, float]:
    try:
        return {key: float(value[key]) for key in keys}
    except (KeyError, TypeError):
        raise ValueError(f"{name}: numbers {' and '.join(keys)} expected") from None


class Dice:
    """Chooses at random, repeatably, what goes wrong with a call."""

    def __init__(self) -> None:
        self._rolled: tuple[dict[str, float], random.Random] | None = None

    def roll(self, mixed: dict[str, float] | None) -> str:
        if mixed is None:
            self._rolled = None
            return ""
        if self._rolled is None or self._rolled[0] != mixed:
            self._rolled = (dict(mixed), random.Random(mixed["seed"]))
        dice = self._rolled[1]
        return dice.choice(MIXED) if dice.random() < mixed["probability"] else ""


class Bucket:
    """The leaky bucket of section 9: it fills by one a call and drains steadily."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = time.monotonic()

    def take(self, burst: float, per_second: float) -> bool:
        now = time.monotonic()
        self._level = max(0.0, self._level - (now - self._at) * per_second)
        self._at = now
        if self._level + 1 > burst:
            return False
        self._level += 1
        return True
