"""The parts of one running application, and its jobs beside the answering of requests."""

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
from settings import ROOT, Settings
from storage import Store
from store.database import StoreUnavailable

log = logging.getLogger(__name__)

NOTE_SECONDS = 2.0  # between two notes of what was turned away
ABANDONED_SECONDS = 86_400.0  # after so long a file without a message is one that a crash left


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
    refused: Counter[str] = field(default_factory=Counter)  # since the last note
    lost: threading.Event = field(default_factory=threading.Event)  # an event, perhaps

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """All parts, wired; nothing runs yet."""
        store = Store(settings.storage.url, ROOT, RENDERER)
        bitrix = Bitrix(settings.bitrix24, StoredTokens(store), settings.delivery.timeout_seconds)
        proof = Proof(settings, store, bitrix)
        connector = Connector(settings, store, bitrix, proof)
        worker = Worker(settings, store, bitrix, connector)
        files = Files(ROOT / settings.storage.files)
        return cls(settings, store, bitrix, connector, proof, worker, Live(store), files)

    def store_is_new(self) -> bool:
        """Whether the store could not be used so far; an install makes it or says why not."""
        try:
            self.store.open()
        except StoreUnavailable:
            return True
        return False

    def note_refusals(self, stop: threading.Event) -> None:
        """Take the counts to the store now and then: a flood of forgeries is no flood of writes."""
        while not stop.wait(NOTE_SECONDS):
            counts, lost = dict(self.refused), self.lost.is_set()
            self.refused.clear()
            self.lost.clear()
            try:
                if counts:
                    self.store.limits.add_refusals(counts, time.time())
                if lost:  # the delivery worker looks for it in the portal's history
                    self.store.notes.events_lost_at.set(time.time())
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)
                if lost:
                    self.lost.set()

    def work(self, stop: threading.Event) -> None:
        """What a server does beside answering, all at once; it ends soon after `stop` is set."""
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
        """Give messages that an earlier renderer wrote their HTML of now."""
        try:
            count = render_outdated(self.store, stop)
        except StoreUnavailable as error:
            log.error("the store cannot be used: %s", error)
            return
        if count:
            log.info("%d messages rendered again", count)

    def sweep_files(self, _: threading.Event) -> None:
        """Remove files whose message was never stored: a crash left them."""
        try:
            swept = self.files.sweep(self.store.chats.file_keys, time.time() - ABANDONED_SECONDS)
        except StoreUnavailable as error:
            log.error("the files cannot be looked through: %s", error)
            return
        if swept:
            log.info("%d abandoned files removed", swept)
