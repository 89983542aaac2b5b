"""Long work lets others be served, in a process as gunicorn has it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from stage import ROOT

from turns import TURN_SECONDS, Turns

# `held` runs some work and returns its longest hold of the loop and all of it, in processor time.
HELD = """
from gevent import monkey
monkey.patch_all()
import gc, json, sys, time
from pathlib import Path
import gevent, greenlet

holds, hub = [0.0], gevent.get_hub()
began = [0.0]
def switched(event, between):
    if between[0] is hub:
        began[0] = time.thread_time()
    elif between[1] is hub:
        holds.append(time.thread_time() - began[0])

def held(work, *args):
    gc.collect()
    gc.freeze()  # as gunicorn.conf.py does
    greenlet.settrace(switched)
    holds[:] = [0.0]
    began[0] = began_at = time.thread_time()
    gevent.spawn(work, *args).join()
    total = time.thread_time() - began_at
    greenlet.settrace(None)
    return max(holds), total
"""
WATCHED = """
from bbcode import to_html
from portal.forms import decode_form
from turns import Turns

def burn(who, pieces, log):
    turns = Turns()
    for _ in range(pieces):
        until = time.thread_time() + 0.005
        while time.thread_time() < until:
            pass
        log.append(who)
        turns.give_way()

found = {
    "text": held(to_html, "[b]" * 20_000),
    "quotes": held(to_html, ">>a\\n" * 20_000),
    "percents": held(decode_form, b"a=" + b"%41" * 340_000),
    "fields": held(decode_form, b"&".join([b"a[][][][][][][][][]=1"] * 4_999)),
}
log = []
long = [gevent.spawn(burn, who, 20, log) for who in "ab"]
gevent.sleep(0.03)
short = gevent.spawn(burn, "S", 3, log)
gevent.joinall([*long, short])
print(json.dumps([found, "".join(log)]))
"""
# A chat of many messages and files becomes a part of another one, and is deleted with it.
MANY = """
from io import BytesIO
from bbcode import RENDERER
from files import Files
from storage import Store

root, messages, count = Path(sys.argv[1]), 6_000, 20_000
store, files = Store("sqlite:///chats.db", root, RENDERER), Files(root / "files")
store.open()
with store.database.write() as db:
    db.execute("insert into chats (id, created_at, active_at) values ('one', 0, 0)")
    db.execute(
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < ?)"
        " insert into messages (id, revision, position, chat_id, author, text, html, renderer,"
        " sent_at, state) select n, n, n, 'one', 'visitor', hex(randomblob(150)),"
        " hex(randomblob(150)), 0, 0, 'stored' from n", (messages,))
    db.execute("update meta set value = ? where key = 'revision'", (messages,))
    db.execute(
        "insert into deliveries (message_id, chat_id, kind, due)"
        " select id, chat_id, 'message', 0 from messages")
(root / "files" / "one").mkdir(parents=True)
for number in range(count):
    (root / "files" / "one" / f"{number}").touch()
print(json.dumps({
    "large": held(store.contents.keep, BytesIO(bytes(20 << 20)), "two", "key"),
    "large one removed": held(store.contents.remove, "two", "key"),
    "sweep": held(files.sweep, lambda chat: set(), 0.0),
    "part": held(store.chats.make_part, "one", "two"),
    "deletion": held(store.chats.delete, "two", 0.0),
    "files": held(files.remove_chat, "one"),
}))
assert list((root / "files").iterdir()) == []
assert store.database.rows("select 1 from messages union all select 1 from deliveries") == []
store.close()
"""


def printed_by(program: str, *arguments: str) -> Any:
    command = [sys.executable, "-c", HELD + program, *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(run.stdout)


def test_a_long_chat_is_joined_and_deleted_beside_everything_else(tmp_path: Path) -> None:
    found = printed_by(MANY, f"{tmp_path}")

    assert all(found[name][1] > 0.04 for name in ("sweep", "part", "deletion")), (
        f"no long work: {found}"
    )
    for name, (longest, _) in found.items():
        assert longest < 0.04, f"{name} held the loop for {longest * 1000:.0f} ms"


def test_long_work_holds_up_nobody_and_takes_turns() -> None:
    found, log = printed_by(WATCHED)

    for name, (longest, total) in found.items():
        assert total > 0.04, f"{name} is no long work"
        assert longest < 0.04, f"{name} held the loop for {longest * 1000:.0f} ms"
    # The short work waited for each of the long ones once a turn, not for their ends.
    assert log.rindex("S") - log.index("S") <= 8, log
    assert len(log) == 43


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("first", [0.005, 0.02])
def test_a_turn_ends_with_the_first_piece_that_takes_as_long(
    monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    ends: list[float] = []
    monkeypatch.setattr(Turns, "_end_turn", lambda _: ends.append(time.thread_time()))
    turns = Turns()

    burn(first)
    assert first > TURN_SECONDS
    turns.give_way()

    assert len(ends) == 1


FLOOD = """
from turns import Turns

def burn(milliseconds):
    until = time.thread_time() + milliseconds / 1000
    while time.thread_time() < until:
        pass

def flood():
    while time.perf_counter() < end:
        time.sleep(0.001)  # the loop wakes it before whoever waits for a lock
        turns = Turns()
        burn(5)
        turns.give_way()

def work():
    turns = Turns()
    while time.perf_counter() < end:
        burn(5)
        turns.give_way()
        taken.append(time.perf_counter())

taken, begin = [], time.perf_counter()
end = begin + 3
gevent.joinall([gevent.spawn(one) for one in (*[flood] * 6, work)])
print(json.dumps(max(after - before for before, after in zip([begin, *taken], taken))))
"""


def test_long_work_has_its_turns_in_a_flood_of_others() -> None:
    """Else the delivery worker stands still while visitors write as fast as they can."""
    longest = printed_by(FLOOD)

    assert longest < 1
