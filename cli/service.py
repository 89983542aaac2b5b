"""`serve`, `run` and `uninstall`."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from cli.ending import FAILED, Failed
from cli.parts import Desk, command
from operations.listening import address_of, why_not
from operations.retention import all_copies
from portal.install_error import InstallError
from services import Services
from settings import ROOT
from texts import text

DEFAULT_ADDRESS = ("127.0.0.1", 8080)
OURS = ("busy", "no_store")  # faults of an uninstall that are none of the portal


@click.command("serve", context_settings={"ignore_unknown_options": True})
@click.option("--bind", "-b", metavar="HOST:PORT", help="Where to listen; 127.0.0.1:8080 if not.")
@click.option("--host", "-h", hidden=True)
@click.option("--port", "-p", type=click.IntRange(1, 65_535), hidden=True)
@click.option("--workers", "-w", type=click.IntRange(1, 64), help="Processes; WEB_CONCURRENCY.")
@command
def serve_command(
    desk: Desk, bind: str | None, host: str | None, port: int | None, workers: int | None
) -> None:
    """Serve the chat and deliver its messages, as `gunicorn` in the project's folder does."""
    if host or port:
        bind = f"{host or DEFAULT_ADDRESS[0]}:{port or DEFAULT_ADDRESS[1]}"
    _serve(desk, bind, workers)


def _serve(desk: Desk, bind: str | None, workers: int | None = None) -> NoReturn:
    _ = desk.settings  # a mistake in them is said before anything begins
    if workers:
        os.environ["WEB_CONCURRENCY"] = str(workers)
    elif not os.environ.get("WEB_CONCURRENCY", "1").strip():
        del os.environ["WEB_CONCURRENCY"]  # gunicorn itself would take it for a number
    desk.check_process()
    desk.become_service()
    if bind and (address := address_of(bind)):
        _check_address(desk, address)
    elif not bind and "GUNICORN_CMD_ARGS" not in os.environ:  # which may name another address
        _check_address(desk, DEFAULT_ADDRESS)
    command_line = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
    command_line += ["--bind", bind] if bind else []
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(sys.executable, command_line)  # noqa: S606  # its signals and its exit code are ours


def _check_address(desk: Desk, address: tuple[str, int]) -> None:
    """Failed where gunicorn could not listen, which it would say in English alone."""
    wrong = why_not([address])
    if wrong is not None:
        raise Failed(desk.told(wrong), wrong.key.removeprefix("commands."))


@click.command("run", hidden=True, context_settings={"ignore_unknown_options": True})
@click.option("--host", "-h", default="127.0.0.1")
@click.option("--port", "-p", type=click.IntRange(1, 65_535), default=8080)
@command
def run_command(desk: Desk, host: str, port: int) -> None:
    """The same as `serve`: whoever knows Flask's command gets the whole, with its delivery."""
    _serve(desk, f"{host}:{port}")


@click.command("uninstall")
@click.option("--erase", is_flag=True, help="Erase all conversations here, too.")
@click.option("--offline", is_flag=True, help="Forget here alone: the portal is gone for ever.")
@command
def uninstall_command(desk: Desk, erase: bool, offline: bool) -> None:
    """Take back from Bitrix24 what it has of the chat: events, connector, lines; forget the tokens.

    Conversations stay, here unless --erase is given, and in Bitrix24.
    """
    with desk.writing():  # says so where there is no store
        services = Services.of(desk.settings)
    was_installed = services.store.portal.find() is not None
    try:
        undone = services.connector.uninstall(erase, offline)
    except InstallError as error:
        raise _not_uninstalled(desk, error, erase) from None
    finally:
        services.store.close()
    done = "uninstalled_offline" if offline else "uninstalled"
    desk.say(done if was_installed else "was_not_installed")
    for one in undone:
        key = f"offline_{one.what}" if offline else f"undone_{one.what}"
        desk.say(key, code=one.code, line=one.line or "")
    for line in _of_conversations(desk, erase):
        desk.say("line", line=line)
    desk.answer(undone=[vars(one) for one in undone], erased=erase, copies=_copies(desk))
    if undone and not offline:
        sys.exit(FAILED)


def _not_uninstalled(desk: Desk, error: InstallError, erase: bool) -> Failed:
    """What went wrong at the portal, what to do if it is gone, and what was done all the same."""
    said = [text(desk.language, f"install.{error.key}", **error.values)]
    if error.key not in OURS:
        said += [text(desk.language, "commands.uninstall_offline")]
        said += _of_conversations(desk, erase) if erase else []
    return Failed("\n".join(said), error.key)


def _of_conversations(desk: Desk, erase: bool) -> list[str]:
    """Where conversations still are, in words; copies of the store hold what was erased here."""
    copies = _copies(desk) if erase else []
    key = "erased_but_copies" if copies else "erased" if erase else "histories_stay"
    return [
        text(desk.language, f"commands.{key}"),
        *(text(desk.language, "commands.forgotten_copy", path=copy) for copy in copies),
    ]


def _copies(desk: Desk) -> list[Path]:
    return all_copies(desk.settings, desk.store_path.parent)
