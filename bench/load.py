"""Load on a server: so many clients, each asking again as soon as it is answered.

wrk does it where the machine has it, one thread a client, so that each has a cookie and a
connection of its own. Elsewhere Python threads do: they cost more than
what they ask, and figures are lower, for all contestants alike. An answer of another status or
content than expected is a failure.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.facts import ROOT, find

SCRIPT = Path(__file__).parent / "load.lua"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Ask:
    """One kind of request. In a body UUID and COUNT are replaced, each time by new ones."""

    url: str
    clients: list[dict[str, str]]  # headers of each: its cookie
    body: str = ""  # a form to be posted; "": a GET
    holds: str = ""  # what a good answer has in its body
    status: int = 200


@dataclass(frozen=True)
class Load:
    """What so many clients got. Times are in milliseconds; the rate is of good answers a second."""

    rate: float
    p50: float
    p95: float
    p99: float
    failed: int
    requests: int


def headers_of(ask: Ask) -> dict[str, str]:
    return {"Content-Type": "application/x-www-form-urlencoded"} if ask.body else {}


def _quoted(text: str) -> str:
    return json.dumps(text)  # of what we write, Lua reads the same


def lua_table(ask: Ask) -> str:
    """The requests as load.lua reads them."""

    def table(fields: dict[str, str]) -> str:
        return "{" + ",".join(f"[{_quoted(k)}]={_quoted(v)}" for k, v in fields.items()) + "}"

    parts = urlsplit(ask.url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    fields = {
        "method": _quoted("POST" if ask.body else "GET"),
        "path": _quoted(path),
        "status": str(ask.status),
        "holds": _quoted(ask.holds),
        "stamp": str(uuid.uuid4().int & 0xFFFFFFFF),
        "headers": table(headers_of(ask)),
        "clients": "{" + ",".join(map(table, ask.clients)) + "}",
    }
    if ask.body:
        fields["body"] = _quoted(ask.body)
    return "return {" + ",".join(f"{name}={value}" for name, value in fields.items()) + "}\n"


def load(ask: Ask, clients: int, seconds: float) -> Load:
    """Let so many clients ask for so long."""
    wrk = find("wrk")
    found = _by_wrk(wrk, ask, clients, seconds) if wrk else _by_python(ask, clients, seconds)
    return Load(
        rate=max(0, found["requests"] - found["failed"]) / found["seconds"],
        p50=found["p50"],
        p95=found["p95"],
        p99=found["p99"],
        failed=int(found["failed"]),
        requests=int(found["requests"]),
    )


def _by_wrk(wrk: str, ask: Ask, clients: int, seconds: float) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as plan:
        plan.write(lua_table(ask))
        plan.flush()
        root = ask.url.partition("?")[0]
        command = [wrk, f"-t{clients}", f"-c{clients}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", f"{TIMEOUT_SECONDS}s", "-s", str(SCRIPT), root, "--", plan.name]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    return _result(said)


def _by_python(ask: Ask, clients: int, seconds: float) -> dict[str, float]:
    """In a process of its own, whose interpreter's lock holds nobody else up."""
    command = [sys.executable, "-m", "bench.load", str(clients), str(seconds)]
    given = json.dumps(asdict(ask))
    said = subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )
    return _result(said)


def _result(said: "subprocess.CompletedProcess[str]") -> dict[str, float]:
    line = next((one for one in said.stdout.splitlines() if one.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"no result of {said.args[0]}: {said.stdout}{said.stderr}")
    found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    if found["failed"] and said.stderr:
        print(f"  a failed answer: {said.stderr.splitlines()[0][:200]}", file=sys.stderr)
    return found


class _Client(threading.Thread):
    """One client of `_by_python`."""

    def __init__(self, ask: Ask, number: int, until: float) -> None:
        super().__init__()
        self._ask, self._number, self._until = ask, number, until
        self.times: list[float] = []
        self.failed = 0

    def run(self) -> None:
        ask, parts = self._ask, urlsplit(self._ask.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = headers_of(ask) | ask.clients[self._number % len(ask.clients)]
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
        while time.perf_counter() < self._until:
            body = ask.body.replace("UUID", str(uuid.uuid4()))
            body = body.replace("COUNT", f"{self._number}.{len(self.times)}")
            began = time.perf_counter()
            try:
                connection.request("POST" if body else "GET", path, body or None, headers)
                answer = connection.getresponse()
                text = answer.read().decode()
                good = answer.status == ask.status and ask.holds in text
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            self.failed += not good
            self.times.append((time.perf_counter() - began) * 1000)
        connection.close()


def main(clients: int, seconds: float) -> None:
    ask = Ask(**json.load(sys.stdin))
    began = time.perf_counter()
    threads = [_Client(ask, number, began + seconds) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(one for thread in threads for one in thread.times)
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    found = {
        "requests": len(times),
        "seconds": time.perf_counter() - began,
        "p50": cuts[49],
        "p95": cuts[94],
        "p99": cuts[98],
        "failed": sum(thread.failed for thread in threads),
    }
    print("RESULT", json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
