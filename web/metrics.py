"""`/metrics`: the numbers of the whole service, of all its processes, for Prometheus.

All values come from the store, where each process adds what it has counted, so any process may be
asked. The library's own numbers of memory and processor are those of one process, and are left out.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress

from flask import Response, abort, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from operations.findings import Level, worst
from operations.pulse import PATIENCE_SECONDS
from operations.version import version
from services import Services
from store.database import StoreUnavailable
from tally import BETWEEN, ENDS
from web.asking import services
from web.monitoring import findings, has_token

# Counts of the store by their first part: the metric, what it says, and its labels.
COUNTERS = {
    "taken": ("messages_taken", "Messages that were stored, by their author", ["author"]),
    "recovered": ("answers_recovered", "Operators' messages whose events were lost", ["author"]),
    "delivered": ("deliveries_confirmed", "Messages and confirmations that arrived", ["kind"]),
    "refused": ("deliveries_refused", "Messages and confirmations that were given up", ["kind"]),
    "requests": ("requests", "Answered requests", ["route", "status"]),
    "calls": ("portal_calls", "Calls to Bitrix24, by what became of them", ["method", "outcome"]),
}
HISTOGRAMS = {
    "request_seconds": ("request_seconds", "Until an answer began", ["route"]),
    "call_seconds": ("portal_call_seconds", "How long calls to Bitrix24 took", ["method"]),
}


def metrics() -> ResponseReturnValue:
    """The numbers, for whoever shows `operations.token`; without that setting there is no route."""
    if not services().settings.operations.token.get_secret_value():
        abort(404)
    if not has_token():
        answer = Response("Authorization: Bearer <operations.token>\n", mimetype="text/plain")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer, 401
    registry = CollectorRegistry()
    registry.register(Numbers(services()))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


class Numbers(Collector):
    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def describe(self) -> list[Metric]:
        return []  # else the library would collect once to learn the names

    def collect(self) -> Iterator[Metric]:
        """What the store cannot give now is left out; that it cannot is one of the numbers."""
        yield InfoMetricFamily("sitechat", "The release", value={"version": version()})
        takes = self._takes()
        yield gauge("takes_messages", "1 while messages can be stored", takes)
        if takes:
            self._add()
        try:
            yield from [*self._found(), *self._waiting(), *self._counted()]
        except StoreUnavailable:
            return

    def _takes(self) -> int:
        return int(self._parts.pulse.takes_messages())

    def _found(self) -> Iterator[Metric]:
        found = findings()
        yield gauge("verdict", "0 works, 1 needs attention, 2 does not work", worst(found))
        faults = family("finding", "What is not as it should be", ["check", "key", "level"])
        for finding in found:
            if finding.level is not Level.GOOD:
                level = finding.level.name.lower()
                faults.add_metric([finding.check, finding.key, level], 1)
        yield faults

    def _waiting(self) -> Iterator[Metric]:
        store, now = self._parts.store, self._parts.store.now()
        number = family("waiting", "What waits for Bitrix24", ["kind", "state"])
        oldest = family("waiting_oldest_seconds", "How long the oldest waits", ["kind", "state"])
        for waiting in store.counts.waiting():
            labels = [waiting.kind, waiting.state]
            number.add_metric(labels, waiting.number)
            oldest.add_metric(labels, max(0.0, now - waiting.since))
        yield number
        yield oldest
        if (sender := store.notes.sender.get()) is not None:
            process = family(
                "sender", "1 for the process that delivers, or last did", ["host", "pid"]
            )
            process.add_metric([sender.host, str(sender.pid)], 1)
            yield process
        yield gauge("lines", "Connected open lines", len(store.portal.active_lines()))
        yield gauge("open_pages", "Pages that are told of news at once", store.counts.open())

    def _add(self) -> None:
        """What this process has counted; if the store does not take it now, it is added later."""
        with suppress(StoreUnavailable), self._parts.store.database.briefly(PATIENCE_SECONDS):
            self._parts.add_tally()

    def _counted(self) -> Iterator[Metric]:
        by_first: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for name, value in self._parts.store.counts.all().items():
            first, *rest = name.split(BETWEEN)
            by_first[first][tuple(rest)] = value
        for first, (name, says, labels) in COUNTERS.items():
            counter = CounterMetricFamily(f"sitechat_{name}", says, labels=labels)
            for values, value in sorted(by_first[first].items()):
                counter.add_metric(values, value)
            yield counter
        for first, (name, says, labels) in HISTOGRAMS.items():
            yield histogram(f"sitechat_{name}", says, labels, by_first[first])
        yield self._refusals()

    def _refusals(self) -> Metric:
        turned_away = CounterMetricFamily(
            "sitechat_requests_refused", "Requests turned away", labels=["route", "reason"]
        )
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for refusals in self._parts.store.limits.refusals():
            route, reason, _ = json.loads(refusals.reason)
            counts[route.removeprefix("/"), reason.partition(".")[2]] += refusals.count
        for labels, number in sorted(counts.items()):
            turned_away.add_metric(labels, number)
        return turned_away


def gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sitechat_{name}", says, value=value)


def family(name: str, says: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sitechat_{name}", says, labels=labels)


def histogram(
    name: str, says: str, labels: list[str], counts: Mapping[tuple[str, ...], float]
) -> Metric:
    """The store has what fell into each bucket; Prometheus wants what fell below its end."""
    metric = HistogramMetricFamily(name, says, labels=labels)
    for values in sorted({parts[:-1] for parts in counts}):
        below = 0.0
        buckets: list[tuple[str, float]] = []
        for end in ENDS:
            below += counts.get((*values, end), 0.0)
            buckets.append((end, below))
        metric.add_metric(values, buckets, counts.get((*values, "sum"), 0.0))
    return metric
