"""Measures everything in one run and prints one table; `make bench`, or `make bench QUICK=1`.

A full run writes bench/RESULTS.md and bench/results.svg; a quick one leaves out what takes long,
says so, and writes nothing. Whatever was begun is ended, also by Ctrl-C.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from install_browser import find_chromium

from bench import hard, live, plain, weight
from bench.contestants import Contestant
from bench.facts import find, machine
from bench.ladder import ladder
from bench.ours import Ours, OursOnPostgreSQL
from bench.picture import picture
from bench.results import MISSED, Row, as_text, in_columns, report
from bench.standins import PHP_CHILDREN, FlaskPolling, Php

HERE = Path(__file__).parent
FULL = plain.Plan(rounds=3, seconds=5, lengths=(10, 100, 1_000, 5_000), quick=False)
QUICK = plain.Plan(rounds=1, seconds=1, lengths=(10, 1_000), quick=True)
FREE_GB = 4  # of disk, for the stores
QUIET_LOAD, QUIET_SECONDS = 0.3, 300.0  # the load average that others may make; how long we wait
KINDS: tuple[type[Contestant], ...] = (Ours, OursOnPostgreSQL, Php, FlaskPolling)
LEFT_OUT = (
    "Left out because of QUICK: chats of 100 and 5,000 messages, `kill -9` under load, backlogs, a"
    " newcomer behind 50,000. Fewer: one round of a second each, 1,000 streams in place of 9,000,"
    " and answers. bench/RESULTS.md stays as it was."
)
NOTES = [
    "Rates are of good answers a second: status and content are looked at, anything else is a"
    " failure. The three times after a rate are p50 / p95 / p99.",
    "Load comes from the same cores; the generator is the same for all. Each client has a cookie"
    " and a chat of its own, and keeps its connection where the server lets it.",
    f"PHP: php-fpm with {PHP_CHILDREN} processes and opcache behind nginx. Flask: gunicorn with two"
    " sync workers, which end each connection. Ours: gunicorn as `make serve` has it, two workers.",
    "The portal of the tutorials is nginx with a fixed answer (0 ms), or gevent (1 s). Ours is the"
    " sandbox, called twice a second at most. What a portal uses is counted for nobody.",
    "Processor time is of all processes that serve, user and system: nginx and php-fpm; ours with"
    " what they deliver meanwhile; with PostgreSQL its processes, too.",
    "Ours answers a message once it is on the disk. The tutorials' file is not synced: a message"
    " that was answered may be gone after a power failure.",
    "What is not answered when a load ends is not counted: where an answer takes longer than the"
    " load (Flask, portal at 1 s), times are too low.",
    "Backlogs: the portal breaks connections off, so nobody knows what became of the first call;"
    " its chats wait for `delivery.timeout_seconds` and `delivery.settle_seconds` (here the"
    " defaults, 70 and 10) before anything of them is sent again.",
    "An operator's answer among 9,000 streams goes to nine of them, all of one chat; each counts.",
]


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def choose(folder: Path, stack: ExitStack) -> tuple[list[Contestant], list[str]]:
    """Those who can take part, and what is to be said of the others."""
    chosen, absent = [], []
    for kind in KINDS:
        own = folder / kind.__name__
        own.mkdir()
        one = kind(own)
        stack.callback(one.close)
        why = one.missing()
        if why:
            absent.append(f"{one.name} is left out: {why}")
        else:
            chosen.append(one)
    return chosen, absent


def wait_for_quiet() -> None:
    """Figures of a machine that does something else, too, would be of no use."""
    until = time.monotonic() + QUIET_SECONDS
    if os.getloadavg()[0] > QUIET_LOAD:
        say("waiting until nothing else is at work on this machine")
    while os.getloadavg()[0] > QUIET_LOAD:
        if time.monotonic() > until:
            sys.exit(f"others are at work here (load average {os.getloadavg()[0]:.1f}); end them")
        time.sleep(2)


def measure(contestants: list[Contestant], quick: bool) -> tuple[plain.Samples, list[Row]]:
    """All rows, in the order of the table, and what the plain ones are made of."""
    plan = QUICK if quick else FULL
    samples = plain.measure(contestants, plan, say)
    say("answers in a browser")
    rows = [live.visible(contestants, *((20, 2) if quick else (200, 20)))]
    say("open streams")
    polls = plain.idle_of_polls(samples, contestants, plan)
    streams = live.stream_rows(contestants, quick, polls)
    rows += [streams[0], *plain.rows(samples, contestants, plan), *streams[1:]]
    if not quick:
        say("kill -9 under load")
        rows.append(hard.crash(contestants))
        say("backlogs")
        cases = [
            ("a backlog of 1,000 messages of 50 chats", 50, 0.0),
            ("a backlog of 1,000 messages of 6 chats", 6, 0.0),
            ("a backlog of 1,000 messages after two minutes without a portal", 50, 120.0),
        ]
        rows += hard.backlogs(contestants, cases)
        say("a new visitor behind 50,000 messages")
        rows.append(hard.newcomer(contestants, 50_000))
    rows.append(weight.weight(contestants))
    return samples, rows + weight.watched_by_tests()


def run(folder: Path, quick: bool) -> int:
    began = time.monotonic()
    with ExitStack() as stack:
        contestants, absent = choose(folder, stack)
        if find("wrk") is None:
            absent.append("wrk is missing (apt-get install wrk): our own slower generator is used")
        for line in absent:
            say(line)
        if not quick:
            wait_for_quiet()
        facts = machine(folder) | {"rounds": str((QUICK if quick else FULL).rounds)}
        names = [kind.name for kind in KINDS]
        samples, rows = measure(contestants, quick)
        busy = samples.portal_percent()
        say("what a request is made of")
        parts = ladder(contestants, samples, folder, QUICK if quick else FULL)
    facts["the sandbox used"] = f"{busy:.0f} % of a core while messages were sent"
    facts["the run took"] = f"{(time.monotonic() - began) / 60:.0f} minutes"
    print("\n" + as_text(rows, names) + "\n\n" + in_columns(parts) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print("\n".join(["", *absent, LEFT_OUT if quick else ""]))
    if not quick:
        text = report(rows, names, parts, facts, [*NOTES, *absent])
        (HERE / "RESULTS.md").write_text(text, "utf-8")
        caption = f"{facts['date']}, commit {facts['commit']}; {facts['processor']}; make bench"
        (HERE / "results.svg").write_text(picture(rows, names, caption), "utf-8")
    return int(any(row.verdict == MISSED for row in rows))


def interrupted(*_: object) -> None:
    sys.exit("make bench was ended; nothing of it is left")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in two to four minutes, with less")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be measured"
    )
    given = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)  # that of this process; those that are begun have their own
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupted)
    if not Path("/proc/self/stat").exists():
        sys.exit("make bench needs Linux: it reads processor time and memory from /proc")
    if find_chromium() is None:
        sys.exit("make bench needs a Chromium: apt-get install chromium")
    if shutil.disk_usage(given.folder).free < FREE_GB << 30:
        sys.exit(f"make bench needs {FREE_GB} GB below {given.folder}; --folder names another")
    with tempfile.TemporaryDirectory(prefix="sitechat-bench-", dir=given.folder) as folder:
        return run(Path(folder), given.quick)


if __name__ == "__main__":
    sys.exit(main())
