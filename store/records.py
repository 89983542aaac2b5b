"""What the store gives and takes: frozen records. All times are Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar

R = TypeVar("R")

Author = Literal["visitor", "operator", "system"]
State = Literal["stored", "delivered", "refused"]  # a failed delivery makes its message "refused"
DeliveryState = Literal["queued", "sending", "in doubt"]  # delivered and failed ones are removed


class TooMany(Exception):
    """A limit is reached; nothing was stored. Another try is of use after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


def known(kind: type[R], stored: Mapping[str, Any]) -> R:
    """A record of what is stored, without what only a newer release knows: it writes beside us."""
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: stored[name] for name in names if name in stored})


@dataclass(frozen=True, slots=True)  # there may be very many at once
class Chat:
    """One visitor on one site; `id` is also user.id and chat.id of our messages to Bitrix24."""

    id: str
    name: str
    email: str
    phone: str
    page: str
    line: int | None  # the line of its first call; None before that
    created_at: float
    active_at: float
    portal_chat_id: int | None
    portal_user_id: int | None
    session_id: int | None
    closed_at: float | None
    consent: str | None = None  # what the visitor agreed to, word for word
    consent_at: float | None = None
    dialog_line: int | None = None  # the line of the dialog that the portal's ids name
    owner: str | None = None  # the id of the customer's chat that it is a part of
    refused_contacts: str = ""  # marks of those that the portal has refused (portal/contacts.py)
    taken_over_at: float | None = None  # another program's until then, which has had all of before


@dataclass(frozen=True, slots=True)
class Writer:
    """What most requests of a visitor have to know, all of one moment."""

    chat: Chat | None  # that new messages of the visitor go to
    is_blocked: bool  # an administrator has turned them away
    has_parts: bool
    latest: int  # the revision of the latest change in the chat itself, without its parts
    revision: int  # of the latest change of any message
    epoch: str  # the store's


@dataclass(frozen=True, slots=True)  # there may be very many at once
class Dialog:
    """A dialog of a chat at the portal; each line that the chat used has one."""

    portal_chat_id: int
    line: int | None
    checked_im_id: int  # the portal's history was compared with ours up to this id
    chat: Chat


@dataclass(frozen=True, slots=True)
class Named:
    """Something that visitors' browsers have named, and that anybody can invent."""

    first_at: float
    last_at: float
    count: int
    voters: dict[str, float] = field(default_factory=dict)  # digests of addresses, and when last


@dataclass(frozen=True)
class File:
    """A file of a message: a visitor's that lies on our disk, or an operator's at the portal."""

    name: str = ""
    type: str = "file"  # image, video, audio or file
    link: str = field(default="", repr=False)  # where it can be read; "" where no event named it
    size: int | None = None  # bytes
    key: str = field(default="", repr=False)  # of a visitor's file; who has it can read the file
    media_type: str = ""  # of a visitor's file, such as image/png


class Version(NamedTuple):
    """Which state of a message this is: two states that look different differ in one of these.

    Most changes give a message a new revision. Those that need not be sent to open pages at once do
    not: new HTML by a newer renderer, a place moved to make room for others, the mark of an edit
    that left the text as it was, the portal's id forgotten with the portal.
    """

    id: int
    revision: int
    renderer: int
    position: float
    edited: bool
    im_message_id: int | None


@dataclass(frozen=True)
class Message:
    id: int
    revision: int  # the number of its last change, counted over all messages
    position: float  # its place in the order of its chat
    chat_id: str
    author: Author
    name: str | None  # the operator's, from the signature
    text: str  # as it came, with BB codes
    text_html: str
    files: tuple[File, ...]
    files_html: str
    sent_at: float
    state: State
    error: str | None
    client_id: str | None
    im_message_id: int | None
    im_chat_id: int | None
    edited: bool
    deleted: bool
    asks_vote: bool  # the portal asks for a vote with it
    ends_dialog: bool  # the system's mark that the operator has closed the dialog
    incomplete: bool  # known from history or from its edit only: its event brings the rest
    attached: str = ""  # lines of BB code; their HTML stands in `files_html`
    renderer: int = field(default=0, compare=False)  # the version of what made its HTML

    @property
    def html(self) -> str:
        """The text, then what is attached and the files."""
        return "<br>".join(part for part in (self.text_html, self.files_html) if part)

    @property
    def version(self) -> Version:
        """As `conversations.latest_versions` gives it."""
        return Version(
            self.id, self.revision, self.renderer, self.position, self.edited, self.im_message_id
        )


@dataclass(frozen=True)
class Words:
    """What of a message tells whether it asks for a vote or is one."""

    author: Author
    text: str
    asks_vote: bool


@dataclass(frozen=True)
class Delivery:
    """Work for the engine: a visitor's message, or the confirmation of an operator's."""

    id: int
    kind: Literal["message", "confirmation"]
    line: int | None
    attempts: int  # calls that were refused, or whose outcome is unknown
    called_at: float | None  # when a call with it began, or ended without an answer
    error: str | None  # of the last call
    message: Message
    chat: Chat
    state: DeliveryState = "queued"
    file_as_link: bool = False  # the portal did not take the file: its address goes as a text


@dataclass(frozen=True)
class Portal:
    """What the portal granted us: the installer's tokens and the application token."""

    member_id: str
    user_id: int
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    application_token: str = field(repr=False)  # "" until one is learned
    token_pending: bool  # after an install: the next proven event may bring a new one
    installed_at: float


@dataclass(frozen=True)
class VisitorMessage:
    """A visitor's message, ready to be stored; `chat` has their latest name, e-mail and phone."""

    chat: Chat
    text: str
    text_html: str = ""
    client_id: str | None = None  # a UUID made by the page; a repeat of the message has the same
    file: File | None = None
    file_html: str = ""


@dataclass(frozen=True)
class OperatorMessage:
    """An operator's or the portal's message, ready to be stored.

    `own_ids` are our message ids, as an edit or a deletion names them. `sent_at` is known only
    for a message that was recovered from the portal's history.
    """

    chat_id: str
    line: int
    im_chat_id: int
    im_message_id: int
    author: Author
    name: str | None
    text: str
    text_html: str = ""
    files: tuple[File, ...] = ()
    files_html: str = ""
    attached: str = ""
    asks_vote: bool = False
    incomplete: bool = False
    own_ids: tuple[int, ...] = ()
    sent_at: float | None = None


@dataclass(frozen=True)
class Limits:
    """What one visitor and one address may send; None: without a limit."""

    address: str  # a digest of the IP address
    visitor_per_minute: int  # messages
    address_per_minute: int  # messages
    chats_per_minute: int | None = None  # new ones of the address
    waiting: int | None = None  # messages of the address that wait for delivery


@dataclass(frozen=True)
class Refusals:
    """Requests turned away for one reason."""

    reason: str
    count: int
    last_at: float


@dataclass(frozen=True)
class PortalDialog:
    """The portal's ids of a chat's dialog, as far as an answer names them."""

    portal_chat_id: int | None = None
    portal_user_id: int | None = None
    session_id: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery in a call or a lookup; `queue.record` writes it down."""

    delivery: Delivery
    state: Literal["delivered", "failed", "queued", "in doubt"]
    error: str | None = None
    due: float = 0.0  # when a queued message may be sent, or one in doubt be looked up
    attempted: bool = True  # whether a call may have brought it to the portal
    file_as_link: bool = False  # the next call brings the file's address only
    dialog: PortalDialog = PortalDialog()
    refused_contacts: str | None = None  # what the chat notes of them; None where it stays

    @property
    def must_be_noted(self) -> bool:
        """Whether nothing but this outcome tells what the portal has: a repeat could double it."""
        return self.state in ("delivered", "failed") or self.file_as_link


@dataclass(frozen=True)
class KeptClaim:
    """The last install that brought other tokens than the one before."""

    digest: str  # of what it brought
    at: float  # Unix seconds


@dataclass(frozen=True)
class ReportedFault:
    """A fault that the admin is shown until a call works: the method that failed, and its code."""

    method: str
    code: str
    address: str = ""  # of a renamed portal


@dataclass(frozen=True)
class NewAddress:
    """Where a renamed portal is called, as its administrator has agreed."""

    setting: str  # `bitrix24.portal` at that time: another setting ends the agreement
    address: str


@dataclass(frozen=True)
class LastRecovery:
    """The result of the last recovery of lost answers."""

    recovered: int  # answers
    dialogs: int
    failed: int  # dialogs that could not be read
    at: float


@dataclass(frozen=True)
class Reached:
    """A request that came to us from outside, at the address that `public_url` names."""

    url: str  # what `public_url` was
    at: float
    forwarded: int  # entries of X-Forwarded-For that it had


@dataclass(frozen=True)
class Holder:
    """The process that delivers what waits."""

    host: str
    pid: int
    clock: str  # the same in all processes whose times can be compared
    since: float


@dataclass(frozen=True)
class Moved:
    """All that a store had is in another one since."""

    to: str  # as a sentence calls it, without secrets
    at: float


@dataclass(frozen=True)
class RunsWith:
    """What a process of the service has read at its start; of the settings there are digests."""

    version: str
    file: str  # that stands for config.toml
    keys: dict[str, str]
    of_environment: list[str]  # keys that no file changes
