"""Small facts about ourselves that outlive a process: for the admin's page, and between processes.

Each note has its own type. A note that was never set, or was cleared, is None.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

from store.database import Connection, Database, Group, transaction
from store.moving import MOVED
from store.records import (
    Holder,
    KeptClaim,
    LastRecovery,
    Moved,
    Named,
    NewAddress,
    Reached,
    ReportedFault,
    RunsWith,
    known,
)

T = TypeVar("T")


class Note(Group, Generic[T]):
    """One note, kept as JSON."""

    def __init__(
        self,
        database: Database,
        key: str,
        read: Callable[[Any], T] = lambda value: value,
        write: Callable[[T], Any] = lambda value: value,
    ) -> None:
        super().__init__(database)
        self.key = f"note.{key}"
        self._read = read
        self._write = write

    def get(self) -> T | None:
        row = self._database.row("select value from meta where key = ?", self.key)
        return self.value_of(row["value"] if row else None)

    def value_of(self, kept: str | None) -> T | None:
        value = None if kept is None else json.loads(kept)
        return None if value is None else self._read(value)

    @transaction
    def set(self, db: Connection, value: T) -> None:
        self.put(db, value)

    def put(self, db: Connection, value: T) -> None:
        """As `set`, in the caller's transaction."""
        db.execute(
            "insert into meta values (?, ?) on conflict (key) do update set value = excluded.value",
            (self.key, json.dumps(self._write(value))),
        )

    @transaction
    def change(self, db: Connection, change: Callable[[T | None], T]) -> None:
        """Set what `change` makes of the present value; nobody else sets it meanwhile."""
        row = db.execute("select value from meta where key = ?", (self.key,)).fetchone()
        self.put(db, change(self.value_of(row["value"] if row else None)))

    @transaction
    def clear(self, db: Connection) -> None:
        db.execute("delete from meta where key = ?", (self.key,))


def get_all(*notes: Note[T]) -> list[T | None]:
    """The values of several notes at one moment: one read of the store."""
    rows = notes[0].database.rows("select key, value from meta where key like 'note.%'")
    found = {row["key"]: row["value"] for row in rows}
    return [note.value_of(found.get(note.key)) for note in notes]


class Notes:
    """Moments are Unix seconds."""

    def __init__(self, database: Database) -> None:
        # Signals to the worker.
        self.mended_at: Note[float] = Note(database, "mended")
        self.connected_at: Note[float] = Note(database, "connected")
        self.events_lost_at: Note[float] = Note(database, "events_lost_at")
        # From one worker to the next.
        # Who delivers, or did so last.
        self.sender: Note[Holder] = Note(database, "sender", partial(known, Holder), asdict)
        self.up_at: Note[float] = Note(database, "up_at")
        self.names_sessions: Note[bool] = Note(database, NAMES_SESSIONS)
        # A digest of the refresh token that was sent away, until the answer is noted.
        self.renewal: Note[str] = Note(database, "renewal")
        self.new_address: Note[NewAddress] = Note(
            database, NEW_ADDRESS, partial(known, NewAddress), asdict
        )
        self.agreed_at: Note[float] = Note(database, "agreed_at")  # to any new address
        # Of the chat's settings, those that are set on the application's page, by `chat.key`.
        self.page_settings: Note[dict[str, Any]] = Note(database, "page_settings")
        self.written_at: Note[float] = Note(database, "written_at")  # to see whether one can write
        # For the admin's page.
        self.fault: Note[ReportedFault] = Note(
            database, "fault", partial(known, ReportedFault), asdict
        )
        self.dead_lines: Note[dict[int, str]] = Note(
            database, "dead_lines", lambda value: {int(line): value[line] for line in value}
        )  # the error code by line
        self.registered: Note[str] = Note(database, "registered")  # a digest of the settings
        self.refused_registration: Note[ReportedFault] = Note(
            database, "refused_registration", partial(known, ReportedFault), asdict
        )
        self.is_unfinished: Note[bool] = Note(database, "unfinished")
        self.recovery: Note[LastRecovery] = Note(
            database, "recovery", partial(known, LastRecovery), asdict
        )
        # From when on messages may be missing here: this store was restored from a backup.
        self.lost_since: Note[float] = Note(database, "lost_since")
        # When the service found this store in the place of its own, with nothing installed in it.
        self.replaced_at: Note[float] = Note(database, "replaced_at")
        # `sitechat migrate` has moved all of it; the store that it is in lacks this note.
        self.moved: Note[Moved] = Note(database, MOVED, partial(known, Moved), asdict)
        # A purge removed what was sent before; the portal's history must not bring it back.
        self.purged_until: Note[float] = Note(database, "purged_until")
        # When chats of Bitrix24's own example were taken over: their visitors have its cookie.
        self.former_visitors: Note[float] = Note(database, "former_visitors")
        self._of_the_portal(database)
        self._of_the_doctor(database)

    def _of_the_portal(self, database: Database) -> None:
        # Of our tokens: a digest of the client id and secret with which they were last renewed, and
        # why the last try failed, until one succeeds.
        self.renewed_with: Note[str] = Note(database, "renewed_with")
        self.renewed_at: Note[float] = Note(database, "renewed_at")  # when that was
        self.refused_renewal: Note[ReportedFault] = Note(
            database, "refused_renewal", partial(known, ReportedFault), asdict
        )
        self.kept_claim: Note[KeptClaim] = Note(
            database, "kept_claim", partial(known, KeptClaim), asdict
        )
        # What the portal was told: where it posts events, ours and those of before a move; and by
        # line a digest of the chat's address and name.
        self.own_handlers: Note[list[str]] = Note(database, "own_handlers")
        self.told_lines: Note[dict[int, str]] = Note(
            database, "told_lines", lambda value: {int(line): value[line] for line in value}
        )

    def _of_the_doctor(self, database: Database) -> None:
        # Where requests really came from and to. What visitors' browsers say of it anybody can say:
        # the sites that are not in `chat.sites`, and addresses of ours beside `public_url`.
        self.tried_sites = _of_names(database, "tried_sites")
        self.visited_addresses = _of_names(database, "visited_addresses")
        # {"portal": origin}: by which a proved administrator has opened our page.
        self.seen_addresses: Note[dict[str, str]] = Note(database, "seen_addresses")
        self.last_event_at: Note[float] = Note(database, "last_event_at")
        # Events may be lost until then for a reason that we know, such as that we did not run.
        self.events_excused_until: Note[float] = Note(database, "events_excused_until")
        # By whom we were last reached at `public_url` (operations/reached.py).
        self.reached: Note[dict[str, Reached]] = Note(
            database,
            "reached",
            lambda value: {who: known(Reached, value[who]) for who in value},
            lambda value: {who: asdict(value[who]) for who in value},
        )
        # For the doctor of the command line, who reads the files anew: of each host.
        self._runs_with = partial(
            Note[RunsWith], database, read=partial(known, RunsWith), write=asdict
        )
        # Of the job that watches (operations/watch.py).
        self.retry_at: Note[float] = Note(database, "retry")  # all is well: the worker tries again
        self.examined: Note[dict[str, Any]] = Note(database, "examined")  # what the portal said
        self.watch: Note[dict[str, Any]] = Note(database, "watch")  # what was told, and when

    def runs_with(self, host: str = "") -> Note[RunsWith]:
        """What the service of a host runs with; "" is the only host of a store in a file."""
        return self._runs_with(f"runs_with.{host}" if host else "runs_with")


NAMED = [field.name for field in fields(Named)]  # a newer release may keep more of each
as_tuple = attrgetter(*NAMED)  # `astuple` would copy each name's voters, too


def _of_names(database: Database, key: str) -> Note[dict[str, Named]]:
    return Note(
        database,
        key,
        lambda value: {name: Named(*value[name][: len(NAMED)]) for name in value},
        lambda names: {name: as_tuple(names[name]) for name in names},
    )


NAMES_SESSIONS = "names_sessions"  # whether this build of the portal names a message's session
NEW_ADDRESS = "new_address"  # where a renamed portal is called


def forget_new_address(db: Connection) -> None:
    """Forget where the portal is called beside the setting: whoever agreed to it is gone."""
    db.execute("delete from meta where key = ?", (f"note.{NEW_ADDRESS}",))


def forget_the_portals_build(db: Connection) -> None:
    """Forget what we learned of the last portal's build: another portal may have another."""
    db.execute("delete from meta where key = ?", (f"note.{NAMES_SESSIONS}",))
