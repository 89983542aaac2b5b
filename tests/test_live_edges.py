"""Streams at their edges, in one process and between two: a real store, no HTTP."""

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from stage import path_of, wait_until

from live import BEAT_SECONDS, Crowded, Live, until_heartbeat
from storage import Store
from store.database import Hints, StoreUnavailable
from store.datagrams import Datagrams
from store.messages import MessageTables
from store.records import Chat, Limits, Message, VisitorMessage

NOW = 1_790_000_000.0
LIMITS = Limits("an address", 10_000, 10_000)
CHAT = "chat" + "a" * 64
OTHER = "chat" + "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.open()
        yield store


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Store]:
    """Another store on the same file, as another process would have it."""
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        yield store


@pytest.fixture
def live(store: Store) -> Live:
    return Live(store)


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr("live.BEAT_SECONDS", 0.02)


def write(store: Store, text: str, chat: str = CHAT) -> Message:
    visitor = Chat(chat, "", "", "", "", None, NOW, NOW, None, None, None, None)
    return store.messages.add_from_visitor(VisitorMessage(visitor, text, text, None), LIMITS, NOW)


def texts(stream: Iterator[Message | None], number: int) -> list[str | None]:
    return [one.text if (one := next(stream)) else None for _ in range(number)]


class Reader:
    """Reads a stream in a thread, as a request does."""

    def __init__(self, live: Live, chat: str = CHAT, after: int | None = None) -> None:
        self.texts: list[str] = []
        self.beats = 0
        self._stream = live.follow(chat, after)
        next(self._stream)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for message in self._stream:
            if message is None:
                self.beats += 1
            else:
                self.texts.append(message.text)


@contextmanager
def running(live: Live, store: Store) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=live.run, args=(stop,), daemon=True)
    thread.start()
    yield
    stop.set()
    with store.database.write():  # it shall not sleep on
        pass
    thread.join(10)
    assert not thread.is_alive()


def is_told(store: Store) -> bool:
    """Whether a write of this store is told to the others: here to a socket of the test's own."""
    path = os.path.relpath(path_of(store).parent / "live-test.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(path)
        inbox.setblocking(False)
        try:
            with store.database.write():
                pass
            return bool(inbox.recv(1))
        except BlockingIOError:
            return False
        finally:
            Path(path).unlink()


# -- one stream


def test_a_stream_begins_with_a_heartbeat_and_what_came_after_its_revision(
    store: Store, live: Live
) -> None:
    first = write(store, "one")
    write(store, "two")
    write(store, "of another", OTHER)
    write(store, "three")

    assert texts(live.follow(CHAT, first.revision), 3) == [None, "two", "three"]
    assert texts(live.follow(CHAT, 0), 4) == [None, "one", "two", "three"]


def test_a_stream_from_now_on_gives_only_what_comes_next(store: Store, live: Live) -> None:
    write(store, "before")
    stream = live.follow(CHAT, None)
    assert next(stream) is None

    write(store, "after")

    assert texts(stream, 1) == ["after"]


def test_a_stream_gives_a_long_absence_whole_and_in_order(store: Store, live: Live) -> None:
    written = [write(store, f"{number}").text for number in range(120)]

    assert texts(live.follow(CHAT, 0), 121) == [None, *written]


def test_a_stream_keeps_no_message_while_its_client_reads_it(store: Store, live: Live) -> None:
    for number in range(3):
        write(store, f"{number}")
    stream = live.follow(CHAT, 0)
    before = messages_in_memory()

    for given in (None, "0", "1"):
        assert texts(stream, 1) == [given]
        assert messages_in_memory() <= before


def messages_in_memory() -> int:
    """Those of other tests, which somebody may still hold, included."""
    gc.collect()
    return sum(isinstance(one, Message) for one in gc.get_objects())


@pytest.mark.usefixtures("quick_heartbeat")
def test_a_silent_stream_beats_again_and_again(live: Live) -> None:
    assert texts(live.follow(CHAT, 0), 4) == [None] * 4


@pytest.mark.usefixtures("quick_heartbeat")
def test_a_heartbeat_asks_the_store_nothing(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = live.follow(CHAT, 0)
    assert texts(stream, 2) == [None, None]

    monkeypatch.setattr(store.database, "rows", None)

    assert texts(stream, 3) == [None] * 3


def test_a_stream_waits_twenty_seconds_between_two_heartbeats(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies end a stream that is silent for longer, often after 60 s."""
    waited: list[float] = []

    def wait(_: threading.Event, timeout: float) -> bool:
        waited.append(timeout)
        return False

    monkeypatch.setattr(threading.Event, "wait", wait)
    texts(live.follow(CHAT, 0), 2)

    assert 20.0 < waited[0] <= 20.0 + BEAT_SECONDS


def test_heartbeats_of_one_moment_wake_the_process_once() -> None:
    beats = {round(now + until_heartbeat(now), 6) for now in (100.01, 100.07, 100.15, 100.19)}

    assert beats == {120.2}


def test_whoever_wants_to_know_is_told_of_each_hint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.LOOK_SECONDS", 60.0)
    told: list[bool] = []
    with running(Live(store, lambda: told.append(True)), store):
        wait_until(lambda: is_told(store))  # it listens
        before = len(told)
        write(store, "one")
        wait_until(lambda: len(told) > before, 5)


def test_writes_that_come_soon_after_one_another_are_read_together(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.LOOK_SECONDS", 60.0)
    monkeypatch.setattr("live.GATHER_SECONDS", 0.5)
    read: list[int] = []
    changed_after = MessageTables.chats_changed_after

    def reading(tables: MessageTables, revision: int) -> tuple[int, set[str]]:
        read.append(revision)
        return changed_after(tables, revision)

    monkeypatch.setattr(MessageTables, "chats_changed_after", reading)
    with running(live, store):
        reader = Reader(live)
        wait_until(lambda: is_told(store))  # it listens
        time.sleep(0.6)
        began = time.monotonic()
        write(store, "first")
        wait_until(lambda: "first" in reader.texts)
        assert time.monotonic() - began < 0.4, "the first one waits for no others"
        before = len(read)
        for number in range(20):
            write(store, str(number))
        wait_until(lambda: "19" in reader.texts)
        assert len(read) - before <= 2 + (time.monotonic() - began) / 0.5


def test_a_bell_that_rings_for_nothing_is_no_heartbeat(store: Store, live: Live) -> None:
    """Whoever is woken looks, and goes on waiting."""
    write(store, "one")
    with running(live, store):
        reader = Reader(live, after=0)
        wait_until(lambda: reader.texts == ["one"])
        for number in range(5):
            write(store, f"{number}", OTHER)
        write(store, "two")
        wait_until(lambda: reader.texts == ["one", "two"])

    assert reader.beats == 0


def test_a_stream_whose_bell_rang_waits_again(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    after = store.conversations.changed_after

    def counted(chat_id: str, revision: int, limit: int) -> list[Message]:
        looks.append(revision)
        return after(chat_id, revision, limit)

    monkeypatch.setattr(store.conversations, "changed_after", counted)
    with running(live, store):
        reader = Reader(live, after=0)
        write(store, "one")
        wait_until(lambda: reader.texts == ["one"])
        time.sleep(0.3)

        assert len(looks) <= 8, "it does not look all the time"


@pytest.mark.parametrize("over", ["deleted", "a part"])
def test_a_stream_ends_with_its_chat(store: Store, live: Live, over: str) -> None:
    write(store, "one")
    write(store, "other", OTHER)
    stream = live.follow(CHAT, 0)
    assert texts(stream, 2) == [None, "one"]

    if over == "deleted":
        store.chats.delete(CHAT, NOW)
    else:
        store.chats.make_part(CHAT, OTHER)

    assert list(stream) == []


# -- many streams


@pytest.mark.usefixtures("quick_heartbeat")
def test_ten_streams_of_a_chat_stay_and_the_oldest_ends_for_the_eleventh(live: Live) -> None:
    streams = [live.follow(CHAT, 0) for _ in range(10)]
    other = live.follow(OTHER, 0)
    for stream in (*streams, other):
        assert next(stream) is None
    assert [next(stream) for stream in streams] == [None] * 10

    eleventh = live.follow(CHAT, 0)
    assert next(eleventh) is None

    assert list(streams[0]) == []
    assert [next(stream) for stream in (*streams[1:], eleventh, other)] == [None] * 11


@pytest.mark.usefixtures("quick_heartbeat")
def test_a_stream_that_ended_leaves_its_place_to_another(live: Live) -> None:
    streams = [live.follow(CHAT, 0) for _ in range(10)]
    for stream in streams:
        next(stream)
    streams[5].close()

    new = live.follow(CHAT, 0)
    next(new)

    assert next(streams[0]) is None
    assert next(new) is None


def test_the_end_of_the_process_ends_all_streams_and_lets_none_begin(live: Live) -> None:
    readers = [Reader(live, chat) for chat in (CHAT, CHAT, OTHER)]

    live.close()

    for reader in readers:
        reader.thread.join(5)
        assert not reader.thread.is_alive()
    assert list(live.follow(CHAT, 0)) == [None]


# -- whoever writes is heard


def test_what_this_process_writes_is_heard_at_once(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.LOOK_SECONDS", 60.0)
    with running(live, store):
        wait_until(lambda: is_told(store))
        reader = Reader(live)
        write(store, "one")
        wait_until(lambda: reader.texts == ["one"], 5)
        write(store, "two")
        wait_until(lambda: reader.texts == ["one", "two"], 5)


def test_what_another_process_writes_is_heard_without_a_hint(
    store: Store, second: Store, live: Live
) -> None:
    with running(live, store):
        reader = Reader(live)
        other = Reader(live, OTHER)
        write(second, "one")
        wait_until(lambda: reader.texts == ["one"], 5)
        write(second, "two")
        write(second, "other", OTHER)
        wait_until(lambda: (reader.texts, other.texts) == (["one", "two"], ["other"]), 5)


def test_a_deletion_in_another_process_ends_the_stream(
    store: Store, second: Store, live: Live
) -> None:
    write(store, "one")
    write(store, "other", OTHER)
    with running(live, store):
        reader, other = Reader(live), Reader(live, OTHER)
        second.chats.delete(CHAT, NOW)
        reader.thread.join(5)
        assert not reader.thread.is_alive()
        second.chats.delete(OTHER, NOW)
        other.thread.join(5)
        assert not other.thread.is_alive()


def test_whoever_listens_after_a_silence_hears_what_comes(store: Store, live: Live) -> None:
    """Nobody listened for a while, and much was written."""
    with running(live, store):
        first = Reader(live)
        write(store, "one")
        wait_until(lambda: first.texts == ["one"])
        live.close()
        first.thread.join(5)
    again = Live(store)
    with running(again, store):
        write(store, "two")
        reader = Reader(again)
        write(store, "three")
        wait_until(lambda: reader.texts == ["three"], 5)


def test_of_what_came_while_nobody_listened_nothing_is_read(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a start, too: there may be 500,000 deletions, and whoever comes asks for its own."""
    monkeypatch.setattr("live.LOOK_SECONDS", 0.02)
    asked: list[tuple[str, int]] = []

    def noted(name: str, read: Callable[[int], tuple[int, set[str]]]) -> Callable[[int], object]:
        def look(number: int) -> tuple[int, set[str]]:
            asked.append((name, number))
            return read(number)

        return look

    changed, deleted = store.messages.chats_changed_after, store.chats.deleted_after
    monkeypatch.setattr(store.messages, "chats_changed_after", noted("changed", changed))
    monkeypatch.setattr(store.chats, "deleted_after", noted("deleted", deleted))
    with running(live, store):
        for gone, chat in (("chat1", "chat2"), ("chat3", "chat4")):
            write(store, "one", gone)
            write(store, "one", chat)
            store.chats.delete(gone, NOW)
            time.sleep(0.1)
            asked.clear()
            reader = Reader(live, chat)
            wait_until(lambda: len(asked) > 4)
            revision, deletion = store.messages.revision(), store.chats.latest_deletion()
            assert set(asked) == {("changed", revision), ("deleted", deletion)}

            store.chats.delete(chat, NOW)
            reader.thread.join(5)
            assert not reader.thread.is_alive()


def test_a_look_that_fails_half_way_loses_no_bell(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.LOOK_SECONDS", 0.02)
    failures = 0

    def broken(_: int) -> tuple[int, set[str]]:
        nonlocal failures
        failures += 1
        raise StoreUnavailable("the disk is away")

    with running(live, store):
        wait_until(lambda: is_told(store))
        reader = Reader(live)
        time.sleep(0.1)
        with monkeypatch.context() as patch:
            patch.setattr(store.chats, "deleted_after", broken)
            write(store, "one")
            before = failures
            wait_until(lambda: failures > before + 1)
        wait_until(lambda: reader.texts == ["one"], 5)


def test_a_store_that_fails_is_asked_again_after_a_pause(
    store: Store, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def broken(*_: int) -> int:
        asked.append(1)
        raise StoreUnavailable("the disk is away")

    with running(live, store):
        wait_until(lambda: is_told(store))
        reader = Reader(live)
        with monkeypatch.context() as patch:
            # The first look asks for the one, each later look for the other.
            patch.setattr(store.messages, "revision", broken)
            patch.setattr(store.messages, "chats_changed_after", broken)
            for _ in range(100):
                write(store, "of another", OTHER)
            wait_until(lambda: asked)
            assert len(asked) <= 3
        assert store.messages.revision() > 0
        write(store, "one")
        wait_until(lambda: reader.texts == ["one"], 5)


def test_a_stream_from_before_the_log_in_ends_with_it(store: Store, live: Live) -> None:
    """Whoever holds the anonymous token must not hear what the customer goes on to say."""
    write(store, "Hello")
    stream = live.follow(CHAT, 0)
    assert texts(stream, 2) == [None, "Hello"]
    store.chats.make_part(CHAT, OTHER)
    customers = store.chats.find_open(OTHER)
    assert customers is not None
    told = VisitorMessage(customers, "the customer's", "", None)
    store.messages.add_from_visitor(told, LIMITS, NOW)

    assert list(stream) == []


def test_after_the_end_writes_tell_nobody(store: Store, live: Live) -> None:
    with running(live, store):
        wait_until(lambda: is_told(store))
        assert list(path_of(store).parent.glob("live-*.sock"))

    assert not is_told(store)
    assert not list(path_of(store).parent.glob("live-*.sock"))
    assert list(live.follow(CHAT, 0)) == [None], "its streams have ended, too"


# -- hints


def hints_of(folder: Path) -> Datagrams:
    return Datagrams(folder, lambda: None)


def waited(hints: Hints, seconds: float) -> float:
    began = time.monotonic()
    hints.wait(seconds)
    return time.monotonic() - began


def test_all_hints_that_have_come_are_taken_together(tmp_path: Path) -> None:
    with closing(hints_of(tmp_path)) as one, closing(hints_of(tmp_path)) as other:
        for _ in range(5):
            other.send()

        assert waited(one, 5) < 2
        assert 0.2 <= waited(one, 0.2) < 2, "nothing is left"
        one.send()
        assert waited(one, 5) < 2, "and it still waits as long as it is told"
        assert waited(other, 5) < 2


def test_whoever_does_not_take_hints_holds_up_nobody(tmp_path: Path) -> None:
    with closing(hints_of(tmp_path)) as one, closing(hints_of(tmp_path)) as other:
        began = time.monotonic()
        for _ in range(2_000):
            one.send()

        assert time.monotonic() - began < 5
        assert waited(other, 5) < 2


def test_the_socket_of_a_process_that_died_is_removed(tmp_path: Path) -> None:
    dead = tmp_path / "live-dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(os.path.relpath(dead))
    with closing(hints_of(tmp_path)) as hints:
        hints.send()

        assert not dead.exists()
        assert waited(hints, 5) < 2


def test_sockets_of_one_folder_have_names_of_their_own(tmp_path: Path) -> None:
    with closing(hints_of(tmp_path)), closing(hints_of(tmp_path)):
        assert len(list(tmp_path.glob("live-*.sock"))) == 2


@pytest.mark.parametrize("length", [1, 60, 150])
def test_a_folder_is_made_its_owners_only_and_hints_arrive_there(
    tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("x" * length) / "chats"
    opened = set(os.listdir("/dev/fd"))
    with closing(hints_of(folder)) as hints:
        hints.send()

        assert waited(hints, 5) < 2
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []
    assert set(os.listdir("/dev/fd")) == opened


def test_without_a_socket_a_second_passes_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with closing(hints_of(tmp_path / "file" / "chats")) as hints:
        hints.send()

        assert waited(hints, 0.05) < 2


def test_a_path_too_long_for_this_system_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.datagrams.DESCRIPTORS", tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    with closing(hints_of(tmp_path / ("x" * 150))) as hints:
        hints.send()
        assert waited(hints, 0.05) < 2


# -- too many streams


def test_each_stream_above_ten_ends_the_oldest_also_when_its_client_does_not_read(
    live: Live,
) -> None:
    hung_up: list[int] = []
    streams = [
        live.follow(CHAT, 0, lambda number=number: hung_up.append(number))  # type: ignore[misc]
        for number in range(99)
    ]

    for stream in streams:
        next(stream)  # what it gives is never read: the stream does not go on

    assert hung_up == list(range(89))
    for stream in streams[:89]:
        assert list(stream) == []


@pytest.mark.usefixtures("quick_heartbeat")
def test_a_stream_that_can_say_its_end_is_not_hung_up(live: Live) -> None:
    hung_up: list[int] = []
    stream = live.follow(CHAT, 0, lambda: hung_up.append(1))
    next(stream)
    listening = threading.Thread(target=lambda: [*stream], daemon=True)
    listening.start()
    time.sleep(0.1)

    others = [live.follow(CHAT, 0) for _ in range(10)]
    for other in others:
        next(other)

    listening.join(5)
    assert not listening.is_alive()


def test_one_address_has_so_many_streams_and_all_together_so_many(live: Live) -> None:
    live.most_streams = 20
    for _ in range(5):
        live.take_place("office", 5)
    with pytest.raises(Crowded):
        live.take_place("office", 5)
    for _ in range(10):  # half of all, whatever the setting says
        live.take_place("flood", 1_000)
    with pytest.raises(Crowded):
        live.take_place("flood", 1_000)
    for _ in range(5):
        live.take_place(None, 1)  # an unknown address is not limited
    with pytest.raises(Crowded):
        live.take_place(None, 1)

    live.leave_place("office")
    live.take_place("another", 5)
