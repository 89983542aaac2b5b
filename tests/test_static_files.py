"""Static files are small, compressed, kept for good where their address says what they hold."""

import gzip
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page
from stage import ROOT, Stage

from app import create_app
from settings import ChatSettings, Settings, StorageSettings
from store.database import StoreUnavailable
from store.releases import ReleaseTables
from web.static_files import Release, made_small, release, with_imports

SOURCES = ROOT / "static"
SCRIPTS = sorted(path.name for path in SOURCES.glob("*.js"))
STYLES = sorted(path.name for path in SOURCES.glob("*.css"))
MODULES = [name for name in SCRIPTS if name != "loader.js"]
SHOP = "https://shop.example"
MINIFYING_SECONDS = 0.3
KEPT_FOR_GOOD = "public, max-age=31536000, immutable"
GZIP = {"Accept-Encoding": "gzip, deflate, br, zstd"}  # as browsers say it
IMPORT = re.compile(r'^(?:import|export) .*"\./([\w.]+)"$', re.MULTILINE)


def client_of(tmp_path: Path, public_url: str = "https://chat.example") -> FlaskClient:
    return create_app(
        Settings(
            public_url=public_url,
            chat=ChatSettings(sites=(SHOP,)),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db"),
        )
    ).test_client()


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return client_of(tmp_path)


def addresses(page: str) -> list[str]:
    """The files that a page asks for."""
    return re.findall(r'(?:src|href)="([^"]*/static/[^"]+)"', page)


# -- how long they are kept


def test_what_a_page_asks_for_is_kept_for_good(client: FlaskClient) -> None:
    for page in ("/", "/?embed=1", "/install"):
        found = addresses(client.get(page).text)
        assert found
        for address in found:
            answer = client.get(address)
            assert answer.status_code == 200, address
            assert answer.headers["Cache-Control"] == KEPT_FOR_GOOD
            assert re.fullmatch(r"/static/[0-9a-f]{12}/[\w.]+", address)


def test_the_loaders_address_stays_and_is_asked_for_anew(client: FlaskClient) -> None:
    first = client.get("/static/loader.js")

    assert first.headers["Cache-Control"] == "no-cache"
    for etag in (first.headers["ETag"], f"W/{first.headers['ETag']}"):
        again = client.get("/static/loader.js", headers={"If-None-Match": etag})
        assert (again.status_code, again.data) == (304, b"")
        # Chromium asks a 304 for it, too, on sites with a Cross-Origin-Embedder-Policy.
        assert again.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    other = client.get("/static/loader.js", headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.data) == (200, first.data)


def test_the_loader_knows_where_the_panel_is(client: FlaskClient) -> None:
    [address] = re.findall(r"static/[^\"]+panel\.js", client.get("/static/loader.js").text)

    assert client.get(f"/{address}").headers["Cache-Control"] == KEPT_FOR_GOOD


def test_a_page_of_before_an_update_is_given_the_files_of_today(client: FlaskClient) -> None:
    etag = client.get("/static/upload.js").headers["ETag"]
    for headers in ({}, GZIP, {"Range": "bytes=0-9"}, {"If-None-Match": etag}):
        answer = client.get("/static/0123456789ab/upload.js", headers=headers)

        # A proxy may let 200, 206 and 304 be kept for long, and that address meant another file.
        assert answer.status_code == 203, headers
        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-cache"
        body = gzip.decompress(answer.data) if headers == GZIP else answer.data
        assert body == release().contents["upload.js"]
    assert client.get("/static/0123456789ab/gone.js").status_code == 404
    assert client.get("/static/not-a-digest/upload.js").status_code == 404


NEXT = Release({**release().contents, "upload.js": b"next()", "new.js": b"new()"}, "0123456789ab")


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], FlaskClient]:
    """Starts another host with the same store, of the next release."""

    def start() -> FlaskClient:
        with monkeypatch.context() as patch:
            patch.setattr("web.static_files.release", lambda: NEXT)
            return client_of(tmp_path)

    return start


def test_hosts_of_two_releases_give_each_others_pages_their_own_files(
    client: FlaskClient, next_release: Callable[[], FlaskClient]
) -> None:
    """A round-robin front sends what a page asks for to either of them."""
    other = next_release()
    for page, host, files in (
        (other.get("/").text, client, NEXT.contents),
        (client.get("/").text, other, release().contents),
    ):
        found = addresses(page)
        assert found
        directory = found[0].rpartition("/")[0]
        for name in files:  # also those that a page asks for later
            answer = host.get(f"{directory}/{name}", headers=GZIP)
            assert answer.status_code == 200, name
            assert answer.headers["Cache-Control"] == KEPT_FOR_GOOD
            is_small = answer.headers.get("Content-Encoding") == "gzip"
            assert (gzip.decompress(answer.data) if is_small else answer.data) == files[name]
            etag = {"If-None-Match": answer.headers["ETag"]}
            assert host.get(f"{directory}/{name}", headers=etag).status_code == 304
        assert host.get(f"{directory}/gone.js").status_code == 404
    assert "new.js" not in release().contents


def test_a_flood_of_unknown_digests_asks_the_store_seldom_and_hides_no_release(
    client: FlaskClient, next_release: Callable[[], FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    digests = ReleaseTables.digests

    def counted(tables: ReleaseTables) -> set[str]:
        looks.append(tables)
        return digests(tables)

    monkeypatch.setattr(ReleaseTables, "digests", counted)
    next_release()
    assert client.get(f"/static/{NEXT.digest}/new.js").data == b"new()"
    for number in range(100):
        assert client.get(f"/static/{number:012x}/upload.js").status_code == 203

    assert len(looks) < 40
    assert client.get(f"/static/{NEXT.digest}/upload.js").data == b"next()"


def test_while_the_store_is_away_a_page_of_another_release_gets_the_files_of_this_one(
    client: FlaskClient, next_release: Callable[[], FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(ReleaseTables, "digests", fail)
        other = next_release()
        assert client.get(f"/static/{NEXT.digest}/upload.js").status_code == 203

    assert client.get(f"/static/{NEXT.digest}/upload.js").status_code == 203  # nobody kept it yet
    other.get(f"/static/{NEXT.digest}/upload.js")
    assert client.get(f"/static/{NEXT.digest}/upload.js").data == b"next()"


def test_the_digest_changes_with_any_file_and_with_nothing_else() -> None:
    before = release().digest

    assert release.__wrapped__().digest == before
    changed = SOURCES / "changed.css"
    changed.write_text("a{}")
    try:
        assert release.__wrapped__().digest != before
    finally:
        changed.unlink()


@pytest.mark.parametrize("stripped", [True, False])
def test_below_a_prefix_whether_or_not_the_proxy_strips_it(tmp_path: Path, stripped: bool) -> None:
    client = client_of(tmp_path, "https://chat.example/myconnector")

    for address in [*addresses(client.get("/").text), "/myconnector/static/loader.js"]:
        assert address.startswith("/myconnector/static/")
        path = address.removeprefix("/myconnector") if stripped else address
        assert client.get(path).status_code == 200, path


# -- how they are sent


@pytest.mark.parametrize("name", [*SCRIPTS, *STYLES, "icon.svg", "connector/on.svg"])
def test_browsers_are_sent_gzip_and_others_the_plain_file(client: FlaskClient, name: str) -> None:
    content = release().contents[name]
    for address in (f"/static/{name}", f"/static/{release().digest}/{name}"):
        packed, plain = client.get(address, headers=GZIP), client.get(address)

        assert "Content-Encoding" not in plain.headers
        assert plain.data == content
        if len(packed.data) < len(content):  # a few are too small to be compressed
            assert packed.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(packed.data) == content
            assert {packed.headers["Vary"], plain.headers["Vary"]} == {"Accept-Encoding"}
        for answer in (packed, plain):
            assert answer.headers["Content-Length"] == str(len(answer.data))


def test_parts_and_heads_of_a_file(client: FlaskClient) -> None:
    content = release().contents["chat.js"]

    part = client.get("/static/chat.js", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, content[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    head = client.head("/static/chat.js")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(content))
    beyond = client.get("/static/chat.js", headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    nonsense = client.get("/static/chat.js", headers={"Range": "lines=1-2"})
    assert (nonsense.status_code, nonsense.data) == (200, content)
    assert client.post("/static/chat.js").status_code == 405


def test_every_answer_keeps_the_browser_strict(client: FlaskClient) -> None:
    etag = client.get("/static/chat.js").headers["ETag"]
    strict = ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy")
    page = client.get("/").headers

    for headers, status in (
        ({}, 200), ({"Range": "bytes=0-1"}, 206), ({"If-None-Match": etag}, 304),
    ):  # fmt: skip
        answer = client.get("/static/chat.js", headers=headers)
        assert answer.status_code == status
        for name in (*strict, "Strict-Transport-Security"):
            assert answer.headers[name] == page[name], name
    assert f"frame-ancestors 'self' {SHOP}" in page["Content-Security-Policy"]


def test_nothing_beside_the_files_is_served(client: FlaskClient) -> None:
    for path in ("/static/", "/static", "/static/../app.py", "/static/connector", "/static/x.js"):
        assert client.get(path).status_code == 404, path


def test_other_sites_may_import_what_the_loader_imports(client: FlaskClient) -> None:
    for name in ("loader.js", "panel.js"):
        answer = client.get(f"/static/{name}", headers={"Origin": SHOP})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_a_page_with_an_embedder_policy_may_show_the_frame(client: FlaskClient) -> None:
    frame, isolated = client.get("/?embed=1").headers, client.get("/?embed=1&isolated=1").headers

    assert frame["Cross-Origin-Embedder-Policy"] == "credentialless"
    assert isolated["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert frame["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Cross-Origin-Embedder-Policy" not in client.get("/").headers


def test_the_loader_holds_its_style_and_knows_when_the_chat_fills_the_screen() -> None:
    [small] = re.findall(r'matchMedia\("([^"]+)"', (SOURCES / "loader.js").read_text())
    style = made_small(SOURCES / "launcher.css")

    assert f"@media {small} {{" in (SOURCES / "launcher.css").read_text()
    assert style in release().contents["loader.js"]
    assert b"`" not in style
    assert b"$" not in style


# -- what the libraries make of them


def test_making_them_small_takes_no_time() -> None:
    began = time.perf_counter()
    release.__wrapped__()

    assert time.perf_counter() - began < MINIFYING_SECONDS


def test_what_is_served_holds_no_comment_and_is_smaller() -> None:
    for name in (*SCRIPTS, *STYLES):
        source, small = with_imports(SOURCES / name), made_small(SOURCES / name)
        assert len(small) < 0.9 * len(source), name
        assert b"/*" not in small, name


RULES = """([css]) => {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(css)
  const spaces = (text) => text.replace(/,\\s+/g, ",").replace(/:\\s+/g, ":")
  return [...sheet.cssRules].map((rule) => spaces(rule.cssText))
}"""


# Without the chat's page most of them fail as soon as they run, but then they have been read.
PARSE = """(address) => import(address).catch((error) => {
  if (error instanceof SyntaxError || /fetch/.test(error.message)) throw error
})"""


def test_the_small_files_mean_what_the_sources_mean(stage: Stage, page: Page) -> None:
    """A browser reads every one of them; the page fixture sees that no script is in error."""
    page.goto(f"{stage.chat}/static/icon.svg")  # a page without scripts of its own
    for name in STYLES:
        texts = [
            each.decode() for each in (with_imports(SOURCES / name), made_small(SOURCES / name))
        ]
        source, small = (page.evaluate(RULES, [text]) for text in texts)
        assert source
        assert small == source, name
    for name in SCRIPTS:
        page.evaluate(PARSE, f"{stage.chat}/static/{name}")


def imported(name: str) -> set[str]:
    """All modules that a module needs before it runs, itself among them."""
    found = {name}
    for other in IMPORT.findall((SOURCES / name).read_text("utf-8")):
        found |= imported(other)
    return found


@pytest.mark.parametrize("query", ["", "?embed=1"])
def test_a_page_names_all_modules_at_once(client: FlaskClient, query: str) -> None:
    """Else the browser would learn of each from another, one journey after the other."""
    page = client.get(f"/{query}").text
    named = {address.rpartition("/")[2] for address in addresses(page)}
    [entry] = re.findall(r'<script type="module" src="[^"]*/([\w.]+)"', page)

    assert {name for name in named if name.endswith(".js")} == imported(entry)


# -- the oldest browsers that have all of the chat (README)

# What Safari 15 or Firefox 119 does not know; what is asked for before it is used stands elsewhere.
TOO_NEW = re.compile(
    r"\.(?:at|findLast\w*|toSorted|toReversed|toSpliced|requestSubmit|throwIfAborted|hasOwn|groupBy"
    r"|withResolvers|randomUUID|union|intersection|isSubsetOf)\("
    r"|\bsubmitter\b|\bstructuredClone\b|\brequestIdleCallback\b|AbortSignal\.(?:any|timeout)"
    r"|\(\?<[=!]|\bstatic \{|\bscrollend\b"
)
JS_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'])//[^\n]*", re.DOTALL)
CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
NEWER_SELECTOR = re.compile(r":has\(|:popover-open")
NEWER_VALUE = re.compile(r"\d[dsl]v[hwib]\b|\blab\(from|light-dark\(|color-mix\(")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_needs_what_the_oldest_browsers_lack(name: str) -> None:
    assert TOO_NEW.findall(JS_COMMENT.sub("", (SOURCES / name).read_text("utf-8"))) == []


@pytest.mark.parametrize("name", STYLES)
def test_what_an_older_browser_does_not_know_takes_nothing_else_with_it(name: str) -> None:
    """A rule is dropped whole for one unknown selector, and a value needs one before it."""
    style = CSS_COMMENT.sub("", (SOURCES / name).read_text("utf-8"))
    for selectors in re.findall(r"([^{};]+)\{", style):
        each = re.split(r",(?![^(]*\))", selectors)
        assert len({bool(NEWER_SELECTOR.search(one)) for one in each}) == 1, selectors
    guarded = re.sub(r"@supports[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", style)
    for block in re.findall(r"\{([^{}]*)\}", guarded):
        properties = [(one.partition(":")[0].strip(), one) for one in block.split(";")]
        for place, (key, declaration) in enumerate(properties):
            if NEWER_VALUE.search(declaration):
                assert key in [before for before, _ in properties[:place]], declaration
