"""What the checks look at: facts read at one moment from the settings, the store and the portal.

A check is a function that makes findings of them, and asks nobody.
"""

from dataclasses import dataclass, field

from operations.front import FrontReport
from rest.errors import BitrixError
from rest.examination import Examination
from rest.replies import TokenHome
from settings import ChatSettings, Settings
from store.database import StoreUnavailable
from store.overview import LastMessages, RefusedMessages, Unannounced, Waiting
from store.records import (
    Holder,
    LastRecovery,
    Moved,
    Named,
    Portal,
    Reached,
    Refusals,
    ReportedFault,
)


@dataclass(frozen=True)
class Kept:
    """What the store says. Moments are Unix seconds."""

    portal: Portal | None
    portal_address: str
    worker_runs: bool
    worker_up_at: float | None
    sender: Holder | None = None  # the process that delivers, or did so last
    active_lines: tuple[int, ...] = ()  # the one that new visitors get first
    known_lines: tuple[int, ...] = ()  # connected now or once
    deliveries: int = 0  # messages and confirmations that wait
    waiting: Waiting | None = None
    waiting_lines: frozenset[int] = frozenset()  # for which messages wait
    refused: RefusedMessages | None = None
    refusal_to_tell: int | None = None  # the id of a message, within a day, and not over
    last: LastMessages = field(default_factory=LastMessages)
    last_event_at: float | None = None
    # Since when every event should have come, if one was lost for no reason that we know.
    events_due_since: float | None = None
    unannounced: Unannounced = field(default_factory=Unannounced)  # since then
    reached: dict[str, Reached] = field(default_factory=dict)
    fault: ReportedFault | None = None
    secret_is_proved: bool = False  # a renewal has succeeded with the present one
    secret_proved_at: float | None = None  # when that was; an earlier release has not noted it
    refused_renewal: ReportedFault | None = None
    dead_lines: dict[int, str] = field(default_factory=dict)
    is_registered: bool = True
    refused_registration: ReportedFault | None = None
    is_unfinished: bool = False
    moved: Moved | None = None  # all that this store had is in another one
    replaced_at: float | None = None  # when this store took the place of another in use
    mended_at: float | None = None  # an administrator has installed anew, or connected a line
    recovery: LastRecovery | None = None
    tried_sites: dict[str, Named] = field(default_factory=dict)
    visited_addresses: dict[str, Named] = field(default_factory=dict)
    seen_addresses: dict[str, str] = field(default_factory=dict)
    turned_away: tuple[Refusals, ...] = ()
    clock_ahead: float = 0.0  # seconds, of this host's clock, compared with the store's server


@dataclass(frozen=True)
class Disk:
    folder: str
    free_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Facts:
    """`portal`, `oauth` and `front` are None where nobody was asked."""

    settings: Settings
    chat: ChatSettings  # with what the page in the portal has set
    now: float
    kept: Kept | StoreUnavailable
    place: str  # the folder of the store, or its database on a server
    write_fault: StoreUnavailable | None = None  # why the store can be read and not written
    disks: tuple[Disk, ...] = ()  # of the store and of visitors' files
    files_folder: str = ""
    files_are_writable: bool = True
    lacks_files: bool = False  # the newest one is not found: its disk is not mounted here, say
    is_service: bool = False  # it is the service itself that looks
    former_runs: bool = False  # the service runs, and with the earlier release that the store is of
    on_server: bool = False  # the store is there, and no file of this host
    left_behind: str = ""  # a file with conversations that were not moved to this new store
    log_bytes: int = 0  # of what is written and not yet in the store's one file
    portal: Examination | BitrixError | None = None
    oauth: TokenHome | BitrixError | None = None
    front: FrontReport | None = None

    @property
    def store_fault(self) -> StoreUnavailable | None:
        """Why the store cannot be used, be it only to write; None: it can."""
        return self.write_fault if isinstance(self.kept, Kept) else self.kept

    @property
    def installed(self) -> Kept | None:
        """What the store says, once the application is installed; else None."""
        return self.kept if isinstance(self.kept, Kept) and self.kept.portal else None
