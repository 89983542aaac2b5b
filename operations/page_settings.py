"""The chat's settings as visitors meet them: what the files say, then what the page says.

An administrator can set some of them on the application's page in Bitrix24; they are kept in the
store. A key that a file or the environment gives has the value of the file, except that the sites
of both are added up.
"""

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from settings import ChatSettings, Fault, Settings, SettingsError, validated
from storage import Store
from store.database import StoreUnavailable
from texts import Wrong

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two reads of the store: so late other processes see a change
MOST_SITES = 50  # of the page: each stands in a header of every answer
SITE_LENGTH = 100  # characters of a wrong site that are shown again
SITES, CONSENT, LINK = "chat.sites", "chat.consent", "chat.consent_link"
PAGE_KEYS = (
    *("chat.title", "chat.greeting", "chat.accent", "chat.language", SITES),
    *(CONSENT, LINK),
)
PAGE = "page"  # the source of what is set there


class PageSettings:
    """The settings of one process. Safe to share between threads and greenlets."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._note = store.notes.page_settings
        self._lock = threading.Lock()
        self._look_at = 0.0  # on the monotonic clock
        self._values: dict[str, Any] = {}
        self._chat = settings.chat

    @property
    def chat(self) -> ChatSettings:
        """What counts now, at most LOOK_SECONDS old; the last known while the store is closed."""
        # One reads, and the others go on with what is known, unless nothing is known yet.
        is_due = time.monotonic() >= self._look_at
        if is_due and self._lock.acquire(blocking=not self._look_at):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._chat

    def values(self) -> dict[str, Any]:
        """What is set on the page, by `chat.key`."""
        return dict(self._note.get() or {})

    def sources(self) -> dict[str, str]:
        """Where each key comes from: "environment", a file's name, "page" or "default".

        Of `chat.sites` it is the file's, if a file names sites; `values` has those of the page.
        """
        sources = self._settings.sources
        on_page = {key: PAGE for key in self.values() if sources.get(key) == "default"}
        return sources | on_page

    def save(self, values: Mapping[str, Any]) -> None:
        """Set these keys on the page; None, or the default, leaves a key to its default again.

        Sites may be a list, or a text with one in each line. A key whose value a file gives may be
        among the values only with this value. Raises SettingsError, and then nothing is kept.
        """
        checked = self._checked(values)

        def change(kept: dict[str, Any] | None) -> dict[str, Any]:
            changed = {**(kept or {}), **checked}
            return {key: value for key, value in changed.items() if value is not None}

        self._note.change(change)
        self._look_at = 0.0

    def allow_site(self, origin: str) -> None:
        """Add one site to those of the page; SettingsError."""
        new = self._checked({SITES: [origin]})[SITES] or []  # nothing, if a file has it

        def change(kept: dict[str, Any] | None) -> dict[str, Any]:
            """Others may allow sites meanwhile."""
            sites = list(dict.fromkeys([*(kept or {}).get(SITES, []), *new]))
            if len(sites) > MOST_SITES:
                raise SettingsError([Fault(SITES, Wrong("settings.many_sites", most=MOST_SITES))])
            return {**(kept or {}), **({SITES: sites} if sites else {})}

        self._note.change(change)
        self._look_at = 0.0

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as they are kept; None for those that are the default."""
        faults = [
            Fault(key, Wrong("settings.unknown", given=key))
            for key in values
            if key not in PAGE_KEYS
        ]
        given = {key: value for key, value in values.items() if value is not None}
        if isinstance(given.get(SITES), str):
            given[SITES] = (
                re.split(r"[\s,;]+", given[SITES].strip()) if given[SITES].strip() else []
            )
        if faults:
            raise SettingsError(faults)
        try:
            chat = validated(ChatSettings, given)
        except SettingsError as error:
            raise SettingsError([_of_site(one, given) for one in error.faults]) from None
        checked: dict[str, Any] = dict.fromkeys(values)
        default = ChatSettings()
        for key in given:
            name = key.removeprefix("chat.")
            value = getattr(chat, name)
            if key == SITES:
                value = [
                    one for one in dict.fromkeys(value) if one not in self._settings.chat.sites
                ]
                if len(value) > MOST_SITES:
                    faults.append(Fault(key, Wrong("settings.many_sites", most=MOST_SITES)))
            elif (source := self._settings.sources[key]) != "default":
                if value != getattr(self._settings.chat, name):
                    faults.append(Fault(key, Wrong("settings.fixed", source=source)))
                continue
            checked[key] = None if value in ([], getattr(default, name)) else value
        if checked.get(LINK) and not self._consent_with(checked):
            faults.append(Fault(LINK, Wrong("settings.link_alone")))
        if faults:
            raise SettingsError(faults)
        return checked

    def _consent_with(self, checked: Mapping[str, Any]) -> str:
        """The consent that visitors are asked for once these values are kept, or ""."""
        if self._settings.sources[CONSENT] != "default":
            return self._settings.chat.consent
        return str({**self.values(), **checked}.get(CONSENT) or "")

    def _look(self) -> None:
        try:
            kept = self._note.get() or {}
        except StoreUnavailable:  # whoever needs the store says so
            kept = self._values
        self._look_at = time.monotonic() + LOOK_SECONDS
        if kept != self._values:
            self._values, self._chat = kept, self._effective(kept)

    def _effective(self, kept: dict[str, Any]) -> ChatSettings:
        chat, sources = self._settings.chat, self._settings.sources
        counting = {key: kept[key] for key in PAGE_KEYS if key in kept and key != SITES}
        counting = {key: value for key, value in counting.items() if sources[key] == "default"}
        counting = {key: counting[key] for key in counting if _is_usable({key: counting[key]})}
        on_page = [one for one in kept.get(SITES, []) if _is_usable({SITES: [one]})]
        page = validated(ChatSettings, counting | {SITES: on_page})
        sites = tuple(dict.fromkeys([*chat.sites, *page.sites]))
        names = [key.removeprefix("chat.") for key in counting]
        return chat.model_copy(
            update={name: getattr(page, name) for name in names} | {"sites": sites}
        )


def _of_site(fault: Fault, given: Mapping[str, Any]) -> Fault:
    """A fault of one of several sites names it: whoever typed them sees a field of many lines."""
    section, _, number = fault.key.rpartition(".")
    if section != SITES:
        return fault
    site = str(given[SITES][int(number)])[:SITE_LENGTH]
    return Fault(fault.key, Wrong("settings.of_site", site=site, why=fault.why))


def _is_usable(values: dict[str, Any]) -> bool:
    """Whether what is kept may be set: another version may have kept it, by other rules."""
    try:
        validated(ChatSettings, values)
    except SettingsError as error:
        log.error("what is set on the page cannot be used: %s", error)
        return False
    return True
