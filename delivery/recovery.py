"""Finds operators' answers that never reached us in the portal's history.

Bitrix24 posts an event once. What it posted while we were down or slow is read from the dialogs,
separated from visitors' messages and notices (docs/bitrix24.md, section 12), stored once and
confirmed. After a restore visitors' messages come back, too, that were written after the backup.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import way
from bitrix import DIALOGS_A_CALL, PAGE, Bitrix
from delivery.lookup import CLOCKS_DIFFER_SECONDS
from logs import facts
from portal.attachments import attached_lines
from portal.inbox import html_below, text_html
from rest.errors import BitrixError, Refused, TryLater
from rest.replies import HistoryMessage
from storage import Store
from store.lost import LostMessage
from store.records import Chat, Dialog, File, LastRecovery, OperatorMessage
from turns import Turns

T = TypeVar("T")
log = logging.getLogger(__name__)

PAGES_A_DIALOG = 100  # of 50 messages, older than the newest page: what an old backup lacks
ADDED_AT_ONCE = 20  # messages in one transaction
ID_DIGITS = 18  # at most, of our ids
TRIES = 3  # of a dialog that cannot be read now
# What was read with one call is compared in as many steps as it takes: each answer that is put back
# waits for the disk, and visitors' messages would wait for all of a page's.
COMPARE_SECONDS = 0.25


@dataclass(frozen=True)
class RecoveryResult:
    """How many answers one recovery found in how many dialogs, and which it could not read."""

    answers: int
    dialogs: int
    unread: tuple[int, ...] = ()


@dataclass
class _Reading:
    """A dialog and its messages, as far back as they have been read."""

    dialog: Dialog
    page: list[HistoryMessage]  # the last that was read
    messages: list[HistoryMessage]
    pages: int = 1


class Recovery:
    """Reads all dialogs in which anything happened since `since`, at most one call a step.

    The caller makes other work between two steps and keeps the portal's limit.
    """

    def __init__(
        self,
        store: Store,
        bitrix: Bitrix,
        since: float,
        before_call: Callable[[], None] = lambda: None,
        unread: Sequence[int] = (),
        oldest: float = 0.0,
    ) -> None:
        """`unread`: dialogs that earlier recoveries could not read; they are read at any age.

        Messages of before `oldest` are let be: the settings do not keep them.
        """
        self._oldest = oldest
        self._store = store
        self._bitrix = bitrix
        self._before_call = before_call
        # Their numbers alone: as objects, 100,000 dialogs would hold up the garbage collector.
        dialogs = dict.fromkeys((*unread, *store.dialogs.in_conversation(since)))
        self._dialogs = deque(dialogs)
        self._uncompared: deque[_Reading] = deque()  # of the latest call
        self._longer: deque[_Reading] = deque()
        self._tries: Counter[int] = Counter()  # that failed, by dialog
        self._batch_failures = 0
        self._count, self._answers = len(dialogs), 0
        self._unread: list[int] = []

    @property
    def is_comparing(self) -> bool:
        """Whether the next step makes no call: something that was read is not compared yet."""
        return bool(self._uncompared)

    def step(self, now: float) -> RecoveryResult | None:
        """Make one call, or compare what was read; the result once all is done, else None.

        Raises BitrixError when the portal cannot be asked now: the next step asks again.
        """
        if not self._uncompared:
            if self._longer:
                self._read_on()
            elif self._dialogs:
                self._read_newest()
        self._compare_some(now)
        if self._uncompared or self._longer or self._dialogs:
            return None
        failed = len(self._unread)
        if self._answers or failed:
            result = facts(answers=self._answers, dialogs=self._count, failed=failed)
            log.warning("answers whose events were lost were looked for", extra=result)
        self._store.notes.recovery.set(LastRecovery(self._answers, self._count, failed, now))
        return RecoveryResult(self._answers, self._count, tuple(self._unread))

    def _compare_some(self, now: float) -> None:
        """Compare what was read, for a moment: the rest is left to the next steps."""
        turns, until = Turns(), time.monotonic() + COMPARE_SECONDS
        while self._uncompared and time.monotonic() < until:
            turns.give_way()
            self._compare(self._uncompared.popleft(), now)

    def _read_newest(self) -> None:
        part = list(islice(self._dialogs, DIALOGS_A_CALL if self._batch_failures < TRIES else 1))
        try:
            pages = self._pages(part)
        except BitrixError as error:
            if self._batch_failures >= TRIES and not isinstance(error, TryLater):
                self._put_last(part[0], error)
            raise
        known = self._store.dialogs.find(part)
        for number, page in zip(part, pages, strict=True):
            if isinstance(page, BitrixError):
                self._put_last(number, page)
                continue
            self._dialogs.popleft()
            if number in known:  # else the chat is deleted
                self._uncompared.append(_Reading(known[number], page, page))

    def _put_last(self, number: int, error: BitrixError) -> None:
        """Read a dialog that cannot be read now after all others, or give it up."""
        self._dialogs.remove(number)
        if self._is_given_up(number, error):
            self._fail(number, error)
        else:
            self._dialogs.append(number)

    def _pages(self, portal_chat_ids: list[int]) -> Sequence[list[HistoryMessage] | BitrixError]:
        """The newest messages of each dialog; one dialog a call where `batch` does not work."""
        self._before_call()
        if self._batch_failures >= TRIES:
            try:
                return [self._bitrix.dialog_messages(number) for number in portal_chat_ids]
            except Refused as error:
                return [error]
        try:
            return self._bitrix.newest_messages(portal_chat_ids)
        except BitrixError as error:
            self._batch_failures += not isinstance(error, TryLater)
            raise

    def _read_on(self) -> None:
        """Read the next older page of one dialog."""
        longer = self._longer.popleft()
        number = longer.dialog.portal_chat_id
        self._before_call()
        try:
            page = self._bitrix.dialog_messages(number, before=longer.messages[0].id)
        except BitrixError as error:
            if self._is_given_up(number, error):
                self._fail(number, error)
                return
            self._longer.append(longer)
            raise
        longer.page, longer.messages = page, page + longer.messages
        longer.pages += 1
        self._uncompared.append(longer)

    def _is_given_up(self, number: int, error: BitrixError) -> bool:
        self._tries[number] += 1
        return isinstance(error, Refused) or self._tries[number] >= TRIES

    def _fail(self, number: int, error: BitrixError) -> None:
        self._unread.append(number)
        log.warning("a dialog cannot be read", extra=facts(dialog=number, code=error.code))

    def _compare(self, read: _Reading, now: float) -> None:
        """Store the answers that our chat lacks, once the pages reach the last compared message.

        Or once PAGES_A_DIALOG are read: what is older is not recovered. Messages of ours that the
        page shows as deleted are deleted at once, however old they are.
        """
        dialog, page, messages = read.dialog, read.page, read.messages
        self._take_back(dialog, page)
        since = dialog.chat.taken_over_at or 0.0
        whole = len(page) < PAGE or page[0].id <= dialog.checked_im_id or page[0].sent_at < since
        if not whole and read.pages <= PAGES_A_DIALOG:
            self._longer.append(read)
            return
        if not whole:
            log.warning("dialog %d: older messages are not recovered", dialog.portal_chat_id)
        if not messages or messages[-1].id <= dialog.checked_im_id:
            return
        lines = self._store.portal.active_lines()
        line = dialog.line or dialog.chat.line or (lines[0] if lines else None)
        if line is None:
            return
        stored_ids = self._store.messages.known_im_message_ids(dialog.chat.id)
        missed = [
            message
            for message in messages
            if self._is_new(message, dialog)
            and message.id not in stored_ids
            and was_missed(message, dialog.chat)
        ]
        self._answers += self._put_back(dialog, messages)
        turns = Turns()
        for begin in range(0, len(missed), ADDED_AT_ONCE):
            answers = [
                _operator_message(dialog, message, line)
                for message in missed[begin : begin + ADDED_AT_ONCE]
            ]
            for added in self._store.messages.add_from_operators(answers, now):
                self._answers += 1
                way.step(
                    "recovered",
                    added.id,
                    added.chat_id,
                    author=added.author,
                    line=line,
                    portal_message=added.im_message_id,
                    late_s=round(now - added.sent_at),
                )
            turns.give_way()
        self._store.dialogs.note_checked(dialog, messages[-1].id)

    def _is_new(self, message: HistoryMessage, dialog: Dialog) -> bool:
        """Whether no recovery has compared it, and we were to have and to keep it."""
        since = max(self._oldest, dialog.chat.taken_over_at or 0.0)
        return message.id > dialog.checked_im_id and message.sent_at >= since

    def _put_back(self, dialog: Dialog, messages: list[HistoryMessage]) -> int:
        """Put back what the visitor wrote after the backup from which the store was restored."""
        since = self._store.notes.lost_since.get()
        if since is None:
            return 0
        written = {
            int(mid): message
            for message in messages
            if self._is_new(message, dialog) and was_written(message, since)
            for mid in message.connector_mids
            if mid.isdecimal() and len(mid) <= ID_DIGITS
        }
        lost = [
            _lost_message(dialog, mid, written[mid])
            for ids in batched(sorted(written), ADDED_AT_ONCE)
            for mid in sorted(self._store.lost.unknown(ids))
        ]
        count, turns = 0, Turns()
        for some in batched(lost, ADDED_AT_ONCE):
            count += self._store.lost.add(dialog.chat.id, list(some))
            turns.give_way()
        return count

    def _take_back(self, dialog: Dialog, page: list[HistoryMessage]) -> None:
        deleted = [message.id for message in page if message.deleted]
        found = self._store.found_deleted
        known = found.known(dialog.chat.id, deleted) if deleted else []
        if not known:
            return
        found.take_back_known(dialog.chat.id, deleted)
        for message_id in known:
            way.step(
                "deleted", message_id, dialog.chat.id, dialog=dialog.portal_chat_id, found=True
            )


def was_missed(message: HistoryMessage, chat: Chat) -> bool:
    """Whether a message not in our store is one that an event should have brought.

    It may carry an id of ours: we had it, and then our store was restored from a backup. Automatic
    texts look like internal notices, but for their class. A deleted message may have been a whisper
    (section 12).
    """
    if message.deleted or message.hidden or message.from_connector:
        return False
    if message.author_id == chat.portal_user_id:
        return False
    return message.author_id != 0 or "ol-output" in message.classes


def was_written(message: HistoryMessage, since: float) -> bool:
    """Whether a visitor wrote this after `since`, as far as the portal's clock can tell."""
    if message.deleted or message.hidden or not message.from_connector:
        return False
    return message.sent_at >= since - CLOCKS_DIFFER_SECONDS


def _lost_message(dialog: Dialog, own_id: int, message: HistoryMessage) -> LostMessage:
    files = tuple(
        File(str(file.get("name", "")), str(file.get("type", "file"))) for file in message.files
    )
    return LostMessage(
        id=own_id,
        im_message_id=message.id,
        im_chat_id=dialog.portal_chat_id,
        text=message.text,
        text_html=text_html(message.text),
        files=files,
        files_html=html_below("", files),
        sent_at=message.sent_at,
    )


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in groups of at most `size`."""
    return (items[first : first + size] for first in range(0, len(items), size))


def _operator_message(dialog: Dialog, message: HistoryMessage, line: int) -> OperatorMessage:
    """History has no signature, but the author; and no public links of files, but their names."""
    system = message.author_id == 0 or "ol-output" in message.classes
    files = tuple(
        File(str(file.get("name", "")), str(file.get("type", "file"))) for file in message.files
    )
    attached = attached_lines(message.attachments, message.text)
    return OperatorMessage(
        chat_id=dialog.chat.id,
        line=line,
        im_chat_id=dialog.portal_chat_id,
        im_message_id=message.id,
        author="system" if system else "operator",
        name=None if system else message.author_name,
        text=message.text,
        text_html=text_html(message.text),
        files=files,
        attached=attached,
        files_html=html_below(attached, files),
        incomplete=True,
        sent_at=message.sent_at,
    )
