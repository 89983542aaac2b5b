"""Two hosts on one PostgreSQL whose clocks are hours apart; that of the database is right."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests
from host_pair import Pair
from postgres import Server
from soak import SEND, Talk, assert_equal, dialogs_at, mend
from stage import LINE, wait_until
from starter import sitechat
from test_two_hosts import LEASE, ticket_at

from storage import Store

AHEAD = {"a": 7_200.0, "b": -90_000.0}  # seconds: two hours, and a day and an hour behind
SOON_SECONDS = 20.0  # on a busy machine, and far less than the clocks are apart
CHATS = 3  # of one address in a minute


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    settings = {
        "SITECHAT_LIMITS__ADDRESS_CHATS_PER_MINUTE": f"{CHATS}",
        "SITECHAT_DELIVERY__TIMEOUT_SECONDS": "2",
    }
    with closing(Server(durable=True)) as server:
        pair = Pair(folder, server.new_database(), 1, None, **settings)
        for host in pair.hosts:
            host.constants = LEASE | {"time.time": AHEAD[host.folder.name]}
        with pair:
            said = pair.press("install")["body"]
            assert "The clock of this machine is" in said
            pair.press("connect", line=LINE)
            yield pair


@pytest.fixture
def store(pair: Pair) -> Iterator[Store]:
    with closing(Store(pair.url, pair.folder, 1, read_only=True)) as store:
        store.open()
        yield store


@pytest.mark.parametrize("number", [0, 1])
def test_what_was_in_doubt_when_its_host_died_is_there_once_and_in_order(
    pair: Pair, store: Store, number: int
) -> None:
    """Each host dies once, and each has taken the message of one of the two visitors."""
    others = {*dialogs_at(pair)}
    talks = [Talk(pair, f"visitor {number} of {host.folder.name}") for host in pair.hosts]
    for talk, host in zip(talks, pair.hosts, strict=True):
        talk.visitor.chat = host.direct
        talk.write()
    assert_equal(pair, talks, SOON_SECONDS, others)
    pair.trouble(drop_answers=2, drop_method=SEND)
    for talk in talks:
        talk.write()
    wait_until(store.queue.is_in_doubt, why="a message in doubt")

    dead, _ = pair.sender()
    dead.kill()
    mend(pair)
    began = time.monotonic()
    living = pair.other(dead)
    for talk in talks:
        talk.visitor.chat = living.direct
        talk.write()

    assert_equal(pair, talks, SOON_SECONDS, others)
    print(f"all was there after {time.monotonic() - began:.1f} s")
    assert abs(store.messages.find(max_id(store)).sent_at - time.time()) < SOON_SECONDS  # type: ignore[union-attr]
    dead.start()


def max_id(store: Store) -> int:
    row = store.database.row("select max(id) as id from messages where author = 'visitor'")
    assert row is not None
    return int(row["id"])


def test_limits_are_counted_together(pair: Pair) -> None:
    codes = []
    for host in pair.hosts * CHATS:
        visitor = pair.visitor_at(host)
        visitor.http.headers["X-Forwarded-For"] = "203.0.113.1"
        codes.append(visitor.post(type="send_message", name="Anna", message="Hello").status_code)

    assert codes == [200] * CHATS + [429] * CHATS


def test_the_form_of_one_host_is_taken_by_the_other(pair: Pair) -> None:
    for host in pair.hosts:
        ticket = wait_until(lambda host=host: ticket_at(pair, host))  # type: ignore[misc]
        form = {"PLACEMENT": "DEFAULT", "ticket": ticket, "do": "check"}

        taken = requests.post(f"{pair.other(host).direct}/handler", data=form, timeout=30)

        assert taken.status_code == 200, taken.text


def test_the_doctor_of_one_host_is_answered_by_the_other(pair: Pair) -> None:
    """nginx gives its questions to both, and its own clock is right."""
    looked = sitechat("doctor", "--json", environment=pair.hosts[0].environment())

    assert '"front_good"' in looked.stdout, looked.stdout + looked.stderr
