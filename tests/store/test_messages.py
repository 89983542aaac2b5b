"""Visitors' messages, the history and what has changed in it, the HTML of an earlier renderer."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from store_parts import (
    CHAT,
    FAILURES,
    LIMITS,
    NOW,
    OTHER,
    PRICE,
    RENDERER,
    THIRD,
    accept,
    answer,
    due,
    found,
    history,
    only_message,
    refuse,
    visitor,
    write,
)

from storage import Store
from store.records import Outcome, VisitorMessage
from store.rows import A_MILLISECOND

# -- visitors' messages


def test_a_visitors_message_is_stored_with_all_it_came_with(store: Store) -> None:
    written = store.messages.add_from_visitor(
        VisitorMessage(visitor(), "a < b", "<p>a &lt; b</p>", "uuid-1"), LIMITS, NOW
    )

    message = only_message(store)
    assert message == written
    assert (message.chat_id, message.author, message.name) == (CHAT, "visitor", "Anna")
    assert (message.text, message.html) == ("a < b", "<p>a &lt; b</p>")
    assert (message.sent_at, message.state, message.error) == (NOW, "stored", None)
    assert (message.client_id, message.im_message_id) == ("uuid-1", None)
    assert (message.edited, message.deleted, message.files) == (False, False, ())
    assert (message.renderer, type(message.position)) == (written.renderer, type(written.position))

    with_file = VisitorMessage(visitor(), "", file=replace(PRICE, key="k"), file_html="<i>f</i>")
    written = store.messages.add_from_visitor(with_file, LIMITS, NOW + 1)
    assert store.messages.find(written.id) == written


def test_every_character_of_a_text_is_kept(store: Store) -> None:
    text = "\"quotes\" 'single' <b> 😀 Привет\r\n\ttab ; -- ? %s \\ \u202e"

    write(store, text)

    assert history(store) == [text]


def test_a_message_is_stored_with_its_delivery_or_not_at_all(store: Store) -> None:
    write(store, "before")
    refuse(store, "insert on deliveries")

    with pytest.raises(FAILURES):
        write(store, "lost", OTHER, client_id="uuid-1")
    with pytest.raises(FAILURES):
        write(store, "lost", client_id="uuid-1", name="Maria", now=NOW + 1)

    assert store.conversations.latest(OTHER, None, 50) == []
    assert store.chats.find(OTHER) is None
    assert history(store) == ["before"]
    assert (found(store).name, found(store).active_at) == ("Anna", NOW)
    assert store.queue.waiting() == 1
    accept(store)
    write(store, "kept", client_id="uuid-1")
    assert history(store) == ["before", "kept"], "it can be sent again"
    assert store.queue.waiting() == 2


def test_the_same_client_id_gives_the_message_stored_first(store: Store, second: Store) -> None:
    first = write(store, "first", client_id="uuid-1")

    assert write(store, "again", client_id="uuid-1", now=NOW + 1) == first
    assert write(second, "again", client_id="uuid-1", now=NOW + 2) == first

    assert history(store) == ["first"]
    assert store.queue.waiting() == 1
    assert found(store).active_at == NOW


def test_another_chat_may_use_the_same_client_id(store: Store) -> None:
    first = write(store, "first", client_id="uuid-1")
    other = write(store, "other", chat=OTHER, client_id="uuid-1")

    assert other.id != first.id
    assert history(store, OTHER) == ["other"]


def test_messages_without_a_client_id_are_all_stored(store: Store) -> None:
    write(store, "same")
    write(store, "same")

    assert history(store) == ["same", "same"]
    assert store.queue.waiting() == 2


# -- the history


def test_the_history_can_be_read_page_by_page_to_its_beginning(store: Store) -> None:
    for number in range(1, 8):
        write(store, str(number))
        write(store, f"other {number}", chat=OTHER)

    pages, before = [], None
    while page := store.conversations.latest(CHAT, before, 3):
        pages.append([message.text for message in page])
        before = page[0].id

    assert pages == [["5", "6", "7"], ["2", "3", "4"], ["1"]], "each oldest first"


def test_the_versions_of_a_page_are_those_of_its_messages(store: Store) -> None:
    write(store)
    store.messages.add_from_operators([answer()], NOW)
    assert store.messages.edit(answer(text="Good evening"), NOW)

    messages = store.conversations.latest(CHAT, None, 50)

    versions = [message.version for message in reversed(messages)]
    assert len(versions) == 2
    assert store.conversations.latest_versions(CHAT, None, 50) == versions


def test_a_page_before_the_first_message_or_of_no_chat_is_empty(store: Store) -> None:
    first = write(store)

    assert store.conversations.latest(CHAT, first.id, 50) == []
    assert store.conversations.latest(CHAT, 0, 50) == []
    assert store.conversations.latest(OTHER, None, 50) == []


# -- what has changed


def test_every_change_gives_the_next_revision(store: Store) -> None:
    def revision() -> int:
        return max(message.revision for message in store.conversations.latest(CHAT, None, 50))

    write(store)
    seen = [revision()]
    for change in (
        lambda: store.messages.add_from_operators([answer()], NOW),
        lambda: store.messages.edit(answer(text="edited"), NOW),
        lambda: store.queue.record([Outcome(due(store)[0], "delivered")], NOW),
        lambda: store.messages.take_back(answer(text=""), NOW),
    ):
        change()
        seen.append(revision())

    assert seen == sorted(set(seen))


def test_a_revision_has_the_time_of_the_database_and_not_of_the_host(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may know a change that a failover has lost; what comes later has a higher number."""
    before = time.time()
    monkeypatch.setattr("time.time", lambda: before - 86_400)

    revision = write(store).revision

    assert abs(revision / A_MILLISECOND / 1000 - before) < 60


def test_what_changed_after_a_revision_is_given_first_change_first(store: Store) -> None:
    messages = [write(store, f"{number}") for number in range(5)]
    write(store, "of another", OTHER)

    changed = store.conversations.changed_after(CHAT, messages[1].revision, 2)

    assert [message.text for message in changed] == ["2", "3"]
    assert store.conversations.changed_after(CHAT, messages[4].revision, 2) == []


def test_which_chats_changed_is_told_with_their_owners(store: Store) -> None:
    message = write(store)
    latest, chats = store.messages.chats_changed_after(0)
    assert (latest, chats) == (message.revision, {CHAT})
    assert store.messages.chats_changed_after(latest) == (latest, set())

    write(store, "other", OTHER)
    store.chats.make_part(OTHER, THIRD)

    after, chats = store.messages.chats_changed_after(latest)
    assert after == store.messages.revision() > latest
    assert chats == {OTHER, THIRD}


def test_each_chat_knows_the_portals_ids_of_its_own_messages(store: Store) -> None:
    write(store, "one")
    store.messages.add_from_operators([answer(10), answer(11, chat_id=OTHER, im_chat_id=6000)], NOW)

    assert store.messages.known_im_message_ids(CHAT) == {10}


# -- the HTML of an earlier renderer


def test_messages_of_an_earlier_renderer_are_found_and_rendered_anew(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    written = write(store)
    assert store.rendering.to_render(10) == []

    with closing(Store(store_url, tmp_path, RENDERER + 1)) as newer:
        (old,) = newer.rendering.to_render(10)
        assert old == written
        newer.rendering.save_rendered({old: ("<p>new</p>", "file")})

        assert newer.rendering.to_render(10) == []
        (rendered,) = newer.conversations.latest(CHAT, None, 50)

    assert rendered == replace(written, text_html="<p>new</p>", files_html="file")


def test_messages_of_the_oldest_renderer_come_first(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    for number in range(3):
        write(store, f"{number}")
    with store.database.write() as db:
        db.execute("update messages set renderer = 4 where text = '1'")
        db.execute("update messages set renderer = 5 where text = '2'")

    with closing(Store(store_url, tmp_path, 5)) as newer:
        assert [message.text for message in newer.rendering.to_render(10)] == ["0", "1"]
        (oldest,) = newer.rendering.to_render(1)
        assert oldest.text == "0"
        before = newer.messages.revision()
        newer.rendering.save_rendered({oldest: ("new", "")})
        assert [message.text for message in newer.rendering.to_render(10)] == ["1"]
        assert newer.messages.revision() == before, "no page need hear of it"
        assert newer.conversations.latest(CHAT, None, 3)[0].html == "new"


def test_a_release_beside_a_newer_one_leaves_its_html_and_says_what_is_left_to_do(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    """Until the last host is updated, both write; what the earlier one writes is done again."""
    store.messages.add_from_operators([answer(1), answer(2, incomplete=True), answer(3)], NOW)
    before = store.conversations.latest(CHAT, None, 10)
    with closing(Store(store_url, tmp_path, RENDERER + 1)) as newer:
        newer.rendering.save_rendered(dict.fromkeys(before, ("new", "new file")))

        store.rendering.save_rendered(dict.fromkeys(before, ("old", "old file")))
        assert store.rendering.to_render(10) == newer.rendering.to_render(10) == []
        assert {one.text_html for one in store.conversations.latest(CHAT, None, 10)} == {"new"}

        store.messages.edit(answer(1, "edited"), NOW, queued_at=5)
        store.messages.edit(answer(2, "edited", incomplete=True), NOW, queued_at=5)
        newer.rendering.save_rendered(
            dict.fromkeys(newer.rendering.to_render(10), ("new", "new file"))
        )
        store.messages.add_from_operators([answer(2)], NOW)  # now its files are known, too
        left = newer.rendering.to_render(10)

        assert store.rendering.to_render(10) == []
        assert [(one.im_message_id, one.files_html) for one in left] == [(2, "price.pdf")]
        edited = store.conversations.latest(CHAT, None, 10)[0]
        assert (edited.text, edited.text_html) == ("edited", "new")


def test_an_edit_that_is_made_while_its_message_is_rendered_again_stays(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    store.messages.add_from_operators([answer(10, "original"), answer(11, "other")], NOW)
    with closing(Store(store_url, tmp_path, 5)) as newer:
        read = newer.rendering.to_render(10)
        store.messages.edit(answer(10, "edited"), NOW, 100)

        newer.rendering.save_rendered(dict.fromkeys(read, ("new", "file")))

        assert [message.text for message in newer.rendering.to_render(10)] == ["edited"]
        html = [message.html for message in newer.conversations.latest(CHAT, None, 10)]
    assert html == ["<p>edited</p><br>price.pdf", "new<br>file"]
