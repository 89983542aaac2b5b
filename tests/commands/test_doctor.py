"""`sitechat doctor` on a healthy chat and on broken ones, against the sandbox portal."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from doctor_stage import Doctor, file_of, make_old, note, store_has
from stage import LINE, ROOT, Stage, wait_until
from starter import sitechat

from cli.doctor import report
from operations.findings import Level, worst

NOBODY = 65_534  # the user and the group
SYSTEM = {"LC_ALL": "", "LANG": "C.UTF-8"}


def run(stage: Stage, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the settings of the chat."""
    return sitechat(*arguments, environment=stage.environment() | SYSTEM | environment)


class StageOfFiles(Stage):
    """A chat of which an administrator writes some settings into `.env`, beside `config.toml`."""

    IN_FILE = ("SITECHAT_PUBLIC_URL", "SITECHAT_BITRIX24__CLIENT_SECRET")

    def environment(self) -> dict[str, str]:
        given = super().environment()
        config = self.folder / "config.toml"
        if not config.exists():
            config.touch()
            self.write({key: given[key] for key in self.IN_FILE})
        given = {key: value for key, value in given.items() if key not in self.IN_FILE}
        return given | {"SITECHAT_CONFIG": str(config)}

    def write(self, variables: dict[str, str]) -> None:
        self.given = variables
        lines = [f"{key}={value}\n" for key, value in variables.items()]
        (self.folder / ".env").write_text("".join(lines))


# -- real processes


@pytest.mark.parametrize("workers", [1, 2])
def test_settings_that_were_changed_and_not_read_are_said_until_the_reload(
    tmp_path: Path, doctor: Doctor, workers: int
) -> None:
    with StageOfFiles(tmp_path, workers) as stage:
        stage.install()
        wait_until(lambda: store_has(stage, "note.runs_with"), 15)
        given = stage.given
        assert worst(doctor(stage)) is Level.GOOD

        # As an administrator who mends the secret in the file, and forgets the rest.
        stage.write(given | {"SITECHAT_BITRIX24__CLIENT_SECRET": "another-secret"})
        doctor.says(stage, Level.BROKEN, "settings_unread", "sudo systemctl reload sitechat")
        page = stage.admin_page()
        assert "the service has not read them yet (bitrix24.client_secret)" in page
        assert "successfully" not in page

        stage.write(given | {"SITECHAT_CHAT__TITEL": "New"})
        assert "the former ones, and would not start with these: SITECHAT_CHAT__TITEL" in (
            stage.admin_page()
        )

        stage.write(given)
        assert "successfully" in stage.admin_page()
        assert worst(doctor(stage)) is Level.GOOD

        # And as one who asks at once after the reload, while the old processes still end.
        stage.write(given | {"SITECHAT_CHAT__TITLE": "New"})
        assert stage.app is not None
        os.kill(stage.app.pid, signal.SIGHUP)
        assert worst(doctor(stage)) is Level.GOOD


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can go on as somebody else")
@pytest.mark.parametrize("hidden", [".env", "chats"])
@pytest.mark.parametrize("command", ["doctor", "status"])
def test_who_may_not_read_the_settings_or_the_store_is_told_as_whom_to_run_it(
    command: str, hidden: str
) -> None:
    """Of the chat nothing is known then: there is no verdict, and none is wrong."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "config.toml").touch()
        (folder / ".env").write_text("SITECHAT_CHAT__TITLE=Ours\n")
        (folder / "chats").mkdir()
        (folder / hidden).chmod(0o700)
        environment = {
            "SITECHAT_CONFIG": str(folder / "config.toml"),
            "SITECHAT_STORAGE__URL": f"sqlite:///{folder}/chats/chats.db",
        }
        said = sitechat(command, "--lang", "ru", environment=os.environ | environment, user=NOBODY)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("sitechat: ")
    assert re.search("sudo -u (sitechat|root) sitechat …", said.stderr), said.stderr


def test_a_healthy_chat_ends_with_0(mended: Stage) -> None:
    said = run(mended, "doctor")

    assert (said.returncode, said.stderr) == (0, ""), said
    first, *others = said.stdout.splitlines()
    assert first == "The chat works."
    assert all(line.startswith("+ ") for line in others if line)
    assert "+ Open lines: Line 7 (Sales) is connected; new visitors come here." in others


def test_a_right_that_is_missing_ends_with_1_in_russian(mended: Stage) -> None:
    mended.trouble(missing_rights="im")

    said = run(mended, "doctor", LANG="ru_RU.UTF-8")

    assert said.returncode == 1
    first, _, second, *_ = said.stdout.splitlines()
    assert first == "Чат работает, но:"
    assert second.startswith("! Права: У приложения нет права im")


def test_a_portal_that_is_down_ends_with_2_as_json(mended: Stage) -> None:
    mended.trouble(down=True)

    said = run(mended, "doctor", "--json", "--lang", "ru")

    assert said.returncode == 2
    answer = json.loads(said.stdout)
    assert answer["verdict"] == "broken"
    worst_one = answer["findings"][0]
    assert (worst_one["check"], worst_one["level"]) == ("portal", "broken")
    assert worst_one["key"] == "server_unreachable"
    assert worst_one["text"].startswith(f"{mended.portal} не отвечает")


def test_wrong_settings_end_with_2_without_a_traceback(mended: Stage) -> None:
    said = run(mended, "doctor", SITECHAT_CHAT__TITEL="Chat")

    assert (said.returncode, said.stderr) == (2, "")
    assert "SITECHAT_CHAT__TITEL" in said.stdout
    assert "SITECHAT_CHAT__TITLE" in said.stdout


def test_a_terminal_without_our_letters_gets_what_it_has(mended: Stage) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from commands import main; main()", "doctor", "--lang", "ru"],
        cwd=ROOT,
        env=mended.environment() | SYSTEM | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (said.returncode, said.stderr) == (0, "")
    assert "sitechat" in said.stdout


def test_the_status_has_the_verdict_too(mended: Stage) -> None:
    said = run(mended, "status")

    assert said.returncode == 0
    answer = json.loads(said.stdout)
    assert answer["lines"] == [LINE]
    assert answer["installed"] is True
    assert answer["fault"] is None
    assert answer["verdict"] == "good"


# -- each broken in its way; the words of both languages


PORTAL_FAULTS: list[tuple[dict[str, Any], Level, str, str]] = [
    ({"missing_rights": "imconnector"}, Level.BROKEN, "right_imconnector", "imconnector"),
    ({"clock_offset_seconds": 4 * 86_400}, Level.BROKEN, "clock_slow", "4 "),
    ({"clock_offset_seconds": -90}, Level.ATTENTION, "clock_fast", "timedatectl"),
    ({"overload": True}, Level.BROKEN, "portal_blocked", "OVERLOAD_LIMIT"),
    ({"http_500": True}, Level.BROKEN, "server_error", "HTTP_502"),
    ({"oauth_down": True}, Level.ATTENTION, "server_unreachable", "oauth/app.info"),
]


@pytest.mark.parametrize(
    ("trouble", "level", "key", "word"), PORTAL_FAULTS, ids=[row[2] for row in PORTAL_FAULTS]
)
def test_a_fault_of_the_portal(
    mended: Stage, doctor: Doctor, trouble: dict[str, Any], level: Level, key: str, word: str
) -> None:
    mended.trouble(**trouble)

    if "http_500" in trouble:  # the OAuth server, which is another one, is said apart
        both = [one for one in doctor(mended) if one.key == key]
        assert [one.values["server"] for one in both] == [mended.portal, mended.oauth]
        assert [one.level for one in both] == [Level.BROKEN, Level.ATTENTION]
        return
    doctor.says(mended, level, key, word)


def test_an_address_that_works_here_only(mended: Stage, doctor: Doctor) -> None:
    """`public_url` at its default, while the portal is somewhere else."""
    doctor.says(
        *(mended, Level.BROKEN, "address_here", "http://127.0.0.1:8080"),
        SITECHAT_PUBLIC_URL="http://127.0.0.1:8080",
        SITECHAT_BITRIX24__PORTAL="https://company.invalid",
    )


def test_a_site_that_tried_and_may_not(mended: Stage, doctor: Doctor) -> None:
    note(mended, "tried_sites", {"https://shop.example": [1.0, 2.0, 3]})
    try:
        [found] = [one for one in doctor(mended) if one.check == "sites"]
        assert (found.level, found.key) == (Level.GOOD, "sites_tried")
        assert "https://shop.example" in str(found.values["sites"])
    finally:
        note(mended, "tried_sites", {})


def test_a_line_that_is_switched_off(mended: Stage, doctor: Doctor) -> None:
    mended.press("configure-line", line=LINE, settings={"ACTIVE": "N"})
    try:
        doctor.says(mended, Level.BROKEN, "line_off", "Sales")
        visitor = mended.visitor()
        visitor.send("is anybody there?")
        refused = "NOT_ACTIVE_LINE"
        wait_until(
            lambda: refused in {call["error"] for call in mended.calls("imconnector.send.messages")}
        )
        assert 'data-state="stored"' in visitor.history()
    finally:
        mended.press("configure-line", line=LINE, settings={"ACTIVE": "Y"})
    wait_until(lambda: 'data-state="delivered"' in visitor.history(), 60, why="it is sent later")


def test_a_connector_that_the_portal_has_forgotten_on_the_line(
    mended: Stage, doctor: Doctor
) -> None:
    mended.press("disconnect", line=LINE)
    try:
        found = {one.key for one in doctor(mended) if one.level is Level.BROKEN}
        assert found & {"line_disconnected", "line_none"}
    finally:
        mended.press("connect", line=LINE)


def test_a_message_that_was_refused(mended: Stage, doctor: Doctor) -> None:
    mended.trouble(fail_items="never")
    visitor = mended.visitor()
    visitor.send("you will never take this")
    wait_until(lambda: "refused" in visitor.history(), 15, "the refusal")
    try:
        doctor.says(mended, Level.ATTENTION, "refused", "1")
    finally:
        with closing(sqlite3.connect(file_of(mended), timeout=10)) as db:
            db.execute("update messages set state = 'delivered' where state = 'refused'")
            db.commit()


def test_messages_that_are_all_refused(mended: Stage, doctor: Doctor) -> None:
    mended.trouble(fail_items="never")
    visitors = [mended.visitor() for _ in range(3)]
    for visitor in visitors:
        visitor.send("you will never take this")
    wait_until(lambda: all("refused" in one.history() for one in visitors), 15, "the refusals")
    try:
        doctor.says(mended, Level.BROKEN, "refused_all", "3")
    finally:
        with closing(sqlite3.connect(file_of(mended), timeout=10)) as db:
            db.execute("update messages set state = 'delivered' where state = 'refused'")
            db.commit()


def test_events_that_never_arrive(mended: Stage, doctor: Doctor) -> None:
    mended.trouble(lose_events=True)
    visitors = [mended.visitor() for _ in range(2)]
    chats = [visitor.send("Hello?")["chat"] for visitor in visitors]
    wait_until(lambda: all("delivered" in one.history() for one in visitors), 15, "both are taken")
    assert not [one for one in doctor(mended) if one.level], "just now"
    make_old(mended)
    hour_ago = time.time() - 3600
    note(mended, "last_event_at", hour_ago)
    note(mended, "events_excused_until", hour_ago)
    with closing(sqlite3.connect(file_of(mended), timeout=10)) as db:
        db.execute("update chats set created_at = created_at - 60")
        db.commit()

    doctor.says(mended, Level.BROKEN, "events_lost", f"{mended.chat}/handler")

    event = {"event": "ONIMCONNECTORSTATUSDELETE", "data[connector]": "x", "data[line]": "1"}
    wrong = event | {"auth[application_token]": "wrong"}
    assert requests.post(f"{mended.chat}/handler", data=wrong, timeout=30).status_code == 403
    said = [("events_refused", Level.BROKEN)]
    wait_until(lambda: [(one.key, one.level) for one in doctor(mended) if one.level] == said, 15)

    mended.trouble(lose_events=False)
    mended.press("answer", external_chat_id=chats[0], text="Yes?")
    wait_until(lambda: not [one for one in doctor(mended) if one.level], 15, "an event has come")


def test_an_address_with_a_typing_mistake(mended: Stage, doctor: Doctor) -> None:
    doctor.says(
        *(mended, Level.BROKEN, "front_unresolved", "chat.exmaple.invalid"),
        SITECHAT_PUBLIC_URL="https://chat.exmaple.invalid",
    )


def test_something_else_at_our_address(mended: Stage, doctor: Doctor) -> None:
    doctor.says(
        *(mended, Level.BROKEN, "front_other", f"{mended.portal}/chat"),
        SITECHAT_PUBLIC_URL=f"{mended.portal}/chat",
    )


def test_another_installation_at_our_address(mended: Stage, doctor: Doctor, tmp_path: Path) -> None:
    copy = tmp_path / "chats.db"
    with closing(sqlite3.connect(file_of(mended))) as db, closing(sqlite3.connect(copy)) as other:
        db.backup(other)
        other.execute("update meta set value = 'another key' where key = 'secret_key'")
        other.commit()

    found = doctor(mended, SITECHAT_STORAGE__URL=f"sqlite:///{copy}")

    assert {"front_other_store", "service_stopped"} <= {
        one.key for one in found if one.level is Level.BROKEN
    }  # fmt: skip


def test_who_only_looks_renews_no_token(mended: Stage, doctor: Doctor) -> None:
    """A renewal would make the tokens of the service void."""
    mended.trouble(expire_tokens=True)
    before = tokens_of(mended)

    found = doctor(mended)

    assert tokens_of(mended) == before
    assert worst(found) is Level.GOOD
    assert "token_expired" in {one.key for one in found}


def tokens_of(stage: Stage) -> tuple[str, str]:
    with closing(sqlite3.connect(file_of(stage))) as db:
        row = db.execute("select access_token, refresh_token from portal").fetchone()
    return row[0], row[1]


def test_a_fault_of_the_doctor_itself_is_a_sentence(
    mended: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret may be in here")

    monkeypatch.setattr("cli.doctor.open_doctor", fail)
    [finding] = doctor(mended)

    assert finding.level is Level.BROKEN
    assert "RuntimeError" in report([finding], "en")
    assert "secret" not in report([finding], "en")
