"""The settings of the application's page: what counts, where it comes from, what is refused."""

import re
from pathlib import Path

import pytest
from apps import services_of, storage_in

from app import create_app
from operations import page_settings
from services import Services
from settings import ChatSettings, Settings, SettingsError, load_settings

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
        assert caught.value.told("en") != caught.value.told("ru")
    assert parts.page_settings.values() == {}
    parts.save_page_settings({"chat.title": "File", "chat.language": "auto"})
    assert parts.page_settings.values() == {}
    parts.store.close()


def test_of_several_sites_the_wrong_one_is_named(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    typed = "https://ok.example\n*\nhttps://лампы.рф/каталог"

    with pytest.raises(SettingsError) as caught:
        parts.save_page_settings({"chat.sites": typed})

    said = [fault.why.told("ru") for fault in caught.value.faults]
    assert [one.partition(": ")[0] for one in said] == ["*", "https://лампы.рф/каталог"]
    parts.store.close()


def test_a_link_that_visitors_would_never_see_is_refused(tmp_path: Path) -> None:
    link = {"chat.consent_link": "https://shop.example/privacy"}
    parts = parts_of(tmp_path)

    for values in (link, {**link, "chat.consent": ""}, {**link, "chat.consent": None}):
        with pytest.raises(SettingsError, match="beside the consent alone"):
            parts.save_page_settings(values)
    parts.save_page_settings({**link, "chat.consent": "Yes"})
    parts.save_page_settings(link)
    parts.save_page_settings(dict.fromkeys(["chat.consent", *link]))
    parts.store.close()

    parts = parts_of(tmp_path, '[chat]\nconsent = "File"')
    parts.save_page_settings(link)
    assert parts.chat.consent_link == link["chat.consent_link"]
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


def test_sites_that_two_processes_allow_at_once_are_both_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (parts_of(tmp_path).page_settings for _ in range(2))
    check = one._checked

    def while_another_allows(values: dict[str, object]) -> dict[str, object]:
        other.allow_site("https://other.example")
        return check(values)

    monkeypatch.setattr(one, "_checked", while_another_allows)
    one.allow_site("https://one.example")

    assert set(other.values()["chat.sites"]) == {"https://one.example", "https://other.example"}
    monkeypatch.undo()
    one.save({"chat.sites": [f"https://{n}.example" for n in range(50)]})
    with pytest.raises(SettingsError, match="50 sites at most"):
        one.allow_site("https://one.example")


def test_values_that_cannot_be_used_or_read_leave_those_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = parts_of(tmp_path, '[chat]\ntitle = "File"')
    parts.store.notes.page_settings.set(
        {
            "chat.accent": "of another version",
            "chat.greeting": "Still here",
            "chat.sites": ["https://a.example", "https://*.co.uk"],
        }
    )

    assert parts.chat.title == "File"
    assert parts.chat.greeting == "Still here"
    assert parts.chat.sites == ("https://a.example",)
    assert "cannot be used" in caplog.text
    parts.store.close()
    broken = Services.of(Settings(storage=storage_in(tmp_path / "chats.db" / "no folder")))
    assert broken.chat == broken.settings.chat


# -- what visitors see


def test_visitors_see_what_is_set_on_the_page_without_a_restart(tmp_path: Path) -> None:
    app = create_app(Settings(storage=storage_in(tmp_path)))
    client, parts = app.test_client(), services_of(app)
    site = {"Origin": "https://shop.example"}
    loader = "/static/loader.js"
    long_head = {"X-Long": "x" * 9000}
    for path in ("/", "/?embed=1", loader):
        assert "shop.example" not in client.get(path).headers["Content-Security-Policy"]
    assert client.post("/ajax", data={"type": "chat_history"}, headers=site).status_code == 403

    parts.save_page_settings(
        {
            "chat.title": "Лампы <и> люстры",
            "chat.greeting": "Здравствуйте! <b>Мы тут</b>\r\n\r\nОтвечаем с 9 до 18.\nПишите.",
            "chat.language": "ru",
            "chat.accent": "#7a1f5c",
            "chat.sites": "https://shop.example\nhttps://*.lamps.example",
            "chat.consent": "Я согласен <с условиями>",
            "chat.consent_link": "https://shop.example/privacy",
        }
    )

    page = client.get("/").text
    assert "<h1><bdi>Лампы &lt;и&gt; люстры</bdi></h1>" in page
    assert '<html lang="ru">' in page
    assert "#7a1f5c" in page
    assert "Я согласен &lt;с условиями&gt;" in page
    assert 'href="https://shop.example/privacy"' in page
    welcome = page.partition('class="welcome"')[2].partition("</section>")[0]
    assert re.findall(r"<(h2|p) dir=\"auto\">(.*?)</", welcome) == [
        ("h2", "Здравствуйте! &lt;b&gt;Мы тут&lt;/b&gt;"),
        ("p", "Отвечаем с 9 до 18."),
        ("p", "Пишите."),
    ]
    ancestors = "frame-ancestors 'self' https://shop.example https://*.lamps.example"
    answers = [client.get(path) for path in ("/", "/?embed=1", loader)]
    for answer in [*answers, client.get("/", headers=long_head)]:
        assert answer.headers["Content-Security-Policy"].endswith(ancestors)
    assert client.post("/ajax", data={"type": "chat_history"}, headers=site).status_code == 200
    parts.store.close()


@pytest.mark.parametrize("greeting", ["", " \r\n "])
def test_without_a_greeting_the_welcome_is_that_of_the_visitors_language(
    tmp_path: Path, greeting: str
) -> None:
    app = create_app(Settings(storage=storage_in(tmp_path), chat=ChatSettings(greeting=greeting)))
    client = app.test_client()

    assert "Hello! How can we help?" in client.get("/?lang=en").text
    assert "Hello! How can we help?" not in client.get("/?lang=ru").text
    services_of(app).store.close()


def test_a_process_reads_the_store_seldom_and_sees_its_own_change_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = parts_of(tmp_path), parts_of(tmp_path)
    monkeypatch.setattr(page_settings, "LOOK_SECONDS", 3600.0)
    assert other.chat.title == ""

    one.save_page_settings({"chat.title": "New"})

    assert (one.chat.title, other.chat.title) == ("New", "")
    other.save_page_settings({"chat.accent": "#112233"})
    assert (other.chat.title, other.chat.accent) == ("New", "#112233")
    one.store.close()
    other.store.close()
