"""Behind a real nginx: HTTP/2, IPv6, gzip, a path prefix, files kept for a month, and walls.

conftest.py leaves them out, and says so, where there is no nginx.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import requests
from doctor_parts import NOW, facts
from nginx import CHALLENGE, Nginx
from pages import chat_of
from playwright.sync_api import Browser, FilePayload, Page, expect
from stage import ROOT, Stage

from operations import front
from operations.checks_front import check_front
from settings import Settings
from storage import Store
from store.records import Reached
from web.static_files import release

MONTH = "max-age=2592000"
WALLS = {  # what nginx says in place of /ajax, and what the visitor is told
    f"return 200 '{CHALLENGE}';": "answered in our place",
    f"return 403 '{CHALLENGE}';": "answered in our place",
    "return 302 /chat/;": "answered in our place",
    "return 404;": "answered in our place",
    "return 503;": "did not take this yet",
}

NOT_SAVED = (
    "Something between you and us, such as a firewall or a sign-in page, answered in our place."
    " Please try again."
)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("proxy") / "nginx") as nginx:
        yield nginx


@pytest.fixture(scope="module")
def behind(nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The application below a path behind nginx; the portal reaches it through nginx, too."""
    with Stage(
        tmp_path_factory.mktemp("stage"),
        SITECHAT_PUBLIC_URL=nginx.url,
        SITECHAT_SERVER__PROXIES="1",
        SSL_CERT_FILE=nginx.cert,  # for the portal
    ) as stage:
        nginx.app = stage.chat
        nginx.start()
        stage.install()
        yield stage


@pytest.fixture
def visitors_page(behind: Stage, nginx: Nginx, browser: Browser) -> Iterator[Page]:
    nginx.start()
    context = browser.new_context(ignore_https_errors=True, locale="en-GB")
    page = context.new_page()
    page.goto(f"{nginx.url}/")
    page.locator("live-chat[data-ready]").wait_for()
    yield page
    context.close()


def write(page: Page, text: str) -> None:
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")


def test_a_month_in_browsers_is_for_what_an_address_names(behind: Stage, nginx: Nginx) -> None:
    digest = release().digest
    for path, kept in (
        (f"/static/{digest}/chat.js", MONTH),
        ("/static/loader.js", MONTH),  # an old one works on: tests/embed/test_releases.py
        ("/static/0123456789ab/chat.js", "no-cache"),
        ("/static/0123456789ab/gone.js", "no-store, no-transform"),
    ):
        for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}):
            assert nginx.get(path, **headers).headers["Cache-Control"] == kept, (path, headers)


@pytest.mark.parametrize("path", ["/chat/", "/chat/static/loader.js"])
def test_a_proxy_may_leave_the_prefix_and_contradict_itself(
    behind: Stage, nginx: Nginx, path: str
) -> None:
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}
    assert requests.get(f"{nginx.plain}{path}", headers=said, timeout=30).status_code == 200


def test_the_dialogue_and_a_file_that_is_too_large_for_the_proxy(
    behind: Stage, nginx: Nginx, visitors_page: Page
) -> None:
    page = visitors_page
    write(page, "write to ann@shop.example")
    page.locator('[data-state="delivered"]').wait_for()
    chat = chat_of(behind, "write to ann@shop.example")
    behind.press("answer", external_chat_id=chat, text="at once")
    expect(page.locator("article.operator .body")).to_have_text("at once")
    used = (
        "() => [...new Set(performance.getEntriesByType('resource').map((e) => e.nextHopProtocol))]"
    )
    assert page.evaluate(used) == ["h2"]

    nginx.start(body_limit="20k")
    large = FilePayload(name="large.txt", mimeType="text/plain", buffer=b"x" * 300_000)
    page.set_input_files(".clip input", large)
    expect(page.locator("article", has_text="large.txt").locator(".reason")).to_contain_text(
        "293 KB"
    )
    write(page, "a text goes all the same")
    expect(page.locator('[data-state="delivered"]')).to_have_count(2)
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()

    nginx.start()
    expect(page.locator('[data-state="delivered"]')).to_have_count(3)
    page.reload()
    expect(page.locator("article.visitor .body")).to_have_count(3)


def test_what_a_wall_says_is_shown_to_nobody_and_all_goes_when_it_is_gone(
    behind: Stage, nginx: Nginx, visitors_page: Page
) -> None:
    page = visitors_page
    write(page, "first behind a wall")
    page.locator('[data-state="delivered"]').wait_for()
    chat = chat_of(behind, "first behind a wall")
    for wall, said in WALLS.items():
        nginx.start(wall=wall)
        write(page, f"text {wall[:10]}")
        waiting = page.locator('[data-state="waiting"]')
        expect(waiting.locator(".reason")).to_contain_text(said)
        if "302" in wall:  # which a request with progress follows unasked
            page.get_by_role("button", name="Conversation menu").click()
            page.get_by_role("button", name="Save my conversation").click()
            expect(page.locator(".composer > .alert")).to_have_text(NOT_SAVED)
            page.get_by_role("button", name="Edit").click()
            page.locator("#message").fill("")
            file = FilePayload(name="small.txt", mimeType="text/plain", buffer=b"x")
            page.set_input_files(".clip input", file)
            expect(waiting.locator(".reason")).to_contain_text(said)
        expect(page.locator('[data-connection="reconnecting"]')).to_have_count(1)

        nginx.start()
        page.evaluate("() => dispatchEvent(new Event('online'))")  # instead of a pause
        expect(waiting).to_have_count(0)
        behind.press("answer", external_chat_id=chat, text=wall[:10])
        expect(page.locator("article.operator .body").last).to_have_text(wall[:10])
    expect(page.locator("article", has_text="No message")).to_have_count(0)
    expect(page.locator('[data-state="delivered"]')).to_have_count(1 + len(WALLS))


# -- what the doctor says of it


def front_of(
    stage: Stage, nginx: Nginx, outside: int | None = None, **others: Any
) -> list[tuple[str, str]]:
    """What the doctor finds at our own address: levels and keys.

    `outside`: how many proxies the last event has named.
    """
    with closing(Store(stage.environment()["SITECHAT_STORAGE__URL"], ROOT, 1)) as store:
        key = store.portal.secret_key()
    values: dict[str, Any] = {
        "public_url": nginx.url,
        "server": {"proxies": 1},
        "bitrix24": {"ca_file": nginx.cert},
    }
    given = Settings(**values | others)
    report = front.look(given, front.Key(key))
    seen = {} if outside is None else {"portal": Reached(nginx.url, NOW, outside)}
    found = check_front(facts(settings=given, front=report, of_kept={"reached": seen}))
    return [(one.level.name, one.key) for one in found]


PROXY_FAULTS: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["front_good"]),
    ({"body_limit": "1m"}, ["front_too_large"]),
    ({"more": "proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;"}, ["front_buffers"]),
    ({"wall": "return 404;"}, ["front_other"]),
    ({"wall": "return 301 https://www.shop.example/;"}, ["front_redirects"]),
]


@pytest.mark.parametrize(("how", "keys"), PROXY_FAULTS, ids=[row[1][0] for row in PROXY_FAULTS])
def test_the_doctor_says_what_the_proxy_does(
    behind: Stage, nginx: Nginx, how: dict[str, str], keys: list[str]
) -> None:
    nginx.start(**how)

    assert [key for _, key in front_of(behind, nginx)] == keys


def test_the_doctor_counts_the_proxies_and_looks_at_the_certificate(
    behind: Stage, nginx: Nginx
) -> None:
    nginx.start()

    def found(**others: Any) -> list[tuple[str, str]]:
        return front_of(behind, nginx, files={"enabled": False}, **others)

    assert found(server={"proxies": 0}) == [("ATTENTION", "proxies_few")]
    assert found(server={"proxies": 2}) == [("GOOD", "front_good")], "we may come past one"
    assert found(server={"proxies": 2}, outside=2) == [("GOOD", "front_good")]
    assert found(server={"proxies": 2}, outside=1) == [("ATTENTION", "proxies_many")]
    assert found(bitrix24={}) == [("BROKEN", "front_certificate_self_signed")]
    nginx.stop()
    assert found() == [("GOOD", "front_untried")]


def test_the_doctors_question_is_answered_to_nobody_else(behind: Stage) -> None:
    address = f"{behind.chat}/ajax?type=probe"
    for ticket in ("", "guessed", front.ticket(front.Key("another key"))):
        answer = requests.post(address, headers={front.TICKET_HEADER: ticket}, timeout=30)

        assert answer.status_code == 403
        assert "forwarded" not in answer.text
