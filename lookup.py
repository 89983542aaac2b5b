"""Looks for our messages at the portal: which of them arrived, whose call was never answered.

Each carries our id there, as CONNECTOR_MID (bitrix24.md section 3).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from bitrix import PAGE, Bitrix, BitrixError, HistoryMessage, OutcomeUnknown, Refused, SetupFault
from recovery import DIALOGS_A_CALL
from storage import Chat, Delivery
from wire import wire_id

log = logging.getLogger(__name__)

PAGES_LOOKED_AT = 20  # of 50 messages, newest first
CLOCKS_DIFFER_SECONDS = 3600.0  # the portal's from ours, at most

Found = HistoryMessage | Literal[False] | None  # the message, not there, nobody lets us look


class Lookup:
    """Asks the portal; `before_call` counts the calls for whoever keeps their pace."""

    def __init__(self, bitrix: Bitrix, connector: str, before_call: Callable[[], None]) -> None:
        self._bitrix = bitrix
        self._connector = connector
        self._before_call = before_call

    def find_together(self, deliveries: list[Delivery]) -> dict[int, Found] | None:
        """Which have arrived, by delivery id, as far as one call can tell; TryLater when none may.

        A message that is not among a dialog's newest may stand further back. None where there
        was nothing to ask, or the call came to nothing: perhaps they can be read one by one.
        """
        dialogs = {one.id: dialog_of(one).portal_chat_id for one in deliveries}
        asked = list(dict.fromkeys(one for one in dialogs.values() if one is not None))
        asked = asked[:DIALOGS_A_CALL]
        if not asked:
            return None
        self._before_call()
        try:
            pages = dict(zip(asked, self._bitrix.newest_messages(asked), strict=True))
        except (Refused, SetupFault, OutcomeUnknown) as error:
            log.warning("dialogs cannot be read together: %s", error.code)
            return None
        found: dict[int, Found] = {}
        for one in deliveries:
            page = pages.get(dialogs[one.id] or 0)
            if page is None or isinstance(page, BitrixError):
                continue
            if message := _holding(page, wire_id(one)):
                found[one.id] = message
            elif _reaches_back(page, one):
                found[one.id] = False
        return found

    def find(self, delivery: Delivery) -> Found:
        """The message of our id in the portal's dialog; None when nobody lets us look.

        The dialog itself, then the session's history: their rights differ (section 12).
        """
        chat, wanted = dialog_of(delivery), wire_id(delivery)
        portal_chat_id, session_id = chat.portal_chat_id, chat.session_id
        readers: list[Callable[[], Found]] = []
        if portal_chat_id is None and chat.portal_user_id:
            line = delivery.line or chat.line
            self._before_call()
            try:
                portal_chat_id, session_id = self._bitrix.find_dialog(
                    f"{self._connector}|{line}|{chat.id}|{chat.portal_user_id}"
                )
            except Refused as error:
                if "NOT_FOUND" in error.code.upper():
                    return False  # no dialog, no message in it
                log.warning("the dialog of message %s is not told: %s", wanted, error.code)
        if portal_chat_id is not None:
            readers.append(partial(self._find_in_dialog, portal_chat_id, delivery))
        if session_id is not None:
            readers.append(partial(self._find_in_session, session_id, wanted))
        for reader in readers:
            try:
                return reader()
            except Refused as error:
                log.warning("message %s cannot be looked for: %s", wanted, error.code)
        return None

    def _find_in_dialog(self, portal_chat_id: int, delivery: Delivery) -> Found:
        before = None
        for _ in range(PAGES_LOOKED_AT):
            self._before_call()
            page = self._bitrix.dialog_messages(portal_chat_id, before=before)
            if message := _holding(page, wire_id(delivery)):
                return message
            if _reaches_back(page, delivery):
                return False
            before = page[0].id
        return None  # it may stand further back

    def _find_in_session(self, session_id: int, wanted: str) -> Found:
        self._before_call()
        return _holding(self._bitrix.session_messages(session_id), wanted) or False


def dialog_of(delivery: Delivery) -> Chat:
    """The chat with what the portal has told of its dialog on the line the message went to.

    Each line has a dialog of its own for the chat (section 5).
    """
    chat = delivery.chat
    if delivery.line is None or chat.dialog_line in (None, delivery.line):
        return chat
    return replace(chat, portal_chat_id=None, session_id=None)


def can_be_asked(delivery: Delivery) -> bool:
    """Whether the portal has told us anything by which to find the message's dialog."""
    chat = dialog_of(delivery)
    told = (chat.portal_chat_id, chat.portal_user_id, chat.session_id)
    return any(one is not None for one in told)


def _holding(page: list[HistoryMessage], wanted: str) -> HistoryMessage | None:
    return next((one for one in page if wanted in one.connector_mids), None)


def _reaches_back(page: list[HistoryMessage], delivery: Delivery) -> bool:
    """Whether no older page can hold the message: it is not there before it is written."""
    written = delivery.message.sent_at - CLOCKS_DIFFER_SECONDS
    return len(page) < PAGE or page[0].sent_at < written
