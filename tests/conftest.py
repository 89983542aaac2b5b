"""The fixtures of all tests: real parts, each in a folder of its own."""

import atexit
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import front
import pytest
from install_browser import (
    find_caddy,
    find_firefox,
    find_mootools,
    find_nginx,
    find_node,
    find_webkit,
)
from new_stores import make_by_one_script
from pages import start_chromium, start_firefox
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    expect,
    sync_playwright,
)
from stage import Stage
from starter import COMPILED, end_starters, keep_templates
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# One seed for all processes of a run; the tests that use it name it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # all parts are here
os.environ["LC_ALL"] = "C.UTF-8"  # what commands say is compared in English
os.environ.setdefault("SEED", str(time.time_ns() % 100_000))
Stage.forks = True
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that runs us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where the system has a folder in memory, the tests' folders are in it: a test that writes takes a
# quarter less time. No test needs a disk that outlives the machine.
MEMORY, MEMORY_BYTES = "/dev/shm", 2 << 30
if os.path.isdir(MEMORY) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


# `make test-prefix`: all tests with a browser, and no others, with nginx in front and below a path.
BEHIND_NGINX = os.environ.get("SITETEST_FRONT") == "nginx"
if BEHIND_NGINX:
    Stage.behind = front.Nginx
    trusted = tempfile.TemporaryDirectory()
    front.trust_authority(Path(trusted.name))
PLAYWRIGHT = "playwright"  # the fixture that all of those tests have
ENGINES = "tests/engines/"
OWN_PROXY = {"test_proxies", "test_front"}  # which need no second one


# `make test-postgresql`: tests of the whole application once more, with its store on a server.
if os.environ.get("SITETEST_STORE") == "postgresql":
    from postgres import Server

    on_server = Server(durable=True)
    Stage.new_store = staticmethod(on_server.new_database)
    atexit.register(on_server.close)


make_by_one_script()

# Templates are compiled once in a run: each of its processes would take half a second for them.
if COMPILED not in os.environ:  # this process begins the others
    compiled = tempfile.TemporaryDirectory()
    os.environ[COMPILED] = compiled.name
    atexit.register(compiled.cleanup)
keep_templates(os.environ[COMPILED])


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """In a fresh clone the processes of a run share the work to compile: each begins elsewhere.

    All of them import all modules; in the same order, each would compile each at the same time.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    modules = sorted(Path(__file__).parent.rglob("test_*.py"))
    number = int(worker["workerid"].removeprefix("gw"))
    first = len(modules) * number // worker["workercount"]
    for module in modules[first:] + modules[:first]:
        if str(module.parent) not in sys.path:
            sys.path.insert(0, str(module.parent))
        with suppress(Exception):  # which pytest tells, when it comes to the module
            import_module(module.stem)


# What is collected stays to the end: Python need not look through all of it again and again.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    end_starters()


# These take longest; begun last, one of them would keep the whole run waiting. Those that wait more
# than they work are begun in turn with the others: neither finds the processor idle or overrun.
WAIT = [
    *("backlog", "doctor", "faults", "crash", "live", "command_flows", "loader", "round_trip"),
    *("security", "root", "browser", "install", "proxies", "application", "front", "contacts"),
    *("ending", "retries"),
]
WORK = [
    *("xss", "page", "customers", "flows", "focus", "hosts", "files_browser", "tabs", "visitor"),
    *("bbcode", "xss_repeated", "axe", "command_line", "on_postgresql", "older_browsers"),
    *("application_page", "together_file", "history"),
]
FIRST = [name for pair in zip(WAIT, WORK, strict=True) for name in pair]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if BEHIND_NGINX:
        left_out = [item for item in items if not goes_through(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if goes_through(item)]
    if Stage.new_store is not None:
        of_files = [item for item in items if item.get_closest_marker("sqlite") is not None]
        config.hook.pytest_deselected(items=of_files)
        items[:] = [item for item in items if item not in of_files]
    places = {f"test_{name}": place for place, name in enumerate(FIRST)}
    # pytest has put all tests of one browser together; each module's belong together, too.
    items.sort(key=lambda item: (places.get(item.path.stem, len(FIRST)), item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return ByFileAndEngine(config, log) if config.getvalue("dist") == "loadfile" else None


class ByFileAndEngine(LoadFileScheduling):  # type: ignore[misc]
    """Gives a file to one process, and all that runs in Firefox: its start costs six seconds."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        engine = re.search(r"\[(chromium|firefox|webkit)\b", nodeid)
        if engine and (engine[1] == "firefox" or file.startswith(ENGINES)):
            return f"{ENGINES if file.startswith(ENGINES) else 'tests/'} {engine[1]}"
        return file


def goes_through(item: pytest.Item) -> bool:
    """Whether a test belongs to those that go through nginx."""
    fixtures = getattr(item, "fixturenames", [])
    return PLAYWRIGHT in fixtures and item.path.stem not in OWN_PROXY


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The application installed and connected at the sandbox portal; shared by a module."""
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        stage.install()
        yield stage


@pytest.fixture
def fresh_stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage of the test's own, running but not installed."""
    with Stage(tmp_path) as stage:
        yield stage


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the environment of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("SITECHAT_")]:
        monkeypatch.delenv(name)


expect.set_options(timeout=30_000)


collect_ignore = [] if find_node() else ["test_javascript.py"]
if not find_nginx():
    collect_ignore += ["test_proxies.py", "test_two_hosts.py"]


def pytest_report_header() -> list[str]:
    nothing = "none on this machine, its tests are left out"
    return [
        f"Firefox, for engines/ and those marked: {find_firefox() or nothing + ' (firefox-esr)'}",
        f"WebKit, for engines/: {find_webkit() or nothing + ' (webkit2gtk-driver, xvfb)'}",
        f"Node, for test_javascript.py: {find_node() or nothing + ' (20.19, or 22.7 and newer)'}",
        f"nginx, for test_proxies.py: {find_nginx() or nothing + ' (nginx, openssl)'}",
        f"Caddy, for deploy/: {find_caddy() or nothing + ' (caddy)'}",
        f"npm, for hosts/: {shutil.which('npm') or nothing}",
        f"MooTools, for hosts/: {find_mootools() or nothing + ' (libjs-mootools)'}",
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `firefox` run in it, too, where the machine has one."""
    if "browser" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("firefox") is not None
        browsers = {"chromium": start_chromium}
        if marked and find_firefox():
            browsers["firefox"] = start_firefox
        metafunc.parametrize("browser", browsers.values(), ids=browsers, indirect=True)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest, playwright: Playwright) -> Iterator[Browser]:
    """One for all modules of a process: to start it takes two seconds of the processor."""
    browser: Browser = request.param(playwright)
    if BEHIND_NGINX:  # no browser knows the authority of its certificate
        browser.new_context = partial(browser.new_context, ignore_https_errors=True)  # type: ignore[method-assign]
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which nothing may fail: no script error, no CSP report, no failed request."""
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "console",
        lambda message: troubles.append(message.text) if message.type == "error" else None,
    )
    yield page
    assert troubles == []
