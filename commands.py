"""The command line `sitechat`: the list of its commands."""

import io
import json
import logging
import sys
from dataclasses import asdict

import click

from addresses import readable
from cli.keep import backup_command, restore_command
from cli.move import export_command, import_command, import_tutorial_command
from cli.parts import FAILED, Desk, command, end_quietly, program
from cli.service import run_command, serve_command, uninstall_command
from cli.visitors import block_command, forget_command, purge_command, unblock_command
from portal.install_error import cures
from portal.place import portal_address
from texts import text


@click.group(context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(program(), prog_name="sitechat", message="%(prog)s %(version)s")
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


@commands.command()
@command
def status(desk: Desk) -> None:
    """Show what is installed, connected and waiting."""
    settings, language = desk.settings.bitrix24, desk.language
    with desk.reading() as store:
        fault = store.notes.fault.get()
        cure = [
            text(language, f"install.{key}", **values)
            for key, values in cures(settings, store, fault)
        ] if fault else []  # fmt: skip
        print(json.dumps({
            "portal": readable(portal_address(settings, store)),
            "installed": store.portal.find() is not None,
            "lines": store.portal.active_lines(),
            "waiting": store.queue.waiting(),
            "fault": asdict(fault) | {"cure": cure} if fault else None,
        }, indent=2, ensure_ascii=False))  # fmt: skip


for one in (
    *(serve_command, run_command, backup_command, restore_command),
    *(export_command, import_command, import_tutorial_command),
    *(forget_command, block_command, unblock_command, purge_command, uninstall_command),
):
    commands.add_command(one)


def main() -> None:
    """The console command `sitechat`. Whatever goes wrong ends with a sentence."""
    logging.getLogger().addHandler(logging.NullHandler())  # commands have words of their own
    for stream in (sys.stdout, sys.stderr):  # a file's name, or a terminal, may be of any encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        commands(prog_name="sitechat")
    except BrokenPipeError:
        end_quietly()
    except Exception as error:
        click.echo(f"sitechat: {type(error).__name__}: {error}", err=True)
        sys.exit(FAILED)
