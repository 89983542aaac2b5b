"""Long work lets others be served, in a process as gunicorn has it."""

import json
import subprocess
import sys

from stage import ROOT

# Runs `work` beside a visitor who comes every 2 ms; prints the longest hold in processor time.
WATCHED = """
from gevent import monkey
monkey.patch_all()
import json, time
import gevent, greenlet
from bbcode import to_html
from portal.forms import decode_form
from turns import Turns

holds, hub = [0.0], gevent.get_hub()
began = [0.0]
def switched(event, between):
    if between[0] is hub:
        began[0] = time.thread_time()
    elif between[1] is hub:
        holds.append(time.thread_time() - began[0])

def held(work, *args):
    greenlet.settrace(switched)
    holds[:] = [0.0]
    began[0] = began_at = time.thread_time()
    gevent.spawn(work, *args).join()
    total = time.thread_time() - began_at
    greenlet.settrace(None)
    return max(holds), total

def burn(who, pieces, log):
    turns = Turns()
    for _ in range(pieces):
        until = time.thread_time() + 0.005
        while time.thread_time() < until:
            pass
        log.append(who)
        turns.give_way()

found = {
    "text": held(to_html, "[b]" * 6_666),
    "quotes": held(to_html, ">>a\\n" * 5_000),
    "percents": held(decode_form, b"a=" + b"%41" * 340_000),
    "fields": held(decode_form, b"&".join([b"a[][][][][][][][][]=1"] * 4_999)),
}
log = []
long = [gevent.spawn(burn, who, 20, log) for who in "ab"]
gevent.sleep(0.03)
short = gevent.spawn(burn, "S", 3, log)
gevent.joinall([*long, short])
print(json.dumps([found, "".join(log)]))
"""


def test_long_work_holds_up_nobody_and_takes_turns() -> None:
    command = [sys.executable, "-c", WATCHED]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found, log = json.loads(run.stdout)

    for name, (longest, total) in found.items():
        assert total > 0.04, f"{name} is no long work"
        assert longest < 0.04, f"{name} held the loop for {longest * 1000:.0f} ms"
    # The short work waited for each of the long ones once a turn, not for their ends.
    assert log.rindex("S") - log.index("S") <= 8, log
    assert len(log) == 43
