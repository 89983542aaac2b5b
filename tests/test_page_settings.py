"""The settings of the application's page: what counts, where it comes from, what is refused."""

from pathlib import Path

import pytest
from apps import storage_in

from operations import page_settings
from services import Services
from settings import Settings, SettingsError, load_settings

STORED = 'sites = ["https://file.example"]\n'


@pytest.fixture(autouse=True)
def _seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_settings, "LOOK_SECONDS", 0.0)


def parts_of(folder: Path, toml: str = "") -> Services:
    """One of several processes: they share the store."""
    file = folder / "config.toml"
    file.write_text(f'{toml}\n[storage]\nurl = "sqlite:///{folder}/chats.db"\n', "utf-8")
    parts = Services.of(load_settings(file))
    parts.store.open()
    return parts


def test_what_is_set_on_the_page_counts_in_every_process_and_is_named(tmp_path: Path) -> None:
    one, other = parts_of(tmp_path), parts_of(tmp_path)
    assert other.chat == other.settings.chat

    one.save_page_settings({"chat.title": "Спросите нас", "chat.sites": "https://Лампы.рф/"})

    for parts in (one, other):
        assert parts.chat.title == "Спросите нас"
        assert parts.chat.sites == ("https://xn--80avem4d.xn--p1ai",)
        assert parts.sources()["chat.title"] == parts.sources()["chat.sites"] == "page"
        assert parts.sources()["chat.accent"] == "default"
        parts.store.close()


def test_a_file_wins_over_the_page_and_the_sites_of_both_are_added_up(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    parts.save_page_settings(
        {"chat.title": "Page", "chat.accent": "#112233", "chat.sites": ["https://page.example"]}
    )
    parts.store.close()

    parts = parts_of(tmp_path, f'[chat]\ntitle = "File"\n{STORED}')

    assert (parts.chat.title, parts.chat.accent) == ("File", "#112233")
    assert parts.chat.sites == ("https://file.example", "https://page.example")
    assert parts.sources()["chat.title"] == parts.sources()["chat.sites"] == "config.toml"
    assert parts.page_settings.values()["chat.sites"] == ["https://page.example"]
    parts.store.close()


def test_a_wrong_value_is_refused_in_the_readers_language_and_nothing_is_kept(
    tmp_path: Path,
) -> None:
    parts = parts_of(tmp_path, '[chat]\ntitle = "File"')

    for key, value in {
        "chat.accent": "red",
        "chat.sites": "https://ok.example shop.example",
        "chat.language": "de",
        "chat.consent_link": "http://shop.example/privacy",
        "chat.title": "Other",
        "chat.identity_secret": "x" * 40,
        "chat.greeting": "x" * 1001,
    }.items():
        with pytest.raises(SettingsError) as caught:
            parts.save_page_settings({"chat.consent": "Yes", key: value})
        (said,) = caught.value.told("ru")
        assert key in said
    assert parts.page_settings.values() == {}
    parts.save_page_settings({"chat.title": "File", "chat.language": "auto"})
    assert parts.page_settings.values() == {}
    parts.store.close()


def test_a_value_can_be_taken_back(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    parts.save_page_settings({"chat.title": "Page", "chat.accent": "#112233"})

    parts.save_page_settings({"chat.title": None, "chat.accent": ""})

    assert parts.chat == parts.settings.chat
    assert parts.sources()["chat.title"] == "default"
    parts.store.close()


def test_sites_that_are_allowed_one_by_one_stay_and_have_an_end(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, f"[chat]\n{STORED}")

    for site in ("https://a.example", "https://file.example", "https://b.example"):
        parts.page_settings.allow_site(site)
    assert parts.chat.sites[1:] == ("https://a.example", "https://b.example")

    with pytest.raises(SettingsError, match="50 sites at most"):
        parts.save_page_settings({"chat.sites": [f"https://{n}.example" for n in range(51)]})
    parts.store.close()


def test_values_that_cannot_be_used_or_read_leave_those_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = parts_of(tmp_path, '[chat]\ntitle = "File"')
    parts.store.notes.page_settings.set({"chat.accent": "of another version"})

    assert parts.chat.title == "File"
    assert "cannot be used" in caplog.text
    parts.store.close()
    broken = Services.of(Settings(storage=storage_in(tmp_path / "chats.db" / "no folder")))
    assert broken.chat == broken.settings.chat
