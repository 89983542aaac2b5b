"""The command line `sitechat`: Flask's own commands and ours."""

import json
import os
import sys
from dataclasses import asdict

import click
from flask.cli import FlaskGroup

from addresses import readable
from app import create_app
from portal.install_error import cures
from portal.place import portal_address
from settings import SettingsError, load_settings
from texts import text
from web.asking import services


@click.group(cls=FlaskGroup, create_app=create_app)
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


@commands.command()
def status() -> None:
    """Show what is installed, connected and waiting."""
    store = services().store
    settings = services().settings.bitrix24
    language = os.environ.get("LANG", "")[:2]
    fault = store.notes.fault.get()
    cure = [
        text(language, f"install.{key}", **values) for key, values in cures(settings, store, fault)
    ] if fault else []  # fmt: skip
    print(json.dumps({
        "portal": readable(portal_address(settings, store)),
        "installed": store.portal.find() is not None,
        "lines": store.portal.active_lines(),
        "waiting": store.queue.waiting(),
        "fault": asdict(fault) | {"cure": cure} if fault else None,
    }, indent=2, ensure_ascii=False))  # fmt: skip


def main() -> None:
    """The console command `sitechat`; wrong settings end it with one line a fault."""
    try:
        load_settings()
    except SettingsError as error:
        sys.exit(f"sitechat: {error}")
    commands()
