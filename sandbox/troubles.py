"""Everything that can go wrong, as switches; and the portal's limit of calls.

Knows nothing of HTTP or of chats: it only says which troubles are on.
Numbers such as 4.6 are those of bitrix24.md.
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
    """Durations are in seconds. An int is the number of calls that are still to fail."""

    slow_seconds: float = 0.0  # each call: between its work and its answer
    slow_method: str = ""  # the method that is slow; empty: all methods
    item_seconds: float = 0.0  # each item of send.messages: before it is stored
    down: bool = False  # nothing is done, the connection closes without an answer
    http_500: bool = False  # nothing is done, the answer is a 502 page of a proxy
    drop_answers: int = 0  # the call is done, then the connection closes without an answer
    drop_method: str = ""  # empty: any REST method; "oauth": the answer of the OAuth server
    query_limit: int = 0
    operation_time_limit: float = 0.0  # seconds until the method works again
    operation_method: str = ""
    operation_without_time: bool = False  # the answer of that limit has no field `time`
    operating_seconds: float = 600.0  # without a limit: until a method's count begins anew
    broken_method: str = ""  # nothing is done, the answer is an error of `broken_code`
    broken_code: str = "ERROR_CORE"  # or "HTML": a 502 page of a proxy
    overload: bool = False
    oauth_down: bool = False
    renamed_to: str = ""  # the portal's new address, to which calls of the old one are redirected
    redirected_to: str = ""  # calls are redirected there, and the OAuth server knows of no rename
    old_tokens_live: bool = False  # a renewal leaves the old pair alive (8.13 does not say)
    fail_items: str = ""  # an item whose text has these words fails
    refuse_contacts: str = ""  # an item whose e-mail or telephone has these words fails
    refuse_contacts_as: str = ""  # with this reason; empty: one that names the field
    no_files: bool = False  # no file of a message can be fetched
    no_session: str = ""  # "stored" or "not stored": SUCCESS without a session (4.6)
    lose_events: bool = False
    duplicate_events: bool = False
    delay_events_seconds: float = 0.0
    reorder_events: bool = False
    inactive_line: bool = False
    deny_history: bool = False
    strict_names: bool = True
    limit: bool = True  # the leaky bucket (9.1)
    rate: dict[str, float] = field(default_factory=lambda: {"burst": 50.0, "per_second": 2.0})
    old_build: bool = False
    placement_token: bool = True
    signature: str = "new"
    welcome: str = ""  # the automatic text of each new session; empty: none
    scope: str = "imopenlines,imconnector,im,user_brief,placement,disk"
    missing_rights: str = ""  # of `scope`, taken away at once from every token
    unknown_methods: str = ""  # that this portal does not have; separated by commas
    client_secret: str = ""  # the application's, from now on; empty: the one of the start
    clock_offset_seconds: float = 0.0  # the portal's clock minus that of this machine
    features: str = "rest_offline_extended,rest_auth_connector"  # what feature.get says yes to
    mixed: dict[str, float] | None = None  # a random trouble: {"probability", "seed"}

    def change(self, values: dict[str, Any]) -> None:
        """Set several at once. If one is wrong, none is set and ValueError names it."""
        checked = {name: self._checked(name, value) for name, value in values.items()}
        for name, value in checked.items():
            setattr(self, ALIASES.get(name, name), value)

    def _checked(self, alias: str, value: Any) -> Any:
        name = ALIASES.get(alias, alias)
        if name not in {trouble.name for trouble in fields(self)}:
            raise ValueError(f"{alias}: no such trouble")
        if name == "no_session" and isinstance(value, bool):
            return "stored" if value else ""
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{alias}: one of {', '.join(map(repr, CHOICES[name]))}")
        if name == "rate":
            return _numbers(alias, value, ("burst", "per_second"))
        if name == "mixed":
            return _mixed(value)
        default = getattr(Troubles(), name)
        if isinstance(default, bool):
            return _flag(alias, value)
        if not isinstance(value, str if isinstance(default, str) else (int, float)):
            raise ValueError(f"{alias}: {type(default).__name__} expected")
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
    """Chooses at random what goes wrong with a call; the same seed chooses the same again."""

    def __init__(self) -> None:
        self._generator: tuple[dict[str, float], random.Random] | None = None

    def roll(self, mixed: dict[str, float] | None) -> str:
        """One of MIXED, or "" if nothing goes wrong."""
        if mixed is None:
            self._generator = None
            return ""
        if self._generator is None or self._generator[0] != mixed:
            self._generator = (dict(mixed), random.Random(mixed["seed"]))
        generator = self._generator[1]
        return generator.choice(MIXED) if generator.random() < mixed["probability"] else ""


class Bucket:
    """The leaky bucket of bitrix24.md 9.1: each call adds one, and it drains steadily."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = time.monotonic()

    def take(self, burst: float, per_second: float) -> bool:
        """Count one call; False when the bucket is full."""
        now = time.monotonic()
        self._level = max(0.0, self._level - (now - self._at) * per_second)
        self._at = now
        if self._level + 1 > burst:
            return False
        self._level += 1
        return True
