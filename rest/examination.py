"""What the portal says of us: the application, its rights and events, the connector and its lines.

All of it is asked in one `batch`. A part that the portal refuses, or does not know, has its error
in place of an answer and spoils no other part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rest.calls import COMMANDS_A_BATCH, Calls, Command
from rest.errors import BitrixError
from rest.php import keyed, listed, number, truth, words
from rest.replies import connector_ids, listed_events

NAME_LENGTH = 200  # of a line's name that people read


@dataclass(frozen=True)
class Line:
    """An open line as its administrator has set it up."""

    name: str
    active: bool


@dataclass(frozen=True)
class AppInfo:
    installed: bool  # False: the install is not finished, so the portal posts no events
    language: str  # of the portal; "" where it does not say


@dataclass(frozen=True)
class Examination:
    """What the portal said; a BitrixError stands for a part that could not be asked."""

    installed: bool | BitrixError
    language: str  # the portal's; "" where it does not say
    rights: frozenset[str] | BitrixError
    # Upper-case event and handler address. An event that is bound twice stands here twice.
    bindings: tuple[tuple[str, str], ...] | BitrixError
    connectors: frozenset[str] | BitrixError  # ids in lower case
    statuses: dict[int, bool | BitrixError]  # by line: whether the connector works there
    lines: dict[int, Line | BitrixError | None]  # None: there is no such line
    clock_seconds: float | None  # the portal's clock minus ours; None where it does not say


class Examining(Calls):
    @property
    def clock_seconds(self) -> float | None:
        """The portal's clock minus ours, as its last answer said; None where none did."""
        return self._transport.clock_seconds

    def examine(self, connector: str, lines: list[int]) -> Examination:
        """Ask everything about us in one `batch`; in several for more than 23 lines.

        A portal that takes no `batch` is asked for `app.info` alone. Raises BitrixError if the
        portal cannot be asked at all.
        """
        commands = _commands(connector, lines)
        parts: dict[str, Any] = {}
        names = list(commands)
        try:
            for first in range(0, len(names), COMMANDS_A_BATCH):
                asked = names[first : first + COMMANDS_A_BATCH]
                parts |= zip(asked, self._batch([commands[name] for name in asked]), strict=True)
        except BitrixError as error:
            if not error.is_of_the_method:
                raise
            parts = dict.fromkeys(names, error) | {"app": self._call("app.info", {}, app_info)}
        app = parts["app"]
        is_refused = isinstance(app, BitrixError)
        return Examination(
            installed=app if is_refused else app.installed,
            language="" if is_refused else app.language,
            rights=parts["scope"],
            bindings=parts["events"],
            connectors=parts["connectors"],
            statuses={line: parts[f"status {line}"] for line in lines},
            lines={line: parts[f"line {line}"] for line in lines},
            clock_seconds=self.clock_seconds,
        )

    def line(self, line: int) -> Line | None:
        """`imopenlines.config.get`: an open line; None where there is no such line."""
        return self._call("imopenlines.config.get", _line_params(line), line_of)

    def is_installed(self) -> bool:
        """`app.info` INSTALLED: until it is true the portal sends no event, without an error."""
        return self._call("app.info", {}, app_info).installed

    def bound_events(self) -> list[tuple[str, str]]:
        """`event.get`: pairs of upper-case event and handler address."""
        return self._call("event.get", {}, listed_events)

    def connector_status(self, connector: str, line: int) -> bool:
        """`imconnector.status`: whether the connector works on the line."""
        return self._call("imconnector.status", {"CONNECTOR": connector, "LINE": line}, _status)

    def connectors(self) -> set[str]:
        """`imconnector.list`: the ids of all connectors that the portal knows."""
        return self._call("imconnector.list", {}, connector_ids)


def _commands(connector: str, lines: Iterable[int]) -> dict[str, Command[Any]]:
    commands: dict[str, Command[Any]] = {
        "app": Command("app.info", {}, app_info),
        "scope": Command("scope", {}, rights_of),
        "events": Command("event.get", {}, lambda result: tuple(listed_events(result))),
        "connectors": Command("imconnector.list", {}, lambda ids: frozenset(connector_ids(ids))),
    }
    for line in lines:
        of_line = {"CONNECTOR": connector, "LINE": line}
        commands[f"status {line}"] = Command("imconnector.status", of_line, _status)
        commands[f"line {line}"] = Command("imopenlines.config.get", _line_params(line), line_of)
    return commands


def _line_params(line: int) -> dict[str, Any]:
    return {"CONFIG_ID": line, "WITH_QUEUE": "N"}


def _status(result: Any) -> bool:
    return truth(keyed(result).get("STATUS"))


def app_info(result: Any) -> AppInfo:
    """What the portal's `app.info` says; the OAuth server's has other fields (bitrix24.md 8.19)."""
    fields = keyed(result)
    return AppInfo(truth(fields.get("INSTALLED")), words(fields.get("LANGUAGE_ID")).lower())


def rights_of(result: Any) -> frozenset[str]:
    """The rights in an answer of `scope`, in lower case."""
    return frozenset(words(right).strip().lower() for right in listed(result))


def line_of(result: Any) -> Line | None:
    """A line in an answer of `imopenlines.config.get`, which is false for one that is not there."""
    if result is None or result is False or result == []:
        return None
    fields = keyed(result)
    name = words(fields.get("LINE_NAME"))[:NAME_LENGTH] or str(number(fields.get("ID")) or "")
    return Line(name, truth(fields["ACTIVE"]))
