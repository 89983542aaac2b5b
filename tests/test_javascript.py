"""What the page's scripts do without a page: `tests/js/*.test.js`, run by Node where there is one.

They need no package but Node itself. conftest.py leaves them out, and says so, where it is missing.
"""

import re
import subprocess

import pytest
from install_browser import find_node
from stage import ROOT

TESTS = sorted((ROOT / "tests" / "js").glob("*.test.js"))
SECONDS = 100
# What only a page has. A module that names one of these cannot be tried without a browser.
OF_A_PAGE = re.compile(r"\b(document|window|HTMLElement|localStorage|sessionStorage)\b")
IMPORT = re.compile(r'from "\./([\w.]+)"')
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.partition(".")[0])
def test_without_a_browser(path: object) -> None:
    node = find_node()
    assert node is not None
    command = [node, "--test", "--test-reporter=spec", str(path)]

    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"tests [1-9]", result.stdout), result.stdout


def needs_a_page(name: str) -> bool:
    """Whether a module, or one that it imports, names what only a page has."""
    code = COMMENT.sub("", (ROOT / "static" / name).read_text("utf-8"))
    return bool(OF_A_PAGE.search(code)) or any(map(needs_a_page, IMPORT.findall(code)))


def test_every_module_without_a_page_is_tried() -> None:
    modules = (ROOT / "static").glob("*.js")
    alone = {path.stem for path in modules if not needs_a_page(path.name)}

    assert alone == {path.name.partition(".")[0] for path in TESTS}
