"""Mozilla's Marionette protocol, by which Firefox is driven from outside.

Each message is a list in JSON with its length before it. Commands are those of WebDriver. Mozilla's
own client, marionette_driver, needs a module that Python 3.13 has no more.
"""

import itertools
import json
import socket
from typing import Any

ANSWER_SECONDS = 60
COMMAND = 0  # the kind of a message that asks; an answer's kind is 1


class MarionetteError(Exception):
    """Firefox could not do what it was told."""


class Marionette:
    """A session with a Firefox that was started with --marionette."""

    def __init__(self, port: int) -> None:
        """ConnectionRefusedError while Firefox does not listen yet."""
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self._answers = self._socket.makefile("rb")
        self._numbers = itertools.count(1)
        self._read()  # Firefox greets
        # The certificates of the tests' own proxies are of no authority that it knows.
        self.ask(
            "WebDriver:NewSession", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}}
        )

    def ask(self, command: str, **parameters: Any) -> Any:
        """Let Firefox do this, and wait until it is done."""
        number = next(self._numbers)
        body = json.dumps([COMMAND, number, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(body), body))
        _, answered, error, result = self._read()
        if answered != number:
            raise MarionetteError(f"{command}: {number} was asked and {answered} is answered")
        if error:
            raise MarionetteError(f"{command}: {error['error']}: {error['message']}")
        only = isinstance(result, dict) and set(result) == {"value"}
        return result["value"] if only else result

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            byte = self._answers.read(1)
            if not byte:
                raise MarionetteError("Firefox has ended the connection")
            length += byte
        return json.loads(self._answers.read(int(length[:-1])))

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
