"""Which line a chat's messages take, and which lines are avoided because they take none.

A chat keeps the line it began on while that line is connected; a new chat takes the line connected
last. A connected line that takes no message (because it was deleted at the portal, for example) is
used only where there is no other (docs/bitrix24.md, section 4).
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from logs import facts
from storage import Store
from store.records import Chat

log = logging.getLogger(__name__)

ROUNDS = 3  # in which a line took nothing of a chat, before the chat avoids the line
CHATS_FAILED = 2  # chats that avoid a line, before all others avoid it too


@dataclass
class Failures:
    """Rounds in which a line took nothing.

    Those of the line itself, which the portal called inactive, and those of single chats.
    """

    of_the_line: int = 0
    of_chats: Counter[str] = field(default_factory=Counter)
    avoided_by: set[str] = field(default_factory=set)  # chats with ROUNDS or more

    def count(self, chat_id: str, attempts: int) -> None:
        rounds = self.of_chats[chat_id]
        self.of_chats[chat_id] = rounds = max(rounds, min(rounds + 1, attempts))
        if rounds >= ROUNDS:
            self.avoided_by.add(chat_id)

    def dead(self) -> bool:
        return self.of_the_line >= ROUNDS or bool(self.avoided_by)


class Lines:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._connected: list[int] = []  # the one connected last first
        self._failures: defaultdict[int, Failures] = defaultdict(Failures)
        self._reported: dict[int, str] = {}  # what the admin is shown: the error code by line

    def begin(self) -> None:
        """Read which dead lines the worker before us reported.

        Only the report is restored: each line is tried again, and a success ends the report.
        """
        self._reported = self._store.notes.dead_lines.get() or {}

    def begin_step(self) -> None:
        """Read which lines are connected; the step goes by that, however many messages it has."""
        self._connected = self._store.portal.active_lines()

    def are_connected(self) -> bool:
        """Whether any line is connected."""
        return bool(self._connected)

    def line_for(self, chat: Chat) -> int | None:
        """The line for the chat's next message; None while no line is connected."""
        return _choice(chat.line, self._usable(chat.dialog_line, chat.id))

    def held(self, is_open: Callable[[int], bool]) -> list[int]:
        """On which line a chat must have begun to wait: whichever line it may take is held back.

        0 stands for chats that have no line yet. Of the chats of one line, some may take another
        line than the rest: then none of them are counted here.
        """
        waiting = {line for line in self._connected if is_open(line)}
        if not waiting:
            return []
        # Only a line that failed is usable for one chat and not for another.
        usable = [self._usable(line, "") for line in (None, *self._failures)]
        began_on = (0, *self._store.portal.known_lines())
        return [line for line in began_on if {_choice(line, lines) for lines in usable} <= waiting]

    def _usable(self, dialog_line: int | None, chat_id: str) -> list[int]:
        """The lines that a chat may take; those that failed only if there are no others."""
        lines = [line for line in self._connected if self._may_take(line, dialog_line, chat_id)]
        return lines or self._connected

    def _may_take(self, line: int, dialog_line: int | None, chat_id: str) -> bool:
        """Whether the line has not failed, for this chat or for everybody.

        A failure in one other chat may be that chat's own fault, so a chat that has a dialog on the
        line stays until its own messages fail.
        """
        failures = self._failures.get(line)
        if failures is None:
            return True
        failed = failures.avoided_by
        if failures.of_the_line >= ROUNDS or chat_id in failed or len(failed) >= CHATS_FAILED:
            return False
        return not failed or dialog_line == line

    def not_active(self, line: int, code: str) -> None:
        """The portal calls the line inactive."""
        self._failures[line].of_the_line += 1
        self._report(line, code)

    def took_nothing(self, line: int, chat_id: str, attempts: int, code: str) -> None:
        """The line did not take a message, which had `attempts` attempts so far.

        Messages of one chat that fail side by side are one round: a chat has no more failed
        rounds than this message had attempts.
        """
        self._failures[line].count(chat_id, attempts)
        self._report(line, code)

    def works(self, line: int) -> None:
        """The line took a message, as the call's answer or a lookup shows."""
        self._failures.pop(line, None)
        if line in self._reported:
            del self._reported[line]
            self._store.notes.dead_lines.set(self._reported)

    def connected(self) -> None:
        """An operator connected a line: the fault of every line may be mended now."""
        self._failures.clear()
        self._reported = {}
        self._store.notes.dead_lines.clear()

    def _report(self, line: int, code: str) -> None:
        if self._failures[line].dead() and line not in self._reported:
            log.error("the line takes no message", extra=facts(line=line, code=code))
            self._reported[line] = code
            self._store.notes.dead_lines.set(self._reported)


def _choice(began_on: int | None, usable: list[int]) -> int | None:
    return began_on if began_on in usable else next(iter(usable), None)
