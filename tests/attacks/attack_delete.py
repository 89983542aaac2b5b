"""One cookie deletes a conversation of 18,000 messages and 9,000 files, as one hour may make it.

The messages and files are put straight into the store. Prints the longest hold of the worker, how
long the deletion took, a normal visitor's sends meanwhile, and the traces of the text when it was
answered. Then the worker is killed in the middle of such a deletion, and started again: prints how
long after the start all of it was gone. Exit status 1 if the worker was held for over 50 ms, if a
trace was left, or if the interrupted deletion was not finished.
"""

import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import requests
from parts import Normal, Watched

MESSAGES, FILES, HOLD_MS = 18_000, 9_000, 50.0
FINISHED_SECONDS = 150.0  # a minute of patience, and a minute until the next look
SECRET = "a text that must not stay"


def make_long(folder: Path, chat: str) -> None:
    """Give a chat many messages and files, of which nobody has told the portal yet."""
    with closing(sqlite3.connect(folder / "chats.db", timeout=30)) as db, db:
        revision = int(db.execute("select value from meta where key = 'revision'").fetchone()[0])
        text = f"{SECRET} " * 12
        db.executemany(
            "insert into messages (revision, position, chat_id, author, text, html, renderer,"
            " sent_at, state) values (?, ?, ?, 'visitor', ?, ?, 1000000, 0, 'stored')",
            [(revision + n, revision + n, chat, text, text) for n in range(1, MESSAGES + 1)],
        )
        db.execute(
            "insert into deliveries (message_id, chat_id, kind, due) select id, chat_id, 'message',"
            " 0 from messages where chat_id = ? and revision > ?",
            (chat, revision),
        )
        db.execute("update meta set value = ? where key = 'revision'", (revision + MESSAGES,))
    (folder / "files" / chat).mkdir(parents=True)
    for number in range(FILES):
        (folder / "files" / chat / f"{number}").touch()


def traces(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.read_bytes().count(SECRET.encode()) for path in files)


def left(folder: Path, chat: str) -> int:
    """How many messages and files of a chat there are."""
    with closing(sqlite3.connect(folder / "chats.db", timeout=30)) as db:
        rows = db.execute("select count(*) from messages where chat_id = ?", (chat,)).fetchone()[0]
    return int(rows) + sum(1 for _ in (folder / "files").glob(f"{chat}/*"))


def interrupt(stage: Watched, folder: Path) -> float:
    """Kill the worker during a deletion; returns seconds from the start until all was gone."""
    visitor = stage.visitor()
    chat = visitor.send("hello")["chat"]
    make_long(folder, chat)

    def delete() -> None:
        with suppress(requests.RequestException):
            visitor.post(type="delete_conversation")

    request = threading.Thread(target=delete)
    request.start()
    while left(folder, chat) > MESSAGES * 3 // 4 + FILES:
        time.sleep(0.01)
    stage.kill()
    request.join()
    print(f"killed during the deletion: {left(folder, chat)} messages and files were left")
    stage.start()
    began = time.monotonic()
    while left(folder, chat) and time.monotonic() < began + FINISHED_SECONDS:
        assert SECRET not in visitor.history()
        time.sleep(1)
    return time.monotonic() - began


def main() -> int:
    with tempfile.TemporaryDirectory() as name, Watched(Path(name)) as stage:
        folder = Path(name) / "chats"
        attacker = stage.visitor()
        make_long(folder, attacker.send(SECRET)["chat"])
        stage.forget_holds()
        with Normal(stage) as normal:
            time.sleep(1)
            began = time.monotonic()
            answer = attacker.post(type="delete_conversation")
            took = time.monotonic() - began
            found = traces(folder)
            time.sleep(1)
        assert answer.status_code == 200, answer.text
        worked, passed = stage.longest_hold()
        print(f"the deletion took {took:.1f} s; traces when it was answered: {found}")
        print(f"the longest hold of the worker: {worked:.1f} ms ({passed:.1f} by the clock)")
        print(f"a normal visitor's sends: p95 {normal.p95:.1f} ms, {normal.failed} failed")
        finished = interrupt(stage, folder)
        print(f"all of it was gone {finished:.0f} s after the start")
    return int(worked > HOLD_MS or found > 0 or finished >= FINISHED_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
