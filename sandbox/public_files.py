"""The addresses of the portal's files: short links for everybody, others for employees."""

from flask import Flask, Response, abort, redirect, request
from flask.typing import ResponseReturnValue

from .files import Disk, File
from .options import RestError
from .portal import Portal

SHOWN_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # others are downloaded


class PublicFiles:
    def __init__(self, disk: Disk, portal: Portal) -> None:
        self._disk = disk
        self._portal = portal

    def short_link(self, code: str) -> ResponseReturnValue:
        """A public address without a login: one redirect to the file (bitrix24.md 1.2.8)."""
        file = self._file(code)
        return redirect(f"/public/{file.code}/{_address_name(file)}")

    def content(self, code: str, name: str) -> ResponseReturnValue:
        file = self._file(code)
        answer = Response(file.content, content_type=file.mime)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if file.mime not in SHOWN_TYPES:
            answer.headers.set("Content-Disposition", "attachment", filename=_address_name(file))
        return answer

    def for_employees(self, file_id: int, code: str) -> ResponseReturnValue:
        """The addresses of the history: nobody is signed in here (bitrix24.md 12.16)."""
        return Response("Sign in to see this file", 401)

    def download(self) -> ResponseReturnValue:
        """The address of `disk.file.get`: the token in it stands for a login."""
        _, _, code = request.args.get("token", "").rpartition("|")
        try:
            self._portal.tokens.find(request.args.get("auth", ""))
        except RestError as error:
            return error.fields(), error.status
        file = self._file(code)
        return self.content(code, _address_name(file))

    def _file(self, code: str) -> File:
        file = self._disk.by_code(code)
        if file is None:
            abort(404)
        return file


def _address_name(file: File) -> str:
    """The file's name with every sign replaced that has a meaning in an address."""
    return "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in ".-_") else "_" for sign in file.name
    )


def file_routes(app: Flask, disk: Disk, portal: Portal) -> None:
    files = PublicFiles(disk, portal)
    app.add_url_rule("/rest/download.json", "download", files.download)
    app.add_url_rule("/~<code>", "short_link", files.short_link)
    app.add_url_rule("/public/<code>/<name>", "public_file", files.content)
    app.add_url_rule("/disk/<int:file_id>/<code>", "employee_file", files.for_employees)
