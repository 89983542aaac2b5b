"""A store of a million messages beside one of a thousand: each step takes about as long.

    python tests/scale.py --messages 1000000 --chats 50000 --store postgresql

Fills both, starts the application on each, and measures in turn what visitors, operators and an
administrator wait for; prints one table. Exit code 1 where a step of the large one takes over 1.5
times as long as that of the small one, and longer than a small allowance, which a machine that
others use needs. The first start after the filling reads the whole file, because something else
than the application has written it (store/marks.py), and is only shown. At the end, when both
applications are stopped, the large store has a queue of 100,000 messages. For PostgreSQL both files
are moved to a server by `sitechat migrate`, which is timed, too.
"""

import argparse
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import requests
from filling import fill, let_wait
from postgres import Server
from soak import Talk
from stage import LINE, ROOT, Stage, Visitor, wait_until

from bbcode import RENDERER
from delivery.batch import MESSAGES_A_CALL
from storage import Store
from store.past import PastMessage
from store.queue import RUN_LIMIT

SMALL = 1_000, 50
MOST = 1.5  # times
LOOK_SECONDS = 0.01
START_SECONDS = 60.0
HISTORY = 50
TURN = 5  # answers to one site's visitor, before those to the other's
LONG_MESSAGES, TOGETHER = 5_000, 500
COMMAND = "from commands import main; main()"
STREAM = "/ajax?type=chat_stream"


@dataclass(frozen=True)
class Step:
    """What is measured; `allowed` milliseconds more are no fault."""

    name: str
    allowed: float
    rounds: int
    most: float = math.inf  # milliseconds of the large store


START = Step("start until /healthz says 200", 400, 3)
STATUS = Step("sitechat status", 300, 3)
DOCTOR = Step("sitechat doctor", 1_000, 3)
PAGE = Step("chat page", 10, 30)
OLDER = Step(f"history, {HISTORY} of them", 10, 30)
FEW = Step("history, 10 of them", 10, 30)
LONG = Step("history, 50 of a chat of 5,000", 10, 30)
SEND = Step("send_message", 10, 40)
ANSWER = Step("answer, from /handler to the stream", 20, 20)
DUE = Step("due_messages", 2, 30)
WAITING, WAITING_SMALL = 100_000, 500
QUEUE = Step(f"due_messages, {WAITING:,} waiting, CPU", 2, 30, most=5)
STEPS = (START, PAGE, FEW, OLDER, LONG, SEND, ANSWER, DUE, QUEUE, STATUS, DOCTOR)


class Site(Stage):
    """The application on a store that was filled, and one visitor of it."""

    def __init__(self, folder: Path, url: str) -> None:
        place = {"SITECHAT_STORAGE__URL": url} if url else {}
        super().__init__(folder, 2, SITECHAT_LIMITS__VISITOR_PER_MINUTE="100000",
                         SITECHAT_LIMITS__ADDRESS_PER_MINUTE="100000", **place)  # fmt: skip
        self.times: dict[str, list[float]] = {}
        self.talk: Talk | None = None
        self.long_talk: Talk | None = None  # a visitor who has written very much
        self.kept_bytes = 0
        self.numbers = 60_000_000  # of the portal's messages

    def _wait(self, process: object, url: str) -> None:
        if url.startswith(self.listens):
            url = f"{self.listens}/healthz"
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                if requests.get(url, timeout=5).status_code == 200:
                    return
            except (requests.ConnectionError, requests.Timeout):
                pass
            time.sleep(LOOK_SECONDS)
        raise AssertionError(f"{url} does not answer")

    def stop(self) -> None:
        assert self.app is not None
        os.kill(self.app.pid, signal.SIGTERM)
        self.app.wait()

    def restart(self) -> None:
        self.stop()
        self.measure(START, self.start)

    def measure(self, step: Step, action: Callable[[], object]) -> None:
        began = time.perf_counter()
        action()
        self.note(step, time.perf_counter() - began)

    def note(self, step: Step, seconds: float) -> None:
        self.times.setdefault(step.name, []).append(seconds * 1000)

    def begin(self) -> None:
        """Install it, and let a visitor write as much as a history shows."""
        self.install()
        self.talk = Talk(self, "Anna")
        for _ in range(HISTORY):
            self.talk.write()
        wait_until(lambda: self.texts(self.chat_id)[HISTORY:], 60, "the deliveries")
        self.long_talk = Talk(self, "Berta")
        with closing(Store(self.environment()["SITECHAT_STORAGE__URL"], ROOT, RENDERER)) as store:
            _write_much(store, self.long_talk.chat_id)

    @property
    def chat_id(self) -> str:
        assert self.talk is not None
        return self.talk.chat_id

    @property
    def visitor_of_talk(self) -> Visitor:
        assert self.talk is not None
        return self.talk.visitor

    # -- steps

    def page(self) -> None:
        self.measure(
            PAGE, lambda: self.visitor_of_talk.http.get(f"{self.chat}/").raise_for_status()
        )

    def history(self) -> None:
        assert self.long_talk is not None
        self.measure(FEW, lambda: self.visitor_of_talk.history(limit=10))
        self.measure(OLDER, self.visitor_of_talk.history)
        self.measure(LONG, self.long_talk.visitor.history)

    def send(self) -> None:
        self.measure(SEND, lambda: self.visitor_of_talk.send("How much is it?"))

    def due(self, store: Store) -> None:
        self.measure(DUE, lambda: store.queue.due_messages(time.time(), 50, 10))

    def queue(self, store: Store) -> None:
        """A step of the delivery in a long backlog: the processor time of this process alone."""
        began = time.process_time()
        store.queue.due_messages(time.time(), MESSAGES_A_CALL, RUN_LIMIT, enough=MESSAGES_A_CALL)
        self.note(QUEUE, time.process_time() - began)

    def command(self, step: Step) -> None:
        words = [sys.executable, "-c", COMMAND, step.name.split()[1]]
        self.measure(
            step,
            lambda: subprocess.run(
                words, cwd=ROOT, env=self.environment(), capture_output=True, check=False
            ),
        )

    def answers(self, number: int) -> None:
        """Post answers as the portal does; each is timed until the visitor's stream has it."""
        state, dialog = self.state(), self.dialog(self.chat_id)
        told, last = f"An answer of {self.numbers}".encode(), f"The last of {self.numbers}".encode()
        seen = threading.Event()
        ready = threading.Event()

        def listen() -> None:
            with self.visitor_of_talk.http.get(f"{self.chat}{STREAM}", stream=True) as stream:
                for line in stream.iter_lines(chunk_size=1):
                    ready.set()
                    if told in line:
                        seen.set()
                    if last in line:
                        return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        assert ready.wait(10), "no stream"
        for one in range(number + 1):
            self.numbers += 1
            text = (told if one < number else last).decode()
            form = {
                "event": "ONIMCONNECTORMESSAGEADD",
                "data[CONNECTOR]": "example_connector_1",
                "data[LINE]": str(LINE),
                "data[MESSAGES][0][im][chat_id]": str(dialog["chat_id"]),
                "data[MESSAGES][0][im][message_id]": str(self.numbers),
                "data[MESSAGES][0][message][user_id]": "18",
                "data[MESSAGES][0][message][text]": f"[b]Olga:[/b] [br]{text}",
                "data[MESSAGES][0][chat][id]": self.chat_id,
                "auth[application_token]": state["application_token"],
                "auth[member_id]": state["member_id"],
            }
            seen.clear()
            began = time.perf_counter()
            requests.post(f"{self.chat}/handler", form, timeout=30).raise_for_status()
            if one < number:
                assert seen.wait(10), "the answer is not shown"
                self.note(ANSWER, time.perf_counter() - began)
                time.sleep(0.05)
        listener.join(10)

    def memory(self) -> int:
        """The bytes that each worker keeps in memory, without files that the system has read."""
        assert self.app is not None
        found = subprocess.run(
            ["pgrep", "-P", str(self.app.pid)], capture_output=True, text=True, check=True
        )
        kept = [_anonymous(int(pid)) for pid in found.stdout.split()]
        return max(kept)


def _write_much(store: Store, chat_id: str) -> None:
    """Let a chat have had so many messages long ago, that were all delivered."""
    chat, now = store.chats.find(chat_id), time.time()
    assert chat is not None
    for first in range(0, LONG_MESSAGES, TOGETHER):
        past = [
            PastMessage(str(one), "Berta", f"Message {one}", f"<p>Message {one}</p>", one)
            for one in range(first, first + TOGETHER)
        ]
        store.past.add(chat, past, now)


def _anonymous(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def run_steps(sites: list[Site], stores: list[Store]) -> None:
    """All steps, the sites in turn: what else the machine does meets both."""
    for _ in range(START.rounds):
        for site in sites:
            site.restart()
    for one in range(max(step.rounds for step in STEPS)):
        for site, store in zip(sites, stores, strict=True):
            if one < PAGE.rounds:
                site.page()
            if one < OLDER.rounds:
                site.history()
            if one < DUE.rounds:
                site.due(store)
            if one < SEND.rounds:
                site.send()
    for site in sites * (ANSWER.rounds // TURN):
        site.answers(TURN)
    for step in (STATUS, DOCTOR):
        for _ in range(step.rounds):
            for site in sites:
                site.command(step)


def run_queue(sites: list[Site], urls: list[str]) -> None:
    """What nobody delivers, as no application runs any more."""
    stores = [Store(url, ROOT, RENDERER) for url in urls]
    with closing(stores[0]), closing(stores[1]):
        for store, number in zip(stores, (WAITING_SMALL, WAITING), strict=True):
            let_wait(store, number, LINE)
        for _ in range(QUEUE.rounds):
            for site, store in zip(sites, stores, strict=True):
                site.queue(store)


def table(small: Site, large: Site, heads: tuple[str, str]) -> bool:
    """Print the medians; whether all are as they should be."""
    good = True
    print(f"\n{'':38}{heads[0]:>14}{heads[1]:>14}{'times':>8}")
    for step in STEPS:
        one, other = (statistics.median(site.times[step.name]) for site in (small, large))
        slow = other > min(MOST * one + step.allowed, step.most)
        good = good and not slow
        print(
            f"{step.name:38}{one:11.1f} ms{other:11.1f} ms{other / one:8.2f}"
            f"{'  TOO SLOW' if slow else ''}"
        )
    megabytes = [site.kept_bytes / 1e6 for site in (small, large)]
    too_much = megabytes[1] > MOST * megabytes[0]
    ratio = megabytes[1] / megabytes[0]
    words = "memory of a worker"
    print(
        f"{words:38}{megabytes[0]:11.1f} MB{megabytes[1]:11.1f} MB{ratio:8.2f}"
        f"{'  TOO MUCH' if too_much else ''}"
    )
    return good and not too_much


def moved(server: Server, folder: Path) -> str:
    """Move the file in a folder to the server, as an administrator does; the address there."""
    url, began = server.new_database(), time.monotonic()
    files = {"SITECHAT_STORAGE__FILES": f"{folder}/chats/files"}
    words = [sys.executable, "-c", COMMAND, "migrate", url]
    subprocess.run(
        words, cwd=ROOT, env=Stage(folder).environment() | files, check=True, capture_output=True
    )
    print(f"sitechat migrate, {folder.name}: {time.monotonic() - began:.1f} s", flush=True)
    return url


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--chats", type=int, default=50_000)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--url", default="", help="of the large store, filled already; else one is made"
    )
    given = parser.parse_args()
    with ExitStack() as ends:
        folder = ends.enter_context(tempfile.TemporaryDirectory())
        small, large = Path(folder, "small"), Path(folder, "large")
        fill(small, *SMALL, LINE)
        large.mkdir()
        if not given.url:
            began = time.monotonic()
            size = fill(large, given.messages, given.chats, LINE).stat().st_size
            print(f"filled: {size / 1e6:.0f} MB in {time.monotonic() - began:.0f} s")
        sites = [Site(small, ""), Site(large, given.url)]
        if given.store == "postgresql":
            Path(folder).chmod(0o755)  # run by root, the server is another user's
            server = ends.enter_context(closing(Server(True, on_disk=Path(folder))))
            sites = [Site(small, moved(server, small)), Site(large, given.url)]
            if not given.url:
                sites[1] = Site(large, moved(server, large))
        began = time.monotonic()
        with sites[0]:
            print(f"first start, with the portal: small {time.monotonic() - began:.1f} s", end="")
            began = time.monotonic()
            with sites[1]:
                print(f", large {time.monotonic() - began:.1f} s")
                for site in sites:
                    site.begin()
                urls = [site.environment()["SITECHAT_STORAGE__URL"] for site in sites]
                stores = [Store(url, ROOT, RENDERER) for url in urls]
                with closing(stores[0]), closing(stores[1]):
                    run_steps(sites, stores)
                for site in sites:
                    site.kept_bytes = site.memory()
        run_queue(sites, urls)
    heads = (f"{SMALL[0]:,}", f"{given.messages:,}")
    return 0 if table(sites[0], sites[1], heads) else 1


if __name__ == "__main__":
    sys.exit(main())
