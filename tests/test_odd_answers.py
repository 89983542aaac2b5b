"""Whatever answers for the portal: only our errors come out, in time, and in bounded memory."""

import gzip
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from odd_answers import ODD, Answer, Heard, OddServer, answer, deep, dripping, said
from pydantic import SecretStr
from stage import CLIENT_ID

import rest.http
from bitrix import Bitrix
from portal.tokens import StoredTokens
from rest.errors import BitrixError, OutcomeUnknown, SetupFault
from rest.http import ANSWER_BYTES, json_of
from rest.replies import Grant
from settings import Bitrix24Settings
from storage import Store
from store.records import Portal

SLOW = [kind for kind in ODD if "byte a second" in kind or kind == "too long a length"]
QUICK = [kind for kind in ODD if kind not in SLOW]
PORTAL = Portal("m", 1, "access", "refresh", time.time() + 3000, "application", False, 0.0)
CALLS: list[Callable[[Bitrix], object]] = [
    lambda bitrix: bitrix.send_messages("connector", 7, [{}]),
    lambda bitrix: bitrix.newest_messages([1]),
    lambda bitrix: bitrix.bound_events(),
    lambda bitrix: bitrix.examine("connector", [7]),
    lambda bitrix: bitrix.line(7),
    lambda bitrix: bitrix.notify(1, "text", "tag"),
    lambda bitrix: bitrix.unregister("connector"),
    lambda bitrix: bitrix.renew(),
    lambda bitrix: bitrix.is_administrator("token"),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.portal.save(PORTAL)
        yield store


@contextmanager
def client_of(
    store: Store, reply: Callable[[Heard], Answer], send_seconds: float = 20.0
) -> Iterator[Bitrix]:
    with OddServer(reply) as server:
        settings = Bitrix24Settings(
            portal=server.url,
            oauth_server=server.url,
            client_id=CLIENT_ID,
            client_secret=SecretStr("secret"),
        )
        yield Bitrix(settings, StoredTokens(store), send_seconds)


@pytest.mark.parametrize("kind", QUICK)
def test_an_odd_answer_is_one_of_our_errors(store: Store, kind: str) -> None:
    with client_of(store, lambda _: ODD[kind]()) as bitrix:
        with pytest.raises(BitrixError) as raised:
            bitrix.send_messages("connector", 7, [{}])
        for call in CALLS:
            with suppress(BitrixError):  # some are no oddity for every method
                call(bitrix)

    assert len(raised.value.code) <= 100, "as the log and the admin's page show it"
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("kind", SLOW)
def test_an_answer_that_has_begun_must_end_soon(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest.http, "RECEIVE_SECONDS", 0.3)
    began = time.monotonic()

    def reply(_: Heard) -> Answer:
        yield from ODD[kind]()
        time.sleep(5)  # the connection stays open

    with client_of(store, reply) as bitrix, pytest.raises(OutcomeUnknown):
        bitrix.is_installed()

    assert time.monotonic() - began < 4


def test_the_time_of_a_call_is_all_of_its_time(store: Store) -> None:
    """A byte now and then is no silence, so a limit of silence would never end it."""

    def reply(_: Heard) -> Answer:
        return dripping(b"".join(answer(b'{"result": true}')), pause=0.1)

    began = time.monotonic()
    with client_of(store, reply, send_seconds=0.5) as bitrix, pytest.raises(OutcomeUnknown):
        bitrix.send_messages("connector", 7, [{}])

    assert 0.4 < time.monotonic() - began < 3


@pytest.mark.parametrize("kind", ["400 MB gzipped", "an endless body", "many values"])
def test_no_answer_takes_more_memory_than_its_bound(store: Store, kind: str) -> None:
    whole = ODD[kind]()  # made before we measure
    parts = list(whole)[:400]
    with client_of(store, lambda _: parts) as bitrix:
        tracemalloc.start()
        try:
            with pytest.raises(OutcomeUnknown):
                bitrix.is_installed()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 3 * ANSWER_BYTES + (8 << 20)


@pytest.mark.parametrize(
    "location",
    ["https://renamed.example/rest/", "/rest/other", "http://[::1]/", "HTTPS://x.example"],
)
def test_a_redirect_to_an_address_says_that_the_portal_has_moved(
    store: Store, location: str
) -> None:
    def moved(_: Heard) -> Answer:
        return answer(b"", "302 Found", Location=location)

    with client_of(store, moved) as bitrix, pytest.raises(SetupFault, match="PORTAL_MOVED"):
        bitrix.is_installed()


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"result": true}', b' {"result" :true}\r\n'])
def test_a_mark_at_the_beginning_and_blanks_do_no_harm(body: bytes) -> None:
    assert json_of(body) == {"result": True}


@pytest.mark.parametrize(
    ("body", "text"),
    [(rb'"\ud83d\ude00"', "😀"), (rb'"a\ud83d"', "a?"), (rb'"\\ud83d"', r"\ud83d")],
)
def test_half_a_surrogate_pair_is_no_letter(body: bytes, text: str) -> None:
    assert json_of(body) == text


def test_gzip_is_read_as_ever(store: Store) -> None:
    body = gzip.compress(b'{"result": {"INSTALLED": true}}')

    with client_of(store, lambda _: answer(body, Content_Encoding="gzip")) as bitrix:
        assert bitrix.is_installed()


def test_numbers_that_no_store_can_keep_are_none(store: Store) -> None:
    item = {"SUCCESS": True, "user": 2**63, "session": {"ID": 10**40, "CHAT_ID": "9" * 5000}}
    result = {"result": {"SUCCESS": True, "DATA": {"RESULT": [item]}}}

    with client_of(store, lambda _: said(result)) as bitrix:
        (read,) = bitrix.send_messages("connector", 7, [{}])

    assert (read.portal_user_id, read.session_id, read.portal_chat_id) == (None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 2**63}, {"id": None}, {"id": "x"}, {"text": ["a"]}, {"text": {"a": 1}},
        {"params": {"CONNECTOR_MID": [[]]}}, {"params": {"CLASS": {"a": []}}},
    ],
)  # fmt: skip
def test_a_history_with_an_odd_message_is_no_history(
    store: Store, change: dict[str, object]
) -> None:
    page = {"messages": [{"id": 1, "text": "hi"} | change]}

    with client_of(store, lambda _: said({"result": page})) as bitrix:
        with pytest.raises(OutcomeUnknown, match="STRANGE_ANSWER"):
            bitrix.dialog_messages(5120)
        (found,) = _batch_of(store, page)
    assert isinstance(found, OutcomeUnknown)


def _batch_of(store: Store, page: object) -> list[object]:
    pages = {"result": {"result": [page], "result_error": []}}
    with client_of(store, lambda _: said(pages)) as bitrix:
        return list(bitrix.newest_messages([5120]))


@pytest.mark.parametrize("date", [None, "x", [], "0001-01-01T00:00:00+23:59", "9999-12-31", 10**30])
def test_a_date_that_is_none_is_the_present(store: Store, date: object) -> None:
    message = {"id": 1, "date": date, "params": {"CONNECTOR_MID": ["9" * 5000, 12]}}

    with client_of(store, lambda _: said({"result": {"messages": [message]}})) as bitrix:
        (read,) = bitrix.dialog_messages(5120)

    assert read.sent_at == pytest.approx(time.time(), abs=60)
    assert read.connector_mids == ("12",), "the portal keeps 100 letters of an id of ours"


def test_the_deepest_answer_that_can_be_read_does_no_harm(store: Store) -> None:
    with client_of(store, lambda _: answer(deep(900))) as bitrix:
        for call in CALLS[:2]:
            with pytest.raises(OutcomeUnknown):
                call(bitrix)


# -- the note of a renewal


def test_a_renewal_is_noted_until_its_answer_is(store: Store) -> None:
    old, new = Grant("access", "refresh", 0.0), Grant("access 2", "refresh 2", 0.0)
    tokens = StoredTokens(store)
    assert not tokens.renewal_began(old)

    tokens.begin_renewal(old)

    assert StoredTokens(store).renewal_began(old), "also for the process after us"
    assert not tokens.renewal_began(new), "an install has brought another pair"
    assert "refresh" not in str(store.notes.renewal.get())

    tokens.save(old, new)
    assert not tokens.renewal_began(old)
    tokens.begin_renewal(new)
    tokens.renewal_refused(new)
    assert not tokens.renewal_began(new)
