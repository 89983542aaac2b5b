"""gunicorn's settings of the attacks: the product's own, and a note of how long the loop was held.

A worker serves all requests in one loop. Each time a greenlet has held the loop for NOTED_MS or
longer before it gave the loop back, a line is added to the file that HELD_NOTES names: milliseconds
of the processor, and milliseconds of the clock, which the machine's other work makes longer.
"""

import os
import runpy
import time
from pathlib import Path
from typing import Any

NOTED_MS = 3.0

_product = runpy.run_path(str(Path(__file__).parent.parent.parent / "gunicorn.conf.py"))
globals().update({name: value for name, value in _product.items() if not name.startswith("_")})


def post_worker_init(worker: Any) -> None:
    """As the product's; then, when the worker begins to serve, its loop is watched."""
    _product["post_worker_init"](worker)
    # Imported only now, when gunicorn has patched the worker.
    import gevent  # type: ignore[import-untyped]
    import greenlet  # type: ignore[import-untyped]

    hub = gevent.get_hub()
    notes = os.open(os.environ["HELD_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    began = [time.thread_time(), time.perf_counter()]

    def switched(event: str, between: tuple[object, object]) -> None:
        if between[0] is hub:
            began[:] = time.thread_time(), time.perf_counter()
        elif between[1] is hub:
            worked = (time.thread_time() - began[0]) * 1000
            passed = (time.perf_counter() - began[1]) * 1000
            if worked >= NOTED_MS:
                os.write(notes, f"{worked:.1f} {passed:.1f}\n".encode())

    greenlet.settrace(switched)
