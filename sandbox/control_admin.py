"""The administrator's buttons of the control API: the application, its lines, its tokens."""

from flask import jsonify
from flask.typing import ResponseReturnValue

from .json_body import Body
from .options import NotFound
from .parts import Sandbox
from .portal import Connector


class AdminButtons:
    """`buttons` holds every button by its name."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._portal = sandbox.portal
        self._opening = sandbox.opening
        self.buttons = {
            "install": self.install,
            "installed": self.finish_install,
            "callback": self.install_without_page,
            "uninstall": self.uninstall,
            "reset": self.reset,
            "expire-tokens": self.expire_tokens,
            "token": self.issue_token,
            "connect": self.connect,
            "disconnect": self.disconnect,
            "delete-line": self.delete_line,
            "foreign-connector": self.add_foreign_connector,
            "forget-connector": self.forget_connector,
            "configure-line": self.configure_line,
        }

    def install(self) -> ResponseReturnValue:
        body = Body()
        user_id, finish = body.number("user_id", 1), body.flag("finish", True)
        return jsonify(self._opening.install(user_id, finish))

    def finish_install(self) -> ResponseReturnValue:
        self._portal.finish_install()
        return jsonify({"installed": True})

    def install_without_page(self) -> ResponseReturnValue:
        return jsonify(self._opening.install_without_page(Body().number("user_id", 1)))

    def uninstall(self) -> ResponseReturnValue:
        self._portal.uninstall()
        return jsonify({"installed": False})

    def reset(self) -> ResponseReturnValue:
        self._sandbox.reset()
        return jsonify({"reset": True})

    def expire_tokens(self) -> ResponseReturnValue:
        self._portal.tokens.expire()
        return jsonify({"expired": True})

    def issue_token(self) -> ResponseReturnValue:
        """A token of our application for this user, so that a test can make REST calls itself."""
        return jsonify(self._portal.tokens.issue(Body().number("user_id", 1)))

    def connect(self) -> ResponseReturnValue:
        body = Body()
        address, fields = self._opening.settings_page(
            self._connector(body),
            body.number("line"),
            body.flag("active", True),
            body.number("user_id", 1),
        )
        return jsonify(self._opening.post(address, fields))

    def disconnect(self) -> ResponseReturnValue:
        body = Body()
        line, connector = body.number("line"), self._connector(body)
        if line not in connector.lines:
            raise NotFound(f"line {line} is not connected")
        self._portal.disconnect(connector.id, line, body.number("user_id", 1))
        return jsonify({"disconnected": True})

    def delete_line(self) -> ResponseReturnValue:
        body = Body()
        self._portal.delete_line(body.number("line"), body.number("user_id", 1))
        return jsonify({"deleted": True})

    def add_foreign_connector(self) -> ResponseReturnValue:
        """Another application takes this id, so that ours cannot register it any more."""
        connector_id = Body().text("id").lower()
        with self._portal.lock:
            flags = dict.fromkeys(("CHAT_GROUP", "NEED_SIGNATURE"), False)
            self._portal.connectors[connector_id] = Connector(
                connector_id, "Foreign", "https://other.example/", {}, {}, flags, "local.other",
                self._portal.lines_of(connector_id),
            )  # fmt: skip
        return jsonify({"id": connector_id})

    def configure_line(self) -> ResponseReturnValue:
        """Settings of an open line, as `imopenlines.config.get` then shows them."""
        body = Body()
        line = body.number("line")
        with self._portal.lock:
            if line not in self._portal.lines:
                raise NotFound(f"no line {line}")
            settings = self._portal.line_settings.setdefault(line, {})
            settings |= {key.upper(): value for key, value in body.fields("settings").items()}
            return jsonify(settings)

    def forget_connector(self) -> ResponseReturnValue:
        """The connector is registered no longer, and the application hears nothing of it."""
        with self._portal.lock:
            connector = self._connector(Body())
            del self._portal.connectors[connector.id]
            self._portal.touch()
        return jsonify({"id": connector.id})

    def _connector(self, body: Body) -> Connector:
        """The connector that the request names; the portal's first one if it names none."""
        wanted = body.values.get("connector")
        for connector in self._portal.connectors.values():
            if wanted in (None, connector.id):
                return connector
        raise NotFound(f"no connector {wanted or ''}".strip())
