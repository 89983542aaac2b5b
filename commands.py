"""The command line `sitechat`: the list of its commands."""

import io
import logging
import sys

import click

from cli.doctor import doctor_command, status_command
from cli.keep import backup_command, restore_command
from cli.move import export_command, import_command, import_tutorial_command
from cli.parts import FAILED, end_quietly
from cli.service import run_command, serve_command, uninstall_command
from cli.visitors import block_command, forget_command, purge_command, unblock_command
from operations.version import version


@click.group(context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(version(), prog_name="sitechat", message="%(prog)s %(version)s")
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


for one in (
    *(doctor_command, status_command),
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
