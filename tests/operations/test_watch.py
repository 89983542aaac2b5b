"""What stops the chat is told in the log and in the portal: once, in time, and when it is over."""

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_parts import DAY, INSTALLED, LINE, NOW, examined
from fake_portal import write
from stage import path_of, wait_until

from operations import watch as watching
from operations.doctor import Doctor
from operations.findings import Finding, Level, Moment, worst
from operations.front import FrontReport
from operations.pulse import Pulse
from operations.telling import plain
from operations.watch import Watch
from portal.presence import EVENTS
from portal.tokens import client_digest
from rest.errors import BitrixError, SetupFault, TryLater
from rest.examination import Examination, Line
from rest.replies import TokenHome
from settings import Settings
from storage import Store
from store.fence import Fence
from store.records import Moved, ReportedFault

PORTAL = "http://localhost:9"
URL = "http://localhost:9/chat"  # where nobody answers
BOUND = tuple((event.upper(), f"{URL}/handler") for event in EVENTS)


class FakePortal:
    """Says what it was told to; remembers questions and notes."""

    def __init__(self) -> None:
        self.says: Examination | BitrixError = examined(bindings=BOUND)
        self.asked = 0
        self.notes: list[tuple[int, str, str]] = []
        self.refuses_notes = False

    def examine(self, connector: str, lines: list[int]) -> Examination:
        self.asked += 1
        if isinstance(self.says, BitrixError):
            raise self.says
        return self.says

    def home_of_token(self, token: str) -> TokenHome:
        return TokenHome("local.client", "member", PORTAL)

    def notify(self, user_id: int, message: str, tag: str) -> None:
        if self.refuses_notes:
            raise SetupFault("INSUFFICIENT_SCOPE", "im.notify.system.add")
        self.notes.append((user_id, message, tag))


def settings(folder: Path) -> Settings:
    values: dict[str, Any] = {
        "public_url": URL,
        "bitrix24": {"portal": PORTAL, "client_id": "local.client", "client_secret": "s"},
        "storage": {"url": f"sqlite:///{folder}/chats/chats.db", "files": f"{folder}/chats/files"},
    }
    return Settings(**values)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Installed a day ago, with one line; a worker runs."""
    given = settings(tmp_path)
    with closing(Store(given.storage.url, tmp_path, 1)) as store:
        store.portal.save(INSTALLED)
        store.portal.connect_line(LINE, NOW - DAY)
        store.notes.registered.set("digest")
        store.notes.renewed_with.set(client_digest(given.bitrix24))
        with store.database.try_lock("sender"):
            yield store


@pytest.fixture
def portal() -> FakePortal:
    return FakePortal()


def watch_of(store: Store, portal: FakePortal, folder: Path, wanted: bool = True) -> Watch:
    given = settings(folder)
    doctor = Doctor(given, store, portal)  # type: ignore[arg-type]
    return Watch(given, store, portal, doctor, lambda: wanted)  # type: ignore[arg-type]


@pytest.fixture
def watch(store: Store, portal: FakePortal, tmp_path: Path) -> Watch:
    return watch_of(store, portal, tmp_path)


def test_a_start_on_a_store_that_was_moved_away_is_said_at_once(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    store.notes.moved.set(Moved("PostgreSQL chat", time.time()))
    stop = threading.Event()
    job = threading.Thread(target=watch.run, args=(stop,))
    job.start()
    wait_until(lambda: told(caplog))
    stop.set()
    job.join()

    [(level, said)] = told(caplog)
    assert level == "WARNING"
    assert "PostgreSQL chat" in said


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "operations.telling"
    ]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "operations.telling")
    return caplog


def keys(found: list[Finding]) -> set[str]:
    return {one.key for one in found if one.level is not Level.GOOD}


def test_a_fault_is_told_once_after_a_minute_and_once_when_it_is_over(
    watch: Watch, store: Store, log: pytest.LogCaptureFixture
) -> None:
    watch.step(NOW)
    store.portal.disconnect_line(LINE)
    for second in (10, 40, 60):
        watch.step(NOW + second)
    assert told(log) == [], "it may be over soon"

    for second in (75, 85, 3600):
        watch.step(NOW + second)
    [(level, line)] = told(log)
    assert level == "ERROR"
    assert "lines.line_none" in line
    assert "press Connect" in line, "the cure"

    store.portal.connect_line(LINE, NOW)
    watch.step(NOW + 3610)
    watch.step(NOW + 3620)
    assert told(log)[1:] == [("INFO", "over after 3600 s: lines.line_none")]


def test_a_fault_of_less_than_a_minute_is_not_told(
    watch: Watch, store: Store, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    store.portal.disconnect_line(LINE)
    watch.step(NOW)
    watch.step(NOW + 50)
    store.portal.connect_line(LINE, NOW)
    watch.step(NOW + 60)
    watch.step(NOW + 200)

    assert told(log) == []
    assert portal.notes == []


def test_a_restart_tells_nothing_twice_and_still_says_when_it_is_over(
    store: Store, portal: FakePortal, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    first = watch_of(store, portal, tmp_path)
    store.portal.disconnect_line(LINE)
    first.step(NOW)
    first.step(NOW + 70)

    second = watch_of(store, portal, tmp_path)
    second.remember()
    second.step(NOW + 80)
    store.portal.connect_line(LINE, NOW)
    second.step(NOW + 90)

    assert [level for level, _ in told(log)] == ["ERROR", "INFO"]
    assert len(portal.notes) == 1


def test_the_administrator_gets_one_note_a_day_for_each_cause(
    watch: Watch, store: Store, portal: FakePortal
) -> None:
    store.portal.disconnect_line(LINE)
    for minute in range(0, 23 * 60, 10):
        watch.step(NOW + minute * 60)
    [(user_id, text, tag)] = portal.notes
    assert user_id == INSTALLED.user_id
    assert "нажмите «Подключить»" in text, "in the portal's language"
    assert "press Connect" not in text
    assert tag == "sitechat lines.line_none"

    portal.says = TryLater("NOT_CONNECTED", "batch")  # another cause
    for minute in range(0, 15, 5):
        watch.step(NOW + (23 * 60 + minute) * 60)
    assert [tag for _, _, tag in portal.notes[1:]] == ["sitechat portal.server_unreachable"]

    watch.step(NOW + DAY + 700)  # told after ten minutes, then a day later
    assert [tag for _, _, tag in portal.notes[2:]] == ["sitechat lines.line_none"]


def test_a_reinstall_does_not_end_that_old_messages_wait(
    watch: Watch, store: Store, log: pytest.LogCaptureFixture
) -> None:
    """It gives them some minutes more on the pages; nobody has sent them yet."""
    write(store, "hello", now=NOW)
    for second in (400, 470):
        watch.step(NOW + second)
    store.portal.save(replace(INSTALLED, installed_at=NOW + 480))
    for second in (490, 600, 790, 860):
        watch.step(NOW + second)

    [(level, line)] = told(log)
    assert level == "ERROR"
    assert "waiting.waiting_long" in line

    with closing(sqlite3.connect(path_of(store))) as db:
        db.execute("delete from deliveries")
        db.commit()
    watch.step(NOW + 880)
    assert told(log)[1:] == [("INFO", "over after 480 s: waiting.waiting_long")]


def test_when_the_secret_was_last_proved_is_said_as_it_is_now(
    watch: Watch, store: Store, portal: FakePortal
) -> None:
    store.notes.renewed_at.set(NOW - 3600)
    watch.look()
    store.notes.renewed_at.set(NOW)
    watch.forget()

    [finding] = [one for one in watch.verdict() if one.key == "secret_good"]
    assert finding.values["at"] == Moment(NOW)


def test_a_portal_whose_language_is_not_known_gets_both(
    watch: Watch, store: Store, portal: FakePortal
) -> None:
    portal.says = examined(bindings=BOUND, language="de")
    store.portal.disconnect_line(LINE)
    watch.step(NOW)
    watch.step(NOW + 70)

    [(_, text, _)] = portal.notes
    assert "нажмите «Подключить»" in text
    assert "press Connect" in text


def test_what_needs_attention_only_is_not_told(
    watch: Watch, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    portal.says = examined(bindings=BOUND, rights=frozenset({"imopenlines", "imconnector"}))
    watch.step(NOW)
    watch.step(NOW + 70)

    assert {"right_im", "right_placement"} <= keys(watch.verdict())
    assert told(log) == []
    assert portal.notes == []


def test_a_note_has_no_code_or_markup_that_a_server_has_put_into_it(
    watch: Watch, portal: FakePortal
) -> None:
    portal.says = SetupFault("[url=https://evil.example]X[/url] <b>", "app.info")
    watch.step(NOW)
    watch.step(NOW + 60)

    note = portal.notes[0][1].lower()
    assert "evil.example" in note
    assert not any(code in note for code in ("[url", "[/url", "<b"))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("[b]x[/b]", "(b]x(/b]"),
        ("[URL=https://a.example]", "(URL=https://a.example]"),
        ("[ / user ] [send=x y] [*] [h1]", "( / user ] (send=x y] (*] (h1]"),
        ("<script> </a> <!-- 1 < 2", "‹script> ‹/a> ‹!-- 1 < 2"),
        ("http://[fe80::1]:8080 [::1] a[0]", "http://[fe80::1]:8080 [::1] a[0]"),
    ],
)
def test_what_begins_a_code_is_another_bracket(given: str, shown: str) -> None:
    assert plain(given) == shown


def test_the_setting_ends_notes_and_not_the_log(
    store: Store, portal: FakePortal, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    watch = watch_of(store, portal, tmp_path, wanted=False)
    store.portal.disconnect_line(LINE)
    watch.step(NOW)
    watch.step(NOW + 70)

    assert portal.notes == []
    assert [level for level, _ in told(log)] == ["ERROR"]


def test_a_note_that_is_refused_harms_nothing_and_is_not_tried_all_day(
    watch: Watch, store: Store, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    portal.refuses_notes = True
    store.portal.disconnect_line(LINE)
    for second in range(0, 600, 10):
        watch.step(NOW + second)

    assert [level for level, _ in told(log)] == ["ERROR", "INFO"]
    assert "INSUFFICIENT_SCOPE" in told(log)[1][1]


def test_the_portal_is_asked_at_the_start_then_every_ten_minutes(
    watch: Watch, portal: FakePortal
) -> None:
    for second in range(0, 1190, 10):
        watch.step(NOW + second)

    assert portal.asked == 2


def test_an_outage_of_a_moment_is_not_told_and_a_longer_one_is(
    watch: Watch, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    portal.says = TryLater("NOT_CONNECTED", "batch")
    watch.step(NOW)
    portal.says = examined(bindings=BOUND)
    for second in range(10, 300, 10):
        watch.step(NOW + second)
    assert told(log) == []

    portal.says = TryLater("NOT_CONNECTED", "batch")
    for second in range(300, 700, 10):
        watch.step(NOW + second)
    assert [level for level, _ in told(log)] == ["ERROR"]
    assert f"{PORTAL} does not answer" in told(log)[0][1]


def test_messages_that_wait_make_it_ask_why(
    watch: Watch, store: Store, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    watch.step(NOW)
    portal.says = TryLater("NOT_CONNECTED", "batch")
    write(store, "hello", now=NOW + 5)
    for second in range(10, 130, 10):
        watch.step(NOW + second)

    assert [level for level, _ in told(log)] == ["ERROR"]
    assert "portal.server_unreachable" in told(log)[0][1]


def test_a_new_install_is_left_alone_until_it_is_finished(
    watch: Watch, store: Store, portal: FakePortal
) -> None:
    store.portal.save(replace(INSTALLED, installed_at=NOW))
    for second in (0, 30, 59):
        watch.step(NOW + second)
    assert portal.asked == 0

    watch.step(NOW + 61)
    assert portal.asked == 1


def test_a_change_makes_what_the_portal_said_old_and_it_is_asked_again(
    watch: Watch, store: Store, portal: FakePortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "KNOWN_SECONDS", 0.0)
    portal.says = examined(bindings=BOUND, lines={LINE: None})
    watch.step(NOW)
    assert "line_deleted" in keys(watch.verdict())

    store.portal.connect_line(12, NOW)  # the administrator connects another line
    store.notes.mended_at.set(NOW + 5)
    assert "line_deleted" not in keys(watch.verdict())

    portal.says = examined(
        bindings=BOUND, lines={LINE: None, 12: Line("Support", True)}, statuses={12: True}
    )
    watch.step(NOW + 10)
    assert portal.asked == 2
    found = watch.verdict()
    assert "line_deleted" in keys(found)
    assert worst(one for one in found if one.check == "lines") is Level.ATTENTION


def test_a_clock_that_is_set_back_keeps_nothing_from_being_told(
    watch: Watch, store: Store, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    watch.step(NOW + 30 * DAY)
    store.portal.disconnect_line(LINE)
    watch.step(NOW + 30 * DAY + 10)
    for second in (20, 90):
        watch.step(NOW + second)

    assert portal.asked == 3
    assert [level for level, _ in told(log)] == ["ERROR"]


def test_a_look_asks_at_once(watch: Watch, portal: FakePortal) -> None:
    assert "right_im" not in keys(watch.verdict())
    portal.says = examined(bindings=BOUND, rights=frozenset({"imopenlines", "imconnector"}))

    assert "right_im" in keys(watch.look())


def test_a_store_that_cannot_be_used_is_told_too(
    watch: Watch, store: Store, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    watch.step(NOW)
    store.database.close()
    shutil.rmtree(tmp_path / "chats")
    (tmp_path / "chats").write_text("no folder can be here")
    watch.step(NOW + 10)
    watch.step(NOW + 80)

    [(level, line)] = told(log)
    assert level == "ERROR"
    assert "store.store_unavailable" in line


def test_a_store_that_another_program_holds_is_told_once_and_when_it_is_over(
    store: Store,
    portal: FakePortal,
    tmp_path: Path,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It can be read, so questions alone tell nothing; and what is told cannot be kept."""
    monkeypatch.setattr("store.log.PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("operations.pulse.GOOD_FOR_SECONDS", 0.0)
    doctor = Doctor(settings(tmp_path), store, portal, write_fault=Pulse(store).fault)  # type: ignore[arg-type]
    watch = Watch(settings(tmp_path), store, portal, doctor)  # type: ignore[arg-type]
    watch.step(NOW)
    with closing(sqlite3.connect(path_of(store), isolation_level=None)) as other:
        other.execute("begin immediate")
        for second in range(10, 1000, 50):  # also when the portal is due to be asked again
            watch.remember()
            watch.step(NOW + second)
        other.execute("rollback")

    [(level, line)] = told(log)
    assert level == "ERROR"
    assert "store.store_locked" in line
    assert "End it" in line
    assert "store_locked" in portal.notes[0][2], "the portal can be told"

    watch.remember()
    watch.step(NOW + 1010)
    assert [level for level, _ in told(log)] == ["ERROR", "INFO"]
    kept = store.notes.watch.get()
    assert kept is not None
    assert kept["causes"] == {}
    assert "store.store_locked" in kept["noted"]


def test_a_watch_that_hung_while_another_one_took_over_writes_nothing_and_goes_on(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    stop, steps = threading.Event(), list[float]()

    def hang(now: float) -> None:
        steps.append(now)
        if len(steps) == 1:
            Fence(store.database, "watch").take_over()
            store.notes.watch.set({"told": "late"})
        else:
            stop.set()

    monkeypatch.setattr(watch, "step", hang)
    watch.run(stop)

    assert store.notes.watch.get() is None
    assert len(steps) == 2


def test_one_process_at_a_time_watches_until_it_is_stopped(
    store: Store, portal: FakePortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    stops = [threading.Event(), threading.Event()]
    steps: list[int] = []
    threads = []
    for number, stop in enumerate(stops):
        watch = watch_of(store, portal, tmp_path)
        monkeypatch.setattr(watch, "step", lambda now, number=number: steps.append(number))
        threads.append(threading.Thread(target=watch.run, args=(stop,)))
        threads[-1].start()
    try:
        wait_until(lambda: len(steps) > 5, 10)
        [one] = {*steps}
        stops[one].set()
        threads[one].join()
        wait_until(lambda: 1 - one in steps, 10, "the other one takes over")
    finally:
        for stop in stops:
            stop.set()
        for thread in threads:
            thread.join()


# -- what is over, and what is asked again


def test_a_fault_is_over_only_when_it_was_looked_at_and_found_good(
    watch: Watch, store: Store, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    portal.says = examined(
        bindings=BOUND, rights=frozenset({"imopenlines"}), lines={LINE: Line("Sales", False)}
    )
    for second in range(0, 80, 10):
        watch.step(NOW + second)
    assert {line.split(": ")[1] for _, line in told(log)} == {
        "rights.right_imconnector", "lines.line_off"
    }  # fmt: skip

    log.clear()
    portal.says = TryLater("NOT_CONNECTED", "batch")  # of rights and lines nobody knows now
    for second in range(80, 200, 10):
        watch.step(NOW + second)
    assert [level for level, _ in told(log)] == ["ERROR"]

    log.clear()
    portal.says = examined(
        bindings=BOUND, rights=TryLater("NOT_CONNECTED", "scope"), lines={LINE: Line("Sales", True)}
    )
    for second in range(200, 240, 10):
        watch.step(NOW + second)
    assert {line.split(": ")[1] for _, line in told(log)} == {
        "lines.line_off", "portal.server_unreachable"
    }  # fmt: skip

    log.clear()
    portal.says = examined(bindings=BOUND)
    for second in range(240, 280, 10):
        watch.step(NOW + second)
    assert told(log) == [("INFO", "over after 240 s: rights.right_imconnector")]


def test_a_fault_is_not_over_because_the_store_cannot_be_read(
    watch: Watch, store: Store, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    store.portal.disconnect_line(LINE)
    watch.step(NOW)
    watch.step(NOW + 70)
    log.clear()
    store.database.close()
    shutil.rmtree(tmp_path / "chats")
    (tmp_path / "chats").write_text("no folder can be here")
    watch.step(NOW + 80)
    watch.step(NOW + 150)

    assert [level for level, _ in told(log)] == ["ERROR"], "the store's own"


def test_one_fault_makes_one_line_and_one_note(
    watch: Watch, store: Store, portal: FakePortal, log: pytest.LogCaptureFixture
) -> None:
    portal.says = examined(bindings=BOUND, rights=frozenset({"imopenlines", "im"}))
    store.notes.fault.set(ReportedFault("imconnector.send.messages", "INSUFFICIENT_SCOPE"))
    for second in range(0, 300, 10):
        watch.step(NOW + second)

    assert len(told(log)) == 1
    assert [tag for _, _, tag in portal.notes] == ["sitechat rights.right_imconnector"]

    portal.says = examined(bindings=BOUND)  # the worker's fault stands until its next try
    for second in range(300, 340, 10):
        watch.step(NOW + second)
    assert [level for level, _ in told(log)] == ["ERROR", "INFO"]


@pytest.mark.parametrize(
    "says", [{"rights": frozenset({"imopenlines", "imconnector"})}, {"clock_seconds": 90.0}]
)
def test_what_needs_attention_is_asked_for_again_soon(
    watch: Watch, portal: FakePortal, says: dict[str, Any]
) -> None:
    portal.says = examined(bindings=BOUND, **says)
    watch.step(NOW)
    portal.says = examined(bindings=BOUND)
    for second in range(10, 1000, 10):
        watch.step(NOW + second)

    assert portal.asked == 3, "at the start, again soon, then every ten minutes"
    assert worst(watch.verdict()) is Level.GOOD


def test_a_good_look_makes_the_worker_try_again(
    watch: Watch, store: Store, portal: FakePortal
) -> None:
    store.notes.fault.set(ReportedFault("imconnector.send.messages", "INSUFFICIENT_SCOPE"))
    portal.says = examined(bindings=BOUND, rights=frozenset({"imopenlines"}))
    watch.step(NOW)
    assert store.notes.retry_at.get() is None, "it would fail again"

    portal.says = examined(bindings=BOUND)
    watch.step(NOW + 10)
    watch.step(NOW + 30)
    assert store.notes.retry_at.get() is not None


# -- our own address


OTHER = FrontReport("OTHER", 502)


class Fronts:
    """Answers of our own address, as a proxy in front gives them; counts the large bodies."""

    def __init__(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report = FrontReport(status=200, forwarded=0, is_buffered=False, is_too_large=False)
        self.tried = self.largest = 0
        monkeypatch.setattr(watch._doctor, "try_front", self._look)
        monkeypatch.setattr(watching, "KNOWN_SECONDS", 0.0)

    def _look(self, with_largest: bool = True) -> FrontReport:
        self.tried += 1
        self.largest += with_largest
        return self.report if with_largest else replace(self.report, is_too_large=None)


def test_check_again_tries_our_own_address(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    fronts, good = Fronts(watch, monkeypatch), None
    watch.step(NOW)
    good, fronts.report = fronts.report, OTHER
    assert "front_other" in keys(watch.look(tries_front=True))

    fronts.report = good
    assert watch.look_within(10, tries_front=True)
    assert "front_other" not in keys(watch.verdict())

    fronts.report = replace(good, is_too_large=True)
    watch._largest_at = 0.0  # the last large body was sent long ago
    assert "front_too_large" in keys(watch.look(tries_front=True))
    fronts.report = good
    assert "front_too_large" not in keys(watch.look(tries_front=True)), "tried each time"


@pytest.mark.parametrize("fault", [OTHER, FrontReport(status=200, is_too_large=True)])
def test_a_fault_of_our_own_address_is_tried_again_soon(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, fault: FrontReport
) -> None:
    fronts = Fronts(watch, monkeypatch)
    good, fronts.report = fronts.report, fault
    watch.step(NOW)
    assert "front" in {one.check for one in watch.verdict() if one.level is not Level.GOOD}

    fronts.report = good
    for second in (10, 20):
        watch.step(NOW + second)
    assert "front" not in {one.check for one in watch.verdict() if one.level is not Level.GOOD}

    for second in range(20, 12_000, 600):
        watch.step(NOW + second)
    assert fronts.tried > 15
    assert fronts.largest <= 2, "a large body goes out seldom while all is well"


def test_a_look_that_hangs_is_not_waited_for_and_not_begun_again(
    watch: Watch, portal: FakePortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    asked = portal.examine

    def hang(connector: str, lines: list[int]) -> Examination:
        goes_on.wait(20)
        return asked(connector, lines)

    monkeypatch.setattr(portal, "examine", hang)
    try:
        began = time.monotonic()
        assert not watch.look_within(0.1)
        assert not watch.look_within(0.1)
        assert time.monotonic() - began < 5
    finally:
        goes_on.set()
    assert watch.look_within(20)
    assert portal.asked == 1


def test_what_was_known_of_a_former_address_says_nothing_of_the_new_one(
    watch: Watch, store: Store, portal: FakePortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fronts = Fronts(watch, monkeypatch)
    fronts.report = OTHER
    watch.step(NOW)
    given = settings(tmp_path).model_copy(update={"public_url": "http://localhost:9/moved"})
    doctor = Doctor(given, store, portal)  # type: ignore[arg-type]
    moved = Watch(given, store, portal, doctor)  # type: ignore[arg-type]

    assert "front_other" in keys(watch.verdict())
    assert "front_other" not in keys(moved.look())


def test_a_stopped_service_is_called_so_also_where_the_clock_was_set_back(
    portal: FakePortal, tmp_path: Path
) -> None:
    given = settings(tmp_path)
    with closing(Store(given.storage.url, tmp_path, 1)) as store:
        store.portal.save(INSTALLED)
        store.notes.up_at.set(NOW + DAY)
        doctor = Doctor(given, store, portal, only_reads=True)  # type: ignore[arg-type]

        found = doctor.local_of(doctor.facts(0.0, NOW))

    assert "service_stopped" in keys(found)
