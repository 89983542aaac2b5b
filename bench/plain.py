"""The rows of plain requests: histories, polls and messages, in rounds, the contestants in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.contestants import CLIENTS, Contestant, Up
from bench.load import Ask, Load, load
from bench.processes import processor_seconds
from bench.results import Row, median, rounded

# Least ratios to PHP by the chat's length, and what design wants beyond them.
HISTORY_REACH = {10: 0.5, 100: 1.0, 1_000: 6.0, 5_000: 35.0}
POLL_REACH = {10: 0.8, 100: 1.5, 1_000: 8.0, 5_000: 50.0}
P99_MS = 30.0
SEND_RATIO, SLOW_RATIO = 1.2, 100.0
SLOW_SECONDS, SLOW_CLIENTS, SLOW_P95_MS = 1.0, 64, 50.0
COST_US = {"send": 450, "history 10": 450, "page": 900}
PAGE_LENGTH = 100  # of which our page shows the last 50
POLL_EVERY_SECONDS, POLLERS = 5, 1_000
IDLE_PERCENT = 1.0


@dataclass(frozen=True)
class Plan:
    """How long everything takes."""

    rounds: int
    seconds: float  # of each load
    lengths: tuple[int, ...]  # of the chats that are read
    quick: bool


@dataclass
class Sample:
    load: Load
    microseconds: float  # of processor time, of all that serves, for one request
    portal_percent: float  # of a core, that our portal used meanwhile


@dataclass
class Samples:
    """What was measured, by the contestant's name and the kind of request."""

    found: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    def take(self, name: str, kind: str, up: Up, ask: Ask, clients: int, seconds: float) -> None:
        before, portal = processor_seconds(up.roots), processor_seconds(up.portal_roots)
        measured = load(ask, clients, seconds)
        used = processor_seconds(up.roots) - before
        portal = (processor_seconds(up.portal_roots) - portal) / max(1, seconds)
        sample = Sample(measured, used / max(1, measured.requests) * 1e6, portal * 100)
        self.found.setdefault((name, kind), []).append(sample)

    def of(self, name: str, kind: str) -> list[Sample]:
        return self.found.get((name, kind), [])

    def median(self, name: str, kind: str, field_name: str) -> float:
        return median([float(getattr(one.load, field_name)) for one in self.of(name, kind)])

    def cost(self, name: str, kind: str) -> float:
        return median([one.microseconds for one in self.of(name, kind)])

    def portal_percent(self) -> float:
        """What our portal used of a core while messages were sent."""
        sends = [one for (_, kind), found in self.found.items() if kind == "send" for one in found]
        return max(one.portal_percent for one in sends)

    def failed(self, name: str, kind: str) -> int:
        return sum(one.load.failed for one in self.of(name, kind))


def measure(contestants: Sequence[Contestant], plan: Plan, say: Callable[[str], None]) -> Samples:
    """All plain requests, in turn: A, B, A, B …"""
    samples = Samples()
    for one in contestants:
        say(f"{one.name}: chats of {', '.join(map(str, plan.lengths))} messages are made")
        one.fill(plan.lengths)
    for number in range(plan.rounds):
        for one in contestants:
            say(f"round {number + 1} of {plan.rounds}: {one.name}")
            _read(one, plan, samples)
            _write(one, plan, samples)
    return samples


def _read(one: Contestant, plan: Plan, samples: Samples) -> None:
    with one.reading() as up:
        first = one.visitors[plan.lengths[0]]
        load(up.history(first), CLIENTS, 1)  # to warm up
        for length in plan.lengths:
            visitors = one.visitors[length]
            ask = up.history(visitors)
            samples.take(one.name, f"history {length}", up, ask, CLIENTS, plan.seconds)
            if one.is_ours:  # a stand-in's poll is the history
                ask = one.poll(up, visitors)
                samples.take(one.name, f"poll {length}", up, ask, CLIENTS, plan.seconds)
        if one.is_ours:
            clients = [visitor.client for visitor in one.visitors[min(PAGE_LENGTH, *plan.lengths)]]
            if PAGE_LENGTH in one.visitors:
                clients = [visitor.client for visitor in one.visitors[PAGE_LENGTH]]
            page = Ask(up.page, clients, holds="</html>")
            samples.take(one.name, "page", up, page, CLIENTS, plan.seconds)


def _write(one: Contestant, plan: Plan, samples: Samples) -> None:
    with one.writing(0) as up:
        ask = up.sending(up.arrive(CLIENTS))
        load(ask, CLIENTS, 1)  # to warm up
        samples.take(one.name, "send", up, ask, CLIENTS, plan.seconds)
    with one.writing(SLOW_SECONDS) as up:
        ask = up.sending(up.arrive(SLOW_CLIENTS))
        # Each answer of a stand-in takes four seconds, and there have to be some.
        seconds = max(plan.seconds, 3 if plan.quick else 12)
        samples.take(one.name, "slow", up, ask, SLOW_CLIENTS, seconds)


class Table:
    """Makes rows of samples."""

    def __init__(self, samples: Samples, contestants: Sequence[Contestant]) -> None:
        self._samples = samples
        self._contestants = contestants

    def rates(self, row: Row, kind: str, p95: bool = False) -> Row:
        """Fill a row with the rates of a kind of request; the example has its nearest kind."""
        for one in self._contestants:
            own = kind if one.is_ours else kind.replace("poll", "history")
            if not self._samples.of(one.name, own):
                continue
            rate = self._samples.median(one.name, own, "rate")
            times = [self._samples.median(one.name, own, name) for name in ("p50", "p95", "p99")]
            failed = self._samples.failed(one.name, own)
            row.cells[one.name] = (
                f"{rounded(rate)} a second; "
                + " / ".join(rounded(time) for time in times)
                + " ms"
                + (f"; {failed} failed" if failed else "")
            )
            row.figures[one.name] = rate
        row.ratio = self._ratio(row)
        return row

    def _ratio(self, row: Row) -> float | None:
        ours = next((one.name for one in self._contestants if one.is_ours), "")
        other = row.figures.get("PHP tutorial")
        return row.figures[ours] / other if other and ours in row.figures else None

    def worst(self, kind: str, field_name: str) -> float:
        """The highest median of ours, over both databases."""
        return max(
            self._samples.median(one.name, kind, field_name)
            for one in self._contestants
            if one.is_ours
        )

    def clean(self, kind: str) -> bool:
        ours = [one.name for one in self._contestants if one.is_ours]
        return not any(self._samples.failed(name, kind) for name in ours)

    def costs(self, kind: str, what: str, most: float) -> Row:
        row = Row(what, f"≤ {most:.0f} µs")
        own = []
        for one in self._contestants:
            if self._samples.of(one.name, kind):
                cost = self._samples.cost(one.name, kind)
                row.cells[one.name] = f"{rounded(cost)} µs"
                row.figures[one.name] = cost
                own += [cost] if one.is_ours else []
        row.judge(max(own) <= most)
        return row


def rows(samples: Samples, contestants: Sequence[Contestant], plan: Plan) -> list[Row]:
    table = Table(samples, contestants)
    found = [_send(table), _slow(table)]
    for length in plan.lengths:
        reach = f"≥ {HISTORY_REACH[length]:g} times PHP's rate, p99 ≤ {P99_MS:.0f} ms"
        what = f"`chat_history` (last 50), {CLIENTS} clients, chat of {length:,}"
        row = table.rates(Row(what, reach), f"history {length}")
        good = table.worst(f"history {length}", "p99") <= P99_MS
        row.judge(good and table.clean(f"history {length}"), HISTORY_REACH[length])
        row.pictured = f"History of a chat of {length:,} messages, answers a second"
        found.append(row)
    for length in plan.lengths:
        what = f"a poll that finds nothing new, chat of {length:,} (the tutorials': the history)"
        row = table.rates(Row(what, f"≥ {POLL_REACH[length]:g} times PHP's rate"), f"poll {length}")
        row.judge(table.clean(f"poll {length}"), POLL_REACH[length])
        found.append(row)
    found.append(table.costs("send", "processor time of one `send_message`", COST_US["send"]))
    shortest = f"history {plan.lengths[0]}"
    what = f"processor time of one history of {plan.lengths[0]}"
    found.append(table.costs(shortest, what, COST_US["history 10"]))
    found.append(table.costs("page", "processor time of one chat page of 50", COST_US["page"]))
    return found


def _send(table: Table) -> Row:
    row = Row(
        f"`send_message`, portal at 0 ms, {CLIENTS} clients (the tutorials' is not durable)",
        f"≥ {SEND_RATIO:g} times PHP's rate, durable; p99 ≤ 30 ms",
        pictured="Messages taken a second, portal answers at once (only ours are durable)",
    )
    table.rates(row, "send")
    row.judge(table.worst("send", "p99") <= P99_MS and table.clean("send"), SEND_RATIO)
    return row


def _slow(table: Table) -> Row:
    row = Row(
        f"`send_message`, portal at {SLOW_SECONDS:g} s, {SLOW_CLIENTS} clients",
        f"≥ {SLOW_RATIO:g} times PHP's rate, p95 ≤ {SLOW_P95_MS:.0f} ms",
        pictured=f"Messages taken a second, portal answers after {SLOW_SECONDS:g} s",
    )
    table.rates(row, "slow")
    row.judge(table.worst("slow", "p95") <= SLOW_P95_MS and table.clean("slow"), SLOW_RATIO)
    return row


def idle_of_polls(
    samples: Samples, contestants: Sequence[Contestant], plan: Plan
) -> dict[str, str]:
    """What 1,000 pollers cost the stand-ins: their polls a second, each at its measured time."""
    found = {}
    for one in contestants:
        if not one.is_ours:
            a_second = POLLERS / POLL_EVERY_SECONDS
            percents = [
                samples.cost(one.name, f"history {length}") * a_second / 1e4
                for length in (plan.lengths[0], plan.lengths[-1])
            ]
            found[one.name] = (
                f"{rounded(percents[0])} % with chats of {plan.lengths[0]:,},"
                f" {rounded(percents[1])} % of {plan.lengths[-1]:,} (computed of a poll's time)"
            )
    return found
