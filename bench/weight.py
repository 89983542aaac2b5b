"""The rows of bytes, and those that tests watch over."""

import gzip
import re
from collections.abc import Sequence

import requests

from bench.contestants import Contestant
from bench.results import Row

KB = 1024
LOADER, FIRST, ALL = 4, 30, 45  # KB, packed
LATER = ("loader.js", "panel.js", "upload.js", "menu.js", "back.js", "overlays.js")


def weight(contestants: Sequence[Contestant]) -> Row:
    row = Row(
        "loader; first paint of the chat; all of the chat (gzip)",
        f"≤ {LOADER}; ≤ {FIRST}; ≤ {ALL} KB, no third party",
    )
    ours = next(one for one in contestants if one.is_ours)
    with ours.writing(0) as up, requests.Session() as http:
        root = up.page

        def sent(name: str) -> int:
            headers = {"Accept-Encoding": "gzip"}
            answer = http.get(f"{root}static/{name}", headers=headers, timeout=30)
            answer.raise_for_status()
            return int(answer.headers["Content-Length"])

        page = http.get(f"{root}?embed=1&lang=en", timeout=30).text
        parts = re.findall(r'(?:src|href)="/static/\w+/([a-z]+\.(?:js|css|svg))"', page)
        first = len(gzip.compress(page.encode())) + sum(map(sent, parts))
        loader, later = sent("loader.js"), sum(map(sent, LATER))
    sizes = [loader / KB, first / KB, (first + later) / KB]
    row.cells[ours.name] = "; ".join(f"{size:.1f}" for size in sizes) + " KB"
    row.judge(all(size <= most for size, most in zip(sizes, (LOADER, FIRST, ALL), strict=True)))
    return row


def watched_by_tests() -> list[Row]:
    """Rows that are no figures, or take an hour: what watches over them."""
    return [
        Row("`make soak`, its defaults, any seed", "passes: run it by itself"),
        Row(
            "axe-core, light and dark; XSS corpus in a browser",
            "0; 0 executions, 0 CSP violations: `make test` (`tests/test_axe.py`, `tests/xss/`)",
        ),
        Row("two hosts: kills, seconds to take over", "0 lost, 0 doubled: `make hosts`"),
    ]
