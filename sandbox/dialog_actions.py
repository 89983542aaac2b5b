"""What visitors and operators do in a dialog: write, edit, delete, rate, close.

Rules of bitrix24.md sections 1 to 5. Every method that changes something
takes the portal's lock and queues the events that follow from the change.
"""

import re
from typing import Any

from .dialog_events import DialogEvents
from .dialogs import Dialog, Dialogs, Message
from .files import File
from .portal import Connector, Portal, User

MID_CHARACTERS = 100  # of message.id that the portal keeps (bitrix24.md 3.2)
RATING = re.compile(r"^\s*([01])(?:\s|$)")  # bitrix24.md 5.19
AUTOMATIC_CLASS = "bx-messenger-content-item-ol-output"
RATING_CLASS = f"{AUTOMATIC_CLASS} bx-messenger-content-item-vote"
NOTICE_CLASS = "bx-messenger-content-item-system"
DELETED_TEXTS = {"en": "This message has been deleted.", "ru": "Это сообщение было удалено."}


class NotAllowed(Exception):
    """The portal shows the operator an error: the line or the connector is off."""


class DialogActions:
    def __init__(self, portal: Portal, dialogs: Dialogs) -> None:
        self._portal = portal
        self._dialogs = dialogs
        self._events = DialogEvents(portal)

    # The visitor's side

    def open_dialog(
        self,
        connector: Connector,
        line: int,
        chat: dict[str, Any],
        user: User,
        external_user_id: str,
    ) -> Dialog:
        """The dialog of this visitor and chat on this line, with an open session.

        While a rating is awaited, the closed session goes on (bitrix24.md 5.19).
        """
        with self._portal.lock:
            dialog = self._dialogs.dialog_for(connector, line, chat, user, external_user_id)
            if dialog.closed and not dialog.waits_for_rating:
                self._dialogs.begin_session(dialog)
                self._events.session_started(dialog)
                welcome = self._portal.troubles.welcome
                if welcome:
                    self.add_automatic_text(dialog, welcome, {"CLASS": AUTOMATIC_CLASS})
            return dialog

    def add_visitor_message(
        self, dialog: Dialog, user_id: int, text: str, files: list[File], external_id: str
    ) -> Message:
        """The same external id twice makes two messages (bitrix24.md 3.1)."""
        with self._portal.lock:
            message = self._dialogs.add_message(dialog, "visitor", user_id, text, files=files)
            message.connector_mid = _kept_ids([external_id])
            rating = RATING.match(text) if dialog.waits_for_rating else None
            if rating:
                self._take_rating(dialog, rating[1])
            return message

    def _take_rating(self, dialog: Dialog, rating: str) -> None:
        dialog.rating, dialog.waits_for_rating = rating, False
        requests = [message for message in dialog.messages if "IMOL_VOTE" in message.params]
        if requests:
            thanks = "IMOL_VOTE_LIKE" if rating == "1" else "IMOL_VOTE_DISLIKE"
            self.add_automatic_text(dialog, str(requests[-1].params[thanks]))

    # The operator's side

    def answer(
        self,
        dialog: Dialog,
        text: str,
        user_id: int,
        files: list[File] | None = None,
        **attached: list[Any],
    ) -> Message:
        """`attached`: `blocks` and `links`. NotAllowed on an inactive line (bitrix24.md 10.9)."""
        with self._portal.lock:
            self._portal.user(user_id)
            self._check_line(dialog)
            message = self._dialogs.add_message(
                dialog, "operator", user_id, text, files=files or [], sending=True, **attached
            )
            self._events.message_added(dialog, message, user_id)
            return message

    def _check_line(self, dialog: Dialog) -> None:
        connector = self._portal.connectors.get(dialog.connector)
        line = connector.lines.get(dialog.line) if connector else None
        if line is None or not line.works or dialog.line not in self._portal.lines:
            raise NotAllowed("The connector is not active on this line")

    def add_automatic_text(
        self, dialog: Dialog, text: str, params: dict[str, Any] | None = None, user_id: int = 0
    ) -> Message:
        """A text of the portal for the visitor: without a signature, and without user's tokens."""
        with self._portal.lock:
            message = self._dialogs.add_message(
                dialog, "system", user_id, text, params=params or {}, sending=True
            )
            connector = self._portal.connectors.get(dialog.connector)
            if connector is None or connector.flags["NEED_SYSTEM_MESSAGES"]:
                self._events.message_added(dialog, message, None)
            return message

    def ask_for_rating(self, dialog: Dialog) -> Message:
        """The rating request of bitrix24.md 10.3."""
        with self._portal.lock:
            dialog.waits_for_rating = True
            params = {
                "CLASS": RATING_CLASS,
                "IMOL_VOTE": dialog.session_id,
                "IMOL_VOTE_TEXT": "Rate the talk",
                "IMOL_VOTE_LIKE": "Thank you!",
                "IMOL_VOTE_DISLIKE": "Sorry to hear that",
                "IMOL_FORM": "like",
            }
            text = "Please rate our answer: 1 - good, 0 - bad"
            return self.add_automatic_text(dialog, text, params)

    def whisper(self, dialog: Dialog, text: str, user_id: int) -> Message:
        """An employee's text for other employees: in the history, never posted."""
        params = {"COMPONENT_ID": "HiddenMessage"}
        with self._portal.lock:
            return self._dialogs.add_message(
                dialog, "operator", user_id, text, params=params, hidden=True
            )

    def notice(
        self, dialog: Dialog, text: str, user_id: int = 0, css_class: str = NOTICE_CLASS
    ) -> Message:
        """A SYSTEM=Y text for employees: in the history, perhaps without a class, never posted."""
        params = {"CLASS": css_class} if css_class else {}
        with self._portal.lock:
            return self._dialogs.add_message(
                dialog, "system", user_id, text, params=params, hidden=True
            )

    def edit(self, message: Message, text: str, user_id: int = 0) -> None:
        """`user_id` 0: the author edits."""
        with self._portal.lock:
            message.text, message.edited = text, True
            dialog = self._dialogs.dialogs[message.chat_id]
            self._events.message_edited(dialog, message, user_id or message.user_id)
            self._portal.touch()

    def delete(self, message: Message, user_id: int = 0, complete: bool = False) -> None:
        """Leave a notice in the message's place; `user_id` 0: the author deletes.

        A `complete` delete, which an administrator may make, removes the message (bitrix24.md
        12.7).
        """
        with self._portal.lock:
            dialog = self._dialogs.dialogs[message.chat_id]
            self._events.message_deleted(dialog, message, user_id or message.user_id)
            if complete:
                self._dialogs.remove(message)
            else:
                self._leave_notice(message)
            self._portal.touch()

    def _leave_notice(self, message: Message) -> None:
        """Older builds replace only the text; newer ones keep no parameter but IS_DELETED."""
        message.notice = DELETED_TEXTS.get(self._portal.options.lang, DELETED_TEXTS["en"])
        message.deleted, message.bare = True, not self._portal.troubles.old_build
        if message.bare:
            message.sending = False

    def close(self, dialog: Dialog, user_id: int) -> None:
        """End the session; the visitor's next message begins another one."""
        with self._portal.lock:
            if not dialog.closed:
                dialog.closed = True
                self._events.session_finished(dialog, user_id)
                self._portal.touch()

    def confirm_delivery(self, message_id: int, external_ids: list[str]) -> None:
        """send.status.delivery: newer builds take the first one only (bitrix24.md 3.5)."""
        with self._portal.lock:
            message = self._dialogs.messages.get(message_id)
            if message is None or message.author == "visitor" or message.hidden:
                return
            if message.sending or self._portal.troubles.old_build:
                message.sending = False
                message.connector_mid = _kept_ids(external_ids) or message.connector_mid
                self._portal.touch()


def _kept_ids(external_ids: list[str]) -> list[str]:
    stripped = [external_id.strip() for external_id in external_ids]
    return [external_id[:MID_CHARACTERS] for external_id in stripped if external_id]
