"""The visitor's cookie by its name, and where our addresses begin, whatever the request says."""

import hmac
import itertools
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from apps import services_of
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.http import parse_cookie
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from app import create_app
from settings import ChatSettings, ServerSettings, Settings, StorageSettings
from store.database import Row
from web.asking import digest

SHOP = "https://shop.example"
SECRET = "s" * 32
ROOT_URL, BELOW_URL, PLAIN_URL = (
    "https://chat.example",
    "https://chat.example/live",
    "http://127.0.0.1:8080",
)
FORMER = {"": "sitechat", SHOP: f"sitechat_{digest(SHOP)[:8]}"}


def application(folder: Path, public_url: str, proxies: int = 0) -> Flask:
    return create_app(
        Settings(
            public_url=public_url,
            chat=ChatSettings(sites=(SHOP,), identity_secret=SECRET),  # type: ignore[arg-type]
            server=ServerSettings(proxies=proxies),
            storage=StorageSettings(url=f"sqlite:///{folder}/chats.db"),
        )
    )


def ask(app: Flask, cookies: dict[str, str], site: str = "", **fields: str) -> TestResponse:
    """A post to /ajax with exactly these cookies."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"X-Chat-Site": site} if site else {}
    client = app.test_client(use_cookies=False)
    return client.post("/ajax", data=fields, headers=headers | {"Cookie": header})


def write(app: Flask, cookies: dict[str, str], site: str = "", text: str = "mine") -> TestResponse:
    return ask(app, cookies, site, type="send_message", message=text)


def history(app: Flask, cookies: dict[str, str], site: str = "") -> str:
    return ask(app, cookies, site, type="chat_history").text


def given(answer: TestResponse) -> dict[str, str]:
    """The cookies that the answer sets, with their attributes; those that it removes have none."""
    found = {}
    for header in answer.headers.getlist("Set-Cookie"):
        ((name, value),) = parse_cookie(header.partition(";")[0]).items()
        found[name] = header.partition("; ")[2] if value else ""
    return found


def value_of(answer: TestResponse) -> str:
    return str(answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0])


# -- names


@pytest.mark.parametrize("site", ["", SHOP])
@pytest.mark.parametrize(
    ("public_url", "prefix", "path"),
    [(ROOT_URL, "__Host-", "/"), (BELOW_URL, "__Secure-", "/live/"), (PLAIN_URL, "", "/")],
)
def test_the_name_says_what_browsers_are_to_enforce(
    tmp_path: Path, public_url: str, prefix: str, path: str, site: str
) -> None:
    cookies = given(write(application(tmp_path, public_url), {}, site))

    assert [*cookies] == [f"{prefix}{FORMER[site]}"]
    attributes = cookies[f"{prefix}{FORMER[site]}"].split("; ")
    assert f"Path={path}" in attributes
    assert not [one for one in attributes if one.startswith("Domain")]
    assert ("Secure" in attributes) is bool(prefix)
    assert "HttpOnly" in attributes
    embedded = bool(site and prefix)
    assert ("SameSite=None" in attributes, "Partitioned" in attributes) == (embedded, embedded)


@pytest.mark.parametrize("site", ["", SHOP])
@pytest.mark.parametrize(
    ("public_url", "prefix"), [(ROOT_URL, "__Host-"), (BELOW_URL, "__Secure-")]
)
def test_a_cookie_of_the_former_name_goes_on_and_is_renamed(
    tmp_path: Path, public_url: str, prefix: str, site: str
) -> None:
    app = application(tmp_path, public_url)
    former = {FORMER[site]: value_of(write(app, {}, site, "as I was"))}

    answer = ask(app, former, site, type="chat_history")

    assert "as I was" in answer.text
    cookies = given(answer)
    assert {*cookies} == {FORMER[site], f"{prefix}{FORMER[site]}"}
    assert cookies[FORMER[site]] == "", "removed"
    renamed = answer.headers.getlist("Set-Cookie")[0].partition(";")[0].split("=", 1)
    again = ask(app, {renamed[0]: renamed[1]}, site, type="chat_history")
    assert "as I was" in again.text
    assert given(again) == {}


def test_the_page_itself_takes_a_cookie_of_the_former_name(tmp_path: Path) -> None:
    app = application(tmp_path, ROOT_URL)
    former = f"sitechat={value_of(write(app, {}, text='as I was'))}"

    page = app.test_client(use_cookies=False).get("/", headers={"Cookie": former})

    assert "as I was" in page.text
    assert {*given(page)} == {"sitechat", "__Host-sitechat"}


def test_the_new_name_wins(tmp_path: Path) -> None:
    """A former name can be planted by another host of the domain."""
    app = application(tmp_path, ROOT_URL)
    mine, planted = value_of(write(app, {})), value_of(write(app, {}, text="theirs"))

    assert "mine" in history(app, {"sitechat": planted, "__Host-sitechat": mine})
    assert "theirs" not in history(app, {"sitechat": planted, "__Host-sitechat": mine})


@pytest.mark.parametrize(
    "names", [("sitechat",), ("__Host-sitechat",), ("sitechat", "__Host-sitechat")]
)
@pytest.mark.parametrize("what", ["forget", "delete_conversation"])
def test_who_leaves_leaves_no_cookie_of_either_name(
    tmp_path: Path, names: tuple[str, ...], what: str
) -> None:
    app = application(tmp_path, ROOT_URL)
    value = value_of(write(app, {}))

    cookies = given(ask(app, dict.fromkeys(names, value), type=what))

    assert {*names} <= {*cookies}
    assert set(cookies.values()) == {""}


def test_a_removal_names_all_that_tells_cookies_apart(tmp_path: Path) -> None:
    """A partitioned cookie is removed only by one that says so."""
    app = application(tmp_path, ROOT_URL)
    value = value_of(write(app, {}, SHOP))
    both = {FORMER[SHOP]: value, f"__Host-{FORMER[SHOP]}": value}

    headers = ask(app, both, SHOP, type="forget").headers.getlist("Set-Cookie")

    assert len(headers) == 2
    for header in headers:
        assert {"Secure", "Partitioned", "Path=/", "SameSite=None"} <= {*header.split("; ")}


@pytest.mark.parametrize("value", ["", "x", "a.b.c", "e30.aaaa.bbbb"])
def test_a_former_cookie_that_we_did_not_sign_is_nobody(tmp_path: Path, value: str) -> None:
    app = application(tmp_path, ROOT_URL)
    write(app, {})

    answer = ask(app, {"sitechat": value}, type="chat_history")

    assert "<article" not in answer.text
    assert given(answer) == {}


def test_over_plain_http_there_is_one_name(tmp_path: Path) -> None:
    app = application(tmp_path, PLAIN_URL)
    value = value_of(write(app, {}))

    assert "mine" in history(app, {"sitechat": value})
    assert "mine" not in history(app, {"__Host-sitechat": value})
    assert {*given(ask(app, {"sitechat": value}, type="forget"))} == {"sitechat"}


# -- redirects

EVIL = "evil.example"
PATHS = [
    *("//", "///", "/live", "/live/", "//live", "//live//", "/live//ajax", "/ajax/", "//ajax/"),
    *("//ajax", "//install", "//handler", "/install/", "/handler/", "//static", "/static/"),
    *(f"//{EVIL}", f"//{EVIL}/", f"///{EVIL}/..", f"//{EVIL}/../ajax", f"//{EVIL}/%2e%2e/install"),
    *(f"/\\{EVIL}", f"\\\\{EVIL}", f"/%5c{EVIL}", f"/live//{EVIL}", f"/live/\\{EVIL}"),
    *(f"//user@{EVIL}/ajax", f"/http://{EVIL}/", f"/https:/{EVIL}", f"/;//{EVIL}", f"/.//{EVIL}"),
    *(f"/static//{EVIL}", f"//static/../{EVIL}", f"/\t/{EVIL}", f"/\r\nLocation: //{EVIL}"),
]
HEADERS = [
    {},
    {"HTTP_HOST": EVIL},
    {"HTTP_HOST": f"chat.example@{EVIL}"},
    {
        "HTTP_X_FORWARDED_HOST": EVIL,
        "HTTP_X_FORWARDED_PREFIX": f"//{EVIL}",
        "HTTP_X_FORWARDED_PROTO": f"https://{EVIL}",
        "HTTP_X_FORWARDED_SERVER": EVIL,
        "HTTP_FORWARDED": f"host={EVIL}",
        "HTTP_X_ORIGINAL_URL": f"//{EVIL}",
    },
    {"SCRIPT_NAME": f"//{EVIL}"},
]


def test_no_answer_depends_on_the_host_that_a_request_names(tmp_path: Path) -> None:
    client = application(tmp_path, ROOT_URL).test_client()

    pages = {
        re.sub("nonce[^ ]*", "", client.get("/", headers={"Host": host}).text)
        for host in ("chat.example", EVIL, f"chat.example@{EVIL}", "a b", "." * 300)
    }

    assert len(pages) == 1
    assert "<html" in pages.pop()


@pytest.mark.parametrize("public_url", [ROOT_URL, BELOW_URL])
def test_no_answer_leads_to_another_host(tmp_path: Path, public_url: str) -> None:
    app = application(tmp_path, public_url, proxies=1)
    leads = set()

    for path, headers, method in itertools.product(PATHS, HEADERS, ["GET", "POST", "HEAD"]):
        environ = EnvironBuilder(method=method).get_environ() | headers
        environ |= {"PATH_INFO": path, "QUERY_STRING": f"lang=//{EVIL}"}
        _, status, answered = run_wsgi_app(app, environ)
        leads |= {answered[name] for name in ("Location", "Refresh", "Link") if name in answered}
        assert not status.startswith("500"), (path, headers)

    if public_url == BELOW_URL:
        assert leads == {f"/live/?lang=//{EVIL}"}
    else:
        assert leads == set()


@pytest.mark.parametrize("host", ["chat.example", EVIL])
@pytest.mark.parametrize(("public_url", "home"), [(ROOT_URL, "/"), (BELOW_URL, "/live/")])
def test_a_plain_form_leads_back_to_our_own_page(
    tmp_path: Path, public_url: str, home: str, host: str
) -> None:
    client = application(tmp_path, public_url).test_client()

    answer = client.post(
        f"/ajax?lang=//{EVIL}",
        data={"type": "send_message", "message": "hello"},
        headers={"Accept": "text/html", "Host": host},
        environ_overrides={"PATH_INFO": "//ajax"},
    )

    assert answer.status_code == 303
    assert urlsplit(answer.headers["Location"])[:3] == ("", "", home)


def test_the_prefix_alone_leads_to_the_page_whose_cookies_the_browser_then_sends(
    tmp_path: Path,
) -> None:
    app = application(tmp_path, BELOW_URL)

    answer = app.test_client().get("/live?lang=ru", headers={"Host": EVIL})

    assert answer.status_code == 308
    assert answer.headers["Location"] == "/live/?lang=ru"
    assert answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/ajax", "//ajax", "/live/ajax", "//live/ajax", "/live//ajax"])
def test_a_proxy_may_double_the_slash(tmp_path: Path, path: str) -> None:
    client: FlaskClient = application(tmp_path, BELOW_URL).test_client()
    form = "type=chat_history"

    answer = client.open(
        "/",
        method="POST",
        data=form,
        content_type="application/x-www-form-urlencoded",
        environ_overrides={"PATH_INFO": path},
    )

    assert answer.status_code == 200


def test_an_identified_customer_has_the_prefix_too(tmp_path: Path) -> None:
    app = application(tmp_path, ROOT_URL)
    signature = hmac.new(SECRET.encode(), f"{SHOP} a@b.example".encode(), "sha256").hexdigest()
    answer = ask(app, {}, SHOP, type="identify", email="a@b.example", signature=signature)

    assert answer.status_code == 200
    assert given(answer) == {}, "a customer is known by the site's token, not by a cookie"


# -- what was found once


def test_a_cookie_that_was_right_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signature is not computed twice; whatever else may have changed is."""
    app, name = application(tmp_path, ROOT_URL), "__Host-sitechat"
    value = value_of(write(app, {}))
    key, now = app.secret_key, time.time()

    for _ in range(2):
        assert "mine" in history(app, {name: value})
        assert history(app, {name: f"{value}x"}) == ""
        app.secret_key = "another"
        assert history(app, {name: value}) == "", "the key has changed"
        app.secret_key = key
    monkeypatch.setattr("time.time", lambda: now + 364 * 86_400)
    assert "mine" in history(app, {name: value})
    monkeypatch.setattr("time.time", lambda: now + 366 * 86_400)
    assert history(app, {name: value}) == "", "its time is over"
    monkeypatch.setattr("time.time", lambda: now - 366 * 86_400)
    assert "mine" in history(app, {name: value}), "a clock was set back"


def test_what_a_request_changes_in_its_session_is_not_another_requests(tmp_path: Path) -> None:
    app, name = application(tmp_path, ROOT_URL), "__Host-sitechat"
    value = value_of(write(app, {}))

    assert ask(app, {name: value}, type="forget").status_code == 200

    assert "mine" in history(app, {name: value})


def test_each_request_has_its_own_site_language_and_address(tmp_path: Path) -> None:
    app = application(tmp_path, ROOT_URL, proxies=1)
    refused = {"type": "?"}

    def asked(accept: str, site: str, address: str) -> tuple[str, str]:
        headers = {"Accept-Language": accept, "X-Forwarded-For": address, "X-Chat-Site": site}
        client = app.test_client(use_cookies=False)
        text = client.post("/ajax", data=refused, headers=headers).get_json()["result"]
        sent = {"type": "send_message", "message": "hello"}
        cookie = next(iter(given(client.post("/ajax", data=sent, headers=headers))))
        return text["error_description"][:7], cookie

    for _ in range(2):
        english = asked("en", SHOP, "203.0.113.1")
        russian = asked("ru", ROOT_URL, "203.0.113.2")

        assert english[1] == f"__Host-{FORMER[SHOP]}"
        assert russian[1] == "__Host-sitechat"
        assert english[0].isascii()
        assert not russian[0].isascii()


def test_a_site_that_is_taken_away_on_the_page_is_refused_at_once(tmp_path: Path) -> None:
    app, other = application(tmp_path, ROOT_URL), "https://other.example"
    services_of(app).save_page_settings({"chat.sites": [other]})
    assert write(app, {}, other).status_code == 200

    services_of(app).save_page_settings({"chat.sites": []})

    answer = write(app, {}, other)
    assert answer.status_code == 403
    assert other not in answer.headers["Content-Security-Policy"]


def test_a_request_asks_the_store_no_more_than_it_must(tmp_path: Path) -> None:
    app, name = application(tmp_path, ROOT_URL), "__Host-sitechat"
    cookies = {name: value_of(write(app, {}))}
    read: list[str] = []
    ask(app, cookies, type="chat_history")  # what is read once a second or once a process
    database = services_of(app).store.database
    rows = database.rows

    def counted(sql: str, *values: object, **named: object) -> list[Row]:
        read.append(sql)
        return rows(sql, *values, **named)

    database.rows = counted  # type: ignore[method-assign]
    client_id = "5b0c1d9e-0d3c-4a57-9a55-2f0b1f1c9d11"

    assert ask(app, cookies, type="send_message", message="b", client_id=client_id).json
    # Who writes. Whether it is a repeat, and the limits allow it, is found out as it is stored.
    assert len([sql for sql in read if not sql.startswith("select value from meta")]) == 1, read
