"""Two hosts on one PostgreSQL behind nginx; `make hosts` plays more of it, and measures."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests
from host_pair import Host, LinkedPair, Pair
from pages import open_page, write
from playwright.sync_api import BrowserContext, expect
from postgres import Server
from soak import Talk, assert_equal, dialogs_at
from stage import wait_until
from starter import sitechat
from two_hosts import FAIL_OVER, Count, Fault, Storm, counts_of, live

SEED = int(os.environ["SEED"])
# As short as a test; what may still be sent is looked for after a whole call.
LEASE_SECONDS, CALL_SECONDS = 2.0, 2.0
LEASE = {
    "store.postgresql_locks.LEASE_SECONDS": LEASE_SECONDS,
    "store.postgresql_locks.SPEAK_SECONDS": 0.3,
    "store.postgresql_locks.MARGIN_SECONDS": 0.5,
}
FAULTS = [
    "kill -9 of the host that delivers",
    "SIGSTOP between the claim and the call",
    "the host that delivers loses the database",
    "immediate restart of the database",
]
TAKEN_OVER_SECONDS = 30.0  # on a busy machine; whoever is not taken over would never be
TRIES = 8
CALLS_SECONDS = 5.0  # in which the portal allows some ten calls more
CHATS = 3  # of one address in a minute


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server(durable=True)) as server:
        yield server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    settings = {
        "SITECHAT_LIMITS__ADDRESS_CHATS_PER_MINUTE": f"{CHATS}",
        "SITECHAT_DELIVERY__TIMEOUT_SECONDS": f"{CALL_SECONDS}",
    }
    url = server.with_standby(server.new_database())
    with LinkedPair(folder, url, 1, LEASE, **settings) as pair:
        pair.install()
        yield pair


def test_what_one_host_did_not_end_the_other_one_does(pair: Pair, server: Server) -> None:
    play(pair, server, FAULTS)


def play(pair: Pair, server: Server, names: list[str]) -> None:
    """All is there afterwards, once and in order, and after each fault messages went on."""
    print(f"SEED={SEED}")
    others = {*dialogs_at(pair)}  # of the tests before this one
    faults = [Fault(name, "well") for name in names]
    storm = Storm(pair, server, faults, 0.0, 0.5, seed=SEED, visitors=3)

    storm.play()

    assert_equal(pair, storm.talks, 60, others)
    for count in counts_of(pair, storm.talks):
        assert count.is_good(), count.told()
        assert count.there
    for fault in faults:
        assert (fault.seconds or 1e9) < TAKEN_OVER_SECONDS, fault.told()


def test_losses_doubles_and_disorder_are_counted() -> None:
    count = Count()

    count.add(["a", "b", "c", "d"], ["b", "a", "a", "d", "e"])

    assert (count.lost, count.doubled, count.disordered) == (1, 2, 1)
    assert not count.is_good()


def test_an_answer_that_one_host_takes_is_seen_at_the_other(pair: Pair) -> None:
    for delays in live(pair, [Talk(pair, "listener")], 3).values():
        assert max(delays) < 5_000


@pytest.fixture(params=[0, 1], ids=["a", "b"])
def here(request: pytest.FixtureRequest, pair: Pair) -> Host:
    """Each host in turn; the other one is `pair.other(here)`."""
    host: Host = pair.hosts[request.param]
    return host


def test_a_visitor_of_one_host_is_the_same_at_the_other(pair: Pair, here: Host) -> None:
    visitor = pair.visitor_at(here)
    chat = visitor.send("here")["chat"]

    visitor.chat = pair.other(here).direct

    assert "here" in visitor.history()
    assert visitor.send("there")["chat"] == chat


def test_limits_are_counted_together(pair: Pair, here: Host) -> None:
    codes = []
    for host in [here, pair.other(here)] * CHATS:
        visitor = pair.visitor_at(host)
        visitor.http.headers["X-Forwarded-For"] = f"203.0.113.{pair.hosts.index(here)}"
        codes.append(visitor.post(type="send_message", name="Anna", message="Hello").status_code)

    assert codes == [200] * CHATS + [429] * CHATS


def ticket_at(pair: Pair, host: Host) -> str:
    """What the administrator's page puts into its forms, once the portal has proved who asks."""
    token = pair.press("token", user_id=1)
    form = {"PLACEMENT": "DEFAULT", "AUTH_ID": token["access_token"]}
    form["member_id"] = token["member_id"]
    page = requests.post(f"{host.direct}/handler", data=form, timeout=30).text
    return "".join(re.findall('name="ticket" value="([^"]+)"', page)[:1])


def test_the_form_of_one_host_is_taken_by_the_other_and_its_settings_by_both(
    pair: Pair, here: Host
) -> None:
    for _ in range(TRIES):  # the faults before have cost the portal's calls
        if ticket := ticket_at(pair, here):
            break
        time.sleep(CALLS_SECONDS)
    title = f"Made with a form of {here.folder.name}"

    saved = requests.post(
        f"{pair.other(here).direct}/handler",
        data={"PLACEMENT": "DEFAULT", "ticket": ticket, "do": "settings", "title": title},
        timeout=30,
    )

    assert saved.status_code == 200, saved.text
    for host in pair.hosts:
        wait_until(lambda host=host: title in requests.get(f"{host.direct}/", timeout=30).text, 5)  # type: ignore[misc]


def test_commands_work_on_each_host_while_both_serve(pair: Pair, here: Host) -> None:
    visitor = pair.visitor_at(pair.other(here))
    chat = visitor.send("to be forgotten")["chat"]

    looked = sitechat("doctor", "--json", environment=here.environment())
    forgotten = sitechat("forget", chat, environment=here.environment())
    moved = sitechat("migrate", f"sqlite:///{here.folder}/x.db", environment=here.environment())

    assert looked.returncode < 2, looked.stdout + looked.stderr
    assert '"service_good"' in looked.stdout
    assert forgotten.returncode == 0, forgotten.stderr
    assert "to be forgotten" not in visitor.history()
    assert moved.returncode > 0
    assert "running" in moved.stderr


def test_a_page_whose_host_dies_shows_the_answer_that_is_given_meanwhile(
    pair: Pair, context: BrowserContext
) -> None:
    """nginx has given its stream to one of the two, and each of them dies once."""
    page, greeting = context.new_page(), "Hello from a page"
    open_page(page, pair)
    write(page, greeting)
    # By its text: chats of the tests before this one may come to the portal now.
    (chat,) = [one for one in dialogs_at(pair) if pair.texts(one) == [greeting]]
    page.evaluate("window.untouched = true")
    for host in pair.hosts:
        host.kill()
        text = f"Given while {host.folder.name} is away"

        pair.press("answer", external_chat_id=chat, text=text)

        expect(page.get_by_text(text)).to_be_visible(timeout=15_000)
        host.start()
    assert page.evaluate("window.untouched"), "it was loaded anew"


def test_a_standby_takes_the_place_of_a_server_that_has_died(pair: Pair, server: Server) -> None:
    """The last one: the server is gone then."""
    play(pair, server, [FAIL_OVER])
