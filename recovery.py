"""Finds operators' answers that never reached us in the portal's history.

Bitrix24 posts an event once. What it posted while we were down or slow is read from the dialogs,
told from visitors' messages and notices (bitrix24.md section 12), stored once and confirmed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitrix import PAGE, Bitrix, BitrixError, HistoryMessage
from connector import rendered
from storage import Chat, OperatorMessage, Store

log = logging.getLogger(__name__)

DIALOGS_A_CALL = 50  # of a batch
PAGES_A_DIALOG = 10  # of 50 messages


@dataclass(frozen=True)
class Found:
    """What one look brought: answers recovered, dialogs looked into, dialogs closed to us."""

    recovered: int
    dialogs: int
    failed: int


class Recovery:
    """Looks into dialogs; `before_call` keeps the pace of whoever else calls the portal."""

    def __init__(
        self, store: Store, bitrix: Bitrix, before_call: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._bitrix = bitrix
        self._before_call = before_call

    def look(self, since: float, now: float) -> Found:
        """Compare the dialogs in which anything happened since then with what we have.

        Raises BitrixError when the portal cannot be asked at all.
        """
        chats = self._store.chats_in_conversation(since)
        recovered = failed = 0
        for start in range(0, len(chats), DIALOGS_A_CALL):
            part = chats[start : start + DIALOGS_A_CALL]
            self._before_call()
            pages = self._bitrix.newest_messages([one.portal_chat_id or 0 for one in part])
            for chat, page in zip(part, pages, strict=True):
                try:
                    if isinstance(page, BitrixError):
                        raise page
                    recovered += self._compare(chat, page, now)
                except BitrixError as error:
                    failed += 1
                    log.warning("dialog %s cannot be read: %s", chat.portal_chat_id, error.code)
        found = Found(recovered, len(chats), failed)
        if recovered or failed:
            log.warning("recovery: %d answers found, %d dialogs failed", recovered, failed)
        self._store.set_note(
            "recovery",
            {"at": now, "recovered": recovered, "dialogs": len(chats), "failed": failed},
        )
        return found

    def _compare(self, chat: Chat, page: list[HistoryMessage], now: float) -> int:
        """Store what the chat lacks, from its newest messages back to where we last were."""
        messages = list(page)
        for _ in range(PAGES_A_DIALOG):
            if len(page) < PAGE or page[0].id <= chat.checked_im_id or chat.portal_chat_id is None:
                break
            self._before_call()
            page = self._bitrix.dialog_messages(chat.portal_chat_id, before=page[0].id)
            messages = page + messages
        if not messages or messages[-1].id <= chat.checked_im_id:
            return 0
        known = self._store.known_im_message_ids(chat.id)
        lines = self._store.active_lines()
        line = chat.line or (lines[0] if lines else None)
        if line is None:
            return 0
        missed = [
            _operator_message(chat, one, line)
            for one in messages
            if one.id not in known and was_missed(one)
        ]
        added = self._store.add_operator_messages(missed, now)
        self._store.note_checked(chat.id, messages[-1].id)
        return len(added)


def was_missed(message: HistoryMessage) -> bool:
    """Whether a message not in our store is one that an event should have brought.

    Automatic texts look like internal notices, but for their class (section 12).
    """
    if message.hidden or message.from_connector or message.connector_mids:
        return False
    return message.author_id != 0 or "ol-output" in message.classes


def _operator_message(chat: Chat, message: HistoryMessage, line: int) -> OperatorMessage:
    """History has no signature, but the author; and no public links of files, but their names."""
    system = message.author_id == 0 or "ol-output" in message.classes
    files: list[dict[str, Any]] = [
        {
            "name": str(file.get("name", "")),
            "type": str(file.get("type", "file")),
            "link": "",
            "size": None,
        }
        for file in message.files
    ]
    return OperatorMessage(
        chat_id=chat.id,
        line=line,
        im_chat_id=chat.portal_chat_id or 0,
        im_message_id=message.id,
        author="system" if system else "operator",
        name=None if system else message.author_name,
        text=message.text,
        extra={"files": files, "params": {}, "recovered": True},
        html=rendered(message.text, files),
        sent_at=message.sent_at,
    )
