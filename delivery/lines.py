"""Which line a chat's messages take, and which lines are avoided because they take none.

A chat keeps the line it began on while that line is connected; a new chat takes the line connected
last. A connected line that takes no message (because it was deleted at the portal, for example) is
used only where there is no other (docs/bitrix24.md, section 4).
"""

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field

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

    def dead(self) -> bool:
        return self.of_the_line >= ROUNDS or any(n >= ROUNDS for n in self.of_chats.values())


class Lines:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._failures: defaultdict[int, Failures] = defaultdict(Failures)
        self._reported: dict[int, str] = {}  # what the admin is shown: the error code by line

    def begin(self) -> None:
        """Read which dead lines the worker before us reported.

        Only the report is restored: each line is tried again, and a success ends the report.
        """
        self._reported = self._store.notes.dead_lines.get() or {}

    def line_for(self, chat: Chat) -> int | None:
        """The line for the chat's next message; None while no line is connected."""
        connected = self._store.portal.active_lines()
        lines = [line for line in connected if self._may_take(line, chat)] or connected
        if chat.line in lines:
            return chat.line
        return lines[0] if lines else None

    def _may_take(self, line: int, chat: Chat) -> bool:
        """Whether the line has not failed, for this chat or for everybody.

        A failure in one other chat may be that chat's own fault, so a chat that has a dialog on the
        line stays until its own messages fail.
        """
        failures = self._failures.get(line)
        if failures is None:
            return True
        failed = {chat_id for chat_id, rounds in failures.of_chats.items() if rounds >= ROUNDS}
        if failures.of_the_line >= ROUNDS or chat.id in failed or len(failed) >= CHATS_FAILED:
            return False
        return not failed or chat.dialog_line == line

    def not_active(self, line: int, code: str) -> None:
        """The portal calls the line inactive."""
        self._failures[line].of_the_line += 1
        self._report(line, code)

    def took_nothing(self, line: int, chat_id: str, attempts: int, code: str) -> None:
        """The line did not take a message, which had `attempts` attempts so far.

        Messages of one chat that fail side by side are one round: a chat has no more failed
        rounds than this message had attempts.
        """
        failures = self._failures[line]
        rounds = failures.of_chats[chat_id]
        failures.of_chats[chat_id] = max(rounds, min(rounds + 1, attempts))
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
            log.error("line %d takes no message (%s)", line, code)
            self._reported[line] = code
            self._store.notes.dead_lines.set(self._reported)
