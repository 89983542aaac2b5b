"""`import-tutorial`: the folder of Bitrix24's own example in PHP, whole and broken."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_parts import Site, answer, everything, write
from tutorial_parts import LINE, ORIGIN, Example, chat_id_of

from app import create_app
from settings import Bitrix24Settings, Settings, StorageSettings
from store.records import Message

ANNA, BORIS = chat_id_of("anna5anna5anna5anna5anna5a"), chat_id_of("boris5boris5boris5boris5bo")
SESSION = "anna5anna5anna5anna5anna5a"
PORTAL = "https://company.bitrix24.ru"
APP = "local.0123456789abcd.01234567"
TYPED = '<b>5 > 3</b> & "O\'Neil" &amp; [i]Привет[/i] 👍 https://shop.example/a?b=1&c=2'


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """Two conversations, of which one has an answer with a file."""
    example = Example(tmp_path / "example")
    example.connect()
    example.write(ANNA, TYPED, 1_700_000_000, name="Anna O'Neil")
    example.answer(ANNA, "Good morning!", 903311, 5120)
    example.write(ANNA, "Second", 1_700_000_060, name="Anna O'Neil")
    file = {"name": "price.pdf", "type": "file", "link": f"{PORTAL}/~abc", "size": "10"}
    example.answer(ANNA, "See", 903312, 5120, files=[file])
    example.write(BORIS, "Hello", 1_700_000_030)
    return example


def messages(site: Site, chat_id: str) -> list[Message]:
    with site.store() as store:
        return store.conversations.latest(chat_id, None, 100)


def test_chats_come_over_in_their_order_as_they_were_typed(site: Site, example: Example) -> None:
    done = site.run("import-tutorial", example.folder)

    assert (done.code, done.error) == (0, ""), done
    anna = messages(site, ANNA)
    assert [(one.author, one.text, one.sent_at) for one in anna] == [
        ("visitor", TYPED, 1_700_000_000),
        ("operator", "Good morning!", 1_700_000_000),
        ("visitor", "Second", 1_700_000_060),
        ("operator", "See", 1_700_000_060),
    ]
    assert [one.state for one in anna] == ["delivered", "stored", "delivered", "stored"]
    assert [one.im_message_id for one in anna] == [None, 903311, None, 903312]
    assert anna[1].name == "Olga Petrova"
    assert "<b>5" not in anna[0].html
    assert [file.name for file in anna[3].files] == ["price.pdf"]
    assert [one.text for one in messages(site, BORIS)] == ["Hello"]
    with site.store() as store:
        chat = store.chats.find(ANNA)
        assert chat is not None
        assert (chat.name, chat.page) == ("Anna O'Neil", f"{ORIGIN}/index.php?a=1&b=2")
        assert (chat.line, chat.portal_chat_id, chat.created_at) == (LINE, None, 1_700_000_000)
        assert store.dialogs.find([5120]) == {}, "the portal has not said whose dialog it is"
        assert store.portal.active_lines() == [LINE]
        assert store.queue.waiting() == 0, "the portal has had all of it"


def test_a_repeat_takes_in_what_has_come_since(site: Site, example: Example) -> None:
    site.run("import-tutorial", example.folder)
    example.write(ANNA, "Third", 1_700_000_090)

    done = site.run("import-tutorial", example.folder, "--json")

    assert (done.json["chats"], done.json["messages"]) == (1, 1)
    assert [one.text for one in messages(site, ANNA)][-2:] == ["See", "Third"]
    assert site.run("import-tutorial", example.folder, "--json").json["messages"] == 0


def test_the_past_comes_before_what_was_written_here(site: Site, example: Example) -> None:
    site.run("import-tutorial", example.folder)
    other = site.elsewhere()
    with other.store() as store:
        write(store, "written here", ANNA)

    other.run("import-tutorial", example.folder)

    assert [one.text for one in messages(other, ANNA)][-2:] == ["See", "written here"]


def test_a_number_of_bitrix24_is_no_proof_for_whom_a_message_is(
    site: Site, example: Example
) -> None:
    """The example's handler asks nobody who they are: anybody could write into their own chat."""
    stranger = chat_id_of("eve", ORIGIN)
    example.answer(stranger, "forged", 903312, 5120)  # a number of Anna's
    example.answer(stranger, "forged, too", 903400, 5120)  # one that is still to come

    done = site.run("import-tutorial", example.folder)

    assert "2 messages came over without their numbers" in done.output
    assert [one.im_message_id for one in messages(site, ANNA)] == [None, 903311, None, None]
    assert [one.im_message_id for one in messages(site, stranger)] == [None, 903400]
    with site.store() as store:
        [told] = store.messages.add_from_operators([answer("for Anna", 903400, ANNA)], time.time())
        assert (told.text, told.im_message_id) == ("for Anna", 903400)
        assert store.dialogs.find([5120])[5120].chat.id == ANNA, "the portal has said so"
        assert store.messages.known_im_message_ids(stranger) == set()
        known = store.messages.add_from_operators([answer("again", 903311, ANNA)], time.time())
        assert known == [], "within its own chat the number tells what is here already"
    site.run("import-tutorial", example.folder)
    assert len(messages(site, ANNA)) == 5
    assert len(messages(site, stranger)) == 2
    with site.store() as store:
        assert store.messages.known_im_message_ids(ANNA) == {903311, 903400}


@pytest.mark.parametrize("date", [3.9e9, 1e300, "Infinity", -1])
def test_no_message_is_of_the_future(site: Site, example: Example, date: Any) -> None:
    example.write(BORIS, "from the future", date)
    path = example.file(BORIS)
    path.write_text(path.read_text().replace('"Infinity"', "1e999"))

    assert site.run("import-tutorial", example.folder).code == 0

    assert messages(site, BORIS)[-1].sent_at <= time.time()


def test_a_link_in_the_folder_of_chats_leads_nowhere(site: Site, example: Example) -> None:
    secret = site.folder / "secret.txt"
    example.file(BORIS).rename(secret)
    example.file(BORIS).symlink_to(secret)

    done = site.run("import-tutorial", example.folder, "--json")

    assert [one["file"] for one in done.json["problems"]] == [f"chats/{BORIS}.txt"]
    assert messages(site, BORIS) == []


def test_a_long_past_comes_before_what_was_written_here(site: Site, tmp_path: Path) -> None:
    past = [f"past {number}" for number in range(450)]
    example = Example(tmp_path / "example")
    for number, text in enumerate(past):
        example.write(ANNA, text, 1_700_000_000 + number)
    with site.store() as store:
        write(store, "written here", ANNA)

    for expected in (450, 0):
        done = site.run("import-tutorial", example.folder, "--json")
        assert (done.code, done.json["messages"]) == (0, expected)
        with site.store() as store:
            texts = [one.text for one in store.conversations.latest(ANNA, None, 1_000)]
        assert texts == [*past, "written here"]


def test_what_the_example_took_until_the_switch_comes_before_what_was_written_here(
    site: Site, example: Example
) -> None:
    """Also where more comes between two messages than there are numbers between their places."""
    site.run("import-tutorial", example.folder)
    with site.store() as store:
        write(store, "here 1", ANNA)
        write(store, "here 2", ANNA)
        hours_ago = time.time() - 7_200
        with store.database.write() as db:
            [one, two] = db.execute(
                "select id, position from messages where text like 'here%' order by position"
            ).fetchall()
            put = "update messages set sent_at = ?, position = ? where id = ?"
            db.execute(put, (hours_ago, one["position"], one["id"]))
            db.execute(put, (hours_ago + 3_600, one["position"] + 1, two["id"]))
    for number in range(10):
        example.write(ANNA, f"before {number}", int(hours_ago) - 20 + number)
    example.answer(ANNA, "an answer before", 903320, 5120)
    for number in range(10):
        example.write(ANNA, f"between {number}", int(hours_ago) + 20 + number)
    example.answer(ANNA, "an answer between", 903321, 5120)
    example.write(ANNA, "after", int(hours_ago) + 4_000)

    site.run("import-tutorial", example.folder)

    assert [one.text for one in messages(site, ANNA)] == [
        *(TYPED, "Good morning!", "Second", "See"),
        *(f"before {number}" for number in range(10)),
        *("an answer before", "here 1"),
        *(f"between {number}" for number in range(10)),
        *("an answer between", "here 2", "after"),
    ]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() + path.read_bytes()[-30:])


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: dict[str, Callable[[Path], Any]] = {
    "cut off": cut,
    "written twice": twice,
    "empty": lambda path: path.write_text(""),
    "null": lambda path: path.write_text("null"),
    "a text": lambda path: path.write_text('"text"'),
    "no UTF-8": lambda path: path.write_bytes(b'{"message0": "\xcf\xf0"}'),
    "deep": lambda path: path.write_text("[" * 100_000),
    "a huge number": lambda path: path.write_text("1" * 10_000),
    "no messages": lambda path: path.write_text('{"message0": 7, "message1": {"message": []}}'),
    "a folder": as_folder,
}


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_and_left_and_the_others_come_over(
    site: Site, example: Example, spoil: Callable[[Path], Any]
) -> None:
    spoil(example.file(ANNA))

    done = site.run("import-tutorial", example.folder, "--json")

    assert done.code == 1
    assert done.error == ""
    assert f"chats/{ANNA}.txt" in {one["file"] for one in done.json["problems"]}
    assert example.file(ANNA).exists()
    assert messages(site, ANNA) == []
    assert [one.text for one in messages(site, BORIS)] == ["Hello"]


def test_of_a_file_with_broken_messages_the_good_ones_come_over(
    site: Site, example: Example
) -> None:
    good = example.saved[ANNA]
    good["message4"] = None
    good["message5"] = {"message": {"text": "", "date": 1}, "user": {}, "chat": {}}
    good["message6"] = {"im": {"chat_id": "x", "message_id": "-1"}, "message": {"text": "a"}}
    good["message7"] = {"im": {"chat_id": "5120"}, "message": {"text": "a"}}
    good["message8"] = {"message": {"text": ["a list"]}}
    example.write(ANNA, "half \ud83d a letter\0", 1_700_000_999)

    done = site.run("import-tutorial", example.folder, "--lang", "ru")

    assert done.code == 1
    assert [line.split(":")[0] for line in done.output.splitlines() if "пропущено" in line] == [
        f"chats/{ANNA}.txt, message{number}" for number in range(4, 9)
    ]
    assert [one.text for one in messages(site, ANNA)][4:] == ["half ? a letter"]


@pytest.mark.parametrize("name", ["notes.txt", "chat123.txt", f"{ANNA} (1).txt", "index.html"])
def test_a_file_that_is_no_chat_is_named_if_it_may_be_meant_as_one(
    site: Site, example: Example, name: str
) -> None:
    (example.folder / "chats" / name).write_text("{}")

    done = site.run("import-tutorial", example.folder, "--json")

    named = [one["file"] for one in done.json["problems"]]
    assert named == ([f"chats/{name}"] if name.endswith(".txt") else [])
    assert done.json["messages"] == 5


@pytest.mark.parametrize("line", ["", "0", "-7", "seven", "7.5", "7" * 30])
def test_a_broken_line_number_is_named_and_the_chats_come_over(
    site: Site, example: Example, line: str
) -> None:
    example.connect(line)

    done = site.run("import-tutorial", example.folder, "--json")

    assert [one["file"] for one in done.json["problems"]] == ["line_id.txt"]
    assert (done.json["line"], done.json["messages"]) == (None, 5)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\xff"])
def test_broken_settings_are_named_and_the_chats_come_over(
    site: Site, example: Example, content: str
) -> None:
    (example.folder / "settings.json").write_bytes(content.encode("latin-1"))

    done = site.run("import-tutorial", example.folder, "--json")

    assert [one["file"] for one in done.json["problems"]] == ["settings.json"]
    assert done.json["messages"] == 5


def settle(site: Site, **besides: str) -> None:
    given = {"PORTAL": PORTAL, "CLIENT_ID": APP, "CLIENT_SECRET": "x" * 50} | besides
    for key, value in given.items():
        site.patch.setenv(f"SITECHAT_BITRIX24__{key}", value)


def test_the_tokens_of_the_same_application_come_over(site: Site, example: Example) -> None:
    example.keep_settings(PORTAL, APP, member_id="a-member", user_id="1")
    settle(site)

    done = site.run("import-tutorial", example.folder)

    assert "tokens were taken over" in done.output
    with site.store() as store:
        portal = store.portal.find()
        assert portal is not None
        assert (portal.refresh_token, portal.member_id) == ("a-refresh-token", "a-member")
        assert portal.application_token == "", "APP_SID is often another value"
        assert portal.expires_at == 0.0
    for secret in ("an-old-access-token", "a-refresh-token", "a secret"):
        assert secret not in done.output


@pytest.mark.parametrize(
    "besides", [{"CLIENT_ID": "local.another.application"}, {"CLIENT_SECRET": ""}]
)
def test_the_tokens_of_another_application_do_not(
    site: Site, example: Example, besides: dict[str, str]
) -> None:
    example.keep_settings(PORTAL, APP)
    settle(site, **besides)

    done = site.run("import-tutorial", example.folder)

    assert "Install the application in Bitrix24 now" in done.output
    with site.store() as store:
        assert store.portal.find() is None


def test_the_folder_of_another_portal_is_refused(site: Site, example: Example) -> None:
    example.keep_settings("https://another.bitrix24.ru", APP)
    settle(site)

    done = site.run("import-tutorial", example.folder)

    assert done.code == 1
    assert "another.bitrix24.ru" in done.error
    assert not (site.chats / "chats.db").exists()


def test_another_name_of_the_connector_is_told(site: Site, example: Example) -> None:
    code = "<?php\nfunction getConnectorID()\n{\n    return 'acme_chat';\n}\n"
    (example.folder / "function.php").write_text(code)

    assert 'connector.id = "acme_chat"' in site.run("import-tutorial", example.folder).output


@pytest.mark.parametrize("name", ["nowhere", "example/line_id.txt", "empty"])
def test_what_is_no_folder_of_the_example_is_told(site: Site, example: Example, name: str) -> None:
    (site.folder / "empty").mkdir()

    done = site.run("import-tutorial", site.folder / name)

    assert done.code == 1
    assert "not the folder" in done.error


def test_the_folder_of_the_chats_will_do(site: Site, example: Example) -> None:
    done = site.run("import-tutorial", example.folder / "chats", "--json")

    assert (done.json["messages"], done.json["line"]) == (5, LINE)


def application(site: Site) -> Any:
    url = f"sqlite:///{site.chats}/chats.db"
    storage = StorageSettings(url=url, files=str(site.files))
    return create_app(Settings(public_url=ORIGIN, storage=storage, bitrix24=Bitrix24Settings()))


def test_a_visitor_with_the_cookie_of_php_goes_on_in_the_chat(site: Site, example: Example) -> None:
    site.run("import-tutorial", example.folder)
    app = application(site)
    anna, stranger = app.test_client(), app.test_client()
    anna.set_cookie("PHPSESSID", SESSION, domain="chat.example")
    stranger.set_cookie("PHPSESSID", SESSION[::-1], domain="chat.example")

    def ask(client: Any, **fields: str) -> Any:
        return client.post("/ajax", data=fields, base_url=ORIGIN, headers={"Origin": ORIGIN})

    assert "Good morning!" in ask(anna, type="chat_history").text
    assert "Good morning!" not in ask(stranger, type="chat_history").text
    anna.delete_cookie("PHPSESSID", domain="chat.example")  # ours is known by now
    sent = ask(anna, type="send_message", message="I am still here").json
    assert sent["chat"] == ANNA
    assert ask(stranger, type="send_message", message="hello").json["chat"] != ANNA
    with site.store() as store:
        texts = [row["text"] for row in everything(store)["messages"] if row["chat_id"] == ANNA]
    assert texts[-1] == "I am still here"
