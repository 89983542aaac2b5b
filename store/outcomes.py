"""What became of a delivery, noted in the caller's transaction: in the queue, message and chat."""

from store.counts import count
from store.database import Connection
from store.places import renew_head, set_back
from store.records import Outcome
from store.rows import know_dialog, next_revision


def note_outcome(db: Connection, outcome: Outcome, now: float) -> None:
    """A delivery that is delivered or has failed leaves the queue; else it is due again later."""
    delivery = outcome.delivery
    if outcome.state in ("delivered", "failed"):
        _finish(db, outcome)
    else:
        in_doubt = outcome.state == "in doubt"
        if not in_doubt and delivery.state != "queued":  # it was in a call
            set_back(db, delivery.id)
        call_ended_at = now if outcome.attempted else None  # None: no call, as noted before
        db.execute(
            "update deliveries set state = ?, due = ?, error = ?,"
            " called_at = case when ? then coalesce(?, called_at, ?) end,"
            " attempts = attempts + ?,"
            " file_as_link = case when ? then 1 else file_as_link end where id = ?",
            (outcome.state, outcome.due, outcome.error, in_doubt, call_ended_at, now,
             int(outcome.attempted), outcome.file_as_link, delivery.id),
        )  # fmt: skip
    _know_dialog_of(db, outcome)
    if outcome.refused_contacts is not None:
        db.execute(
            "update chats set refused_contacts = ? where id = ? and coalesce(owner, id) <> ''",
            (outcome.refused_contacts, delivery.chat.id),
        )


def _finish(db: Connection, outcome: Outcome) -> None:
    delivery = outcome.delivery
    ended = db.execute("delete from deliveries where id = ?", (delivery.id,)).rowcount
    if ended and delivery.kind == "message":
        renew_head(db, delivery.chat.id)
    if not ended and outcome.state == "failed":
        return  # noted late: another process has finished this delivery since
    # A failed delivery makes its message "refused", a word that open pages know.
    state = "delivered" if outcome.state == "delivered" else "refused"
    if ended:  # else it was noted before
        count(db, state, delivery.kind)
    told = (state, outcome.error)
    if delivery.kind == "message":
        db.execute(
            "update messages set state = ?, error = ?, revision = ? where id = ?",
            (*told, next_revision(db), delivery.message.id),
        )
    else:  # a confirmation changes nothing that the visitor sees
        db.execute(
            "update messages set state = ?, error = ? where id = ?",
            (*told, delivery.message.id),
        )


def _know_dialog_of(db: Connection, outcome: Outcome) -> None:
    dialog, delivery = outcome.dialog, outcome.delivery
    if dialog.portal_user_id is not None:
        db.execute(
            "update chats set portal_user_id = ? where id = ?",
            (dialog.portal_user_id, delivery.chat.id),
        )
    if dialog.portal_chat_id is not None:
        db.execute(
            "update chats set dialog_line = ?, portal_chat_id = ?, session_id = ? where id = ?",
            (delivery.line, dialog.portal_chat_id, dialog.session_id, delivery.chat.id),
        )
        know_dialog(db, delivery.chat.id, dialog.portal_chat_id, delivery.line)
