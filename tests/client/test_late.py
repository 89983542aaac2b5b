"""A call begins only as long as its caller may make it: asked at the last moment, not before."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trustme
from client_parts import OLD, SENT, Keeper, Server, client, failure, result, send

from bitrix import Bitrix
from rest.errors import LOCK_LOST, OutcomeUnknown, TryLater
from rest.lease import only_while

LONG = {"user": {"id": "a"}, "message": {"id": 1, "text": "я" * 30_000}, "chat": {"id": "a"}}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that answers nothing by itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(5)
        yield listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"


def test_who_may_not_call_any_more_sends_nothing_and_may_try_again(
    bitrix: Bitrix, portal: Server
) -> None:
    with only_while(lambda: False):
        error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert error.code == LOCK_LOST
    assert portal.heard == []


def test_others_of_the_same_process_call_on(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result(SENT))
    with only_while(lambda: False):
        thread = threading.Thread(target=send, args=(bitrix,))
        thread.start()
        thread.join()
    send(bitrix)

    assert len(portal.heard) == 2


def test_it_is_asked_when_the_connection_stands(listener: socket.socket) -> None:
    accepted: list[socket.socket] = []

    def lost_meanwhile() -> bool:
        accepted.append(listener.accept()[0])
        return False

    with only_while(lost_meanwhile):
        error = failure(lambda: send(client(url_of(listener), url_of(listener), Keeper(OLD))))

    assert error.code == LOCK_LOST
    with closing(accepted[0]) as connection:
        assert connection.recv(100) == b""


def test_it_is_asked_after_a_slow_handshake(listener: socket.socket, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    is_held, heard = threading.Event(), list[bytes]()
    is_held.set()

    def serve() -> None:
        connection, _ = listener.accept()
        is_held.clear()  # while the client waits for the handshake
        with context.wrap_socket(connection, server_side=True) as secure:
            heard.append(secure.recv(100))

    server = threading.Thread(target=serve)
    server.start()
    url = url_of(listener, "https")
    with only_while(is_held.is_set):
        bitrix = client(url, url, Keeper(OLD), ca_file=str(tmp_path / "ca.pem"))
        error = failure(lambda: send(bitrix))
    server.join()

    assert error.code == LOCK_LOST
    assert heard == [b""]


def test_a_call_that_is_cut_may_have_been_made(portal: Server, oauth: Server) -> None:
    times = iter([True, True])  # of a long request the head and the first piece

    with only_while(lambda: next(times, False)):
        error = failure(lambda: send(client(portal.url, oauth.url, Keeper(OLD)), LONG))

    assert isinstance(error, OutcomeUnknown)
    with suppress(IndexError):
        assert b"auth=" not in portal.heard[0].body[-100:], "it never had the whole"


def test_a_renewal_that_may_not_begin_leaves_the_pair_as_it_was(
    portal: Server, oauth: Server
) -> None:
    keeper = Keeper(OLD)
    with only_while(lambda: False):
        error = failure(client(portal.url, oauth.url, keeper).renew)

    assert error.code == LOCK_LOST
    assert oauth.heard == []
    assert (keeper.grant, keeper.sent) == (OLD, "")
