"""Two hosts on one PostgreSQL behind nginx, of which one after the other dies, hangs or restarts.

    python tests/two_hosts.py --seed 1 --stop-seconds 60

Visitors write through nginx as the real page does, operators answer, and each fault comes once with
a portal that is well, slow, or loses its answers. At the end what was accepted, what the portal
holds, what operators sent and what visitors see must be equal: lost, doubled and out of order are
counted, exit code 1 unless all are 0. For each fault it is said how long it took from the fault
until a message that a visitor wrote after it was at the portal. Then an operator's answers are
posted at one host, and it is measured when streams of the other one bring them.
"""

import argparse
import itertools
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psycopg
import requests
from host_pair import Host, LinkedPair, Pair
from postgres import Server
from soak import SEND, Mixture, Talk, assert_equal, dialogs_at, mend
from stage import Stage, wait_until
from starter import end_starters

from bench.contestants import operators_answer

FAIL_OVER = "the database dies, its standby goes on"
LOOK_SECONDS = 0.03  # between two looks whether a message has come
CLAIM_STOP_SECONDS = 14.0  # the driver gives up a commit whose answer it reads after 15
TAKE_OVER_SECONDS = 120.0  # then it is said that nobody has taken over
MOST_SECONDS = 24 * 3600.0
BACK_SECONDS = 2.0  # after a fault, with all of it well
SOON_MS = 150.0  # the p95 of an answer that the other host has taken
# A trigger lets the server take so many seconds to commit that messages are being sent: once for a
# transaction, however many there are. To take it away would lock the table, so the function is
# changed instead.
SLOWLY = """create or replace function slowly() returns trigger language plpgsql as $$ begin
    if current_setting('slowly.did', true) is distinct from pg_current_xact_id()::text then
        perform set_config('slowly.did', pg_current_xact_id()::text, true);
        perform pg_sleep({seconds});
    end if;
    return null; end $$"""
SLOW_CLAIMS = """drop trigger if exists slow_claims on deliveries;
create constraint trigger slow_claims after update on deliveries deferrable initially deferred
    for each row when (old.state = 'queued' and new.state = 'sending' and new.kind = 'message')
    execute function slowly()"""
CLAIMED = "select id from deliveries where kind = 'message' and state = 'sending'"
UNFINISHED = "select 1 from deliveries where id = any(%s)"
A_CLAIM_WAITS = (
    "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
)
PORTALS: dict[str, dict[str, Any]] = {
    "well": {},
    "slow": {"slow_seconds": 1.5, "slow_method": SEND},
    "answers lost": {"drop_answers": 3, "drop_method": SEND},
}


@dataclass
class Fault:
    """What happened, and how long it took until messages went on."""

    name: str
    portal: str
    seconds: float | None = None  # from the fault until the first message that was written after it

    def told(self) -> str:
        took = "nobody has taken over" if self.seconds is None else f"{self.seconds:6.2f} s"
        return f"{self.name:44} portal {self.portal:13} {took}"


class Storm(Mixture):
    """Visitors and operators, while one fault after the other comes; it ends with the last one."""

    def __init__(
        self,
        pair: Pair,
        server: Server,
        faults: Iterable[Fault],
        stop_seconds: float,
        back_seconds: float = BACK_SECONDS,
        **given: Any,
    ) -> None:
        super().__init__(pair, troubles=False, kill_pause=(0.0, 0.0), **given)
        self.pair = pair
        self.database = server
        self.stop_seconds = stop_seconds
        self.back_seconds = back_seconds
        self.faults = list(faults)
        # Each asks its host alone; the last one asks nginx.
        self.probes = {host: Talk(pair, f"probe {host.folder.name}") for host in pair.hosts}
        for host, talk in self.probes.items():
            talk.visitor.chat = host.direct
        self.outside = Talk(pair, "probe of nginx")
        self.talks += [self.outside, *self.probes.values()]
        self._writers = len(self.talks) - 3

    def play(self) -> None:
        self.run(MOST_SECONDS)

    def _visitor(self, talk: Talk, dice: random.Random) -> None:
        if talk in self.talks[: self._writers]:
            super()._visitor(talk, dice)

    def _operator(self, dice: random.Random) -> None:
        """Answer alone: of a change the portal tells once, and a host that dies cannot know it."""
        while not self._stop.wait(dice.uniform(0.05, 0.8)):
            dice.choice(self.talks).answer()

    def _killer(self, dice: random.Random) -> None:
        for fault in self.faults:
            if self._stop.wait(self.back_seconds):
                return
            if PORTALS[fault.portal]:
                self.stage.trouble(**PORTALS[fault.portal])
            try:
                FAULTS[fault.name](self, fault)
            finally:
                mend(self.stage)
            self.kills += 1
            self.report(f"{fault.told()}   {self.told()}")
        self._stop.set()

    def see(self, fault: Fault, talk: Talk, began: float = 0.0) -> None:
        """Write, and note when the portal has it; the fault was now, or has `began` before."""
        began = began or time.monotonic()
        with suppress(AssertionError):
            text = talk.write()
            while time.monotonic() - began < TAKE_OVER_SECONDS:
                if text in self.pair.texts(talk.chat_id)[-1:]:
                    fault.seconds = time.monotonic() - began
                    break
                time.sleep(LOOK_SECONDS)

    # -- the faults

    def kill_sender(self, fault: Fault) -> None:
        self._kill(fault, self.pair.sender()[0])

    def kill_other(self, fault: Fault) -> None:
        self._kill(fault, self.pair.other(self.pair.sender()[0]))

    def _kill(self, fault: Fault, host: Host) -> None:
        host.kill()
        self._see_the_other(fault, host)
        host.start()

    def end_sender(self, fault: Fault) -> None:
        """As an administrator ends it, for an update say."""
        host, _ = self.pair.sender()
        assert host.app is not None
        host.app.terminate()
        self._see_the_other(fault, host)
        host.app.wait()
        host.start()

    def stop_sender(self, fault: Fault) -> None:
        self._stop_host(fault, self.pair.sender()[0])

    def stop_other(self, fault: Fault) -> None:
        self._stop_host(fault, self.pair.other(self.pair.sender()[0]))

    def stop_sending_worker(self, fault: Fault) -> None:
        host, pid = self.pair.sender()
        self._stop_host(fault, host, pid)

    def _stop_host(self, fault: Fault, host: Host, pid: int = 0) -> None:
        """A host or one of its processes hangs, wakes up, and has to be of use again."""
        with host.stopped(pid):
            until = time.monotonic() + self.stop_seconds
            self._see_the_other(fault, host)
            time.sleep(max(0.0, until - time.monotonic()))
        self.probes[host].write()

    def _see_the_other(self, fault: Fault, host: Host, began: float = 0.0) -> None:
        self.see(fault, self.probes[self.pair.other(host)], began)

    def stop_before_call(self, fault: Fault) -> None:
        """Hang when it is noted that a message is sent, and before a byte of the call goes out.

        Whoever wakes up when the other host has sent it, and does not look around, sends it again.
        """
        with psycopg.connect(self.pair.url, autocommit=True) as session:
            session.execute(SLOWLY.format(seconds=1))
            session.execute(SLOW_CLAIMS)
            wait_until(lambda: session.execute(A_CLAIM_WAITS).fetchone(), why="a message claimed")
            host, _ = self.pair.sender()
            began = time.monotonic()
            with host.stopped():
                session.execute(SLOWLY.format(seconds=0))
                wait_until(lambda: not session.execute(A_CLAIM_WAITS).fetchone())
                claimed = [row[0] for row in session.execute(CLAIMED)]
                self._see_the_other(fault, host, began)
                with suppress(AssertionError):
                    wait_until(
                        lambda: not session.execute(UNFINISHED, [claimed]).fetchall(),
                        began + CLAIM_STOP_SECONDS - time.monotonic(),
                    )
        self.probes[host].write()

    def cut_sender_off(self, fault: Fault) -> None:
        """The host that delivers hears nothing of the database, which the other one reaches."""
        host, _ = self.pair.sender()
        assert host.link is not None
        with host.link.cut():
            until = time.monotonic() + self.stop_seconds
            self._see_the_other(fault, host)
            time.sleep(max(0.0, until - time.monotonic()))
        self.probes[host].write()

    def fail_over(self, fault: Fault) -> None:
        """The database's server dies for good, and its standby takes its place."""
        self.database.start_standby()
        began = time.monotonic()
        self.database.die()
        self.database.promote()
        self.see(fault, self.outside, began)

    def restart_database(self, fault: Fault) -> None:
        self.database.control("-m", "immediate", "restart")
        self.see(fault, self.outside)

    def kill_database(self, fault: Fault) -> None:
        self.database.kill()
        self.see(fault, self.outside)


FAULTS: dict[str, Callable[[Storm, Fault], None]] = {
    "kill -9 of the host that delivers": Storm.kill_sender,
    "kill -9 of the other host": Storm.kill_other,
    "SIGTERM of the host that delivers": Storm.end_sender,
    "SIGSTOP of the host that delivers": Storm.stop_sender,
    "SIGSTOP of the other host": Storm.stop_other,
    "SIGSTOP of the worker that delivers": Storm.stop_sending_worker,
    "SIGSTOP between the claim and the call": Storm.stop_before_call,
    "the host that delivers loses the database": Storm.cut_sender_off,
    "immediate restart of the database": Storm.restart_database,
    "kill -9 of the database": Storm.kill_database,
    FAIL_OVER: Storm.fail_over,
}


# -- what came of it


@dataclass
class Count:
    """Of messages in one direction."""

    there: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0

    def add(self, sent: list[str], there: list[str]) -> None:
        """Compare one chat's. A message that somebody else wrote counts as doubled."""
        self.there += len(there)
        self.lost += (Counter(sent) - Counter(there)).total()
        self.doubled += (Counter(there) - Counter(sent)).total()
        places = {text: number for number, text in enumerate(sent)}
        order = [places[text] for text in dict.fromkeys(there) if text in places]
        self.disordered += sum(one > other for one, other in itertools.pairwise(order))

    def told(self) -> str:
        return (
            f"{self.there} there, lost {self.lost}, doubled {self.doubled},"
            f" out of order {self.disordered}"
        )

    def is_good(self) -> bool:
        return not self.lost and not self.doubled and not self.disordered


def counts_of(stage: Stage, talks: list[Talk]) -> tuple[Count, Count]:
    """Of what visitors sent, and of what operators did."""
    visitors, operators = Count(), Count()
    dialogs = dialogs_at(stage)
    for talk in talks:
        kept = [one for dialog in dialogs.get(talk.chat_id, []) for one in dialog["messages"]]
        texts = {
            author: [one["text"] for one in kept if one["author"] == author]
            for author in ("visitor", "operator")
        }
        shown = [one.text for one in talk.shown() if one.author != "visitor"]
        visitors.add([text for _, text in talk.written], texts["visitor"])
        operators.add(texts["operator"], shown)
    return visitors, operators


# -- live across hosts


class Listener:
    """A visitor's stream at an address, which notes when each text came."""

    def __init__(self, talk: Talk, chat: str) -> None:
        address, _, path = chat.removeprefix("http://").partition("/")
        cookies = "; ".join(f"{one.name}={one.value}" for one in talk.visitor.http.cookies)
        self._connection = HTTPConnection(address, timeout=60)
        self._connection.request(
            "GET", f"/{path}/ajax?type=chat_stream", headers={"Cookie": cookies}
        )
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._came = threading.Condition()
        self.came_at = 0.0  # the last part, on the monotonic clock
        self._text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError, HTTPException):
            while part := self._answer.read1(65_536).decode():
                with self._came:
                    self._text, self.came_at = self._text[-10_000:] + part, time.monotonic()
                    self._came.notify_all()

    def wait_for(self, text: str) -> bool:
        with self._came:
            return self._came.wait_for(lambda: text in self._text, 10)

    def close(self) -> None:
        """Hang up, also on whoever reads."""
        if self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._connection.close()


def live(pair: Pair, talks: list[Talk], count: int) -> dict[str, list[float]]:
    """Milliseconds from an event's post at one host until a stream has it, by the stream's way."""
    first, second = pair.hosts
    state = pair.state()
    auth = {name: state[name] for name in ("application_token", "member_id")}
    dialogs = {one["external_chat_id"]: one["chat_id"] for one in state["dialogs"]}
    numbers = itertools.count(1000)
    delays: dict[str, list[float]] = {}
    for way, chat in {"at the other host": first.direct, "through nginx": pair.chat}.items():
        listeners = [Listener(talk, chat) for talk in talks]
        time.sleep(0.5)
        delays[way] = []
        for number in itertools.islice(numbers, count):
            talk, listener = talks[number % len(talks)], listeners[number % len(talks)]
            event = operators_answer(talk.chat_id, dialogs[talk.chat_id], number, **auth)
            began = time.monotonic()
            answer = requests.post(f"{second.direct}/handler", data=event, timeout=30)
            assert answer.status_code == 200, answer.text
            assert listener.wait_for(f"answer {number}"), f"answer {number} has not come"
            delays[way].append((listener.came_at - began) * 1000)
            time.sleep(0.02)
        for listener in listeners:
            listener.close()
    return delays


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


# -- the program


def plan(seed: int, names: Iterable[str], portals: Iterable[str]) -> list[Fault]:
    """Each fault with each portal, in an order of the seed's; what comes only once is the last."""
    names, portals = [*names], [*portals]
    faults = [Fault(name, portal) for name in names if name != FAIL_OVER for portal in portals]
    random.Random(seed).shuffle(faults)
    return faults + [Fault(name, portals[0]) for name in names if name == FAIL_OVER]


def weather(pair: Pair, server: Server, given: argparse.Namespace) -> bool:
    """Play all faults and print what came of them; whether all is there, once and in order."""
    faults = plan(given.seed, given.faults, given.portals)
    storm = Storm(
        pair, server, faults, given.stop_seconds, seed=given.seed, visitors=given.visitors,
        report=lambda line: print(line, flush=True),
    )  # fmt: skip
    told = ""
    try:
        storm.play()
    except AssertionError as error:
        told = f"broken off, so what is under way counts as lost: {error}"
    try:
        if not told:
            assert_equal(pair, storm.talks, 120)
    except AssertionError as error:
        told = str(error)
    for who, count in zip(("visitors", "operators"), counts_of(pair, storm.talks), strict=True):
        print(f"{who:10} {count.told()}")
    if told:
        print(told)
    missing = [fault for fault in faults if fault.seconds is None]
    return not told and not missing


def soon(pair: Pair, count: int) -> bool:
    """Print when answers that one host has taken are seen at the other; whether soon enough."""
    talks = [Talk(pair, f"listener {number}") for number in range(5)]
    good = True
    for way, delays in live(pair, talks, count).items():
        worst = p95(delays)
        good = good and worst <= SOON_MS
        print(
            f"posted at one host, seen {way}: p50 {statistics.median(delays):.0f},"
            f" p95 {worst:.0f}, worst {max(delays):.0f} ms of {len(delays)}"
        )
    return good


def main() -> int:
    given = _arguments()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    Stage.forks = True
    print(f"seed {given.seed}, {given.workers} workers a host", flush=True)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(Server(durable=True)) as server,
            LinkedPair(
                Path(folder), server.with_standby(server.new_database()), given.workers
            ) as pair,
        ):
            pair.install()
            try:
                good = not given.faults or weather(pair, server, given)
                if given.live:
                    good = soon(pair, given.live) and good
            finally:
                if given.keep:
                    given.keep.write_text(pair.logged())
    finally:
        end_starters()
    print("passed" if good else f"FAILED, seed {given.seed}", flush=True)
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--workers", type=int, default=2, help="of each host")
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--stop-seconds", type=float, default=60, help="how long a host hangs")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--portals", nargs="+", choices=PORTALS, default=list(PORTALS))
    parser.add_argument("--live", type=int, default=250, help="answers to measure; 0: none")
    parser.add_argument("--keep", type=Path, help="where to keep the log of both hosts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
