"""The REST client against real HTTP servers that answer as told and remember what they heard."""

import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from pydantic import SecretStr

from bitrix import Bitrix
from rest.errors import BitrixError, OutcomeUnknown, Refused, SetupFault, TryLater
from rest.form_body import form_body
from rest.php import php_form
from rest.replies import (
    LONGEST_TOKEN_SECONDS,
    Grant,
    HistoryMessage,
    ItemResult,
    expiry,
    grant_from,
)
from settings import Bitrix24Settings

SPEC = Path(__file__).parent / "spec"
CONNECTOR = "example_connector_1"
CHAT = "chat" + "a" * 64
HANDLER = "https://site.example/chat/handler"
CLIENT_ID = "local.0123456789abcd.01234567"
SECRET = "the-client-secret"
OLD = Grant("old-access-token", "old-refresh-token", time.time() + 3000)
NEW_PAIR = {
    "access_token": "new-access-token",
    "refresh_token": "new-refresh-token",
    "expires_in": 3600,
    "member_id": "0f" * 16,
}
SECRETS = (
    SECRET,
    OLD.access_token,
    OLD.refresh_token,
    "new-access-token",
    "new-refresh-token",
    "foreign-access-token",
)
EXPIRED = {"error": "expired_token", "error_description": "The access token has expired."}
MESSAGE = {
    "user": {"id": CHAT, "name": "Anna", "email": "anna@example.com", "phone": "+100"},
    "message": {"id": 12, "date": 1_790_000_000, "text": "Hello"},
    "chat": {"id": CHAT, "url": "https://shop.example/cart"},
}
CONFIRMATION = {
    "im": {"chat_id": 5120, "message_id": 903311},
    "message": {"id": [13]},
    "chat": {"id": CHAT},
}


# -- servers that answer as told


@dataclass(frozen=True)
class Request:
    path: str  # with the query
    headers: dict[str, str]
    body: bytes

    @property
    def method(self) -> str:
        return self.path.removeprefix("/rest/").removesuffix(".json")

    @property
    def form(self) -> dict[str, str]:
        pairs = parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs), "a field is there twice"
        return dict(pairs)


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` of its bytes are never sent, and `None` as content hangs up at once."""

    content: bytes | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


def said(answer: object, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(answer).encode(), status, headers)


def result(value: object) -> Reply:
    return said({"result": value, "time": {"start": 1, "finish": 2}})


def page(status: int, **headers: str) -> Reply:
    return Reply(b"<html><body>Not JSON at all</body></html>", status, headers)


HANG_UP = Reply(None)
Answering = Callable[[Request], Reply]


class Server:
    """A small HTTP server: hears, remembers, answers what `answer` says."""

    def __init__(self) -> None:
        self.heard: list[Request] = []
        self.answer: Answering = lambda _: result(True)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def says(self, *replies: Reply) -> None:
        """Answer these one after the other, the last one for ever."""
        left = list(replies)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def methods(self) -> list[str]:
        return [request.method for request in self.heard]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.path, dict(self.headers.items()), body)
                server.heard.append(request)
                reply = server.answer(request)
                self.close_connection = True
                if reply.content is None:
                    return
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.content)))
                self.send_header("Connection", "close")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError):  # the client gave up, as it should
                    self.wfile.write(reply.content[: len(reply.content) - reply.cut])

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


class Keeper:
    """Tokens in memory; notes in `order` what was saved."""

    def __init__(self, grant: Grant | None) -> None:
        self.grant = grant
        self.order: list[str] = []
        self.sent = ""  # the refresh token whose renewal has no answer yet
        self._lock = threading.Lock()

    def load(self) -> Grant | None:
        return self.grant

    def save(self, grant: Grant) -> None:
        assert self._lock.locked(), "saved without the lock"
        self.order.append(f"saved {grant.access_token}")
        self.grant, self.sent = grant, ""

    def begin_renewal(self, old: Grant) -> None:
        assert self._lock.locked(), "renewed without the lock"
        self.sent = old.refresh_token

    def renewal_began(self, old: Grant) -> bool:
        return self.sent == old.refresh_token

    def renewal_refused(self) -> None:
        self.sent = ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._lock:
            yield


@pytest.fixture
def portal() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@pytest.fixture
def oauth() -> Iterator[Server]:
    with closing(Server()) as server:
        server.says(said(NEW_PAIR))
        yield server


@pytest.fixture
def keeper() -> Keeper:
    return Keeper(OLD)


@pytest.fixture
def bitrix(portal: Server, oauth: Server, keeper: Keeper) -> Bitrix:
    return client(portal.url, oauth.url, keeper)


def client(portal: str, oauth: str, keeper: Keeper, send_seconds: float = 10.0) -> Bitrix:
    settings = Bitrix24Settings(
        portal=portal,
        oauth_server=oauth,
        client_id=CLIENT_ID,
        client_secret=SecretStr(SECRET),
    )
    return Bitrix(settings, keeper, send_seconds)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def send(bitrix: Bitrix, *messages: dict[str, Any]) -> list[ItemResult]:
    return bitrix.send_messages(CONNECTOR, 7, list(messages) or [MESSAGE])


def failure(call: Callable[[], object]) -> BitrixError:
    with pytest.raises(BitrixError) as caught:
        call()
    return caught.value


# -- every request against the official description

SENT = {"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": True, "session": {"ID": 1}}]}}
CALLS: list[tuple[str, Callable[[Bitrix], object], object]] = [
    (
        "imconnector.register",
        lambda bitrix: bitrix.register(
            CONNECTOR, "Site chat", ("data:image/svg+xml,a", "data:image/svg+xml,b"), HANDLER
        ),
        {"result": True},
    ),
    ("imconnector.activate", lambda bitrix: bitrix.activate(CONNECTOR, 7, True), True),
    ("imconnector.activate", lambda bitrix: bitrix.activate(CONNECTOR, 7, False), True),
    (
        "imconnector.connector.data.set",
        lambda bitrix: bitrix.set_connector_data(CONNECTOR, 7, "https://site.example/", "Widget"),
        True,
    ),
    ("imconnector.send.messages", send, SENT),
    (
        "imconnector.send.status.delivery",
        lambda bitrix: bitrix.confirm_delivery(CONNECTOR, 7, [CONFIRMATION]),
        {"SUCCESS": True, "DATA": []},
    ),
    ("imconnector.list", lambda bitrix: bitrix.connectors(), {"livechat": "Live chat"}),
    ("imconnector.status", lambda bitrix: bitrix.connector_status(CONNECTOR, 7), {"STATUS": True}),
    ("event.bind", lambda bitrix: bitrix.bind_event("OnImConnectorMessageAdd", HANDLER), True),
    ("event.unbind", lambda bitrix: bitrix.unbind_event("OnAppUninstall", HANDLER), {"count": 1}),
    ("event.get", lambda bitrix: bitrix.bound_events(), []),
    ("app.info", lambda bitrix: bitrix.is_installed(), {"INSTALLED": True}),
    ("app.info", lambda bitrix: bitrix.app_of_token("foreign-access-token"), {"CODE": "x"}),
    ("profile", lambda bitrix: bitrix.is_administrator("foreign-access-token"), {"ADMIN": True}),
    ("im.dialog.messages.get", lambda bitrix: bitrix.dialog_messages(5120), {"messages": []}),
    (
        "im.dialog.messages.get",
        lambda bitrix: bitrix.dialog_messages(5120, after=903311),
        {"messages": []},
    ),
    (
        "im.dialog.messages.get",
        lambda bitrix: bitrix.dialog_messages(5120, before=903311),
        {"messages": []},
    ),
    (
        "batch",
        lambda bitrix: bitrix.newest_messages([5120]),
        {"result": [{"messages": []}], "result_error": []},
    ),
    (
        "imopenlines.session.history.get",
        lambda bitrix: bitrix.session_messages(3301),
        {"message": [], "users": []},
    ),
    ("imopenlines.dialog.get", lambda bitrix: bitrix.find_dialog("a|7|b|1"), {"id": 5120}),
]


def test_a_form_is_written_as_a_browser_writes_it() -> None:
    form = {"a[b]": "x y&z=ф", "b": "", "c": "😀%"}

    assert form_body(form).decode() == urlencode(form)


def nested(form: dict[str, str]) -> dict[str, Any]:
    """`a[b][0]=c` as dicts in dicts; refuses whatever PHP would have to mend."""
    tree: dict[str, Any] = {}
    for name, value in form.items():
        assert re.fullmatch(r"[A-Za-z_]+(\[[A-Za-z0-9_]+\])*", name), name
        *way, last = re.findall(r"\w+", name)
        branch = tree
        for part in way:
            branch = branch.setdefault(part, {})
            assert isinstance(branch, dict), name
        assert last not in branch, name
        branch[last] = value
    return tree


def is_of_type(value: Any, type_: str) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) is not None
        case "boolean":
            return value in ("1", "0", "Y", "N")
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, dict) and list(value) == [str(i) for i in range(len(value))]
    raise ValueError(type_)


def departures(given: dict[str, Any], described: list[dict[str, Any]], at: str = "") -> list[str]:
    """What of the given parameters is not as described; names count in any case."""
    found = []
    known = {one["name"].lower(): one for one in described}
    names = [name.lower() for name in given]
    found += [f"{at}{name} is missing" for name, one in known.items()
              if one["required"] and name not in names]  # fmt: skip
    for name, value in given.items():
        one = known.get(name.lower())
        if one is None:
            found.append(f"{at}{name} is unknown")
        elif not is_of_type(value, one["type"]):
            found.append(f"{at}{name} is no {one['type']}")
        elif value not in one.get("values", [value]):
            found.append(f"{at}{name} is none of {one['values']}")
        elif isinstance(value, str) and one["required"] and not value:
            found.append(f"{at}{name} is empty")
        elif isinstance(value, str) and len(value) > one.get("max_length", len(value)):
            found.append(f"{at}{name} is too long")
        elif "fields" in one:
            items = value if one["type"] == "array" else {"": value}
            for key, item in items.items():
                way = f"{at}{name}.{key}." if key else f"{at}{name}."
                found += departures(item, one["fields"], way)
    return found


def description(method: str) -> list[dict[str, Any]]:
    described = json.loads((SPEC / f"{method}.json").read_text("utf-8"))
    assert described["method"] == method
    params: list[dict[str, Any]] = described["params"]
    return params


@pytest.mark.parametrize(("method", "call", "answer"), CALLS, ids=[call[0] for call in CALLS])
def test_every_request_is_as_the_official_description_says(
    bitrix: Bitrix, portal: Server, method: str, call: Callable[[Bitrix], object], answer: object
) -> None:
    portal.says(result(answer))

    call(bitrix)

    (request,) = portal.heard
    assert request.path == f"/rest/{method}.json"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    params = nested(request.form)
    assert params.pop("auth") in (OLD.access_token, "foreign-access-token")
    assert departures(params, description(method)) == []


def test_no_method_of_the_client_is_left_out_above() -> None:
    called: set[str] = set()

    class Recorder:
        def __getattr__(self, name: str) -> Callable[..., None]:
            called.add(name)
            return lambda *_, **__: None

    for _, call, _ in CALLS:
        call(Recorder())  # type: ignore[arg-type]

    public = {name for name, it in vars(Bitrix).items() if callable(it) and name[0] != "_"}
    assert public <= called
    assert {path.stem for path in SPEC.glob("*.json")} == {method for method, _, _ in CALLS}


@pytest.mark.parametrize(
    ("change", "departure"),
    [
        ({"CONNECTOR": None}, "connector is missing"),
        ({"CONNECTOR": ""}, "CONNECTOR is empty"),
        ({"LINE": "seven"}, "LINE is no integer"),
        ({"LINES": "7"}, "LINES is unknown"),
        ({"MESSAGES": "x"}, "MESSAGES is no array"),
        ({"MESSAGES": {"1": MESSAGE}}, "MESSAGES is no array"),
        ({"MESSAGES": {"0": {"user": {"id": "a"}, "chat": {"id": "a"}}}},
         "MESSAGES.0.message is missing"),
        ({"MESSAGES": {"0": {"user": {"id": "a", "name": "a" * 26}, "message": {"id": "1"},
                             "chat": {"id": "a"}}}}, "MESSAGES.0.user.name is too long"),
    ],
)  # fmt: skip
def test_the_checker_sees_what_departs(change: dict[str, Any], departure: str) -> None:
    good = {"CONNECTOR": "a", "LINE": "7", "MESSAGES": {}}
    given = {key: value for key, value in (good | change).items() if value is not None}

    assert departures(good, description("imconnector.send.messages")) == []
    assert departures(given, description("imconnector.send.messages")) == [departure]


@pytest.mark.parametrize(("active", "sent"), [(True, "1"), (False, "0")])
def test_active_is_1_or_0_and_nothing_else(
    bitrix: Bitrix, portal: Server, active: bool, sent: str
) -> None:
    bitrix.activate(CONNECTOR, 7, active)

    assert portal.heard[0].form == {
        "CONNECTOR": CONNECTOR,
        "LINE": "7",
        "ACTIVE": sent,
        "auth": OLD.access_token,
    }


def test_the_connector_is_registered_as_the_example_does(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result({"result": True}))

    bitrix.register(CONNECTOR, "Site chat", ("data:image/svg+xml,a", "data:b"), HANDLER)

    form = portal.heard[0].form
    assert (form["ID"], form["NAME"]) == (CONNECTOR, "Site chat")
    assert form["PLACEMENT_HANDLER"] == HANDLER
    assert form["ICON[DATA_IMAGE]"] == "data:image/svg+xml,a"
    assert form["ICON_DISABLED[DATA_IMAGE]"] == "data:b"


def test_the_widgets_data_carries_connector_line_and_number(bitrix: Bitrix, portal: Server) -> None:
    bitrix.set_connector_data(CONNECTOR, 7, "https://site.example/", "Widget")

    form = portal.heard[0].form
    assert form["DATA[id]"] == "example_connector_1line7"
    assert form["DATA[url_im]"] == "https://site.example/"
    assert form["DATA[name]"] == "Widget"


def test_a_confirmation_gives_our_id_as_a_list(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result({"SUCCESS": True, "DATA": []}))

    bitrix.confirm_delivery(CONNECTOR, 7, [CONFIRMATION])

    form = portal.heard[0].form
    assert form["MESSAGES[0][im][chat_id]"] == "5120"
    assert form["MESSAGES[0][im][message_id]"] == "903311"
    assert form["MESSAGES[0][message][id][0]"] == "13"
    assert form["MESSAGES[0][chat][id]"] == CHAT


@pytest.mark.parametrize(
    "text",
    [
        "He said \"hi\" and 'bye'",
        "<b>bold</b> & <script>alert(1)</script> &lt;",
        "😀 👩\u200d👩\u200d👧 Привет, «мир»! \u202e ﷽",
        "100% + 1 = 101; a=b&c=d [0]=x \\ \t",
        "one\ntwo\r\nthree",
        " leading and trailing ",
        "0",
        "x" * 20_000,
    ],
)
def test_a_text_arrives_to_the_byte(bitrix: Bitrix, portal: Server, text: str) -> None:
    portal.says(result(SENT))

    send(bitrix, MESSAGE | {"message": {"id": 12, "text": text}})

    assert portal.heard[0].form["MESSAGES[0][message][text]"].encode() == text.encode()


@pytest.mark.parametrize(
    ("params", "form"),
    [
        ({}, []),
        ({"a": "x", "b": 7}, [("a", "x"), ("b", "7")]),
        ({"a": True, "b": False}, [("a", "1"), ("b", "0")]),
        ({"a": None, "b": [], "c": {}, "d": {"e": [None]}}, []),
        ({"a": ""}, [("a", "")]),
        ({"a": ["x", "y"]}, [("a[0]", "x"), ("a[1]", "y")]),
        ({"a": ("x", None, "y")}, [("a[0]", "x"), ("a[2]", "y")]),
        ({"a": [{"b": {"c": 0}}]}, [("a[0][b][c]", "0")]),
    ],
)
def test_parameters_are_flattened_as_php_does(
    params: dict[str, Any], form: list[tuple[str, str]]
) -> None:
    assert list(php_form(params)) == form


# -- tokens


def only_new_token(request: Request) -> Reply:
    return result(True) if request.form["auth"] == "new-access-token" else said(EXPIRED, 401)


def test_an_expired_token_is_renewed_stored_and_then_used(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    def heard_by_portal(request: Request) -> Reply:
        keeper.order.append(f"called with {request.form['auth']}")
        return only_new_token(request)

    def heard_by_oauth(request: Request) -> Reply:
        keeper.order.append("renewed")
        return said(NEW_PAIR)

    portal.answer, oauth.answer = heard_by_portal, heard_by_oauth

    bitrix.activate(CONNECTOR, 7, True)

    assert keeper.order == [
        "called with old-access-token",
        "renewed",
        "saved new-access-token",
        "called with new-access-token",
    ]
    assert keeper.grant is not None
    assert keeper.grant.refresh_token == "new-refresh-token"
    assert keeper.grant.expires_at == pytest.approx(time.time() + 3600, abs=10)


def test_a_renewal_is_a_form_posted_to_the_oauth_server(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.answer = only_new_token

    bitrix.activate(CONNECTOR, 7, True)

    (request,) = oauth.heard
    assert request.path == "/oauth/token/"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.form == {
        "grant_type": "refresh_token",
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "refresh_token": OLD.refresh_token,
    }


def test_a_token_is_renewed_once_however_many_need_it_at_once(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    threads = 8
    all_refused = threading.Barrier(threads)

    def refuse_all_then_take_the_new(request: Request) -> Reply:
        if request.form["auth"] == OLD.access_token:
            all_refused.wait(10)
        return only_new_token(request)

    portal.answer = refuse_all_then_take_the_new

    with ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(bitrix.activate, CONNECTOR, 7, True) for _ in range(threads)]
        for call in calls:
            call.result(20)

    assert len(oauth.heard) == 1
    assert keeper.order == ["saved new-access-token"]
    used = [request.form["auth"] for request in portal.heard]
    assert sorted(used) == ["new-access-token"] * threads + ["old-access-token"] * threads


def test_another_processs_new_pair_is_taken_instead_of_renewing(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    def renewed_meanwhile(request: Request) -> Reply:
        keeper.grant = Grant("new-access-token", "new-refresh-token", time.time() + 3600)
        return only_new_token(request)

    portal.answer = renewed_meanwhile

    bitrix.activate(CONNECTOR, 7, True)

    assert oauth.heard == []
    assert portal.heard[-1].form["auth"] == "new-access-token"


@pytest.mark.parametrize(
    ("seconds_left", "renewed"), [(-3600, True), (0, True), (30, True), (120, False)]
)
def test_a_token_that_is_about_to_end_is_renewed_before_it_is_used(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, seconds_left: int, renewed: bool
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, time.time() + seconds_left)

    bitrix.activate(CONNECTOR, 7, True)

    assert len(oauth.heard) == renewed
    token = "new-access-token" if renewed else OLD.access_token
    assert [request.form["auth"] for request in portal.heard] == [token]


def test_a_new_token_that_is_refused_too_is_not_renewed_again(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.says(said(EXPIRED, 401))

    error = failure(lambda: bitrix.activate(CONNECTOR, 7, True))

    assert isinstance(error, SetupFault)
    assert (len(portal.heard), len(oauth.heard)) == (2, 1)


def test_what_fails_after_a_renewal_is_told_as_ever(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.says(said(EXPIRED, 401), HANG_UP)

    assert isinstance(failure(lambda: send(bitrix)), OutcomeUnknown)
    assert len(portal.heard) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (said({"error": "invalid_grant"}, 400), SetupFault),
        (said({"error": "wrong_client"}, 400), SetupFault),
        (said({"error": "invalid_client"}, 401), SetupFault),
        (said({"error": "NOT_INSTALLED"}, 400), SetupFault),
        (said({"error": "PAYMENT_REQUIRED"}, 402), SetupFault),
        (said({"error": "PORTAL_DELETED"}, 403), SetupFault),
        (page(302, Location="https://elsewhere.example/"), SetupFault),
    ],
)
def test_a_renewal_that_fails_leaves_the_pair_and_does_not_call(
    bitrix: Bitrix,
    portal: Server,
    oauth: Server,
    keeper: Keeper,
    reply: Reply,
    kind: type[BitrixError],
) -> None:
    keeper.grant = before = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(reply)

    error = failure(lambda: send(bitrix))

    assert type(error) is kind
    assert keeper.grant is before
    assert portal.heard == []
    assert len(oauth.heard) == 1
    assert not any(secret in str(error) for secret in SECRETS)


LOST = [
    page(502), page(200), HANG_UP, said({}), said([]),
    said(NEW_PAIR | {"access_token": ""}), said({"access_token": "new-access-token"}),
]  # fmt: skip
VOID = said({"error": "invalid_grant"}, 400)


@pytest.mark.parametrize("lost", LOST)
def test_a_renewal_whose_answer_is_lost_is_tried_once_more_at_once(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, lost: Reply
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    portal.says(result(SENT))
    oauth.says(lost, said(NEW_PAIR))

    send(bitrix)

    assert [request.form["refresh_token"] for request in oauth.heard] == [OLD.refresh_token] * 2
    assert portal.heard[0].form["auth"] == "new-access-token"
    assert keeper.order == ["saved new-access-token"]


@pytest.mark.parametrize("lost", LOST)
def test_a_renewal_whose_answers_are_all_lost_leaves_the_pair_for_later(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, lost: Reply
) -> None:
    keeper.grant = before = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(lost)

    assert type(failure(lambda: send(bitrix))) is TryLater
    assert keeper.grant is before
    assert portal.heard == []
    assert len(oauth.heard) == 2


@pytest.mark.parametrize("dies", [False, True])
def test_a_lost_pair_is_said_to_be_lost_and_how_to_mend_it_is_logged_once(
    portal: Server, oauth: Server, keeper: Keeper, caplog: pytest.LogCaptureFixture, dies: bool
) -> None:
    """Our process may have died between the answer and our note of it, too."""
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    if dies:
        keeper.sent = OLD.refresh_token
    else:
        oauth.says(HANG_UP, VOID)
    bitrix = client(portal.url, oauth.url, keeper)
    if dies:
        oauth.says(VOID)

    errors = [failure(lambda: send(bitrix)) for _ in range(3)]

    assert {(type(error), error.code) for error in errors} == {(SetupFault, "RENEWAL_LOST")}
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "reinstalls" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


def test_a_pair_that_is_refused_without_a_lost_answer_is_not_said_to_be_lost(
    bitrix: Bitrix, oauth: Server, keeper: Keeper
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    oauth.says(VOID)

    for _ in range(2):
        assert failure(lambda: send(bitrix)).code == "INVALID_GRANT"


@pytest.mark.parametrize("reply", [HANG_UP, said({"error": "wrong_client"}, 400), page(404)])
def test_while_the_old_token_is_good_a_renewal_that_fails_holds_nothing_up(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper, reply: Reply
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, time.time() + 30)
    portal.says(result(SENT))
    oauth.says(reply)

    send(bitrix)
    asked = len(oauth.heard)
    send(bitrix)

    assert [request.form["auth"] for request in portal.heard] == [OLD.access_token] * 2
    assert len(oauth.heard) == asked, "it is not tried again before each call"


def test_an_old_token_that_a_lost_renewal_has_ended_is_no_other_fault(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, time.time() + 30)
    portal.says(said({"error": "invalid_token"}, 401))
    oauth.says(HANG_UP, HANG_UP, VOID)

    assert failure(lambda: send(bitrix)).code == "RENEWAL_LOST"


def test_while_the_oauth_server_cannot_be_reached_the_call_is_for_later(
    portal: Server, keeper: Keeper
) -> None:
    portal.says(said(EXPIRED, 401))
    bitrix = client(portal.url, closed_port(), keeper)

    assert type(failure(lambda: send(bitrix))) is TryLater
    assert keeper.grant is OLD


def test_without_tokens_nothing_is_called(portal: Server, oauth: Server) -> None:
    bitrix = client(portal.url, oauth.url, Keeper(None))

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code) == (SetupFault, "NOT_INSTALLED")
    assert portal.heard == oauth.heard == []


def test_a_foreign_token_is_shown_to_our_portal_and_never_renewed_or_kept(
    bitrix: Bitrix, portal: Server, oauth: Server, keeper: Keeper
) -> None:
    portal.says(said(EXPIRED, 401))

    assert isinstance(failure(lambda: bitrix.app_of_token("foreign-access-token")), SetupFault)

    assert [request.form["auth"] for request in portal.heard] == ["foreign-access-token"]
    assert oauth.heard == []
    assert keeper.grant is OLD


@pytest.mark.parametrize(
    "seconds", [None, "", "soon", 10**9, "8000000000", float("inf"), 3601, True, [], {}]
)
def test_no_token_is_believed_to_last_over_an_hour(seconds: object) -> None:
    assert expiry(seconds) <= time.time() + LONGEST_TOKEN_SECONDS


@pytest.mark.parametrize(
    ("seconds", "lifetime"), [(3600, 3600), ("3600", 3600), (60, 60), (0, 0), (-5, 0)]
)
def test_a_token_ends_when_the_server_says(seconds: object, lifetime: float) -> None:
    assert expiry(seconds) == pytest.approx(time.time() + lifetime, abs=5)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"access_token": "a"},
        {"refresh_token": "r"},
        {"access_token": "", "refresh_token": "r"},
        {"access_token": "a", "refresh_token": None},
        {"access_token": {"0": "a"}, "refresh_token": "r"},
    ],
)
def test_half_a_pair_of_tokens_is_none(values: dict[str, Any]) -> None:
    assert grant_from(values) is None


# -- errors by what to do next


def refused(code: str, **other: object) -> dict[str, object]:
    return {"error": code, "error_description": "Words of the portal", **other}


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (said(refused("QUERY_LIMIT_EXCEEDED"), 503), TryLater, "QUERY_LIMIT_EXCEEDED"),
        (said(refused("OPERATION_TIME_LIMIT"), 429), TryLater, "OPERATION_TIME_LIMIT"),
        (said(refused("OVERLOAD_LIMIT"), 503), SetupFault, "OVERLOAD_LIMIT"),
        (said(refused("invalid_token"), 401), SetupFault, "INVALID_TOKEN"),
        (said(refused("NO_AUTH_FOUND"), 401), SetupFault, "NO_AUTH_FOUND"),
        (said(refused("WRONG_AUTH_TYPE"), 403), SetupFault, "WRONG_AUTH_TYPE"),
        (said(refused("insufficient_scope"), 403), SetupFault, "INSUFFICIENT_SCOPE"),
        (said(refused("user_access_error"), 403), SetupFault, "USER_ACCESS_ERROR"),
        (said(refused("PORTAL_DELETED"), 403), SetupFault, "PORTAL_DELETED"),
        (said(refused("PAYMENT_REQUIRED"), 402), SetupFault, "PAYMENT_REQUIRED"),
        (
            said(refused("IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"), 400),
            SetupFault,
            "IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR",
        ),
        (said(refused("NOT_ACTIVE_LINE"), 400), Refused, "NOT_ACTIVE_LINE"),
        (said(refused("ERROR_ARGUMENT"), 400), Refused, "ERROR_ARGUMENT"),
        (said(refused("NOT_ACTIVE_LINE"), 200), Refused, "NOT_ACTIVE_LINE"),
        # A server error came after the call had begun, whatever its body says.
        (said(refused("INTERNAL_SERVER_ERROR"), 500), OutcomeUnknown, "INTERNAL_SERVER_ERROR"),
        (
            said(refused("ERROR_UNEXPECTED_ANSWER"), 500),
            OutcomeUnknown,
            "ERROR_UNEXPECTED_ANSWER",
        ),
        (page(500), OutcomeUnknown, "HTTP_500"),
        (page(502), OutcomeUnknown, "HTTP_502"),
        (page(503), OutcomeUnknown, "HTTP_503"),
        (page(504), OutcomeUnknown, "HTTP_504"),
        (page(200), OutcomeUnknown, "HTTP_200"),
        (Reply(b""), OutcomeUnknown, "HTTP_200"),
        (said([]), OutcomeUnknown, "HTTP_200"),
        (said("text"), OutcomeUnknown, "HTTP_200"),
        (said({"time": {}}), OutcomeUnknown, "STRANGE_ANSWER"),
        (Reply(b'{"result": tru', 200), OutcomeUnknown, "HTTP_200"),
        (Reply(json.dumps({"result": SENT}).encode(), cut=10), OutcomeUnknown, "NO_REPLY"),
        (HANG_UP, OutcomeUnknown, "CONNECTION_LOST"),
        (page(404), Refused, "HTTP_404"),
        (page(403), Refused, "HTTP_403"),
        (page(301, Location="https://renamed.example/"), SetupFault, "PORTAL_MOVED"),
        (page(302, Location="https://renamed.example/"), SetupFault, "PORTAL_MOVED"),
        (page(307, Location="https://renamed.example/"), SetupFault, "PORTAL_MOVED"),
        (page(308, Location="/rest/other"), SetupFault, "PORTAL_MOVED"),
        # Some methods nest the error, and a failure may come inside a 200.
        (said({"error": {"error": "NOT_ACTIVE_LINE"}}, 400), Refused, "NOT_ACTIVE_LINE"),
        (result({"SUCCESS": False, "DATA": []}), Refused, "NOT_ACTIVE_LINE"),
    ],
)
def test_an_error_says_what_to_do_next(
    bitrix: Bitrix, portal: Server, reply: Reply, kind: type[BitrixError], code: str
) -> None:
    portal.says(reply)

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code) == (kind, code)
    assert error.method == "imconnector.send.messages"
    assert len(portal.heard) == 1, "a call is never repeated on its own"


def test_a_time_limit_says_until_when(bitrix: Bitrix, portal: Server) -> None:
    times = {"operating": 481.2, "finish": 1_790_000_000.5, "operating_reset_at": 1_790_000_600}
    portal.says(said(refused("OPERATION_TIME_LIMIT", time=times), 429))

    error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert error.seconds == 600, "by the portal's clock, whatever ours says"


def test_a_time_limit_without_the_portals_clock_is_measured_by_ours(
    bitrix: Bitrix, portal: Server
) -> None:
    times = {"operating_reset_at": int(time.time()) + 300}
    portal.says(said(refused("OPERATION_TIME_LIMIT", time=times), 429))

    error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert 295 < error.seconds <= 300


@pytest.mark.parametrize("times", [None, [], {}, {"operating_reset_at": None}, "soon"])
def test_a_limit_without_a_time_may_be_tried_at_once(
    bitrix: Bitrix, portal: Server, times: object
) -> None:
    portal.says(said(refused("OPERATION_TIME_LIMIT", time=times), 429))

    error = failure(lambda: send(bitrix))

    assert isinstance(error, TryLater)
    assert error.seconds == 0


def test_the_portals_own_words_are_kept_apart_from_the_errors_text(
    bitrix: Bitrix, portal: Server
) -> None:
    portal.says(said(refused("ERROR_ARGUMENT"), 400))

    error = failure(lambda: send(bitrix))

    assert str(error) == "imconnector.send.messages: ERROR_ARGUMENT"
    assert error.description == "Words of the portal"


def test_a_refused_connection_is_for_later(oauth: Server, keeper: Keeper) -> None:
    error = failure(lambda: send(client(closed_port(), oauth.url, keeper)))

    assert (type(error), error.code) == (TryLater, "NOT_CONNECTED")


def test_a_failed_handshake_is_for_later(portal: Server, oauth: Server, keeper: Keeper) -> None:
    https = portal.url.replace("http://", "https://")

    assert type(failure(lambda: send(client(https, oauth.url, keeper)))) is TryLater
    assert portal.heard == []


def test_a_connection_that_tls_gives_up_in_mid_call_leaves_the_outcome_unknown(
    bitrix: Bitrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")

    monkeypatch.setattr(HTTPConnection, "getresponse", fail)

    error = failure(lambda: send(bitrix))

    assert (type(error), error.code) == (OutcomeUnknown, "CONNECTION_LOST")


def test_a_portal_that_takes_too_long_leaves_the_outcome_unknown(
    portal: Server, oauth: Server, keeper: Keeper
) -> None:
    given_up = threading.Event()

    def answer_late(request: Request) -> Reply:
        given_up.wait(5)
        return result(SENT)

    portal.answer = answer_late
    bitrix = client(portal.url, oauth.url, keeper, send_seconds=0.1)
    try:
        error = failure(lambda: send(bitrix))
    finally:
        given_up.set()

    assert (type(error), error.code) == (OutcomeUnknown, "NO_REPLY")
    assert len(portal.heard) == 1


def test_a_moved_portal_is_not_followed_with_our_token(
    bitrix: Bitrix, portal: Server, oauth: Server
) -> None:
    portal.says(page(307, Location=f"{oauth.url}/rest/imconnector.activate.json"))

    assert isinstance(failure(lambda: bitrix.activate(CONNECTOR, 7, True)), SetupFault)

    assert oauth.heard == []


FAILURES_IN_A_200 = [
    ({"result": False, "error": "CONNECTOR_ID_REQUIRED"}, "CONNECTOR_ID_REQUIRED"),
    ({"result": False, "error": "NO_PLACEMENT_HANDLER"}, "NO_PLACEMENT_HANDLER"),
    ({"result": False}, "NOT_DONE"),
    ({"error": "ICON_REQUIRED"}, "ICON_REQUIRED"),
    (False, "NOT_DONE"),
    (None, "NOT_DONE"),
]


@pytest.mark.parametrize(("answer", "code"), FAILURES_IN_A_200)
@pytest.mark.parametrize(
    "call",
    [
        lambda bitrix: bitrix.register(CONNECTOR, "Site chat", ("a", "b"), HANDLER),
        lambda bitrix: bitrix.activate(CONNECTOR, 7, True),
        lambda bitrix: bitrix.set_connector_data(CONNECTOR, 7, "https://site.example/", "Widget"),
    ],
    ids=["register", "activate", "data.set"],
)
def test_a_failure_inside_a_200_is_refused_with_its_code(
    bitrix: Bitrix, portal: Server, call: Callable[[Bitrix], object], answer: object, code: str
) -> None:
    portal.says(result(answer))

    error = failure(lambda: call(bitrix))

    assert (type(error), error.code) == (Refused, code)


@pytest.mark.parametrize("answer", [True, {"result": True}, {"result": "Y"}, 1])
def test_success_is_understood_in_every_spelling(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    bitrix.activate(CONNECTOR, 7, True)


# -- items of a send


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"SUCCESS": True, "user": "585", "session": {"ID": "323", "CHAT_ID": "1767"}},
            ItemResult(True, (), 323, 1767, 585),
        ),
        (
            {"SUCCESS": True, "user": 585, "session": {"ID": 323, "CHAT_ID": 1767}},
            ItemResult(True, (), 323, 1767, 585),
        ),
        ({"SUCCESS": "Y", "session": {"ID": 323}}, ItemResult(True, (), 323, None, None)),
        ({"SUCCESS": True, "user": "585"}, ItemResult(True, (), None, None, 585)),
        ({"SUCCESS": True, "session": []}, ItemResult(True)),
        ({"SUCCESS": True, "session": None}, ItemResult(True)),
        ({"SUCCESS": True, "session": {}}, ItemResult(True)),
        (
            {"SUCCESS": False, "ERRORS": ["EMAIL_INVALID", "Second"]},
            ItemResult(False, ("EMAIL_INVALID", "Second")),
        ),
        ({"SUCCESS": False, "ERRORS": {"0": "One"}}, ItemResult(False, ("One",))),
        # A refused item is refused, whatever session it names.
        (
            {"SUCCESS": False, "ERRORS": ["Bad"], "session": {"ID": "323"}},
            ItemResult(False, ("Bad",)),
        ),
    ],
)
def test_an_item_is_judged_by_its_own_result(
    bitrix: Bitrix, portal: Server, item: dict[str, Any], expected: ItemResult
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": [item]}}))

    assert send(bitrix) == [expected]


@pytest.mark.parametrize("errors", [{}, {"ERRORS": []}, {"ERRORS": None}])
def test_an_item_refused_without_a_reason_is_still_refused(
    bitrix: Bitrix, portal: Server, errors: dict[str, Any]
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": False} | errors]}}))

    (item,) = send(bitrix)

    assert not item.accepted
    assert item.errors
    assert item.session_id is None


GOOD, BAD = {"SUCCESS": True, "session": {"ID": 1}}, {"SUCCESS": False, "ERRORS": ["Bad"]}


@pytest.mark.parametrize(
    "results",
    [
        [GOOD, BAD, GOOD],
        {"0": GOOD, "1": BAD, "2": GOOD},
        {"1": BAD, "0": GOOD, "2": GOOD},
    ],
)
def test_items_are_judged_one_by_one_in_the_order_they_were_sent(
    bitrix: Bitrix, portal: Server, results: object
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": results}}))

    items = send(bitrix, MESSAGE, MESSAGE, MESSAGE)

    assert [item.accepted for item in items] == [True, False, True]


@pytest.mark.parametrize(
    "answer",
    [
        True,
        [],
        {},
        {"SUCCESS": True},
        {"SUCCESS": True, "DATA": []},
        {"SUCCESS": True, "DATA": {"RESULT": None}},
        {"SUCCESS": True, "DATA": {"RESULT": []}},
        {"SUCCESS": True, "DATA": {"RESULT": [GOOD]}},
        {"SUCCESS": True, "DATA": {"RESULT": [GOOD, GOOD, GOOD]}},
        {"SUCCESS": True, "DATA": {"RESULT": [None, {}]}},
    ],
)
def test_without_one_result_for_each_item_the_outcome_is_unknown(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    error = failure(lambda: send(bitrix, MESSAGE, MESSAGE))

    assert (type(error), error.code) == (OutcomeUnknown, "STRANGE_ANSWER")


@pytest.mark.parametrize("odd", [None, "x", {}, [], 10**30, {"SUCCESS": False, "ERRORS": [[]]}])
def test_an_item_with_an_odd_result_does_not_take_the_others_with_it(
    bitrix: Bitrix, portal: Server, odd: object
) -> None:
    portal.says(result({"SUCCESS": True, "DATA": {"RESULT": [GOOD, odd]}}))

    good, unclear = send(bitrix, MESSAGE, MESSAGE)

    assert good == ItemResult(True, (), 1)
    assert not unclear.understood


@pytest.mark.parametrize(
    ("errors", "reasons"),
    [
        ("One", ("One",)),
        ({"CODE": "One", "OTHER": 2}, ("One", "2")),
        ([None, ""], ("NOT_DONE",)),
        (["x" * 1000], ("x" * 300,)),
    ],
)
def test_reasons_are_read_in_every_shape(
    bitrix: Bitrix, portal: Server, errors: object, reasons: tuple[str, ...]
) -> None:
    portal.says(
        result({"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": False, "ERRORS": errors}]}})
    )

    assert send(bitrix) == [ItemResult(False, reasons)]


# -- other answers


@pytest.mark.parametrize(
    "reply",
    [
        said({"error": "ERROR_CORE", "error_description": "Handler already binded"}, 400),
        said({"error": "ERROR_EVENT_BINDING_EXISTS", "error_description": "x"}, 400),
    ],
)
def test_an_event_that_is_bound_already_is_a_success(
    bitrix: Bitrix, portal: Server, reply: Reply
) -> None:
    portal.says(reply)

    bitrix.bind_event("OnImConnectorMessageAdd", HANDLER)

    assert portal.methods() == ["event.bind"]


def test_an_event_that_cannot_be_bound_is_refused(bitrix: Bitrix, portal: Server) -> None:
    portal.says(said({"error": "ERROR_EVENT_NOT_FOUND", "error_description": "x"}, 400))

    error = failure(lambda: bitrix.bind_event("OnNothing", HANDLER))

    assert (type(error), error.code) == (Refused, "ERROR_EVENT_NOT_FOUND")


def test_bound_events_are_read_without_the_offline_ones(bitrix: Bitrix, portal: Server) -> None:
    portal.says(
        result(
            [
                {"event": "OnImConnectorMessageAdd", "handler": HANDLER, "auth_type": "0"},
                {"event": "ONAPPUNINSTALL", "handler": HANDLER, "offline": 0},
                {"event": "ONIMCONNECTORMESSAGEADD", "offline": 1},
            ]
        )
    )

    assert bitrix.bound_events() == [
        ("ONIMCONNECTORMESSAGEADD", HANDLER),
        ("ONAPPUNINSTALL", HANDLER),
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"STATUS": True}, True),
        ({"STATUS": "Y"}, True),
        ({"STATUS": False}, False),
        ({"STATUS": "N"}, False),
        ({}, False),
        ([], False),
    ],
)
def test_a_connectors_status_is_read(
    bitrix: Bitrix, portal: Server, answer: object, expected: bool
) -> None:
    portal.says(result(answer))

    assert bitrix.connector_status(CONNECTOR, 7) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"INSTALLED": True}, True),
        ({"INSTALLED": False}, False),
        ({"INSTALLED": "N"}, False),
        ({}, False),
    ],
)
def test_whether_the_application_is_installed_is_read(
    bitrix: Bitrix, portal: Server, answer: object, expected: bool
) -> None:
    portal.says(result(answer))

    assert bitrix.is_installed() is expected


def test_a_token_is_proved_by_the_portal_of_the_settings(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result({"CODE": CLIENT_ID}), result({"ID": "5", "ADMIN": True}))

    assert bitrix.app_of_token("foreign-access-token") == CLIENT_ID
    assert bitrix.is_administrator("foreign-access-token") == (True, 5)

    assert portal.methods() == ["app.info", "profile"]


@pytest.mark.parametrize("admin", [False, "N", "0", 0, None])
def test_who_is_no_administrator_is_not_taken_for_one(
    bitrix: Bitrix, portal: Server, admin: object
) -> None:
    portal.says(result({"ID": "5", "ADMIN": admin}))

    assert bitrix.is_administrator("foreign-access-token") == (False, 5)


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        ({"livechat": "Live chat", "Example_1": "Ours"}, {"livechat", "example_1"}),
        ([], set()),
        (["Live chat"], {"0"}),
    ],
)
def test_connectors_are_known_by_their_ids(
    bitrix: Bitrix, portal: Server, answer: object, ids: set[str]
) -> None:
    portal.says(result(answer))

    assert bitrix.connectors() == ids


@pytest.mark.parametrize("answer", [None, "livechat", 3])
def test_a_list_of_connectors_of_another_shape_tells_nothing(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    assert isinstance(failure(bitrix.connectors), OutcomeUnknown)


def test_to_switch_off_what_is_off_is_no_fault(bitrix: Bitrix, portal: Server) -> None:
    portal.says(result(False))

    bitrix.activate(CONNECTOR, 7, False)

    assert isinstance(failure(lambda: bitrix.activate(CONNECTOR, 7, True)), Refused)
    portal.says(result({"result": False, "error": "X"}))
    assert failure(lambda: bitrix.activate(CONNECTOR, 7, False)).code == "X"


def test_a_limit_without_times_lasts_as_the_methods_last_success_said(
    bitrix: Bitrix, portal: Server
) -> None:
    times = {"finish": 1000.0, "operating_reset_at": 1300}
    portal.says(said({"result": True, "time": times}))
    bitrix.activate(CONNECTOR, 7, True)
    portal.says(said({"result": {"STATUS": True}, "time": {**times, "operating_reset_at": 1100}}))
    bitrix.connector_status(CONNECTOR, 7)
    portal.says(said({"error": "OPERATION_TIME_LIMIT"}, 429))

    limits = [
        failure(lambda: bitrix.activate(CONNECTOR, 7, True)).seconds,
        failure(lambda: bitrix.connector_status(CONNECTOR, 7)).seconds,
        failure(bitrix.is_installed).seconds,
    ]

    assert [290 < limits[0] <= 300, 90 < limits[1] <= 100, limits[2]] == [True, True, 0.0]
    portal.says(said({"error": "OPERATION_TIME_LIMIT", "time": {**times, "finish": 1295}}, 429))
    assert failure(lambda: bitrix.activate(CONNECTOR, 7, True)).seconds == 5.0
    portal.says(said({"error": "QUERY_LIMIT_EXCEEDED"}, 503))
    assert failure(lambda: bitrix.activate(CONNECTOR, 7, True)).seconds == 0.0


def test_a_dialogs_messages_are_read_ascending(bitrix: Bitrix, portal: Server) -> None:
    portal.says(
        result(
            {
                "chat_id": 5120,
                "messages": [
                    {
                        "id": 903312,
                        "chat_id": 5120,
                        "author_id": 18,
                        "date": "2026-05-27T10:00:00+03:00",
                        "text": "See the file",
                        "params": {"FILE_ID": [4], "CONNECTOR_MID": ["m1"]},
                    },
                    {
                        "id": 903311,
                        "chat_id": 5120,
                        "author_id": 2114,
                        "date": "2026-05-27T09:59:00+03:00",
                        "text": "Hello",
                        "params": {"CONNECTOR_MID": ["12"]},
                    },
                    {
                        "id": 903313,
                        "author_id": 0,
                        "date": "2026-05-27T10:01:00+03:00",
                        "text": "joined",
                        "params": {"CLASS": "bx-messenger-content-item-system"},
                    },
                    {
                        "id": 903314,
                        "author_id": 18,
                        "date": "2026-05-27T10:02:00+03:00",
                        "text": "psst",
                        "params": {"COMPONENT_ID": "HiddenMessage"},
                    },
                ],
                "users": [
                    {"id": 18, "name": "Olga Petrova", "connector": False},
                    {"id": 2114, "name": "Anna", "connector": True},
                ],
                "files": [{"id": 4, "name": "price.pdf"}, {"id": 5, "name": "other.pdf"}],
            }
        )
    )

    messages = bitrix.dialog_messages(5120, after=903310)

    assert portal.heard[0].form == {
        "DIALOG_ID": "chat5120",
        "FIRST_ID": "903310",
        "LIMIT": "50",
        "auth": OLD.access_token,
    }
    assert [message.id for message in messages] == [903311, 903312, 903313, 903314]
    visitors, operators, system, whisper = messages
    assert visitors == HistoryMessage(
        id=903311,
        author_id=2114,
        text="Hello",
        sent_at=1_779_865_140.0,
        connector_mids=("12",),
        classes="",
        hidden=False,
        from_connector=True,
        author_name="Anna",
        files=(),
    )
    assert operators.author_name == "Olga Petrova"
    assert operators.files == ({"id": 4, "name": "price.pdf"},)
    assert (operators.from_connector, operators.hidden) == (False, False)
    assert (system.hidden, whisper.hidden) == (True, True)


@pytest.mark.parametrize(
    ("message", "deleted"),
    [
        ({"params": {"IS_DELETED": "Y"}}, True),
        ({"params": {"isDeleted": "Y"}}, True),
        ({"params": {"IS_DELETED": True, "CLASS": "x"}}, True),
        ({"params": {"isDeleted": 1}}, True),
        ({"params": {"IS_DELETED": "1"}}, True),
        ({"params": {"IS_DELETED": ["Y"]}}, True),
        ({"params": {"IS_DELETED": {"0": "true"}}}, True),
        ({"params": [], "isDeleted": True}, True),
        ({"params": {"IS_DELETED": "N"}}, False),
        ({"params": {"isDeleted": False}}, False),
        ({"params": {"IS_DELETED": 0}}, False),
        ({"params": {"IS_DELETED": []}}, False),
        ({"params": []}, False),
        ({}, False),
    ],
)
def test_a_deleted_message_is_known_in_whatever_form(
    bitrix: Bitrix, portal: Server, message: dict[str, Any], deleted: bool
) -> None:
    portal.says(result({"messages": [{"id": 1, "author_id": 18, **message}]}))

    (read,) = bitrix.dialog_messages(5120)

    assert read.deleted is deleted


@pytest.mark.parametrize(
    "params",
    [
        {"COMPONENT_ID": "HiddenMessage", "IS_EDITED": "Y"},
        {"componentId": "HiddenMessage"},
        {"COMPONENT_ID": ["HiddenMessage"]},
        {"CLASS": ["a", "bx-messenger-content-item-system"]},
        {"class": "bx-messenger-content-item-system"},
    ],
)
def test_a_whisper_or_notice_is_known_in_whatever_form(
    bitrix: Bitrix, portal: Server, params: dict[str, Any]
) -> None:
    portal.says(result({"messages": [{"id": 1, "author_id": 18, "params": params}]}))

    assert bitrix.dialog_messages(5120)[0].hidden


@pytest.mark.parametrize(
    ("bounds", "sent"),
    [
        ({}, {}),
        ({"after": None}, {}),
        ({"after": 0}, {}),  # FIRST_ID=0 would mean something else
        ({"after": 903310}, {"FIRST_ID": "903310"}),
        ({"before": 903310}, {"LAST_ID": "903310"}),
    ],
)
def test_a_dialog_is_asked_for_within_bounds(
    bitrix: Bitrix, portal: Server, bounds: dict[str, int | None], sent: dict[str, str]
) -> None:
    portal.says(result({"messages": []}))

    bitrix.dialog_messages(5120, **bounds)

    form = portal.heard[0].form
    assert {key: form[key] for key in ("FIRST_ID", "LAST_ID") if key in form} == sent


def test_a_sessions_messages_are_read_from_either_shape(bitrix: Bitrix, portal: Server) -> None:
    message = {
        "id": "903311",
        "chatid": "5120",
        "senderid": "2114",
        "date": "2026-05-27T09:59:00+03:00",
        "text": "Hello",
        "params": {"connectorMid": ["12"]},
    }
    answer = {
        "chatId": 5120,
        "message": {"903311": message, "903310": message | {"id": "903310", "params": []}},
        "users": {"2114": {"id": "2114", "name": "Anna", "connector": True}},
        "files": [],
    }
    portal.says(result(answer))

    earlier, later = bitrix.session_messages(3301)

    assert (earlier.id, earlier.connector_mids) == (903310, ())
    assert (later.id, later.connector_mids) == (903311, ("12",))
    assert later.from_connector
    assert later.sent_at == 1_779_865_140.0


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        (
            lambda bitrix: bitrix.dialog_messages(5120),
            said({"error": "ACCESS_ERROR", "error_description": "x"}, 403),
        ),
        (
            lambda bitrix: bitrix.session_messages(3301),
            said({"error": "ACCESS_DENIED", "error_description": "x"}, 403),
        ),
    ],
    ids=["dialog", "session"],
)
def test_a_history_that_is_not_open_to_us_is_refused(
    bitrix: Bitrix, portal: Server, call: Callable[[Bitrix], object], reply: Reply
) -> None:
    portal.says(reply)

    assert type(failure(lambda: call(bitrix))) is Refused


@pytest.mark.parametrize("answer", [True, [], {}, {"messages": [{}]}, {"message": "x"}, "x"])
def test_a_strange_history_is_no_empty_history(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    portal.says(result(answer))

    assert type(failure(lambda: bitrix.session_messages(3301))) is OutcomeUnknown


@pytest.mark.parametrize("answer", [True, [], {}, {"messages": [{}]}, {"messages": "x"}, "x"])
def test_a_strange_dialog_is_no_empty_dialog(
    bitrix: Bitrix, portal: Server, answer: object
) -> None:
    """Taken for empty it would say that a message never arrived, and have it sent again."""
    portal.says(result(answer))

    assert type(failure(lambda: bitrix.dialog_messages(5120))) is OutcomeUnknown


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"id": 5120, "entity_data_1": "Y|LEAD|13|N|N|3301|1790000000|0"}, (5120, 3301)),
        ({"id": "5120", "entity_data_1": "Y|LEAD"}, (5120, None)),
        ({"id": 5120}, (5120, None)),
    ],
)
def test_a_dialog_is_found_by_its_user_code(
    bitrix: Bitrix, portal: Server, answer: object, expected: tuple[int, int | None]
) -> None:
    portal.says(result(answer))

    assert bitrix.find_dialog(f"{CONNECTOR}|7|{CHAT}|2114") == expected
    assert portal.heard[0].form["USER_CODE"] == f"{CONNECTOR}|7|{CHAT}|2114"


# -- secrets


@pytest.mark.parametrize(
    "reply",
    [
        result(SENT),
        said(refused("ERROR_ARGUMENT"), 400),
        said(EXPIRED, 401),
        page(502),
        page(302, Location="https://renamed.example/"),
        HANG_UP,
    ],
)
def test_tokens_and_secret_are_in_bodies_only(
    bitrix: Bitrix,
    portal: Server,
    oauth: Server,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
) -> None:
    caplog.set_level(logging.DEBUG)
    portal.says(said(EXPIRED, 401), reply)
    told = ""
    try:
        send(bitrix)
    except BitrixError as error:
        told = f"{error} {error!r} {error.__cause__!r} {error.description}"

    assert (len(portal.heard), len(oauth.heard)) == (2, 1)
    for request in portal.heard + oauth.heard:
        for text in (request.path, *request.headers.values()):
            assert not any(secret in text for secret in SECRETS)
    for secret in SECRETS:
        assert secret not in told
        assert secret not in caplog.text


def test_no_one_but_the_oauth_server_sees_the_secret_and_the_refresh_token(
    bitrix: Bitrix, portal: Server
) -> None:
    portal.answer = only_new_token

    bitrix.activate(CONNECTOR, 7, True)

    for request in portal.heard:
        for secret in (SECRET, OLD.refresh_token, "new-refresh-token"):
            assert secret.encode() not in request.body


def test_an_unreachable_portal_gives_no_secret_away(oauth: Server, keeper: Keeper) -> None:
    keeper.grant = Grant(OLD.access_token, OLD.refresh_token, 0.0)

    for bitrix in (client(closed_port(), oauth.url, keeper), client("", closed_port(), keeper)):
        error = failure(lambda bitrix=bitrix: send(bitrix))  # type: ignore[misc]
        assert not any(secret in f"{error} {error!r}" for secret in SECRETS)
        assert error.__cause__ is None
        assert error.__suppress_context__


def test_a_grant_shows_no_token() -> None:
    for picture in (repr(OLD), str(OLD), f"{[OLD]}"):
        assert "Grant" in picture
        assert not any(secret in picture for secret in SECRETS)


def test_a_proxy_of_whoever_started_us_does_not_see_our_tokens(
    bitrix: Bitrix, portal: Server, oauth: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, oauth.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    bitrix.activate(CONNECTOR, 7, True)

    assert portal.methods() == ["imconnector.activate"]
    assert oauth.heard == []


@pytest.mark.parametrize("code", ["QUERY_LIMIT_EXCEEDED", "EXPIRED"])
def test_only_a_time_limit_waits_until_its_reset(bitrix: Bitrix, portal: Server, code: str) -> None:
    """The field stands in every answer of the portal and lies minutes ahead."""
    portal.says(said(refused(code, time={"operating_reset_at": 1_790_000_600}), 503))

    assert getattr(failure(lambda: send(bitrix)), "at", 0) == 0
