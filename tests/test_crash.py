"""kill -9 of the real server, and a file that fails it: nothing lost, doubled or disordered.

Every scene has a stage of its own and they run side by side, for most of their time is waiting.
"""

import os
import re
import resource
import signal
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from soak import CONFIRM, SEND, Mixture, Talk, assert_equal, mend, quick_stage, side_by_side
from stage import ROOT, Stage, wait_until

from bbcode import RENDERER, to_html
from delivery.batch import ALONE_UP_TO
from storage import Store
from store.database import StoreUnavailable
from store.records import Chat, Limits, VisitorMessage

LOAD_SECONDS = 6.0
KILLS = 3
TAKE_OVER_SECONDS = 5.0
LONG_SECONDS = 20.0  # of a call that is under way when we die
SEED = int(os.environ["SEED"])


def restart(stage: Stage) -> None:
    """Die, and come back to a portal where all is well."""
    stage.kill()
    mend(stage)
    stage.start()


# -- at random moments


def under_load(folder: Path, workers: int) -> None:
    with quick_stage(folder, workers) as stage:
        stage.install()
        mixture = Mixture(stage, SEED, visitors=8, troubles=False, kill_pause=(0.2, 1.5))
        mixture.run(LOAD_SECONDS, KILLS)
        assert_equal(stage, mixture.talks, 60)
        assert mixture.kills >= KILLS
        print(mixture.told())


# -- between two steps


def while_a_message_is_sent(folder: Path) -> None:
    """The portal has carried it out and we die before its answer."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        stage.trouble(slow_seconds=LONG_SECONDS, slow_method=SEND)
        text = talk.write()
        talk.write()
        wait_until(lambda: text in stage.texts(talk.chat_id), 60)

        restart(stage)

        talk.write()
        assert_equal(stage, [talk])


def before_a_message_is_stored(folder: Path) -> None:
    """The portal is slow: it stores the message only when we have come back and looked."""
    # Longer than any restart: no repeat may come before a call's whole time is over.
    with quick_stage(folder, SITECHAT_DELIVERY__TIMEOUT_SECONDS="60") as stage:
        stage.install()
        talk = Talk(stage, "anna")
        calls = len(stage.calls(SEND))
        begun = stage.counts()["calls"]
        stage.trouble(item_seconds=600)
        text = talk.write()
        wait_until(lambda: stage.counts()["calls"] > begun)  # the call is under way

        stage.kill()
        assert text not in stage.texts(talk.chat_id)
        stage.start()
        assert text not in stage.texts(talk.chat_id)
        stage.trouble(item_seconds=0)  # ends the wait

        wait_until(lambda: text in stage.texts(talk.chat_id), 60)
        talk.write()
        assert_equal(stage, [talk])
        assert len(stage.calls(SEND)) == calls + 2


def while_the_first_message_is_sent(folder: Path) -> None:
    """As before, but of the dialog we know only what the portal's event has told."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna", greet=False)
        stage.trouble(slow_seconds=LONG_SECONDS, slow_method=SEND)
        text = talk.write()
        wait_until(lambda: text in stage.texts(talk.chat_id), 60)
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)

        restart(stage)

        talk.write()
        assert_equal(stage, [talk])


def while_a_backlog_is_sent(folder: Path) -> None:
    """A call with several messages of several chats."""
    with quick_stage(folder) as stage:
        stage.install()
        talks = [Talk(stage, f"v{number}") for number in range(ALONE_UP_TO + 2)]
        stage.trouble(query_limit=10_000)
        for _ in range(3):
            for talk in talks:
                talk.write()
        stage.trouble(query_limit=0, slow_seconds=LONG_SECONDS, slow_method=SEND)
        wait_until(lambda: stage.counts()["messages"] > len(talks), 60)
        assert len(stage.calls(SEND)[-1]["params"]["MESSAGES"]) > 1

        restart(stage)

        assert_equal(stage, talks)


def while_a_confirmation_is_sent(folder: Path) -> None:
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        stage.trouble(slow_seconds=LONG_SECONDS, slow_method=CONFIRM)
        answer = talk.answer()
        wait_until(lambda: answer["message_id"] in talk.confirmed(), 60)

        restart(stage)

        talk.answer()
        assert_equal(stage, [talk])


def while_the_token_is_renewed(folder: Path) -> None:
    """The new pair dies with us: nothing is lost, and a reinstall sends it all."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        renewals = stage.state()["tokens"]["refreshes"]
        stage.trouble(expire_tokens=True, slow_seconds=LONG_SECONDS, slow_method="oauth")
        talk.write()
        wait_until(lambda: stage.state()["tokens"]["refreshes"] == renewals + 1, 60)

        restart(stage)

        talk.write()
        talk.answer()
        page = f"{stage.chat}/install"
        wait_until(lambda: requests.get(page, timeout=30).status_code >= 400, 60)
        stage.install()
        assert_equal(stage, [talk])


def after_a_message_was_accepted(folder: Path) -> None:
    """At once after the answer, again and again."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        for _ in range(3):
            talk.write()
            restart(stage)
        assert_equal(stage, [talk])


def after_an_event_was_accepted(folder: Path) -> None:
    """The operator's message is stored, its confirmation not yet sent."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        for _ in range(2):
            stage.trouble(query_limit=10_000)
            known = len(accepted_events(stage))
            talk.answer()
            wait_until(partial(more_events, stage, known), 60, "the event accepted")
            restart(stage)
        assert_equal(stage, [talk])


def posted_events(stage: Stage) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = requests.get(f"{stage.portal}/sandbox/events", timeout=30).json()
    return events


def accepted_events(stage: Stage) -> list[dict[str, Any]]:
    events = posted_events(stage)
    wanted = "ONIMCONNECTORMESSAGEADD"
    return [one for one in events if one["event"] == wanted and one["status"] == 200]


def more_events(stage: Stage, known: int) -> bool:
    return len(accepted_events(stage)) > known


def while_operators_write(folder: Path) -> None:
    """Their events meet nobody: found in the history, in order, also of a long absence."""
    with quick_stage(folder) as stage:
        stage.install()
        talks = [Talk(stage, "anna"), Talk(stage, "boris")]
        talks[0].answered()
        stage.kill()
        for _ in range(60):  # more than one page of the portal's history
            talks[0].answer()
        talks[1].answer()
        stage.press("whisper", external_chat_id=talks[1].chat_id, text="not for visitors")
        stage.press("notice", external_chat_id=talks[1].chat_id, text="nor this")
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)

        stage.start()

        assert_equal(stage, talks, 40)
        assert len(accepted_events(stage)) == 1


def the_worker_that_sends(folder: Path) -> None:
    """Of two workers the one that sends dies, and nobody starts another in its place."""
    with quick_stage(folder, workers=2) as stage:
        stage.install()
        restart(stage)  # from now on the sender alone talks to the portal
        talk = Talk(stage, "anna")
        stage.trouble(slow_seconds=LONG_SECONDS, slow_method=SEND)
        text = talk.write()
        wait_until(lambda: text in stage.texts(talk.chat_id), 60)
        assert stage.app is not None
        (sender,) = workers_talking_to(stage.app.pid, int(stage.portal.rpartition(":")[2]))

        os.kill(stage.app.pid, signal.SIGSTOP)  # gunicorn's master would replace it at once
        try:
            os.kill(sender, signal.SIGKILL)
            mend(stage)
            last = talk.write()
            wait_until(lambda: last in stage.texts(talk.chat_id), TAKE_OVER_SECONDS, "its heir")
        finally:
            os.kill(stage.app.pid, signal.SIGCONT)
        assert_equal(stage, [talk])


def workers_talking_to(master: int, port: int) -> list[int]:
    """Children of a process that hold a TCP connection to a local port."""
    connections = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in connections]
    sockets = {
        f"socket:[{one[9]}]" for one in fields if one[2].endswith(f":{port:04X}") and one[3] == "01"
    }
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [
        int(child)
        for child in children
        if sockets & {os.readlink(one) for one in Path(f"/proc/{child}/fd").iterdir()}
    ]


# -- a file that cannot be used


def database(stage: Stage) -> Path:
    return stage.folder / "chats" / "chats.db"


def held_by_another(folder: Path) -> None:
    """Somebody keeps the write lock: writers wait or hear 503, readers are served."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        other = sqlite3.connect(database(stage), isolation_level=None)
        other.execute("begin exclusive")
        with ThreadPoolExecutor(2) as pool:
            writing = pool.submit(talk.write)  # until it is accepted
            refused = pool.submit(
                talk.visitor.post, type="send_message", name="Anna", message="not kept"
            )
            for _ in range(10):
                began = time.monotonic()
                assert "anna writes 1" in talk.visitor.history()
                assert time.monotonic() - began < 2
                time.sleep(0.1)
            answer = refused.result()
            assert answer.status_code == 503
            assert_explained(answer)
            other.execute("rollback")
            other.close()
            writing.result()
        talk.answer()
        assert_equal(stage, [talk])


def assert_explained(answer: requests.Response) -> None:
    """503 in words for the visitor, and a time to come back."""
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    result = answer.json()["result"]
    assert result["error"] in ("STORE", "DISK_FULL")
    assert result["error_description"]
    assert not re.search(r"sqlite|Error|/", result["error_description"])


def damaged(folder: Path) -> None:
    """Overwritten while the server runs: it says so; a good copy and a restart mend it."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        talk.answered()
        wait_until(lambda: [one.state for one in talk.shown()][:1] == ["delivered"])
        file, copy = database(stage), folder / "copy.db"
        with sqlite3.connect(file) as source, sqlite3.connect(copy) as target:
            source.backup(target)
            source.execute("pragma wal_checkpoint(truncate)")
        good = file.read_bytes()
        with file.open("r+b") as broken:
            broken.write(os.urandom(len(good)))

        # Not through `talk`: what a broken file takes is gone with it.
        stranger = stage.visitor()
        for _ in range(3):
            answer = stranger.post(type="send_message", name="Eve", message="hello")
            assert answer.status_code in (200, 503), answer.text
        stage.kill()
        for path in file.parent.glob(f"{file.name}-*"):
            path.unlink()
        file.write_bytes(os.urandom(len(good)))
        stage.start()
        assert_explained(talk.visitor.post(type="send_message", name="Anna", message="hello"))
        assert_explained(talk.visitor.post(type="chat_history"))
        event = stage.press("answer", external_chat_id=talk.chat_id, text="anna hears in vain")
        assert event["message_id"]
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)
        stage.kill()
        for path in file.parent.glob(f"{file.name}-*"):
            path.unlink()
        file.write_bytes(copy.read_bytes())
        stage.start()

        talk.write()
        assert_equal(stage, [talk])


def health(stage: Stage) -> int:
    """What a load balancer is told."""
    return requests.get(f"{stage.chat}/healthz", timeout=30).status_code


def read_only(folder: Path) -> None:
    """We come back and may not write: it is said, and all goes on once we may, by itself."""
    with quick_stage(folder) as stage:
        stage.through = [sys.executable, "tests/obey_permissions.py"]
        stage.install()
        talk = Talk(stage, "anna")
        talk.answered()
        stage.kill()
        chats = database(stage).parent
        paths = [path for path in [chats, *chats.iterdir()] if not path.is_socket()]
        modes = {path: path.stat().st_mode for path in paths}
        for path in paths:
            path.chmod(modes[path] & 0o555)

        stage.start()
        answer = talk.visitor.post(type="send_message", name="Anna", message="not kept")
        assert_explained(answer)
        assert health(stage) == 503
        talk.answer()
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)
        for path, mode in modes.items():
            path.chmod(mode)
        wait_until(lambda: health(stage) == 200)

        talk.write()
        talk.answer()
        assert_equal(stage, [talk])


def events_missed(folder: Path) -> None:
    """An answer that we could not store is found also in a conversation that was long quiet."""
    with quick_stage(folder, SITECHAT_RECOVERY__SECONDS="600") as stage:
        stage.install()
        talk = Talk(stage, "anna")
        talk.answered()
        with closing(sqlite3.connect(database(stage), isolation_level=None)) as other:
            other.execute("update chats set active_at = active_at - 86400")
            other.execute("begin immediate")
            talk.answer()
            wait_until(lambda: stage.counts()["pending_events"] == 0, 60)
            other.execute("rollback")
        assert 503 in [one["status"] for one in posted_events(stage)]

        assert_equal(stage, [talk], 60)
        assert "an event may be lost, we answered 503" in stage.admin_page()


def disk_full(folder: Path) -> None:
    """No byte more can be written: nothing half-kept, and it goes on when there is room."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        talk.answered()
        with no_room(stage):
            answer = talk.visitor.post(type="send_message", name="Anna", message="not kept" * 999)
            assert_explained(answer)
            assert health(stage) == 503
            assert "anna writes 1" in talk.visitor.history()
            talk.answer()
            wait_until(lambda: stage.counts()["pending_events"] == 0, 60)

        talk.write()
        talk.answer()
        assert_equal(stage, [talk])


@contextmanager
def no_room(stage: Stage) -> Iterator[None]:
    """Let none of the server's processes write a file beyond where it ends now."""
    assert stage.app is not None
    children = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children").read_text().split()
    limit = min(
        path.stat().st_size
        for path in database(stage).parent.glob("chats.db*")
        if path.stat().st_size
    )
    for child in children:
        resource.prlimit(int(child), resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for child in children:
            resource.prlimit(
                int(child), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )


Play = Callable[[Path], None]
RANDOM: dict[str, Play] = {
    f"{workers} workers, seed {SEED}": partial(under_load, workers=workers) for workers in (1, 2)
}
POINTS: dict[str, Play] = {
    one.__name__.replace("_", " "): one
    for one in (
        while_a_message_is_sent,
        before_a_message_is_stored,
        while_the_first_message_is_sent,
        while_a_backlog_is_sent,
        while_a_confirmation_is_sent,
        while_the_token_is_renewed,
        after_a_message_was_accepted,
        after_an_event_was_accepted,
        while_operators_write,
        the_worker_that_sends,
    )
}
FILES: dict[str, Play] = {
    one.__name__.replace("_", " "): one
    for one in (events_missed, held_by_another, damaged, disk_full, read_only)
}
PLAYS = RANDOM | POINTS | FILES


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[None]"]]:
    """Those that were asked for, begun at once in the order of the tests."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    names = {call.params.get("play") for call in calls if call is not None}
    asked = {
        name: partial(play, tmp_path_factory.mktemp("stage"))
        for name, play in PLAYS.items()
        if name in names
    }
    with side_by_side(asked) as futures:
        yield futures


@pytest.mark.parametrize("play", RANDOM)
def test_kills_at_random_moments_lose_double_and_disorder_nothing(
    plays: dict[str, "Future[None]"], play: str
) -> None:
    print(f"SEED={SEED}")
    plays[play].result()


@pytest.mark.parametrize("play", POINTS)
def test_a_kill_between_two_steps_loses_doubles_and_disorders_nothing(
    plays: dict[str, "Future[None]"], play: str
) -> None:
    plays[play].result()


@pytest.mark.sqlite
@pytest.mark.parametrize("play", FILES)
def test_a_file_that_cannot_be_used_is_explained_and_harms_nothing(
    plays: dict[str, "Future[None]"], play: str
) -> None:
    plays[play].result()


# -- the store itself


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/chats.db", ROOT, RENDERER)
    store.open()
    chat = Chat("chat1", "Anna", "", "", "", None, 1.0, 1.0, None, None, None, None)

    def write(text: str) -> int:
        limits = Limits("address", 10_000, 10_000)
        client_id = str(uuid.uuid4())
        return store.messages.add_from_visitor(
            VisitorMessage(chat, text, to_html(text), client_id), limits, 1.0
        ).id

    first = write("before")
    with store.database.write() as db:
        pages = db.execute("pragma page_count").fetchone()[0]
        db.execute(f"pragma max_page_count = {pages}")
    kept = [first]

    def fill() -> None:
        for _ in range(100):
            kept.append(write("x" * 5000))

    with pytest.raises(StoreUnavailable):
        fill()

    assert [one.id for one in store.conversations.latest("chat1", None, 200)] == kept
    assert store.queue.waiting() == len(kept)
    kept.append(write("after"))  # on a connection made anew, which has room again
    assert [one.id for one in store.conversations.latest("chat1", None, 200)] == kept
    assert store.queue.waiting() == len(kept)
    store.close()
