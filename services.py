"""The parts of one running application, and its background jobs."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from bbcode import RENDERER
from bitrix import Bitrix
from delivery.worker import Worker
from files import Files, files_of
from live import Live
from logs import Lasting
from operations.doctor import Doctor
from operations.findings import Finding
from operations.page_settings import PageSettings
from operations.pulse import Pulse
from operations.retention import Retention
from operations.running import note_once
from operations.sightings import Sightings
from operations.watch import Watch
from portal.administrators import Administrators
from portal.connector import Connector
from portal.inbox import render_outdated
from portal.place import portal_address
from portal.proof import Proof
from portal.rename import Rename
from portal.tokens import StoredTokens
from rates import Pace, Rates
from settings import ROOT, ChatSettings, Settings
from storage import Store
from store.database import StoreUnavailable
from tally import process as tally
from under_way import UnderWay
from way import Shown

log = logging.getLogger(__name__)

NOTE_SECONDS = 2.0  # between two writes of the refusal counts
NUMBERS_SECONDS = 3.0  # between two times that a process adds its numbers to those of all
OPEN_SECONDS = 30.0  # between two times that it says how many pages it has open, if nothing changes
SETTLE_SECONDS = 1.0  # between two looks whether the store is quiet
MOST_REASONS = 200  # kept apart, in memory and in the store
REASON_BYTES = 2_000  # PostgreSQL takes some 2,700 into an index
OTHER_REASONS = json.dumps(["", "reasons.others", {}])  # under which all others count
ABANDONED_SECONDS = 3_600.0  # a file that is older and has no message was left by a crash
SWEEP_SECONDS = 3_600.0  # between two looks for such files
SWEEP_AGAIN_SECONDS = 60.0  # the same where another process looks now: it may be another host's
DELETION_SECONDS = 60.0  # a deletion that takes longer was interrupted, and is finished then
READS, READS_A_SECOND = 300, 10.0  # of one visitor's chat: at once, and in the long run
REPEATS, REPEATS_A_SECOND = 60, 1.0  # of messages that one visitor has sent already
# Of one address in one process: so many conversations that begin, or requests that are turned away,
# go on at once, and so many a second. All others go on one each PACE_SECONDS, in which the portal
# takes about two new conversations.
FREE, FREE_A_SECOND = 5, 0.1
PACE_SECONDS = 0.04
BEGIN_PATIENCE_SECONDS = 12.0  # 300 conversations
REFUSAL_PATIENCE_SECONDS = 2.0
# Under way at once in one process, of one address, and of one visitor. The page sends one file at a
# time for all its tabs.
UPLOADS = 64, 20, 4
SAVES = 50, 5, 2
RENDERING_PAUSE_SECONDS = 60.0  # between two looks for what an earlier renderer has made


def pace(patience: float) -> Pace:
    return Pace(Rates(FREE, FREE_A_SECOND), PACE_SECONDS, patience)


@dataclass(frozen=True)
class Services:
    """The parts of one application."""

    settings: Settings
    store: Store
    bitrix: Bitrix
    connector: Connector
    proof: Proof
    rename: Rename
    administrators: Administrators
    sightings: Sightings
    worker: Worker
    live: Live
    files: Files
    page_settings: PageSettings
    doctor: Doctor
    watch: Watch
    pulse: Pulse
    reading: Rates = field(default_factory=lambda: Rates(READS, READS_A_SECOND))  # by chat
    repeats: Rates = field(default_factory=lambda: Rates(REPEATS, REPEATS_A_SECOND))  # by chat
    # Both by address.
    beginnings: Pace = field(default_factory=lambda: pace(BEGIN_PATIENCE_SECONDS))
    refusals: Pace = field(default_factory=lambda: pace(REFUSAL_PATIENCE_SECONDS))
    uploads: UnderWay = field(default_factory=lambda: UnderWay(*UPLOADS))
    saves: UnderWay = field(default_factory=lambda: UnderWay(*SAVES))
    # Messages that are checked and not yet counted by the store, by whatever they will count for.
    unstored: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)  # by reason, since the last write
    shown: Shown = field(default_factory=Shown)  # answers, as the log says
    lost: threading.Event = field(default_factory=threading.Event)  # set: an event may be lost

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """All parts, connected to each other; nothing runs yet."""
        store = Store(settings.storage.url, ROOT, RENDERER)
        bitrix = Bitrix(
            settings.bitrix24,
            StoredTokens(store, settings.bitrix24),
            settings.delivery.timeout_seconds,
            partial(portal_address, settings.bitrix24, store),
        )
        proof = Proof(settings, store, bitrix)
        connector = Connector(settings, store, bitrix, proof)
        worker = Worker(settings, store, bitrix, connector)
        files = files_of(settings.storage, store)
        page_settings = PageSettings(settings, store)
        pulse = Pulse(store)
        doctor = Doctor(
            settings, store, bitrix, lambda: page_settings.chat, write_fault=pulse.fault
        )
        watch = Watch(settings, store, bitrix, doctor, lambda: settings.operations.notify)
        return cls(
            settings=settings,
            store=store,
            bitrix=bitrix,
            connector=connector,
            proof=proof,
            rename=Rename(settings.bitrix24, store, bitrix),
            administrators=Administrators(settings, store, bitrix, proof),
            sightings=Sightings(store),
            worker=worker,
            live=Live(store, worker.hear_of_writes),
            files=files,
            page_settings=page_settings,
            doctor=doctor,
            watch=watch,
            pulse=pulse,
        )

    def verdict(self) -> list[Finding]:
        """What is known of the chat now, the worst first; cheap enough for anybody's request."""
        return self.watch.verdict()

    def look(self, seconds: float, tries_front: bool = False) -> bool:
        """Ask the portal anew, and try our own address; whether that has ended in so many seconds.

        For an administrator, as it costs calls.
        """
        return self.watch.look_within(seconds, tries_front)

    @property
    def chat(self) -> ChatSettings:
        """The chat's settings that count now: those of the files, and else those of the page."""
        return self.page_settings.chat

    def sources(self) -> dict[str, str]:
        """Where each key comes from: "environment", a file's name, "page" or "default"."""
        return self.page_settings.sources()

    def save_page_settings(self, values: Mapping[str, Any]) -> None:
        """Set keys such as `chat.title` on the page; SettingsError, and then nothing is kept."""
        self.page_settings.save(values)

    def count_refusal(self, reason: str) -> None:
        """Count a request that was turned away.

        Requests must make neither reasons without end nor very long ones: those count as others.
        """
        known = reason in self.refused or len(self.refused) < MOST_REASONS
        is_short = len(reason.encode()) <= REASON_BYTES
        self.refused[reason if known and is_short else OTHER_REASONS] += 1

    def note_refusals(self, stop: threading.Event) -> None:
        """Write the refusal counts every NOTE_SECONDS: a flood of forgeries makes few writes."""
        trouble = Lasting(log)
        while not stop.wait(NOTE_SECONDS):
            for note in (_note_loss, _note_counts):
                try:
                    if note(self):
                        trouble.over()
                except StoreUnavailable as error:
                    trouble.met(error)

    def add_tally(self) -> None:
        """Add what this process has counted to the numbers of all; raises StoreUnavailable."""
        counts = tally.take()
        try:
            if counts:
                self.store.counts.add(counts, self.store.now())
        except StoreUnavailable:
            tally.give_back(counts)
            raise

    def note_numbers(self, stop: threading.Event) -> None:
        """For `/metrics` every few seconds tell the store what this process has counted."""
        noted, noted_at = 0, 0.0
        while not stop.wait(NUMBERS_SECONDS):
            now, open_now = time.monotonic(), self.live.open()
            with contextlib.suppress(StoreUnavailable):  # the other jobs say so
                self.add_tally()
                if open_now != noted or (open_now and now - noted_at > OPEN_SECONDS):
                    self._note_open(open_now)
                    noted, noted_at = open_now, now
        with contextlib.suppress(StoreUnavailable):
            self.add_tally()
            if noted:
                self._note_open(0)

    def _note_open(self, number: int) -> None:
        # In containers the workers of all hosts may have the same ids.
        self.store.counts.note_open(socket.gethostname(), os.getpid(), number)

    def work(self, stop: threading.Event) -> None:
        """Run all background jobs, each in a thread; returns soon after `stop` is set."""
        jobs: dict[str, Callable[[threading.Event], None]] = {
            "live": self.live.run,
            "refusals": self.note_refusals,
            "sightings": self.sightings.run,
            "rendering": self.render_again,
            "files": self.sweep_files,
            "deletions": self.finish_deletions,
            "settling": self.settle_store,
            "watch": self.watch.run,
            "running": self.note_running,
            "retention": Retention(self.store, self.files, self.settings.chat.keep_days).run,
        }
        if self.settings.operations.token.get_secret_value():
            tally.on = True
            jobs["numbers"] = self.note_numbers
        threads = [
            threading.Thread(target=job, args=(stop,), name=name, daemon=True)
            for name, job in jobs.items()
        ]
        for thread in threads:
            thread.start()
        self.worker.run(stop)
        for thread in threads:
            thread.join()

    def note_running(self, stop: threading.Event) -> None:
        """Note once with which settings we run; as soon as the store can be used."""
        while not note_once(self.settings, self.store) and not stop.wait(SETTLE_SECONDS):
            pass

    def settle_store(self, stop: threading.Event) -> None:
        """Bring the files of the store into a state that can be copied, whenever it is quiet."""
        while not stop.wait(SETTLE_SECONDS):
            with contextlib.suppress(StoreUnavailable):  # the other jobs say so
                self.store.database.settle()

    def render_again(self, stop: threading.Event) -> None:
        """Render messages again whose HTML was made by an earlier renderer.

        It looks again every minute: during an update processes of the release before write on.
        """
        trouble = Lasting(log)
        while not stop.is_set():
            try:
                count = render_outdated(self.store, stop)
                trouble.over()
            except StoreUnavailable as error:
                trouble.met(error)
                count = 0
            if count:
                log.info("%d messages rendered again", count)
            stop.wait(RENDERING_PAUSE_SECONDS)

    def finish_deletions(self, stop: threading.Event) -> None:
        """Every minute finish the deletions that a crash or a full disk has interrupted."""
        trouble = Lasting(log, "a deletion cannot be finished")
        while not stop.is_set():
            try:
                with self.store.database.try_lock("deletions") as held:
                    if held is not None:  # else another process finishes them now
                        self._finish_deletions_once()
                trouble.over()
            except StoreUnavailable as error:
                trouble.met(error)
            stop.wait(DELETION_SECONDS)

    def _finish_deletions_once(self) -> None:
        unfinished = self.store.removal.unfinished(self.store.now() - DELETION_SECONDS)
        if unfinished:
            self.store.removal.remove(unfinished, self.files.remove_chat)
            log.info("%d interrupted deletions finished", len(unfinished))

    def sweep_files(self, stop: threading.Event) -> None:
        """Every hour remove files whose message was never stored: a crash left them."""
        while not stop.is_set():
            pause = SWEEP_SECONDS
            try:
                with self.store.database.try_lock("files") as held:
                    if held is not None:
                        self._sweep_once()
                    else:  # another process looks through them, maybe through those of its host
                        pause = min(pause, SWEEP_AGAIN_SECONDS)
            except StoreUnavailable as error:
                log.error("the files cannot be looked through: %s", error)
            stop.wait(pause)

    def _sweep_once(self) -> None:
        if fault := self.files.fault():
            log.error("visitors cannot send files: %s", fault)
        # An upload under way is never so old: it is given up after seconds without a byte.
        swept = self.files.sweep(self.store.chats.file_keys, ABANDONED_SECONDS)
        if swept:
            log.info("%d abandoned files removed", swept)


def _note_loss(parts: Services) -> bool:
    """Whether there was one. A recovery looks for the event in the portal's history."""
    if not parts.lost.is_set():
        return False
    parts.lost.clear()
    try:
        parts.store.notes.events_lost_at.set(parts.store.now())
    except StoreUnavailable:
        parts.lost.set()
        raise
    return True


def _note_counts(parts: Services) -> bool:
    """Whether there were any."""
    counts = dict(parts.refused)
    parts.refused.clear()
    try:
        if counts:
            now, limits = parts.store.now(), parts.store.limits
            limits.add_refusals(counts, now, MOST_REASONS, OTHER_REASONS)
    except StoreUnavailable:
        parts.refused.update(counts)
        raise
    return bool(counts)
