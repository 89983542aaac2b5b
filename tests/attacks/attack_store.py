"""The store copied while visitors write, put together from two times, and searched after deletions.

    python tests/attacks/attack_store.py

(1) While four visitors write, `cp -r` copies the store again and again; an application is started
on each copy. It must be whole (each visitor's messages from the first to some last one, without a
hole) or refused with a sentence. (2) The same with a file and a log of two times, and with an empty
file beside a log: refused. (3) The file alone, copied when it was quiet: whole. (4) A visitor
deletes a conversation; its text and e-mail must stand nowhere, while the server runs and after its
stop. Exit status 1 where one of these is otherwise, or a normal visitor waited during (1).
"""

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import requests
from bystander import Bystander
from stage import Stage, Visitor

COPIES = 25
WRITERS = 4
PAUSE_SECONDS = 0.1  # of each writer: all together leave the machine free for a normal visitor
QUIET_SECONDS = 4.0
SECRET, EMAIL = "a text that must not stay", "must-not-stay@example.com"
NUMBER = re.compile(r"number (\d+) of")
CHECK = (
    "import sqlite3, sys;"
    "print(sqlite3.connect(sys.argv[1]).execute('pragma integrity_check').fetchone()[0])"
)


class Writer(threading.Thread):
    """A visitor who writes numbered messages."""

    def __init__(self, chat: str, stop: threading.Event) -> None:
        super().__init__()
        self.visitor = Visitor(chat)
        self.written = 0
        self._stop_writing = stop
        self.write()  # so that the visitor has a cookie

    def run(self) -> None:
        while not self._stop_writing.wait(PAUSE_SECONDS):
            self.write()

    def write(self) -> None:
        with suppress(requests.RequestException):
            self.visitor.send(f"number {self.written + 1} of this visitor " + "x" * 3_000)
            self.written += 1


def verdict(folder: Path, writers: list[Writer]) -> str:
    """What an application makes of the store in `folder`/chats."""
    # A visitor's chat belongs to one address of the site.
    stage = Stage(folder, 1, SITECHAT_PUBLIC_URL=writers[0].visitor.chat)
    try:
        stage.start()
        for writer in writers:
            form = {"type": "chat_history"}
            jar = writer.visitor.http.cookies
            answer = requests.post(f"{stage.chat}/ajax", form, cookies=jar, timeout=30)
            if answer.status_code != 200:
                return "refused" if "chats.db" in stage.log.read_text() else "no answer"
            numbers = sorted({int(number) for number in NUMBER.findall(answer.text)})
            # A history shows the last messages, as many as are read at once.
            if not numbers or numbers != list(range(numbers[0], numbers[-1] + 1)):
                return "with holes"
        checked = subprocess.run(
            [sys.executable, "-c", CHECK, str(folder / "chats/chats.db")],
            capture_output=True,
            text=True,
            check=False,
        )
        return "whole" if checked.stdout.strip() == "ok" else "corrupt"
    finally:
        stage.__exit__()


def copy_under_writes(stage: Stage, folder: Path, writers: list[Writer]) -> Counter[str]:
    copies = []
    with Bystander(stage.chat) as bystander:
        for number in range(COPIES):
            copies.append(folder / f"copy{number}")
            copies[-1].mkdir()
            # `cp` complains of a file that was deleted meanwhile; the copy is what it is.
            command = ["cp", "-r", str(stage.folder / "chats"), str(copies[-1])]
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
            time.sleep(0.4)
    print(bystander.report())
    found = Counter(verdict(copy, writers) for copy in copies)
    found["a normal visitor waited"] = int(not bystander.is_served)
    return found


def put_together(stage: Stage, folder: Path, writers: list[Writer]) -> dict[str, str]:
    """What becomes of files of two times; the writers have ended."""
    time.sleep(QUIET_SECONDS)
    found = {}
    early = folder / "early"
    early.mkdir()
    shutil.copy(stage.folder / "chats/chats.db", early / "chats.db")
    alone = folder / "alone"
    (alone / "chats").mkdir(parents=True)
    shutil.copy(early / "chats.db", alone / "chats/chats.db")
    found["the file alone, when it was quiet"] = verdict(alone, writers)
    for writer in writers:
        writer.write()
    time.sleep(QUIET_SECONDS)
    for writer in writers:
        writer.write()
    log = (stage.folder / "chats/chats.db-wal").read_bytes()
    for name, file in (("an old file", early / "chats.db"), ("an empty file", Path("/dev/null"))):
        mixed = folder / name
        (mixed / "chats").mkdir(parents=True)
        (mixed / "chats/chats.db").write_bytes(file.read_bytes())
        (mixed / "chats/chats.db-wal").write_bytes(log)
        found[f"{name} beside a new log"] = verdict(mixed, writers)
    return found


def traces(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(file.read_bytes().count(word.encode()) for file in files for word in (SECRET, EMAIL))


def delete(stage: Stage) -> dict[str, int]:
    """Traces of a deleted conversation."""
    visitor = stage.visitor()
    for number in range(20):
        visitor.send(f"{number} {SECRET}", email=EMAIL)
    found = {"before the deletion": traces(stage.folder / "chats")}
    answer = visitor.post(type="delete_conversation")
    assert answer.status_code == 200, answer.text
    time.sleep(QUIET_SECONDS)
    found["after it"] = traces(stage.folder / "chats")
    assert stage.app is not None
    stage.app.terminate()
    stage.app.wait(30)
    found["after a stop"] = traces(stage.folder / "chats")
    return found


def main() -> int:
    settings = {
        "SITECHAT_LIMITS__VISITOR_PER_MINUTE": "100000",
        "SITECHAT_LIMITS__ADDRESS_PER_MINUTE": "100000",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "first").mkdir()
        with Stage(folder / "first", 1, **settings) as stage:
            stage.install()
            stop = threading.Event()
            writers = [Writer(stage.chat, stop) for _ in range(WRITERS)]
            for writer in writers:
                writer.start()
            copies = copy_under_writes(stage, folder, writers)
            stop.set()
            for writer in writers:
                writer.join()
            print(f"{COPIES} copies under writes: {dict(copies)}")
            together = put_together(stage, folder, writers)
            for what, became in together.items():
                print(f"{what}: {became}")
            deleted = delete(stage)
            print(f"traces of a deleted conversation: {deleted}")
    held = (
        copies["whole"] + copies["refused"] == COPIES
        and not copies["a normal visitor waited"]
        and list(together.values()) == ["whole", "refused", "refused"]
        and deleted["before the deletion"] > 0
        and deleted["after it"] == deleted["after a stop"] == 0
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
