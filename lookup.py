"""Looks for our messages at the portal: which of them arrived, whose call was never answered.

Each carries our id there, as CONNECTOR_MID (bitrix24.md section 3).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bitrix import PAGE, Bitrix, BitrixError, HistoryMessage, OutcomeUnknown, Refused, SetupFault
from recovery import DIALOGS_A_CALL
from storage import Chat, Delivery
from wire import wire_id

log = logging.getLogger(__name__)

PAGES_LOOKED_AT = 20  # of 50 messages, newest first


class Lookup:
    """Asks the portal; `before_call` counts the calls for whoever keeps their pace."""

    def __init__(self, bitrix: Bitrix, connector: str, before_call: Callable[[], None]) -> None:
        self._bitrix = bitrix
        self._connector = connector
        self._before_call = before_call

    def find_together(self, deliveries: list[Delivery]) -> dict[int, bool]:
        """Which have arrived, by delivery id, as far as one call can tell; TryLater when none may.

        A message that is not among a dialog's newest may stand further back.
        """
        dialogs = {one.id: dialog_of(one).portal_chat_id for one in deliveries}
        asked = list(dict.fromkeys(one for one in dialogs.values() if one is not None))
        asked = asked[:DIALOGS_A_CALL]
        if not asked:
            return {}
        self._before_call()
        try:
            pages = dict(zip(asked, self._bitrix.newest_messages(asked), strict=True))
        except (Refused, SetupFault, OutcomeUnknown) as error:
            # Perhaps one by one. If the portal is away, that will show.
            log.warning("dialogs cannot be read together: %s", error.code)
            return {}
        found = {}
        for one in deliveries:
            page = pages.get(dialogs[one.id] or 0)
            if page is None or isinstance(page, BitrixError):
                continue
            if _holds(page, wire_id(one)):
                found[one.id] = True
            elif len(page) < PAGE:
                found[one.id] = False
        return found

    def find(self, delivery: Delivery) -> bool | None:
        """Whether our id stands in the portal's dialog; None when nobody lets us look.

        The dialog itself, then the session's history: their rights differ (section 12).
        """
        chat, wanted = dialog_of(delivery), wire_id(delivery)
        portal_chat_id, session_id = chat.portal_chat_id, chat.session_id
        readers: list[Callable[[], bool | None]] = []
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
            readers.append(partial(self._stands_in_dialog, portal_chat_id, wanted))
        if session_id is not None:
            readers.append(partial(self._stands_in_session, session_id, wanted))
        for reader in readers:
            try:
                return reader()
            except Refused as error:
                log.warning("message %s cannot be looked for: %s", wanted, error.code)
        return None

    def _stands_in_dialog(self, portal_chat_id: int, wanted: str) -> bool | None:
        before = None
        for _ in range(PAGES_LOOKED_AT):
            self._before_call()
            page = self._bitrix.dialog_messages(portal_chat_id, before=before)
            if _holds(page, wanted):
                return True
            if len(page) < PAGE:
                return False
            before = page[0].id
        return None  # it may stand further back

    def _stands_in_session(self, session_id: int, wanted: str) -> bool:
        self._before_call()
        return _holds(self._bitrix.session_messages(session_id), wanted)


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


def _holds(page: list[HistoryMessage], wanted: str) -> bool:
    return any(wanted in message.connector_mids for message in page)
