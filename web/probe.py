"""Answers the doctor, who asks our own address to see what the proxies in front of us do.

Strangers get a refusal: a ticket that is signed with the store's secret key is wanted.
"""

from collections.abc import Iterator

from flask import Response, current_app, request

from operations import front
from web.asking import Problem, services
from web.reached import forwarded_entries


def probe() -> Response:
    """Whether we take messages, and how many proxies have named an address.

    In two pieces, so that buffering can be seen.
    """
    given = request.headers.get(front.TICKET_HEADER, "")
    key = front.Key(str(current_app.secret_key), services().store.now)
    if not front.is_good_ticket(key, given):
        raise Problem("errors.unknown_type", 403)
    if request.content_length:  # the body has come through, and nobody wants it
        return Response(status=204)
    pieces = front.pieces(forwarded_entries(), services().pulse.takes_messages())
    response = Response(_slowly(*pieces), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _slowly(first: bytes, second: bytes) -> Iterator[bytes]:
    yield first
    front.pause()
    yield second
