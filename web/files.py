"""Visitors' files: taken with a message, and given to whoever has their address."""

import os
import time
from dataclasses import replace

from flask import abort, request, send_file
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from files import ending, files_html, media_type, safe_name
from portal.forms import Form
from store.records import Chat, File, TooMany
from web.asking import Problem, services
from web.messages import accepted, limits
from web.submission import read_submission


def upload_file(form: Form) -> ResponseReturnValue:
    """Accept one file as a message. Both are stored, and queued, before we answer."""
    upload = read_file()
    message = read_submission(form, with_file=True)
    chat = message.chat
    file = keep_file(upload, chat)
    message = replace(message, file=file, file_html=files_html((file,)))
    try:
        stored = services().store.messages.add_from_visitor(message, limits(), time.time())
    except TooMany:
        services().files.remove(chat.id, file.key)
        raise
    if file.key not in [stored_file.key for stored_file in stored.files]:
        services().files.remove(chat.id, file.key)  # a repeat: the first file is stored already
    return accepted(chat, stored, form)


def keep_file(upload: FileStorage, chat: Chat) -> File:
    name = safe_name(upload.filename or "")
    size = upload.stream.seek(0, os.SEEK_END)
    upload.stream.seek(0)
    media = media_type(name, upload.stream.read(16))
    kind = media.partition("/")[0]
    kind = kind if kind in ("image", "video", "audio") else "file"
    key = services().files.keep(upload.stream, chat.id)
    address = f"{services().settings.public_url}/ajax?type=file&key={key}"
    return File(name, kind, address, size, key, media)


def read_file() -> FileStorage:
    """The file of an upload, checked by the rules of the settings."""
    rules = services().settings.files
    if not rules.enabled:
        raise Problem("errors.files_off", 403)
    file = request.files.get("file")
    if file is None or not file.filename:
        raise Problem("errors.file_missing", 400)
    if ending(safe_name(file.filename)) not in rules.types:
        raise Problem("errors.file_type", 415, types=", ".join(rules.types))
    size = file.stream.seek(0, os.SEEK_END)
    if size > rules.largest_bytes:
        raise Problem("errors.file_large", 413, megabytes=rules.megabytes)
    if size == 0:
        raise Problem("errors.file_empty", 400)
    return file


def visitors_file(key: str) -> ResponseReturnValue:
    """A visitor's file, for the portal and everybody else who has its address."""
    message = services().store.messages.find_with_file(key)
    file = next(iter(message.files), None) if message else None
    if message is None or file is None:
        abort(404)
    try:
        answer = send_file(
            services().files.path(message.chat_id, key),
            mimetype=file.media_type,
            as_attachment=file.type != "image",
            download_name=file.name,
        )
    except FileNotFoundError:
        abort(404)
    answer.headers["Cache-Control"] = "private, max-age=86400"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    # Pages of other origins may show the file: a saved conversation does.
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer
