"""The commands `sitechat doctor` and `sitechat status`: they read only, and may run at any time."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import click

from addresses import readable
from bbcode import RENDERER
from bitrix import Bitrix
from operations.doctor import Doctor, store_path
from operations.facts import Facts, Kept
from operations.findings import Finding, Level, Moment, as_plain, worst
from operations.words import heading, verdict_words, words
from portal.place import portal_address
from portal.tokens import StoredTokens
from rest.errors import OAUTH, SetupFault
from rest.replies import Grant
from settings import ROOT, Settings, SettingsError, load_settings
from storage import Store
from store.database import Lock, StoreMissing, StoreUnavailable
from texts import DEFAULT, languages

PATIENCE_SECONDS = 2.5  # until a service that starts anew has taken over its work
LOOK_SECONDS = 0.2
MARKS = {Level.GOOD: "+", Level.ATTENTION: "!", Level.BROKEN: "X"}
LOCALE_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")

language_option = click.option(
    "--lang",
    type=click.Choice(languages()),
    help="The language of the answer; that of the terminal, if it is left out.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for a machine to read.")


@click.command("doctor")
@language_option
@json_option
def doctor_command(lang: str | None, as_json: bool) -> None:
    """Say whether the chat works, and if not, why and what to do.

    Ends with 0 if it works, 1 if somebody should look at something, 2 if it does not work.
    """
    language = lang or terminal_language()
    found = examination()
    level = worst(found)
    _print(_report_json(found, language) if as_json else _report(found, language))
    sys.exit(int(level))


@click.command("status")
@language_option
@json_option
def status_command(lang: str | None, as_json: bool) -> None:
    """Show what is installed, connected and waiting; nobody is asked.

    Always JSON. Ends with 0 if the chat works as far as is known, 1 or 2 as the doctor.
    """
    language = lang or terminal_language()
    try:
        settings = load_settings()
    except SettingsError as error:
        found = [_wrong_settings(error)]
        _print(_dumped({"verdict": worst(found).name.lower(), **_of_findings(found, language)}))
        sys.exit(int(worst(found)))
    with open_doctor(settings) as doctor:
        facts = doctor.facts(_patience(settings))
        found = doctor.local_of(facts)
        _print(_dumped(_status(settings, facts, found, language)))
    sys.exit(int(worst(found)))


def examination() -> list[Finding]:
    """All findings, the worst first, also where the settings or the store cannot be used."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return [_wrong_settings(error)]
    with open_doctor(settings) as doctor:
        return doctor.full(_patience(settings))


@contextmanager
def open_doctor(settings: Settings) -> Iterator[Doctor]:
    """A doctor of these settings, who changes nothing on the disk and renews no token."""
    store = store_to_read(settings)
    bitrix = Bitrix(
        settings.bitrix24,
        TokensToRead(store),
        settings.delivery.timeout_seconds,
        lambda: portal_address(settings.bitrix24, store),
    )
    try:
        yield Doctor(settings, store, bitrix, began=0.0)
    finally:
        store.close()


def store_to_read(settings: Settings) -> Store:
    return Store(settings.storage.url, ROOT, RENDERER)


class TokensToRead(StoredTokens):
    """The service's tokens, used and never renewed: a renewal makes those of the service void."""

    def load(self) -> Grant | None:
        grant = super().load()
        # What has expired is found out by the portal; nothing is renewed early.
        return grant and replace(grant, expires_at=float("inf"))

    def lock(self) -> AbstractContextManager[None]:
        raise SetupFault("EXPIRED_TOKEN", OAUTH)


def _patience(settings: Settings) -> float:
    """Wait a moment for the lock of a service that starts anew; no more patience after that."""
    return 0.0


def terminal_language() -> str:
    """The language of the terminal, if we have it."""
    given = next((os.environ[name] for name in LOCALE_VARIABLES if os.environ.get(name)), "")
    return given[:2].lower() if given[:2].lower() in languages() else DEFAULT


def _wrong_settings(error: SettingsError) -> Finding:
    return Finding("settings", Level.BROKEN, "settings_wrong", {"faults": str(error)})


# -- what is printed


def _report(found: list[Finding], language: str) -> str:
    lines = [f"{verdict_words(worst(found), language)}."]
    for level in sorted(MARKS, reverse=True):
        of_level = [finding for finding in found if finding.level is level]
        lines += [""] if of_level else []
        lines += [
            f"{MARKS[level]} {heading(finding, language)}: {words(finding, language, local_time)}"
            for finding in of_level
        ]
    return "\n".join(lines)


def _report_json(found: list[Finding], language: str) -> str:
    level = worst(found)
    return _dumped({"verdict": level.name.lower(), **_of_findings(found, language)})


def _of_findings(found: list[Finding], language: str) -> dict[str, Any]:
    return {
        "findings": [
            as_plain(finding)
            | {"level": finding.level.name.lower(), "text": words(finding, language, iso_time)}
            for finding in found
        ]
    }
