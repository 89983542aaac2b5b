"""The application's page and `sitechat doctor` say the same of a broken chat, word for word."""

import html
import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from doctor_stage import Doctor, file_of, make_old, note, store_has
from stage import LINE, Stage, note_of, wait_until

from operations.findings import HINTS, Finding, Level, Moment, worst
from operations.words import heading, words
from portal.presence import EVENTS

Said = tuple[str, list[tuple[str, str, str]]]  # the verdict; how bad, of what, the sentence
Break = Callable[[Stage], AbstractContextManager[None]]
SHOP = "https://shop.example"
SEND = "imconnector.send.messages"
SECONDS = 8.0  # within which both say the same: a minute or a message may pass between the two


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    small = "1"  # both send a file as large as visitors may
    place = tmp_path_factory.mktemp("stage")
    with Stage(place, SITECHAT_FILES__MEGABYTES=small) as stage:
        stage.install()
        make_old(stage)
        mend(stage)
        wait_until(lambda: store_has(stage, "note.recovery"), 15, "a first look for lost answers")
        yield stage


@pytest.fixture(scope="module")
def ticket(installed: Stage) -> str:
    """What the buttons of an administrator's page carry; the page was opened while all was well."""
    return installed.admin_page().partition('name="ticket" value="')[2].partition('"')[0]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    return Doctor(monkeypatch)


# -- what both say


def of_page(stage: Stage, ticket: str, language: str) -> Said:
    """What the page says after its button "Check again"."""
    form = {"PLACEMENT": "DEFAULT", "ticket": ticket, "do": "check"}
    answer = requests.post(
        f"{stage.chat}/handler", data=form, params={"LANG": language}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    section = answer.text.partition('<section class="card verdict ')[2].partition("</section>")[0]
    troubles = section.partition('<ul class="findings">')[2].partition("</ul>")[0]
    found = re.findall(r'<li class="(\w+)"><h2>(.*?)</h2><p>(.*?)</p></li>', troubles, re.DOTALL)
    assert len(found) == troubles.count("<li")
    return section.partition('"')[0], sorted(
        (level, text_of(title), text_of(sentence)) for level, title, sentence in found
    )


def text_of(part: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", part)).strip()


def of_findings(found: list[Finding], language: str) -> Said:
    """The doctor's findings but the good ones, as the page has to say them."""
    troubles = [one for one in found if one.level > Level.GOOD or one.key in HINTS]
    return worst(found).name.lower(), sorted(
        (
            "next" if one.key in HINTS else one.level.name.lower(),
            heading(one, language),
            words(one, language, at),
        )
        for one in troubles
    )


def at(moment: Moment) -> str:
    """A time as a page without its script has it."""
    return f"{datetime.fromtimestamp(moment.seconds, UTC):%Y-%m-%d %H:%M} UTC"


# -- how the chat is broken


def mend(stage: Stage) -> None:
    stage.control.delete(f"{stage.portal}/sandbox/trouble", timeout=30)
    stage.trouble(limit=False)  # in life nobody asks so often


def trouble(**values: Any) -> Break:
    @contextmanager
    def broken(stage: Stage) -> Iterator[None]:
        stage.trouble(**values)
        try:
            yield
        finally:
            mend(stage)

    return broken


@contextmanager
def line_off(stage: Stage) -> Iterator[None]:
    stage.press("configure-line", line=LINE, settings={"ACTIVE": "N"})
    try:
        yield
    finally:
        stage.press("configure-line", line=LINE, settings={"ACTIVE": "Y"})


@contextmanager
def disconnected(stage: Stage) -> Iterator[None]:
    """And the event that says so gets lost."""
    with trouble(lose_events=True)(stage):
        stage.press("disconnect", line=LINE)
    try:
        yield
    finally:
        stage.press("connect", line=LINE)


@contextmanager
def no_line(stage: Stage) -> Iterator[None]:
    stage.press("disconnect", line=LINE)
    visitor = stage.visitor()
    visitor.send("Is anybody there?")
    try:
        yield
    finally:
        stage.press("connect", line=LINE)
        visitor.wait_for("delivered")


@contextmanager
def bound_elsewhere(stage: Stage) -> Iterator[None]:
    """The portal posts an event to another address, too."""
    fields = {"event": EVENTS[0], "handler": f"{SHOP}/handler"}
    fields["auth"] = stage.press("token", user_id=1)["access_token"]
    rest = f"{stage.portal}/rest"
    assert requests.post(f"{rest}/event.bind.json", data=fields, timeout=30).ok
    try:
        yield
    finally:
        assert requests.post(f"{rest}/event.unbind.json", data=fields, timeout=30).ok


@contextmanager
def refused(stage: Stage) -> Iterator[None]:
    with trouble(fail_items="never")(stage):
        visitor = stage.visitor()
        visitor.send("you will never take this")
        visitor.wait_for("refused")
    try:
        yield
    finally:
        with closing(sqlite3.connect(file_of(stage), timeout=10)) as db:
            db.execute("update messages set state = 'delivered' where state = 'refused'")
            db.commit()


@contextmanager
def sends_fail(stage: Stage) -> Iterator[None]:
    visitor = stage.visitor()
    with trouble(broken_method=SEND, broken_code="INSUFFICIENT_SCOPE")(stage):
        visitor.send("hello")
        wait_until(lambda: note_of(stage, "fault"), 10, "the fault")
        yield
    stage.admin_page()  # which lets the service try again now
    visitor.wait_for("delivered")


@contextmanager
def site_tried(stage: Stage) -> Iterator[None]:
    note(stage, "tried_sites", {SHOP: [1.0, 2.0, 3]})
    try:
        yield
    finally:
        note(stage, "tried_sites", {})


@contextmanager
def forgotten(stage: Stage) -> Iterator[None]:
    """The portal does not know our connector any more."""
    stage.press("forget-connector")
    try:
        yield
    finally:
        stage.press("install")
        stage.press("connect", line=LINE)
        make_old(stage)


FAULTS: list[tuple[Break, Level, str, str]] = [
    (trouble(missing_rights="imconnector"), Level.BROKEN, "right_imconnector", "en"),
    (trouble(missing_rights="im"), Level.ATTENTION, "right_im", "ru"),
    (trouble(clock_offset_seconds=4 * 86_400), Level.BROKEN, "clock_slow", "en"),
    (trouble(clock_offset_seconds=-90), Level.ATTENTION, "clock_fast", "ru"),
    (trouble(overload=True), Level.BROKEN, "portal_blocked", "en"),
    (trouble(http_500=True), Level.BROKEN, "server_error", "en"),
    (trouble(down=True), Level.BROKEN, "server_unreachable", "ru"),
    (trouble(oauth_down=True), Level.ATTENTION, "server_unreachable", "en"),
    (line_off, Level.BROKEN, "line_off", "en"),
    (disconnected, Level.BROKEN, "line_disconnected", "en"),
    (no_line, Level.BROKEN, "line_none", "en"),
    (bound_elsewhere, Level.ATTENTION, "events_elsewhere", "en"),
    (refused, Level.ATTENTION, "refused", "en"),
    (sends_fail, Level.BROKEN, "method_refused", "en"),
    (site_tried, Level.GOOD, "sites_tried", "en"),
    (forgotten, Level.BROKEN, "connector_unknown", "en"),
]


@pytest.mark.parametrize(
    ("broken", "level", "key", "language"), FAULTS, ids=[f"{row[2]}-{row[3]}" for row in FAULTS]
)
def test_the_page_says_what_the_doctor_says(
    installed: Stage,
    ticket: str,
    doctor: Doctor,
    broken: Break,
    level: Level,
    key: str,
    language: str,
) -> None:
    said: list[Said] = []

    def both_say_the_same() -> bool:
        with ThreadPoolExecutor() as pool:  # each waits half a second for a slow answer of ours
            page = pool.submit(of_page, installed, ticket, language)
            found = doctor(installed)
        said[:] = [page.result(), of_findings(found, language)]
        is_it = worst(found) is level and key in {one.key for one in found}
        return is_it and said[0] == said[1]

    with broken(installed):
        try:
            wait_until(both_say_the_same, SECONDS)
        finally:
            print(*said, sep="\n")  # which pytest shows, where they differ
