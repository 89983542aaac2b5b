"""Checks of what is ours: settings, addresses, the sites that embed the chat, store and service."""

import ipaddress
import platform
from collections.abc import Iterator
from urllib.parse import urlsplit

from addresses import both_forms, is_loopback, readable
from operations.facts import Disk, Facts, Kept
from operations.findings import Finding, Level, Moment, Phrase, Value, duration
from operations.named import ranked
from operations.store_faults import key_of, said_in
from operations.version import version
from rest.own_address import NO_ANSWER
from settings import found_doubts
from store.database import StoreOlder

LOW_BYTES, LEAST_BYTES = 500 << 20, 50 << 20  # free space on the disk
NO_ROOM_BYTES = 1 << 20  # with less a store that cannot be written lacks nothing but room
LOW_SHARE, LOW_SHARE_BYTES = 0.05, 1 << 30  # 5 % is much of a large disk
CLOCK_SECONDS = 5.0  # more than a statement and its answer take
LOG_BYTES = 64 << 20  # of changes that are not in the store's one file yet: usually 8 MB at most
STARTING_SECONDS = 60.0  # within which a service that starts anew takes over its work
MOST_SITES = 5  # that are named
AGREEING, DAY_SECONDS = 3, 86_400.0  # visitors' addresses that say the same, within so long
LOCAL_ENDINGS = ("local", "lan", "internal", "intranet", "home", "localdomain")


def check_settings(facts: Facts) -> Iterator[Finding]:
    """Whether all is given that only the company can know, and what may be a mistake."""
    given = facts.settings.bitrix24
    missing = [
        f"bitrix24.{key}"
        for key, value in (
            ("portal", given.portal),
            ("client_id", given.client_id),
            ("client_secret", given.client_secret.get_secret_value()),
        )
        if not value
    ]
    if missing:
        values = {"missing": ", ".join(missing)}
        yield Finding("settings", Level.BROKEN, "settings_incomplete", values)
    # Of the address there is a check of its own.
    found = [doubt for doubt in found_doubts(facts.settings) if doubt.key != "settings.no_dot"]
    for doubt in found:
        phrase = Phrase(doubt.key, {name: str(value) for name, value in doubt.values.items()})
        yield Finding("settings", Level.ATTENTION, "settings_doubt", {"doubt": phrase})
    if not (missing or found):
        yield Finding("settings", Level.GOOD, "settings_good")


def check_address(facts: Facts) -> Iterator[Finding]:
    """Whether Bitrix24 and the visitors can reach us at `public_url`, and where they really do."""
    settings = facts.settings
    url = readable(settings.public_url)
    seen = facts.kept.seen_addresses.get("portal", "") if isinstance(facts.kept, Kept) else ""
    elsewhere = "" if seen == settings.origin else seen
    if not may_be_reached(facts):
        if elsewhere:
            values = {"url": url, "seen": readable(elsewhere + settings.prefix)}
            yield Finding("address", Level.BROKEN, "address_here_seen", values)
        else:
            yield Finding("address", Level.BROKEN, "address_here", {"url": url})
    elif elsewhere:
        values = {"url": url, "seen": readable(elsewhere)}
        yield Finding("address", Level.ATTENTION, "address_of_portal", values)
    elif _is_private(settings.public_url) and not _is_private(settings.bitrix24.portal):
        yield Finding("address", Level.ATTENTION, "address_private", {"url": url})
    else:
        key = "address_good" if _has_come(facts, seen) else "address_unseen"
        yield Finding("address", Level.GOOD, key, {"url": url})
    yield from _of_visitors(facts)


def _has_come(facts: Facts, seen: str) -> bool:
    """Whether a request that is proved to be of the portal has come by `public_url`."""
    event = facts.kept.reached.get("portal") if isinstance(facts.kept, Kept) else None
    return seen == facts.settings.origin or (
        event is not None and event.url == facts.settings.public_url
    )


def _of_visitors(facts: Facts) -> Iterator[Finding]:
    """Where several visitors say that they see the chat: that they say so is all that is known."""
    visited = facts.kept.visited_addresses if isinstance(facts.kept, Kept) else {}
    agreed = {
        origin: one
        for origin, one in visited.items()
        if origin != facts.settings.origin
        and sum(0 <= facts.now - at < DAY_SECONDS for at in one.voters.values()) >= AGREEING
    }
    if agreed:
        values = {"url": readable(facts.settings.public_url), "seen": both_forms(ranked(agreed)[0])}
        yield Finding("address", Level.GOOD, "address_of_visitors", values)


def may_be_reached(facts: Facts) -> bool:
    """Whether `public_url` can be right: Bitrix24 on another machine cannot use a loopback one."""
    portal = facts.settings.bitrix24.portal
    return not portal or _is_here(portal) or not _is_here(facts.settings.public_url)


def _is_here(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _is_private(url: str) -> bool:
    """Whether an address has a meaning within one network only; one that is not set has not."""
    host = urlsplit(url).hostname or "not.set"
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.rpartition(".")[2] in LOCAL_ENDINGS


def check_sites(facts: Facts) -> Iterator[Finding]:
    """Sites that tried to show the chat and are not in `chat.sites`."""
    if not isinstance(facts.kept, Kept):
        return
    tried = {
        origin: seen
        for origin, seen in facts.kept.tried_sites.items()
        if origin != facts.settings.origin and not facts.chat.lists(origin)
    }
    if tried:  # that is all: it is what browsers say
        best = ranked(tried)
        named = ", ".join(both_forms(origin) for origin in best[:MOST_SITES])
        yield Finding("sites", Level.GOOD, "sites_tried", {
            "sites": named + (", …" if len(best) > MOST_SITES else ""),
            "last": Moment(max(one.last_at for one in tried.values())),
        })  # fmt: skip
    elif facts.chat.sites:
        listed = ", ".join(readable(one) for one in facts.chat.sites)
        yield Finding("sites", Level.GOOD, "sites_good", {"sites": listed})
    else:
        yield Finding("sites", Level.GOOD, "sites_none")


def check_store(facts: Facts) -> Iterator[Finding]:
    """Whether the store can be read and written, and whether its one file has all."""
    kept = facts.kept
    yield _of_store(facts)
    if isinstance(kept, Kept):
        yield from _of_clock(facts, kept.clock_ahead)
    if isinstance(kept, Kept) and facts.log_bytes:
        megabytes = max(1, facts.log_bytes >> 20)
        if not kept.worker_runs and not _service_answers(facts):
            yield Finding("store", Level.ATTENTION, "log_left", {"megabytes": megabytes})
        elif facts.log_bytes > LOG_BYTES:
            yield Finding("store", Level.ATTENTION, "log_long", {"megabytes": megabytes})


def _of_clock(facts: Facts, ahead: float) -> Iterator[Finding]:
    """The clock of the store's server, whose times are stored, beside ours."""
    if abs(ahead) > CLOCK_SECONDS:
        key = "server_clock_behind" if ahead > 0 else "server_clock_ahead"
        values: dict[str, Value] = {
            "folder": facts.place,
            "difference": duration(round(abs(ahead))),
        }
        yield Finding("store", Level.ATTENTION, key, values)


def _of_store(facts: Facts) -> Finding:
    values: dict[str, Value] = {"folder": facts.place}
    if facts.left_behind:
        left = {"path": facts.left_behind, "url": f"sqlite:///{facts.left_behind}"}
        return Finding("store", Level.BROKEN, "store_left_behind", values | left)
    if facts.store_fault is not None:
        if isinstance(facts.store_fault, StoreOlder) and facts.former_runs:
            return Finding("store", Level.ATTENTION, "store_older_runs", values)
        key, said = key_of(facts.store_fault, facts.on_server), said_in(facts.store_fault)
        return Finding("store", Level.BROKEN, key, values | {"said": said})
    if _refuses(facts):
        key = "store_full" if _has_no_room(facts) else "store_refuses"
        return Finding("store", Level.BROKEN, key, values)
    if _was_replaced(facts):
        return Finding("store", Level.BROKEN, "store_replaced", values)
    return _of_good_store(facts)


def _of_good_store(facts: Facts) -> Finding:
    kept, values = facts.kept, {"folder": facts.place}
    if isinstance(kept, Kept) and kept.moved and (kept.mended_at or 0.0) < kept.moved.at:
        at = Moment(kept.moved.at)
        return Finding(
            "store", Level.ATTENTION, "store_moved", {**values, "to": kept.moved.to, "at": at}
        )
    return Finding("store", Level.GOOD, "store_good", values)


def _refuses(facts: Facts) -> bool:
    """Whether the service, which sees more than we do, says that it can keep nothing."""
    front = facts.front
    if front is None:
        return False
    has_failed = front.fault == NO_ANSWER and front.status == 503  # it could not even read, maybe
    return front.takes_messages is False or (has_failed and _has_no_room(facts))


def _takes_messages(facts: Facts) -> bool:
    return facts.front is not None and facts.front.takes_messages is True


def _has_no_room(facts: Facts) -> bool:
    """Whether the disk of the store is full."""
    return any(
        disk.folder == facts.place and disk.free_bytes < NO_ROOM_BYTES for disk in facts.disks
    )


def _was_replaced(facts: Facts) -> bool:
    """Whether another store was put in the place of ours, and nothing was installed since."""
    kept = facts.kept
    return isinstance(kept, Kept) and kept.portal is None and kept.replaced_at is not None


def _service_answers(facts: Facts) -> bool:
    """Whether the service runs for sure: it asks itself, or has answered at its own address."""
    front = facts.front
    has_answered = front is not None and front.status > 0 and front.fault in ("", NO_ANSWER)
    return facts.is_service or has_answered


def check_disk(facts: Facts) -> Iterator[Finding]:
    """Whether there is room, and whether visitors' files can be kept."""
    for disk in facts.disks:
        level, key = _of_space(disk)
        if disk.folder == facts.place and _has_no_room(facts) and not _takes_messages(facts):
            key = "disk_none"
        values: dict[str, Value] = {"folder": disk.folder, "megabytes": disk.free_bytes >> 20}
        yield Finding("disk", level, key, values)
    if facts.settings.files.enabled and not facts.files_are_writable:
        yield Finding("disk", Level.ATTENTION, "files_closed", {"folder": facts.files_folder})
    if facts.lacks_files:
        yield Finding("disk", Level.ATTENTION, "files_lost", {"folder": facts.files_folder})


def _of_space(disk: Disk) -> tuple[Level, str]:
    if disk.free_bytes < LEAST_BYTES:
        return Level.BROKEN, "disk_full"
    is_small_share = disk.free_bytes < LOW_SHARE * disk.size_bytes
    if disk.free_bytes < LOW_BYTES or (is_small_share and disk.free_bytes < LOW_SHARE_BYTES):
        return Level.ATTENTION, "disk_low"
    return Level.GOOD, "disk_good"


def check_service(facts: Facts) -> Iterator[Finding]:
    """Whether somebody sends what the visitors write, and who of all hosts."""
    if not isinstance(facts.kept, Kept):
        return
    values: dict[str, Value]
    if facts.kept.worker_runs:
        yield Finding("service", Level.GOOD, "service_good")
        if facts.on_server and (sender := facts.kept.sender):
            values = {"host": sender.host, "pid": sender.pid, "since": Moment(sender.since)}
            yield Finding("service", Level.GOOD, "service_sender", values)
    elif (facts.store_fault or _refuses(facts)) and _service_answers(facts):
        return  # it runs; only what sends waits for the store, of which there is a finding
    elif facts.kept.worker_up_at is None:
        yield Finding("service", Level.BROKEN, "service_never")
    else:
        values = {"since": Moment(facts.kept.worker_up_at)}
        yield Finding("service", Level.BROKEN, "service_stopped", values)


def check_version(facts: Facts) -> Iterator[Finding]:
    yield Finding("version", Level.GOOD, "version", {
        "version": version(), "python": platform.python_version(),
    })  # fmt: skip
