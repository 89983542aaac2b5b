"""What the portal lost of us without a word is noticed at the next start and mended."""

import sqlite3
from contextlib import closing

import requests
from stage import LINE, Stage, wait_until


def make_old(stage: Stage) -> None:
    """An install of long ago: a fresh one is left alone for a minute."""
    with closing(sqlite3.connect(stage.folder / "chats" / "chats.db")) as db:
        db.execute("update portal set installed_at = installed_at - 3600")
        db.commit()


def test_bindings_lines_and_the_connector_that_are_gone_are_made_again(fresh_stage: Stage) -> None:
    fresh_stage.install()
    bound = {one["event"] for one in fresh_stage.state()["bindings"]}
    token = fresh_stage.press("token", user_id=1)["access_token"]
    rest = f"{fresh_stage.portal}/rest"
    for event in ("OnImConnectorMessageAdd", "OnImConnectorDialogFinish"):
        requests.post(
            f"{rest}/event.unbind.json",
            data={"event": event, "handler": f"{fresh_stage.chat}/handler", "auth": token},
            timeout=10,
        )
    fresh_stage.kill()
    fresh_stage.press("disconnect", line=LINE)  # nobody hears of it
    fresh_stage.press("forget-connector")
    make_old(fresh_stage)

    fresh_stage.start()

    def mended() -> bool:
        state = fresh_stage.state()
        lines = state["connectors"].get("example_connector_1", {}).get("lines", {})
        return (
            {one["event"] for one in state["bindings"]} == bound
            and str(LINE) in lines
            and bool(lines[str(LINE)]["connection"])
        )

    wait_until(mended, 15, "the repair")


def test_an_install_that_was_never_finished_is_reported(fresh_stage: Stage) -> None:
    fresh_stage.press("install", finish=False)
    fresh_stage.kill()
    make_old(fresh_stage)

    fresh_stage.start()

    page = f"{fresh_stage.chat}/install"
    wait_until(lambda: requests.get(page, timeout=30).status_code == 503, 15)
    assert "The installation is not finished" in fresh_stage.admin_page()
