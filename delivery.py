"""The sender: takes what waits in the store to Bitrix24, oldest first.

One process at a time sends, so that a chat's order is kept and the portal's limit shared. Each
visitor's message ends delivered or refused; where an answer was lost we look for our id in the
dialog before we repeat. Knows nothing of web requests.
"""

import logging
import random
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Literal

from bitrix import (
    PAGE,
    Bitrix,
    BitrixError,
    HistoryMessage,
    ItemResult,
    OutcomeUnknown,
    Refused,
    SetupFault,
    TryLater,
)
from connector import Connector
from database import StoreUnavailable
from files import short_name
from recovery import DIALOGS_A_CALL, Recovery
from settings import Settings
from storage import Chat, Delivery, Outcome, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # how often an idle sender looks for work that other processes queued
CONFIRMATIONS_A_CALL = 50
ALONE_UP_TO = 3  # so many waiting messages are no backlog: each gets a call of its own
MESSAGES_A_CALL = 50
CHAT_MESSAGES_A_CALL = 10
CALL_SECONDS = 25.0  # what a call may take by our reckoning; the portal ends it after 60
SUSPECT_TRIES = 2  # in calls with others
TRIES = 8  # of a message whose calls the portal refuses without naming the message
ITEM_SECONDS = 0.25  # a message's share of a call, until measured
CHECK_SECONDS = 3600.0  # between two comparisons of the portal's set-up with ours
FINISH_SECONDS = 60.0  # within which an install should be finished
LOOK_AGAIN_SECONDS = 5.0  # after a look that the portal did not answer
OVERDUE_SECONDS = 10.0  # so long a look may wait for messages
GAP_SECONDS = 30.0  # a step so late means that we were stopped, and events were lost
RECENT_SECONDS = 3600.0  # conversations that are looked after between gaps
FIRST_SETTLES = 3
PAGES_LOOKED_AT = 4  # of 50 messages, newest first, when looking for one of ours
NAME_LIMIT = 25
FILE_NAME_LIMIT = 50  # the portal keeps the last characters of a longer one

# The portal's leaky bucket: 50 calls, emptied by 2 a second. We stay a little below both, and
# begin with a nearly full one, for we do not know what was called before our start.
BURST = 45.0
CALLS_A_SECOND = 1.9
FIRST_LEVEL = 35.0

Ended = Literal["delivered", "refused", "postponed", "unknown"]
LINE_FAULTS = {"NOT_ACTIVE_LINE", "IMCONNECTOR_NOT_ACTIVE_LINE"}


class Pace:
    """How many calls the portal still takes without refusing one; times in Unix seconds."""

    def __init__(self) -> None:
        self._level = FIRST_LEVEL
        self._at: float | None = None

    def wait_seconds(self, now: float) -> float:
        """How long to wait before the next call."""
        self._drain(now)
        return max(0.0, (self._level + 1 - BURST) / CALLS_A_SECOND)

    def count_call(self, now: float) -> None:
        self._drain(now)
        self._level += 1

    def overrun(self, now: float) -> None:
        """The portal refused a call: its bucket is full, whatever we believed."""
        self._drain(now)
        self._level = BURST

    def _drain(self, now: float) -> None:
        passed = now - (now if self._at is None else self._at)  # below 0 when a clock is set back
        self._level = max(0.0, self._level - max(0.0, passed) * CALLS_A_SECOND)
        self._at = now


class Sender:
    def __init__(
        self, settings: Settings, store: Store, bitrix: Bitrix, connector: Connector
    ) -> None:
        self._connector = connector
        self._recovery = Recovery(store, bitrix, self._keep_pace)
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._pace = Pace()
        self._item_seconds = ITEM_SECONDS
        self._most = MESSAGES_A_CALL  # halved by a call that came to nothing
        self._failures = 0  # calls in a row that came to nothing
        self._not_before = 0.0  # Unix seconds; the portal as a whole is not to be called
        self._fault_since: float | None = None  # when the set-up was found broken
        self._alone: set[int] = set()  # deliveries that spoiled a call for others
        self._check_at = 0.0  # Unix seconds
        self._recover_at = 0.0
        self._recover_all = True  # there was a gap: also conversations that are not recent
        self._stepped_at = 0.0
        self._settled_last = False
        self._wake = threading.Event()

    # -- the loop

    def run(self, stop: threading.Event) -> None:
        """Send whatever waits until `stop`, whenever no other process does."""
        while not stop.is_set():
            try:
                with self._store.try_lock("sender") as held:
                    # Whoever sent before us may have died, and events with it.
                    self._recover_at, self._recover_all = 0.0, True
                    while held and not stop.is_set():
                        if not self.step(time.time()):
                            self._rest(LOOK_SECONDS)
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
            except Exception:
                log.exception("the sender failed and goes on")
            self._rest(1.0)

    def wake(self) -> None:
        """Say that something was queued."""
        self._wake.set()

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    # -- one step

    def step(self, now: float) -> bool:
        """Make one call for what is due; False when there is nothing to do now."""
        self._notice_gap(now)
        if self._must_wait(now):
            return False
        return (
            self._look_after(now, OVERDUE_SECONDS)
            or self._deliver(now)
            or self._look_after(now, 0.0)
        )

    def _deliver(self, now: float) -> bool:
        """Confirmations first: the portal marks an answer as undelivered after a minute."""
        confirmations = self._store.due_confirmations(now, CONFIRMATIONS_A_CALL)
        if confirmations:
            line = confirmations[0].line
            self._confirm([one for one in confirmations if one.line == line], now)
            return True
        waiting = self._store.due_messages(now, MESSAGES_A_CALL, CHAT_MESSAGES_A_CALL)
        unsure = [one for one in waiting if one.sending_since is not None]
        # A chat waits for its unsettled message, the others do not: they take turns.
        chats = {one.chat.id for one in unsure}
        ready = [one for one in waiting if one.chat.id not in chats]
        if unsure and not (ready and self._settled_last):
            self._settled_last = True
            self._settle(unsure, now)
            return True
        self._settled_last = False
        if not ready:
            return False
        line = self._line_of(ready[0].chat)
        if line is None:
            self._postpone(ready, "NO_LINE", now)
        else:
            same_line = [one for one in ready if self._line_of(one.chat) == line]
            self._send(self._fitting(same_line), line, now)
        return True

    def _notice_gap(self, now: float) -> None:
        if self._stepped_at and now - self._stepped_at > GAP_SECONDS:
            self._recover_at, self._recover_all = now, True
        self._stepped_at = now

    def _look_after(self, now: float, late: float) -> bool:
        """Recover answers whose events were lost, or check the set-up, when so late for it.

        A failure holds up nothing else: what sends and confirms finds out for itself.
        """
        if now < min(self._check_at, self._recover_at) + late:
            return False
        portal = self._store.portal()
        if portal is None:
            return False
        # BX24.installFinish() comes only after our page: before, every check would find fault.
        self._check_at = max(self._check_at, portal.installed_at + FINISH_SECONDS)
        if now < min(self._check_at, self._recover_at) + late:
            return False
        recovery = self._settings.recovery
        try:
            if now >= self._recover_at:
                reach = recovery.active_hours * 3600 if self._recover_all else RECENT_SECONDS
                self._recover_at = now + LOOK_AGAIN_SECONDS
                self._recovery.look(now - reach, now)
                self._recover_at, self._recover_all = now + recovery.seconds, False
            else:
                self._check_at = now + CHECK_SECONDS
                self._pace.count_call(now)
                if not self._connector.check():
                    self._check_at = now + FINISH_SECONDS
        except BitrixError as error:
            log.warning("looking after the portal: %s: %s", error.method, error.code)
            if error.code == "QUERY_LIMIT_EXCEEDED":
                self._pace.overrun(now)
            if isinstance(error, Refused | SetupFault):
                self._recover_at = max(self._recover_at, now + recovery.seconds)
            else:
                self._check_at = min(self._check_at, now + LOOK_AGAIN_SECONDS)
        return True

    def _keep_pace(self) -> None:
        """Wait for the next call of many in a row."""
        now = time.time()
        time.sleep(self._pace.wait_seconds(now))
        self._pace.count_call(now)

    def _must_wait(self, now: float) -> bool:
        if now < self._not_before and self._fault_since is not None:
            mended_at = self._store.note("mended")
            if mended_at and mended_at > self._fault_since:
                self._fault_since, self._not_before = None, 0.0
        return now < self._not_before or self._pace.wait_seconds(now) > 0

    def _fitting(self, waiting: list[Delivery]) -> list[Delivery]:
        """As many as one call shall carry: several while a backlog stands, else the first."""
        if len(waiting) <= ALONE_UP_TO or self._goes_alone(waiting[0]):
            return waiting[:1]
        room = max(1, min(self._most, int(CALL_SECONDS / self._item_seconds)))
        fitting = []
        for _, run in groupby(waiting, key=lambda one: one.chat.id):
            for one in run:
                if self._goes_alone(one):  # and what follows it in its chat waits
                    break
                fitting.append(one)
        return fitting[:room]

    def _goes_alone(self, delivery: Delivery) -> bool:
        """Whether the message may be what the portal stumbles over, or waits for.

        It fetches files before it answers.
        """
        suspect = delivery.id in self._alone or delivery.attempts >= SUSPECT_TRIES
        return suspect or bool(delivery.message.extra.get("files"))

    def _line_of(self, chat: Chat) -> int | None:
        """The line the chat began on while it is connected, else the one connected last."""
        lines = self._store.active_lines()
        if chat.line in lines:
            return chat.line
        return lines[0] if lines else None

    # -- calls

    def _send(self, batch: list[Delivery], line: int, now: float) -> None:
        connector = self._settings.connector.id
        batch = self._store.begin_sending(batch, line, now)
        if not batch:
            return
        began = time.monotonic()
        self._pace.count_call(self._stepped_at)
        try:
            results = self._bitrix.send_messages(
                connector, line, [_wire_message(one) for one in batch]
            )
        except Refused as error:
            if error.code in LINE_FAULTS:
                self._repair_line(batch, line, now)
            elif len(batch) > 1:
                # One of them is bad; each alone will show which.
                self._alone.update(one.id for one in batch)
                self._store.record([Outcome(one, "postponed", error.code) for one in batch], now)
            elif batch[0].attempts + 1 < TRIES:
                # Of the call, not of the item: the portal's trouble is likelier than the message's.
                self._store.set_note("fault", {"method": error.method, "code": error.code})
                self._postpone(batch, error.code, now)
            else:
                self._end(batch, "refused", error.code, now)
            return
        except BitrixError as error:
            self._put_off(batch, error, now + time.monotonic() - began)
            return
        self._measure(time.monotonic() - began, len(batch))
        self._most = min(MESSAGES_A_CALL, self._most * 2)
        self._works()
        outcomes = []
        for one, result in zip(batch, results, strict=True):
            if _lacks_file(one, result):
                # It could not fetch it, or would not. The operator shall have it all the same.
                log.warning("the file of message %d is sent as a link", one.message.id)
                outcomes.append(
                    Outcome(
                        one,
                        "postponed",
                        "NO_FILE",
                        portal_chat_id=result.portal_chat_id,
                        portal_user_id=result.portal_user_id,
                        session_id=result.session_id,
                        by_link=True,
                    )
                )
            elif not result.accepted:
                reason = "; ".join(result.errors)[:300]
                log.warning("message %d refused: %s", one.message.id, reason)
                outcomes.append(Outcome(one, "refused", reason))
            elif result.session_id is None:
                due = now + self._settings.delivery.retry_seconds
                user_id = result.portal_user_id
                outcomes.append(Outcome(one, "unknown", "NO_SESSION", due, portal_user_id=user_id))
            else:
                outcomes.append(
                    Outcome(
                        one,
                        "delivered",
                        portal_chat_id=result.portal_chat_id,
                        portal_user_id=result.portal_user_id,
                        session_id=result.session_id,
                    )
                )
        self._alone.difference_update(one.id for one in batch)
        self._store.record(outcomes, now)

    def _confirm(self, batch: list[Delivery], now: float) -> None:
        """Tell the portal that operators' messages are ours now; repeating is harmless."""
        if batch[0].id in self._alone:
            batch = batch[:1]
        line = batch[0].line
        if line is None:  # never stored so
            raise ValueError(f"confirmation {batch[0].id} has no line")
        self._pace.count_call(self._stepped_at)
        try:
            self._bitrix.confirm_delivery(
                self._settings.connector.id, line, [_wire_confirmation(one) for one in batch]
            )
        except Refused as error:
            if len(batch) > 1:
                self._alone.update(one.id for one in batch)
            else:
                log.warning("confirmation of %d refused: %s", batch[0].message.id, error.code)
                self._end(batch, "refused", None, now)
            return
        except BitrixError as error:
            self._put_off(batch, error, now)
            return
        self._works()
        self._end(batch, "delivered", None, now)

    def _repair_line(self, batch: list[Delivery], line: int, now: float) -> None:
        """Activate a line that the portal calls inactive: its own button does half of it only."""
        self._pace.count_call(self._stepped_at)
        try:
            self._bitrix.activate(self._settings.connector.id, line, True)
            log.warning("line %d was not active and has been activated", line)
        except BitrixError as error:
            log.warning("line %d could not be activated: %s", line, error.code)
        if any(one.attempts > 0 for one in batch):
            self._postpone(batch, "NOT_ACTIVE_LINE", now)
        else:
            self._store.record([Outcome(one, "postponed", "NOT_ACTIVE_LINE") for one in batch], now)

    # -- lost answers

    def _settle(self, unsure: list[Delivery], now: float) -> None:
        """Find out which messages arrived whose call was never answered.

        One look at all their dialogs; then one at a time where that does not tell.
        """
        looked = False
        left = list(unsure)
        try:
            pages = self._newest_pages(unsure)
            for one in unsure:
                page = pages.get(one.chat.portal_chat_id)
                wanted = _wire_id(one)
                if page is not None and any(wanted in said.connector_mids for said in page):
                    self._conclude(one, True, now)
                elif page is not None and len(page) < PAGE:
                    self._conclude(one, False, now)
                elif not looked or not _can_be_asked(one.chat):
                    looked = looked or _can_be_asked(one.chat)
                    self._conclude(one, self._find_at_portal(one), now)
                left.remove(one)
        except BitrixError as error:
            log.warning("%s: %s (%d to settle)", error.method, error.code, len(left))
            at = self._rest_after(error, now)
            outcomes = [Outcome(one, "unknown", one.error, at, tried=False) for one in left]
            self._store.record(outcomes, now)
        else:
            self._works()

    def _newest_pages(self, unsure: list[Delivery]) -> dict[int | None, list[HistoryMessage]]:
        """The newest messages of the deliveries' dialogs, by portal chat id, as far as told."""
        ids = {one.chat.portal_chat_id: None for one in unsure}
        asked = [one for one in ids if one is not None][:DIALOGS_A_CALL]
        if not asked:
            return {}
        self._pace.count_call(self._stepped_at)
        try:
            pages = self._bitrix.newest_messages(asked)
        except (Refused, SetupFault) as error:
            log.warning("dialogs cannot be read together: %s", error.code)
            return {}
        both = zip(asked, pages, strict=True)
        return {one: page for one, page in both if not isinstance(page, BitrixError)}

    def _conclude(self, delivery: Delivery, found: bool | None, now: float) -> None:
        """End or repeat a message, now that we know as much as can be known of it."""
        settings = self._settings.delivery
        since = delivery.sending_since or now
        settle_seconds = settings.settle_seconds
        if delivery.error is None:
            # We died in the call: the portal works on, as long as it would have let us wait.
            settle_seconds = max(settle_seconds, settings.timeout_seconds)
        if found is None and not _can_be_asked(delivery.chat):
            # A chat's first message: the event that names its dialog may still be on its way.
            settle_seconds *= FIRST_SETTLES
        settled = now >= since + settle_seconds
        message_id = delivery.message.id
        if found or (found is None and delivery.error == "NO_SESSION" and settled):
            # Builds that name no session have taken it all the same (bitrix24.md section 4).
            log.info("message %d had arrived, its answer was lost", message_id)
            self._end([delivery], "delivered", None, now)
        elif not settled:
            due = min(now + self._pause(delivery.attempts), since + settle_seconds)
            outcome = Outcome(delivery, "unknown", delivery.error, due, tried=False)
            self._store.record([outcome], now)
        elif found is None and settings.unconfirmed == "keep":
            log.warning("message %d may have arrived; it is not sent again", message_id)
            self._end([delivery], "refused", None, now)
        else:
            log.info("message %d is sent again, its answer was lost", message_id)
            outcome = Outcome(delivery, "postponed", "NO_REPLY", tried=False)
            self._store.record([outcome], now)

    def _find_at_portal(self, delivery: Delivery) -> bool | None:
        """Whether our id stands in the portal's dialog; None when nobody lets us look.

        The dialog itself, then the session's history: their rights differ (section 12).
        """
        chat, wanted = delivery.chat, _wire_id(delivery)
        portal_chat_id, session_id = chat.portal_chat_id, chat.session_id
        readers: list[Callable[[], bool]] = []
        if portal_chat_id is None and chat.portal_user_id:
            line = delivery.line or chat.line
            code = f"{self._settings.connector.id}|{line}|{chat.id}|{chat.portal_user_id}"
            self._pace.count_call(self._stepped_at)
            try:
                portal_chat_id, session_id = self._bitrix.find_dialog(code)
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
                if reader():
                    return True
            except Refused as error:
                log.warning("message %s cannot be looked for: %s", wanted, error.code)
            else:
                return False
        return None

    def _stands_in_dialog(self, portal_chat_id: int, wanted: str) -> bool:
        before = None
        for _ in range(PAGES_LOOKED_AT):
            self._pace.count_call(self._stepped_at)
            page = self._bitrix.dialog_messages(portal_chat_id, before=before)
            if any(wanted in message.connector_mids for message in page):
                return True
            if len(page) < PAGE:
                break
            before = page[0].id
        return False

    def _stands_in_session(self, session_id: int, wanted: str) -> bool:
        self._pace.count_call(self._stepped_at)
        page = self._bitrix.session_messages(session_id)
        return any(wanted in message.connector_mids for message in page)

    # -- ends

    def _end(self, batch: list[Delivery], state: Ended, error: str | None, now: float) -> None:
        self._alone.difference_update(one.id for one in batch)
        self._store.record([Outcome(one, state, error) for one in batch], now)

    def _put_off(self, batch: list[Delivery], error: BitrixError, now: float) -> None:
        """A call came to nothing: note what that means for each, and give the portal a rest."""
        log.warning("%s: %s (%d waiting)", error.method, error.code, len(batch))
        at = self._rest_after(error, now)
        unknown = isinstance(error, OutcomeUnknown)
        if unknown and batch[0].kind == "message":
            # Fewer next time: the call may have been too much, or one of them is.
            self._most = max(1, len(batch) // 2)
            at = max(at, now + self._pause(max(one.attempts for one in batch)))
        state: Ended = "unknown" if unknown else "postponed"
        outcomes = [Outcome(one, state, error.code, at, tried=unknown) for one in batch]
        self._store.record(outcomes, now)

    def _rest_after(self, error: BitrixError, now: float) -> float:
        """Leave the portal alone for a while; returns when what was asked is due again."""
        self._failures += 1
        at = self._not_before = now + self._pause(self._failures)
        if isinstance(error, TryLater):
            at = self._not_before = max(at, error.at)
            if error.code == "QUERY_LIMIT_EXCEEDED":
                self._pace.overrun(now)
        elif isinstance(error, SetupFault):
            # Everything stands still until an install or the next look, so nothing is put off.
            self._fault_since = at = now
            self._not_before = now + self._settings.delivery.retry_limit_seconds
            self._store.set_note("fault", {"method": error.method, "code": error.code})
        return at

    def _postpone(self, batch: list[Delivery], code: str, now: float) -> None:
        outcomes = [
            Outcome(one, "postponed", code, now + self._pause(one.attempts + 1)) for one in batch
        ]
        self._store.record(outcomes, now)

    def _pause(self, failures: int) -> float:
        """Seconds to wait after so many failures: doubling, limited, with jitter."""
        delivery = self._settings.delivery
        pause = delivery.retry_seconds * 2.0 ** min(max(failures - 1, 0), 20)
        return min(pause, delivery.retry_limit_seconds) * random.uniform(0.8, 1.2)  # noqa: S311

    def _works(self) -> None:
        if self._failures:
            self._store.set_note("fault", None)
            # While the portal could not be reached from here, we may not have been from there.
            self._recover_at, self._recover_all = 0.0, True
        self._failures = 0

    def _measure(self, seconds: float, items: int) -> None:
        self._item_seconds += (seconds / items - self._item_seconds) * 0.3


def _can_be_asked(chat: Chat) -> bool:
    """Whether the portal has told us anything by which to find the chat's dialog."""
    told = (chat.portal_chat_id, chat.portal_user_id, chat.session_id)
    return any(one is not None for one in told)


def _wire_message(delivery: Delivery) -> dict[str, object]:
    """One item of `imconnector.send.messages`; the text goes as typed."""
    chat, message = delivery.chat, delivery.message
    user = {"id": chat.id, "name": portal_name(chat.name), "email": chat.email, "phone": chat.phone}
    told = {"id": _wire_id(delivery), "date": int(message.sent_at), "text": message.text}
    files = message.extra.get("files", [])
    if delivery.by_link:  # the text, if there is one, has arrived
        told["text"] = "\n".join(f"{file['name']}\n{file['link']}" for file in files)
    elif files:
        told["files"] = [
            {"url": file["link"], "name": short_name(file["name"], FILE_NAME_LIMIT)}
            for file in files
        ]
    return {
        "user": {key: value for key, value in user.items() if value},
        "message": told,
        "chat": {"id": chat.id, "url": chat.page or None},
    }


def _wire_id(delivery: Delivery) -> str:
    """By what the portal knows the message; a file's link is a message of its own."""
    return f"{delivery.message.id}-link" if delivery.by_link else str(delivery.message.id)


def _lacks_file(delivery: Delivery, result: ItemResult) -> bool:
    """Whether the message had a file and the portal did not get it (bitrix24.md section 5).

    Text with a file that fails is taken without the file; a file alone is refused.
    """
    if delivery.by_link or not delivery.message.extra.get("files"):
        return False
    if result.accepted:
        return result.files == 0 and result.session_id is not None
    return not delivery.message.text.strip()


def _wire_confirmation(delivery: Delivery) -> dict[str, object]:
    """One item of `imconnector.send.status.delivery`: the portal's ids and our own."""
    message = delivery.message
    return {
        "im": {"chat_id": message.im_chat_id, "message_id": message.im_message_id},
        "message": {"id": [message.id]},
        "chat": {"id": delivery.chat.id},
    }


def portal_name(name: str) -> str:
    """A visitor's name within the portal's rule: 25 letters, spaces, hyphens, apostrophes."""
    name = unicodedata.normalize("NFC", name).replace("’", "'")
    letters = "".join(
        one if unicodedata.category(one)[0] in "LM" or one in "-'" else " " for one in name
    )
    letters = re.sub(r"\s+", " ", letters)
    return letters[:NAME_LIMIT].strip()
