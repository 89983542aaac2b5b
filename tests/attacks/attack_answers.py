"""Odd answers to one visitor's message: how long do the messages of all others wait?

    python tests/attacks/attack_answers.py [PART OF A KIND'S NAME ...]

A proxy stands between the application and the sandbox. Whenever the message of one visitor is in
a call, the proxy answers in its own way: deep JSON, 400 MB gzipped, a byte a second and so on.
Nothing is done at the portal then. Meanwhile another visitor writes every two seconds. Prints for
each kind the longest time until such a message is at the portal, the most memory that the
application had, and how long we take to answer a normal visitor. Broken is the promise if one
waits for over 10 s, if the memory grows by over 300 MB, if the log has a traceback, or if visitors
are answered late. Takes eight seconds a kind.
"""

import http.client
import re
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote_plus, urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from bystander import Bystander
from odd_answers import ODD, Answer, Heard, OddServer
from odd_answers import answer as whole_answer
from stage import Stage

KIND_SECONDS = 8.0
PAUSE_SECONDS = 2.0
LONGEST_SECONDS = 10.0
# All calls together stay below two a second, which the portal takes. With more, messages would wait
# together, share calls with the odd message, and be in doubt with it.
BYSTANDER_SECONDS = 4.0
MOST_MB = 300
ODD_ONE = "a message with an odd answer"
AS_IN_LIFE = {
    "SITECHAT_DELIVERY__RETRY_SECONDS": "1",
    "SITECHAT_DELIVERY__SETTLE_SECONDS": "10",
    "SITECHAT_DELIVERY__TIMEOUT_SECONDS": "70",
}


class Between:
    """The proxy: passes calls on, except those that carry the odd message."""

    def __init__(self, portal: str) -> None:
        self._portal = urlsplit(portal).netloc
        self.kind = ""
        self.arrived: dict[str, float] = {}  # by text, when the portal had it

    def reply(self, heard: Heard) -> Answer:
        text = unquote_plus(heard.body.decode())
        if self.kind and ODD_ONE in text:
            return ODD[self.kind]()
        connection = http.client.HTTPConnection(self._portal, timeout=60)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", heard.path, heard.body, headers)
        answered = connection.getresponse()
        body = answered.read()
        for found in re.findall(r"fair \d+", text):
            self.arrived.setdefault(found, time.monotonic())
        return whole_answer(body, f"{answered.status} {answered.reason}")


class BehindProxy(Stage):
    proxy = ""

    def environment(self) -> dict[str, str]:
        return super().environment() | AS_IN_LIFE | {"SITECHAT_BITRIX24__PORTAL": self.proxy}


def megabytes(stage: Stage) -> int:
    """The most memory that a process of the application ever had."""
    assert stage.app is not None
    pid = stage.app.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = [Path(f"/proc/{child}/status").read_text() for child in children]
    return max(int(peak) >> 10 for state in states for peak in re.findall(r"VmHWM:\s+(\d+)", state))


def longest_wait(stage: Stage, between: Between, kind: str, first: int) -> float:
    """Seconds until the last of the others' messages was at the portal, at worst."""
    between.kind = kind
    stage.visitor().send(ODD_ONE)
    time.sleep(0.5)  # the odd call is under way
    sent: dict[str, float] = {}
    until = time.monotonic() + KIND_SECONDS
    while time.monotonic() < until:
        text = f"fair {first + len(sent)}"
        sent[text] = time.monotonic()
        stage.visitor().send(text)
        time.sleep(PAUSE_SECONDS)
    patience = time.monotonic() + 90
    while sent.keys() - between.arrived.keys() and time.monotonic() < patience:
        time.sleep(0.05)
    between.kind = ""
    end = time.monotonic()
    return max(between.arrived.get(text, end) - at for text, at in sent.items())


def main() -> int:
    chosen = [kind for kind in ODD if not sys.argv[1:] or any(w in kind for w in sys.argv[1:])]
    broken = []
    with tempfile.TemporaryDirectory() as folder:
        stage = BehindProxy(Path(folder))
        between = Between(stage.portal)
        with OddServer(between.reply) as proxy:
            stage.proxy = proxy.url
            with stage:
                stage.install()
                stage.trouble(limit=False)
                before = megabytes(stage)
                with Bystander(stage.chat, BYSTANDER_SECONDS) as bystander:
                    for number, kind in enumerate(chosen):
                        seconds = longest_wait(stage, between, kind, number * 100)
                        print(f"{kind:30} others wait {seconds:5.1f} s", flush=True)
                        if seconds > LONGEST_SECONDS:
                            broken.append(kind)
                peak = megabytes(stage)
                tracebacks = stage.log.read_text().count("Traceback")
    print(f"memory: {before} MB at first, {peak} MB at most; tracebacks in the log: {tracebacks}")
    print(bystander.report())
    if not bystander.is_served:
        broken.append("a normal visitor's answers")
    if peak - before > MOST_MB:
        broken.append("memory")
    if tracebacks:
        broken.append("tracebacks")
    print("broken: " + ", ".join(broken) if broken else "held")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
