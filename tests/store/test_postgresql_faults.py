"""A PostgreSQL server that cannot be our store: the reason is found out, and no secret is told."""

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from postgres import Server
from stage import wait_until
from store_parts import RENDERER

from settings import ROOT
from storage import Store
from store import postgresql_faults
from store.database import ServerUnusable, StoreReadOnly, StoreUnavailable
from store.postgresql_faults import REASONS, reason_of
from store.postgresql_link import is_lost, unavailable
from texts import text

SECRET, USER, DATABASE = "s3cret-word", "anna", "chat_of_anna"
ACCESS = f"""
host all closed_out 127.0.0.1/32 reject
host {DATABASE} all 127.0.0.1/32 scram-sha-256
host all {USER} 127.0.0.1/32 scram-sha-256
host all late 127.0.0.1/32 scram-sha-256
"""
SAID_SECONDS = 3.0  # whoever cannot be let in need not wait for a better moment


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@pytest.fixture(scope="module")
def place(own: Server) -> str:
    """Host and port of a server that lets people in by their passwords."""
    own.ask(f"create role {USER} login password '{SECRET}'")
    own.ask(f"create role other login password '{SECRET}'")
    own.ask(f"create role full login connection limit 0 password '{SECRET}'")
    own.ask(f"create role closed_out login password '{SECRET}'")
    own.ask(f"create role bare nologin password '{SECRET}'")
    own.ask(f"create database {DATABASE} owner {USER}")
    for encoding in ("latin1", "sql_ascii"):
        own.ask(
            f"create database in_{encoding} owner {USER} encoding '{encoding}' locale 'C'"
            " template template0"
        )
    return own.listen(ACCESS)


def fault_of(url: str, folder: Path, read_only: bool) -> StoreUnavailable:
    with closing(Store(url, folder, RENDERER, read_only)) as store:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as raised:
            store.open()
        if getattr(raised.value, "reason", "") not in postgresql_faults.PASSING:
            assert time.monotonic() - began < SAID_SECONDS
    for secret in (SECRET, USER, DATABASE, "127.0.0.1", "closed_out", "other"):
        assert secret not in str(raised.value) + raised.value.said
    return raised.value


def reason(url: str, folder: Path) -> str:
    """What is wrong, to a service and to a command that only reads."""
    found = [fault_of(url, folder, read_only) for read_only in (False, True)]
    assert [type(one) for one in found] == [ServerUnusable] * 2, found
    reasons = {one.reason for one in found if isinstance(one, ServerUnusable)}
    assert len(reasons) == 1, reasons
    return reasons.pop()


LET_IN = f"{USER}:{SECRET}@PLACE/{DATABASE}"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"{USER}:wrong-{SECRET}@PLACE/{DATABASE}", "login"),
        (f"{USER}@PLACE/{DATABASE}", "login"),
        (f"nobody:{SECRET}@PLACE/{DATABASE}", "login"),
        (f"bare:{SECRET}@PLACE/{DATABASE}", "login"),
        (f"closed_out:{SECRET}@PLACE/{DATABASE}", "unencrypted"),
        (f"other:{SECRET}@PLACE/elsewhere", "unencrypted"),
        (f"{USER}:{SECRET}@PLACE/elsewhere", "no_database"),
        (f"{USER}:{SECRET}@PLACE/postgres", "rights"),
        (f"{USER}:{SECRET}@PLACE/in_latin1", "encoding"),
        (f"{USER}:{SECRET}@PLACE/in_sql_ascii", "encoding"),
        (f"full:{SECRET}@PLACE/{DATABASE}", "connections"),
        (f"{USER}:{SECRET}@127.0.0.1:1/{DATABASE}", "away"),
        (f"{USER}:{SECRET}@no-such-host.invalid/{DATABASE}", "no_host"),
        (f"{LET_IN}?sslmode=require", "no_tls"),
        (f"{LET_IN}?sslmode=requre", "address"),
        (f"{LET_IN}?sslmde=require", "address"),
        (f"{LET_IN}?options=-cno_such%3D1", "address"),
        (f"{USER}:{SECRET}%zz@PLACE/{DATABASE}", "address"),
        (f"{USER}:{SECRET} a@PLACE/{DATABASE}", "address"),
    ],
)
def test_what_is_wrong_with_a_server_is_told(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, expected: str
) -> None:
    monkeypatch.setattr("store.postgresql.PATIENCE_SECONDS", 0.2)

    assert reason(f"postgresql://{address.replace('PLACE', place)}", tmp_path) == expected


def test_who_is_let_in_at_last_needs_no_restart_and_nobody_asks_for_one(
    own: Server, place: str, tmp_path: Path
) -> None:
    own.ask("create role late login password 'another one'")
    own.ask("create database chat_of_late owner late")
    url = f"postgresql://late:{SECRET}@{place}/chat_of_late"
    with closing(Store(url, tmp_path, RENDERER)) as store:
        with pytest.raises(ServerUnusable, match="password"):
            store.open()
        own.ask(f"alter role late password '{SECRET}'")
        assert store.notes.up_at.get() is None

    for language, word in {"en": "by itself", "ru": "сам"}.items():
        for name in ("login", "unencrypted", "pooled"):
            said = text(language, f"doctor.server_{name}", folder="PostgreSQL", said="")
            assert "restart" not in said
            assert "sudo systemctl reload sitechat" in said
            assert word in said


MIGRATOR = """
import sys
from pathlib import Path
from storage import Store
from store import postgresql_schema
from store.schema import MIGRATIONS
postgresql_schema.OTHERWISE[len(MIGRATIONS)] = "select pg_sleep(60)"
Store(sys.argv[1], Path(), 1).open()
"""


def test_a_host_that_is_killed_while_it_migrates_keeps_the_others_waiting_for_seconds(
    own: Server, tmp_path: Path
) -> None:
    """Nobody reads its statement's answer any more: the server looks now and then."""
    url = own.new_database()
    sleeps = "select 1 from pg_stat_activity where state = 'active' and wait_event = 'PgSleep'"
    with subprocess.Popen([sys.executable, "-c", MIGRATOR, url], cwd=ROOT) as migrator:
        wait_until(lambda: own.ask(sleeps), why="its migration")
        migrator.kill()
    began = time.monotonic()
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()

    assert time.monotonic() - began < 15


def test_tables_of_another_user_are_told(own: Server, place: str, tmp_path: Path) -> None:
    with closing(Store(f"postgresql://{LET_IN.replace('PLACE', place)}", tmp_path, 1)) as store:
        store.open()
        assert abs(store.database.clock_ahead()) < 1

    found = reason(f"postgresql://other:{SECRET}@{place}/{DATABASE}", tmp_path)

    assert found == "rights"


def test_a_database_that_may_only_be_read_is_told(own: Server, place: str, tmp_path: Path) -> None:
    """As providers make it where a disk is nearly full."""
    url = f"postgresql://{LET_IN.replace('PLACE', place)}"
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()
    own.ask(f"alter database {DATABASE} set default_transaction_read_only = on")
    try:
        with closing(Store(url, tmp_path, RENDERER)) as store, pytest.raises(StoreReadOnly):
            store.notes.up_at.set(1.0)
        with closing(Store(url, tmp_path, RENDERER, read_only=True)) as reader:
            reader.open()
            assert isinstance(reader.write_fault(), StoreReadOnly)
    finally:
        own.ask(f"alter database {DATABASE} reset default_transaction_read_only")


def test_who_could_only_read_writes_again_when_the_database_allows_it(
    own: Server, place: str, tmp_path: Path
) -> None:
    """What a session may do is of its opening: those of the time of the fault are not kept."""
    url = f"postgresql://{LET_IN.replace('PLACE', place)}"
    with closing(Store(url, tmp_path, RENDERER)) as store:
        store.open()
        own.ask(f"alter database {DATABASE} set default_transaction_read_only = on")
        try:
            own.ask(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                DATABASE,
            )
            sessions = [store.database._pool.take() for _ in range(3)]  # type: ignore[attr-defined]
            for session in sessions:
                store.database._pool.give_back(session)  # type: ignore[attr-defined]
            with pytest.raises(StoreReadOnly):
                store.notes.up_at.set(1.0)
            assert store.notes.up_at.get() != 1.0  # in a session that is kept for the next one
        finally:
            own.ask(f"alter database {DATABASE} reset default_transaction_read_only")

        with suppress(StoreReadOnly):  # the first one may still find a session of before
            store.notes.up_at.set(2.0)
        store.notes.up_at.set(3.0)
        assert store.notes.up_at.get() == 3.0


def test_a_standby_is_told_also_where_there_is_no_store_yet(tmp_path: Path) -> None:
    with closing(Server()) as own:
        own.ask(f"create database {DATABASE}")
        place = own.listen("host all all 127.0.0.1/32 trust")
        own.control("-m", "fast", "stop")
        (own._server.pgdata / "standby.signal").touch()
        own.control("start")
        for more in ("", "?target_session_attrs=read-write"):
            for read_only in (False, True):
                url = f"postgresql://postgres@{place}/{DATABASE}{more}"
                with closing(Store(url, tmp_path, RENDERER, read_only)) as store:
                    store.database._patience._seconds = 0.2  # type: ignore[attr-defined]
                    with pytest.raises(StoreReadOnly):
                        store.open()


def test_a_server_of_an_earlier_release_is_told(
    own: Server, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_faults, "OLDEST", 99)

    assert reason(f"postgresql://{LET_IN.replace('PLACE', place)}", tmp_path) == "old"


def test_another_program_at_the_port_is_told(tmp_path: Path) -> None:
    def answer() -> None:
        with suppress(OSError):
            while True:
                with closing(listener.accept()[0]) as client:
                    client.recv(100)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        found = reason(f"postgresql://{USER}:{SECRET}@127.0.0.1:{port}/{DATABASE}", tmp_path)
        listener.shutdown(socket.SHUT_RDWR)

    assert found == "not_postgresql"


# -- what stands between


class Pooler:
    """Gives one session of the server to all its clients, a statement at a time."""

    def __init__(self, place: str, database: str, user: str, shares: bool) -> None:
        self._place, self._named, self._shares = place, (database, user), shares
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._turn = threading.Lock()
        self._ends = [self._listener]
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._server, self._greeting = self._begin()
        threading.Thread(target=self._serve, daemon=True).start()

    def _begin(self) -> tuple[socket.socket, bytes]:
        """A session of the server, and what the server said; the number is another one."""
        host, _, port = self._place.partition(":")
        server = socket.create_connection((host, int(port)))
        self._ends.append(server)
        database, user = self._named
        named = f"user\0{user}\0database\0{database}\0\0".encode()
        server.sendall(struct.pack("!ii", 8 + len(named), 196_608) + named)
        greeting = b"".join(self._answer(server))
        found = greeting.index(b"K\0\0\0\x0c")
        return server, greeting[: found + 5] + bytes(8) + greeting[found + 13 :]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._ends.append(client)
                threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def _client(self, client: socket.socket) -> None:
        server, greeting = (self._server, self._greeting) if self._shares else self._begin()
        with suppress(OSError):
            (length,) = struct.unpack("!i", self._exactly(client, 4))
            if self._exactly(client, length - 4)[:4] == struct.pack("!i", 80_877_103):
                client.sendall(b"N")  # no TLS
                (length,) = struct.unpack("!i", self._exactly(client, 4))
                self._exactly(client, length - 4)
            client.sendall(greeting)
            while asked := client.recv(1 << 16):
                if asked[:1] == b"X":
                    return
                with self._turn:
                    server.sendall(asked)
                    for part in self._answer(server):
                        client.sendall(part)

    def _answer(self, server: socket.socket) -> Iterator[bytes]:
        """All messages until the server is ready for the next."""
        kind = b""
        while kind != b"Z":
            head = self._exactly(server, 5)
            kind = head[:1]
            yield head + self._exactly(server, struct.unpack("!i", head[1:])[0] - 4)

    def _exactly(self, source: socket.socket, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = source.recv(count - len(found))
            if not part:
                raise ConnectionResetError
            found += part
        return found

    def close(self) -> None:
        for end in self._ends:
            end.close()


@pytest.mark.parametrize("shares", [True, False])
def test_a_pooler_that_shares_sessions_is_told_and_no_other(tmp_path: Path, shares: bool) -> None:
    with closing(Server()) as own:
        own.ask(f"create database {DATABASE}")
        place = own.listen("host all all 127.0.0.1/32 trust")
        with closing(Pooler(place, DATABASE, "postgres", shares)) as pooler:
            url = f"postgresql://postgres@{pooler.place}/{DATABASE}?sslmode=disable"
            if shares:
                assert reason(url, tmp_path) == "pooled"
                with closing(Store(url, tmp_path, RENDERER).database.hints()) as hints:
                    hints.wait(0.05)  # it listens again when the pooler is mended
            else:
                with closing(Store(url, tmp_path, RENDERER)) as store:
                    store.open()


def test_a_pooler_without_a_free_session_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets us in, and keeps our first statement waiting."""
    monkeypatch.setattr("store.postgresql_link.FIRST_ANSWER_SECONDS", 0.3)
    with closing(Server()) as server:
        server.ask(f"create database {DATABASE}")
        there = server.listen("host all all 127.0.0.1/32 trust")
        with closing(Pooler(there, DATABASE, "postgres", shares=True)) as pooler, pooler._turn:
            url = f"postgresql://postgres@{pooler.place}/{DATABASE}?sslmode=disable"
            assert reason(url, tmp_path) == "silent"


def test_what_poolers_say_when_all_sessions_are_in_use_is_told() -> None:
    """PgBouncer, in the middle of a session."""
    error = psycopg.errors.ProtocolViolation("query_wait_timeout")

    assert (reason_of(error), is_lost(error)) == ("connections", True)
    assert reason_of(psycopg.errors.ProtocolViolation("client_idle_timeout")) is None


class Network:
    """Carries what clients and server say; `drop` loses it on all connections that stand then."""

    def __init__(self, place: str) -> None:
        host, _, port = place.partition(":")
        self._to = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._dropped: set[socket.socket] = set()
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                ends = self._listener.accept()[0], socket.create_connection(self._to)
                self._ends += ends
                for pair in (ends, ends[::-1]):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while said := source.recv(1 << 16):
                if source not in self._dropped:
                    to.sendall(said)
            if source not in self._dropped:
                to.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        self._dropped.update(self._ends)

    def close(self) -> None:
        for end in (self._listener, *self._ends):
            end.close()


def test_hints_come_again_after_the_network_has_dropped_the_connection_silently(
    own: Server, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.postgresql_signals.ASK_SECONDS", 0.3)
    monkeypatch.setattr("store.postgresql_signals.ANSWER_SECONDS", 0.3)
    urls = [f"postgresql://{LET_IN.replace('PLACE', place)}?sslmode=disable"]
    with closing(Network(place)) as network:
        urls.append(f"postgresql://{LET_IN.replace('PLACE', network.place)}?sslmode=disable")
        writer, reader = (Store(url, tmp_path, RENDERER) for url in urls)
        with closing(writer), closing(reader), closing(reader.database.hints()) as hints:

            def comes_at_once(number: int) -> bool:
                timer = threading.Timer(0.1, writer.notes.up_at.set, [float(number)])
                began = time.monotonic()
                timer.start()
                hints.wait(2)
                timer.join()
                return time.monotonic() - began < 1.5

            writer.open()
            hints.wait(0.01)
            session = hints._session  # type: ignore[attr-defined]
            began = time.monotonic()
            hints.wait(1)
            assert time.monotonic() - began >= 1, "the answer is no hint"
            assert comes_at_once(1)
            assert hints._session is session, "one that answers is kept"  # type: ignore[attr-defined]

            network.drop()
            for _ in range(20):
                hints.wait(0.1)  # so often the caller may do something else

            assert comes_at_once(2)


# -- words


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('ВАЖНО:  пользователь "anna" не прошёл проверку подлинности (по паролю)', "login"),
        ('ВАЖНО:  роль "anna" не существует', "login"),
        ('ВАЖНО:  для роли "anna" вход запрещён', "login"),
        ('ВАЖНО:  база данных "chat" не существует', "no_database"),
        ('ВАЖНО:  доступ к базе "chat" запрещён', "rights"),
        ("ВАЖНО:  извините, уже слишком много клиентов", "connections"),
        ('ВАЖНО:  слишком много подключений для роли "anna"', "connections"),
        (
            'ВАЖНО:  в pg_hba.conf нет записи для компьютера "10.0.0.1", пользователя "anna",'
            ' базы "chat", без шифрования',
            "unencrypted",
        ),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "anna", database "chat", SSL'
            " encryption",
            "closed",
        ),
        ("FATAL:  no more connections allowed (max_client_conn)", "connections"),
        ("FATAL:  MaxClientsInSessionMode: max clients reached", "connections"),
        ('SSL error: certificate verify failed', "certificate"),
        ('server certificate for "db" does not match host name "10.0.0.1"', "certificate"),
        ('root certificate file "/home/anna/.postgresql/root.crt" does not exist', "certificate"),
    ],
)  # fmt: skip
def test_a_reason_is_known_by_its_words_and_tells_no_name(said: str, expected: str) -> None:
    head = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
    error = psycopg.OperationalError(head + said)

    assert reason_of(error) == expected
    told = str(unavailable(error))
    for secret in ("anna", "chat", "10.0.0.1", "5432"):
        assert secret not in told.removeprefix(REASONS[expected])


@pytest.mark.parametrize(
    "said",
    [
        "server closed the connection unexpectedly",
        "SSL connection has been closed unexpectedly",
        "SSL SYSCALL error: EOF detected",
        "FATAL:  the database system is starting up",
        "ВАЖНО:  система баз данных запускается",
        "ВАЖНО:  извините, уже слишком много клиентов",
        "connection timeout expired",
    ],
)
def test_what_passes_is_waited_for(said: str) -> None:
    error = psycopg.OperationalError(f"connection failed: {said}")

    assert is_lost(error)
