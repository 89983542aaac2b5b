"""Generated nonsense for the REST client and the engine, and for the four doors of the application.

    python tests/fuzz.py --minutes 10 --seed 1 [--part client|engine|doors]

client: every method of the REST client against a server that answers with mutated samples and with
all of odd_answers.py. Only BitrixError may come out, in time, and the values must fit the store.
engine: the worker, an install and the hourly check against the same server: no exception but ours.
doors: mutated requests to /, /ajax, /handler and /install over HTTP. Each is answered below 500, or
503 with a reason; the log has no traceback, and an ordinary visitor is served afterwards.
The seed decides what is generated. Exit code 1 with what was found.
"""

import argparse
import copy
import dataclasses
import json
import random
import re
import resource
import socket
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tree that this file is in

from odd_answers import ODD, Answer, Heard, OddServer, answer
from pydantic import SecretStr
from stage import CLIENT_ID, LINE, Stage

from bitrix import Bitrix
from portal.connector import Claim
from portal.install_error import InstallError
from rest.errors import BitrixError
from rest.php import LARGEST
from rest.replies import Grant
from services import Services
from settings import Bitrix24Settings, DeliverySettings, Settings, StorageSettings
from store.records import Chat, Limits, OperatorMessage, Portal, TooMany, VisitorMessage

CONNECTOR = "example_connector_1"
SEND_SECONDS = 3.0
LONGEST_SECONDS = (
    12.0  # of one call, on a busy machine: RECEIVE_SECONDS, and a slow answer's sending
)
MOST_MB = 700
FOUND_ENOUGH = 5
SLOW = re.compile("byte a second|too long a length")  # these take seconds each: very seldom
LARGE = re.compile("endless|for ever|without end|400 MB|many values")  # seldom
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 1.5,
    1e308, "", " ",
    "0", "-1", "1e9", "١٢", "9" * 30, "9" * 5000, "x" * 70_000, "\0", "\ud83d", "é\u202e\u2028",
    "Y", "N", "False", "2026-05-27T09:59:00+03:00", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", [], {}, [[]], [None], {"": None}, {"0": {}}, {"error": "x"},
    [1, [2, [3]]],
]  # fmt: skip

# -- samples of good answers, by method

MESSAGE = {
    "id": 903311, "chat_id": 5120, "author_id": 18, "date": "2026-05-27T09:59:00+03:00",
    "text": "Hello", "unread": False,
    "params": {"CONNECTOR_MID": ["12"], "CLASS": "bx", "FILE_ID": [4], "COMPONENT_ID": "x"},
}  # fmt: skip
PAGE = {
    "chat_id": 5120,
    "messages": [MESSAGE, MESSAGE | {"id": 903312, "params": []}],
    "users": [{"id": 18, "name": "Olga", "connector": False}],
    "files": [{"id": 4, "name": "price.pdf", "type": "file"}],
}
ITEM = {
    "SUCCESS": True, "user": "585", "session": {"ID": "323", "CHAT_ID": "5120"},
    "message": {"id": 1, "files": []}, "ERRORS": ["x"],
}  # fmt: skip
SAMPLES: dict[str, Any] = {
    "imconnector.register": {"result": True, "error": "", "error_description": ""},
    "imconnector.activate": True,
    "imconnector.connector.data.set": True,
    "imconnector.send.messages": {"SUCCESS": True, "DATA": {"RESULT": [ITEM]}},
    "imconnector.send.status.delivery": {"SUCCESS": True, "DATA": []},
    "imconnector.status": {"LINE": 7, "CONNECTOR": CONNECTOR, "STATUS": True},
    "event.bind": True,
    "event.unbind": {"count": 1},
    "event.get": [{"event": "ONAPPUNINSTALL", "handler": "http://127.0.0.1/handler", "offline": 0}],
    "app.info": {"INSTALLED": True, "CODE": CLIENT_ID},
    "server.time": "2026-11-30T12:00:00+03:00",
    "profile": {"ADMIN": True, "ID": "1"},
    "im.dialog.messages.get": PAGE,
    "batch": {"result": {"0": PAGE, "1": PAGE}, "result_error": {"2": {"error": "ACCESS_ERROR"}}},
    "imopenlines.session.history.get": {"message": {"903311": MESSAGE}, "users": {}, "files": {}},
    "imopenlines.config.get": {"ID": "7", "ACTIVE": "Y", "LINE_NAME": "Sales"},
    "im.notify.system.add": 70001,
    "imconnector.unregister": {"result": True},
    "imconnector.list": {"livechat": "Live chat"},
    "imopenlines.dialog.get": {"id": 5120, "entity_data_1": "Y|CRM|1|N|N|323|1"},
    "oauth/token": {"access_token": "a", "refresh_token": "r", "expires_in": 3600},
}
TIME = {"start": 1, "finish": 2.5, "operating_reset_at": 1_790_000_000, "operating": 0.1}
ERRORS = [
    "QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT", "expired_token", "invalid_token",
    "NOT_ACTIVE_LINE",
    "ERROR_CORE", "ACCESS_DENIED", "DIALOG_NOT_FOUND", "invalid_grant", "nobody knows it",
]  # fmt: skip
METHODS: dict[str, Callable[[Bitrix], object]] = {
    "register": lambda b: b.register(CONNECTOR, "Chat", ("a", "b"), "https://site.example/handler"),
    "activate": lambda b: b.activate(CONNECTOR, 7, True),
    "set_connector_data": lambda b: b.set_connector_data(CONNECTOR, 7, "https://site.example", "x"),
    "send_messages": lambda b: b.send_messages(CONNECTOR, 7, [{"message": {"text": "x"}}]),
    "confirm_delivery": lambda b: b.confirm_delivery(CONNECTOR, 7, [{"im": {"chat_id": 1}}]),
    "bind_event": lambda b: b.bind_event("OnAppUninstall", "https://site.example/handler"),
    "unbind_event": lambda b: b.unbind_event("OnAppUninstall", "https://site.example/handler"),
    "bound_events": lambda b: b.bound_events(),
    "connector_status": lambda b: b.connector_status(CONNECTOR, 7),
    "is_installed": lambda b: b.is_installed(),
    "read_time": lambda b: b.read_time(),
    "dialog_messages": lambda b: b.dialog_messages(5120, before=9),
    "newest_messages": lambda b: b.newest_messages([5120, 5121, 5122]),
    "session_messages": lambda b: b.session_messages(323),
    "find_dialog": lambda b: b.find_dialog("a|7|b|1"),
    "connectors": lambda b: b.connectors(),
    "examine": lambda b: b.examine(CONNECTOR, [7]),
    "line": lambda b: b.line(7),
    "notify": lambda b: b.notify(1, "text", "tag"),
    "unregister": lambda b: b.unregister(CONNECTOR),
    "renew": lambda b: b.renew(),
    "app_of_token": lambda b: b.app_of_token("t"),
    "is_administrator": lambda b: b.is_administrator("t"),
}


class Failed(Exception):
    """Something came out that must not."""


# -- mutations


def mutated(value: Any, dice: random.Random) -> Any:
    """A copy with some places changed."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice([0, 1, 1, 1, 2, 5])):
        value = _changed(value, dice)
    return value


def _changed(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict) and value and dice.random() < 0.85:
        key = dice.choice(list(value))
        if dice.random() < 0.1:
            del value[key]
        elif dice.random() < 0.05:
            value[str(dice.choice(NASTY))[:99]] = value.pop(key)
        else:
            value[key] = _changed(value[key], dice)
        return value
    if isinstance(value, list) and value and dice.random() < 0.85:
        place = dice.randrange(len(value))
        value[place] = _changed(value[place], dice)
        if dice.random() < 0.1:
            value *= dice.choice([0, 2, 60])
        return value
    if dice.random() < 0.1:
        return [value] if dice.random() < 0.5 else {"a": value}
    return copy.deepcopy(dice.choice(NASTY))


def strange_answer(heard: Heard, dice: random.Random, good: float) -> Answer:
    """An answer to this call; `good` is the share of those that are as documented."""
    method = "oauth/token" if heard.path.startswith("/oauth") else heard.method
    sample = SAMPLES.get(method, True)
    body: Any = sample if method == "oauth/token" else {"result": sample, "time": TIME}
    if dice.random() < good:
        return answer(json.dumps(body).encode())
    if dice.random() < 0.25:
        kind = dice.choice(list(ODD))
        share = 0.02 if SLOW.search(kind) else 0.1 if LARGE.search(kind) else 1.0
        if dice.random() < share:
            return ODD[kind]()
    status = "200 OK"
    if dice.random() < 0.2:
        body = {"error": dice.choice(ERRORS), "error_description": "words", "time": TIME}
        status = dice.choice(
            ["200 OK", "400 Bad", "401 No", "403 No", "429 Slow", "500 Oh", "503 Oh"]
        )
    text = json.dumps(mutated(body, dice)).encode()
    if dice.random() < 0.1:
        place = dice.randrange(len(text))
        text = (
            text[:place] + bytes(dice.choices(range(256), k=3)) + text[place + dice.randrange(4) :]
        )
    length = None if dice.random() < 0.95 else len(text) + dice.choice([-7, -1, 1, 10**20])
    if length is not None and length < 0:
        length = 0
    headers = {}
    if dice.random() < 0.1:
        headers[
            dice.choice(["Content_Encoding", "Location", "Transfer_Encoding", "Retry_After"])
        ] = dice.choice(["gzip", "chunked", "http://[", "//x", "\xe9", "-1", "deflate, gzip", ""])
    whole = b"".join(answer(text, status, length, **headers))
    if dice.random() < 0.05:
        whole = whole[: dice.randrange(len(whole))]
    return [whole]


# -- the client


class Keeper:
    """Tokens in memory, of which some are about to expire."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._lock = threading.RLock()

    def load(self) -> Grant:
        seconds = self._dice.choice([3000, 3000, 3000, 30, -5])
        return Grant(f"access {self._dice.random()}", "refresh", time.time() + seconds)

    def save(self, old: Grant, grant: Grant) -> bool:
        check_values(grant)
        return self._dice.random() < 0.9

    def begin_renewal(self, old: Grant) -> None:
        pass

    def renewal_began(self, old: Grant) -> bool:
        return self._dice.random() < 0.5

    def renewal_refused(self, old: Grant) -> None:
        pass

    def lock(self) -> Any:
        return self._lock


def check_values(value: Any) -> None:
    """Raise Failed unless the store and a page can take all of it."""
    if isinstance(value, bool | float | None):
        return
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise Failed("a number that the store cannot keep")
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            check_values(one)
    elif isinstance(value, dict):
        check_values(list(value.items()))
    elif isinstance(value, BitrixError):
        check_values([value.code, value.description, value.seconds, str(value)])
        if len(value.code) > 200 or "\n" in str(value):
            raise Failed("a code that is no code")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        check_values(vars(value))
    else:
        raise Failed(f"a value of {type(value)}")


def fuzz_client(seconds: float, seed: int) -> Iterator[str]:
    until = time.monotonic() + seconds
    dice = random.Random(seed)
    counts: Counter[str] = Counter()
    slowest = 0.0
    with OddServer(lambda heard: strange_answer(heard, dice, good=0.1)) as server:
        settings = Bitrix24Settings(
            portal=server.url, oauth_server=server.url, client_id=CLIENT_ID,
            client_secret=SecretStr("secret"),
        )  # fmt: skip
        bitrix = Bitrix(settings, Keeper(dice), SEND_SECONDS)
        while time.monotonic() < until:
            name = dice.choice(list(METHODS))
            began = time.monotonic()
            try:
                check_values(METHODS[name](bitrix))
                counts["understood"] += 1
            except BitrixError as error:
                check_values(error)
                counts[type(error).__name__] += 1
            except Exception:
                yield f"client, {name}: {traceback.format_exc()}"
            slowest = max(slowest, took := time.monotonic() - began)
            if took > 3 * LONGEST_SECONDS:  # a call may hold a renewal, twice tried
                yield f"client, {name}: took {took:.1f} s"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"client: {counts.total()} calls {dict(counts)}, slowest {slowest:.1f} s, {peak} MB")
    if peak > MOST_MB:
        yield f"client: {peak} MB of memory"


# -- the engine


def fuzz_engine(seconds: float, seed: int) -> Iterator[str]:
    until = time.monotonic() + seconds
    dice = random.Random(seed)
    steps = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        OddServer(lambda heard: strange_answer(heard, dice, good=0.6)) as server,
    ):
        services = Services.of(
            Settings(
                public_url="http://127.0.0.1:1",
                bitrix24=Bitrix24Settings(
                    portal=server.url, oauth_server=server.url, client_id=CLIENT_ID,
                    client_secret=SecretStr("secret"),
                ),
                delivery=DeliverySettings(timeout_seconds=SEND_SECONDS, settle_seconds=0.1),
                storage=StorageSettings(
                    url=f"sqlite:///{folder}/chats.db", files=f"{folder}/files"
                ),
            )
        )  # fmt: skip
        now = time.time()
        store = services.store
        store.open()
        store.portal.save(Portal("m", 1, "access", "refresh", now + 3600, "t", False, now))
        store.portal.connect_line(LINE, now)
        services.worker.begin(now)
        while time.monotonic() < until:
            steps += 1
            now += dice.choice([0.1, 1, 10, 100])
            try:
                _write(services, dice, now)
                for _ in range(10):
                    services.worker.step(now)
                if dice.random() < 0.1:
                    services.connector.install(Claim(Grant("a", "r", now + 3600), "m", "t"))
                if dice.random() < 0.1:
                    services.connector.check()
            except (BitrixError, InstallError, TooMany):
                pass
            except Exception:
                yield f"engine: {traceback.format_exc()}"
        left = store.queue.waiting()
    print(f"engine: {steps} rounds, {left} messages wait")


def _write(services: Services, dice: random.Random, now: float) -> None:
    chat = f"chat{dice.randrange(20):064x}"
    visitor = Chat(chat, "Anna", "", "", "", None, now, now, None, None, None, None)
    services.store.messages.add_from_visitor(
        VisitorMessage(visitor, "hi", "hi", None), Limits("", 10**6, 10**6), now
    )
    services.store.dialogs.note_dialog(chat, LINE, 5120 + dice.randrange(20), 585, 323, None)
    number = dice.randrange(1, 2**40)
    operator = OperatorMessage(chat, LINE, 5120, number, "operator", "Olga", "hello", "hello")
    services.store.messages.add_from_operators([operator], now)


# -- the doors

UNLIMITED: dict[str, Any] = {
    f"SITECHAT_LIMITS__{name}": "1000000"
    for name in (
        "VISITOR_PER_MINUTE", "ADDRESS_PER_MINUTE", "INSTALLS_PER_MINUTE",
        "FAILED_PROOFS_PER_MINUTE",
    )
}  # fmt: skip
EVENT_NAMES = [
    "OnImConnectorMessageAdd", "OnImConnectorMessageUpdate", "OnImConnectorMessageDelete",
    "OnImConnectorDialogStart", "OnImConnectorDialogFinish", "OnImConnectorStatusDelete",
    "OnImConnectorLineDelete", "OnAppUninstall", "OnAppInstall", "OnNothing",
]  # fmt: skip
AJAX = [
    "chat_history", "send_message", "upload_file", "retry_message", "save_conversation",
    "delete_conversation", "identify", "forget", "chat_stream", "file", "nothing",
]  # fmt: skip
TEXTS = [
    "", " ", "x" * 30_000, "[b]" * 2000, "\0", "é\u202e", "😀" * 50, "-1", "0", "1e9",
    "9" * 400, "[[[[",
    "%s%n{}", "<script>xss()</script>", "'; drop table messages", "2026-01-01", "null", "true",
]  # fmt: skip


def a_form(dice: random.Random, state: dict[str, Any], chat: str) -> tuple[str, dict[str, str]]:
    """A path and a form that one of the doors knows, before it is mutated."""
    door = dice.choice(["/ajax", "/ajax", "/handler", "/handler", "/install", "/"])
    if door == "/ajax":
        return door, {
            "type": dice.choice(AJAX), "name": "Anna", "message": "Hello", "email": "a@example.com",
            "phone": "+100", "page": "https://shop.example/", "client_id": str(uuid.uuid4()),
            "id": "1",
            "before": "5", "limit": "10", "once": "1", "key": "x" * 32, "signature": "0" * 64,
        }  # fmt: skip
    if door == "/install":
        return door, {
            "AUTH_ID": "a", "REFRESH_ID": "r", "AUTH_EXPIRES": "3600",
            "member_id": state["member_id"],
            "PLACEMENT": "DEFAULT", "status": "L", "PLACEMENT_OPTIONS": "{}",
        }  # fmt: skip
    if door == "/handler" and dice.random() < 0.2:
        options = mutated({"LINE": LINE, "CONNECTOR": CONNECTOR, "ACTIVE_STATUS": True}, dice)
        return door, {
            "PLACEMENT": dice.choice(["SETTING_CONNECTOR", "DEFAULT", "X"]), "AUTH_ID": "a",
            "PLACEMENT_OPTIONS": dice.choice([json.dumps(options), "[" * 50_000, '{"LINE":1e999}']),
        }  # fmt: skip
    if door == "/handler":
        return door, {
            "event": dice.choice(EVENT_NAMES).upper(), "ts": "1790000000",
            "data[CONNECTOR]": CONNECTOR, "data[LINE]": str(LINE), "data[line]": "99",
            "data[MESSAGES][0][im][chat_id]": "5120", "data[MESSAGES][0][im][message_id]": "903311",
            "data[MESSAGES][0][message][user_id]": "18",
            "data[MESSAGES][0][message][text]": "Hello",
            "data[MESSAGES][0][message][id][0]": "1",
            "data[MESSAGES][0][message][params][CLASS]": "x",
            "data[MESSAGES][0][message][files][0][name]": "a.pdf",
            "data[MESSAGES][0][message][files][0][link]": "https://portal.example/a",
            "data[MESSAGES][0][message][attachments][0]": '{"LINK":"https://x.example","NAME":"x"}',
            "data[MESSAGES][0][chat][id]": chat, "data[DATA][0][connector][chat_id]": chat,
            "data[DATA][0][chat][id]": "5120", "data[DATA][0][user][id]": "585",
            "data[DATA][0][session][id]": "323", "auth[member_id]": state["member_id"],
            "auth[application_token]": state["application_token"] if dice.random() < 0.9 else "no",
            "auth[access_token]": "x",
        }  # fmt: skip
    return door, {}


def a_request(dice: random.Random, state: dict[str, Any], chat: str, cookie: str) -> bytes:
    """The bytes of one request, of which most have something wrong with them."""
    path, form = a_form(dice, state, chat)
    for _ in range(dice.choice([0, 1, 1, 2, 4])):
        if not form:
            break
        key = dice.choice(list(form))
        if dice.random() < 0.2:
            form.pop(key)
        elif dice.random() < 0.2:
            form[key + dice.choice(["[]", "[x]", "[0][1][2]", "[" * 40, "]" * 9, "[a]" * 30])] = "x"
        else:
            form[key] = dice.choice(TEXTS)
    body, kind = _packed(form, dice)
    method = "POST" if path != "/" else "GET"
    if dice.random() < 0.1:
        method = dice.choice(
            ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH", "X" * 30]
        )
    if dice.random() < 0.1:
        path += dice.choice(["?", "?type=chat_stream&once=1", "?type=file&key=../../etc",
                             "/%00", "//",
                             "?" + "a=b&" * 900, "?lang=xx", "/../install",
                             "?type=file&key=%ff"])  # fmt: skip
    elif method == "GET" and form:
        path += "?" + body.decode("latin-1").replace(" ", "+").replace("\r", "").replace("\n", "")
        path = path[:4000]
    headers = [
        ("Host", "127.0.0.1"), ("Connection", "close"), ("Content-Type", kind),
        ("Cookie", dice.choice([cookie, cookie[:-3], "sitechat=.x.y", "sitechat=", "a;b;=;" * 50])),
        ("Content-Length", str(len(body))),
    ]  # fmt: skip
    if dice.random() < 0.2:
        name = dice.choice([
            "Origin", "Referer", "Accept-Language", "Last-Event-ID", "X-Chat-Id", "X-Forwarded-For",
            "Accept", "If-None-Match", "Range", "Content-Encoding", "Sec-Fetch-Site",
            "Authorization",
            "X-Sitechat-Token", "Expect", "Upgrade", "Accept-Encoding",
        ])  # fmt: skip
        headers.append(
            (name, dice.choice([*TEXTS[3:], "null", "*", "a, b;q=x", "bytes=9-1"])[:3000])
        )
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    head = "\r\n".join(line.replace("\0", "") for line in lines).encode("utf-8", "replace")
    return head + body


def _packed(form: dict[str, str], dice: random.Random) -> tuple[bytes, str]:
    how = dice.random()
    if how < 0.75:
        text = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in form.items())
        body = text.encode()
        kind = "application/x-www-form-urlencoded"
    elif how < 0.9:
        parts = [
            f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in form.items()
        ]
        parts.append(
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nx\r\n'
        )
        body = ("".join(parts) + "--b--\r\n").encode()
        kind = dice.choice(
            ["multipart/form-data; boundary=b", "multipart/form-data", "multipart/x;="]
        )
    else:
        body = json.dumps(form).encode()
        kind = dice.choice(
            ["application/json", "text/plain; charset=utf-7", "", "\x7f", "a/b;" * 99]
        )
    if dice.random() < 0.1 and body:
        place = dice.randrange(len(body))
        body = body[:place] + bytes(dice.choices(range(256), k=4)) + body[place:]
    return body, kind


def ask(address: tuple[str, int], request: bytes) -> tuple[int, bytes]:
    """The status of the answer (0 where the connection closes without one), and what came of it."""
    with socket.create_connection(address, timeout=30) as connection:
        got = b""
        try:
            connection.sendall(request)
            while len(got) < 5_000 and (part := connection.recv(65_536)):
                got += part
        except ConnectionError:
            pass
    status = re.match(rb"HTTP/1\.[01] (\d{3})", got)
    return (int(status[1]) if status else 0), got


def fuzz_doors(seconds: float, seed: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder), **UNLIMITED) as stage:
        stage.install()
        stage.trouble(limit=False)
        host, port = stage.chat.removeprefix("http://").split(":")
        found: list[str] = []
        counts: Counter[int] = Counter()
        visitor = stage.visitor()
        visitor.send("first")
        chat = str(visitor.send("second")["chat"])
        cookie = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies)
        state = stage.state()
        until = time.monotonic() + seconds  # however long the start took

        def work(number: int) -> None:
            dice = random.Random(seed * 100 + number)
            while time.monotonic() < until and len(found) < FOUND_ENOUGH:
                request = a_request(dice, state, chat, cookie)
                try:
                    status, got = ask((host, int(port)), request)
                except OSError as error:
                    found.append(f"doors: {error!r} for {request[:2000]!r}")
                    continue
                counts[status] += 1
                body = got.partition(b"\r\n\r\n")[2]
                if status >= 500 and (status != 503 or len(body) < 20):
                    found.append(f"doors: {status} for {request[:2000]!r}: {got[:500]!r}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(2)
            stage.install()  # a genuine event may have ended the installation
            state.update(stage.state())
        yield from found
        if "Traceback" in (log := stage.log.read_text()):
            yield "doors: the log has a traceback: " + log[log.index("Traceback") :][:3000]
        other = stage.visitor()
        other.send("still there?")
        other.wait_for("still there?")
        print(f"doors: {counts.total()} requests {dict(sorted(counts.items()))}")


# -- the command line

PARTS: dict[str, Callable[[float, int], Iterator[str]]] = {
    "client": fuzz_client,
    "engine": fuzz_engine,
    "doors": fuzz_doors,
}


def fuzz(minutes: float, seed: int, parts: list[str]) -> int:
    """Run the parts one after the other, the minutes shared equally; 1 if anything was found."""
    print(f"fuzz: seed {seed}, {minutes} minutes, {', '.join(parts)}", flush=True)
    found: list[str] = []
    for part in parts:
        before = len(found)
        for finding in PARTS[part](minutes * 60 / len(parts), seed):
            print(finding, flush=True)
            found.append(finding)
            if len(found) - before >= FOUND_ENOUGH:
                break
    print(f"{len(found)} found" if found else "nothing found")
    return bool(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--part", choices=PARTS, action="append")
    given = parser.parse_args()
    return fuzz(given.minutes, given.seed, given.part or list(PARTS))


if __name__ == "__main__":
    sys.exit(main())
