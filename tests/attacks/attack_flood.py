"""A flood of new conversations, and a long backlog: how long does a normal visitor wait?

Twenty addresses begin new conversations as fast as they can; then 100,000 messages wait, as after
a long outage. Meanwhile visitors from other addresses write their first message. Prints how long
each took to reach the portal, which takes about 50 messages a second, and how long the answer to
the visitor took. Exit status 1 if it took more than 5 s, or 10 s behind the backlog, or if
a normal visitor's sends were answered late.
"""

import itertools
import statistics
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent)]

from bystander import Bystander  # noqa: E402
from stage import Stage, wait_until  # noqa: E402

from bbcode import RENDERER  # noqa: E402
from storage import Store  # noqa: E402

FLOOD_SECONDS = 20.0
ADDRESSES = 20
THREADS = 4
BACKLOG = 100_000
VISITORS = 8
LIMITS_SECONDS = {"flood": 5.0, "backlog": 10.0}


def send(stage: Stage, address: str, text: str) -> requests.Response:
    return requests.post(
        f"{stage.chat}/ajax",
        data={"type": "send_message", "name": "Anna", "message": text},
        headers={"X-Forwarded-For": address},
        timeout=60,
    )


def flood(stage: Stage, stop: threading.Event, sent: list[int]) -> None:
    for number in itertools.count():
        if stop.is_set():
            return
        answer = send(stage, f"203.0.113.{number % ADDRESSES + 1}", "flood")
        sent.append(answer.status_code)


def first_message(stage: Stage, number: int) -> tuple[float, float]:
    """How long our answer took, and how long until the portal has the message; in seconds."""
    began = time.monotonic()
    answer = send(stage, f"198.51.100.{number + 1}", f"visitor {number}")
    answered = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    chat = answer.json()["chat"]
    wait_until(lambda: stage.texts(chat), 120)
    return answered, time.monotonic() - began


def visitors(stage: Stage, name: str) -> bool:
    found = [first_message(stage, number) for number in range(VISITORS)]
    answered, arrived = ([times[part] for times in found] for part in (0, 1))
    print(
        f"{name}: at the portal after {statistics.median(arrived):.1f} s, at worst"
        f" {max(arrived):.1f} s; our answer at worst {max(answered) * 1000:.0f} ms"
    )
    return max(arrived) <= LIMITS_SECONDS[name]


def fill(stage: "Attacked") -> None:
    """A backlog of as many chats, each with a message, from fifty addresses."""
    numbers = "with recursive c(n) as (select 1 union all select n + 1 from c where n < ?)"
    url = stage.settings_url
    with closing(Store(url, stage.folder, RENDERER)) as store, store.database.write() as db:
        db.execute(
            f"{numbers} insert into chats (id, created_at, active_at)"
            " select 'chat' || printf('%064x', n), 1, 1 from c",
            (BACKLOG,),
        )
        db.execute(
            f"{numbers} insert into messages (id, revision, position, chat_id, author, text,"
            " html, renderer, sent_at, state) select 1000000 + n, 1000000 + n, n,"
            " 'chat' || printf('%064x', n), 'visitor', 'backlog', '', ?, 1, 'stored' from c",
            (BACKLOG, RENDERER),
        )
        columns, values = "message_id, chat_id, kind, due", ""
        if any(
            row["name"] == "place" for row in db.execute("pragma table_info(deliveries)").fetchall()
        ):
            columns += ", address, of_new_chat, place"
            values = ", 'address ' || (n % 50), 1, 1 + n / 50"
        db.execute(
            f"{numbers} insert into deliveries ({columns}) select 1000000 + n,"
            f" 'chat' || printf('%064x', n), 'message', 0{values} from c",
            (BACKLOG,),
        )
        db.execute("update meta set value = 3000000 where key = 'revision'")


class Attacked(Stage):
    @property
    def settings_url(self) -> str:
        return self.environment()["SITECHAT_STORAGE__URL"]


def main() -> int:
    settings: dict[str, Any] = {
        "SITECHAT_SERVER__PROXIES": "1",
        "SITECHAT_DELIVERY__TIMEOUT_SECONDS": "70",
        "LOG_LEVEL": "ERROR",
    }
    held = []
    with Attacked(Path(tempfile.mkdtemp()), **settings) as stage:
        stage.install()
        stage.trouble(item_seconds=0.02)
        stop, sent = threading.Event(), list[int]()
        floods = [threading.Thread(target=flood, args=(stage, stop, sent)) for _ in range(THREADS)]
        began = time.monotonic()
        for thread in floods:
            thread.start()
        time.sleep(FLOOD_SECONDS / 2)
        with Bystander(stage.chat) as bystander:
            held.append(visitors(stage, "flood"))
        print(bystander.report())
        held.append(bystander.is_served)
        stop.set()
        for thread in floods:
            thread.join()
        rate = len(sent) / (time.monotonic() - began)
        taken = sent.count(200)
        print(f"the flood: {rate:.0f} requests a second, {taken} of {len(sent)} were taken")
        fill(stage)
        with Bystander(stage.chat) as bystander:
            held.append(visitors(stage, "backlog"))
        print(bystander.report())
        held.append(bystander.is_served)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
