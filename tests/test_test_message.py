"""A test message goes the way of a visitor's message, and its state can be asked."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operations import test_message
from settings import Settings
from storage import Store
from store.records import Chat, Limits, OperatorMessage, TooMany, VisitorMessage

NOW = 1_790_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.open()
        yield store


def send(store: Store, **values: object) -> int:
    return test_message.send(store, Settings(), NOW, **values)  # type: ignore[arg-type]


def test_it_is_queued_for_the_line_that_new_visitors_get(store: Store) -> None:
    store.portal.connect_line(7, NOW)
    store.portal.connect_line(12, NOW + 1)

    number = send(store, language="ru")

    (delivery,) = store.database.rows("select * from deliveries")
    assert delivery["message_id"] == number
    message = store.messages.find(number)
    assert message is not None
    chat = store.chats.find(message.chat_id)
    assert chat is not None
    assert (chat.name, chat.line) == ("Тест", 12)
    assert "Проверка" in message.text
    assert test_message.state(store, number) == test_message.TestState("stored", None, 12, False)


def test_each_line_has_a_test_chat_of_its_own(store: Store) -> None:
    store.portal.connect_line(7, NOW)
    store.portal.connect_line(12, NOW + 1)
    numbers = [send(store, line=line) for line in (7, 12, 7)]

    chats = [store.messages.find(number).chat_id for number in numbers]  # type: ignore[union-attr]

    assert chats[0] == chats[2] != chats[1]
    states = [test_message.state(store, number) for number in numbers]
    assert [one.line for one in states if one] == [7, 12, 7]


def test_without_a_line_it_waits_and_says_so(store: Store) -> None:
    state = test_message.state(store, send(store))

    assert state == test_message.TestState("stored", None, None, False)


def test_an_operators_answer_is_seen(store: Store) -> None:
    store.portal.connect_line(7, NOW)
    number = send(store)
    chat_id = store.messages.find(number).chat_id  # type: ignore[union-attr]
    answer = OperatorMessage(
        chat_id=chat_id, line=7, im_chat_id=5120, im_message_id=9, author="operator", name="Olga",
        text="I see it", text_html="I see it", files=(), attached="", files_html="",
        asks_vote=False, own_ids=(),
    )  # fmt: skip
    store.messages.add_from_operators([answer], NOW + 5)

    state = test_message.state(store, number)

    assert state is not None
    assert state.answered


def test_of_a_visitors_message_nothing_is_told(store: Store) -> None:
    chat = Chat("chat" + "a" * 64, "Anna", "", "", "", None, NOW, NOW, None, None, None, None)
    message = VisitorMessage(chat, "hello")
    number = store.messages.add_from_visitor(message, Limits("x", 9, 9), NOW).id

    assert test_message.state(store, number) is None
    assert test_message.state(store, number + 1) is None


def test_nobody_floods_the_operators_with_tests(store: Store) -> None:
    for _ in range(test_message.PER_MINUTE):
        send(store)

    with pytest.raises(TooMany):
        send(store)
