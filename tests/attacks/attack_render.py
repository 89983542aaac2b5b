"""A store of 50,000 messages of an earlier renderer at the start of the application.

It prints the longest time that the application did not answer in the first SECONDS after its start,
the longest hold of the worker, and how many messages were rendered again by then. Exit status 1 if
it held the worker for over 50 ms at once, or if nothing was rendered.
"""

import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import requests
from parts import Normal, Watched

MESSAGES, SECONDS, HOLD_MS = 50_000, 20.0, 50.0
TEXT = "[b]An answer[/b] with [url=https://a.example]a link[/url] and https://b.example/?c=d. " * 8


def make_outdated(file: Path) -> None:
    """Many copies of one message, as an earlier renderer left them."""
    with closing(sqlite3.connect(file)) as db, db:
        (chat,) = db.execute("select id from chats limit 1").fetchone()
        revision = int(db.execute("select value from meta where key = 'revision'").fetchone()[0])
        db.executemany(
            "insert into messages (revision, position, chat_id, author, text, html, renderer,"
            " sent_at, state) values (?, ?, ?, 'operator', ?, 'old', 1, 0, 'stored')",
            [(revision + one, revision + one, chat, TEXT) for one in range(1, MESSAGES + 1)],
        )
        db.execute("update meta set value = ? where key = 'revision'", (revision + MESSAGES,))


def rendered(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        row = db.execute("select count(*) from messages where html <> 'old'").fetchone()
    return int(row[0]) - 1


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, Watched(Path(folder)) as stage:
        stage.install()
        stage.visitor().send("Hello")
        stage.kill()
        file = Path(folder) / "chats" / "chats.db"
        make_outdated(file)
        stage.forget_holds()
        began = time.monotonic()
        try:
            stage.start()
        except AssertionError:
            print(f"no answer within {time.monotonic() - began:.0f} s of the start")
            return 1
        started = time.monotonic() - began
        longest = 0.0
        with Normal(stage) as normal:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                asked = time.monotonic()
                requests.get(f"{stage.chat}/static/icon.svg", timeout=180)
                longest = max(longest, time.monotonic() - asked)
                time.sleep(0.05)
        worked, passed = stage.longest_hold()
        count = rendered(file)
    print(f"the first answer {started:.1f} s after the start; the longest wait {longest:.2f} s")
    print(f"the longest hold of the worker: {worked:.1f} ms ({passed:.1f} by the clock)")
    print(f"a normal visitor's sends: p95 {normal.p95:.1f} ms, {normal.failed} failed")
    print(f"rendered again in {SECONDS:.0f} s: {count} of {MESSAGES}")
    return int(worked > HOLD_MS or count < 100)


if __name__ == "__main__":
    sys.exit(main())
