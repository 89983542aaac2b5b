"""The control API: what a person would do in the portal, for tests and the demo.

JSON in and out. Unknown ids are 404, malformed requests 400, and what the
portal would not let an operator do is 409.
"""

import base64
import binascii
import time
from typing import TYPE_CHECKING, Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from .files import File
from .portal import Connector, NotFound, Portal, RestError
from .talks import Dialog, Message, NotAllowed

if TYPE_CHECKING:
    from .server import Sandbox


class Asked:
    """A request's JSON, read with errors that name the field."""

    def __init__(self) -> None:
        body = request.get_json(silent=True, force=True) if request.get_data() else {}
        if not isinstance(body, dict):
            raise BadRequest("a JSON object is expected")
        self.body: dict[str, Any] = body

    def text(self, name: str, usual: str | None = None) -> str:
        value = self.body.get(name, usual)
        if not isinstance(value, str):
            raise BadRequest(f"{name}: a string is expected")
        return value

    def number(self, name: str, usual: int | None = None) -> int:
        value = self.body.get(name, usual)
        if isinstance(value, bool) or not str(value).lstrip("-").isdecimal():
            raise BadRequest(f"{name}: a number is expected")
        return int(str(value))

    def flag(self, name: str, usual: bool) -> bool:
        value = self.body.get(name, usual)
        if not isinstance(value, bool):
            raise BadRequest(f"{name}: true or false is expected")
        return value


class Control:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._portal = sandbox.portal
        self._talks = sandbox.talks

    # Reading

    def state(self) -> ResponseReturnValue:
        """Everything; `?chat=<external id>` tells of one chat only."""
        only = request.args.get("chat")
        with self._portal.lock:
            return jsonify(self._state(only))

    def _state(self, only: str | None) -> dict[str, Any]:
        portal = self._portal
        dialogs = [
            told_dialog(dialog)
            for dialog in self._talks.dialogs.values()
            if only in (None, dialog.external_chat_id)
        ]
        return {
            "installed": portal.installed,
            "member_id": portal.member_id,
            "domain": portal.options.domain,
            "application_token": portal.application_token,
            "users": [
                {"id": user.id, "name": user.full_name, "admin": user.admin}
                for user in portal.users.values()
                if not user.connector
            ],
            "lines": told_lines(portal),
            "connectors": {item.id: told_connector(item) for item in portal.connectors.values()},
            "bindings": [
                {
                    "id": binding.id,
                    "event": binding.event,
                    "handler": binding.handler,
                    "user_id": binding.user_id,
                    "offline": binding.offline,
                }
                for binding in portal.bindings
            ],
            "dialogs": dialogs,
            "tokens": {"refreshes": portal.refreshes},
            "spec_violations": portal.spec_violations,
            "counts": {
                **portal.counts,
                "dialogs": len(self._talks.dialogs),
                "messages": len(self._talks.messages),
                "pending_events": portal.events.pending,
            },
            "troubles": portal.troubles.as_dict(),
        }

    def calls(self) -> ResponseReturnValue:
        return jsonify(self._sandbox.rest.calls(request.args.get("after", 0, int)))

    def events(self) -> ResponseReturnValue:
        return jsonify(self._portal.events.log(request.args.get("after", 0, int)))

    # The application

    def install(self) -> ResponseReturnValue:
        asked = Asked()
        user_id, finish = asked.number("user_id", 1), asked.flag("finish", True)
        return jsonify(self._sandbox.opening.install(user_id, finish))

    def installed(self) -> ResponseReturnValue:
        self._portal.finish_install()
        return jsonify({"installed": True})

    def callback(self) -> ResponseReturnValue:
        return jsonify(self._sandbox.opening.callback(Asked().number("user_id", 1)))

    def uninstall(self) -> ResponseReturnValue:
        self._portal.uninstall()
        return jsonify({"installed": False})

    def reset(self) -> ResponseReturnValue:
        self._sandbox.reset()
        return jsonify({"reset": True})

    def expire_tokens(self) -> ResponseReturnValue:
        self._portal.expire_tokens()
        return jsonify({"expired": True})

    def connect(self) -> ResponseReturnValue:
        asked = Asked()
        connector = self._connector(asked)
        address, fields = self._sandbox.opening.settings_page(
            connector, asked.number("line"), asked.flag("active", True), asked.number("user_id", 1)
        )
        return jsonify(self._sandbox.opening.post(address, fields))

    def disconnect(self) -> ResponseReturnValue:
        asked = Asked()
        line = asked.number("line")
        done = self._portal.disconnect(self._connector(asked), line, asked.number("user_id", 1))
        if not done:
            raise NotFound(f"line {line} is not connected")
        return jsonify({"disconnected": True})

    def delete_line(self) -> ResponseReturnValue:
        asked = Asked()
        self._portal.delete_line(asked.number("line"), asked.number("user_id", 1))
        return jsonify({"deleted": True})

    def foreign_connector(self) -> ResponseReturnValue:
        """Give an id to another application: ours cannot register it any more."""
        connector_id = Asked().text("id").lower()
        with self._portal.lock:
            flags = dict.fromkeys(("CHAT_GROUP", "NEED_SIGNATURE"), False)
            self._portal.connectors[connector_id] = Connector(
                connector_id, "Foreign", "https://other.example/", {}, {}, flags, "local.other"
            )
        return jsonify({"id": connector_id})

    def token(self) -> ResponseReturnValue:
        """A token of our application for this user, for REST calls of a test's own."""
        return jsonify(self._portal.issue_token(Asked().number("user_id", 1)))

    # The operator

    def answer(self) -> ResponseReturnValue:
        asked = Asked()
        dialog = self._dialog(asked)
        user_id = asked.number("user_id", 1)
        files = [self._file(one) for one in asked.body.get("files") or []]
        text = asked.text("text", "" if files else None)
        return _told(self._talks.answer(dialog, text, user_id, files))

    def system(self) -> ResponseReturnValue:
        asked = Asked()
        params = asked.body.get("params") or {}
        if not isinstance(params, dict):
            raise BadRequest("params: an object is expected")
        dialog, user_id = self._dialog(asked), asked.number("user_id", 0)
        return _told(self._talks.system(dialog, asked.text("text"), params, user_id))

    def vote(self) -> ResponseReturnValue:
        return _told(self._talks.ask_vote(self._dialog(Asked())))

    def whisper(self) -> ResponseReturnValue:
        asked = Asked()
        dialog, user_id = self._dialog(asked), asked.number("user_id", 1)
        return _told(self._talks.whisper(dialog, asked.text("text"), user_id))

    def notice(self) -> ResponseReturnValue:
        asked = Asked()
        dialog, user_id = self._dialog(asked), asked.number("user_id", 0)
        return _told(self._talks.notice(dialog, asked.text("text"), user_id))

    def edit(self) -> ResponseReturnValue:
        asked = Asked()
        message = self._talks.message(asked.number("message_id"))
        self._talks.edit(message, asked.text("text"), asked.number("user_id", 0))
        return _told(message)

    def delete(self) -> ResponseReturnValue:
        asked = Asked()
        message = self._talks.message(asked.number("message_id"))
        self._talks.delete(message, asked.number("user_id", 0))
        return _told(message)

    def close(self) -> ResponseReturnValue:
        asked = Asked()
        dialog = self._dialog(asked)
        self._talks.close(dialog, asked.number("user_id", 1))
        return jsonify({"chat_id": dialog.chat_id, "closed": dialog.closed})

    # Troubles and raw events

    def trouble(self) -> ResponseReturnValue:
        portal = self._portal
        if request.method == "DELETE":
            with portal.lock:
                portal.troubles = type(portal.troubles)(limit=portal.options.limit)
                portal.operation_reset_at = 0.0
        elif request.method == "POST":
            values = dict(Asked().body)
            with portal.lock:
                expire = values.pop("expire_tokens", False)
                portal.troubles.change(values)
                if expire:
                    portal.expire_tokens()
                if "operation_time_limit" in values:
                    seconds = portal.troubles.operation_time_limit
                    portal.operation_reset_at = time.time() + seconds if seconds else 0.0
                if "rate" in values:
                    portal.bucket = type(portal.bucket)()
        portal.touch()
        return jsonify(portal.troubles.as_dict())

    def event(self) -> ResponseReturnValue:
        """A raw event; `auth` replaces fields of the envelope's, null takes one out."""
        asked = Asked()
        name = asked.text("event").upper()
        changes = asked.body.get("auth") or {}
        if not isinstance(changes, dict):
            raise BadRequest("auth: an object is expected")
        fields = self._portal.envelope(name, asked.body.get("data"), asked.number("user_id", 0))
        fields["auth"] |= changes
        with self._portal.lock:
            handlers = [b.handler for b in self._portal.bindings if b.event == name]
        if "handler" in asked.body:
            handlers = [asked.text("handler")]
        for handler in handlers:
            self._portal.events.put(handler, name, fields)
        return jsonify({"posted": len(handlers)})

    # Finding things

    def _connector(self, asked: Asked) -> Connector:
        """The one named, or the only one there is."""
        given = asked.body.get("connector")
        own = [c for c in self._portal.connectors.values() if given in (None, c.id)]
        if not own:
            raise NotFound(f"no connector {given or ''}".strip())
        return own[0]

    def _dialog(self, asked: Asked) -> Dialog:
        if "chat_id" in asked.body:
            return self._talks.dialog(chat_id=asked.number("chat_id"))
        return self._talks.dialog(external_chat_id=asked.text("external_chat_id"))

    def _file(self, given: Any) -> File:
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            raise BadRequest("files: objects with a name are expected")
        try:
            content = base64.b64decode(given.get("content_base64", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise BadRequest("content_base64: not base64") from None
        mime = str(given.get("mime") or given.get("type") or "")
        return self._sandbox.disk.add(
            given["name"], content, mime if "/" in mime else "", str(given.get("url") or "")
        )


def _told(message: Message) -> ResponseReturnValue:
    return jsonify({"message_id": message.id, "chat_id": message.chat_id})


def told_lines(portal: Portal) -> list[dict[str, Any]]:
    return [{"id": line, "name": name} for line, name in portal.lines.items()]


def told_connector(connector: Connector) -> dict[str, Any]:
    return {
        "name": connector.name,
        "placement_handler": connector.placement_handler,
        "icon": connector.icon,
        "flags": connector.flags,
        "lines": {
            str(line): {
                "active": row.active,
                "connection": row.connection,
                "register": row.register,
                "data": row.data,
            }
            for line, row in connector.lines.items()
        },
    }


def told_dialog(dialog: Dialog) -> dict[str, Any]:
    return {
        "chat_id": dialog.chat_id,
        "connector": dialog.connector,
        "line": dialog.line,
        "external_chat_id": dialog.external_chat_id,
        "external_user_id": dialog.external_user_id,
        "user_id": dialog.user_id,
        "user_name": dialog.user_name,
        "title": dialog.title,
        "session_id": dialog.session_id,
        "closed": dialog.closed,
        "vote": dialog.vote,
        "messages": [told_message(message) for message in dialog.messages],
    }


def told_message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "author": message.author,
        "user_id": message.user_id,
        "session_id": message.session_id,
        "text": message.text,
        "files": [
            {
                "id": file.id,
                "name": file.name,
                "type": file.kind,
                "size": len(file.content),
                "link": file.external or f"/~{file.code}",
            }
            for file in message.files
        ],
        "deleted": message.deleted,
        "edited": message.edited,
        "hidden": message.hidden,
        "connector_mid": message.connector_mid,
        "delivered": not message.sending,
        "at": message.at,
    }


def control_routes(app: Flask, sandbox: "Sandbox") -> None:
    control = Control(sandbox)
    for name in ("state", "calls", "events"):
        app.add_url_rule(f"/sandbox/{name}", name, getattr(control, name))
    for name in (
        "install",
        "installed",
        "callback",
        "uninstall",
        "reset",
        "expire_tokens",
        "token",
        "connect",
        "disconnect",
        "delete_line",
        "foreign_connector",
        "answer",
        "system",
        "vote",
        "whisper",
        "notice",
        "edit",
        "delete",
        "close",
        "event",
    ):
        path = f"/sandbox/{name.replace('_', '-')}"
        app.add_url_rule(path, name, getattr(control, name), methods=["POST"])
    app.add_url_rule(
        "/sandbox/trouble", "trouble_api", control.trouble, methods=["GET", "POST", "DELETE"]
    )

    def refused(error: Exception) -> ResponseReturnValue:
        status = 404 if isinstance(error, NotFound) else 409
        return jsonify({"error": str(error)}), status

    def malformed(error: Exception) -> ResponseReturnValue:
        text = error.description if isinstance(error, BadRequest) else str(error)
        return jsonify({"error": text}), 400

    for kind in (NotFound, NotAllowed, RestError):
        app.register_error_handler(kind, refused)
    for wrong in (BadRequest, ValueError):
        app.register_error_handler(wrong, malformed)
