"""`sitechat doctor` on a store from its first start on: held, missing, replaced."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import requests
from doctor_stage import Doctor, file_of, make_old
from holder import held
from stage import LINE, ROOT, Stage, wait_until

from operations.findings import Finding, Level, worst
from storage import Store


def test_a_store_that_another_program_holds(mended: Stage, doctor: Doctor) -> None:
    """The service says 503 then; so must the doctor, who reads and is never kept waiting."""
    with held(file_of(mended)):
        # What was known a second ago still counts. The page takes some seconds, and not 16.
        wait_until(lambda: "fuser" in mended.admin_page(), 10, "the reason for the administrator")
        doctor.says(mended, Level.BROKEN, "store_locked", "fuser")


def test_no_store(mended: Stage, doctor: Doctor, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "chats.db"

    doctor.says(
        *(mended, Level.BROKEN, "store_missing", str(nowhere.parent)),
        SITECHAT_STORAGE__URL=f"sqlite:///{nowhere}",
    )

    assert not nowhere.parent.exists(), "a look makes nothing"


def test_from_the_first_start_to_a_crash(fresh_stage: Stage, doctor: Doctor) -> None:
    stage = fresh_stage
    doctor.says(stage, Level.BROKEN, "not_installed", f"{stage.chat}/install")
    assert {"portal_good", "oauth_good", "front_good"} <= {one.key for one in doctor(stage)}

    stage.press("install")
    doctor.says(stage, Level.ATTENTION, "line_first", "ExampleSiteChat")

    stage.visitor().send("Is anybody there?")
    doctor.says(stage, Level.BROKEN, "line_none", "1")

    stage.press("connect", line=LINE)
    wait_until(lambda: worst(doctor(stage)) is Level.GOOD, 20, "all is well")

    # The line is deleted, and the event that says so gets lost.
    stage.press("connect", line=12)
    stage.trouble(lose_events=True)
    stage.press("delete-line", line=12)
    doctor.says(stage, Level.ATTENTION, "line_deleted", "12")
    stage.press("delete-line", line=LINE)
    found = [one for one in doctor(stage) if one.key == "line_deleted"]
    assert [one.level for one in found] == [Level.BROKEN, Level.BROKEN]

    # A secret that was changed at the portal, once the tokens have to be renewed.
    stage.trouble(client_secret="another one", expire_tokens=True)
    stage.visitor().send("Still there?")
    wait_until(lambda: told(doctor(stage), "secret_wrong"), 20, "the refusal of the secret")
    doctor.says(stage, Level.BROKEN, "secret_wrong", "bitrix24.client_secret")

    stage.kill()
    wait_until(lambda: told(doctor(stage), "service_stopped"), 10)
    doctor.says(stage, Level.BROKEN, "service_stopped", "systemctl start sitechat")


def told(found: list[Finding], key: str) -> bool:
    return key in {one.key for one in found if one.level is Level.BROKEN}


def test_changes_that_are_in_the_log_beside_the_file(fresh_stage: Stage, doctor: Doctor) -> None:
    """A crash leaves them there: a copy of the file alone would hold less, or nothing."""
    fresh_stage.install()
    hold = sqlite3.connect(file_of(fresh_stage))  # who reads keeps them from being moved
    with closing(hold):
        hold.execute("begin")
        hold.execute("select count(*) from meta").fetchone()
        fresh_stage.visitor().send("hello")
        fresh_stage.kill()
        wait_until(lambda: told(doctor(fresh_stage), "service_stopped"), 10)
        doctor.says(fresh_stage, Level.BROKEN, "log_left", "chats.db-wal")


def test_an_install_that_was_never_finished(fresh_stage: Stage, doctor: Doctor) -> None:
    fresh_stage.press("install", finish=False)
    make_old(fresh_stage)

    doctor.says(fresh_stage, Level.BROKEN, "unfinished", "24")


def test_the_page_of_a_reinstall_says_what_the_doctor_says(
    fresh_stage: Stage, doctor: Doctor
) -> None:
    """Not "successfully" over a fault, and nothing of the past once it is mended."""
    stage = fresh_stage
    stage.trouble(limit=False)  # four installs make many calls
    stage.press("install")
    for number in range(3):
        stage.visitor().send(f"is anybody there? {number}")

    page = stage.press("install")["body"]
    [broken] = [one for one in doctor(stage) if one.level is Level.BROKEN]
    assert broken.key == "line_none"
    assert "successfully" not in page
    assert page.index("The chat does not work") < page.index("No open line is connected")

    make_old_messages(stage)
    stage.press("connect", line=LINE)
    wait_until(lambda: not waiting(stage), 15, "the messages")
    stage.trouble(broken_method="imconnector.send.messages", broken_code="HTML")
    stage.visitor().send("and now?")
    wait_until(lambda: waiting(stage) and all(waiting(stage)), 15, "an error of the portal")
    make_old_messages(stage)

    page = stage.press("install")["body"]
    [first, *_] = doctor(stage)
    assert first.key in ("waiting_why", "waiting_long")
    assert "successfully" not in page
    assert "with an error of its own (HTTP_502)" in page

    stage.trouble(broken_method="")
    wait_until(lambda: not waiting(stage), 30, "the message")
    assert "successfully" in stage.press("install")["body"]
    assert worst(doctor(stage)) is Level.GOOD


def make_old_messages(stage: Stage) -> None:
    with closing(sqlite3.connect(file_of(stage), timeout=10)) as db:
        db.execute("update messages set sent_at = sent_at - 900")
        db.commit()


def waiting(stage: Stage) -> list[str | None]:
    """Of each message that waits the code of the last call with it."""
    with closing(sqlite3.connect(file_of(stage), timeout=10)) as db:
        return [row[0] for row in db.execute("select error from deliveries where kind = 'message'")]


# As an install says it, and as the doctor does.
WARNS = re.compile("[Dd]o not install (it|the application) anew")


def replace_store(stage: Stage, new: Path) -> Path:
    """Put another file in the store's place, with nothing beside it; where the former one is."""
    away = stage.folder / "away"
    away.mkdir()
    for file in file_of(stage).parent.glob("chats.db*"):
        file.rename(away / file.name)
    new.rename(file_of(stage))
    return away


def put_back(stage: Stage, away: Path) -> None:
    for file in file_of(stage).parent.glob("chats.db*"):
        file.unlink()
    for file in away.iterdir():
        file.rename(file_of(stage).parent / file.name)
    away.rmdir()
    # The service, which sleeps where nothing happens, has to use it again.
    wait_until(lambda: not WARNS.search(page_of(stage, "x")), 20, "its use")


def page_of(stage: Stage, token: str = "token") -> str:
    """What whoever opens the application is told, while nobody can be proved to be anybody."""
    form = {"AUTH_ID": token, "REFRESH_ID": "refresh", "member_id": "m", "PLACEMENT": "DEFAULT"}
    return requests.post(f"{stage.chat}/handler?LANG=en", data=form, timeout=30).text


def test_another_file_in_the_place_of_the_store(fresh_stage: Stage, doctor: Doctor) -> None:
    """While the service runs, and while it does not: nobody says that all one needs is a start."""
    stage, new = fresh_stage, fresh_stage.folder / "new.db"
    stage.install()
    with closing(sqlite3.connect(new)) as db:
        db.execute("create table a (b)")
    away = replace_store(stage, new)
    doctor.says(stage, Level.BROKEN, "store_foreign", "chats.db")
    assert WARNS.search(page_of(stage))
    put_back(stage, away)
    wait_until(lambda: worst(doctor(stage)) is Level.GOOD, 20, "it goes on")

    new.touch()
    away = replace_store(stage, new)
    doctor.says(stage, Level.BROKEN, "store_gone", "sitechat restore")
    assert WARNS.search(page_of(stage))
    put_back(stage, away)
    wait_until(lambda: worst(doctor(stage)) is Level.GOOD, 20, "it goes on")

    with closing(Store(f"sqlite:///{new}", ROOT, 1)) as store:
        store.open()
    away = replace_store(stage, new)
    wait_until(lambda: told(doctor(stage), "store_replaced"), 20, "the worker sees it")
    assert not told(doctor(stage), "not_installed")
    put_back(stage, away)
    # The worker was in the other store, and takes over in this one.
    wait_until(lambda: stage.log.read_text().count("this process delivers") == 2, 20, "its work")
    wait_until(lambda: worst(doctor(stage)) is Level.GOOD, 20, "it goes on")

    with closing(sqlite3.connect(file_of(stage), timeout=10)) as db:
        (version,) = db.execute("pragma user_version").fetchone()
        db.execute(f"pragma user_version = {version - 1}")
    doctor.says(stage, Level.ATTENTION, "store_older_runs", "systemctl restart sitechat")
    stage.kill()
    wait_until(lambda: told(doctor(stage), "store_older"), 10)
    doctor.says(stage, Level.BROKEN, "store_older", "systemctl start sitechat")
