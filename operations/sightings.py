"""What requests tell of how we are reached: by which address, from which sites, by which events.

It is kept in memory and written every few seconds, so that no request waits for it and a flood of
them makes few writes; only what an administrator's request tells is written at once. Others may say
anything: sites and addresses that visitors name are shown to the administrator, and nothing follows
from them by itself (operations/named.py).
"""

import contextlib
import logging
import threading
from urllib.parse import urlsplit

from addresses import DEFAULT_PORTS, host_of
from logs import Lasting
from operations.named import Pending, merged
from operations.reached import ReachedFromOutside
from storage import Store
from store.database import StoreUnavailable
from store.notes import Note
from store.records import Named

log = logging.getLogger(__name__)

WRITE_SECONDS = 2.0  # between two writes of what is new
REPEAT_SECONDS = 60.0  # until what is known already is written again
ORIGIN_LENGTH = 300  # characters


class Sightings:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.reached = ReachedFromOutside(store)
        self._lock = threading.Lock()
        self._sites = Pending()  # that tried to show the chat
        self._visited = Pending()  # addresses at which visitors see our page, but the right one
        self._is_visited_rightly = False
        self._portal = ""  # the address by which an administrator has opened our page
        self._event_at: float | None = None
        self._repeated_at = 0.0

    def saw_site(self, origin: str, asker: str) -> None:
        """A browser showed a page of this origin, which may not embed the chat.

        `asker` is a digest of the browser's address.
        """
        if origin := valid_origin(origin):
            with self._lock:
                self._sites.add(origin, asker)

    def saw_visitor(self, origin: str, asker: str, right: str) -> None:
        """A visitor's browser says that it sees our page at this origin; `right` is the one set."""
        if origin == right:
            self._is_visited_rightly = True
        elif origin := valid_origin(origin):
            with self._lock:
                self._visited.add(origin, asker)

    def saw_administrator(self, origin: str) -> None:
        """A proved administrator of the portal has opened our page by this origin.

        It is written at once, as far as it can be: the very page that they get has to say it.
        """
        self._portal = valid_origin(origin) or self._portal
        with contextlib.suppress(StoreUnavailable):  # the next write tries it again
            self._write_portal()

    def saw_event(self, now: float) -> None:
        """The portal has posted an event that is proved to be its own."""
        self._event_at = now

    def run(self, stop: threading.Event) -> None:
        """Write what was seen, until `stop` is set."""
        trouble = Lasting(log)
        while not stop.wait(WRITE_SECONDS):
            try:
                if self.write(self._store.now()):
                    trouble.over()
            except StoreUnavailable as error:
                trouble.met(error)

    def write(self, now: float) -> bool:
        """Put what is new into the store, and once a minute what is known already.

        Returns whether there was anything to write.
        """
        notes = self._store.notes
        writes = self._event_at is not None or bool(self._portal) or self._is_visited_rightly
        if self._event_at is not None:
            event_at, self._event_at = self._event_at, None
            notes.last_event_at.set(event_at)
        self._write_portal()
        if self._is_visited_rightly:
            self._is_visited_rightly = False
            self._forget_visited()
        writes = self.reached.write() or writes
        is_time = not 0 <= now - self._repeated_at < REPEAT_SECONDS
        for pending, note in (
            (self._sites, notes.tried_sites),
            (self._visited, notes.visited_addresses),
        ):
            if pending.has_new or (is_time and pending):
                writes = True
                self._write_names(pending, note, now)
        if is_time:
            self._repeated_at = now
        return writes

    def _write_portal(self) -> None:
        portal, note = self._portal, self._store.notes.seen_addresses
        if portal and note.get() != {"portal": portal}:
            note.set({"portal": portal})
        self._portal = ""

    def _write_names(self, pending: Pending, note: Note[dict[str, Named]], now: float) -> None:
        with self._lock:
            named = pending.take()
        note.change(lambda kept: merged(kept or {}, named, now))
        pending.known = frozenset(note.get() or {})

    def _forget_visited(self) -> None:
        """Visitors are seen at the right address: whatever others have said is of no use."""
        with self._lock:
            self._visited.take()
        if self._store.notes.visited_addresses.get():
            self._store.notes.visited_addresses.clear()
        self._visited.known = frozenset()

    def forget_site(self, origin: str) -> None:
        """A site that may embed the chat now is shown no longer."""
        with self._lock:
            self._sites.forget(origin)
        note = self._store.notes.tried_sites
        if origin in (note.get() or {}):
            note.change(
                lambda kept: {one: named for one, named in (kept or {}).items() if one != origin}
            )


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
