"""Takes back from the portal what it has of us, and forgets what the portal granted.

Conversations stay, unless they are to be erased as well.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from files import files_of
from portal.presence import Presence
from rest.errors import BitrixError, OutcomeUnknown, Reach, TryLater
from settings import Settings
from storage import Store

log = logging.getLogger(__name__)

ERASED_AT_ONCE = 200  # chats in one read of their ids
BUSY_SECONDS, BUSY_TIMES = 2.0, 15  # how long, and how often, a portal with too many calls is left
What = Literal["events", "connector", "line"]


@dataclass(frozen=True)
class Undone:
    """What the portal still has of us: an administrator must remove it there."""

    what: What
    code: str  # the portal's
    line: int | None = None


class Uninstall:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        presence: Presence,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rest = rest
        self._settings = settings
        self._store = store
        self._presence = presence

    def run(self, erase: bool, offline: bool = False) -> list[Undone]:
        """Take back everything, then forget the tokens; what was left undone is returned.

        Raises BitrixError, and keeps the tokens, if the portal cannot be asked now; conversations
        are erased all the same. `offline`: the portal is gone for ever, and is not asked.
        """
        try:
            undone = []
            if self._store.portal.find() is not None:
                undone = [step for step, _ in self._steps()] if offline else self._take_back()
            self._forget(keep_handlers=any(one.what == "events" for one in undone))
            log.warning("uninstalled: %d things left in the portal", len(undone))
        finally:
            if erase:
                self._erase()
        return undone

    def _steps(self) -> list[tuple[Undone, Callable[[], None]]]:
        """What the portal has of us, each with how it is taken back."""
        presence = self._presence
        # An unregistration needs a connected line, so lines are switched off after it.
        return [
            (Undone("events", ""), presence.unbind_events),
            (Undone("connector", ""), presence.unregister),
            *(
                (Undone("line", "", line), partial(presence.see_off, line))
                for line in self._store.portal.active_lines()
            ),
        ]

    def _take_back(self) -> list[Undone]:
        undone: list[Undone] = []
        lost: BitrixError | None = None  # the portal takes no call of ours any more
        for step, act in self._steps():
            try:
                if lost is None:
                    self._patiently(act)
            except (TryLater, OutcomeUnknown):
                raise
            except BitrixError as error:
                log.error("uninstall: %s: %s: %s", step.what, error.method, error.code)
                if error.reach is Reach.PORTAL:
                    lost = error
                else:
                    undone.append(Undone(step.what, error.code, step.line))
            if lost is not None:
                undone.append(Undone(step.what, lost.code, step.line))
        return undone

    def _patiently(self, act: Callable[[], None]) -> None:
        """Do a step, also where the portal takes no more calls for some seconds."""
        for _ in range(BUSY_TIMES):
            try:
                return act()
            except TryLater as error:
                if not error.fills_the_bucket:
                    raise
            self._rest(BUSY_SECONDS)
        return act()

    def _forget(self, keep_handlers: bool) -> None:
        self._store.portal.forget()
        notes = self._store.notes
        for note in (
            notes.registered,
            notes.refused_registration,
            notes.fault,
            notes.is_unfinished,
            notes.dead_lines,
            notes.renewed_with,
            notes.renewed_at,
            notes.refused_renewal,
            notes.renewal,
            notes.kept_claim,
            notes.told_lines,
        ):
            note.clear()
        if not keep_handlers:  # else a new install still unbinds what is bound there
            notes.own_handlers.clear()

    def _erase(self) -> None:
        """Remove all conversations for good, with their files."""
        files = files_of(self._settings.storage, self._store)
        while chat_ids := self._store.removal.living(ERASED_AT_ONCE):
            for chat_id in chat_ids:
                self._store.chats.delete(chat_id, self._store.now(), files.remove_chat)
