"""The commands `sitechat doctor` and `sitechat status`: they read only, and may run at any time."""

import json
import logging
import os
import pwd
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from addresses import readable
from bbcode import RENDERER
from bitrix import Bitrix
from cli.ending import Failed
from operations import checks_portal
from operations.doctor import Doctor, store_path
from operations.facts import Facts, Kept
from operations.findings import HINTS, Finding, Level, Moment, as_plain, worst
from operations.page_settings import PageSettings
from operations.running import Difference, difference, with_difference
from operations.words import heading, verdict_words, words
from portal.place import portal_address
from portal.tokens import StoredTokens
from rest.errors import OAUTH, SetupFault
from rest.replies import Grant
from settings import ROOT, Settings, SettingsError, load_process, load_settings
from storage import Store, is_of_server
from store.database import StoreUnavailable
from texts import Wrong, language_of_system, languages, text

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.5  # until a service that starts anew has taken over its work
READING_SECONDS = 4.0  # until one that was told to reload has read its settings
LOOK_SECONDS = 0.2
HINT = "?"  # what visitors' browsers say
DENIED = "settings.denied"  # why a file cannot be read
MARKS = {Level.GOOD: "+", Level.ATTENTION: "!", Level.BROKEN: "X"}

language_option = click.option(
    "--lang",
    type=click.Choice(languages()),
    help="The language of the answer; that of the terminal, if it is left out.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for a machine to read.")


class MayNotRead(Failed):
    """Nothing can be said of the chat: the settings or the store cannot be read by this user."""

    exit_code = int(Level.BROKEN)


@click.command("doctor")
@language_option
@json_option
def doctor_command(lang: str | None, as_json: bool) -> None:
    """Say whether the chat works, and if not, why and what to do.

    Ends with 0 if it works, 1 if somebody should look at something, 2 if it does not work.
    """
    language = lang or language_of_system()
    found = examination(language)
    level = worst(found)
    _print(_report_json(found, language) if as_json else report(found, language))
    sys.exit(int(level))


@click.command("status")
@language_option
@json_option
def status_command(lang: str | None, as_json: bool) -> None:
    """Show in JSON what is installed, connected and waiting. Asks nobody."""
    language = lang or language_of_system()
    try:
        settings = load_settings(language=language)
        _check_reader(settings, language)
    except SettingsError as error:
        kind = MayNotRead if _is_denied(error) else Failed
        raise kind("\n".join(error.told(language)), "settings") from None
    with open_doctor(settings) as doctor:
        facts = doctor.facts(patience=0.0)
        _print(_status_json(facts, doctor.local_of(facts), language))
    if not isinstance(facts.kept, Kept):
        sys.exit(2)


def examination(language: str) -> list[Finding]:
    """All findings, the worst first, also where the settings or the store cannot be used."""
    try:
        settings = load_settings(language=language)
        load_process(language=language)
        _check_reader(settings, language)
        with open_doctor(settings) as doctor:
            found = doctor.full(patience=0.0)
        return with_difference(found, _difference(settings))
    except SettingsError as error:
        faults = "\n".join(error.told(language))
        if _is_denied(error):
            raise MayNotRead(faults) from None  # of the chat nothing is known
        return [Finding("settings", Level.BROKEN, "settings_wrong", {"faults": faults})]
    except MayNotRead:
        raise
    except Exception as error:
        log.debug("the doctor failed", exc_info=True)
        why = f"{type(error).__name__}, {_place_of(error)}"  # its text might hold a secret
        return [Finding("service", Level.BROKEN, "doctor_failed", {"why": why})]


def _is_denied(error: SettingsError) -> bool:
    """Whether it is this user's right to read that is missing."""
    whys = [why for fault in error.faults for why in (fault.why, *fault.why.values.values())]
    return any(isinstance(why, Wrong) and why.key == DENIED for why in whys)


def _check_reader(settings: Settings, language: str) -> None:
    """MayNotRead for a user who may not read what is the service's alone."""
    store, me = store_path(settings), os.geteuid()
    for path in (store, *store.parents):
        try:
            owner = path.stat().st_uid
        except OSError:
            continue  # it is not there, or hidden by the folder above it
        if owner != me and not os.access(path, os.R_OK if path == store else os.X_OK):
            names = {"user": _name_of(owner), "me": _name_of(me)}
            raise MayNotRead(text(language, "commands.other_user", **names))
        return


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"


def _place_of(error: Exception) -> str:
    """The last line of ours that the error came through."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


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
    chat = PageSettings(settings, store)
    doctor = Doctor(settings, store, bitrix, lambda: chat.chat, True, store.write_fault)
    try:
        with suppress(StoreUnavailable):
            if is_of_server(settings.storage.url) or store_path(settings).exists():
                _wait_for_worker(store)
        yield doctor
    finally:
        store.close()


def _difference(settings: Settings) -> Difference | None:
    """How the service differs; a service that reloads is given a moment to read the settings."""
    store = store_to_read(settings)
    until = time.monotonic() + READING_SECONDS
    try:
        while (found := difference(settings, store)) and found.unread:
            if time.monotonic() > until:
                break
            time.sleep(LOOK_SECONDS)
        return found
    finally:
        store.close()


def _wait_for_worker(store: Store) -> None:
    """Give a service that starts anew a moment to take over its work."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and store.notes.up_at.get() is not None:
        with store.database.try_lock("sender") as free:
            if free is None:
                return
        time.sleep(LOOK_SECONDS)


def store_to_read(settings: Settings) -> Store:
    return Store(settings.storage.url, ROOT, RENDERER, read_only=True)


class TokensToRead(StoredTokens):
    """The service's tokens, used and never renewed: a renewal makes those of the service void."""

    def load(self) -> Grant | None:
        grant = super().load()
        # What has expired is found out by the portal; nothing is renewed early.
        return grant and replace(grant, expires_at=float("inf"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        raise SetupFault("EXPIRED_TOKEN", OAUTH)
        yield  # the shape of the other


# -- what is printed


def report(found: list[Finding], language: str) -> str:
    level = worst(found)
    lines = [verdict_words(level, language) + ("." if level is Level.GOOD else ":")]
    for level in sorted(MARKS, reverse=True):
        of_level = [finding for finding in found if finding.level is level]
        lines += [""] if of_level else []
        lines += [
            f"{mark_of(finding)} {heading(finding, language)}: "
            + words(finding, language, local_time)
            for finding in of_level
        ]
    return "\n".join(lines)


def mark_of(finding: Finding) -> str:
    return HINT if finding.key in HINTS else MARKS[finding.level]


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


def _status_json(facts: Facts, found: list[Finding], language: str) -> str:
    said: dict[str, Any] = {"verdict": worst(found).name.lower()}
    kept = facts.kept
    if isinstance(kept, Kept):
        cures = [
            words(finding, language, iso_time)
            for finding in checks_portal.check_delivery(facts)
            if finding.check in ("delivery", "secret")
        ]
        said |= {
            "portal": readable(kept.portal_address),
            "installed": kept.portal is not None,
            "lines": list(kept.active_lines),
            "waiting": kept.deliveries,
            "fault": asdict(kept.fault) | {"cure": cures} if kept.fault else None,
        }
    return _dumped(said | _of_findings(found, language))


def _dumped(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=2, ensure_ascii=False)


def _print(said: str) -> None:
    """Print also where the terminal has not all letters."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(said.encode(encoding, "replace").decode(encoding))


def local_time(moment: Moment) -> str:
    """In the zone of this machine, which is named."""
    return datetime.fromtimestamp(moment.seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def iso_time(moment: Moment) -> str:
    return datetime.fromtimestamp(moment.seconds, UTC).isoformat(timespec="seconds")
