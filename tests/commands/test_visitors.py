"""`forget`, `block`, `unblock` and `purge`."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_parts import (
    CHAT,
    DIALOG,
    KEY,
    LIMITS,
    OTHER,
    Site,
    chat,
    deliver,
    fill,
    keep_file,
    write,
)

from store.records import VisitorMessage
from web.identity import customer
from web.visitor import chat_id_of

DAY = 86_400.0


def texts(site: Site, chat_id: str = CHAT) -> list[str]:
    with site.store() as store:
        return [message.text for message in store.conversations.latest(chat_id, None, 100)]


@pytest.mark.parametrize("named", [CHAT, str(DIALOG), f"chat{DIALOG}", f" {CHAT.upper()} "])
def test_a_chat_is_forgotten_with_its_files_and_traces(site: Site, named: str) -> None:
    fill(site)
    with site.store() as store:
        write(store, "a secret that nobody may find")

    done = site.run("forget", named.replace("CHAT", "chat"))

    assert done.code == 0, done
    assert "stays there" in done.output
    assert texts(site) == []
    assert texts(site, OTHER) == ["in another chat"]
    assert not (site.files / CHAT).exists()
    for file in site.chats.glob("chats.db*"):
        assert b"a secret that nobody may find" not in file.read_bytes()


def test_all_chats_of_an_email_are_forgotten(site: Site) -> None:
    fill(site)

    done = site.run("forget", "ANNA@example.com", "--json")

    assert done.json["chats"] == [CHAT, OTHER]
    assert texts(site) == texts(site, OTHER) == []


SPELLINGS = {
    "info@xn--e1afmkfd.xn--p1ai": ("info@пример.рф", "INFO@ПРИМЕР.РФ", "Anna <info@Пример.рф>"),
    "Müller@Example.com": ("müller@example.com", "MÜLLER@EXAMPLE.COM", "mu\u0308ller@example.com"),
    "МАША@пример.рф": ("маша@xn--e1afmkfd.xn--p1ai", " Маша@Пример.РФ "),
    "a@example.com": ("<A@Example.com>", "a@example.com."),
}


@pytest.mark.parametrize(
    ("kept", "given"), [(kept, one) for kept, given in SPELLINGS.items() for one in given]
)
def test_an_email_is_known_in_any_spelling(site: Site, kept: str, given: str) -> None:
    fill(site)
    with site.store() as store:
        visitor = replace(chat("chat" + "c" * 64), email=kept)
        store.messages.add_from_visitor(VisitorMessage(visitor, "x", "x"), LIMITS, time.time())

    assert site.run("block", given, "--json").json == {"blocked": [visitor.id]}


@pytest.mark.parametrize(
    ("site_of", "page"),
    [
        ("https://chat.example", ""),
        ("https://shop.example", ""),
        ("https://*.cafe.example", ""),
        ("https://tea.cafe.example", "https://tea.cafe.example/menu?a=1"),
    ],
)
def test_a_customer_is_found_by_the_email_that_the_site_has_signed(
    site: Site, site_of: str, page: str
) -> None:
    fill(site)
    site.patch.setenv("SITECHAT_PUBLIC_URL", "https://chat.example/below")
    site.patch.setenv("SITECHAT_CHAT__SITES", '["https://shop.example", "https://*.cafe.example"]')
    with site.store() as store:
        name = customer(store.portal.secret_key(), site_of, "boss@shop.example")
        first = chat_id_of(site_of, name)
        own = replace(chat(first), email="", page=page)
        store.messages.add_from_visitor(VisitorMessage(own, "x", "x"), LIMITS, time.time())
        store.chats.delete(first, time.time())
        heir = replace(own, id=store.chats.latest_heir(first))
        store.messages.add_from_visitor(VisitorMessage(heir, "mine", "x"), LIMITS, time.time())

    assert site.run("forget", "BOSS@shop.example", "--json").json["chats"] == [heir.id]
    assert texts(site, heir.id) == []


def test_copies_that_still_hold_it_are_named(site: Site) -> None:
    fill(site)
    copy = site.chats / "before-schema-16.db"
    copy.touch()

    assert site.run("forget", CHAT, "--json").json["copies"] == [str(copy)]


@pytest.mark.parametrize("command", ["forget", "block", "unblock"])
@pytest.mark.parametrize(
    "named", ["", "chat", "Anna", "chat" + "9" * 64, "99", "nobody@example.com", "'; drop", "\0"]
)
def test_who_is_not_here_is_told_as_such(site: Site, command: str, named: str) -> None:
    fill(site)

    done = site.run(command, named)

    assert done.code == 1
    assert done.error.startswith("sitechat: ")
    assert len(texts(site)) == 4


def test_a_visitor_is_blocked_and_unblocked(site: Site) -> None:
    fill(site)

    assert site.run("block", CHAT).code == 0
    assert site.run("block", "--json").json == {"blocked": [CHAT]}
    assert CHAT in site.run("block").output
    assert site.run("unblock", CHAT).code == 0
    assert site.run("block", "--json").json == {"blocked": []}
    assert site.run("block").output == "Nobody is blocked.\n"
    assert "Nobody" in site.run("unblock", CHAT).error


def test_a_purge_removes_what_is_too_old(site: Site) -> None:
    fill(site)
    with site.store() as store:
        deliver(store)
        with store.database.write() as db:
            db.execute("update messages set sent_at = sent_at - ?", (40 * DAY,))
            db.execute("update chats set active_at = active_at - ?, created_at = 1", (40 * DAY,))
            db.execute("delete from deliveries")
        write(store, "new", OTHER)
    assert "0: everything is kept" in site.run("purge").error

    before = site.run("purge", "--days", 30, "--dry-run", "--json").json
    assert len(texts(site)) == 4
    site.patch.setenv("SITECHAT_CHAT__KEEP_DAYS", "30")
    done = site.run("purge", "--json").json

    assert done == before | {"dry_run": False}
    assert (done["messages"], done["files"], done["chats"]) == (5, 1, 1)
    assert texts(site) == []
    assert texts(site, OTHER) == ["new"]
    assert not (site.files / CHAT / KEY).exists()


def test_a_purge_removes_copies_that_are_as_old(site: Site) -> None:
    import os

    fill(site)
    old, young = site.chats / "before-schema-3.db", site.chats / "before-schema-4.db"
    folder = site.chats / "before-restore-20250101-000000"
    folder.mkdir()
    for path in (old, young, folder / "chats.db"):
        path.touch()
    for path in (old, folder):
        os.utime(path, (time.time() - 40 * DAY,) * 2)

    assert site.run("purge", "--days", 30, "--dry-run", "--json").json["copies"] == [str(young)]
    done = site.run("purge", "--days", 30)

    assert done.code == 0
    assert f"when you need it no more: {young}" in done.output
    assert str(old) not in done.output
    assert not old.exists()
    assert not folder.exists()
    assert young.exists()


def test_a_service_purges_by_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from files import Files
    from operations.retention import Retention

    fill(site)
    stop = threading.Event()
    with site.store() as store:
        keep_file(site, store, OTHER, "e" * 48)
        deliver(store)
        with store.database.write() as db:
            db.execute("update messages set sent_at = 1")
            db.execute("update chats set active_at = 1, created_at = 1")
            db.execute("delete from deliveries")
        monkeypatch.setattr("operations.retention.PURGE_SECONDS", 0.0)
        real = Retention(store, Files(site.files), 30)
        never = Retention(store, Files(site.files), 0)
        never.run(stop)  # ends at once
        assert len(store.conversations.latest(CHAT, None, 9)) == 4
        thread = threading.Thread(target=real.run, args=(stop,))
        thread.start()
        until = time.monotonic() + 20
        while store.chats.find(OTHER) and time.monotonic() < until:
            time.sleep(0.02)
        stop.set()
        thread.join()
        assert store.chats.find(CHAT) is store.chats.find(OTHER) is None
    assert list(Path(site.files).glob("*/*")) == []
