"""Sites of one domain: each has its own visitors, or all have the same ones."""

import hmac
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from flask.testing import FlaskClient
from pages import page_of
from playwright.sync_api import Browser, expect
from stage import HOST, ROOT, free_port, wait_until
from werkzeug.test import TestResponse

from app import create_app
from settings import ChatSettings, Settings, StorageSettings

RU, DE, TOP = "https://ru.shop.example", "https://de.shop.example", "https://shop.example"
NAMES = {RU: "ru", DE: "de"}
OTHER = "https://blog.example"
CHAT = "https://chat.example"
SECRET = "a secret that only the shop's server knows"
Browsers = Callable[[], FlaskClient]


@pytest.fixture
def browsers(tmp_path: Path) -> Callable[[bool], Browsers]:
    """Starts the application, with shared visitors or without, on the same store."""

    def start(share: bool) -> Browsers:
        chat = ChatSettings(
            sites=("https://*.shop.example", TOP, RU, OTHER),
            share_visitors=share,
            identity_secret=SECRET,  # type: ignore[arg-type]
        )
        store = StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path))
        return create_app(Settings(public_url=CHAT, chat=chat, storage=store)).test_client

    return start


def ask(browser: FlaskClient, site: str, token: str = "", **fields: str) -> TestResponse:
    """A request of the frame on a page of `site`, which keeps the token."""
    headers = {"Origin": CHAT, "X-Chat-Site": site, "X-Chat-Token": token}
    given = {name: value for name, value in headers.items() if value}
    answer = browser.post("/ajax", data=fields, headers=given, base_url=CHAT)
    assert answer.status_code == 200, answer.text
    return answer


def write(browser: FlaskClient, site: str, token: str = "", text: str = "hello") -> str:
    """Send a message; returns the token that the site's page keeps from now on."""
    return ask(browser, site, token, type="send_message", message=text).headers["X-Chat-Token"]


def read(browser: FlaskClient, site: str, token: str = "") -> str:
    return ask(browser, site, token, type="chat_history").text


def log_in(browser: FlaskClient, site: str, email: str = "anna@example.com") -> str:
    signature = hmac.new(SECRET.encode(), f"{site} {email}".encode(), "sha256").hexdigest()
    answer = ask(browser, site, type="identify", email=email, signature=signature)
    return str(answer.get_json()["result"]["token"])


def test_a_visitor_is_known_on_all_sites_of_the_domain_by_the_cookie_of_the_frame(
    browsers: Callable[[bool], Browsers],
) -> None:
    new = browsers(True)
    browser = new()
    token = write(browser, RU, text="from ru")

    for site in (DE, TOP, "https://a.b.shop.example"):
        assert "from ru" in read(browser, site), site
    assert "from ru" in read(new(), DE, token), "a token of the domain is good on all its sites"
    write(browser, DE, text="from de")
    assert "from de" in read(browser, RU, token)
    for site in (OTHER, ""):
        assert "from ru" not in read(browser, site, token)
    assert read(new(), DE) == "", "another browser is another visitor"


def test_without_the_setting_each_site_has_its_own_visitors(
    browsers: Callable[[bool], Browsers],
) -> None:
    browser = browsers(False)()
    token = write(browser, RU, text="from ru")

    for site in (DE, TOP):
        assert read(browser, site) == ""
        assert read(browser, site, token) == ""
    assert "from ru" in read(browser, RU)


@pytest.mark.parametrize("by", ["token", "cookie"])
@pytest.mark.parametrize("site", [RU, DE, TOP])
def test_a_visitor_from_before_goes_on_when_the_setting_is_switched(
    browsers: Callable[[bool], Browsers], site: str, by: str
) -> None:
    browser = browsers(False)()
    token = write(browser, site, text="long ago")
    cookies = browser._cookies

    def again(share: bool) -> FlaskClient:
        browser = browsers(share)()
        if by == "cookie":
            browser._cookies = cookies
        return browser

    given = token if by == "token" else ""
    shared = again(True)
    assert "long ago" in read(shared, site, given)
    newer = write(shared, site, given, text="shared now")
    assert "long ago" in read(browsers(True)(), "https://fr.shop.example", newer)
    ask(shared, site, newer, type="delete_conversation")
    assert read(browsers(True)(), "https://fr.shop.example", newer) == ""
    newest = write(shared, site, newer, text="a new one")

    apart = again(False)
    for known_by in (token, newer, newest) if by == "token" else ("",):
        assert "a new one" in read(apart, site, known_by)
    assert read(apart, "https://fr.shop.example") == ""


@pytest.mark.parametrize("by", ["token", "cookie"])
def test_sites_are_parted_when_the_setting_is_switched_off(
    browsers: Callable[[bool], Browsers], by: str
) -> None:
    browser = browsers(True)()
    token = write(browser, RU, text="shared")
    cookies = browser._cookies

    def apart() -> FlaskClient:
        browser = browsers(False)()
        if by == "cookie":
            browser._cookies = cookies
        return browser

    given = token if by == "token" else ""
    ru = apart()
    assert "shared" in read(ru, RU, given), "the first site keeps the conversation"
    newer = write(ru, RU, given, text="only at ru")
    for site in (DE, TOP, "https://fr.shop.example"):
        for known_by in (given, token, newer):
            assert read(apart(), site, known_by) == "", site
        other = write(apart(), site, given, text="elsewhere")
        assert "shared" not in read(apart(), site, other)
    assert "only at ru" in read(ru, RU, newer)
    assert "elsewhere" not in read(ru, RU, newer)


def test_a_conversation_goes_back_to_the_site_where_it_was_begun(
    browsers: Callable[[bool], Browsers],
) -> None:
    token = write(browsers(False)(), RU, text="begun at ru")
    shared = write(browsers(True)(), RU, token, text="shared")
    assert "shared" in read(browsers(True)(), DE, shared)

    apart = browsers(False)
    for known_by in (token, shared):
        assert read(apart(), DE, known_by) == ""
        assert "begun at ru" in read(apart(), RU, known_by)


def test_customers_are_parted_when_the_setting_is_switched_off(
    browsers: Callable[[bool], Browsers],
) -> None:
    shared = browsers(True)
    token = log_in(shared(), RU)
    write(shared(), RU, token, text="shared")
    assert "shared" in read(shared(), DE, log_in(shared(), DE))

    apart = browsers(False)
    ru = log_in(apart(), RU)
    assert "shared" in read(apart(), RU, ru)
    write(apart(), RU, ru, text="only at ru")
    for known_by in (token, ru, log_in(apart(), DE), log_in(apart(), DE)):
        assert read(apart(), DE, known_by) == ""
    assert "only at ru" in read(apart(), RU, log_in(apart(), RU))


def test_customers_whose_conversations_were_joined_are_parted_again(
    browsers: Callable[[bool], Browsers],
) -> None:
    apart, shared = browsers(False), browsers(True)
    olds = {site: log_in(apart(), site) for site in (RU, DE)}
    for site, token in olds.items():
        write(apart(), site, token, text=f"at {NAMES[site]}")
    joined = {site: log_in(shared(), site) for site in (RU, DE)}
    assert "at ru" in read(shared(), DE, joined[DE])

    de = log_in(apart(), DE)
    assert "at ru" in read(apart(), DE, de), "the first site that is opened keeps all"
    write(apart(), DE, de, text="only at de")
    for token in (olds[RU], joined[RU], joined[DE], log_in(apart(), RU), log_in(apart(), RU)):
        assert read(apart(), RU, token) == ""
    ru = log_in(apart(), RU)
    write(apart(), RU, ru, text="anew at ru")
    assert "anew at ru" in read(apart(), RU, log_in(apart(), RU))
    assert "anew at ru" not in read(apart(), DE, log_in(apart(), DE))
    ask(apart(), DE, de, type="delete_conversation")
    assert "only at de" not in read(apart(), RU, ru)

    again = log_in(shared(), RU)
    assert "anew at ru" in read(shared(), DE, again)


def test_a_customer_has_one_conversation_on_all_sites_of_the_domain(
    browsers: Callable[[bool], Browsers],
) -> None:
    apart = browsers(False)
    for site in (RU, DE):
        browser = apart()
        write(browser, site, log_in(browser, site), text=f"at {NAMES[site]}")
    old = log_in(apart(), RU)
    assert "at de" not in read(apart(), RU, old)

    shared = browsers(True)
    assert "at ru" in read(shared(), RU, old), "the log-in of before goes on"
    for site in (RU, DE):
        token = log_in(shared(), site)
    for site in (RU, DE, TOP):
        assert all(f"at {one}" in read(shared(), site, token) for one in ("ru", "de")), site
    assert "at de" in read(shared(), RU, old)

    ask(shared(), RU, token, type="forget")
    assert read(shared(), DE, token) == "", "a log-out on one site ends the log-in on all"


def test_ids_of_chats_do_not_tell_the_name_by_which_a_visitor_is_known(
    browsers: Callable[[bool], Browsers],
) -> None:
    new = browsers(True)
    answers = [ask(new(), RU, type="send_message", message="x") for _ in range(2)]
    chats = [answer.get_json()["chat"] for answer in answers]

    assert chats[0][:36] == chats[1][:36]
    assert chats[0][36:] != chats[1][36:]
    for chat, answer in zip(chats, answers, strict=True):
        assert chat[36:] not in answer.headers["X-Chat-Token"]


# -- in a browser, which keeps the frame's cookie for the whole domain


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The application over HTTPS, without which browsers give frames no cookie."""
    certificate = trustme.CA().issue_cert("localhost")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    port = free_port()
    base = f"https://localhost:{port}"
    settings = {
        "SITECHAT_PUBLIC_URL": base,
        "SITECHAT_CHAT__SITES": '["https://*.shop.example"]',
        "SITECHAT_CHAT__SHARE_VISITORS": "true",
        "SITECHAT_STORAGE__URL": f"sqlite:///{tmp_path}/chats/chats.db",
        "SITECHAT_STORAGE__FILES": f"{tmp_path}/chats/files",
        "WEB_CONCURRENCY": "1",
    }
    command = [sys.executable, "-m", "gunicorn", "-b", f"{HOST}:{port}"]
    command += ["--certfile", str(chain), "--keyfile", str(key)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stderr=log)
    try:
        wait_until(lambda: b"Booting worker" in (tmp_path / "log").read_bytes())
        yield base
    finally:
        process.kill()
        process.wait()


def test_a_browser_shows_the_conversation_on_another_site_of_the_domain(
    served: str, browser: Browser
) -> None:
    permissions = ["local-network-access"]  # for a script of this machine
    with page_of(browser, ignore_https_errors=True, permissions=permissions) as page:
        loader = f'<script async src="{served}/static/loader.js"></script>'
        body = f"<!doctype html><html lang=en><title>Shop</title>{loader}<main>Lamps</main>"
        for site in (RU, DE):
            page.context.route(
                f"{site}/", lambda route: route.fulfill(body=body, content_type="text/html")
            )
        page.goto(f"{RU}/")
        page.get_by_role("button", name="Chat").click()
        chat = page.frame_locator("iframe")
        chat.locator("live-chat[data-ready]").wait_for()
        chat.locator("#message").fill("from ru")
        chat.locator("#message").press("Enter")
        expect(chat.locator("article.visitor .tick")).to_have_attribute("title", "Sent")

        page.goto(f"{DE}/")
        page.get_by_role("button", name="Chat").click()

        expect(page.frame_locator("iframe").locator("article.visitor")).to_contain_text("from ru")
