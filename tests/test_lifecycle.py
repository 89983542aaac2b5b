"""An application's life at the portal, over HTTP: a wrong secret, a move, a test, an uninstall."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from stage import CLIENT_ID, LINE, ROOT, Stage, free_port, wait_until
from test_install import page_text, visit
from test_repair import make_old

from bbcode import RENDERER
from bitrix import Bitrix, Line
from operations import test_message
from portal.connector import Connector
from portal.proof import Proof
from portal.tokens import StoredTokens
from rest.errors import BitrixError
from settings import Bitrix24Settings, Settings
from storage import Store

SECRET = "another-secret"
OTHER_LINE, UNCONNECTED = 12, 1


def restart(stage: Stage, **settings: str) -> None:
    stage.kill()
    make_old(stage)
    stage.settings |= settings
    stage.start()


def test_a_wrong_secret_is_named_at_the_install_and_cured_by_a_restart(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(client_secret=SECRET)

        answers = [stage.press("install"), stage.press("install")]

        for answer in answers:
            assert answer["status"] == 503
            assert "bitrix24.client_secret" in page_text(answer["body"])
            assert "successfully" not in answer["body"]
            assert answer["installed"] is False
        assert visit(stage).status_code == 503
        assert "sandbox-secret" not in stage.log.read_text()

        stage.press("installed")
        stage.press("expire-tokens")
        restart(stage, SITECHAT_BITRIX24__CLIENT_SECRET=SECRET)

        wait_until(lambda: visit(stage).status_code == 200, 15, "the cure")
        wait_until(lambda: len(stage.state()["bindings"]) == 8, 15, "the bindings")
        assert stage.state()["tokens"]["refreshes"] == 1


def test_a_secret_that_was_changed_at_the_portal_is_cured_by_a_restart(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.install()
        stage.trouble(client_secret=SECRET)
        stage.press("expire-tokens")
        visitor = stage.visitor()
        visitor.send("hello")
        wait_until(lambda: visit(stage).status_code == 503, 15, "the fault")

        restart(stage, SITECHAT_BITRIX24__CLIENT_SECRET=SECRET)

        wait_until(lambda: visit(stage).status_code == 200, 15, "the cure")
        wait_until(lambda: stage.counts()["messages"] == 1, 15, "the message that waited")


def test_an_install_goes_on_without_the_oauth_server_and_without_newer_methods(
    tmp_path: Path,
) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(oauth_down=True, unknown_methods="scope,batch,imconnector.list")
        assert "does not answer" in stage.press("install")["body"]  # of the OAuth server
        assert visit(stage).status_code == 200
        stage.trouble(oauth_down=False)
        assert stage.state()["tokens"]["refreshes"] == 0

        restart(stage)

        wait_until(lambda: stage.state()["tokens"]["refreshes"] == 1, 15, "the renewal")


def test_a_page_that_is_reloaded_installs_again(tmp_path: Path) -> None:
    """As somebody does who has just mended what the page said."""
    with Stage(tmp_path) as stage:
        token = stage.press("token", user_id=1)
        form = {
            "PLACEMENT": "DEFAULT",
            "AUTH_ID": token["access_token"],
            "REFRESH_ID": token["refresh_token"],
            "AUTH_EXPIRES": "3600",
            "member_id": token["member_id"],
        }
        stage.trouble(broken_method="imconnector.register")
        assert requests.post(f"{stage.chat}/install", form, timeout=30).status_code == 502
        stage.trouble(broken_method="")

        for _ in range(3):
            answer = requests.post(f"{stage.chat}/install", form, timeout=30)
            assert (answer.status_code, "successfully" in answer.text) == (200, True)

        stage.press("installed")
        stage.press("connect", line=LINE)
        stage.press("expire-tokens")
        stage.visitor().send("hello")
        wait_until(lambda: stage.counts()["messages"] == 1, 15, "a delivery with a renewed token")


def settings_of(stage: Stage) -> Settings:
    bitrix24: dict[str, Any] = {
        "portal": stage.portal,
        "oauth_server": stage.oauth,
        "client_id": CLIENT_ID,
        "client_secret": "sandbox-secret",
    }
    storage: dict[str, Any] = {
        "url": f"sqlite:///{stage.folder}/chats/chats.db",
        "files": f"{stage.folder}/chats/files",
    }
    return Settings(
        public_url=stage.chat,
        bitrix24=Bitrix24Settings(**bitrix24),
        storage=storage,  # type: ignore[arg-type]
    )


def test_a_move_an_examination_a_test_message_and_an_uninstall(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.trouble(limit=False)
        stage.press("install")
        for line in (OTHER_LINE, LINE):
            assert "successfully" in stage.press("connect", line=line)["body"]
        former = f"{stage.chat}/handler"
        stage.kill()
        stage.listens = stage.chat = f"http://127.0.0.1:{free_port()}"
        make_old(stage)

        stage.start()

        def moved() -> bool:
            state = stage.state()
            lines = state["connectors"]["example_connector_1"]["lines"]
            handlers = {one["handler"] for one in state["bindings"]}
            where = {number: line["data"]["URL_IM"] for number, line in lines.items()}
            there = {str(line): f"{stage.chat}/" for line in (LINE, OTHER_LINE)}
            return handlers == {f"{stage.chat}/handler"} and where == there

        wait_until(moved, 15, "the move")
        assert former != f"{stage.chat}/handler"

        settings = settings_of(stage)
        with closing(Store(settings.storage.url, ROOT, RENDERER)) as store:
            bitrix = Bitrix(settings.bitrix24, StoredTokens(store, settings.bitrix24), 10.0)
            proof = Proof(settings, store, bitrix)
            connector = Connector(settings, store, bitrix, proof)

            examine(stage, bitrix)
            try_message(stage, store, settings)

            assert connector.uninstall(erase=True) == []

            state = stage.state()
            assert (state["bindings"], state["connectors"]) == ([], {})
            assert store.removal.living(10) == []
            assert visit(stage).status_code == 409
        assert "Traceback" not in stage.log.read_text()


def examine(stage: Stage, bitrix: Bitrix) -> None:
    """All that a doctor asks is answered, and each fault that a test can make is seen."""
    stage.trouble(missing_rights="im", clock_offset_seconds=7200, unknown_methods="event.get")
    stage.press("configure-line", line=OTHER_LINE, settings={"ACTIVE": "N"})

    found = bitrix.examine("example_connector_1", [LINE, OTHER_LINE, UNCONNECTED, 99])

    assert found.installed is True
    assert found.language == "en"
    assert found.rights == frozenset(
        {"imopenlines", "imconnector", "user_brief", "placement", "disk"}
    )
    assert isinstance(found.bindings, BitrixError)
    assert found.bindings.code == "ERROR_METHOD_NOT_FOUND"
    assert "example_connector_1" in found.connectors  # type: ignore[operator]
    assert found.statuses == {LINE: True, OTHER_LINE: True, UNCONNECTED: False, 99: False}
    other = Line("Поддержка", False)
    assert found.lines == {
        LINE: Line("Sales", True),
        OTHER_LINE: other,
        UNCONNECTED: Line("Support", True),
        99: None,
    }
    assert found.clock_seconds is not None
    assert abs(found.clock_seconds - 7200) < 5
    stage.trouble(missing_rights="", clock_offset_seconds=0, unknown_methods="")
    assert bitrix.line(OTHER_LINE) == other
    bitrix.notify(1, "The chat stands still.", "lines")
    assert [one["text"] for one in stage.state()["notifications"]] == ["The chat stands still."]


def try_message(stage: Stage, store: Store, settings: Settings) -> None:
    number = test_message.send(store, settings, time.time())

    def state() -> test_message.TestState:
        found = test_message.state(store, number)
        assert found is not None
        return found

    wait_until(lambda: state().state == "delivered", 15, "the delivery")
    assert (state().line, state().answered) == (LINE, False)
    (dialog,) = stage.state()["dialogs"]
    assert dialog["user_name"] == "Test"
    stage.press("answer", external_chat_id=dialog["external_chat_id"], text="I see it")
    wait_until(lambda: state().answered, 15, "the answer")
