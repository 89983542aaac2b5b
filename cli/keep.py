"""`backup`, `restore`, `migrate` and `move-files`."""

import sys
from pathlib import Path

import click

from cli.ending import FAILED
from cli.parts import Desk, PathGiven, command
from operations.backup import back_up
from operations.moving import move, move_files
from operations.restore import Place, open_backup, restore
from operations.target import check_target
from operations.version import version
from settings import ROOT
from settings.rules import checked_store_url
from store.database import StoreUnavailable
from texts import Wrong, text


@click.command("backup")
@click.argument("file", type=PathGiven())
@click.option("--replace", is_flag=True, help="Replace a file of that name.")
@command
def backup_command(desk: Desk, file: Path, replace: bool) -> None:
    """Write all chats, visitors' files and tokens into one archive, also while the service runs.

    FILE is whole, or not there. Keep it secret: who has it can write as your visitors.
    """
    with desk.reading_any() as database:
        target = file.absolute()
        check_target(target, desk.store_path, desk.files_path)
        made = back_up(database, desk.files_path, target, version(), replace)
    desk.say(
        "backed_up", path=target, chats=made.chats, messages=made.messages, files=made.files,
        megabytes=f"{target.stat().st_size / (1 << 20):.1f}",
    )  # fmt: skip
    desk.answer(file=target, **vars(made))
    desk.end_with_gone(made.gone)


@click.command("migrate")
@click.argument("url")
@command
def migrate_command(desk: Desk, url: str) -> None:
    """Move all that the store has into another database; stop the service first.

    URL is as storage.url, of an empty database on a PostgreSQL server; or of a new file, to move
    from a server. With - it is asked for, or read from the input: do so where it has a password,
    as other users of this machine may see what a command is given.
    """
    try:
        target = checked_store_url(_read_url(desk) if url == "-" else url)
    except Wrong as error:
        desk.fail("move_url", why=desk.told(error))
    desk.become_service()
    not_noted: list[StoreUnavailable] = []
    try:
        moved = move(
            desk.settings.storage.url, target, ROOT, desk.files_path,
            lambda table: desk.say("moved_table", **vars(table)), not_noted.append,
        )  # fmt: skip
    except StoreUnavailable as error:
        if error.place:
            desk.fail("move_target", why=desk.why_unusable(error))
        raise
    desk.say("moved", rows=sum(table.rows for table in moved), former=desk.store_name)
    desk.say("moved_next")
    for why in not_noted:
        desk.warn("move_not_noted", why=desk.why_unusable(why))
    desk.answer(tables={table.name: table.rows for table in moved}, former=desk.store_name)


def _read_url(desk: Desk) -> str:
    """An address that may hold a password: it is not shown where somebody types it."""
    if sys.stdin.isatty():
        question = text(desk.language, "commands.move_question")
        return str(click.prompt(question, hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


@click.command("move-files")
@command
def move_files_command(desk: Desk) -> None:
    """Move visitors' files to where `storage.files_in` says; the service may go on running.

    Without it those of before stay where they are, and are served from there. Repeating it is
    harmless.
    """
    with desk.writing() as store:
        moved, lost = move_files(store, desk.files_of(store))
    where = desk.settings.storage.files_in
    desk.say(
        "files_moved",
        files=moved,
        where=desk.store_name if where == "database" else desk.files_path,
    )
    if lost:
        desk.say("files_not_found", files=lost, path=desk.files_path)
    desk.answer(files=moved, lost=lost)
    if lost:
        sys.exit(FAILED)


@click.command("restore")
@click.argument("file", type=PathGiven())
@click.option("--replace", is_flag=True, help="Put it in place of a store that has messages.")
@command
def restore_command(desk: Desk, file: Path, replace: bool) -> None:
    """Put a backup in place; stop the service first. The former store is kept beside it.

    FILE is what `backup` has written, or a copy of the store's own file.
    """
    path = file.absolute()
    desk.check_source(path)
    if not path.is_file():  # a pipe, say
        desk.fail("no_backup")
    if desk.on_server:
        desk.fail("restore_server")
    place = Place(desk.store_path, desk.files_path)
    with open_backup(path) as backup:  # which the service's user need not be able to read
        desk.become_service()
        restored = restore(backup, place, replace)
    desk.say("restored", chats=restored.chats, messages=restored.messages, files=restored.files)
    if restored.former:
        desk.say("former_kept", path=restored.former)
    if desk.service_user()[0] == 0:
        desk.say("owned_by_root", path=place.store.parent)
    desk.answer(**vars(restored))
