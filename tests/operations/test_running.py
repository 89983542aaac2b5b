"""The doctor says when the service runs with other settings than the files have now."""

import json
from pathlib import Path

import pytest

from bbcode import RENDERER
from operations.findings import Finding, Level, worst
from operations.running import Difference, difference, note_once, with_difference
from operations.version import version
from operations.words import words
from settings import ROOT, load_settings
from storage import Store
from store.records import RunsWith

GOOD, ATTENTION, BROKEN = Level.GOOD, Level.ATTENTION, Level.BROKEN
RUNS = Finding("service", GOOD, "service_good")
STOPPED = Finding("service", BROKEN, "service_stopped", {"since": 1})
SECRET = "a-secret-of-the-application"
FILE = f"""
public_url = "https://chat.example"
[bitrix24]
portal = "https://b24.example"
client_id = "local.0123456789abcd.01234567"
client_secret = "{SECRET}"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    monkeypatch.setenv("SITECHAT_CONFIG", str(path))
    return path


@pytest.fixture
def store(tmp_path: Path, file: Path) -> Store:
    """The store of a service that runs with the file's settings."""
    store = Store(f"sqlite:///{tmp_path}/chats.db", ROOT, RENDERER)
    store.open()
    assert note_once(load_settings(), store)
    return store


def change(file: Path, before: str, after: str) -> None:
    assert before in FILE
    file.write_text(FILE.replace(before, after))


def found_now(store: Store, *others: Finding) -> list[Finding]:
    return with_difference([RUNS, *others], difference(load_settings(), store))


def test_nothing_is_said_while_the_service_runs_with_what_the_files_say(store: Store) -> None:
    assert difference(load_settings(), store) == Difference()
    assert found_now(store) == [RUNS]


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("https://chat.example", "https://new.example", "public_url"),
        (SECRET, "another-secret-of-the-application", "bitrix24.client_secret"),
        ("https://b24.example", "https://new.example", "bitrix24.portal"),
        ("[bitrix24]", '[storage]\nfiles = "elsewhere"\n[bitrix24]', "storage.files"),
    ],
)
def test_nothing_works_for_certain_with_settings_that_the_service_has_not_read(
    store: Store, file: Path, before: str, after: str, key: str
) -> None:
    change(file, before, after)

    finding = found_now(store)[0]

    assert (finding.level, finding.key) == (BROKEN, "settings_unread")
    for language in ("en", "ru"):
        text = words(finding, language, str)
        assert "sudo systemctl reload sitechat" in text
        assert key in text
        assert "secret-of" not in text


def test_beside_a_fault_it_is_no_second_one(store: Store, file: Path) -> None:
    change(file, "https://chat.example", "https://new.example")
    fault = Finding("portal", BROKEN, "portal_ended")

    found = found_now(store, fault)

    assert [one.level for one in found if one.key == "settings_unread"] == [ATTENTION]
    assert found[0] == fault


def test_how_the_chat_looks_stops_nothing(store: Store, file: Path) -> None:
    change(file, "[bitrix24]", '[chat]\ntitle = "New"\n[bitrix24]')

    assert worst(found_now(store)) is ATTENTION


def test_the_same_in_another_file_is_no_change(store: Store, file: Path) -> None:
    change(file, 'public_url = "https://chat.example"', "")
    (file.parent / ".env").write_text("SITECHAT_PUBLIC_URL=https://chat.example/\n")

    assert found_now(store) == [RUNS]


def test_a_service_that_does_not_run_reads_all_at_its_start(store: Store, file: Path) -> None:
    change(file, "https://chat.example", "https://new.example")

    assert with_difference([STOPPED], difference(load_settings(), store)) == [STOPPED]


def test_a_variable_of_the_shell_alone_is_no_fault_and_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_PUBLIC_URL", "https://of-the-shell.example")
    monkeypatch.setenv("SITECHAT_BITRIX24__CLIENT_ID", "local.0123456789abcd.01234567")  # the same

    found = found_now(store)

    assert worst(found) is GOOD
    [finding] = [one for one in found if one.key == "settings_of_environment"]
    assert finding.values == {"keys": "public_url"}


def test_a_variable_of_the_service_alone_is_no_fault(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as of_the_service:
        of_the_service.setenv("SITECHAT_SERVER__PROXIES", "2")
        note_once(load_settings(), store)

    found = found_now(store)

    assert worst(found) is GOOD
    assert {one.key for one in found} == {"service_good", "settings_of_environment"}


def test_another_file_that_the_environment_names_is_no_fault(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.parent / "other.toml"
    other.write_text(FILE.replace("https://chat.example", "https://new.example"))
    monkeypatch.setenv("SITECHAT_CONFIG", str(other))

    found = found_now(store)

    assert worst(found) is GOOD
    [finding] = [one for one in found if one.key == "settings_of_environment"]
    assert str(finding.values["keys"]).startswith("SITECHAT_CONFIG, public_url")


def test_another_release_may_have_other_keys_and_is_said_alone(store: Store, file: Path) -> None:
    change(file, "https://chat.example", "https://new.example")
    store.notes.runs_with().set(RunsWith("0.9.0", str(file), {"gone": "1"}, []))

    found = found_now(store)

    assert [one.key for one in found if one.level] == ["service_older"]
    assert found[0].values == {"running": "0.9.0", "version": version()}
    assert "sudo systemctl restart sitechat" in words(found[0], "ru", str)


def test_a_store_of_an_earlier_release_knows_nothing(store: Store) -> None:
    store.notes.runs_with().clear()

    assert difference(load_settings(), store) is None
    assert found_now(store) == [RUNS]


def test_no_setting_can_be_read_in_the_note(store: Store) -> None:
    row = store.database.row("select value from meta where key = 'note.runs_with'")
    assert row is not None

    assert "b24.example" not in row["value"]
    assert SECRET not in row["value"]
    assert len(json.loads(row["value"])["keys"]) > 40


def test_the_digests_of_two_stores_differ(store: Store, tmp_path: Path) -> None:
    """Who has a note alone can try no secret against it."""
    other = Store(f"sqlite:///{tmp_path}/other.db", ROOT, RENDERER)
    other.open()
    note_once(load_settings(), other)
    notes = store.notes.runs_with().get(), other.notes.runs_with().get()

    assert notes[0]
    assert notes[1]
    assert not set(notes[0].keys.values()) & set(notes[1].keys.values())


def test_of_hosts_that_share_a_store_each_is_compared_with_its_own_files(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_STORAGE__URL", "postgresql://db.example/chat")
    texts = {"one": FILE, "two": FILE.replace("https://chat.example", "https://new.example")}

    def on(host: str) -> None:
        monkeypatch.setattr("socket.gethostname", lambda: host)
        file.write_text(texts[host])

    for host in texts:
        on(host)
        assert note_once(load_settings(), store)
    for host in texts:
        on(host)
        assert difference(load_settings(), store) == Difference()
    file.write_text(texts["one"])
    assert difference(load_settings(), store) == Difference(unread=("public_url",))
