"""`export`, `import` and `import-tutorial`."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import click

from bbcode import RENDERER
from cli.ending import FAILED
from cli.parts import Desk, PathGiven, command
from operations.archive import Stopped
from operations.backup import copy_store
from operations.kept_files import FilesToCopy
from operations.target import check_target
from operations.transfer import Import, export, lines_of
from operations.tutorial import Folder, read_folder
from operations.version import version
from portal.exclusive import exclusively
from storage import Store
from store.copies import sync_folder
from store.records import Portal

TOGETHER = 200  # messages of one chat in one transaction
MOST_PROBLEMS = 100  # that are printed


@click.command("export")
@click.argument("file", type=PathGiven(allow_dash=True), default="-")
@click.option("--no-files", is_flag=True, help="Without the contents of visitors' files.")
@command
def export_command(desk: Desk, file: Path, no_files: bool) -> None:
    """Write everything as lines of JSON, a message on each, into FILE or to the output.

    Keep it secret: it has the texts, the key of the visitors' cookies, and the portal's tokens.
    """
    if str(file) != "-":
        check_target(file.absolute(), desk.store_path, desk.files_path)
    with desk.reading() as store, tempfile.TemporaryDirectory(prefix="sitechat-") as made_in:
        copy = Path(made_in) / "chats.db"
        copy_store(store.database, copy)
        moment = Store(f"sqlite:///{copy}", Path("/"), RENDERER, read_only=True)
        files = FilesToCopy(desk.files_path, store.contents, Path(made_in))
        count = 0
        with _output(file) as output:
            for line in export(moment, None if no_files else files, version()):
                output.write(line.encode() + b"\n")
                count += line.startswith('{"message"')
    if str(file) != "-":
        desk.say("exported", path=file.absolute(), messages=count)
        desk.answer(file=file.absolute(), messages=count, gone=files.gone)
    desk.end_with_gone(files.gone)


@contextmanager
def _output(file: Path) -> Iterator[IO[bytes]]:
    """The output, or a file that has its name once it is whole."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    target = file.absolute()
    if os.path.lexists(target):
        raise Stopped("file_exists", path=target)
    if not target.parent.is_dir():
        raise Stopped("no_folder", path=target.parent)
    with tempfile.TemporaryDirectory(prefix=".sitechat-", dir=target.parent) as folder:
        unfinished = Path(folder) / "lines"
        with unfinished.open("xb") as output:
            os.fchmod(output.fileno(), 0o600)
            yield output
            output.flush()
            os.fsync(output.fileno())
        os.replace(unfinished, target)
    sync_folder(target.parent)


@click.command("import")
@click.argument("file", type=PathGiven(allow_dash=True))
@command
def import_command(desk: Desk, file: Path) -> None:
    """Take in what `export` has written. Repeating it is harmless: what is here already stays.

    Lines that cannot be taken in are named and left; then the exit code is 1.
    """
    if str(file) != "-":
        desk.check_source(file.absolute())
    source: IO[bytes] = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with source:
        taking, lines = Import(), lines_of(source)
        taking.begin(lines)
        with desk.writing(new=True) as store:
            result = taking.read(store, desk.files_of(store), lines)
    desk.say(
        "imported", chats=result.chats, messages=result.messages, files=result.files,
        known=result.known,
    )  # fmt: skip
    if not result.same_key:
        desk.say("other_key")
    problems = [
        {"line": number, "why": desk.told(why)} for number, why in result.problems[:MOST_PROBLEMS]
    ]
    for problem in problems:  # the line that ends the file has no number, where it is missing
        desk.say("line_left" if problem["line"] else "file_cut_off", **problem)
    if len(result.problems) > MOST_PROBLEMS:
        desk.say("more_left", count=len(result.problems) - MOST_PROBLEMS)
    numbers = {key: value for key, value in vars(result).items() if key != "problems"}
    desk.answer(**numbers, left=len(result.problems), problems=problems)
    if result.problems:
        sys.exit(FAILED)


@click.command("import-tutorial")
@click.argument("folder", type=PathGiven(), metavar="DIR")
@command
def import_tutorial_command(desk: Desk, folder: Path) -> None:
    """Take over the chats of Bitrix24's own example in PHP; DIR is its folder.

    Dialogs go on under the same chat ids. Broken files are named and left; then the exit code is 1.
    Repeating it is harmless, and takes in what has come since.
    """
    found = read_folder(folder.absolute())
    _check_portal(desk, found)
    chats, messages = 0, 0
    with desk.writing(new=True) as store:
        now = store.now()
        granted = _take_grant(desk, store, found, now)
        for chat, past in found.chats:
            new = 0
            for first in range(0, len(past), TOGETHER):
                new += store.past.add(chat, past[first : first + TOGETHER], now) or 0
            chats, messages = chats + bool(new), messages + new
        if found.line is not None and not store.portal.known_lines():
            store.portal.connect_line(found.line, now)
        store.notes.former_visitors.set(now)
        installed = store.portal.find() is not None
    desk.say("tutorial_imported", chats=chats, messages=messages, line=found.line or "–")
    if granted:
        desk.say("tutorial_granted")
    elif not installed:
        desk.say("tutorial_install")
    if found.connector not in (None, desk.settings.connector.id):
        desk.say("tutorial_connector", theirs=found.connector, ours=desk.settings.connector.id)
    if found.claimed_twice:
        desk.say("tutorial_claimed", messages=found.claimed_twice)
    problems = [{"file": name, "why": desk.told(why)} for name, why in found.problems]
    for problem in problems:
        desk.say("file_left", **problem)
    desk.answer(chats=chats, messages=messages, line=found.line, granted=granted, problems=problems)
    if problems:
        sys.exit(FAILED)


def _check_portal(desk: Desk, found: Folder) -> None:
    """The numbers of another portal's dialogs would lead answers to the wrong visitors."""
    ours = urlsplit(desk.settings.bitrix24.portal).netloc.lower()
    theirs = found.grant.portal if found.grant else ""
    if theirs and ours and theirs != ours:
        raise Stopped("tutorial_portal", theirs=theirs, ours=ours)


def _take_grant(desk: Desk, store: Store, found: Folder, now: float) -> bool:
    """Go on with the example's tokens, where they are of the very application of the settings.

    The application token is left: what the example keeps under that name is often another value.
    The first event proves the right one.
    """
    grant, settings = found.grant, desk.settings.bitrix24
    usable = grant and grant.portal and grant.refresh_token and settings.complete
    if not grant or not usable or grant.client_id != settings.client_id:
        return False
    with exclusively(store, "install", 60.0):
        if store.portal.find() is not None:
            return False
        store.portal.save(
            Portal(
                member_id=grant.member_id,
                user_id=grant.user_id,
                access_token=grant.access_token,
                refresh_token=grant.refresh_token,
                expires_at=0.0,  # whatever it says: the pair is renewed at once
                application_token="",
                token_pending=True,
                installed_at=now,
            )
        )
    return True
