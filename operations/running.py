"""Whether the service runs with the settings that the files have now, and with this release.

The doctor of the command line reads the files, and the service has read them at its start. So each
process of the service notes what it runs with. The note holds a digest of each setting, made with
the store's secret key, and no value.
"""

import hmac
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from operations.findings import Finding, Level, Value, worst, worst_first
from operations.version import version
from settings import ROOT, Settings, SettingsError, known_keys, load_settings
from settings.layers import CONFIG, value_of
from storage import Store, is_of_server
from store.database import StoreUnavailable
from store.notes import Note
from store.records import RunsWith

ENVIRONMENT = "environment"  # the source of a key that no file changes
# Without these no message comes or goes; the others change how the chat looks, or its limits.
NEEDED = ("public_url", "bitrix24.", "connector.", "storage.")
DIGEST_LETTERS = 16
MOST_KEYS = 5  # that are named


def runs_with(settings: Settings, secret_key: str) -> RunsWith:
    """What a process with these settings notes."""
    keys = {key: _digest(value_of(settings, key), key, secret_key) for key in known_keys()}
    given = [key for key, source in settings.sources.items() if source == ENVIRONMENT]
    file = Path(os.environ.get(CONFIG) or ROOT / "config.toml").resolve()
    return RunsWith(version(), str(file), keys, given)


def _digest(value: object, key: str, secret_key: str) -> str:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else repr(value)
    made = hmac.new(secret_key.encode(), f"{key}={plain}".encode(), "sha256")
    return made.hexdigest()[:DIGEST_LETTERS]


def _note(settings: Settings, store: Store) -> Note[RunsWith]:
    """That of this host: those that share a store have files of their own."""
    return store.notes.runs_with(socket.gethostname() if is_of_server(settings.storage.url) else "")


@dataclass(frozen=True)
class Difference:
    """How the service differs from what would run if it began now."""

    unread: tuple[str, ...] = ()  # keys that a file has otherwise than the service
    of_environment: tuple[str, ...] = ()  # keys that only one of both has from its environment
    running: str = ""  # the release that runs, if it is another


def difference(settings: Settings, store: Store) -> Difference | None:
    """None where the service has noted nothing, or the store cannot be read."""
    try:
        theirs = _note(settings, store).get()
        ours = runs_with(settings, store.portal.secret_key()) if theirs else None
    except StoreUnavailable:
        return None
    if theirs is None or ours is None:
        return None
    if theirs.version != ours.version:  # it may have other keys and defaults
        return Difference(running=theirs.version)
    other = [key for key in ours.keys if theirs.keys.get(key, ours.keys[key]) != ours.keys[key]]
    if theirs.file != ours.file:  # a variable of the environment names it
        return Difference(of_environment=(CONFIG, *other)) if other else Difference()
    given = {*theirs.of_environment, *ours.of_environment}
    return Difference(
        tuple(key for key in other if key not in given),
        tuple(key for key in other if key in given),
    )


def note_once(settings: Settings, store: Store) -> bool:
    """Note what this process runs with; False where the store cannot be used."""
    try:
        _note(settings, store).set(runs_with(settings, store.portal.secret_key()))
    except StoreUnavailable:
        return False
    return True


def with_difference(found: list[Finding], differs: Difference | None) -> list[Finding]:
    """The findings of the doctor, and what they are worth if the service runs with other settings.

    While the service does not run there is nothing to say: at its start it reads all.
    """
    if differs is None or all(one.key != "service_good" for one in found):
        return found
    return worst_first([*_of_difference(differs, worst(found)), *found])


def of_files(store: Store, language: str) -> list[Finding]:
    """What the files say now that the service, which asks, has not read: it goes on without it."""
    try:
        differs = difference(load_settings(language=language), store)
    except SettingsError as error:
        faults = "\n".join(error.told(language))
        return [Finding("settings", Level.ATTENTION, "settings_changed_wrong", {"faults": faults})]
    if differs is None or not differs.unread:
        return []
    keys = _named(differs.unread)
    return [Finding("settings", Level.ATTENTION, "settings_unread", {"keys": keys})]


def _of_difference(differs: Difference, level: Level) -> Iterable[Finding]:
    if differs.running:
        values: dict[str, Value] = {"running": differs.running, "version": version()}
        yield Finding("service", Level.ATTENTION, "service_older", values)
    if differs.unread:
        # Of what such a key changes the doctor can vouch for nothing.
        is_needed = any(key.startswith(NEEDED) for key in differs.unread)
        bad = Level.BROKEN if is_needed and level is not Level.BROKEN else Level.ATTENTION
        yield Finding("settings", bad, "settings_unread", {"keys": _named(differs.unread)})
    if differs.of_environment:
        values = {"keys": _named(differs.of_environment)}
        yield Finding("settings", Level.GOOD, "settings_of_environment", values)


def _named(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:MOST_KEYS]) + (", …" if len(keys) > MOST_KEYS else "")
