"""Processes of the bench: begun in groups of their own, watched by what /proc tells, and ended.

Linux alone has /proc in this form; elsewhere processor time and memory are not measured.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
END_SECONDS = 10


@contextmanager
def running(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A process with all that it starts; none of them is left afterwards. Gives its number.

    It works in `folder`, where its log is as well.
    """
    with (folder / "output.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, process_group=0
        )
    try:
        yield process.pid
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group, by force where they do not go."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _stat(path: Path) -> list[str]:
    """The fields of a process after its name, which may hold spaces."""
    return (path / "stat").read_text().rpartition(")")[2].split()


def family(roots: list[int]) -> list[Path]:
    """The folders in /proc of processes, and of all that came from them."""
    parents: dict[int, list[Path]] = {}
    for path in PROC.glob("[0-9]*"):
        with suppress(OSError):
            parents.setdefault(int(_stat(path)[1]), []).append(path)
    found = [PROC / str(root) for root in roots]
    for path in found:  # grows meanwhile
        found += [one for one in parents.get(int(path.name), []) if one not in found]
    return found


def processor_seconds(roots: list[int]) -> float:
    """What processes and all that came from them have used, those that ended included."""
    total = 0
    for path in family(roots):
        with suppress(OSError):
            total += sum(map(int, _stat(path)[11:15]))
    return total / TICKS


def memory_kb(roots: list[int]) -> int:
    """Memory of processes and of all that came from them; what several share counts once.

    The sessions of a database share most of theirs.
    """
    total = 0
    for path in family(roots):
        with suppress(OSError):
            for line in (path / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total
