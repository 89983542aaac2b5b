"""A portal that was renamed, or whose certificate is at fault, as its administrator meets it."""

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from stage import HOST, Stage, wait_until
from starter import sitechat

from app import create_app
from settings import Bitrix24Settings, Settings, StorageSettings
from storage import Store
from store.records import NewAddress, Portal, ReportedFault
from web.verdict import verdict

KNOWN = Portal("member", 1, "access", "refresh", 4e9, "application", False, 1.0)


@contextmanager
def listener(tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server that is no portal of ours, and what it hears."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = HTTPServer((HOST, 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"localhost:{server.server_port}", heard
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("renamed")) as stage:
        stage.install()
        yield stage


def open_page(stage: Stage, user_id: int = 1, **fields: str) -> requests.Response:
    """The application's own page, opened in the portal by one of its users."""
    token = stage.press("token", user_id=user_id)
    form = {
        "PLACEMENT": "DEFAULT",
        "AUTH_ID": token["access_token"],
        "member_id": token["member_id"],
        **fields,
    }
    answer = requests.post(f"{stage.chat}/handler", data=form, params={"LANG": "en"}, timeout=60)
    assert token["access_token"] not in answer.text
    return answer


def ticket_in(page: requests.Response) -> str:
    found = re.search(r'name="rename" value="([^"]+)"', page.text)
    return found[1] if found else ""


def status(stage: Stage) -> dict[str, Any]:
    """What `sitechat status` prints for a Russian administrator."""
    said = sitechat("status", environment=stage.environment() | {"LC_ALL": "ru_RU.UTF-8"})
    assert said.returncode == 0, said
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_a_redirect_that_the_oauth_server_does_not_confirm_is_given_nothing(stage: Stage) -> None:
    chat = stage.visitor().post(type="send_message", message="before").json()["chat"]
    wait_until(lambda: stage.texts(chat) == ["before"])
    with listener() as (elsewhere, heard):
        stage.trouble(redirected_to=f"http://{elsewhere}")
        later = stage.visitor().post(type="send_message", message="meanwhile").json()["chat"]
        answer = open_page(stage)

        assert f"does not confirm that your Bitrix24 lives at http://{elsewhere}" in answer.text
        assert not ticket_in(answer)
        wait_until(lambda: status(stage)["fault"])
        stage.trouble(redirected_to="")
        assert stage.texts(later) == []
    assert heard == []


def test_a_renamed_portal_is_called_at_its_new_address_once_an_administrator_agrees(
    stage: Stage,
) -> None:
    new = stage.portal.replace(HOST, "localhost")
    stage.trouble(renamed_to=new)
    chat = stage.visitor().post(type="send_message", message="while it moves").json()["chat"]

    # Who is no administrator is told no more than that.
    page = open_page(stage, user_id=18)
    assert "Only an administrator of the portal can agree" in page.text
    assert not ticket_in(page)
    # A stranger, who does not know the portal's id, is told nothing.
    assert "localhost" not in open_page(stage, member_id="guessed").text

    def install(member_id: str) -> str:
        form = {"AUTH_ID": "x", "REFRESH_ID": "y", "AUTH_EXPIRES": "1", "member_id": member_id}
        return requests.post(f"{stage.chat}/install?LANG=en", data=form, timeout=30).text

    assert "localhost" not in install("guessed")
    assert "sends us to another address." in install("guessed")
    assert f"sends us to another address: {new}" in install(
        stage.press("token", user_id=1)["member_id"]
    )

    page = open_page(stage)
    assert f"{stage.portal} was renamed: {new}." in page.text
    assert page.headers["Content-Security-Policy"].endswith(f"frame-ancestors {new}")
    fault = wait_until(lambda: status(stage)["fault"])
    assert fault["code"] == "PORTAL_RENAMED"
    assert f"{stage.portal} направляет на другой адрес: http://localhost:" in fault["cure"][0]
    assert stage.texts(chat) == []

    form = {"PLACEMENT": "DEFAULT", "rename": ticket_in(page)}
    done = requests.post(f"{stage.chat}/handler", data=form, timeout=30)

    assert f"The chat now uses {new}" in done.text
    wait_until(lambda: stage.texts(chat) == ["while it moves"])
    kept = f"The chat uses {new}, as an administrator agreed, while bitrix24.portal still names"
    assert f"{kept} {stage.portal}" in open_page(stage).text
    assert (status(stage)["portal"], status(stage)["fault"]) == (new, None)

    again = requests.post(f"{stage.chat}/handler", data=form, timeout=30)
    assert again.status_code == 403
    assert "answered already" in again.text


def test_an_agreement_for_another_setting_does_not_outlive_it(tmp_path: Path) -> None:
    def start(portal: str) -> Store:
        url = f"sqlite:///{tmp_path}/chats.db"
        app = create_app(
            Settings(
                bitrix24=Bitrix24Settings(portal=portal, client_id="a", client_secret="b"),  # type: ignore[arg-type]
                storage=StorageSettings(url=url, files=str(tmp_path / "files")),
            )
        )
        found: Store = app.extensions["sitechat"].store
        return found

    old, new = "https://old.example", "https://new.example"
    start(old).notes.new_address.set(NewAddress(old, new))
    assert start(old).notes.new_address.get() == NewAddress(old, new)
    start(new)
    assert start(old).notes.new_address.get() is None


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ("an issuer that this server does not know", "so nothing was sent")),
        ("ru", ("центром, который этому серверу не известен", "поэтому ничего не отправлено")),
    ],
)
def test_a_certificate_is_named_with_the_cure_on_the_administrators_page(
    tmp_path: Path, language: str, texts: tuple[str, str]
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    with listener(tls) as (place, heard):
        portal = f"https://{place}"
        app = create_app(
            Settings(
                bitrix24=Bitrix24Settings(portal=portal, client_id="a", client_secret="b"),  # type: ignore[arg-type]
                storage=StorageSettings(
                    url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path / "files")
                ),
            )
        )
        store = app.extensions["sitechat"].store
        store.portal.save(KNOWN)

        def page(member_id: str) -> str:
            form = {"PLACEMENT": "DEFAULT", "AUTH_ID": "token", "member_id": member_id}
            answer = app.test_client().post(f"/handler?LANG={language}", data=form)
            return " ".join(answer.text.split())

        assert texts[0] in page("member")
        assert portal in page("member")
        assert "CERTIFICATE" not in page("guessed")

        store.notes.fault.set(ReportedFault("profile", "CERTIFICATE_UNKNOWN"))
        app.extensions["sitechat"].watch.forget()
        with app.test_request_context(f"/handler?LANG={language}", method="POST"):
            said = [one.text for one in verdict().troubles if "CERTIFICATE_UNKNOWN" in one.text]
        assert texts[1] in said[0]
        assert f"{portal} " in said[0]
    assert heard == []
