"""Looks for our messages at the portal: which of them arrived, whose call was never answered.

Each carries our id there, as CONNECTOR_MID (docs/bitrix24.md, section 3).
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from bitrix import DIALOGS_A_CALL, PAGE, Bitrix
from delivery.deleted import deleted_copy
from delivery.reaction import Finding
from logs import facts
from portal.outgoing import wire_id
from rest.errors import BitrixError, Cause, OutcomeUnknown, Refused, SetupFault
from rest.replies import HistoryMessage
from store.records import Chat, Delivery, Message

log = logging.getLogger(__name__)

PAGES = 20  # of 50 messages, newest first; a message that stands further back counts as hidden
CLOCKS_DIFFER_SECONDS = 3600.0  # the portal's clock from ours, at most

Run = list[Delivery]  # of one chat on one line, oldest first, from its oldest unfinished one on
Findings = dict[int, Finding]  # by delivery id; a delivery not found yet is missing
Earlier = Callable[[Delivery], list[Message]]  # its chat's visitor messages before, newest first


class Lookup:
    """Asks the portal; `before_call` counts the calls for whoever keeps their pace."""

    def __init__(
        self,
        bitrix: Bitrix,
        connector: str,
        before_call: Callable[[], None],
        earlier: Earlier = lambda delivery: [],
    ) -> None:
        self._bitrix = bitrix
        self._connector = connector
        self._before_call = before_call
        self._earlier = earlier

    def read_newest(self, runs: list[Run]) -> Findings | None:
        """Read the newest messages of all dialogs in one call.

        None where no dialog is known, or the dialogs cannot be read together; they may still be
        readable one by one. Raises TryLater.
        """
        dialogs = [dialog_of(run[0]).portal_chat_id for run in runs]
        asked = list(dict.fromkeys(dialog for dialog in dialogs if dialog is not None))
        asked = asked[:DIALOGS_A_CALL]
        if not asked:
            return None
        self._before_call()
        try:
            pages = dict(zip(asked, self._bitrix.newest_messages(asked), strict=True))
        except (Refused, SetupFault, OutcomeUnknown) as error:
            log.warning("dialogs cannot be read together", extra=facts(code=error.code))
            return None
        findings: Findings = {}
        for run, dialog in zip(runs, dialogs, strict=True):
            page = pages.get(dialog or 0)
            if page is not None and not isinstance(page, BitrixError):
                findings |= self._read(page, run, run)
        return findings

    def _read(self, page: list[HistoryMessage], run: Run, wanted: list[Delivery]) -> Findings:
        """As `read`; a message that an operator has deleted is found, too."""
        findings = read(page, run, wanted)
        for delivery in wanted:
            if not isinstance(findings.get(delivery.id), HistoryMessage):
                copy = self._deleted_copy(delivery, page)
                findings |= {delivery.id: copy} if copy else {}
        return findings

    def _deleted_copy(
        self, delivery: Delivery, page: list[HistoryMessage]
    ) -> HistoryMessage | None:
        if not any(message.deleted and message.from_connector for message in page):
            return None
        return deleted_copy(delivery, page, self._earlier(delivery))

    def search(self, run: Run, missing: list[Delivery]) -> Findings:
        """Find those of the run that are still missing, wherever in the dialog they stand.

        The dialog itself is read, else the session's history: their rights differ (section 12).
        Raises BitrixError where the portal cannot be asked now.
        """
        chat = dialog_of(run[0])
        portal_chat_id, session_id = chat.portal_chat_id, chat.session_id
        if portal_chat_id is None and chat.portal_user_id:
            try:
                portal_chat_id, session_id = self._find_dialog(chat, run[0].line)
            except Refused as error:
                if error.cause is Cause.NOT_THERE:  # no dialog, no message in it
                    return {delivery.id: "absent" for delivery in missing}
                _raise_unless_closed(error)
        if portal_chat_id is not None:
            try:
                return self._search_dialog(portal_chat_id, run, missing)
            except Refused as error:
                _raise_unless_closed(error)
        if session_id is not None:
            try:
                return self._search_session(session_id, missing)
            except Refused as error:
                _raise_unless_closed(error)
        return {delivery.id: "hidden" for delivery in missing}

    def _find_dialog(self, chat: Chat, line: int | None) -> tuple[int, int | None]:
        self._before_call()
        code = f"{self._connector}|{line or chat.line}|{chat.id}|{chat.portal_user_id}"
        return self._bitrix.find_dialog(code)

    def _search_dialog(self, portal_chat_id: int, run: Run, missing: list[Delivery]) -> Findings:
        findings: Findings = {}
        before = None
        for _ in range(PAGES):
            self._before_call()
            page = self._bitrix.dialog_messages(portal_chat_id, before=before)
            findings |= self._read(page, run, missing)
            missing = [delivery for delivery in missing if delivery.id not in findings]
            if not missing:
                return findings
            before = page[0].id
        return findings | {delivery.id: "hidden" for delivery in missing}

    def _search_session(self, session_id: int, missing: list[Delivery]) -> Findings:
        self._before_call()
        history = self._bitrix.session_messages(session_id)
        return {
            delivery.id: _copy_of(delivery, history)
            or self._deleted_copy(delivery, history)
            or "absent"
            for delivery in missing
        }


def dialog_of(delivery: Delivery) -> Chat:
    """The chat, with the portal's ids only if they belong to the line that the message went to.

    Each line has its own dialog for the chat (docs/bitrix24.md, section 5).
    """
    chat = delivery.chat
    if delivery.line is None or chat.dialog_line in (None, delivery.line):
        return chat
    return replace(chat, portal_chat_id=None, session_id=None)


def can_be_asked(delivery: Delivery) -> bool:
    """Whether we know any id by which the portal can find the message's dialog."""
    chat = dialog_of(delivery)
    ids = (chat.portal_chat_id, chat.portal_user_id, chat.session_id)
    return any(number is not None for number in ids)


def read(page: list[HistoryMessage], run: Run, wanted: list[Delivery]) -> Findings:
    """What a page of the dialog shows of the wanted deliveries of this run."""
    oldest = min(delivery.message.id for delivery in run)
    findings: Findings = {}
    for delivery in wanted:
        message = _copy_of(delivery, page)
        if message is not None:
            findings[delivery.id] = message
        elif _goes_back_enough(page, oldest, delivery.message.sent_at):
            findings[delivery.id] = "absent"
    return findings


def _copy_of(delivery: Delivery, page: list[HistoryMessage]) -> HistoryMessage | None:
    """The delivery's message as the portal has it; None where the page does not hold it.

    A message at the portal that is much older than ours and has the same id of ours is another
    one: an earlier release gave its ids again after our store was restored from a backup.
    """
    wanted, oldest = wire_id(delivery), delivery.message.sent_at - CLOCKS_DIFFER_SECONDS
    copies = (
        message
        for message in page
        if wanted in message.connector_mids and message.sent_at >= oldest
    )
    return next(copies, None)


def _goes_back_enough(page: list[HistoryMessage], oldest: int, written_at: float) -> bool:
    """Whether no earlier page of the dialog can hold a message of the run.

    The run begins with the chat's oldest unfinished message. All earlier messages of the chat were
    finished before that message was first sent, so it stands after them in the dialog. And no
    message is at the portal before it was written.
    """
    if len(page) < PAGE or page[0].sent_at < written_at - CLOCKS_DIFFER_SECONDS:
        return True
    ours = (int(mid) for message in page for mid in message.connector_mids if mid.isdecimal())
    return any(mid < oldest for mid in ours)


def _raise_unless_closed(error: Refused) -> None:
    """Raise `error` unless the portal itself says that we may not read this dialog.

    The page of a proxy or a firewall says nothing about the dialog.
    """
    if error.cause is Cause.NOT_A_PORTAL:
        raise error
    code = facts(method=error.method, code=error.code)
    log.warning("a dialog is closed to us", extra=code)
