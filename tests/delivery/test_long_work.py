"""However much waits, no background job holds up the others of its process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stage import ROOT

ROWS = 10_000  # SECURITY.md names 100,000: the work at once must not grow with them
MOST_MS = 50.0
LONG_WORK = Path(__file__).with_name("long_work.py")
GROWING = ("no_line", "open_line", "one_line_of_two", "confirmations", "failed_chats", "deletions")
IN_PIECES = ("clock_set_back", "restored", "recovery", "doubt", "abandoned_files")
OF_A_REQUEST = ("counts", "senders")


@pytest.fixture(scope="module")
def long_work() -> dict[str, tuple[float, float]]:
    """The longest hold of the process and the whole time of each job, in milliseconds."""
    run = subprocess.run(
        [sys.executable, "-m", "gevent.monkey", LONG_WORK, str(ROWS)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return {job: tuple(times) for job, times in json.loads(run.stdout).items()}


@pytest.mark.parametrize("job", [*GROWING, *IN_PIECES, *OF_A_REQUEST])
def test_no_job_holds_up_others_however_many_rows_there_are(
    long_work: dict[str, tuple[float, float]], job: str
) -> None:
    longest, total = long_work[job]

    assert longest < MOST_MS, f"{job} held the process for {longest:.0f} ms"
    if job in IN_PIECES:
        assert total > 3 * longest, f"{job} is done in one piece, or is no long work"
