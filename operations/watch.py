"""Looks after the chat without being asked: what stops it is told in the log and in the portal.

One process at a time watches. What the portal said is kept in the store, for the pages of all
processes; so is what was told, so that a restart tells nothing twice.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from addresses import readable
from bitrix import Bitrix
from operations.checks_portal import FINISH_SECONDS
from operations.doctor import ALL, Doctor, findings, verdict_of
from operations.facts import Facts, Kept
from operations.findings import (
    Finding,
    Level,
    Moment,
    as_plain,
    from_plain,
    worst,
)
from operations.front import FrontReport
from operations.version import version
from operations.words import words
from rest.errors import BitrixError
from rest.examination import Examination
from settings import Settings
from storage import Store
from store.database import Lock, StoreUnavailable
from texts import DEFAULT, languages, text

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between two looks at ourselves
ASK_SECONDS = 600.0  # between two questions to the portal, if nothing has changed
ASK_AGAIN_SECONDS = 20.0  # the same while something is broken: it may be over
FRONT_SECONDS = 21_600.0  # between two tries of our own address, which send a large body
KNOWN_SECONDS = 0.2  # for which a verdict is good
TELL_SECONDS = 60.0  # a fault that lasts for so long is told
NOTE_SECONDS = 86_400.0  # between two notes in the portal about the same cause
NOTE_LANGUAGES = ("ru", "en")  # of a note, where the portal does not say which is its own
# What begins a BB code or an element; an IPv6 address, such as [fe80::1], does not.
CODE = re.compile(r"\[(?=\s*/?\s*(?:\*|[a-zA-Z_]\w*\s*[\]=\s]))|<(?=\s*[a-zA-Z/!?])")
PLAIN_BRACKETS = {"[": "(", "<": "‹"}
# What the portal said of these is kept; of ASKED_TOO we know something ourselves, too.
ASKED = {"portal", "oauth", "rights", "events", "connector", "clock", "front"}
ASKED_TOO = {"lines", "install", "secret"}


class Watch:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        bitrix: Bitrix,
        doctor: Doctor,
        notes_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """`notes_wanted`: whether the administrator is told in the portal, too."""
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._doctor = doctor
        self._notes_wanted = notes_wanted
        self._causes: dict[str, dict[str, Any]] = {}  # since when each lasts; whether it was told
        self._noted: dict[str, float] = {}  # when the portal was last told, by cause
        self._asked_at = self._front_at = 0.0  # by this process
        self._known: list[Finding] = []
        self._known_until = 0.0

    # -- what all processes read

    def verdict(self) -> list[Finding]:
        """What is known now, the worst first: no call is made, and a flood costs nothing."""
        if time.monotonic() >= self._known_until:
            facts = self._doctor.facts()
            self._known = _together(self._doctor.local_of(facts), self._examined(facts))
            self._known_until = time.monotonic() + KNOWN_SECONDS
        return self._known

    def look(self) -> list[Finding]:
        """The same after the portal was asked, which takes up to some seconds."""
        self._ask(self._doctor.facts(), None)
        self._known_until = 0.0
        return self.verdict()

    def forget(self) -> None:
        """Something was done that may change the verdict: the next one is made anew."""
        self._known_until = 0.0

    def is_fresh(self, seconds: float) -> bool:
        """Whether what the portal said was said within so many seconds, and still holds."""
        facts, kept = self._doctor.facts(), self._store.notes.examined.get()
        holds = kept is not None and kept["stamp"] == _stamp(facts)
        return kept is not None and holds and 0 <= facts.now - kept["at"] < seconds

    def _examined(self, facts: Facts) -> list[Finding]:
        """What the portal said last, unless something has changed since."""
        if not isinstance(facts.kept, Kept):
            return []
        try:
            kept = self._store.notes.examined.get()
        except StoreUnavailable:
            return []
        if kept is None or kept["stamp"] != _stamp(facts):
            return []
        return [from_plain(one) for one in kept["findings"]]

    # -- the job

    def run(self, stop: threading.Event) -> None:
        """Look every LOOK_SECONDS until `stop`, while no other process does."""
        while not stop.wait(LOOK_SECONDS):
            try:
                with self._store.database.try_lock("watch") as held:
                    if held is not None:
                        self.remember()
                        self._watch(held, stop)
            except StoreUnavailable:
                self._step_safely()  # no other process can watch now, either
            except Exception:
                log.exception("the watch failed and goes on")

    def _watch(self, lock: Lock, stop: threading.Event) -> None:
        while lock.is_held():
            self.step(time.time())
            if stop.wait(LOOK_SECONDS):
                return

    def _step_safely(self) -> None:
        try:
            self.step(time.time())
        except StoreUnavailable:
            log.debug("the store cannot be used; this is told already")

    def remember(self) -> None:
        """What the process before us has told."""
        kept = self._store.notes.watch.get() or {}
        self._causes = kept.get("causes", {})
        self._noted = kept.get("noted", {})

    def step(self, now: float) -> None:
        """Look once, and tell what has to be told."""
        facts = self._doctor.facts(now=now)
        if self._may_ask(facts, now):
            self._ask(facts, self._front(now))
            self._asked_at = now
        found = _together(self._doctor.local_of(facts), self._examined(facts))
        before = repr((self._causes, self._noted))
        self._tell(found, facts, now)
        if repr((self._causes, self._noted)) != before and isinstance(facts.kept, Kept):
            self._store.notes.watch.set({"causes": self._causes, "noted": self._noted})

    def _may_ask(self, facts: Facts, now: float) -> bool:
        """Whether the portal has to be asked: first, now and then, and when something changed."""
        kept = facts.installed
        if kept is None or kept.portal is None:
            return False
        if now - kept.portal.installed_at < FINISH_SECONDS:
            return False
        examined = self._store.notes.examined.get()
        if examined is None or examined["stamp"] != _stamp(facts):
            return True
        own = {one.key for one in self._doctor.local_of(facts) if one.level is Level.BROKEN}
        broken = {one["key"] for one in examined["findings"] if one["level"] == Level.BROKEN}
        waits = kept.waiting is not None and now - kept.waiting.since > ASK_AGAIN_SECONDS
        may_have_changed = broken - own or (waits and not own - {"waiting_long"})
        pause = ASK_AGAIN_SECONDS if may_have_changed else ASK_SECONDS
        return is_over(self._asked_at, pause, now)

    def _front(self, now: float) -> FrontReport | None:
        if not is_over(self._front_at, FRONT_SECONDS, now):
            return None
        self._front_at = now
        return self._doctor.try_front()

    def _ask(self, facts: Facts, front: FrontReport | None) -> None:
        """Ask the portal, and keep what it said; without a `front` the last one stays."""
        if facts.installed is None:
            return
        before = self._store.notes.examined.get() or {}
        if front is None and before.get("front"):
            front = FrontReport(**before["front"])
        asked = self._doctor.ask(facts, front)
        found = [one for one in findings(asked, ALL) if one.check in ASKED | ASKED_TOO]
        said, language = asked.portal, before.get("language", "")
        self._store.notes.examined.set({
            "stamp": _stamp(facts),
            "at": facts.now,
            "findings": [as_plain(one) for one in found],
            "front": asdict(front) if front else None,
            "language": said.language if isinstance(said, Examination) else language,
        })  # fmt: skip

    # -- telling

    def _tell(self, found: list[Finding], facts: Facts, now: float) -> None:
        broken = {cause_of(one): one for one in found if one.level is Level.BROKEN}
        for cause, finding in broken.items():
            told = self._causes.setdefault(cause, {"since": now, "is_told": False})
            told["since"] = min(told["since"], now)
            if now - told["since"] < TELL_SECONDS:
                continue
            if not told["is_told"]:
                told["is_told"] = True
                log.error("the chat does not work: %s: %s", cause, words(finding, DEFAULT, utc))
            self._note(cause, finding, facts, now)
        for cause in self._causes.keys() - broken.keys():
            told = self._causes.pop(cause)
            if told["is_told"]:
                log.info("over after %d s: %s", max(0.0, now - told["since"]), cause)

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


def is_over(began: float, seconds: float, now: float) -> bool:
    """Whether so long has passed; also where the clock was set back, by nobody knows how much."""
    return not 0 <= now - began < seconds


def cause_of(finding: Finding) -> str:
    return f"{finding.check}.{finding.key}"


def utc(moment: Moment) -> str:
    return datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _stamp(facts: Facts) -> list[Any]:
    """What must not have changed for what the portal said to be still of use."""
    kept = facts.installed
    if kept is None or kept.portal is None:
        return []
    fault = kept.fault.code if kept.fault else ""
    installed_at, lines = kept.portal.installed_at, list(kept.active_lines)
    dead_lines = sorted(kept.dead_lines)
    settings = facts.settings
    address = [settings.public_url, kept.portal_address, settings.bitrix24.client_id, version()]
    return [installed_at, kept.mended_at, fault, lines, dead_lines, *address]


def _together(own: list[Finding], asked: list[Finding]) -> list[Finding]:
    """What we know ourselves and what the portal said, each check once."""
    found = list(own)
    for check in ASKED_TOO:
        ours = [one for one in own if one.check == check]
        theirs = [one for one in asked if one.check == check]
        if theirs and worst(theirs) >= worst(ours):  # the portal knows more, such as why
            found = [one for one in found if one.check != check] + theirs
    found += [one for one in asked if one.check not in ASKED_TOO]
    return verdict_of(found)
