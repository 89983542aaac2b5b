"""What is said of a store that cannot be used, by the doctor and by every command."""

from store.database import (
    DiskFull,
    LockHeld,
    ServerUnusable,
    StoreGone,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreNoFile,
    StoreOlder,
    StoreReadOnly,
    StoreUnavailable,
)
from store.log import StoreDamaged, StoreForeign, StoreMixed

STORE_FAULTS: list[tuple[type[StoreUnavailable], str]] = [
    (DiskFull, "store_full"),
    (StoreMixed, "store_mixed"),
    (StoreForeign, "store_foreign"),
    (StoreDamaged, "store_damaged"),
    (StoreNewer, "store_newer"),
    (StoreOlder, "store_older"),
    (StoreGone, "store_gone"),
    (StoreMissing, "store_missing"),
    (StoreLocked, "store_locked"),
    (LockHeld, "store_busy"),
    (StoreReadOnly, "store_read_only"),
    (StoreNoFile, "store_no_file"),
    (StoreUnavailable, "store_unavailable"),
]
# Of a store on a server these are said otherwise: no file and no folder of ours is in question.
OF_SERVERS = {
    "store_full": "server_full",
    "store_damaged": "server_foreign",
    "store_newer": "server_newer",
    "store_older": "server_older",
    "store_gone": "server_gone",
    "store_missing": "server_missing",
    "store_locked": "server_locked",
    "store_read_only": "server_read_only",
    "store_unavailable": "server_unavailable",
}


def key_of(fault: StoreUnavailable, on_server: bool) -> str:
    """The name of the sentence, below `doctor`; it has places for `folder` and `said`."""
    if isinstance(fault, ServerUnusable):
        return f"server_{fault.reason}"
    key = next(key for kind, key in STORE_FAULTS if isinstance(fault, kind))
    return OF_SERVERS.get(key, key) if on_server else key


def said_in(fault: StoreUnavailable) -> str:
    """What SQLite, the server or the system says, in whatever language: a quotation."""
    return f" ({fault.said})" if fault.said else ""
