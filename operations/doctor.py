"""The doctor: looks at everything that the chat needs, and says what is wrong and what to do.

It reads only. What it finds is the same for the page in the portal, for `/install`, for `sitechat
doctor`, for the log and for the note to the administrator.
"""

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bitrix import Bitrix
from files import files_of
from operations import (
    checks_events,
    checks_front,
    checks_messages,
    checks_own,
    checks_portal,
    front,
)
from operations.facts import Disk, Facts, Kept
from operations.findings import Finding, each_once, worst_first
from operations.former_store import left_behind
from operations.roots import without_consequences
from portal.place import portal_address
from portal.tokens import client_digest
from rest.errors import BitrixError
from rest.examination import Examination
from settings import ROOT, ChatSettings, Settings
from storage import Store, is_of_server, local_file
from store.database import StoreMissing, StoreOlder, StoreUnavailable, may_write
from store.log import log_bytes
from store.overview import Unannounced
from turns import apart_for

T = TypeVar("T")
Check = Callable[[Facts], Iterable[Finding]]

DISK_SECONDS = 3.0  # for a look at the disks
NOT_ISSUED = "none"  # before an install: whoever refuses it has answered
# What can be known without asking anybody. The order is that of the page, among equally bad ones.
LOCAL: tuple[Check, ...] = (
    checks_own.check_settings,
    checks_own.check_store,
    checks_own.check_service,
    checks_portal.check_install,
    checks_portal.check_lines,
    checks_portal.check_delivery,
    checks_portal.check_secret,
    checks_portal.check_address_of_portal,
    checks_own.check_address,
    checks_messages.check_waiting,
    checks_messages.check_refused,
    checks_messages.check_traffic,
    checks_messages.check_recovery,
    checks_events.check_events_arrive,
    checks_own.check_sites,
    checks_own.check_disk,
    checks_messages.check_turned_away,
    checks_own.check_version,
)
# What the portal, its OAuth server and our own address have to be asked for.
REMOTE: tuple[Check, ...] = (
    checks_portal.check_portal,
    checks_portal.check_oauth,
    checks_portal.check_rights,
    checks_portal.check_events,
    checks_portal.check_connector,
    checks_portal.check_clock,
    checks_front.check_front,
)
ALL = (*LOCAL, *REMOTE)


class Doctor:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        bitrix: Bitrix,
        chat: Callable[[], ChatSettings] | None = None,
        only_reads: bool = False,
        write_fault: Callable[[], StoreUnavailable | None] = lambda: None,
    ) -> None:
        """`chat` gives the settings of the chat with what was set on the page in the portal.

        `only_reads`: we are not the service, and the store is opened to be read only.
        `write_fault` says why nothing can be written to a store that can be read.
        """
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._chat = chat or (lambda: settings.chat)
        self._write_fault = write_fault
        self._only_reads = only_reads
        self._began = -math.inf if only_reads else time.monotonic()

    def local(self, patience: float = checks_own.STARTING_SECONDS) -> list[Finding]:
        """What can be known from the settings and the store, by some reads; the worst first.

        `patience` is for how long nobody need send messages after a start, while it goes on.
        """
        return self.local_of(self.facts(patience))

    def local_of(self, facts: Facts) -> list[Finding]:
        """What these facts say, the worst first."""
        return findings(facts, LOCAL)

    def raw_of(self, facts: Facts, checks: Iterable[Check] = LOCAL) -> list[Finding]:
        """The same with all that follows from another fault or was said before, in any order."""
        return [finding for check in checks for finding in check(facts)]

    def full(self, patience: float = checks_own.STARTING_SECONDS) -> list[Finding]:
        """All that can be known: also asks the portal, its OAuth server and our own address.

        It takes seconds, and a file as large as visitors may send goes to our own address.
        """
        facts = self.facts(patience)
        report = self.try_front() if checks_front.may_be_tried(facts) else None
        return findings(self.ask(facts, report), ALL)

    # -- facts

    def try_front(self, with_largest: bool = True) -> front.FrontReport | None:
        """Ask our own address; None where the store does not give the key that signs the ticket.

        `with_largest`: a body as large as the largest file goes there, too.
        """
        try:
            key = front.Key(self._store.portal.secret_key(), self._store.now)
            before = (self._store.notes.examined.get() or {}).get("front") or {}
        except StoreUnavailable:
            return None
        report = front.look(self._settings, key, with_largest)
        return front.with_since(report, before, self._store.now())

    def ask(self, facts: Facts, report: front.FrontReport | None) -> Facts:
        """The facts with what the portal and its OAuth server say, and with `report`."""
        kept, settings = facts.kept, self._settings
        report = report if checks_front.may_be_tried(facts) else None
        if not isinstance(kept, Kept) or not settings.bitrix24.complete:
            return replace(facts, front=report)
        lines, connector = list(kept.active_lines), settings.connector.id
        portal: Examination | BitrixError | None
        if kept.portal is None:
            token = NOT_ISSUED
            portal = _or_error(lambda: self._nothing_of_us(token))
        else:
            token = kept.portal.access_token
            portal = _or_error(lambda: self._bitrix.examine(connector, lines))
        oauth = _or_error(lambda: self._bitrix.home_of_token(token))
        return replace(facts, portal=portal, oauth=oauth, front=report)

    def _nothing_of_us(self, token: str) -> None:
        """Ask a portal that has not installed us: that it knows no such token is an answer, too."""
        self._bitrix.app_of_token(token)

    def facts(
        self, patience: float = checks_own.STARTING_SECONDS, now: float | None = None
    ) -> Facts:
        """What the settings, the store and the disk say."""
        settings = self._settings
        path, files = store_path(settings), ROOT / settings.storage.files
        on_server = is_of_server(settings.storage.url)
        kept: Kept | StoreUnavailable
        try:
            kept = self._kept(patience, now)
        except StoreUnavailable as error:
            kept = error
        now = self._store.now() if now is None else now  # its server has said it by now
        disks, files_are_writable = _seen_of_disks(() if on_server else (path.parent,), files)
        return Facts(
            settings=settings,
            chat=self._chat(),
            now=now,
            kept=kept,
            place=self._store.database.place if on_server else str(path.parent),
            on_server=on_server,
            left_behind=left_behind(settings, self._store.database.place)
            if on_server and _is_new(kept)
            else "",
            write_fault=self._write_fault() if isinstance(kept, Kept) else None,
            disks=disks,
            files_folder=str(files),
            files_are_writable=files_are_writable,
            lacks_files=isinstance(kept, Kept) and bool(disks) and self._lacks_newest_file(),
            is_service=not self._only_reads,
            former_runs=isinstance(kept, StoreOlder) and self._worker_runs(0.0, None, now),
            log_bytes=0 if on_server else log_bytes(path),
        )

    def _kept(self, patience: float, now: float | None) -> Kept:
        store, notes = self._store, self._store.notes
        up_at = notes.up_at.get()
        now = store.now() if now is None else now
        portal = store.portal.find()
        last_event_at, excused_until = notes.last_event_at.get(), notes.events_excused_until.get()
        due_since = checks_events.due_since(portal, last_event_at, excused_until, now)
        return Kept(
            portal=portal,
            portal_address=portal_address(self._settings.bitrix24, store),
            worker_runs=self._worker_runs(patience, up_at, now),
            worker_up_at=up_at,
            sender=notes.sender.get(),
            active_lines=tuple(store.portal.active_lines()),
            known_lines=tuple(store.portal.known_lines()),
            deliveries=store.queue.waiting(checks_messages.COUNTED),
            waiting=store.overview.waiting(checks_messages.COUNTED),
            waiting_lines=store.overview.waiting_lines(),
            refused=store.overview.refused(now - checks_messages.REFUSED_DAYS * 86_400),
            refusal_to_tell=store.overview.refusal_to_tell(now - checks_messages.DAY_SECONDS),
            last=store.overview.last_messages(),
            last_event_at=last_event_at,
            events_due_since=due_since,
            unannounced=Unannounced()
            if due_since is None
            else store.overview.unannounced(due_since),
            reached=notes.reached.get() or {},
            fault=notes.fault.get(),
            secret_is_proved=notes.renewed_with.get() == client_digest(self._settings.bitrix24),
            secret_proved_at=notes.renewed_at.get(),
            refused_renewal=notes.refused_renewal.get(),
            dead_lines=notes.dead_lines.get() or {},
            is_registered=notes.registered.get() is not None,
            refused_registration=notes.refused_registration.get(),
            is_unfinished=bool(notes.is_unfinished.get()),
            moved=notes.moved.get(),
            replaced_at=notes.replaced_at.get(),
            mended_at=notes.mended_at.get(),
            recovery=notes.recovery.get(),
            tried_sites=notes.tried_sites.get() or {},
            visited_addresses=notes.visited_addresses.get() or {},
            seen_addresses=notes.seen_addresses.get() or {},
            turned_away=tuple(store.limits.refusals()),
            clock_ahead=store.database.clock_ahead(),
        )

    def _lacks_newest_file(self) -> bool:
        """Whether the newest of visitors' files is not where it should be."""
        files = files_of(self._settings.storage, self._store)
        try:
            newest = self._store.contents.newest()
            if newest is None:
                return False
            if found := files.open(*newest):
                found.file.close()
                return False
            return self._store.contents.newest() == newest  # else it was deleted just now
        except StoreUnavailable:  # whoever only looks may not read it
            return False

    def _worker_runs(self, patience: float, up_at: float | None, now: float) -> bool:
        """Whether a process holds the worker's lock, or may be about to take it."""
        with self._store.database.try_lock("sender") as free:
            if free is None:
                return True
        began_at = now - (time.monotonic() - self._began)
        return 0 <= now - max(up_at or 0.0, began_at) < patience  # a clock may be set back


def findings(facts: Facts, checks: Iterable[Check]) -> list[Finding]:
    """What the checks make of the facts, the worst first; of two that say the same, the first."""
    return verdict_of(finding for check in checks for finding in check(facts))


def verdict_of(found: Iterable[Finding]) -> list[Finding]:
    """The findings as they are shown: no fault twice, the worst first."""
    return worst_first(checks_messages.explained(without_consequences(each_once(found))))


def _or_error(ask: Callable[[], T]) -> T | BitrixError | None:
    """What was answered; None where the store kept us from asking."""
    try:
        return ask()
    except BitrixError as error:
        return error
    except StoreUnavailable:
        return None


def _is_new(kept: Kept | StoreUnavailable) -> bool:
    """Whether a store was never used, but by visitors since it was begun."""
    return kept.portal is None if isinstance(kept, Kept) else isinstance(kept, StoreMissing)


def store_path(settings: Settings) -> Path:
    """The store's file; of a store on a server, the one beside which its copies are kept."""
    return local_file(settings.storage.url, ROOT)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _seen_of_disks(others: tuple[Path, ...], files: Path) -> tuple[tuple[Disk, ...], bool]:
    """The disks, and whether visitors' files can be written; no disk where one of them hangs."""

    def look() -> tuple[tuple[Disk, ...], bool]:
        there = existing(files)
        return _disks(*others, files), there.is_dir() and may_write(there)

    try:
        return apart_for(DISK_SECONDS, look)
    except TimeoutError:
        return (), False


def _disks(*folders: Path) -> tuple[Disk, ...]:
    """The disks of these folders, each once."""
    found: dict[int, Disk] = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            there = existing(folder)
            usage = shutil.disk_usage(there)
            found.setdefault(there.stat().st_dev, Disk(str(folder), usage.free, usage.total))
    return tuple(found.values())
