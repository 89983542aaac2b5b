"""A host that hangs in the middle of a call, is taken over, and wakes up: it does nothing more."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from fake_portal import FakePortal, make_worker
from holding import LEASE, another, shorten
from postgres import Server
from stage import wait_until
from store_parts import LINE, RENDERER, SCHEMA, write

from storage import Store
from store.records import Portal

# Another host, which delivers, and says what its log says.
HOST = f"""
import logging, sys, threading
from contextlib import closing
from pathlib import Path
from bitrix import Bitrix
from delivery.worker import Worker
from portal.tokens import StoredTokens
from settings import Bitrix24Settings, Settings
from storage import Store
SHORT
class SetUp:
    def check(self):
        return True
given = Bitrix24Settings(portal=sys.argv[2], ca_file=sys.argv[3], client_id="c", client_secret="s")
settings = Settings(bitrix24=given)
print("held", flush=True)
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
with closing(Store(sys.argv[1], Path(), {RENDERER})) as store:
    bitrix = Bitrix(given, StoredTokens(store, given), 10.0)
    Worker(settings, store, bitrix, SetUp()).run(threading.Event())
"""
TAKEN = (
    b'{"result": {"SUCCESS": true, "DATA": {"RESULT": [{"SUCCESS": true, "session": {"ID": 1}}]}}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(TAKEN), TAKEN)


@pytest.fixture
def url(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    shorten(monkeypatch)
    postgres.empty(SCHEMA)
    return postgres.url_of(SCHEMA)


@pytest.fixture
def ours(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(url, tmp_path, RENDERER)) as store:
        now = time.time()
        store.portal.save(Portal("m", 1, "access", "refresh", now + 3600, "token", False, now))
        store.portal.connect_line(LINE, now)
        yield store


@pytest.fixture
def portal() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(10)
        yield listener


def kept(store: Store) -> list[list[dict[str, Any]]]:
    """All that a worker writes."""
    names = "deliveries", "messages", "chats", "meta", "counts"
    return [
        [dict(row) for row in store.database.rows(f"select * from {name} order by 1")]
        for name in names
    ]


@pytest.mark.parametrize("hangs", ["before the first byte", "after the last byte"])
def test_a_host_that_wakes_up_late_sends_nothing_and_writes_nothing(
    ours: Store, url: str, portal: socket.socket, tmp_path: Path, hangs: str
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    address = f"https://127.0.0.1:{portal.getsockname()[1]}"
    write(ours, "Hello", now=time.time())

    with another(HOST, url, address, str(tmp_path / "ca.pem")) as host:
        connection, _ = portal.accept()
        if hangs == "after the last byte":
            connection = context.wrap_socket(connection, server_side=True)
            assert b"Hello" in connection.recv(10_000) + connection.recv(10_000)
        wait_until(lambda: ours.database.row("select 1 from deliveries where state = 'sending'"))
        host.stop()
        with ours.database.lock("sender", 5 * LEASE):
            make_worker(ours, FakePortal()).begin(time.time())
            before = kept(ours)
            assert before[0][0]["state"] == "in doubt"
            host.wake()
            with suppress(OSError):  # it hangs up
                if hangs == "before the first byte":
                    connection = context.wrap_socket(connection, server_side=True)
                    assert connection.recv(1) == b""
                else:
                    connection.sendall(ANSWER)
            while "delivers no more" not in host.says():
                pass
            time.sleep(0.2)
            assert kept(ours) == before
        connection.close()
