"""The application's page: who sees what, and what its buttons do, for whom."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from stage import LINE, Stage, note_of, wait_until
from werkzeug.test import TestResponse

from app import create_app
from operations.findings import Finding, Level, Moment
from portal.administrators import TICKET_SECONDS, Administrators
from portal.install_error import InstallError
from services import Services
from settings import Bitrix24Settings, ChatSettings, Settings, StorageSettings
from store.database import StoreUnavailable
from store.records import Portal
from web import application
from web.verdict import shown

PORTAL = "https://b24.example"
SHOP = "https://shop.example"
OPERATOR = 18
ADMINISTRATOR = 1
INSTALLED = Portal("member", ADMINISTRATOR, "a", "r", 4e9, "token", False, 1000.0)
BROKEN = Finding("lines", Level.BROKEN, "line_none", {"name": "Site <b>", "waiting": 3})
ATTENTION = Finding("clock", Level.ATTENTION, "clock_slow", {
    "difference": "90 s", "ours": Moment(1_700_000_000.0), "theirs": Moment(1_700_000_090.0),
})  # fmt: skip
FIRST_STEP = Finding("lines", Level.ATTENTION, "line_first", {"name": "Site"})
GOOD = Finding("clock", Level.GOOD, "clock_good", {"seconds": 0})


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


# -- in one process, without a portal


def settings_of(folder: Path, portal: str = PORTAL) -> Settings:
    return Settings(
        public_url="https://chat.example",
        bitrix24=Bitrix24Settings(portal=portal, client_id="local.1", client_secret="s" * 9),  # type: ignore[arg-type]
        chat=ChatSettings(sites=(portal,)),
        storage=StorageSettings(url=f"sqlite:///{folder}/chats.db", files=f"{folder}/files"),
    )


@pytest.fixture
def app_services(tmp_path: Path) -> Services:
    services: Services = create_app(settings_of(tmp_path)).extensions["sitechat"]
    services.store.portal.save(INSTALLED)
    services.store.notes.registered.set("digest")
    return services


@pytest.fixture
def client(app_services: Services, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(Services, "of", lambda _: app_services)
    return create_app(app_services.settings).test_client()


def find(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let these be what the checks have found."""
    monkeypatch.setattr(Services, "verdict", lambda _: [*findings])
    monkeypatch.setattr(Services, "look", lambda *_, **__: True)


def press(client: FlaskClient, ticket: str, do: str, **fields: str) -> TestResponse:
    form = {"PLACEMENT": "DEFAULT", "ticket": ticket, "do": do, **fields}
    return client.post("/handler?LANG=en", data=form)


@pytest.mark.parametrize(
    ("findings", "status", "title", "is_well"),
    [
        ((GOOD,), 200, "The chat works", True),
        ((GOOD, FIRST_STEP), 200, "The chat is installed", True),
        ((GOOD, ATTENTION), 200, "The chat works, but", False),
        ((FIRST_STEP, ATTENTION), 200, "The chat works, but", False),
        ((GOOD, ATTENTION, BROKEN), 503, "The chat does not work", False),
    ],
)
def test_a_plain_visit_gets_the_verdict_alone(
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    findings: tuple[Finding, ...],
    status: int,
    title: str,
    is_well: bool,
) -> None:
    find(monkeypatch, *findings)

    for answer in (
        client.get("/install?LANG=en"),
        client.post("/handler?LANG=en", data={"PLACEMENT": "DEFAULT"}),
    ):
        said = text_of(answer.text)
        assert answer.status_code == (status if answer.request.method == "GET" else 200)
        assert title in said
        assert ("successfully" in said) is is_well
        assert ("for an administrator" in said) is not is_well
        for reason in ("clock", "line", "Contact Center", "sitechat-ticket", "ticket"):
            assert reason not in answer.text.partition("<main")[2], reason


def test_the_worst_stands_first_and_nothing_of_it_is_markup(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, GOOD, ATTENTION, BROKEN)
    ticket = app_services.administrators.ticket(ADMINISTRATOR)

    page = press(client, ticket, "check").text

    assert page.index("Site &lt;b&gt;") < page.index("slow by 90 s")
    assert "Site <b>" not in page
    assert '<time datetime="2023-11-14T22:13:20+00:00">2023-11-14 22:13 UTC</time>' in page
    assert "successfully" not in page
    assert "The chat does not work" in page


def test_a_time_within_a_text_is_an_element_and_all_else_is_escaped(client: FlaskClient) -> None:
    with client.application.test_request_context("/handler?LANG=en", method="POST"):
        text = shown(ATTENTION).text

        hostile = Finding("lines", Level.BROKEN, "line_none", {
            "name": "<b>\ue0000\ue001\ue000999\ue001\ue0001.2.3\ue001", "waiting": 1,
        })  # fmt: skip
        hostile_text = shown(hostile).text

    assert text.count("<time ") == 2
    assert "(timedatectl set-ntp true)" in text
    assert "&lt;b&gt;" in hostile_text
    assert "<" not in hostile_text.replace("&lt;", "")


# -- a portal that does not say in time who asks


def opened(client: FlaskClient) -> tuple[str, float]:
    began = time.monotonic()
    form = {"PLACEMENT": "DEFAULT", "AUTH_ID": "token", "member_id": "member"}
    page = client.post("/handler?LANG=en", data=form).text
    return text_of(page), time.monotonic() - began


def test_a_portal_that_hangs_keeps_the_page_waiting_for_some_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "PAGE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hangs:  # nobody takes what comes
        portal = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        app = create_app(settings_of(tmp_path, portal))
        services: Services = app.extensions["sitechat"]
        services.store.portal.save(INSTALLED)
        services.store.notes.examined.set({"stamp": [], "at": 1_700_000_000.0, "findings": []})
        find(monkeypatch, GOOD)

        said, seconds = opened(app.test_client())

    assert seconds < 4
    assert "answers slowly, or not at all" in said
    assert "2023-11-14 22:13 UTC" in said, "of when it is"
    assert "successfully" not in said
    assert "something needs your attention" in said
    assert "sudo -u sitechat sitechat doctor" in said
    assert "slow by" not in said


def test_an_administrator_sees_what_was_known_where_the_look_takes_too_long(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Administrators, "proved", lambda *_: ADMINISTRATOR)
    find(monkeypatch, GOOD, ATTENTION)
    monkeypatch.setattr(Services, "look", lambda *_, **__: False)

    for said in (
        opened(client)[0],
        text_of(press(client, app_services.administrators.ticket(1), "check").text),
    ):
        assert "Bitrix24 has not answered in time" in said
        assert "slow by 90 s" in said
        assert "checked just now" not in said

    find(monkeypatch, GOOD)
    monkeypatch.setattr(Services, "look", lambda *_, **__: False)
    assert "successfully" not in opened(client)[0]


def test_check_again_tries_our_own_address_and_opening_the_page_does_not(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    monkeypatch.setattr(Administrators, "proved", lambda *_: ADMINISTRATOR)
    find(monkeypatch, GOOD, ATTENTION)

    def look(_: Services, seconds: float, tries_front: bool = False) -> bool:
        looks.append(tries_front)
        return True

    monkeypatch.setattr(Services, "look", look)

    opened(client)
    press(client, app_services.administrators.ticket(ADMINISTRATOR), "check")

    assert looks == [False, True]


def test_the_page_says_at_once_by_which_other_address_it_was_opened(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Administrators, "proved", lambda *_: ADMINISTRATOR)
    monkeypatch.setattr(Services, "look", lambda *_, **__: True)
    form = {"PLACEMENT": "DEFAULT", "AUTH_ID": "token", "member_id": "member"}
    for host, words in (
        ("chat.example", "Bitrix24 reaches the chat at https://chat.example."),
        ("chat.real.example", "Bitrix24 has opened the chat at https://chat.real.example"),
    ):
        page = client.post("/handler?LANG=en", data=form, headers={"Host": host}).text

        assert words in text_of(page)
        assert ("successfully" in page) is (host == "chat.example")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (InstallError("wrong_application", 403), "bitrix24.client_id is not that of"),
        (StoreUnavailable("gone"), "put back a backup with “sudo sitechat restore”"),
    ],
)
def test_who_cannot_be_proved_is_told_what_to_do_on_the_server(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, raised: Exception, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise raised

    monkeypatch.setattr(Administrators, "proved", refuse)
    find(monkeypatch, BROKEN)

    said, _ = opened(client)

    assert words in said
    assert "sudo -u sitechat sitechat doctor" in said
    assert "open this application there" not in said, "it is open there"


def test_a_lost_store_leads_to_a_backup_and_not_to_a_new_install(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/install")  # this process has seen that it was installed

    def gone(*_: object) -> None:
        raise StoreUnavailable("chats.db is gone")

    monkeypatch.setattr(app_services.store, "open", gone)
    form = {"AUTH_ID": "token", "REFRESH_ID": "refresh", "member_id": "member", "PLACEMENT": "-"}
    said = text_of(client.post("/install?LANG=en", data=form).text)

    assert "put back a backup with “sudo sitechat restore”" in said
    assert "Do not install it anew" in said


# -- tickets


def test_a_ticket_that_is_over_changes_nothing_and_keeps_what_was_typed(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(app_services.store, "now", lambda: now - TICKET_SECONDS - 1)
    ticket = app_services.administrators.ticket(ADMINISTRATOR)
    monkeypatch.undo()
    monkeypatch.setattr(Services, "of", lambda _: app_services)

    answer = press(client, ticket, "settings", title="Write <us>!", greeting="Hello")

    assert answer.status_code == 403
    assert "open for more than an hour" in answer.text
    assert "Write &lt;us&gt;!" in answer.text
    assert app_services.chat.title == ChatSettings().title
    assert 'name="ticket"' not in answer.text, "only the portal can prove anybody anew"


@pytest.mark.parametrize(
    "changed",
    [
        {"installed_at": 2000.0},
        {"member_id": "another"},
        None,
    ],
)
def test_a_ticket_of_another_installation_is_refused(
    client: FlaskClient, app_services: Services, changed: dict[str, Any] | None
) -> None:
    ticket = app_services.administrators.ticket(ADMINISTRATOR)
    if changed is None:
        app_services.store.portal.forget()
    else:
        app_services.store.portal.save(Portal(**vars(INSTALLED) | changed))

    answer = press(client, ticket, "settings", title="Mine now")

    assert answer.status_code == 403
    assert "Mine now" not in answer.text
    assert app_services.chat.title == ChatSettings().title


@pytest.mark.parametrize("ticket", ["forged", "W10.aaaa.bbbb", "x" * 5000])
def test_a_forged_ticket_is_refused_and_counted(
    client: FlaskClient, app_services: Services, ticket: str
) -> None:
    answer = press(client, ticket, "settings", title="Mine now")

    assert answer.status_code == 403
    assert "Mine now" not in answer.text
    assert any("reasons.ticket" in reason for reason in app_services.turned_away.counts)


def test_a_ticket_to_agree_to_a_new_address_is_none_of_the_page(
    client: FlaskClient, app_services: Services
) -> None:
    """Each purpose has tickets of its own."""
    ticket = app_services.rename._tickets.issue(ADMINISTRATOR, "member", 1000.0)

    assert press(client, ticket, "settings", title="Mine now").status_code == 403


def test_a_button_that_is_not_there_is_named(client: FlaskClient, app_services: Services) -> None:
    ticket = app_services.administrators.ticket(ADMINISTRATOR)

    answer = press(client, ticket, "purge")

    assert answer.status_code == 400
    assert "do names no button" in answer.text


# -- sites


def try_to_embed(client: FlaskClient, services: Services, site: str) -> None:
    client.get("/ajax?type=site", headers={"Origin": site})
    services.sightings.write(time.time())


def test_a_site_that_tried_is_allowed_by_a_button(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, GOOD)
    ticket = app_services.administrators.ticket(ADMINISTRATOR)
    try_to_embed(client, app_services, SHOP)
    page = press(client, ticket, "check").text
    assert f'name="site" value="{SHOP}"' in page

    answer = press(client, ticket, "allow", site=SHOP)

    assert answer.status_code == 200
    assert f"{SHOP} may show the chat now." in answer.text
    assert f"{SHOP} Set on this page." in text_of(answer.text)
    assert f'name="site" value="{SHOP}"' not in answer.text
    assert app_services.chat.sites == (PORTAL, SHOP)
    assert SHOP in client.get("/").headers["Content-Security-Policy"]
    asked = client.get("/ajax?type=site", headers={"Origin": SHOP})
    assert asked.text == "export default true"


@pytest.mark.parametrize(
    "site",
    ["https://evil.example", "https://*.example", "null", "javascript:alert(1)", "<script>"],
)
def test_a_site_that_did_not_try_cannot_be_allowed_by_the_button(
    client: FlaskClient, app_services: Services, site: str
) -> None:
    ticket = app_services.administrators.ticket(ADMINISTRATOR)
    try_to_embed(client, app_services, SHOP)

    answer = press(client, ticket, "allow", site=site)

    assert answer.status_code == 400
    assert "is not among the sites that tried" in answer.text
    assert "<script>" not in answer.text.partition("<main")[2]
    assert app_services.chat.sites == (PORTAL,)


FRAMED = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site", "Accept-Language": "ru"}


@pytest.mark.parametrize("path", ["/", "/?embed=1"])
def test_a_visitor_on_a_site_that_may_not_show_the_chat_is_told_so(
    client: FlaskClient, app_services: Services, path: str
) -> None:
    answer = client.get(path, headers=FRAMED | {"Referer": f"{SHOP}/lamps"})

    assert answer.status_code == 403
    assert "Этот сайт ещё не подключён к чату." in answer.text
    assert answer.headers["Content-Security-Policy"].endswith("frame-ancestors *")
    assert "live-chat" not in answer.text
    assert "Set-Cookie" not in answer.headers
    app_services.sightings.write(time.time())
    assert list(app_services.store.notes.tried_sites.get() or {}) == [SHOP]


@pytest.mark.parametrize(
    "headers",
    [
        FRAMED | {"Referer": f"{PORTAL}/page"},
        FRAMED,  # the site's own Referrer-Policy hides it
        FRAMED | {"Referer": f"{SHOP}/", "Sec-Fetch-Dest": "document"},  # a link to the page
        FRAMED | {"Referer": "https://chat.example/", "Sec-Fetch-Site": "same-origin"},
        {},
    ],
)
def test_everybody_else_gets_the_chat(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.get("/", headers=headers)

    assert answer.status_code == 200
    assert "<live-chat" in answer.text
    assert f"frame-ancestors 'self' {PORTAL}" in answer.headers["Content-Security-Policy"]


# -- settings


def test_texts_sites_and_look_are_set_on_the_page(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, GOOD)
    ticket = app_services.administrators.ticket(ADMINISTRATOR)
    typed = {
        "title": "Лампы и люстры",
        "greeting": "Hello!\r\nHow are you?",
        "language": "ru",
        "accent": "#c8102e",
        "consent": "I agree.",
        "consent_link": "https://shop.example/privacy",
        "sites": f"{SHOP}\r\nhttps://*.lamps.example",
    }

    answer = press(client, ticket, "settings", **typed)

    assert answer.status_code == 200
    assert "Saved. Visitors see it from now on." in answer.text
    assert answer.text.count("Set on this page.") == len(typed) + 2, "fields, and two sites"
    chat = app_services.chat
    assert (chat.title, chat.greeting) == ("Лампы и люстры", "Hello!\nHow are you?")
    assert chat.sites == (PORTAL, SHOP, "https://*.lamps.example")
    page = client.get("/")
    assert "Лампы и люстры" in page.text
    assert 'lang="ru"' in page.text

    letters = {"consent_link": "https://лампы.рф/правила?a=1#б", "sites": "https://лампы.рф"}
    press(client, ticket, "settings", **typed | letters)
    kept = app_services.chat
    again = press(client, ticket, "test").text
    assert f'value="{letters["consent_link"]}"' in again, "as it was typed"
    assert f"{letters['sites']}</textarea>" in again
    press(client, ticket, "settings", **typed | letters)
    assert app_services.chat == kept

    press(client, ticket, "settings", **dict.fromkeys(typed, ""))
    assert app_services.chat == app_services.settings.chat, "an empty field has its default again"


def test_what_is_wrong_stands_beside_what_was_typed_and_nothing_is_saved(
    client: FlaskClient, app_services: Services
) -> None:
    ticket = app_services.administrators.ticket(ADMINISTRATOR)
    typed = {"title": "New title", "accent": "red", "sites": "https://shop.example/path\r\nshop"}

    answer = press(client, ticket, "settings", **typed)

    assert answer.status_code == 400
    assert answer.text.count('aria-invalid="true"') == 2
    for value in ("New title", "red", "https://shop.example/path\nshop"):
        assert value in answer.text
    for named in ("accent-error", "sites-error"):
        assert f'id="{named}"' in answer.text
    assert "Nothing was saved" in answer.text
    assert app_services.chat.title == ChatSettings().title


def test_what_a_file_says_is_shown_with_its_source_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_CHAT__TITLE", "From the environment")
    monkeypatch.setenv("SITECHAT_STORAGE__URL", f"sqlite:///{tmp_path}/chats.db")
    app = create_app()
    services: Services = app.extensions["sitechat"]
    services.store.portal.save(INSTALLED)
    ticket = services.administrators.ticket(ADMINISTRATOR)

    page = press(app.test_client(), ticket, "settings", greeting="Hello").text

    field = page.partition('<input id="field-title"')[2].partition("</p>")[0]
    assert "From the environment" in field
    assert " disabled" in field
    assert "Set in the environment of the service." in field
    assert services.chat.greeting == "Hello"
    wrong = press(app.test_client(), ticket, "settings", title="Another")
    assert wrong.status_code == 400
    assert services.chat.title == "From the environment"


# -- with a portal


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("application")) as stage:
        yield stage


def ticket_of(page: str) -> str:
    return page.partition('name="ticket" value="')[2].partition('"')[0]


def button(stage: Stage, ticket: str, do: str, **fields: Any) -> requests.Response:
    form = {"PLACEMENT": "DEFAULT", "ticket": ticket, "do": do, **fields}
    return requests.post(f"{stage.chat}/handler?LANG=en", data=form, timeout=30)


def test_from_the_install_to_a_test_message(stage: Stage) -> None:
    """What an administrator does on the page, one after the other."""
    installed = stage.press("install")["body"]
    assert "successfully" in installed
    assert "choose ExampleSiteChat and press Connect" in installed
    assert "BX24.installFinish()" in installed

    # The page of the install has buttons, too. A message that waits for a line is no success.
    stored = button(stage, ticket_of(installed), "test")
    assert "waits for Bitrix24" in stored.text
    assert "successfully" not in stored.text
    assert "No open line is connected" in stored.text
    assert requests.get(f"{stage.chat}/install", timeout=30).status_code == 503

    connected = stage.press("connect", line=LINE)["body"]
    assert "successfully" in connected
    page = stage.admin_page()
    assert "successfully" in page
    assert f'<b dir="auto">Sales</b>\n<span class="aside">Line {LINE}</span>' in page
    assert "New visitors write here" in page
    loader = f"&lt;script async src=&#34;{stage.chat}/static/loader.js&#34;&gt;&lt;/script&gt;"
    assert loader in page
    assert f"script-src {stage.chat}; frame-src {stage.chat}" in page

    sent = button(stage, ticket_of(page), "test")
    assert "look at the queue of the line" in sent.text
    dialog = stage.state()["dialogs"][-1]
    message = sent.text.partition('name="message" value="')[2].partition('"')[0]
    stage.press("answer", external_chat_id=dialog["external_chat_id"], text="I see it")

    def looked() -> bool:
        answer = button(stage, ticket_of(page), "look", message=message)
        return "the way is free in both directions" in answer.text

    wait_until(looked, 15)


def test_what_is_no_test_message_is_not_looked_at(stage: Stage) -> None:
    stage.visitor().send("a secret")
    ticket = ticket_of(stage.admin_page())

    assert "no such test message" in button(stage, ticket, "look", message=10**15).text


def test_reasons_and_buttons_are_the_administrators_only(stage: Stage) -> None:
    stage.trouble(broken_method="imconnector.send.messages", broken_code="INSUFFICIENT_SCOPE")
    stage.visitor().send("hello")
    wait_until(lambda: "INSUFFICIENT_SCOPE" in stage.admin_page(), 20)

    page = stage.admin_page()
    assert "successfully" not in page
    assert "Чат не работает" in stage.admin_page(language="ru")
    forged = {"PLACEMENT": "DEFAULT", "AUTH_ID": "forged", "member_id": "m"}
    others = [
        stage.admin_page(user_id=OPERATOR),
        requests.post(f"{stage.chat}/handler?LANG=en", data=forged, timeout=30).text,
        requests.get(f"{stage.chat}/install?LANG=en", timeout=30).text,
    ]
    assert {text_of(other) for other in others} == {text_of(others[0])}
    assert "The chat does not work" in others[0]
    for secret in ("INSUFFICIENT_SCOPE", "ticket", "<form", "loader.js", "/handler:", "Sales"):
        assert secret not in others[0].partition("<main")[2], secret

    # Whoever connects a line is told that it is no success, the reasons only as an administrator.
    stage.trouble(broken_method="", broken_code="", clock_offset_seconds=4 * 86_400)
    for user, sees_why in ((OPERATOR, False), (ADMINISTRATOR, True)):
        connected = stage.press("connect", line=LINE, user_id=user)["body"]
        assert "successfully" not in connected
        assert f"ExampleSiteChat is connected to open line {LINE}." in connected
        assert "does not work" in connected
        assert ("Switch on time synchronisation" in connected) is sees_why
        assert bool(ticket_of(connected)) is sees_why
    stage.trouble(clock_offset_seconds=0)


def test_the_last_event_is_shown(stage: Stage) -> None:
    stage.press("disconnect", line=LINE)
    wait_until(lambda: note_of(stage, "last_event_at"), 15)

    assert "Last event of Bitrix24" in stage.admin_page()
