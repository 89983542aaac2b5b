"""Files: what the portal did not fetch follows as a link, and nothing goes twice."""

from dataclasses import replace

import pytest
from fake_portal import (
    DIALOG,
    LINK,
    NOW,
    SEND,
    SESSION,
    TAKEN,
    USER,
    FakePortal,
    attach_file,
    chat_id,
    lose_the_answer,
    refused_item,
    run,
    run_each,
    said,
    states,
    write,
)

from delivery.worker import Worker
from rest.errors import Refused
from rest.replies import ItemResult
from storage import Store

NOT_FETCHED = replace(TAKEN, files=0)


def write_with_file(store: Store, text: str) -> None:
    write(store, text)
    attach_file(store, store.conversations.latest(chat_id(1), None, 1)[-1].id)


def test_a_file_that_the_portal_did_not_fetch_follows_as_a_link(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = NOT_FETCHED
    write_with_file(store, "see this")
    write(store, "next")

    run(worker, NOW)

    assert bitrix.sent == [["see this"], [LINK], ["next"]]
    sent = [item for call in bitrix.made("send") for item in call.items]
    assert [item["message"]["id"] for item in sent] == ["1", "1-link", "2"]
    assert states(store) == ["delivered"] * 2


@pytest.mark.parametrize("fetched", [1, None])
def test_a_file_that_the_portal_fetched_or_says_nothing_of_is_sent_once(
    store: Store, bitrix: FakePortal, worker: Worker, fetched: int | None
) -> None:
    bitrix.says["send"] = replace(TAKEN, files=fetched)
    write_with_file(store, "see this")

    run(worker, NOW)

    assert bitrix.sent == [["see this"]]
    assert states(store) == ["delivered"]


def test_a_file_without_words_that_is_refused_follows_as_a_link(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of "] = refused_item("no file")
    write_with_file(store, "")

    run(worker, NOW)

    assert bitrix.sent == [[""], [LINK]]
    assert states(store) == ["delivered"]


def test_words_with_a_file_that_are_refused_are_not_sent_again(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send of see this"] = refused_item("no such user")
    write_with_file(store, "see this")

    run(worker, NOW)

    assert bitrix.sent == [["see this"]]
    assert states(store) == ["refused"]


def test_a_file_that_was_accepted_without_a_session_is_looked_for_first(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    write(store, "first")
    run(worker, NOW)
    bitrix.says["send"] = ItemResult(True, files=0)
    write_with_file(store, "see this")

    run(worker, NOW)

    assert bitrix.sent == [["first"], ["see this"]]
    assert states(store) == ["delivered", "stored"]


@pytest.mark.parametrize(
    ("files", "sent"), [((), [[LINK], ["third"]]), (({"name": "a.pdf"},), [["third"]])]
)
def test_after_a_lost_answer_only_a_file_that_is_not_at_the_portal_follows_as_a_link(
    store: Store,
    bitrix: FakePortal,
    worker: Worker,
    files: tuple[dict[str, str], ...],
    sent: list[list[str]],
) -> None:
    lose_the_answer(store, bitrix, worker)
    attach_file(store, 2)
    bitrix.histories[DIALOG] = [said(11, "2", files=files)]

    run(worker, NOW + 3)

    assert bitrix.sent == sent
    assert states(store) == ["delivered"] * 3


def test_the_answer_to_a_message_whose_file_follows_names_the_dialog(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = NOT_FETCHED
    write_with_file(store, "see this")

    worker.step(NOW)

    chat = store.chats.find(chat_id(1))
    assert chat is not None
    assert (chat.portal_chat_id, chat.portal_user_id, chat.session_id) == (DIALOG, USER, SESSION)


def test_a_link_does_not_wait_for_the_refusals_of_its_message(
    store: Store, bitrix: FakePortal, worker: Worker
) -> None:
    bitrix.says["send"] = [Refused("BAD", SEND)] * 3
    bitrix.says["send of see this"] = NOT_FETCHED
    write_with_file(store, "see this")

    run_each(worker, range(30))

    assert bitrix.sent == [["see this"]] * 4 + [[LINK]]
