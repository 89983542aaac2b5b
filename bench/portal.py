"""A portal for the stand-ins: takes each message after a settable time, and tells what it has.

    python -m bench.portal PORT SECONDS

`GET /texts` gives the visitors' texts that it has had, in their order. gevent serves it: a thousand
calls may wait at once. Where calls take no time nginx answers in its place, see standins.py.
"""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

import gevent  # type: ignore[import-untyped]
from gevent import pywsgi

ANSWER = {"result": {"SUCCESS": True, "DATA": {"RESULT": [{"SUCCESS": True}]}}}
TEXT = re.compile(r"MESSAGES\[0\]\[message\]\[text\]=([^&]*)")


def application(texts: list[str], seconds: float) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read().decode()
        found: Any = ANSWER
        if environ["PATH_INFO"] == "/texts":
            found = texts
        elif environ["PATH_INFO"].startswith("/rest/imconnector.send.messages"):
            texts.append(text_in(body))
            gevent.sleep(seconds)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(found).encode()]

    return answer


def text_in(body: str) -> str:
    """The text of a call's one message, in JSON or in a form as PHP sends it."""
    if body.startswith("{"):
        return str(json.loads(body)["MESSAGES"][0]["message"]["text"])
    match = TEXT.search(body.replace("%5B", "[").replace("%5D", "]"))
    return unquote_plus(match[1]) if match else ""


def main(port: int, seconds: float) -> None:
    serving = application([], seconds)
    pywsgi.WSGIServer(("127.0.0.1", port), serving, backlog=4096, log=None).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
