"""Applications that only say "ok": what the server costs by itself, and Flask upon it."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

OK = b"ok"


def server_only(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    environ["wsgi.input"].read()  # else the connection would not be kept
    start_response("200 OK", [("Content-Length", str(len(OK)))])
    return [OK]


with_flask = Flask(__name__)


@with_flask.get("/")
def ok() -> bytes:
    return OK
