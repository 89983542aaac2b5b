"""What all commands share: settings, the store, the service's user, what is printed, what fails."""

import json
import os
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import click

from bbcode import RENDERER
from cli.ending import FAILED, Failed
from cli.owner import Untrusted, check_place, owner_of
from files import Files, files_of
from operations.archive import Stopped
from operations.store_faults import key_of, said_in
from settings import ROOT, Settings, SettingsError, load_process, load_settings
from storage import Store, database_of, is_of_server, local_file
from store.database import (
    Database,
    StoreMissing,
    StoreNewer,
    StoreOlder,
    StoreUnavailable,
)
from store.datagrams import is_heard
from store.reading import ReadOnlySQLite, schema_of
from store.schema import MIGRATIONS
from texts import Wrong, language_of_system, languages, text

P = ParamSpec("P")
R = TypeVar("R")


class PathGiven(click.Path):
    """A path; an empty one, as an unset variable of a shell gives it, counts as missing."""

    def __init__(self, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            raise click.MissingParameter(ctx=ctx, param=param)
        return super().convert(value, param, ctx)


@dataclass
class Desk:
    """What a command works with. Nothing is opened before it is used."""

    as_json: bool = False
    language: str = field(default_factory=language_of_system)

    @cached_property
    def settings(self) -> Settings:
        with self._told():
            return load_settings(language=self.language)

    def check_process(self) -> None:
        """Fail here with a sentence where the processes of the service could not run."""
        with self._told():
            load_process(language=self.language)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SettingsError as error:
            raise Failed("\n".join(error.told(self.language)), "settings") from None

    @property
    def store_path(self) -> Path:
        return local_file(self.settings.storage.url, ROOT)

    @property
    def on_server(self) -> bool:
        """Whether the store is on a server: then no file of this host is it."""
        return is_of_server(self.settings.storage.url)

    @property
    def store_name(self) -> str:
        """What a sentence calls the store; without secrets."""
        url = self.settings.storage.url
        return database_of(url, ROOT).place if self.on_server else str(self.store_path)

    @property
    def files_path(self) -> Path:
        return ROOT / self.settings.storage.files

    def files_of(self, store: Store) -> Files:
        return files_of(self.settings.storage, store)

    def say(self, key: str, **values: object) -> None:
        """Print a sentence, unless the command answers in JSON."""
        if not self.as_json:
            click.echo(text(self.language, f"commands.{key}", **values))

    def warn(self, key: str, **values: object) -> None:
        click.echo(text(self.language, f"commands.{key}", **values), err=True)

    def answer(self, **values: object) -> None:
        """What a machine reads; printed only with --json."""
        if self.as_json:
            click.echo(json.dumps(values, ensure_ascii=False, indent=2, default=str))

    def told(self, wrong: Wrong) -> str:
        return wrong.told(self.language)

    def why_unusable(self, error: StoreUnavailable) -> str:
        """What the doctor says of it."""
        place = self.store_name if self.on_server else str(self.store_path.parent)
        on_server = error.place_on_server if error.place else self.on_server
        key, said = f"doctor.{key_of(error, on_server)}", said_in(error)
        return text(self.language, key, folder=error.place or place, said=said)

    def check_source(self, path: Path) -> None:
        """Failed where there is no file of this name to read."""
        if path.is_dir():
            self.fail("is_folder", path=path)
        if not path.exists():
            self.fail("no_file", path=path)

    def end_with_gone(self, files: int) -> None:
        """End as partly done where so many of visitors' files are missing in a copy."""
        if files:
            self.warn("files_gone", files=files, path=self.files_path)
            sys.exit(FAILED)

    def fail(self, key: str, **values: object) -> NoReturn:
        raise Failed(text(self.language, f"commands.{key}", **values), key)

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """The store to be read only; nothing on the disk changes, whoever runs the command."""
        store = Store(self.settings.storage.url, ROOT, RENDERER, read_only=True)
        with self._looking(store.database):
            yield store

    @contextmanager
    def reading_any(self) -> Iterator[Database]:
        """As `reading`, also a store of another release, whose tables are not known."""
        database: Database = ReadOnlySQLite(self.store_path, None)
        if self.on_server:
            database = database_of(self.settings.storage.url, ROOT, read_only=True)
        with self._looking(database):
            yield database

    @contextmanager
    def _looking(self, database: Database) -> Iterator[None]:
        self.check_place()
        try:
            database.open()
            yield
        except StoreMissing:
            self.fail("no_store", path=self.store_name)
        except StoreUnavailable:
            if not self.on_server:
                self._check_rights()
            raise
        finally:
            database.close()

    @contextmanager
    def writing(self, new: bool = False) -> Iterator[Store]:
        """The store to be written, as the service's user; `new`: it is made if there is none."""
        self.become_service()
        if self.on_server:
            self._check_server(new)
        elif not new and not self.store_path.exists():
            self.fail("no_store", path=self.store_path)
        else:
            self._check_release()
        store = Store(self.settings.storage.url, ROOT, RENDERER)
        try:
            store.open()
            yield store
        finally:
            store.close()  # moves what was written into the file, unless the service has it open

    def _check_server(self, new: bool) -> None:
        """As `_check_release`; hosts of an earlier release may have the store in use."""
        database = database_of(self.settings.storage.url, ROOT, read_only=True)
        with closing(database):
            try:
                database.open()
            except StoreMissing:
                if not new:
                    self.fail("no_store", path=self.store_name)

    def _check_release(self) -> None:
        """Failed where opening the store would change its schema under a service that runs."""
        if not self.store_path.exists():
            return
        database = ReadOnlySQLite(self.store_path, None)
        with database.try_lock("sender") as free:
            runs = free is None or is_heard(self.store_path.parent)
        schema = schema_of(self.store_path) if runs else None
        if schema is not None and 0 < schema < len(MIGRATIONS):
            self.fail("service_older")

    def become_service(self) -> None:
        """Go on as the user to whom the store belongs; Failed for a user who is neither.

        A file that another user makes could not be written by the service later; and root would
        write wherever that user's links lead.
        """
        (owner, group), me = self.service_user(), os.geteuid()
        if me == 0:
            self.check_place(writes=True)
        if me == owner or (me != 0 and me == self._owner_of_file()):
            return
        if me != 0:
            self.fail("other_user", user=name_of(owner), me=name_of(me))
        user = pwd.getpwuid(owner) if _is_known(owner) else None
        if user is not None:
            os.initgroups(user.pw_name, user.pw_gid)
        else:
            os.setgroups([])  # root's own would stay
        os.environ["HOME"] = user.pw_dir if user else "/"
        os.setgid(user.pw_gid if user else group)
        os.setuid(owner)

    def service_user(self) -> tuple[int, int]:
        """User and group of the store's folder; of the next one above, where there is none."""
        try:
            return owner_of(self.store_path)
        except Untrusted as error:
            self._fail_untrusted(error)

    def _owner_of_file(self) -> int | None:
        """A folder may be root's, and its group's to write."""
        with suppress(OSError):
            return self.store_path.lstat().st_uid
        return None

    def check_place(self, writes: bool = False) -> None:
        """Failed where root would follow what the service's user has put into its folder."""
        if os.geteuid() != 0:
            return
        try:
            check_place(self.store_path, self.files_path, writes)
        except Untrusted as error:
            self._fail_untrusted(error)

    def _fail_untrusted(self, error: Untrusted) -> NoReturn:
        values = error.values
        if isinstance(user := values.get("user"), int):
            values |= {"user": name_of(user)}
        self.fail(error.key, **values)

    def _check_rights(self) -> None:
        """Failed for a user who may not read the store, which is the service's alone."""
        (owner, _), me = self.service_user(), os.geteuid()
        if me not in (0, owner) and not os.access(self.store_path, os.R_OK):
            self.fail("other_user", user=name_of(owner), me=name_of(me))


def _is_known(user: int) -> bool:
    with suppress(KeyError):
        pwd.getpwuid(user)
        return True
    return False


def name_of(user: int) -> str:
    return pwd.getpwuid(user).pw_name if _is_known(user) else f"#{user}"


def command(function: Callable[Concatenate[Desk, P], R]) -> Callable[..., R]:
    """A command: with --json and --lang, and with a sentence for whatever goes wrong."""

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @click.option("--lang", type=click.Choice(languages()), help="The language of the answer.")
    @wraps(function)
    def run(*args: Any, as_json: bool = False, lang: str | None = None, **kwargs: Any) -> R:
        desk = Desk(as_json, lang or language_of_system())
        try:
            return function(desk, *args, **kwargs)
        except Stopped as error:
            raise Failed(desk.told(error.why), error.why.key.removeprefix("commands.")) from None
        except (StoreNewer, StoreOlder) as error:
            key = "store_newer" if isinstance(error, StoreNewer) else "store_older"
            if not desk.on_server and not error.place:
                desk.fail(key, path=desk.store_name)
            raise Failed(desk.why_unusable(error), key) from None
        except StoreUnavailable as error:
            raise Failed(desk.why_unusable(error), "store") from None
        except BrokenPipeError:
            raise  # whoever reads has enough, such as `head`
        except OSError as error:
            why = error.strerror or type(error).__name__
            if error.filename is None:
                desk.fail("system_alone", why=why)
            desk.fail("system", path=error.filename, why=why)

    return run
