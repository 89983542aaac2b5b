"""The JSON body of a request to the control API; an error names the wrong field."""

import base64
import binascii
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest

from .files import Disk, File


class Body:
    """`values` is the whole object; the methods check one field each, or raise BadRequest."""

    def __init__(self) -> None:
        values = request.get_json(silent=True, force=True) if request.get_data() else {}
        if not isinstance(values, dict):
            raise BadRequest("a JSON object is expected")
        self.values: dict[str, Any] = values

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise BadRequest(f"{name}: a string is expected")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not str(value).lstrip("-").isdecimal():
            raise BadRequest(f"{name}: a number is expected")
        return int(str(value))

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise BadRequest(f"{name}: true or false is expected")
        return value

    def fields(self, name: str) -> dict[str, Any]:
        """An object; empty when it is absent."""
        value = self.values.get(name) or {}
        if not isinstance(value, dict):
            raise BadRequest(f"{name}: an object is expected")
        return value

    def objects(self, name: str) -> list[Any]:
        """A list; empty when it is absent."""
        value = self.values.get(name) or []
        if not isinstance(value, list):
            raise BadRequest(f"{name}: a list is expected")
        return value

    def files(self, disk: Disk) -> list[File]:
        """The files of `files`, put on the disk."""
        return [_stored_file(item, disk) for item in self.values.get("files") or []]


def _stored_file(item: Any, disk: Disk) -> File:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise BadRequest("files: objects with a name are expected")
    try:
        content = base64.b64decode(item.get("content_base64", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadRequest("content_base64: not base64") from None
    mime = str(item.get("mime") or item.get("type") or "")
    external_link = str(item.get("url") or "")
    return disk.add(item["name"], content, mime if "/" in mime else "", external_link)
