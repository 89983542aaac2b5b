"""What each answer of the portal makes of one delivery: the engine's state table as pure functions.

Those of results, errors and lookups. What a refused call means stands in `dispatch`, what an
inactive line means in `messages`. `docs/architecture.md` shows the whole table.
"""

from typing import Literal

from portal.contacts import contacts_of, left_out, named_in, on_trial, proved
from rest.errors import NO_SESSION, STRANGE_ANSWER, BitrixError, OutcomeUnknown
from rest.replies import HistoryMessage, ItemResult
from store.records import Delivery, Outcome, PortalDialog

NO_FILE = "NO_FILE"  # the portal did not take the file
NO_CONTACTS = "NO_CONTACTS"  # the portal did not take the visitor's e-mail or telephone
RESTORED = "RESTORED"  # the store was restored from a backup: the portal may have the message
NO_REPLY = "NO_REPLY"  # the answer was lost, and the portal does not have the message
SETTLES_OF_A_FIRST_MESSAGE = 3  # its dialog is named by an event, which may come late
LOOK_AGAIN_SHARE = 1 / 4  # look again after a quarter of the time since the answer was lost

Absent = Literal["absent"]  # the portal's history does not have it
Hidden = Literal["hidden"]  # nobody lets us read where it would be
Finding = HistoryMessage | Absent | Hidden
Verdict = Literal["arrived", "arrived without its file", "not known yet", "lost", "nobody can tell"]


def to_result(
    delivery: Delivery, result: ItemResult, retry_at: float, chat_is_taken: bool = False
) -> Outcome:
    """A call was answered, with this result for the message (docs/bitrix24.md, section 4).

    `chat_is_taken`: another message of the chat was accepted in this call, so its contacts were.
    """
    if not result.understood:
        return Outcome(delivery, "in doubt", STRANGE_ANSWER, retry_at)
    dialog = PortalDialog(result.portal_chat_id, result.portal_user_id, result.session_id)
    if not result.accepted:
        return _refused(delivery, result, {} if chat_is_taken else contacts_of(delivery.chat))
    if lacks_file(delivery, result):
        return Outcome(delivery, "queued", NO_FILE, file_as_link=True, dialog=dialog)
    marks = proved(delivery) if on_trial(delivery) else None
    if result.session_id is None:
        dialog = PortalDialog(None, result.portal_user_id, None)
        return Outcome(delivery, "in doubt", NO_SESSION, retry_at, True, False, dialog, marks)
    return Outcome(delivery, "delivered", dialog=dialog, refused_contacts=marks)


def _refused(delivery: Delivery, result: ItemResult, contacts: dict[str, str]) -> Outcome:
    """An item is refused. `contacts`: those of the call that may be the reason."""
    chat = delivery.chat
    if named := named_in(result.errors) & contacts.keys():
        return Outcome(delivery, "queued", NO_CONTACTS, refused_contacts=left_out(chat, named))
    if lacks_file(delivery, result):
        return Outcome(delivery, "queued", NO_FILE, file_as_link=True)
    if contacts and not on_trial(delivery):
        marks = left_out(chat, contacts, delivery)
        return Outcome(delivery, "queued", NO_CONTACTS, refused_contacts=marks)
    not_to_blame = "" if on_trial(delivery) else None
    error = "; ".join(result.errors)[:300]
    return Outcome(delivery, "failed", error, refused_contacts=not_to_blame)


def to_error(delivery: Delivery, error: BitrixError, due: float) -> Outcome:
    """A call came to nothing, or its answer was lost.

    A lost answer counts as an attempt, because the portal may have the message.

    A confirmation is simply repeated: the portal takes the first and ignores the others.
    """
    lost = isinstance(error, OutcomeUnknown)
    state: Literal["in doubt", "queued"] = (
        "in doubt" if lost and delivery.kind == "message" else "queued"
    )
    return Outcome(delivery, state, error.code, due, attempted=lost)


def to_finding(
    delivery: Delivery,
    found: Finding,
    settle_time_is_over: bool,
    names_sessions: bool,
) -> Verdict:
    """What a lookup shows of a message whose answer was lost.

    `settle_time_is_over`: the portal has had the time that it may need to store and show it.
    `names_sessions`: this build of the portal names the session of a message that it takes. Some
    builds never do, and take messages all the same (docs/bitrix24.md, section 4).
    """
    if isinstance(found, HistoryMessage):
        missing = has_file(delivery) and not found.files and not found.deleted
        return "arrived without its file" if missing else "arrived"
    if not settle_time_is_over:
        return "not known yet"
    if found == "absent":
        return "lost"
    if delivery.error == NO_SESSION and not names_sessions:
        return "arrived"
    return "nobody can tell"


def look_again_at(now: float, since: float, settle_time_ends: float, pause: float) -> float:
    """When to look again for a message that the portal does not show yet."""
    return min(now + max(pause, (now - since) * LOOK_AGAIN_SHARE), settle_time_ends)


def has_file(delivery: Delivery) -> bool:
    """Whether the next call, or the last one, brings the message's file itself."""
    return not delivery.file_as_link and bool(delivery.message.files)


def lacks_file(delivery: Delivery, result: ItemResult) -> bool:
    """Whether the message had a file that the portal did not get (docs/bitrix24.md, section 5).

    A text whose file fails is taken without the file; a file alone is refused.
    """
    if not has_file(delivery):
        return False
    if result.accepted:
        return result.files == 0 and result.session_id is not None
    return not delivery.message.text.strip()
