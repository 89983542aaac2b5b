"""What requests tell of how we are reached: by which address, from which sites, by which events.

It is kept in memory and written every few seconds, so that no request waits for it and a flood of
them makes few writes. Others may say anything, so sites and addresses are shown to the
administrator and nothing follows from them by itself.
"""

import contextlib
import logging
import threading
import time
from typing import Literal
from urllib.parse import urlsplit

from addresses import DEFAULT_PORTS, host_of
from operations.reached import ReachedFromOutside
from rates import Rates, TooOften
from storage import Store
from store.database import StoreUnavailable

log = logging.getLogger(__name__)

WRITE_SECONDS = 2.0  # between two writes of what is new
REPEAT_SECONDS = 60.0  # until what is known already is written again
MOST_SITES = 20  # that tried to embed the chat; the one that was seen last stays longest
ORIGIN_LENGTH = 300  # characters
# New sites that one address may name, at once and in the long run: a flood of invented ones must
# not drive out those that are real.
NEW_SITES, NEW_SITES_A_SECOND = 5, 1 / 600

Who = Literal["portal", "visitors"]


class Sightings:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.reached = ReachedFromOutside(store)
        self._new_sites = Rates(NEW_SITES, NEW_SITES_A_SECOND)
        self._lock = threading.Lock()
        self._tried: dict[str, int] = {}  # how often, since the last write
        self._addresses: dict[str, str] = {}  # the last one of each
        self._event_at: float | None = None
        self._known: set[str] = set()  # sites that the store has
        self._written: dict[str, str] = {}  # addresses that the store has
        self._repeated_at = 0.0

    def saw_site(self, origin: str, asker: str) -> None:
        """A browser showed a page of this origin, which may not embed the chat.

        `asker` is a digest of the browser's address.
        """
        origin = valid_origin(origin)
        if not origin:
            return
        with self._lock, contextlib.suppress(TooOften):
            if origin not in self._tried and origin not in self._known:
                if len(self._tried) >= MOST_SITES:
                    return
                self._new_sites.take(asker)
            self._tried[origin] = self._tried.get(origin, 0) + 1

    def saw_address(self, who: Who, origin: str) -> None:
        """The portal, or a visitor's browser, has reached us by this origin."""
        if origin := valid_origin(origin):
            self._addresses[who] = origin

    def saw_event(self, now: float) -> None:
        """The portal has posted an event that is proved to be its own."""
        self._event_at = now

    def run(self, stop: threading.Event) -> None:
        """Write what was seen, until `stop` is set."""
        while not stop.wait(WRITE_SECONDS):
            try:
                self.write(time.time())
            except StoreUnavailable as error:
                log.error("the store cannot be used: %s", error)

    def write(self, now: float) -> None:
        """Put what is new into the store, and once a minute what is known already."""
        if self._event_at is not None:
            event_at, self._event_at = self._event_at, None
            self._store.notes.last_event_at.set(event_at)
        self.reached.write()
        is_time = not 0 <= now - self._repeated_at < REPEAT_SECONDS
        has_new = not self._known.issuperset(self._tried)
        if self._tried and (has_new or is_time):
            self._write_sites(now)
        has_new = any(who not in self._written for who in self._addresses)
        if self._addresses and (has_new or is_time):
            self._write_addresses()
        if is_time:
            self._repeated_at = now

    def _write_sites(self, now: float) -> None:
        with self._lock:
            tried, self._tried = self._tried, {}
        sites = self._store.notes.tried_sites.get() or {}
        for origin, times in tried.items():
            first, _, count = sites.get(origin, (now, now, 0))
            sites[origin] = [first, now, count + times]
        latest = sorted(sites, key=lambda origin: sites[origin][1])[-MOST_SITES:]
        self._store.notes.tried_sites.set({origin: sites[origin] for origin in latest})
        self._known = set(latest)

    def _write_addresses(self) -> None:
        seen = dict(self._addresses)
        known = self._store.notes.seen_addresses.get() or {}
        if known | seen != known:
            self._store.notes.seen_addresses.set(known | seen)
        self._written = known | seen

    def forget_site(self, origin: str) -> None:
        """A site that may embed the chat now is shown no longer."""
        with self._lock:
            self._tried.pop(origin, None)
        sites = self._store.notes.tried_sites.get() or {}
        if sites.pop(origin, None):
            self._store.notes.tried_sites.set(sites)
        self._known.discard(origin)


def valid_origin(value: str) -> str:
    """The one form of an origin that a browser or proxy names; "" for anything else."""
    if len(value) > ORIGIN_LENGTH:
        return ""
    try:
        url = urlsplit(value)
        host, port = host_of(url.hostname or ""), url.port
    except ValueError:
        return ""
    if url.scheme not in DEFAULT_PORTS or url.netloc.lower() != (url.hostname or "") + (
        f":{port}" if port is not None else ""
    ):
        return ""
    place = "" if port in (None, DEFAULT_PORTS[url.scheme]) else f":{port}"
    return f"{url.scheme}://{host}{place}" if url.path in ("", "/") else ""
