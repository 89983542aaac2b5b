"""The command line `sitechat`: Flask's own commands and ours."""

import sys

import click
from flask.cli import FlaskGroup

from app import create_app
from operations.doctor_command import doctor_command, status_command
from settings import SettingsError, load_settings

SAY_IT_THEMSELVES = {"doctor"}  # commands that have words of their own for wrong settings


@click.group(cls=FlaskGroup, create_app=create_app)
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


commands.add_command(doctor_command)
commands.add_command(status_command)


def main() -> None:
    """The console command `sitechat`; wrong settings end it with one line a fault."""
    if not SAY_IT_THEMSELVES & {*sys.argv[1:2]}:
        try:
            load_settings()
        except SettingsError as error:
            sys.exit(f"sitechat: {error}")
    commands()
