"""Which refused message the doctor tells of, and until when."""

import pytest
from store_parts import CHAT, LINE, NOW, OTHER, THIRD, sql, write

from storage import Store


def written(store: Store, text: str, state: str, line: int | None, chat: str = CHAT) -> int:
    """A visitor's message that has come to its end."""
    message = write(store, text, chat=chat)
    sql(store, f"update messages set state = '{state}' where id = {message.id}")
    if line is not None:
        sql(store, f"update chats set line = {line} where id = '{chat}'")
    return message.id


def test_a_refused_message_is_told_of_for_a_time(store: Store) -> None:
    written(store, "before", "delivered", LINE)
    refused = written(store, "refused", "refused", LINE)

    assert store.overview.refusal_to_tell(NOW - 1) == refused
    assert store.overview.refusal_to_tell(NOW + 1) is None


@pytest.mark.parametrize(
    ("chat", "line", "is_over"), [(CHAT, LINE, True), (OTHER, LINE, True), (OTHER, LINE + 1, False)]
)
def test_a_refusal_is_over_when_a_later_message_of_its_chat_or_line_was_taken(
    store: Store, chat: str, line: int, is_over: bool
) -> None:
    refused = written(store, "refused", "refused", LINE)
    written(store, "later", "delivered", line, chat)

    assert store.overview.refusal_to_tell(NOW - 1) == (None if is_over else refused)


def test_of_several_refusals_the_last_one_that_is_not_over_is_told(store: Store) -> None:
    lasts = written(store, "one", "refused", LINE + 1, OTHER)
    written(store, "two", "refused", LINE, CHAT)
    written(store, "three", "delivered", LINE, THIRD)

    assert store.overview.refusal_to_tell(NOW - 1) == lasts


def test_a_refusal_of_a_chat_without_a_line_ends_with_its_own_messages_alone(store: Store) -> None:
    refused = written(store, "refused", "refused", None)
    written(store, "later", "delivered", None, OTHER)
    assert store.overview.refusal_to_tell(NOW - 1) == refused

    written(store, "again", "delivered", None)
    assert store.overview.refusal_to_tell(NOW - 1) is None
