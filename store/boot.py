"""Which run of which machine this is: two with the same one read the same clock."""

from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux; containers of one machine have one


@cache
def boot_id() -> str:
    """The same until the machine is started again; "" on a system that does not say it."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
