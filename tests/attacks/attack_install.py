"""Strangers at /install while an administrator installs: who waits for whom, and who learns what?

Six and then sixty strangers visit /install all the time, without tokens; others post installs with
forged tokens. The portal takes a second for each call, and the settings have changed since the last
install, which is when a visit had work to do. Prints how long the administrator's install takes
without strangers and beside them, the calls that the strangers' visits cost, what they are told,
and a visitor's p95 for a message meanwhile.

Broken, and exit status 1: the install takes more than 3 s longer beside strangers, a message takes
more than 50 ms (p95), a plain visit costs a call to the portal, or tells more than a verdict. Run
it alone: other work on the machine makes messages slower.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import requests
from stage import Stage

CALL_SECONDS = 1.0  # of each call at the portal
PAUSE_SECONDS = 1.0  # of each stranger between two requests
LONGER_SECONDS = 3.0
P95_MS = 50.0
SECRETS = ("turned away", "delivery stands still", "waiting", "last look", "imconnector", "utc")


class Strangers:
    """Threads that ask again and again; a context."""

    def __init__(self, number: int, ask: Callable[[int], requests.Response]) -> None:
        self.answers: Counter[int] = Counter()
        self.told: set[str] = set()
        self._ask = ask
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(number)]

    def __enter__(self) -> "Strangers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        self._stop.wait(number / len(self._threads) * PAUSE_SECONDS)  # not all in one moment
        while not self._stop.wait(PAUSE_SECONDS):
            try:
                answer = self._ask(number)
            except requests.RequestException:
                self.answers[0] += 1
                continue
            self.answers[answer.status_code] += 1
            self.told |= {secret for secret in SECRETS if secret in answer.text.lower()}


@contextmanager
def sending(stage: Stage, times: list[float]) -> Iterator[None]:
    """A visitor who writes five messages a second; `times` gets what each took, in ms."""
    visitor, stop = stage.visitor(), threading.Event()
    visitor.send("before")

    def write() -> None:
        while not stop.wait(0.2):
            began = time.monotonic()
            visitor.send("hello")
            times.append((time.monotonic() - began) * 1000)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def install_seconds(stage: Stage) -> float:
    """How long an administrator's install takes until it succeeds, asked again after 429."""
    began = time.monotonic()
    while time.monotonic() - began < 150:
        with suppress(requests.Timeout):  # after a minute
            if "successfully" in stage.press("install")["body"]:
                return time.monotonic() - began
        time.sleep(1)
    return float("inf")


def change_settings(stage: Stage, name: str) -> None:
    """Start the application anew with another name, while the portal does not take it."""
    stage.trouble(broken_method="imconnector.register", broken_code="QUERY_LIMIT_EXCEEDED")
    stage.settings["SITECHAT_CONNECTOR__NAME"] = name
    stage.kill()
    stage.start()
    stage.trouble(broken_method="", slow_seconds=CALL_SECONDS)


def p95_of(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def beside(stage: Stage, title: str, strangers: Strangers, alone: float) -> bool:
    """Measure an install beside the strangers; whether all holds."""
    times: list[float] = []
    with sending(stage, times), strangers:
        time.sleep(2)  # the strangers were there first
        seconds = install_seconds(stage)
        time.sleep(max(0.0, 4 - seconds))
    p95 = p95_of(times)
    print(
        f"{title}: install {seconds:.1f} s ({alone:.1f} alone), a message p95 {p95:.0f} ms,"
        f" strangers answered {dict(strangers.answers)}, told of {sorted(strangers.told)}"
    )
    return seconds <= alone + LONGER_SECONDS and p95 <= P95_MS and not strangers.told


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        stage.install()
        stage.trouble(slow_seconds=CALL_SECONDS, limit=False)
        times: list[float] = []
        with sending(stage, times):
            alone = install_seconds(stage)
        print(f"nobody else: install {alone:.1f} s, a message p95 {p95_of(times):.0f} ms")
        url = f"{stage.chat}/install"

        def visit(_: int) -> requests.Response:
            return requests.get(url, timeout=100)

        def forge(number: int) -> requests.Response:
            form = {"PLACEMENT": "DEFAULT", "AUTH_ID": f"forged{number}{time.time()}"}
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            return requests.post(url, form | {"REFRESH_ID": "r"}, headers=headers, timeout=100)

        held = True
        for number in (6, 60):
            change_settings(stage, f"Name {number}")
            held &= beside(stage, f"{number} visits", Strangers(number, visit), alone)
        known = len(stage.calls("imconnector.register")) + len(stage.calls("event.get"))
        answers = [visit(0) for _ in range(20)]
        cost = len(stage.calls("imconnector.register")) + len(stage.calls("event.get")) - known
        print(f"20 visits: {Counter(one.status_code for one in answers)}, {cost} calls")
        held &= cost == 0
        held &= beside(stage, "6 forged installs", Strangers(6, forge), alone)
    print("held" if held else "BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
