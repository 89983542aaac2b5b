"""The engine's state table: what an answer, an error or a look makes of one delivery."""

from dataclasses import replace

import pytest

from delivery.reaction import (
    Finding,
    Verdict,
    has_file,
    look_again_at,
    to_error,
    to_finding,
    to_result,
)
from portal.contacts import contacts_of
from rest.errors import BitrixError, OutcomeUnknown, SetupFault, TryLater
from rest.replies import HistoryMessage, ItemResult
from store.records import Chat, Delivery, File, Message, Outcome, PortalDialog

NOW = 1_790_000_000.0
CHAT = Chat("chat1", "Anna", "", "", "", 7, NOW, NOW, 5120, 2001, 3301, None)
FILE = File("a.pdf", "file", "https://x.example/a", 1)
AT_THE_PORTAL = {"name": "a.pdf"}
SEND = "imconnector.send.messages"


def message(text: str = "hello", files: int = 0) -> Message:
    return Message(
        id=1, revision=1, position=1.0, chat_id="chat1", author="visitor", name=None, text=text,
        text_html=text, files=(FILE,) * files, files_html="", sent_at=NOW, state="stored",
        error=None, client_id=None, im_message_id=None, im_chat_id=None, edited=False,
        deleted=False, asks_vote=False, ends_dialog=False, incomplete=False,
    )  # fmt: skip


TEXT = Delivery(5, "message", 7, 0, NOW, None, message(), CHAT, "sending")
WITH_FILE = replace(TEXT, message=message(files=1))
FILE_ALONE = replace(TEXT, message=message(text=" ", files=1))
LINK = replace(WITH_FILE, file_as_link=True)
CONFIRMATION = replace(TEXT, kind="confirmation")

TAKEN = ItemResult(True, (), 3301, 5120, 2001)
HERE = PortalDialog(5120, 2001, 3301)
BOTH = replace(TEXT, chat=replace(CHAT, email="a@b.example", phone="+79991"))


def refused(delivery: Delivery, *reasons: str, taken: bool = False) -> Delivery | str | None:
    """The delivery as its chat has it after a refusal; the error if it has failed."""
    outcome = to_result(delivery, ItemResult(False, reasons), NOW, taken)
    if outcome.state == "failed":
        return outcome.error
    assert (outcome.state, outcome.error) == ("queued", "NO_CONTACTS")
    assert outcome.refused_contacts is not None
    return with_marks(delivery, outcome.refused_contacts)


def with_marks(delivery: Delivery, marks: str) -> Delivery:
    return replace(delivery, chat=replace(delivery.chat, refused_contacts=marks))


@pytest.mark.parametrize(
    ("reason", "left"),
    [
        ("The e-mail address is wrong", {"phone": "+79991"}),
        ("Неверный E-Mail.", {"phone": "+79991"}),
        ("Неверный номер телефона", {"email": "a@b.example"}),
        ("Ungültige Telefonnummer", {"email": "a@b.example"}),
        ("user.email, user.phone", {}),
        ("Error 5", {}),
    ],
)
def test_a_refused_message_goes_again_without_the_contacts_that_are_named(
    reason: str, left: dict[str, str]
) -> None:
    again = refused(BOTH, reason)

    assert isinstance(again, Delivery)
    assert contacts_of(again.chat) == left
    assert (
        contacts_of(replace(again.chat, email="c@d.example", phone="+7"))["email"] == "c@d.example"
    )


def test_contacts_that_were_not_to_blame_are_sent_with_the_next_message() -> None:
    again = refused(BOTH, "Error 5")
    assert isinstance(again, Delivery)

    failed = to_result(again, ItemResult(False, ("Error 5",)), NOW)
    taken = to_result(again, TAKEN, NOW)

    assert (failed.state, failed.error, failed.refused_contacts) == ("failed", "Error 5", "")
    assert taken.state == "delivered"
    proven = replace(again.chat, refused_contacts=taken.refused_contacts or "")
    assert contacts_of(proven) == {}
    other = replace(again, chat=proven, message=replace(again.message, id=2))
    assert to_result(other, TAKEN, NOW).refused_contacts is None


def test_contacts_are_not_to_blame_where_another_message_of_the_chat_was_taken() -> None:
    assert refused(BOTH, "Error 5", taken=True) == "Error 5"


def test_a_message_without_contacts_fails_at_once() -> None:
    assert refused(TEXT, "The e-mail address is wrong") == "The e-mail address is wrong"


@pytest.mark.parametrize(
    ("delivery", "result", "outcome"),
    [
        (TEXT, TAKEN, Outcome(TEXT, "delivered", dialog=HERE)),
        # Accepted, and no session named: nobody knows whether it is stored.
        (
            TEXT,
            ItemResult(True, portal_user_id=2001),
            Outcome(TEXT, "in doubt", "NO_SESSION", NOW + 1, dialog=PortalDialog(None, 2001)),
        ),
        (TEXT, ItemResult(False, ("no such user",)), Outcome(TEXT, "failed", "no such user")),
        (TEXT, ItemResult(False, ("a", "b")), Outcome(TEXT, "failed", "a; b")),
        # A file that the portal could not fetch goes once more, as a link.
        (WITH_FILE, replace(TAKEN, files=1), Outcome(WITH_FILE, "delivered", dialog=HERE)),
        (WITH_FILE, TAKEN, Outcome(WITH_FILE, "delivered", dialog=HERE)),
        (
            WITH_FILE,
            replace(TAKEN, files=0),
            Outcome(WITH_FILE, "queued", "NO_FILE", file_as_link=True, dialog=HERE),
        ),
        (
            FILE_ALONE,
            ItemResult(False, ("no file",)),
            Outcome(FILE_ALONE, "queued", "NO_FILE", file_as_link=True),
        ),
        (WITH_FILE, ItemResult(False, ("bad text",)), Outcome(WITH_FILE, "failed", "bad text")),
        (LINK, replace(TAKEN, files=0), Outcome(LINK, "delivered", dialog=HERE)),
        (LINK, ItemResult(False, ("bad",)), Outcome(LINK, "failed", "bad")),
    ],
)
def test_what_an_answer_makes_of_a_message(
    delivery: Delivery, result: ItemResult, outcome: Outcome
) -> None:
    assert to_result(delivery, result, NOW + 1) == outcome


@pytest.mark.parametrize(
    ("delivery", "error", "state", "attempted"),
    [
        (TEXT, TryLater("NOT_CONNECTED", SEND), "queued", False),
        (TEXT, SetupFault("PORTAL_DELETED", SEND), "queued", False),
        (TEXT, OutcomeUnknown("NO_REPLY", SEND), "in doubt", True),
        (CONFIRMATION, TryLater("NOT_CONNECTED", SEND), "queued", False),
        (CONFIRMATION, OutcomeUnknown("NO_REPLY", SEND), "queued", True),
    ],
)
def test_what_an_error_makes_of_a_delivery(
    delivery: Delivery, error: BitrixError, state: str, attempted: bool
) -> None:
    outcome = to_error(delivery, error, NOW + 5)

    assert (outcome.state, outcome.attempted) == (state, attempted)
    assert (outcome.error, outcome.due) == (error.code, NOW + 5)


def history(files: int = 0) -> HistoryMessage:
    return HistoryMessage(
        10, 2001, "hello", NOW, ("1",), "", False, True, None, (AT_THE_PORTAL,) * files
    )


NO_SESSION = replace(TEXT, error="NO_SESSION")


@pytest.mark.parametrize(
    ("delivery", "found", "settled", "names_sessions", "verdict"),
    [
        (TEXT, history(), False, True, "arrived"),
        (TEXT, history(), True, False, "arrived"),
        (WITH_FILE, history(files=1), False, True, "arrived"),
        (WITH_FILE, history(), False, True, "arrived without its file"),
        (LINK, history(), False, True, "arrived"),
        # An operator has deleted it, so the portal shows its file no more.
        (WITH_FILE, replace(history(), deleted=True), False, True, "arrived"),
        (TEXT, "absent", False, True, "not known yet"),
        (TEXT, "hidden", False, True, "not known yet"),
        (TEXT, "absent", True, True, "lost"),
        (TEXT, "hidden", True, True, "nobody can tell"),
        (TEXT, "hidden", True, False, "nobody can tell"),
        # A build that never names a session has taken the message all the same.
        (NO_SESSION, "hidden", True, False, "arrived"),
        (NO_SESSION, "hidden", False, False, "not known yet"),
        (NO_SESSION, "hidden", True, True, "nobody can tell"),
        (NO_SESSION, "absent", True, False, "lost"),
    ],
)
def test_what_a_look_makes_of_a_message_in_doubt(
    delivery: Delivery, found: Finding, settled: bool, names_sessions: bool, verdict: Verdict
) -> None:
    assert to_finding(delivery, found, settled, names_sessions) == verdict


@pytest.mark.parametrize(
    ("now", "pause", "again"),
    [
        (NOW + 1, 1.0, NOW + 2),  # the pause of a failure at least
        (NOW + 8, 1.0, NOW + 10),  # a quarter of the time since the answer was lost
        (NOW + 60, 1.0, NOW + 70),  # when it is settled at the latest
        (NOW + 1, 100.0, NOW + 70),
    ],
)
def test_a_message_is_looked_for_less_and_less_often(
    now: float, pause: float, again: float
) -> None:
    assert look_again_at(now, NOW, NOW + 70, pause) == again


def test_a_file_that_goes_as_a_link_is_no_file() -> None:
    assert [has_file(delivery) for delivery in (TEXT, WITH_FILE, LINK)] == [False, True, False]
