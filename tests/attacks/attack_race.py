"""A visitor's message and the deletion of its conversation, in the same moment.

Two tabs share the browser's cookies: one sends a message, or uploads a file, while the other
deletes the conversation. 300 rounds with texts and 150 with files. Prints how many messages were
answered as stored, how many conversations came back half-dead (written to although deleted, so
that the portal gets them while operators' answers are dropped), how many stored messages the
visitor does not see, how many files have no message, whether operators' answers arrive, and how
long a normal visitor waits meanwhile. Exit status 1 if any of these is not as promised. A message
whose answer comes just before that of the deletion begins a new conversation, and the deletion
takes the browser's cookie away: these few are not seen, and are no fault.
"""

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import requests

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from bystander import Bystander  # noqa: E402
from stage import Stage, Visitor, wait_until  # noqa: E402

from storage import Store  # noqa: E402

TEXT_ROUNDS, FILE_ROUNDS = 300, 150
MOST_UNSEEN = 20
ANSWER_EVERY = 30  # rounds; an operator then answers in the conversation that the visitor sees
FILE = ("note.txt", b"a file of a race" * 64)


def send(visitor: Visitor, text: str, with_file: bool) -> requests.Response:
    if not with_file:
        return visitor.post(type="send_message", message=text)
    return visitor.http.post(
        f"{visitor.chat}/ajax",
        data={"type": "upload_file", "message": text},
        files={"file": FILE},
        timeout=30,
    )


def at_once(*actions: Callable[[], None]) -> None:
    """Do all actions in the same moment, or a few milliseconds apart."""
    barrier = threading.Barrier(len(actions))

    def begin(action: Callable[[], None]) -> None:
        barrier.wait()
        time.sleep(random.choice((0, 0, 0.001, 0.003, 0.006)))
        action()

    threads = [threading.Thread(target=begin, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def play(stage: Stage, store: Store, number: int, with_file: bool, counts: Counter[str]) -> None:
    visitor = stage.visitor()
    first = visitor.send(f"before {number}")["chat"]
    answers: dict[str, requests.Response] = {}
    text = f"race {number}"
    at_once(
        lambda: answers.update(sent=send(visitor, text, with_file)),
        lambda: answers.update(deleted=visitor.post(type="delete_conversation")),
    )
    assert answers["deleted"].status_code == 200, answers["deleted"].text
    stored = store.database.rows("select chat_id from messages where text = ?", text)
    counts["stored"] += answers["sent"].status_code == 200
    if answers["sent"].status_code not in (200, 503):
        counts[f"answered {answers['sent'].status_code}"] += 1
    if any(row["chat_id"] == first for row in stored) or store.chats.find(first):
        counts["half-dead"] += 1
    if (text in visitor.history()) != bool(stored):
        counts["not seen"] += 1
    if number % ANSWER_EVERY == 0:
        goes_on = visitor.send(f"after {number}")["chat"]
        wait_until(lambda: stage.dialog(goes_on), why="the dialog")
        stage.press("answer", external_chat_id=goes_on, text=f"answer {number}")
        counts["answers"] += f"answer {number}" in visitor.wait_for(f"answer {number}")


def main() -> int:
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder), workers=2) as stage:
        stage.install()
        with closing(Store(f"sqlite:///{folder}/chats/chats.db", Path("/"), 0)) as store:
            with Bystander(stage.chat) as bystander:
                for number in range(TEXT_ROUNDS + FILE_ROUNDS):
                    play(stage, store, number, number >= TEXT_ROUNDS, counts)
            dead = store.database.rows("select 1 from chats where id in (select id from deletions)")
            counts["half-dead at the end"] = len(dead)
            kept = {path.name for path in Path(f"{folder}/chats/files").glob("chat*/*")}
            named = {row["key"] for row in store.database.rows("select key from files")}
            counts["files without a message"] = len(kept - named)
    print(dict(counts))
    print(bystander.report())
    promised = counts["answers"] == len(range(0, TEXT_ROUNDS + FILE_ROUNDS, ANSWER_EVERY))
    broken = ("half-dead", "half-dead at the end", "files without a message")
    unseen = counts["not seen"] > MOST_UNSEEN
    waited = not bystander.is_served
    return int(not promised or unseen or waited or any(counts[name] for name in broken))


if __name__ == "__main__":
    sys.exit(main())
