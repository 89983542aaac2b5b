"""Tells of what stops the chat: once in the log and in the portal, and once when it is over."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from addresses import readable
from bitrix import Bitrix
from operations.checks_messages import LONG_SECONDS
from operations.doctor import verdict_of
from operations.facts import Facts
from operations.findings import Finding, Level, Moment
from operations.roots import cause_of
from operations.words import words
from rest.errors import BitrixError
from settings import Settings
from storage import Store
from store.database import StoreUnavailable
from texts import DEFAULT, languages, text

log = logging.getLogger(__name__)

TELL_SECONDS = 60.0  # a fault that lasts for so long is told
NOTE_SECONDS = 86_400.0  # between two notes in the portal about the same cause
NOTE_LANGUAGES = ("ru", "en")  # of a note, where the portal does not say which is its own
# What begins a BB code or an element; an IPv6 address, such as [fe80::1], does not.
CODE = re.compile(r"\[(?=\s*/?\s*(?:\*|[a-zA-Z_]\w*\s*[\]=\s]))|<(?=\s*[a-zA-Z/!?])")
PLAIN_BRACKETS = {"[": "(", "<": "‹"}
# Findings that are good and yet say nothing of what was looked for: nobody could be asked.
NOT_LOOKED = {"not_asked", "front_untried", "secret_untried", "token_expired"}
WRONG_STORES = {"store_left_behind", "store_moved"}
# What the portal alone knows of a line or of the installation: it must answer to say that it is
# over, though the checks of these names find something without it.
PORTAL_KNOWS = {
    "install.unfinished",
    "lines.line_deleted",
    "lines.line_disconnected",
    "lines.line_off",
}


class Telling:
    def __init__(
        self, settings: Settings, store: Store, bitrix: Bitrix, notes_wanted: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._notes_wanted = notes_wanted
        self._causes: dict[str, dict[str, Any]] = {}  # since when each lasts; whether it was told
        self._noted: dict[str, float] = {}  # when the portal was last told, by cause
        self._is_kept = True  # the store has what was told

    def remember(self) -> None:
        """What the process before us has told; nobody was, if we could not keep what we told."""
        if not self._is_kept:
            return
        kept = self._store.notes.watch.get() or {}
        self._causes = kept.get("causes", {})
        self._noted = kept.get("noted", {})

    def warn(self, found: list[Finding]) -> None:
        """Say at once, at each start, that this may be the wrong store: every minute counts."""
        for finding in found:
            if finding.key in WRONG_STORES:
                log.warning("%s: %s", cause_of(finding), words(finding, DEFAULT, utc))

    def lasting(self) -> set[str]:
        """The checks of what is not over yet, as far as anybody knows."""
        return {cause.partition(".")[0] for cause in self._causes}

    def tell(self, found: list[Finding], facts: Facts, now: float) -> None:
        """Tell what is new of all that was found, consequences of another fault among it."""
        before = repr((self._causes, self._noted))
        broken = {cause_of(one): one for one in verdict_of(found) if one.level is Level.BROKEN}
        for cause, finding in broken.items():
            self._tell_of(cause, finding, facts, now)
        for cause in self._causes.keys() - broken.keys():
            told = self._causes[cause]
            if told["is_told"] and not is_good_again(cause, found, facts):
                continue
            del self._causes[cause]
            if told["is_told"]:
                log.info("over after %d s: %s", max(0.0, now - told["since"]), cause)
        self._is_kept = self._is_kept and repr((self._causes, self._noted)) == before
        if not self._is_kept and facts.store_fault is None:
            self._store.notes.watch.set({"causes": self._causes, "noted": self._noted})
            self._is_kept = True

    def _tell_of(self, cause: str, finding: Finding, facts: Facts, now: float) -> None:
        told = self._causes.setdefault(cause, {"since": now, "is_told": False})
        told["since"] = min(told["since"], now)
        if now - told["since"] < TELL_SECONDS:
            return
        if not told["is_told"]:
            told["is_told"] = True
            log.error("the chat does not work: %s: %s", cause, words(finding, DEFAULT, utc))
        self._note(cause, finding, facts, now)

    def _note(self, cause: str, finding: Finding, facts: Facts, now: float) -> None:
        """Tell the administrator who has installed us, at most once a day for each cause."""
        kept = facts.installed
        if kept is None or kept.portal is None or not self._notes_wanted():
            return
        if not is_over(self._noted.get(cause, 0.0), NOTE_SECONDS, now):
            return
        self._noted = {
            one: at for one, at in self._noted.items() if not is_over(at, NOTE_SECONDS, now)
        }
        self._noted[cause] = now  # also where it fails: the fault may be why
        try:
            self._bitrix.notify(kept.portal.user_id, self._note_text(finding), f"sitechat {cause}")
        except BitrixError as error:
            log.info("the administrator cannot be told in the portal: %s", error.code)
        except StoreUnavailable as error:  # the tokens had to be renewed, say
            log.info("the administrator cannot be told in the portal: %s", error)

    def _note_text(self, finding: Finding) -> str:
        examined = self._store.notes.examined.get() or {}
        known = examined.get("language") if examined.get("language") in languages() else None
        name, url = self._settings.connector.name, readable(self._settings.public_url)
        return plain(
            "\n\n".join(
                text(one, "doctor.note", name=name, url=url, finding=words(finding, one, utc))
                for one in ([known] if known else NOTE_LANGUAGES)
            )
        )


def plain(note: str) -> str:
    """The text without a BB code or markup, whatever servers have put into it.

    Bitrix24 knows no way to write a bracket that begins no code, so another bracket stands there.
    """
    return CODE.sub(lambda found: PLAIN_BRACKETS[found[0]], note)


def is_good_again(cause: str, found: list[Finding], facts: Facts) -> bool:
    """Whether the check of this cause has looked again, and found nothing broken.

    While the store or the portal cannot be asked, nobody knows whether the cause is over.
    """
    check = cause.partition(".")[0]
    of_check = [one for one in found if one.check == check and one.key not in NOT_LOOKED]
    if any(one.level is Level.BROKEN for one in of_check):
        return False
    if check == "waiting" and facts.installed and facts.installed.waiting:
        # An install gives old messages some minutes more; that they still wait is not over.
        return facts.now - facts.installed.waiting.since < LONG_SECONDS
    if cause in PORTAL_KNOWS:
        return any(one.key == "portal_good" for one in found)
    if check == "delivery":  # the store has its faults, and nothing where there is none
        return facts.installed is not None
    return bool(of_check)


def is_over(began: float, seconds: float, now: float) -> bool:
    """Whether so long has passed; also where the clock was set back, by nobody knows how much."""
    return not 0 <= now - began < seconds


def utc(moment: Moment) -> str:
    return datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
