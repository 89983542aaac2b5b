"""What an error of Bitrix24 means: one table for every code, whatever its spelling."""

from typing import Any

import pytest

from rest.errors import (
    MEANINGS,
    OAUTH,
    BitrixError,
    Cause,
    OutcomeUnknown,
    Reach,
    Refused,
    SetupFault,
    TryLater,
    error_of_answer,
    error_of_page,
    may_go_on,
)

SEND = "imconnector.send.messages"
LOOK = "im.dialog.messages.get"
DIALOG = "imopenlines.dialog.get"
ITEM, LINE, METHOD, PORTAL = Reach.ITEM, Reach.LINE, Reach.METHOD, Reach.PORTAL
LIMIT = {"operating_reset_at": 1_790_000_600, "finish": 1_790_000_000}


def answered(code: Any, status: int, method: str = SEND, **more: Any) -> BitrixError:
    return error_of_answer({"error": code, **more}, method, status)


@pytest.mark.parametrize(
    ("error", "kind", "reach", "cause"),
    [
        # The limits of section 9.
        (answered("QUERY_LIMIT_EXCEEDED", 503), TryLater, PORTAL, Cause.BUSY),
        (answered("OPERATION_TIME_LIMIT", 429, time=LIMIT), TryLater, METHOD, Cause.BUSY),
        (answered("OPERATION_TIME_LIMIT", 429), TryLater, METHOD, Cause.BUSY),
        (answered("OVERLOAD_LIMIT", 503), SetupFault, PORTAL, Cause.BLOCKED),
        # A person has to act: for everything, or for one method.
        (answered("invalid_token", 401), SetupFault, PORTAL, Cause.TOKEN),
        (answered("expired_token", 401), SetupFault, PORTAL, Cause.TOKEN),
        (answered("NO_AUTH_FOUND", 401, LOOK), SetupFault, PORTAL, Cause.TOKEN),
        (answered("PORTAL_DELETED", 403), SetupFault, PORTAL, Cause.ENDED),
        (answered("PAYMENT_REQUIRED", 402), SetupFault, PORTAL, Cause.ENDED),
        (answered("NOBODY_KNOWS", 403), SetupFault, ITEM, Cause.SETUP),
        (answered("ACCESS_DENIED", 403), SetupFault, METHOD, Cause.SETUP),
        (answered("insufficient_scope", 403), SetupFault, METHOD, Cause.SETUP),
        (answered("ERROR_METHOD_NOT_FOUND", 404), SetupFault, METHOD, Cause.SETUP),
        # Dialogs may be closed to us; that stops nothing else.
        (answered("ACCESS_DENIED", 403, LOOK), Refused, ITEM, Cause.REFUSED),
        (answered("Insufficient_Scope", 403, LOOK), Refused, ITEM, Cause.REFUSED),
        (answered("ERROR_METHOD_NOT_FOUND", 404, DIALOG), Refused, ITEM, Cause.REFUSED),
        (answered("NOBODY_KNOWS", 403, LOOK), Refused, ITEM, Cause.REFUSED),
        (answered("DIALOG_NOT_FOUND", 400, DIALOG), Refused, ITEM, Cause.NOT_THERE),
        (answered("ERROR_CHAT_NOT_FOUND", 400, DIALOG), Refused, ITEM, Cause.NOT_THERE),
        (answered("ERROR_CHAT_NOT_FOUND", 400, LOOK), Refused, ITEM, Cause.REFUSED),
        # A line, an item, a binding that exists.
        (answered("not_active_line", 400), Refused, LINE, Cause.LINE_NOT_ACTIVE),
        (answered("IMCONNECTOR_NOT_ACTIVE_LINE", 400), Refused, LINE, Cause.LINE_NOT_ACTIVE),
        (answered({"error": "NOT_ACTIVE_LINE"}, 400), Refused, LINE, Cause.LINE_NOT_ACTIVE),
        (answered("ERROR_ARGUMENT", 400), Refused, ITEM, Cause.REFUSED),
        (
            answered("ERROR", 400, "event.bind", error_description="Handler already binded"),
            Refused, ITEM, Cause.IS_THERE,
        ),
        # The call had begun: nobody knows how far it came.
        (answered("ERROR_CORE", 500), OutcomeUnknown, LINE, Cause.UNREACHABLE),
        (answered("NOT_ACTIVE_LINE", 500), OutcomeUnknown, LINE, Cause.UNREACHABLE),
        (error_of_page(SEND, 502, False), OutcomeUnknown, LINE, Cause.UNREACHABLE),
        (error_of_page(SEND, 200, False), OutcomeUnknown, LINE, Cause.UNREACHABLE),
        # Somebody else answers for the portal.
        (error_of_page(SEND, 403, False), Refused, ITEM, Cause.NOT_A_PORTAL),
        (error_of_page(LOOK, 404, False), Refused, ITEM, Cause.NOT_A_PORTAL),
        (error_of_page(SEND, 413, False), Refused, ITEM, Cause.NOT_A_PORTAL),
        (error_of_page(SEND, 302, True), SetupFault, ITEM, Cause.NOT_A_PORTAL),
        (error_of_page(SEND, 429, False), TryLater, PORTAL, Cause.BUSY),
        # Whatever a token renewal runs into stops every call.
        (TryLater("NO_REPLY", OAUTH), TryLater, PORTAL, Cause.UNREACHABLE),
        (SetupFault("HTTP_404", OAUTH), SetupFault, PORTAL, Cause.NOT_A_PORTAL),
        (TryLater("NOT_CONNECTED", SEND), TryLater, PORTAL, Cause.UNREACHABLE),
        (TryLater("NOT_DONE", SEND), TryLater, LINE, Cause.UNREACHABLE),
    ],
)  # fmt: skip
def test_an_error_has_a_class_a_reach_and_a_cause(
    error: BitrixError, kind: type[BitrixError], reach: Reach, cause: Cause
) -> None:
    assert (type(error), error.reach, error.cause) == (kind, reach, cause)
    assert error.code == error.code.upper()


def test_every_code_is_judged_alike_in_any_spelling() -> None:
    for code, meaning in MEANINGS.items():
        for spelling in (code, code.lower(), code.title()):
            error = answered(spelling, 400)
            assert (type(error), error.reach, error.cause) == (
                meaning.kind,
                meaning.reach,
                meaning.cause,
            ), spelling


def test_only_a_full_bucket_is_a_full_bucket() -> None:
    assert answered("query_limit_exceeded", 503).fills_the_bucket
    assert not answered("OPERATION_TIME_LIMIT", 429, time=LIMIT).fills_the_bucket
    assert not TryLater("NOT_CONNECTED", SEND).fills_the_bucket


def test_only_an_expired_token_is_worth_a_new_one() -> None:
    assert answered("expired_token", 401).wants_a_new_token
    assert not answered("invalid_token", 401).wants_a_new_token


@pytest.mark.parametrize(
    ("code", "goes_on"),
    [("DIED", True), ("CONNECTION_LOST", True), ("NO_REPLY", False), ("HTTP_502", False),
     ("HTTP_504", True), ("HTTP_524", True),
     ("NO_SESSION", False), (None, False)],
)  # fmt: skip
def test_a_call_that_broke_off_may_go_on_at_the_portal(code: str | None, goes_on: bool) -> None:
    assert may_go_on(code) is goes_on
