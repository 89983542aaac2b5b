"""The control API: what a person would do in the portal, for tests and the demo.

JSON in and out. Unknown ids are 404, malformed requests 400, and what the
portal would not let an operator do is 409.
"""

import time

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from .control_admin import AdminButtons
from .control_operator import OperatorButtons
from .dialog_actions import NotAllowed
from .json_body import Body
from .options import NotFound, RestError
from .parts import Sandbox
from .state import portal_state
from .troubles import Bucket, Troubles


class Control:
    """What is read, the troubles, and events that a test makes up."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._portal = sandbox.portal
        self._dialogs = sandbox.dialogs
        self._rest = sandbox.rest

    def state(self) -> ResponseReturnValue:
        """Everything; with `?chat=<our chat's id>` only the dialogs of this chat."""
        with self._portal.lock:
            return jsonify(portal_state(self._portal, self._dialogs, request.args.get("chat")))

    def calls(self) -> ResponseReturnValue:
        return jsonify(self._rest.calls(request.args.get("after", 0, int)))

    def events(self) -> ResponseReturnValue:
        return jsonify(self._portal.events.log(request.args.get("after", 0, int)))

    def troubles(self) -> ResponseReturnValue:
        if request.method == "DELETE":
            self._end_troubles()
        elif request.method == "POST":
            self._change_troubles(Body())
        self._portal.touch()
        return jsonify(self._portal.troubles.as_dict())

    def _end_troubles(self) -> None:
        with self._portal.lock:
            self._portal.troubles = Troubles(limit=self._portal.options.limit)
            self._portal.operation_reset_at = 0.0

    def _change_troubles(self, body: Body) -> None:
        portal, values = self._portal, dict(body.values)
        with portal.lock:
            expire_tokens = values.pop("expire_tokens", False)
            portal.troubles.change(values)
            if expire_tokens:
                portal.tokens.expire()
            if "operation_time_limit" in values:
                seconds = portal.troubles.operation_time_limit
                portal.operation_reset_at = time.time() + seconds if seconds else 0.0
            if "rate" in values:
                portal.bucket = Bucket()

    def post_event(self) -> ResponseReturnValue:
        """A raw event; `auth` replaces fields of the envelope, and null removes a field."""
        body = Body()
        event = body.text("event").upper()
        changes = body.fields("auth")
        fields = self._portal.envelope(event, body.values.get("data"), body.number("user_id", 0))
        fields["auth"] |= changes
        with self._portal.lock:
            bindings = self._portal.bindings
            handlers = [binding.handler for binding in bindings if binding.event == event]
        if "handler" in body.values:
            handlers = [body.text("handler")]
        for handler in handlers:
            self._portal.events.put(handler, event, fields)
        return jsonify({"posted": len(handlers)})


def control_routes(app: Flask, sandbox: Sandbox) -> None:
    control = Control(sandbox)
    app.add_url_rule("/sandbox/state", "state", control.state)
    app.add_url_rule("/sandbox/calls", "calls", control.calls)
    app.add_url_rule("/sandbox/events", "events", control.events)
    app.add_url_rule(
        "/sandbox/trouble", "troubles", control.troubles, methods=["GET", "POST", "DELETE"]
    )
    buttons = AdminButtons(sandbox).buttons | OperatorButtons(sandbox).buttons
    buttons["event"] = control.post_event

    # One rule for all of them: preparing a rule takes half a millisecond of each start.
    @app.post("/sandbox/<name>")
    def press(name: str) -> ResponseReturnValue:
        if name not in buttons:
            abort(404)
        return buttons[name]()

    for not_possible in (NotFound, NotAllowed, RestError):
        app.register_error_handler(not_possible, _not_possible)
    for malformed in (BadRequest, ValueError):
        app.register_error_handler(malformed, _malformed)


def _not_possible(error: Exception) -> ResponseReturnValue:
    return jsonify({"error": str(error)}), 404 if isinstance(error, NotFound) else 409


def _malformed(error: Exception) -> ResponseReturnValue:
    text = error.description if isinstance(error, BadRequest) else str(error)
    return jsonify({"error": text}), 400
