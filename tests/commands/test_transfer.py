"""`export` and `import`: everything goes on elsewhere, and what cannot be taken in is named."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from command_parts import CHAT, CONTENT, DIALOG, KEY, LINE, OTHER, Site, everything, fill, write

from delivery.reaction import RESTORED
from store.schema import MIGRATIONS

RENDERED = ("html", "files_html", "renderer")
QUEUED = ("id", "place", "called_at", "state", "error")


def exported(site: Site, *options: str) -> list[dict[str, Any]]:
    done = site.run("export", *options)
    assert (done.code, done.error) == (0, ""), done
    return [json.loads(line) for line in done.output.splitlines()]


def imported(site: Site, lines: list[Any]) -> Any:
    """What `import --json` says of these lines; a text is a line as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    done = site.run("import", "-", "--json", input="\n".join(texts) + "\n")
    assert done.error == "", done
    assert "error" not in done.json, done
    assert done.code == (1 if done.json["left"] else 0)
    return done.json


def kept(site: Site, *without: str) -> dict[str, Any]:
    with site.store() as store:
        return {
            table: [
                {key: value for key, value in row.items() if key not in without} for row in rows
            ]
            for table, rows in everything(store).items()
        }


def test_everything_goes_on_elsewhere(site: Site) -> None:
    fill(site)
    other = site.elsewhere()

    said = imported(other, exported(site))

    assert (said["chats"], said["messages"], said["files"], said["known"]) == (2, 5, 1, 0)
    assert said["same_key"] is True
    here, there = kept(site, *RENDERED, *QUEUED), kept(other, *RENDERED, *QUEUED)
    assert there == here
    with site.store() as store, other.store() as second:
        assert second.portal.secret_key() == store.portal.secret_key()
        assert (
            second.conversations.latest(CHAT, None, 9)[0].html == "delivered <strong>text</strong>"
        )
    assert (other.files / CHAT / KEY).read_bytes() == CONTENT


def test_a_message_stands_on_each_line_and_the_last_line_counts_them(site: Site) -> None:
    fill(site)

    lines = exported(site)

    assert [next(iter(line)) for line in lines[:2]] == ["sitechat", "secrets"]
    assert lines[-1] == {"end": {"messages": sum("message" in line for line in lines)}}
    assert "html" not in lines[-2]["message"]


def test_what_waited_is_looked_for_first_where_the_portal_can_be_asked(site: Site) -> None:
    fill(site)
    other = site.elsewhere()
    lines = exported(site)

    imported(other, lines)

    with other.store() as store:
        rows = everything(store)["deliveries"]
    waiting = [(row["chat_id"], row["kind"], row["state"], row["error"]) for row in rows]
    assert waiting == [
        (CHAT, "message", "in doubt", RESTORED),
        (CHAT, "confirmation", "queued", None),
        (OTHER, "message", "queued", None),
        (CHAT, "message", "in doubt", RESTORED),
    ]
    heads = [row["chat_id"] for row in rows if row["place"] is not None]
    assert sorted(heads) == [CHAT, OTHER]
    assert rows[0]["called_at"] == lines[0]["sitechat"]["exported_at"]


def test_a_repeat_changes_nothing_and_takes_in_what_is_new(site: Site) -> None:
    fill(site)
    other = site.elsewhere()
    imported(other, exported(site))
    before = kept(other)

    again = imported(other, exported(site))
    assert again["messages"] == again["chats"] == again["files"] == 0
    assert kept(other) == before

    with site.store() as store:
        write(store, "new")
    assert imported(other, exported(site))["messages"] == 1


def test_a_store_with_messages_keeps_its_own_key_and_says_so(site: Site) -> None:
    fill(site)
    other = site.elsewhere()
    with other.store() as store:
        write(store, "here already", "chat" + "c" * 64)
        key = store.portal.secret_key()

    said = imported(other, exported(site))

    assert said["same_key"] is False
    with other.store() as store:
        assert store.portal.secret_key() == key
        assert len(everything(store)["messages"]) == 6


def test_a_chat_that_was_deleted_here_does_not_come_back(site: Site) -> None:
    fill(site)
    other = site.elsewhere()
    lines = exported(site)
    imported(other, lines)
    assert other.run("forget", CHAT).code == 0

    said = imported(other, lines)

    assert said["messages"] == 0
    with other.store() as store:
        assert store.chats.find(CHAT) is None
        assert {row["chat_id"] for row in everything(store)["messages"]} == {OTHER}


def test_a_file_of_a_message_that_is_not_taken_in_does_not_come_either(site: Site) -> None:
    fill(site)
    lines = exported(site)
    other = site.elsewhere()
    imported(other, lines)
    stray = next(one for one in lines if "contents" in one)
    spoilt = [lines[0], stray | {"contents": {"e" * 48: stray["contents"][KEY]}}]

    site.run("forget", CHAT)
    for where, given in ((site, lines), (other, spoilt)):
        before = {path.name for path in where.files.rglob("*") if path.is_file()}
        assert imported(where, given)["files"] == 0
        assert {path.name for path in where.files.rglob("*") if path.is_file()} == before
    (other.files / CHAT / KEY).unlink()
    assert imported(other, lines)["files"] == 1, "it was missing, and its message is here"


def test_files_can_be_left_out(site: Site) -> None:
    fill(site)

    lines = exported(site, "--no-files")

    assert [line for line in lines if "contents" in line] == []


def test_a_file_of_lines_is_private_whole_and_replaces_none(site: Site) -> None:
    fill(site)
    target = site.folder / "all.jsonl"

    assert site.run("export", target).code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert site.run("export", target).code == 1
    assert sorted(path.name for path in site.folder.iterdir()) == ["all.jsonl", "chats"]
    assert site.elsewhere().run("import", target).code == 0


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda _: '{"message": {',
    "no object": lambda _: "[1]",
    "nothing": lambda _: "{}",
    "deep": lambda _: "[" * 100_000,
    "another kind": lambda line: {"letter": line["message"]},
    "two kinds": lambda line: line | {"chat": {}},
    "no record": lambda _: {"message": 7},
    "no text": lambda line: changed(line, text=None),
    "a number for a text": lambda line: changed(line, text=7),
    "a text for a number": lambda line: changed(line, sent_at="now"),
    "a huge number": lambda line: changed(line, id=1 << 70),
    "an id without a next one": lambda line: changed(line, id=(1 << 63) - 1),
    "an id that scripts do not keep": lambda line: changed(line, id=1 << 53),
    "a revision without a next one": lambda line: changed(line, revision=(1 << 63) - 1),
    "a negative id": lambda line: changed(line, id=-5),
    "a place without a next one": lambda line: changed(line, position=1e300),
    "an endless time": lambda line: json.dumps(changed(line, sent_at=0)).replace(
        '"sent_at": 0', '"sent_at": 1e999'
    ),
    "a time that no calendar has": lambda line: changed(line, sent_at=1e300),
    "a time of before 1970": lambda line: changed(line, sent_at=-1e18),
    "a text of 9 MB": lambda line: changed(line, text="x" * (9 << 20)),
    "no number": lambda line: json.dumps(changed(line, sent_at=0)).replace(
        '"sent_at": 0', '"sent_at": NaN'
    ),
    "half a letter": lambda line: changed(line, text="\ud83d"),
    "a NUL": lambda line: changed(line, text="\0"),
    "an unknown field": lambda line: changed(line, colour="red"),
    "HTML of its own": lambda line: changed(line, html="<script>"),
    "another author": lambda line: changed(line, author="nobody"),
    "no such chat": lambda line: changed(line, chat_id="chat" + "f" * 64),
    "a chat that is a path": lambda line: changed(line, chat_id="../.."),
    "files that are none": lambda line: changed(line, files='[{"name": 7}]'),
    "a key that is a path": lambda line: changed(line, files='[{"key": "../x"}]'),
    "contents that are none": lambda line: line | {"contents": {KEY: "%%"}},
    "contents under a path": lambda line: line | {"contents": {"../x": "aGk="}},
    "a delivery of another kind": lambda line: changed(
        line, id=5, revision=5, delivery={"kind": "pigeon", "due": 0.0}
    ),
    "a missing field": lambda line: {"message": {"text": "hi"}},
}


def changed(line: dict[str, Any], **values: Any) -> dict[str, Any]:
    return line | {"message": line["message"] | values}


def test_broken_lines_are_named_and_the_others_are_taken_in(site: Site) -> None:
    fill(site)
    lines: list[Any] = exported(site)
    good = next(line for line in lines if "message" in line)
    spoilt = [spoil(good) for spoil in SPOILT.values()]
    lines[-1:-1] = spoilt
    other = site.elsewhere()

    said = imported(other, lines)

    named = {one["line"] for one in said["problems"]}
    missed = [
        what for number, what in enumerate(SPOILT, len(lines) - len(spoilt)) if number not in named
    ]
    assert missed == []
    assert (said["left"], said["messages"]) == (len(spoilt), 5)
    assert not (site.folder / "x").exists()
    assert kept(other, *RENDERED, *QUEUED) == kept(site, *RENDERED, *QUEUED)


def test_a_file_that_was_cut_off_is_known_for_one(site: Site) -> None:
    fill(site)
    lines = exported(site)

    said = imported(site.elsewhere(), lines[:-2])

    assert said["left"] == 1
    assert "cut off" in said["problems"][0]["why"]
    again = site.elsewhere().run("import", "-", input="\n".join(map(json.dumps, lines[:-2])))
    assert (again.code, "Line 0" in again.output) == (1, False)
    assert "The last line is missing" in again.output


@pytest.mark.parametrize(
    "content",
    [
        *("", "\n\n", "no export", '{"message": {}}', "\x00\x01", '{"sitechat": {}}'),
        *(
            f'{{"sitechat": {{"format": 1, "schema": 1, "exported_at": {at}}}}}'
            for at in ("1e999", "1e300", "-1", '"1"')
        ),
    ],
)
def test_what_is_no_export_is_refused(site: Site, content: str) -> None:
    done = site.run("import", "-", input=content)

    assert done.code == 1
    assert "no export" in done.error
    assert list(site.folder.iterdir()) == []


def test_a_delivery_of_another_time_waits_no_longer(site: Site) -> None:
    fill(site)
    lines = exported(site)
    for line in lines:
        if line.get("message", {}).get("delivery"):
            line["message"]["delivery"]["due"] = 3.9e9

    assert imported(site.elsewhere(), lines)["left"] == 0

    with site.elsewhere().store() as store:
        now = lines[0]["sitechat"]["exported_at"]
        assert {row["due"] for row in everything(store)["deliveries"]} == {now}


@pytest.mark.parametrize("program", ["9.9.9", None, "", 7])
def test_an_export_of_a_newer_release_is_refused_and_nothing_is_made(
    site: Site, program: object
) -> None:
    head = {"format": 1, "schema": len(MIGRATIONS) + 1, "exported_at": 1, "program": program}

    done = site.run("import", "-", input=json.dumps({"sitechat": head}))

    assert done.code == 1
    named = " (9.9.9)" if program == "9.9.9" else ""
    assert f"newer release{named}. Update" in done.error
    assert list(site.folder.iterdir()) == []


def test_lines_are_said_in_both_languages(site: Site) -> None:
    fill(site)
    text = "\n".join([json.dumps(exported(site)[0]), "{"])

    english = site.elsewhere().run("import", "-", input=text)
    russian = site.elsewhere().run("import", "-", "--lang", "ru", input=text)

    assert "Line 2 was left: it is not valid JSON" in english.output
    assert "Строка 2 пропущена: это не JSON" in russian.output


def test_dialogs_and_lines_go_with_it(site: Site) -> None:
    fill(site)
    other = site.elsewhere()

    imported(other, exported(site))

    with other.store() as store:
        assert store.dialogs.find([DIALOG])[DIALOG].chat.id == CHAT
        assert store.portal.active_lines() == [LINE]
