"""Every install that fails says what is wrong and how to mend it, in the admin's language."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from pages import page_of
from playwright.sync_api import Browser, expect
from pydantic import SecretStr
from soak import mend
from stage import Stage, free_port, wait_until
from test_repair import make_old

from app import create_app
from rest.errors import OAUTH
from settings import Bitrix24Settings, Settings, StorageSettings
from storage import Store
from store.notes import Notes
from store.records import Portal, ReportedFault


def page_text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


def visit(stage: Stage, language: str = "en") -> requests.Response:
    return requests.get(f"{stage.chat}/install", params={"LANG": language}, timeout=40)


@pytest.fixture(scope="module")
def never_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("never-installed")) as stage:
        yield stage


@pytest.fixture
def empty_stage(never_installed: Stage) -> Iterator[Stage]:
    """A stage without an installation, for tests that leave it so; they share it."""
    yield never_installed
    mend(never_installed)
    state = never_installed.state()
    assert (state["connectors"], state["bindings"]) == ({}, [])


def test_settings_that_lack_the_portal_are_named(tmp_path: Path) -> None:
    with Stage(tmp_path, SITECHAT_BITRIX24__PORTAL="") as stage:
        answer = stage.press("install")

        assert answer["status"] == 503
        assert "bitrix24.portal" in page_text(answer["body"])
        assert "successfully" not in answer["body"]


def test_a_secret_that_is_missing_is_named_in_russian(tmp_path: Path) -> None:
    with Stage(tmp_path, SITECHAT_BITRIX24__CLIENT_SECRET="") as stage:
        answer = visit(stage, "ru")

        assert answer.status_code == 503
        assert "В настройках нет" in answer.text
        assert "bitrix24.client_secret" in answer.text


def test_a_portal_that_does_not_answer_is_named(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with Stage(tmp_path, SITECHAT_BITRIX24__PORTAL=nobody) as stage:
        answer = stage.press("install")

        assert answer["status"] == 503
        assert f"{nobody} does not answer" in page_text(answer["body"])


def test_something_that_is_no_portal_is_named(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.settings["SITECHAT_BITRIX24__PORTAL"] = stage.chat
    with stage:
        answer = stage.press("install")

        assert answer["status"] == 502
        assert "there is no Bitrix24" in page_text(answer["body"])


def test_the_token_of_another_portal_is_refused(empty_stage: Stage) -> None:
    form = {
        "PLACEMENT": "DEFAULT",
        "AUTH_ID": "ofanotherportal",
        "REFRESH_ID": "x",
        "AUTH_EXPIRES": "3600",
        "member_id": "0" * 32,
    }

    answer = requests.post(f"{empty_stage.chat}/install", data=form, timeout=40)

    assert answer.status_code == 403
    assert "does not know the token" in page_text(answer.text)
    # The portal that shows the page is not ours, and its administrator must be able to read it.
    assert "frame-ancestors *" in answer.headers["Content-Security-Policy"]


def test_the_token_of_another_application_is_refused(tmp_path: Path) -> None:
    with Stage(tmp_path, SITECHAT_BITRIX24__CLIENT_ID="local.another") as stage:
        answer = stage.press("install")

        assert answer["status"] == 403
        assert "another application" in page_text(answer["body"])


def test_who_is_no_administrator_cannot_install(empty_stage: Stage) -> None:
    answer = empty_stage.press("install", user_id=18)

    assert answer["status"] == 403
    assert "Only an administrator" in page_text(answer["body"])
    assert empty_stage.state()["bindings"] == []
    assert visit(empty_stage).status_code == 409


def test_a_folder_that_cannot_be_made_is_named_and_mended(tmp_path: Path) -> None:
    (tmp_path / "chats").write_text("a file in the way")
    with Stage(tmp_path) as stage:
        answer = stage.press("install")

        assert answer["status"] == 500
        assert 'error create dir "chats":' in page_text(answer["body"]).replace("&#34;", '"')
        message = stage.visitor().post(type="send_message", message="hello")
        assert message.status_code == 503
        assert message.json()["result"]["error"] == "STORE"
        assert message.headers["Retry-After"]

        (tmp_path / "chats").unlink()

        assert stage.press("install")["status"] == 200
        assert stage.visitor().send("hello")["result"]["state"] == "stored"


def test_what_the_portal_refuses_is_shown_with_its_code(tmp_path: Path) -> None:
    with Stage(tmp_path, SITECHAT_CONNECTOR__ID="taken_by_another_app") as stage:
        stage.press("foreign-connector", id="taken_by_another_app")

        answer = stage.press("install")

        assert answer["status"] == 502
        assert "APPLICATION_REGISTRATION_ERROR" in page_text(answer["body"])


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        ({"query_limit": 99}, "Wait a minute"),
        ({"overload": True}, "Only its support can lift that"),
        ({"down": True}, "does not answer"),
        ({"http_500": True}, "answers with an error of its own"),
    ],
)
def test_the_cure_is_the_troubles_own(
    empty_stage: Stage, trouble: dict[str, object], cure: str
) -> None:
    empty_stage.trouble(**trouble)

    answer = empty_stage.press("install")

    assert answer["status"] in (502, 503)
    assert cure in page_text(answer["body"])


def test_the_reason_is_seen_inside_the_portals_own_page(tmp_path: Path, browser: Browser) -> None:
    """The settings name another portal, so that no setting says who may frame the page."""
    nobody = f"http://127.0.0.1:{free_port()}"
    with (
        Stage(tmp_path, SITECHAT_BITRIX24__PORTAL=nobody) as stage,
        page_of(browser) as page,
    ):
        page.goto(f"{stage.portal}/install-app")
        page.get_by_role("button", name="Install").click()

        expect(page.frame_locator("iframe").locator("main")).to_contain_text("does not answer")


def test_an_admin_who_tries_again_and_again_is_told_what_is_wrong(fresh_stage: Stage) -> None:
    assert {visit(fresh_stage).status_code for _ in range(10)} == {409}
    form = {"PLACEMENT": "DEFAULT", "AUTH_ID": "x", "REFRESH_ID": "y"}
    for _ in range(70):
        answer = requests.post(f"{fresh_stage.chat}/install", data=form, timeout=40)
        if answer.status_code == 429:
            break

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 60
    assert "Too many requests" in page_text(answer.text)


def test_a_plain_visit_before_the_install_says_what_to_do(empty_stage: Stage) -> None:
    answer = visit(empty_stage)

    assert answer.status_code == 409
    assert f"{empty_stage.chat}/handler" in answer.text
    assert f"{empty_stage.chat}/install" in answer.text
    assert "successfully" not in answer.text


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_page_shows_a_secret(fresh_stage: Stage, language: str) -> None:
    fresh_stage.install()
    fresh_stage.trouble(broken_method="imconnector.register")
    answer = fresh_stage.press("install")
    assert answer["status"] == 502

    pages = [answer["body"], visit(fresh_stage, language).text]
    pages.append(fresh_stage.admin_page(language=language))

    told = "".join(pages) + fresh_stage.log.read_text()
    assert "imconnector.register" in pages[2]
    assert "sandbox-secret" not in told
    assert fresh_stage.state()["application_token"] not in told


# -- a visit without tokens, once installed

SECRETS = (
    "turned away",
    "/handler:",
    "Delivery stands",
    "waiting",
    "Last look",
    "UTC",
    "bitrix24.",
    "imconn",
)


def test_a_stranger_gets_the_verdict_and_an_administrator_the_reasons(
    tmp_path: Path,
) -> None:
    with Stage(tmp_path) as stage:
        stage.install()
        requests.post(f"{stage.chat}/handler", {"PLACEMENT": "strange"}, timeout=30)
        wait_until(lambda: "/handler: PLACEMENT" in stage.admin_page(), 15, "the count")
        registrations = len(stage.calls("imconnector.register"))

        works = [visit(stage) for _ in range(20)]

        assert {(one.status_code, page_text(one.text)) for one in works} == {
            (200, page_text(works[0].text))
        }
        assert "successfully" in works[0].text
        assert len(stage.calls("imconnector.register")) == registrations
        assert "successfully" in stage.admin_page()
        assert "successfully" in stage.admin_page(user_id=18), "as operators always saw it"

        stage.trouble(broken_method="imconnector.register", broken_code="ERROR_CORE")
        stage.press("install")
        fails = visit(stage)

        assert fails.status_code == 503
        assert "successfully" not in fails.text
        assert "The reasons are for an administrator" in fails.text
        reasons = stage.admin_page()
        assert "imconnector.register answered ERROR_CORE" in reasons
        assert "successfully" not in reasons
        for stranger in (*works, fails):
            assert not [secret for secret in SECRETS if secret in page_text(stranger.text)]
        assert "ERROR_CORE" not in stage.admin_page(user_id=18), "an operator"
        forged = {"PLACEMENT": "DEFAULT", "AUTH_ID": "forged", "member_id": "m"}
        for form in (forged, {"PLACEMENT": "DEFAULT"}):
            answer = requests.post(f"{stage.chat}/handler", form, timeout=30)
            assert answer.status_code == 200
            assert "ERROR_CORE" not in answer.text


def test_other_settings_are_told_the_portal_soon_after_a_start(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.install()
        stage.kill()
        make_old(stage)
        stage.settings["SITECHAT_CONNECTOR__NAME"] = "Another name"

        stage.start()

        def name() -> object:
            (connector,) = stage.state()["connectors"].values()
            return connector["name"]

        wait_until(lambda: name() == "Another name", 15)
        assert "successfully" in visit(stage).text
        registrations = len(stage.calls("imconnector.register"))
        stage.kill()
        stage.start()
        wait_until(lambda: len(stage.calls("app.info")) >= 4, 15, "the next check")
        assert len(stage.calls("imconnector.register")) == registrations


def test_a_flood_of_strangers_keeps_no_administrator_waiting(tmp_path: Path) -> None:
    """They have used up the installs and the failed proofs of the minute, behind one address."""
    limits = {"INSTALLS_PER_MINUTE": "10", "FAILED_PROOFS_PER_MINUTE": "5"}
    settings = {f"SITECHAT_LIMITS__{name}": value for name, value in limits.items()}
    with Stage(tmp_path, 1, **settings) as stage:
        stage.install()
        form = {"PLACEMENT": "DEFAULT", "AUTH_ID": "x", "REFRESH_ID": "y", "member_id": "m"}
        install = f"{stage.chat}/install"
        wait_until(lambda: requests.post(install, form, timeout=30).status_code == 429)

        stage.install()


# -- what stands in the way, as the notes of the store say it

KNOWN = Portal("member", 1, "access", "refresh", 4e9, "token", False, 1.0)


@pytest.mark.parametrize(
    "happens",
    [
        lambda notes: notes.fault.set(ReportedFault("m", "C")),
        lambda notes: notes.refused_registration.set(ReportedFault("m", "C")),
        lambda notes: notes.refused_renewal.set(ReportedFault(OAUTH, "INVALID_CLIENT")),
        lambda notes: notes.registered.clear(),
        lambda notes: notes.is_unfinished.set(True),
    ],
)
def test_what_stands_in_the_way_is_a_verdict_without_a_reason(
    tmp_path: Path, happens: Callable[[Notes], None]
) -> None:
    bitrix24 = Bitrix24Settings(
        portal="https://b24.example", client_id="local.1", client_secret=SecretStr("s" * 20)
    )
    storage = StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path))
    app = create_app(
        Settings(public_url="https://chat.example", bitrix24=bitrix24, storage=storage)
    )
    store = app.extensions["sitechat"].store
    store.portal.save(KNOWN)
    store.portal.connect_line(1, 1.0)
    store.notes.registered.set("digest")
    store.notes.up_at.set(time.time())

    with store.database.try_lock("sender"):  # as if the service sent messages
        assert app.test_client().get("/install").status_code == 200
        happens(store.notes)
        app.extensions["sitechat"].watch.forget()  # what it said a moment ago
        before = whole(store)
        answer = app.test_client().get("/install")

    assert answer.status_code == 503
    assert "successfully" not in answer.text
    assert "INVALID_CLIENT" not in answer.text
    assert whole(store) == before


def whole(store: Store) -> list[tuple[str, str]]:
    rows = store.database.rows("select key, value from meta order by key")
    return [(row["key"], row["value"]) for row in rows]
