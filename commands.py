"""The command line `sitechat`: Flask's own commands and ours."""

import json
import sys
from dataclasses import asdict

import click
from flask.cli import FlaskGroup

from addresses import readable
from app import create_app
from settings import SettingsError, load_settings
from web.asking import services


@click.group(cls=FlaskGroup, create_app=create_app)
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


@commands.command()
def status() -> None:
    """Show what is installed, connected and waiting."""
    store = services().store
    fault = store.notes.fault.get()
    print(json.dumps({
        "portal": readable(services().settings.bitrix24.portal),
        "installed": store.portal.find() is not None,
        "lines": store.portal.active_lines(),
        "waiting": store.queue.waiting(),
        "fault": asdict(fault) if fault else None,
    }, indent=2))  # fmt: skip


def main() -> None:
    """The console command `sitechat`; wrong settings end it with one line a fault."""
    try:
        load_settings()
    except SettingsError as error:
        sys.exit(f"sitechat: {error}")
    commands()
