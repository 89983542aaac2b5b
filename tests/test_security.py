"""Nobody but the portal tells us anything; nobody but the visitor reads a chat."""

import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
from stage import LINE, Stage, wait_until

from portal.tokens import StoredTokens
from storage import Store

CHAT = "chat" + "0" * 64
PAGES = ("/", "/install", "/static/chat.js")


def kept(stage: Stage) -> dict[str, Any]:
    """What an outsider must not be able to change."""
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db")) as db:
        return {
            table: db.execute(f"select * from {table}").fetchall()
            for table in ("portal", "lines", "chats", "messages")
        }


def event(stage: Stage, name: str = "ONIMCONNECTORMESSAGEADD", **auth: str) -> dict[str, str]:
    item = "data[MESSAGES][0]"
    return {
        "event": name,
        "data[CONNECTOR]": "example_connector_1",
        "data[LINE]": str(LINE),
        f"{item}[im][chat_id]": "5120",
        f"{item}[im][message_id]": "903311",
        f"{item}[message][user_id]": "18",
        f"{item}[message][text]": "forged",
        f"{item}[chat][id]": CHAT,
        "data[connector]": "example_connector_1",
        "data[line]": str(LINE),
        "auth[member_id]": stage.state()["member_id"],
        **{f"auth[{key}]": value for key, value in auth.items()},
    }


@pytest.fixture
def outsider() -> Iterator[tuple[str, list[str]]]:
    """Somebody's server, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            body = b'{"result": {"CODE": "local.sandbox", "ADMIN": true, "ID": "1"}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


# -- who is the portal


@pytest.mark.parametrize(
    "name",
    [
        "ONIMCONNECTORMESSAGEADD",
        "ONIMCONNECTORSTATUSDELETE",
        "ONIMCONNECTORDIALOGFINISH",
        "ONAPPUNINSTALL",
    ],
)
def test_a_forged_event_changes_nothing(
    stage: Stage, outsider: tuple[str, list[str]], name: str
) -> None:
    url, asked = outsider
    before = kept(stage)
    forged = event(
        stage,
        name,
        application_token="0" * 32,
        access_token="forged",
        client_endpoint=f"{url}/rest/",
        server_endpoint=f"{url}/rest/",
        domain=url.removeprefix("http://"),
    )

    answer = requests.post(f"{stage.chat}/handler", data=forged, timeout=30)

    assert answer.status_code == 403
    assert kept(stage) == before
    assert asked == []


def test_the_first_application_token_is_learned_only_from_a_proven_event(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(placement_token=False)  # older portals: only events bring it
        stage.install()
        real = stage.state()["application_token"]
        url = f"{stage.chat}/handler"

        def post(**auth: str) -> int:
            return requests.post(url, data=event(stage, **auth), timeout=30).status_code

        assert post(application_token="0" * 32) == 403
        assert post(application_token="0" * 32, access_token="forged") == 403
        assert post(application_token=real) == 403  # nothing proves it yet
        assert kept(stage)["messages"] == []

        operators = stage.press("token", user_id=18)["access_token"]
        assert post(application_token=real, access_token=operators) == 200
        assert post(application_token=real) == 200
        assert post(application_token="0" * 32, access_token=operators) == 403
        assert len(kept(stage)["messages"]) == 1


def test_a_flood_of_forgeries_leaves_the_portal_to_the_messages(tmp_path: Path) -> None:
    with Stage(tmp_path, 2, SITECHAT_LIMITS__FAILED_PROOFS_PER_MINUTE="10") as stage:
        stage.trouble(placement_token=False)
        stage.install()
        known = len(stage.calls("app.info"))
        visitor = stage.visitor()
        install = {"PLACEMENT": "DEFAULT", "REFRESH_ID": "r", "member_id": "m"}

        def forge(number: int) -> int:
            token = f"forged{number}"
            told = event(stage, application_token="0" * 32, access_token=token)
            path, form = (
                ("handler", told) if number % 2 else ("install", install | {"AUTH_ID": token})
            )
            return requests.post(f"{stage.chat}/{path}", data=form, timeout=30).status_code

        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(forge, range(100)))
        visitor.send("hello")
        visitor.wait_for('data-state="delivered"')

        assert set(codes) == {403, 429}
        assert 10 <= len(stage.calls("app.info")) - known <= 20  # of a minute, or of two
        assert stage.counts()["refused"] == 0


def test_an_event_of_another_portal_costs_no_call(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(placement_token=False)
        stage.install()
        known = len(stage.calls("app.info"))
        forged = event(stage, application_token="0" * 32, access_token="x", member_id="another")

        answer = requests.post(f"{stage.chat}/handler", data=forged, timeout=30)

        assert answer.status_code == 403
        assert len(stage.calls("app.info")) == known


def test_no_flood_makes_us_read_the_portals_history_again_and_again(tmp_path: Path) -> None:
    """Only an event may bring an answer that is lost when we turn it away."""
    with Stage(tmp_path, SITECHAT_LIMITS__INSTALLS_PER_MINUTE="3") as stage:
        stage.install()
        options = '{"LINE":1,"ACTIVE_STATUS":"1","CONNECTOR":"example_connector_1"}'
        forged = {"PLACEMENT": "SETTING_CONNECTOR", "PLACEMENT_OPTIONS": options, "AUTH_ID": "x"}

        def post() -> int:
            return requests.post(f"{stage.chat}/handler", data=forged, timeout=30).status_code

        def noted(what: str, table: str, key: str) -> list[Any]:
            with closing(sqlite3.connect(stage.folder / "chats" / "chats.db")) as db:
                query = f"select * from {table} where {key} like '%{what}%'"
                return db.execute(query).fetchall()

        assert 429 in {post() for _ in range(9)}
        wait_until(lambda: noted("answered", "refusals", "reason"), why="the refusals noted")
        assert noted("events_lost_at", "meta", "key") == []


def test_an_install_waits_for_a_renewal_under_way(tmp_path: Path) -> None:
    """The renewal's old pair would replace the new one."""
    with Stage(tmp_path) as stage, ThreadPoolExecutor(1) as pool:
        stage.install()
        before = kept(stage)["portal"]
        with closing(Store("sqlite:///chats/chats.db", stage.folder, 1)) as store:
            with StoredTokens(store).lock():
                install = pool.submit(stage.install)
                wait_until(lambda: len(stage.calls("profile")) >= 2)
                time.sleep(0.5)
                assert kept(stage)["portal"] == before
            install.result(60)

        assert kept(stage)["portal"] != before


def test_proofs_that_succeed_are_not_counted(tmp_path: Path) -> None:
    with Stage(tmp_path, SITECHAT_LIMITS__FAILED_PROOFS_PER_MINUTE="1") as stage:
        for _ in range(2):
            stage.install()


def test_a_reinstall_brings_a_new_application_token(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(placement_token=False)
        stage.install()
        visitor = stage.visitor()
        chat = visitor.send("hello")["chat"]
        wait_until(lambda: stage.texts(chat))
        stage.press("answer", external_chat_id=chat, text="before")
        visitor.wait_for("before")
        old = stage.state()["application_token"]

        stage.install()
        assert stage.state()["application_token"] != old
        stage.press("answer", external_chat_id=chat, text="after")

        visitor.wait_for("after")


def test_a_forged_install_changes_nothing_and_calls_nobody_else(
    stage: Stage, outsider: tuple[str, list[str]]
) -> None:
    url, asked = outsider
    before = kept(stage)
    domain = url.removeprefix("http://")
    page = {
        "PLACEMENT": "DEFAULT",
        "AUTH_ID": "forged",
        "REFRESH_ID": "forged",
        "AUTH_EXPIRES": "3600",
        "member_id": stage.state()["member_id"],
        "SERVER_ENDPOINT": f"{url}/rest/",
        "APPLICATION_TOKEN": "0" * 32,
    }
    callback = event(stage, "ONAPPINSTALL", application_token="0" * 32) | {
        "auth[access_token]": "forged",
        "auth[refresh_token]": "forged",
        "auth[client_endpoint]": f"{url}/rest/",
        "auth[server_endpoint]": f"{url}/rest/",
    }

    for form in (page, callback):
        answer = requests.post(
            f"{stage.chat}/install",
            params={"DOMAIN": domain, "PROTOCOL": "0", "APP_SID": "1" * 32},
            data=form,
            timeout=30,
        )
        assert answer.status_code == 403
        assert "successfully" not in answer.text

    assert kept(stage) == before
    assert asked == []


def test_an_operators_token_installs_nothing(stage: Stage) -> None:
    before = kept(stage)
    granted = stage.press("token", user_id=18)
    form = {
        "PLACEMENT": "DEFAULT",
        "AUTH_ID": granted["access_token"],
        "REFRESH_ID": granted["refresh_token"],
        "member_id": granted["member_id"],
    }

    assert requests.post(f"{stage.chat}/install", data=form, timeout=30).status_code == 403
    assert kept(stage) == before


def test_the_settings_page_neither_keeps_nor_uses_its_tokens(stage: Stage) -> None:
    before = kept(stage)["portal"]
    granted = stage.press("token", user_id=18)
    calls = len(stage.calls("imconnector.activate"))
    form = {
        "PLACEMENT": "SETTING_CONNECTOR",
        "PLACEMENT_OPTIONS": f'{{"LINE":{LINE},"CONNECTOR":"example_connector_1",'
        '"ACTIVE_STATUS":true}',
        "AUTH_ID": granted["access_token"],
        "REFRESH_ID": granted["refresh_token"],
        "member_id": granted["member_id"],
    }

    answer = requests.post(
        f"{stage.chat}/handler", params={"APP_SID": "9" * 32}, data=form, timeout=30
    )

    assert "successfully" in answer.text
    assert kept(stage)["portal"] == before
    activated = stage.calls("imconnector.activate")[calls]
    assert activated["user_id"] == 1  # the installer, not the operator who opened the page


def test_the_settings_page_with_a_wrong_application_token_is_refused(stage: Stage) -> None:
    granted = stage.press("token", user_id=1)
    form = {
        "PLACEMENT": "SETTING_CONNECTOR",
        "PLACEMENT_OPTIONS": '{"LINE":12,"CONNECTOR":"example_connector_1","ACTIVE_STATUS":true}',
        "AUTH_ID": granted["access_token"],
        "APPLICATION_TOKEN": "9" * 32,
    }

    assert requests.post(f"{stage.chat}/handler", data=form, timeout=30).status_code == 403
    assert 12 not in [row[0] for row in kept(stage)["lines"]]


def test_an_employee_who_is_no_administrator_teaches_no_application_token(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(placement_token=False)
        stage.install()
        form = {
            "PLACEMENT": "SETTING_CONNECTOR",
            "PLACEMENT_OPTIONS": f'{{"LINE":{LINE},"ACTIVE_STATUS":true}}',
            "AUTH_ID": stage.press("token", user_id=18)["access_token"],
            "APPLICATION_TOKEN": "9" * 32,
        }
        assert requests.post(f"{stage.chat}/handler", data=form, timeout=30).status_code == 200

        forged = event(stage, application_token="9" * 32)
        assert requests.post(f"{stage.chat}/handler", data=forged, timeout=30).status_code == 403
        form["AUTH_ID"] = stage.press("token", user_id=1)["access_token"]
        form["APPLICATION_TOKEN"] = stage.state()["application_token"]
        assert requests.post(f"{stage.chat}/handler", data=form, timeout=30).status_code == 200
        real = event(stage, application_token=stage.state()["application_token"])
        assert requests.post(f"{stage.chat}/handler", data=real, timeout=30).status_code == 200


def test_what_was_turned_away_is_shown_to_the_admin(stage: Stage) -> None:
    requests.post(
        f"{stage.chat}/handler", data=event(stage, application_token="1" * 32), timeout=30
    )

    def shown() -> bool:
        page = stage.admin_page()
        return "/handler: the application token is not ours" in page

    wait_until(shown, 15)
    assert "/handler: application token не наш" in stage.admin_page(language="ru")


# -- who is the visitor


def test_the_cookie_is_for_this_site_and_its_server_alone(stage: Stage) -> None:
    answer = stage.visitor().post(type="send_message", message="hello")

    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie  # plain HTTP on loopback
    assert "Set-Cookie" not in stage.visitor().post(type="chat_history").headers


def test_under_https_the_cookie_is_secure_and_hsts_is_on(tmp_path: Path) -> None:
    with Stage(tmp_path, SITECHAT_PUBLIC_URL="https://site.example/myconnector") as stage:
        answer = requests.post(
            f"{stage.chat}/ajax", data={"type": "send_message", "message": "hello"}, timeout=30
        )
        below = requests.get(f"{stage.chat}/myconnector/", timeout=30)

        assert "; Secure" in answer.headers["Set-Cookie"]
        assert "Path=/myconnector/" in answer.headers["Set-Cookie"]
        assert answer.headers["Strict-Transport-Security"]
        assert 'href="/myconnector/static/' in below.text


def test_the_token_cannot_be_told_from_the_chat_id(stage: Stage) -> None:
    visitor = stage.visitor()
    chat = visitor.send("hello")["chat"]

    cookie = str(visitor.http.cookies.get("sitechat"))

    assert len(cookie) > 50
    assert chat[36:] not in cookie
    assert chat[4:36] not in cookie


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "https://site.example.evil"]
)
def test_a_page_of_another_site_neither_reads_nor_writes(stage: Stage, origin: str) -> None:
    visitor = stage.visitor()
    visitor.send("mine")

    for kind in ("chat_history", "send_message"):
        answer = visitor.http.post(
            f"{stage.chat}/ajax",
            data={"type": kind, "message": "forged"},
            headers={"Origin": origin},
            timeout=30,
        )
        assert answer.status_code == 403
        assert "mine" not in answer.text

    assert "forged" not in visitor.history()


def test_our_own_page_and_named_sites_may_write(stage: Stage) -> None:
    for origin in (stage.chat, stage.portal):
        answer = requests.post(
            f"{stage.chat}/ajax",
            data={"type": "send_message", "message": "hello"},
            headers={"Origin": origin},
            timeout=30,
        )
        assert answer.status_code == 200


def test_a_flood_of_one_visitor_is_limited_and_fifty_visitors_are_not(tmp_path: Path) -> None:
    limits = {
        "SITECHAT_LIMITS__VISITOR_PER_MINUTE": "20",
        "SITECHAT_LIMITS__ADDRESS_PER_MINUTE": "150",
    }
    with Stage(tmp_path, workers=2, **limits) as stage:
        if time.time() % 60 > 40:  # the whole test within one minute of the clock
            time.sleep(61 - time.time() % 60)
        for _ in range(50):
            assert stage.visitor().post(type="send_message", message="hello").status_code == 200
        flood = stage.visitor()
        codes = [flood.post(type="send_message", message="x").status_code for _ in range(25)]
        assert codes == [200] * 20 + [429] * 5

        last = flood.post(type="send_message", message="x")
        assert 1 <= int(last.headers["Retry-After"]) <= 60
        assert "Too many messages" in last.json()["result"]["error_description"]
        assert flood.history().count("<article") == 20

        codes = [
            stage.visitor().post(type="send_message", message="x").status_code for _ in range(85)
        ]
        assert codes == [200] * 80 + [429] * 5


# -- what the pages allow


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_keeps_the_browser_strict(stage: Stage, path: str) -> None:
    answer = requests.get(f"{stage.chat}{path}", timeout=30)

    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"]


def test_only_the_portal_frames_install_and_only_sites_frame_the_chat(stage: Stage) -> None:
    def ancestors(path: str) -> list[str]:
        policy = requests.get(f"{stage.chat}{path}", timeout=30).headers["Content-Security-Policy"]
        found = re.search(r"frame-ancestors ([^;]+)", policy)
        assert found is not None
        return found[1].split()

    assert ancestors("/install") == [stage.portal]
    assert ancestors("/") == ["'self'", stage.portal]  # the stage names the portal as a site


def test_the_chat_page_needs_nothing_from_a_third_party(stage: Stage) -> None:
    page = requests.get(f"{stage.chat}/", timeout=30).text

    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]+', page) == []


def test_the_chats_folder_is_not_served(stage: Stage) -> None:
    for path in (
        "/chats/",
        "/chats/chats.db",
        "/static/../chats/chats.db",
        "/static/%2e%2e/app.py",
    ):
        assert requests.get(f"{stage.chat}{path}", timeout=30).status_code == 404


def test_no_secret_is_in_the_log(stage: Stage) -> None:
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db")) as db:
        secrets = db.execute(
            "select access_token, refresh_token, application_token from portal"
        ).fetchone()
        (key,) = db.execute("select value from meta where key = 'secret_key'").fetchone()

    log = stage.log.read_text()
    assert log
    for secret in (*secrets, key, "sandbox-secret"):
        assert secret
        assert secret not in log
