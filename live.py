"""Streams: which chats this process listens to, and when a stream reads the store.

A stream asks the store for its chat's changes after the last one it gave, so it misses nothing,
whichever process wrote. Hints only make it read at once: a datagram to each process after a
commit; without one it reads within a second. Knows nothing of HTTP or Bitrix24.
"""

import contextlib
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator

from logs import Lasting
from storage import Store
from store.database import Hints, StoreUnavailable
from store.records import Message

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20.0
# Those of all streams that fall into so long go together: to wake the process costs more than one
# heartbeat. Of 10,000 streams they take 4 ms.
BEAT_SECONDS = 0.2
LOOK_SECONDS = 1.0  # between two reads of the store, if no hint arrives
# And if hints do: the first one is followed at once, and one read is for all that come so soon
# after it. Else a server would be asked by each process for each write.
GATHER_SECONDS = 0.01
STREAMS_A_CHAT = 10  # in one process; one more ends the oldest
STREAMS = 10_000  # in one process, unless the server sets less


class Crowded(Exception):
    """There are too many streams already; whoever asks has to poll for a while."""


class Listener:
    """One stream. Its `bell` is set when it has to read the store."""

    def __init__(self, hang_up: Callable[[], None] | None = None) -> None:
        """`hang_up` ends a stream whose client does not read, so that nothing can be written."""
        self.bell = threading.Event()
        self.open = True
        self.writing = False
        self._hang_up = hang_up

    def end(self) -> None:
        self.open = False
        self.bell.set()
        if self.writing and self._hang_up is not None:
            self._hang_up()


def until_heartbeat(now: float) -> float:
    """Seconds from `now` until a stream's next heartbeat, if nothing comes before."""
    return HEARTBEAT_SECONDS + BEAT_SECONDS - now % BEAT_SECONDS


class Live:
    """The listeners of one process. Their bells are set only while `run` runs."""

    def __init__(self, store: Store, on_hint: Callable[[], None] = lambda: None) -> None:
        """`on_hint` is called after each write of any process, and every second."""
        self._store = store
        self._on_hint = on_hint
        self.most_streams = STREAMS
        self._places: Counter[str | None] = Counter()  # of streams, by address
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        # The latest revision and deletion that bells have rung for; None where nobody listened.
        self._rung_for: tuple[int, int] | None = None
        self._closed = False
        self._hints: Hints | None = None  # while `run` runs

    def take_place(self, address: str | None, limit: int) -> None:
        """Count a stream of the address, which may have `limit`; None is not limited.

        Raises Crowded. `leave_place` ends what this begins.
        """
        limit = min(limit, self.most_streams // 2)  # the others find places beside one address
        too_many = address is not None and self._places[address] >= limit
        if too_many or self._places.total() >= self.most_streams:
            raise Crowded
        self._places[address] += 1

    def leave_place(self, address: str | None) -> None:
        self._places[address] -= 1
        if not self._places[address]:
            del self._places[address]

    def open(self) -> int:
        """How many streams are open."""
        return self._places.total()

    def follow(
        self, chat_id: str, after: int | None, hang_up: Callable[[], None] | None = None
    ) -> Generator[Message | None, None, None]:
        """The chat's messages as they change, in the order of their changes.

        Begins after the revision `after`, or with the next change if that is None. Yields None as
        a heartbeat: one at once, then one after some 20 seconds without a message. Ends when the
        process ends or the chat is over; a new request then finds the visitor's new chat. Keeps
        no message while whoever asked works with it: a client may take long to read, or for ever.
        """
        # Listen before the first read, so that no change between the two is missed.
        listener = self._add(chat_id, hang_up)
        try:
            for change in self._changes(chat_id, after, listener):
                listener.writing = True
                yield change.pop()
                listener.writing = False
        finally:
            self._remove(chat_id, listener)

    def _changes(
        self, chat_id: str, after: int | None, listener: Listener
    ) -> Iterator[list[Message] | list[None]]:
        """Each change in a list of its own, from which it is taken."""
        seen = self._store.messages.revision() if after is None else after
        yield [None]
        while listener.open:
            # One at a time: a message may have 200,000 letters of HTML.
            changed = self._store.conversations.changed_after(chat_id, seen, 1)
            if self._store.chats.is_over(chat_id):
                return
            if changed:
                seen = changed[0].revision
                yield changed
            else:
                # A heartbeat asks the store nothing: `run` looks each second for all streams.
                while not listener.bell.wait(until_heartbeat(time.monotonic())):
                    yield [None]
                listener.bell.clear()

    def _add(self, chat_id: str, hang_up: Callable[[], None] | None = None) -> Listener:
        """A new listener; the one of the chat that has listened longest ends for an eleventh."""
        listener = Listener(hang_up)
        listeners = self._listeners[chat_id]
        listeners.append(listener)
        if len(listeners) > STREAMS_A_CHAT:
            listeners.pop(0).end()
        if self._closed:
            listener.end()
        return listener

    def _remove(self, chat_id: str, listener: Listener) -> None:
        listeners = self._listeners.get(chat_id, [])
        if listener in listeners:  # else another one took its place
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(chat_id, None)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`, set the bells of chats that any process changed; then end all streams."""
        with contextlib.closing(self._store.database.hints()) as hints:
            self._hints = hints
            trouble, looked_at = Lasting(log), 0.0  # on the monotonic clock
            while not stop.is_set():
                hints.wait(LOOK_SECONDS)
                time.sleep(max(0.0, looked_at + GATHER_SECONDS - time.monotonic()))
                looked_at = time.monotonic()
                try:
                    self._on_hint()
                    self._look()
                    trouble.over()
                except StoreUnavailable as error:
                    trouble.met(error)
                    stop.wait(LOOK_SECONDS)
            self._hints = None
        self.close()

    def close(self) -> None:
        """End all streams, so that the process can end; browsers connect to another process."""
        self._closed = True
        if self._hints is not None:
            self._hints.wake()
        for listeners in list(self._listeners.values()):
            for listener in list(listeners):
                listener.end()

    def _look(self) -> None:
        if not self._listeners:
            self._rung_for = None
            return
        messages, chats = self._store.messages, self._store.chats
        if self._rung_for is None:
            self._rung_for = messages.revision(), chats.latest_deletion()
            changed = set(self._listeners)  # all: we do not know what was written since they came
        else:
            revision, changed = messages.chats_changed_after(self._rung_for[0])
            deletion, deleted = chats.deleted_after(self._rung_for[1])
            self._rung_for = revision, deletion
            changed |= deleted
        for chat_id in changed & self._listeners.keys():
            for listener in self._listeners[chat_id]:
                listener.bell.set()
