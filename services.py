"""The parts of one running application, and its background jobs."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from bbcode import RENDERER
from bitrix import Bitrix
from delivery.worker import Worker
from files import Files
from live import Live
from portal.connector import Connector
from portal.inbox import render_outdated
from portal.proof import Proof
from portal.tokens import StoredTokens
from rates import Rates
from settings import ROOT, Settings
from storage import Store
from store.database import StoreUnavailable

log = logging.getLogger(__name__)

NOTE_SECONDS = 2.0  # between two writes of the refusal counts
READS, READS_A_SECOND = 300, 10.0  # of one visitor's chat: at once, and in the long run
RENDERING_PAUSE_SECONDS = 60.0  # before another try, if the store could not be used
ABANDONED_SECONDS = 86_400.0  # a file that is older and has no message was left by a crash


@dataclass(frozen=True)
class Services:
    """The parts of one application."""

    settings: Settings
    store: Store
    bitrix: Bitrix
    connector: Connector
    proof: Proof
    worker: Worker
    live: Live
    files: Files
    reading: Rates = field(default_factory=lambda: Rates(READS, READS_A_SECOND))  # by chat
    saves: Counter[str] = field(default_factory=Counter)  # under way, by asker
    refused: Counter[str] = field(default_factory=Counter)  # by reason, since the last write
    lost: threading.Event = field(default_factory=threading.Event)  # set: an event may be lost

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """All parts, connected to each other; nothing runs yet."""
        store = Store(settings.storage.url, ROOT, RENDERER)
        bitrix = Bitrix(settings.bitrix24, StoredTokens(store), settings.delivery.timeout_seconds)
        proof = Proof(settings, store, bitrix)
        connector = Connector(settings, store, bitrix, proof)
        worker = Worker(settings, store, bitrix, connector)
        files = Files(ROOT / settings.storage.files)
        return cls(settings, store, bitrix, connector, proof, worker, Live(store), files)

    def store_cannot_be_opened(self) -> bool:
        """Whether the store cannot be opened yet; an install makes it or says why not."""
        try:
            self.store.open()
        except StoreUnavailable:
            return True
        return False

    def note_refusals(self, stop: threading.Event) -> None:
        """Write the refusal counts every NOTE_SECONDS: a flood of forgeries makes few writes."""
        while not stop.wait(NOTE_SECONDS):
            counts, lost = dict(self.refused), self.lost.is_set()
            self.refused.clear()
            self.lost.clear()
            try:
                if counts:
                    self.store.limits.add_refusals(counts, time.time())
                    counts = {}
                if lost:  # a recovery looks for the event in the portal's history
                    self.store.notes.events_lost_at.set(time.time())
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
                self.refused.update(counts)
                if lost:
                    self.lost.set()

    def work(self, stop: threading.Event) -> None:
        """Run all background jobs, each in a thread; returns soon after `stop` is set."""
        jobs: dict[str, Callable[[threading.Event], None]] = {
            "live": self.live.run,
            "refusals": self.note_refusals,
            "rendering": self.render_again,
            "files": self.sweep_files,
        }
        for name, job in jobs.items():
            threading.Thread(target=job, args=(stop,), name=name, daemon=True).start()
        self.worker.run(stop)

    def render_again(self, stop: threading.Event) -> None:
        """Render messages again whose HTML was made by an earlier renderer."""
        while not stop.is_set():
            try:
                count = render_outdated(self.store, stop)
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
                stop.wait(RENDERING_PAUSE_SECONDS)
                continue
            if count:
                log.info("%d messages rendered again", count)
            return

    def sweep_files(self, _: threading.Event) -> None:
        """Remove files whose message was never stored: a crash left them."""
        try:
            swept = self.files.sweep(self.store.chats.file_keys, time.time() - ABANDONED_SECONDS)
        except StoreUnavailable as error:
            log.error("the files cannot be looked through: %s", error)
            return
        if swept:
            log.info("%d abandoned files removed", swept)
