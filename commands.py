"""The command line `sitechat`: the list of its commands."""

import logging

import click

import cli.early  # noqa: F401  # before the rest
from cli.doctor import doctor_command, status_command
from cli.ending import Commands, end_at_signals, open_standard_files
from cli.keep import backup_command, migrate_command, move_files_command, restore_command
from cli.move import export_command, import_command, import_tutorial_command
from cli.service import run_command, serve_command, uninstall_command
from cli.visitors import block_command, forget_command, purge_command, unblock_command
from operations.version import version


@click.group(cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(version(), prog_name="sitechat", message="%(prog)s %(version)s")
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


for one in (
    *(doctor_command, status_command),
    *(serve_command, run_command, backup_command, restore_command),
    *(migrate_command, move_files_command),
    *(export_command, import_command, import_tutorial_command),
    *(forget_command, block_command, unblock_command, purge_command, uninstall_command),
):
    commands.add_command(one)


def main() -> None:
    """The console command `sitechat`. Whatever goes wrong ends with a sentence."""
    logging.getLogger().addHandler(logging.NullHandler())  # commands have words of their own
    open_standard_files()
    end_at_signals()
    commands(prog_name="sitechat")
