"""One cookie whose visitor has deleted 10,000 conversations.

Each deletion makes one more link between the cookie and the conversation in which its visitor goes
on. Links of two kinds are written straight into the store, because the application allows ten a
minute: those of releases that kept no heirs, and those of today. Four clients then ask for the
history with this cookie. Prints how long the first and the later answers took, how long a normal
visitor's messages took meanwhile, the same for a cookie without any deletion, and how many of 30
deletions in a row were allowed. Exit status 1 if later answers or the normal visitor's p95 take
over 50 ms and over twice as long as without deletions, or if more than ten deletions are allowed.
"""

import hashlib
import hmac
import itertools
import statistics
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from stage import Stage, Visitor  # noqa: E402

from storage import Store  # noqa: E402

LINKS = 10_000
KINDS = {  # and the names in the cookies
    "no links": "0" * 32,
    "links of earlier releases": "0123456789abcdef" * 2,
    "links of today": "fedcba9876543210" * 2,
}
CLIENTS, SECONDS = 4, 10.0
LIMIT_MS = 50.0


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def visitor_named(stage: Stage, key: str, name: str) -> Visitor:
    """A browser with the cookie of the visitor of this name."""
    app = Flask("signer")
    app.secret_key = key
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    visitor = stage.visitor()
    visitor.http.cookies.set("sitechat", str(signer.dumps({"visitor": name, "_permanent": True})))
    return visitor


def older_links(key: str, site: str, name: str) -> list[str]:
    """The ids of the visitor's conversations as earlier releases named them."""
    chats = []
    for _ in range(LINKS):
        chats.append(f"chat{digest(site)}{digest(name)}")
        name = hmac.new(key.encode(), f"after {name}".encode(), "sha256").hexdigest()[:32]
    return chats


def write_links(store: Store, chats: list[str], with_heirs: bool) -> None:
    with store.database.write() as db:
        for chat_id in chats:
            db.execute("insert into deletions (id, deleted_at) values (?, 0)", (chat_id,))
        for pair in itertools.pairwise(chats) if with_heirs else ():
            db.execute("insert into heirs values (?, ?)", pair)


def asked(visitor: Visitor, **fields: str) -> float:
    """How many milliseconds an answer took."""
    begun = time.perf_counter()
    answer = visitor.post(**fields)
    assert answer.status_code == 200, answer.text
    return (time.perf_counter() - begun) * 1000


def attack(stage: Stage, attacker: Visitor) -> tuple[float, float, float]:
    """Milliseconds: the attacker's first answer, the later ones' median, the normal one's p95."""
    first = asked(attacker, type="chat_history")
    later: list[float] = []
    until = time.monotonic() + SECONDS

    def ask() -> None:
        client = stage.visitor()
        client.http.cookies.update(attacker.http.cookies)
        while time.monotonic() < until:
            later.append(asked(client, type="chat_history"))

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    normal = stage.visitor()
    sends: list[float] = []
    while time.monotonic() < until or len(sends) < 2:
        sends.append(asked(normal, type="send_message", message="hello"))
        time.sleep(0.05)
    for client in clients:
        client.join()
    return first, statistics.median(later), statistics.quantiles(sends, n=20)[-1]


def main() -> int:
    broken = False
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder)) as stage,
        closing(Store(f"sqlite:///{folder}/chats/chats.db", Path("/"), 0)) as store,
    ):
        key = store.portal.secret_key()
        limit = LIMIT_MS
        for kind, name in KINDS.items():
            if kind != "no links":
                chats = older_links(key, stage.chat, name)
                write_links(store, chats, with_heirs=kind == "links of today")
            first, later, p95 = attack(stage, visitor_named(stage, key, name))
            print(
                f"{kind}: first history {first:.0f} ms, then {later:.0f} ms;"
                f" a normal visitor's send p95 {p95:.0f} ms",
                flush=True,
            )
            if kind == "no links":  # the machine may be busy with other things
                limit = max(LIMIT_MS, 2 * later, 2 * p95)
            broken |= max(later, p95) > limit
        cookie = visitor_named(stage, key, "f" * 32).http.cookies
        answers = []
        for _ in range(30):
            deleter = stage.visitor()
            deleter.http.cookies.update(cookie)
            answers.append(deleter.post(type="delete_conversation").status_code)
        allowed = answers.count(200)
        print(f"deletions allowed: {allowed} of {len(answers)}")
        # A minute may begin within the attack.
        broken |= allowed > 20 or answers[-1] != 429
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
