"""Reads the portal's dialogs: the messages of a dialog or a session, and which dialog is ours."""

from typing import Any

from rest.calls import COMMANDS_A_BATCH, Calls, Command
from rest.errors import BitrixError
from rest.php import identity, number, words
from rest.replies import HistoryMessage, history

PAGE = 50  # messages of a dialog in one answer; the portal gives no more
DIALOGS_A_CALL = COMMANDS_A_BATCH  # for `newest_messages`
MESSAGES = "im.dialog.messages.get"


class Dialogs(Calls):
    def dialog_messages(
        self, portal_chat_id: int, after: int | None = None, before: int | None = None
    ) -> list[HistoryMessage]:
        """`im.dialog.messages.get`: up to 50 messages of a dialog, ascending.

        Those are the oldest with ids above `after`, or the newest below `before`, or the newest.
        Raises Refused if the portal does not let us read the dialog (bitrix24.md section 12 B).
        """
        return self._call(MESSAGES, _dialog_params(portal_chat_id, after, before), _dialog_page)

    def newest_messages(
        self, portal_chat_ids: list[int]
    ) -> list[list[HistoryMessage] | BitrixError]:
        """The newest 50 messages of each of up to 50 dialogs, in one `batch`.

        For a dialog that cannot be read, the list has the error instead.
        """
        return self._batch(
            [
                Command(MESSAGES, _dialog_params(portal_chat_id), _dialog_page)
                for portal_chat_id in portal_chat_ids
            ]
        )

    def session_messages(self, session_id: int) -> list[HistoryMessage]:
        """`imopenlines.session.history.get`: the messages of one session, ascending.

        Raises Refused if we may not read its history (bitrix24.md section 12 C).
        """
        method = "imopenlines.session.history.get"
        return self._call(
            method,
            {"SESSION_ID": session_id},
            lambda result: history(result["message"], result.get("users"), result.get("files")),
        )

    def find_dialog(self, user_code: str) -> tuple[int, int | None]:
        """`imopenlines.dialog.get`: portal chat id and session id of a dialog.

        `user_code` is connector|line|our chat id|the portal's user id (section 12 D).
        """

        def dialog(result: Any) -> tuple[int, int | None]:
            fields = words(result.get("entity_data_1")).split("|")
            return identity(result["id"]), number(fields[5]) if len(fields) > 5 else None

        return self._call("imopenlines.dialog.get", {"USER_CODE": user_code}, dialog)


def _dialog_params(
    portal_chat_id: int, after: int | None = None, before: int | None = None
) -> dict[str, Any]:
    params = {
        "DIALOG_ID": f"chat{portal_chat_id}",
        "FIRST_ID": after or None,  # never 0 (bitrix24.md 12.13)
        "LAST_ID": before,
        "LIMIT": PAGE,
    }
    return {key: value for key, value in params.items() if value is not None}


def _dialog_page(result: Any) -> list[HistoryMessage]:
    return history(result["messages"], result.get("users"), result.get("files"))
