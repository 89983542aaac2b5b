"""Everything goes wrong for as long as you like, and at the end nobody may miss anything.

    python tests/soak.py --minutes 10 --seed 1 --workers 2 --store postgresql

Visitors write, operators answer, edit and delete, the portal's troubles come and go and the
application is killed, and with `--store postgresql` its database server, too. Then all is mended,
and what visitors sent, what the portal holds, what operators sent and what visitors see must be
equal, in order, once; exit code 1 where it is not.
The seed decides what each thread does, not how the threads interleave. The tests of faults and
crashes are made of the same parts. At the end, fuzz.py throws generated nonsense at client, engine
and doors for some minutes.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import requests
from postgres import Server
from stage import SELDOM_SECONDS, Stage, wait_until
from starter import Process

QUICK = {
    "SITECHAT_DELIVERY__RETRY_LIMIT_SECONDS": "1",
    "SITECHAT_RECOVERY__SECONDS": "1",
}
SEND = "imconnector.send.messages"
CONFIRM = "imconnector.send.status.delivery"
HISTORY = 50  # messages of one answer
ACCEPT_SECONDS = 60.0  # longer than any restart
PATIENCE = 4  # times five seconds, for a server that listens but does not answer yet
KILLS_SECONDS = 60.0  # patience with a slow machine
STILL_SECONDS = 1.5  # so long all must stay equal: a double may come late

# What the portal can do to us while the outcome of each call can still be found out. With
# `deny_history` it cannot, and with a lost answer of OAuth an administrator has to help.
TROUBLES: dict[str, dict[str, Any]] = {
    "slow": {"slow_seconds": 0.7},
    "down": {"down": True},
    "an error page for an answer": {"http_500": True},
    "all answers lost": {"drop_answers": 3},
    "answers to messages lost": {"drop_answers": 3, "drop_method": SEND},
    "answers to confirmations lost": {"drop_answers": 3, "drop_method": CONFIRM},
    "too many calls": {"query_limit": 3},
    "too much time used": {"operation_time_limit": 2},
    "messages refused": {"broken_method": SEND},
    "confirmations refused": {"broken_method": CONFIRM},
    "an error page for confirmations": {"broken_method": CONFIRM, "broken_code": "HTML"},
    "an error page for history": {"broken_method": "batch", "broken_code": "HTML"},
    "blocked": {"overload": True},
    "tokens expired": {"expire_tokens": True},
    "tokens expired, no OAuth server": {"expire_tokens": True, "oauth_down": True},
    "stored without a session": {"no_session": "stored"},
    "success without storing": {"no_session": "not stored"},
    "line switched off": {"inactive_line": True},
    "events lost": {"lose_events": True},
    "events twice": {"duplicate_events": True},
    "events late": {"delay_events_seconds": 1.2},
    "events in another order": {"reorder_events": True},
    "events twice, in another order": {"duplicate_events": True, "reorder_events": True},
    "an old build": {"old_build": True},
    "old spelling of signatures": {"signature": "old"},
    "a bit of everything": {"mixed": {"probability": 0.4, "seed": 1}},
}


class PatientStage(Stage):
    """A stage that starts also where many others do: a worker may take long to answer."""

    def _wait(self, process: subprocess.Popen[bytes] | Process, url: str) -> None:
        for _ in range(PATIENCE):
            try:
                super()._wait(process, url)
            except requests.Timeout:
                continue
            return
        raise AssertionError(f"{url} does not answer")


def quick_stage(folder: Path, workers: int = 1, **settings: str) -> Stage:
    """A stage whose application does not wait as long as in life."""
    return PatientStage(folder, workers, **(QUICK | settings))


# -- what the visitor sees


@dataclass
class Bubble:
    id: str
    author: str
    state: str
    text: str = ""
    reason: str = ""
    deleted: bool = False


class Bubbles(HTMLParser):
    """Reads the bubbles of a history fragment."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Bubble] = []
        self._into = ""
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        classes = given.get("class", "").split()
        if tag == "article":
            self.found.append(
                Bubble(
                    given["data-id"],
                    given["data-author"],
                    given.get("data-state", ""),
                    deleted="deleted" in classes,
                )
            )
        elif tag == "div" and self._into:
            self._depth += 1
        elif tag == "div" and classes[:1] in (["body"], ["reason"]):
            self._into, self._depth = classes[0], 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._into:
            self._depth -= 1
            if not self._depth:
                self._into = ""

    def handle_data(self, data: str) -> None:
        if self._into == "body":
            self.found[-1].text += data
        elif self._into == "reason":
            self.found[-1].reason += data


def bubbles(html: str) -> list[Bubble]:
    reader = Bubbles()
    reader.feed(html)
    return reader.found


# -- one visitor and the operator of the same dialog


class Talk:
    """One visitor's chat: everything that was said in it, by whom, and what became of it."""

    def __init__(self, stage: Stage, name: str, greet: bool = True) -> None:
        self.stage = stage
        self.name = name
        self.visitor = stage.visitor()
        self.chat_id = ""
        self.written: list[tuple[str, str]] = []  # our id and text of each accepted message
        self.refused: set[str] = set()  # texts that the portal shall not have
        self._operator = threading.Lock()
        self._said = 0
        if greet:
            self.write()
            # Delivered, so that we know the dialog: it is asked for what later answers lose.
            wait_until(self._is_known, 60, f"the dialog of {name}")

    def _is_known(self) -> bool:
        return [one.state for one in self.shown()[:1]] == ["delivered"]

    def write(self, text: str = "") -> str:
        """Send as the page does: under one client id until it is accepted."""
        text = text or f"{self.name} writes {len(self.written) + 1}"
        client_id = str(uuid.uuid4())
        until = time.monotonic() + ACCEPT_SECONDS
        while True:
            answer, problem = self._post(text, client_id)
            if answer is not None and answer.status_code == 200:
                break
            assert time.monotonic() < until, f"{text} is not accepted: {problem}"
            time.sleep(0.1)
        body = answer.json()
        self.chat_id = self.chat_id or body["chat"]
        assert body["chat"] == self.chat_id, f"{self.name} has got another chat"
        self.written.append((str(body["result"]["id"]), text))
        return text

    def _post(self, text: str, client_id: str) -> tuple[requests.Response | None, str]:
        try:
            answer = self.visitor.post(
                type="send_message", name="Anna", message=text, client_id=client_id
            )
        except requests.RequestException as error:
            return None, type(error).__name__
        problem = f"{answer.status_code} {answer.text}"
        assert answer.status_code in (200, *self.stage.retried), problem
        return answer, problem

    def answer(self) -> dict[str, Any]:
        """Let the operator write the next text."""
        with self._operator:
            self._said += 1
            text = f"{self.name} hears {self._said}"
            return self.stage.press("answer", external_chat_id=self.chat_id, text=text, user_id=18)

    def answered(self) -> int:
        """Let the operator write, and wait until the portal has it confirmed; its id there."""
        message_id = int(self.answer()["message_id"])
        wait_until(lambda: message_id in self.confirmed(), 60, "the confirmation")
        return message_id

    def confirmed(self) -> list[int]:
        """The portal's ids of operators' messages that may be edited and deleted."""
        return [
            message["id"]
            for message in self.stage.dialog(self.chat_id)["messages"]
            if message["author"] == "operator" and message["connector_mid"]
            if not message["deleted"]
        ]

    def shown(self) -> list[Bubble]:
        """The visitor's whole history, page by page."""
        found: list[Bubble] = []
        more: dict[str, str] = {}
        while True:
            page = bubbles(self.visitor.history(**more))
            found = page + found
            if len(page) < HISTORY:
                return found
            more = {"before": page[0].id}

    def differences(self, dialogs: list[dict[str, Any]]) -> list[str]:
        """What the portal, the visitor and this record do not agree about, in words."""
        if len(dialogs) != 1:
            return [f"{self.name}: {len(dialogs)} dialogs at the portal"]
        kept = [message for message in dialogs[0]["messages"] if not message["hidden"]]
        shown = self.shown()
        found = [
            _difference(
                "at the portal",
                [([own], text) for own, text in self.written if text not in self.refused],
                [(m["connector_mid"], m["text"]) for m in kept if m["author"] == "visitor"],
            ),
            _difference(
                "in the visitor's history",
                [
                    (own, text, "refused" if text in self.refused else "delivered")
                    for own, text in self.written
                ],
                [(one.id, one.text, one.state) for one in shown if one.author == "visitor"],
            ),
            _difference(
                "from operators",
                [
                    (m["connector_mid"], m["delivered"], "deleted" if m["deleted"] else m["text"])
                    for m in kept
                    if m["author"] != "visitor"
                ],
                [
                    ([one.id], True, "deleted" if one.deleted else one.text)
                    for one in shown
                    if one.author != "visitor"
                ],
            ),
        ]
        return [f"{self.name} {one}" for one in found if one]


def _difference(where: str, wanted: list[Any], there: list[Any]) -> str:
    """How a list differs from what it shall be; empty when it does not."""
    if wanted == there:
        return ""
    missing = [one for one in wanted if one not in there]
    surplus = [one for one in there if one not in wanted]
    doubled = [one for number, one in enumerate(there) if one in there[:number]]
    told = {"missing": missing, "surplus": surplus, "doubled": doubled}
    what = "; ".join(f"{name} {values[:5]}" for name, values in told.items() if values)
    return f"{where}: {what or f'another order: {there}'}"


# -- all of them


def dialogs_at(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """The portal's dialogs by our chat ids."""
    dialogs: dict[str, list[dict[str, Any]]] = {}
    for dialog in stage.state()["dialogs"]:
        dialogs.setdefault(dialog["external_chat_id"], []).append(dialog)
    return dialogs


def differences(stage: Stage, talks: list[Talk], others: Collection[str] = ()) -> list[str]:
    """Where what was sent, what is held and what is shown are not equal, in order and once.

    `others` are chats that belong to nobody here.
    """
    dialogs = dialogs_at(stage)
    found = [
        problem for talk in talks for problem in talk.differences(dialogs.get(talk.chat_id, []))
    ]
    strangers = set(dialogs) - {talk.chat_id for talk in talks} - set(others)
    found += [f"a chat nobody began: {one} {dialogs[one]}"[:1000] for one in strangers]
    return found + events_not_taken(stage) if found else []


def events_not_taken(stage: Stage) -> list[str]:
    """Those that the application did not answer with 200; of a change the portal tells once."""
    events = stage.control.get(f"{stage.portal}/sandbox/events", timeout=30).json()
    return [
        f"not taken: {one['event']} {one['status']} {one['error']} at {one['at']:.3f}"
        for one in events
        if one["status"] != requests.codes.ok
    ]


def mend(stage: Stage) -> None:
    """End all of the portal's troubles."""
    requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)


def assert_equal(
    stage: Stage, talks: list[Talk], seconds: float = 30, others: Collection[str] = ()
) -> None:
    """Wait until everybody agrees, and see that it stays so; AssertionError says who does not."""
    until = time.monotonic() + seconds
    waiting = talks  # asking for a history costs, so only for those that still differ
    while waiting and time.monotonic() < until:
        dialogs = dialogs_at(stage)
        waiting = [talk for talk in waiting if talk.differences(dialogs.get(talk.chat_id, []))]
        time.sleep(SELDOM_SECONDS)
    if waiting:
        found = differences(stage, talks, others)
        raise AssertionError("\n".join([f"after {seconds:.0f} s", *found]))
    time.sleep(STILL_SECONDS)
    found = differences(stage, talks, others)
    assert not found, "\n".join(["it did not stay so", *found])
    assert stage.state()["spec_violations"] == []
    log = stage.logged()
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]


@contextmanager
def side_by_side(
    plays: Mapping[str, Callable[[], None]], at_once: int = 6
) -> Iterator[dict[str, Future[None]]]:
    """Run plays in threads, so many at once: each has its own stage and mostly waits."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            yield {name: pool.submit(play) for name, play in plays.items()}
        finally:
            pool.shutdown(cancel_futures=True)


class Mixture:
    """Visitors, operators, troubles and kills at once, each a thread with dice of its own."""

    def __init__(
        self,
        stage: Stage,
        seed: int,
        visitors: int = 5,
        troubles: bool = True,
        kill_pause: tuple[float, float] | None = None,  # seconds between two kills
        server: Server | None = None,  # that of the store, which is ended as often
        report: Callable[[str], None] = print,
    ) -> None:
        self.stage = stage
        self.seed = seed
        self.kill_pause = kill_pause
        self.troubles = troubles
        self.report = report
        self.server = server
        self.kills = self.restarts = 0
        self.talks = [Talk(stage, f"v{number}") for number in range(visitors)]
        self._stop = threading.Event()
        self._events_pass = threading.Lock()  # held while an event may not be lost, or may be
        self._losing = False

    def run(self, seconds: float, kills: int = 0) -> None:
        """Let it all happen for so long and so many kills at least, then mend everything.

        Raises what went wrong in a thread.
        """
        parts: list[Callable[[random.Random], None]] = [self._operator, self._operator]
        parts += [partial(self._visitor, talk) for talk in self.talks]
        if self.troubles:
            parts.append(self._portal)
        if self.kill_pause is not None:
            parts.append(self._killer)
            if self.server is not None:
                parts.append(partial(self._ender, self.server))
        with ThreadPoolExecutor(len(parts)) as pool:
            futures = [
                pool.submit(self._guarded, part, random.Random(f"{self.seed}/{number}"))
                for number, part in enumerate(parts)
            ]
            self._stop.wait(seconds)
            with suppress(AssertionError):
                wait_until(lambda: self._stop.is_set() or self.kills >= kills, KILLS_SECONDS)
            self._stop.set()
        mend(self.stage)
        for future in futures:
            future.result()

    def _guarded(self, part: Callable[[random.Random], None], dice: random.Random) -> None:
        """One thread's failure ends them all."""
        try:
            part(dice)
        except BaseException:
            self._stop.set()
            raise

    def _visitor(self, talk: Talk, dice: random.Random) -> None:
        while not self._stop.wait(dice.choice((0.02, 0.2, 0.6, 1.5))):
            talk.write()

    def _operator(self, dice: random.Random) -> None:
        while not self._stop.wait(dice.uniform(0.05, 0.8)):
            talk = dice.choice(self.talks)
            if dice.random() < 0.75:
                talk.answer()
            else:
                self._change(dice, talk)

    def _change(self, dice: random.Random, talk: Talk) -> None:
        """Edit or delete a message; the portal tells of it once, so nothing may be in the way."""
        with self._events_pass:
            if self._losing or not (ids := talk.confirmed()):
                return
            message_id = dice.choice(ids)
            if dice.random() < 0.6:
                text = f"{talk.name} hears better {message_id} {dice.random():.6f}"
                self.stage.press("edit", message_id=message_id, text=text)
            else:
                self.stage.press("delete", message_id=message_id)
            wait_until(self._no_event_waits, 60, "the events posted")

    def _no_event_waits(self) -> bool:
        return bool(self.stage.counts()["pending_events"] == 0)

    def _portal(self, dice: random.Random) -> None:
        while not self._stop.wait(dice.uniform(0.3, 1.5)):
            names = dice.sample(sorted(TROUBLES), dice.choice((0, 1, 1, 2)))
            values = {key: value for name in names for key, value in TROUBLES[name].items()}
            if "mixed" in values:
                values["mixed"] = {"probability": dice.uniform(0.1, 0.6), "seed": dice.random()}
            with self._events_pass:
                mend(self.stage)
                self._losing = "lose_events" in values
                if values:
                    self.stage.trouble(**values)

    def _killer(self, dice: random.Random) -> None:
        assert self.kill_pause is not None
        while not self._stop.wait(dice.uniform(*self.kill_pause)):
            with self._events_pass:
                self.stage.kill()
                self.kills += 1
                time.sleep(dice.choice((0.0, 0.3)))
                self.stage.start()

    def _ender(self, server: Server, dice: random.Random) -> None:
        assert self.kill_pause is not None
        while not self._stop.wait(dice.uniform(*self.kill_pause)):
            with self._events_pass:
                server.control("-m", dice.choice(("immediate", "fast")), "stop")
                time.sleep(dice.choice((0.0, 0.3, 3.0)))
                server.control("start")
                self.restarts += 1
                wait_until(self._is_well, 60, "a service that takes messages")

    def _is_well(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.stage.listens}/healthz", timeout=10).status_code == 200
        return False  # it is killed just now

    def told(self) -> str:
        written = sum(len(talk.written) for talk in self.talks)
        counts = self.stage.counts()
        return (
            f"{written} messages accepted, {counts['messages']} at the portal,"
            f" {counts['calls']} calls, {counts['refused']} refused, {self.kills} kills"
            + (f", {self.restarts} restarts of the database server" if self.server else "")
        )


# -- the program


def main() -> int:
    given = _arguments()
    print(
        f"seed {given.seed}, {given.workers} workers, {given.minutes} minutes, {given.store}",
        flush=True,
    )
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        server, settings = None, {}
        if given.store == "postgresql":
            server = ends.enter_context(closing(Server(durable=True)))
            settings["SITECHAT_STORAGE__URL"] = server.new_database()
        stage = ends.enter_context(quick_stage(folder, given.workers, **settings))
        try:
            _soak(stage, given, server)
        except AssertionError as error:
            print(f"FAILED, seed {given.seed}: {error}")
            if given.keep:
                given.keep.write_bytes(stage.log.read_bytes())
            return 1
    print("passed: everything sent is there, in order, once", flush=True)
    if not given.fuzz_minutes:
        return 0
    fuzz = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--seed", str(given.seed)]
    return subprocess.run([*fuzz, "--minutes", str(given.fuzz_minutes)], check=False).returncode


def _soak(stage: Stage, given: argparse.Namespace, server: Server | None) -> None:
    stage.install()
    pause = (given.kill_seconds / 2, given.kill_seconds * 1.5) if given.kill_seconds else None
    mixture = Mixture(stage, given.seed, given.visitors, kill_pause=pause, server=server)
    began = time.monotonic()
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(10):
            with suppress(requests.RequestException):
                print(f"{time.monotonic() - began:6.0f} s: {mixture.told()}", flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        mixture.run(given.minutes * 60)
        mended = time.monotonic()
        assert_equal(stage, mixture.talks, 120)
    finally:
        stop.set()
        teller.join()
    print(f"{mixture.told()}; all equal {time.monotonic() - mended:.1f} s after the mending")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--visitors", type=int, default=6)
    parser.add_argument("--kill-seconds", type=float, default=20, help="mean pause; 0: no kills")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--fuzz-minutes", type=float, default=2, help="0: no fuzz at the end")
    parser.add_argument(
        "--keep", type=Path, help="where to keep the application's log of a failure"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
