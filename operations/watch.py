"""Looks after the chat without being asked, so that every page knows how it is.

One process at a time watches. What the portal said is kept in the store, for the pages of all
processes; so is what was told (operations/telling.py), so that a restart tells nothing twice.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from bitrix import Bitrix
from operations.checks_portal import FINISH_SECONDS
from operations.doctor import ALL, Doctor, verdict_of
from operations.facts import Facts, Kept
from operations.findings import Finding, Level, as_plain, from_plain, worst
from operations.front import FrontReport
from operations.telling import Telling, is_over
from operations.version import version
from rest.examination import Examination
from settings import Settings
from storage import Store
from store.database import Lock, StoreUnavailable
from store.fence import Fence, Superseded
from store.records import known

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between two looks at ourselves
ASK_SECONDS = 600.0  # between two questions to the portal, if nothing has changed
ASK_AGAIN_SECONDS = 20.0  # the same while something is not as it should be: it may be over
LARGEST_SECONDS = 21_600.0  # between two tries whether the largest file comes through to us
RETRY_SECONDS = 2.5  # the longest wait for what the worker's next try brings
RETRY_LOOK_SECONDS = 0.1  # between two looks whether it has
KNOWN_SECONDS = 0.2  # for which a verdict is good
# What the portal said of these is kept; of ASKED_TOO we know something ourselves, too.
ASKED = {"portal", "oauth", "rights", "events", "connector", "clock", "front"}
ASKED_TOO = {"lines", "install", "secret"}
NEEDED_TO_SEND = {"portal", "oauth", "rights", "connector"}
OF_THE_WORKER = {"delivery", "secret"}  # noted by its last try; only another one ends them


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
        self._url = settings.public_url
        self._store = store
        self._doctor = doctor
        self._telling = Telling(settings, store, bitrix, notes_wanted)
        self._asked_at = self._largest_at = 0.0  # by this process
        self._looks: dict[bool, threading.Thread] = {}  # under way, by whether they try the front
        self._looks_lock = threading.Lock()
        self._fence = Fence(store.database, "watch")
        self._known: list[Finding] = []
        self._known_until = 0.0

    # -- what all processes read

    def verdict(self) -> list[Finding]:
        """What is known now, the worst first: no call is made, and a flood costs nothing."""
        if time.monotonic() >= self._known_until:
            facts = self._doctor.facts()
            self._known = verdict_of(_together(self._doctor.raw_of(facts), self._examined(facts)))
            self._known_until = time.monotonic() + KNOWN_SECONDS
        return self._known

    def look(self, tries_front: bool = False) -> list[Finding]:
        """The same after the portal was asked, and our own address tried; it may take a minute."""
        facts = self._doctor.facts()
        if facts.store_fault is None:  # else what it says could not be kept
            front = self._front(facts.now, ASK_AGAIN_SECONDS) if tries_front else None
            if self._ask(facts, front):
                self._wait_for_worker()
        self._known_until = 0.0
        return self.verdict()

    def look_within(self, seconds: float, tries_front: bool = False) -> bool:
        """Whether a look has ended in so many seconds. If not it goes on, and is found later.

        Whoever asks while such a look goes on waits for that one: a portal that hangs is asked
        once, however often the page is opened.
        """
        with self._looks_lock:
            thread = self._looks.get(tries_front)
            if thread is None or not thread.is_alive():
                thread = threading.Thread(
                    target=self._look_safely, args=(tries_front,), name="look", daemon=True
                )
                self._looks[tries_front] = thread
                thread.start()
        thread.join(max(0.0, seconds))
        return not thread.is_alive()

    def _look_safely(self, tries_front: bool) -> None:
        try:
            self.look(tries_front)
        except StoreUnavailable:  # which the page says
            log.debug("the store cannot be used")
        except Exception:
            log.exception("a look at the chat failed")
        self.forget()

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
                        self._fence.take_over(held)
                        with self._fence.holds():
                            self.remember()
                            self._telling.warn(self._doctor.local())
                            self._watch(held, stop)
            except Superseded:
                log.debug("another process watches by now")
            except StoreUnavailable:
                self._step_safely()  # no other process can watch now, either
            except Exception:
                log.exception("the watch failed and goes on")

    def _watch(self, lock: Lock, stop: threading.Event) -> None:
        while lock.is_held():
            self.step(self._store.now())
            if stop.wait(LOOK_SECONDS):
                return

    def _step_safely(self) -> None:
        try:
            self.step(self._store.now())
        except StoreUnavailable:
            log.debug("the store cannot be used; this is told already")

    def remember(self) -> None:
        """What the process before us has told."""
        self._telling.remember()

    def step(self, now: float) -> None:
        """Look once, and tell what has to be told."""
        facts = self._doctor.facts(now=now)
        if facts.store_fault is None and self._may_ask(facts, now):
            self._ask(facts, self._front(now, LARGEST_SECONDS))
            self._asked_at = now
        found = _together(self._doctor.raw_of(facts), self._examined(facts))
        self._telling.tell(found, facts, now)

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
        own = [one for one in self._doctor.local_of(facts) if one.level > Level.GOOD]
        known = {one.key for one in own if one.check not in OF_THE_WORKER}
        asked = {one["key"] for one in examined["findings"] if one["level"] > Level.GOOD}
        broken = {one.key for one in own if one.level is Level.BROKEN}
        waits = kept.waiting is not None and now - kept.waiting.since > ASK_AGAIN_SECONDS
        may_have_changed = (
            asked - known
            or broken - known
            or (waits and not broken - {"waiting_long"})
            or self._telling.lasting() & ASKED
        )
        pause = ASK_AGAIN_SECONDS if may_have_changed else ASK_SECONDS
        return is_over(self._asked_at, pause, now)

    def _front(self, now: float, largest_seconds: float) -> FrontReport | None:
        """Try our own address; with the largest file where that was last done so long ago.

        A file that did not come through is tried anew each time: whoever refuses it reads little.
        """
        before = self._front_before()
        is_due = is_over(self._largest_at, largest_seconds, now)
        with_largest = is_due or before is None or bool(before.is_too_large)
        if with_largest:
            self._largest_at = now
        report = self._doctor.try_front(with_largest)
        if report is None or with_largest or before is None or report.fault:
            return report
        return replace(report, is_too_large=before.is_too_large)

    def _front_before(self) -> FrontReport | None:
        """What was last known of our own address; None of a new one."""
        kept = self._store.notes.examined.get() or {}
        is_of_here = self._url in kept.get("stamp", [])
        return known(FrontReport, kept["front"]) if is_of_here and kept.get("front") else None

    def _ask(self, facts: Facts, front: FrontReport | None) -> bool:
        """Ask the portal, and keep what it said; without a `front` the last one stays.

        Returns whether the worker tries again now what it could not do: nothing is in its way.
        """
        if facts.installed is None:
            return False
        asked = self._doctor.ask(facts, front or self._front_before())
        found = [one for one in self._doctor.raw_of(asked, ALL) if one.check in ASKED | ASKED_TOO]
        said, before = asked.portal, self._store.notes.examined.get() or {}
        language = before.get("language", "")
        self._store.notes.examined.set({
            "stamp": _stamp(facts),
            "at": facts.now,
            "findings": [as_plain(one) for one in found],
            "front": asdict(asked.front) if asked.front else None,
            "language": said.language if isinstance(said, Examination) else language,
        })  # fmt: skip
        broken = {one.check for one in found if one.level is Level.BROKEN}
        if (
            facts.installed.fault is None
            or not isinstance(said, Examination)
            or broken & NEEDED_TO_SEND
        ):
            return False
        self._store.notes.retry_at.set(self._store.now())
        return True

    def _wait_for_worker(self) -> None:
        """Wait some seconds for its next try to succeed: the page then says how it is now."""
        until = time.monotonic() + RETRY_SECONDS
        while self._store.notes.fault.get() is not None:
            if time.monotonic() > until:
                return
            time.sleep(RETRY_LOOK_SECONDS)
        stamp = _stamp(self._doctor.facts())  # what the portal has just said still holds
        self._store.notes.examined.change(lambda kept: {**(kept or {}), "stamp": stamp})


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
    """All that we know ourselves and that the portal said, each check once."""
    found = list(own)
    for check in ASKED_TOO:
        ours = [one for one in own if one.check == check]
        theirs = [one for one in asked if one.check == check]
        # The portal knows more, such as why; that the secret is good we know best.
        is_ours = check == "secret" and worst(theirs) is Level.GOOD
        if theirs and not is_ours and worst(theirs) >= worst(ours):
            found = [one for one in found if one.check != check] + theirs
    found += [one for one in asked if one.check not in ASKED_TOO]
    return found
