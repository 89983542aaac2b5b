"""What a request's processor time is made of: the same load on ever more of what serves it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from stage import HOST, free_port, wait_until

from bench.contestants import CLIENTS, Contestant, answers
from bench.facts import ROOT
from bench.load import Ask, load
from bench.ours import WORKERS, Ours
from bench.plain import Plan, Samples
from bench.processes import processor_seconds, running
from bench.results import median, rounded

BARE = {
    "gunicorn with gevent and an application that only says ok": "bench.bare:server_only",
    "and Flask": "bench.bare:with_flask",
}
EMPTY = "ours, an answer that asks nothing of the store (`type=site`)"
# By the kinds of samples that the table of plain requests has as well.
OWN = {
    "poll 10": "a poll that finds nothing new",
    "history 10": "a history of 10",
    "page": "a chat page of 50",
    "slow": "`send_message`, portal at 1 s: stored, hardly delivered meanwhile",
    "send": "`send_message`, portal at 0 ms: stored and delivered",
}


def _cost(ask: Ask, roots: list[int], plan: Plan) -> float:
    """Microseconds of processor time a request, the median of the rounds."""
    load(ask, CLIENTS, 1)  # to warm up
    found = []
    for _ in range(plan.rounds):
        used = processor_seconds(roots)
        measured = load(ask, CLIENTS, plan.seconds)
        found.append((processor_seconds(roots) - used) / max(1, measured.requests) * 1e6)
    return median(found)


def _bare(application: str, folder: Path, plan: Plan) -> float:
    port = free_port()
    url = f"http://{HOST}:{port}/"
    command = [
        sys.executable, "-m", "gunicorn", "--config", "/dev/null", "--worker-class", "gevent",
        "--workers", str(WORKERS), "--keep-alive", "30", "--bind", f"{HOST}:{port}",
        "--chdir", str(ROOT), application,
    ]  # fmt: skip
    with running(command, folder) as pid:
        wait_until(answers(url), 30, application)
        return _cost(Ask(url, [{}] * CLIENTS, holds="ok"), [pid], plan)


def ladder(
    contestants: Sequence[Contestant], samples: Samples, folder: Path, plan: Plan
) -> list[list[str]]:
    """The table: a head, then what is asked of what, and the microseconds of each database."""
    ours = [one for one in contestants if isinstance(one, Ours)]
    table = [["Processor time of a request, in microseconds", *(one.name for one in ours)]]
    for what, application in BARE.items():
        table.append([what, *[rounded(_bare(application, folder, plan))] * max(1, len(ours))])
    empty = []
    for one in ours:
        with one.reading() as up:
            ask = Ask(f"{up.ajax}?type=site", [{}] * CLIENTS, holds="export")
            empty.append(rounded(_cost(ask, up.roots, plan)))
    table.append([EMPTY, *empty])
    for kind, what in OWN.items():
        table.append([what, *(rounded(samples.cost(one.name, kind)) for one in ours)])
    return table
