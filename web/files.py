"""Visitors' files: taken with a message, and given to whoever has their address."""

import logging
from dataclasses import replace
from hashlib import blake2b
from typing import cast

from flask import abort, request, send_file
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from files import (
    PICTURE_ENDINGS,
    ending,
    files_html,
    is_allowed,
    media_type,
    name_of_picture,
    picture_type,
)
from portal.forms import Form
from store.database import StoreUnavailable
from store.records import Chat, File, Message, VisitorMessage
from web.asking import Problem, services
from web.connections import connection_of
from web.messages import accepted, find_repeated, store_message
from web.submission import read_submission
from web.uploads import FormRequest, Upload, wrong_type

log = logging.getLogger(__name__)


def upload_file(form: Form) -> ResponseReturnValue:
    """Accept one file as a message. Both are stored, and queued, before we answer."""
    upload = read_upload()
    message = read_submission(form, with_file=True)
    stored = find_repeated(message.chat, message.client_id) or add_with_file(message, upload)
    return accepted(message.chat, stored, form)


def add_with_file(message: VisitorMessage, upload: Upload) -> Message:
    """Keep the file, and store the message with it: both or neither; raises TooMany."""
    chat = message.chat
    file = keep_file(upload, chat)
    try:
        stored = store_message(replace(message, file=file, file_html=files_html((file,))))
    except BaseException:
        remove_unless_stored(chat, file)
        raise
    if file.key not in [stored_file.key for stored_file in stored.files]:
        services().files.remove(chat.id, file.key)  # a repeat came at the same moment
    return stored


def remove_unless_stored(chat: Chat, file: File) -> None:
    """Remove the file of a message that was not stored.

    A failing disk can report an error although it has stored the message. If nobody can tell, the
    file stays, and the hourly sweep removes it if it belongs to no message.
    """
    try:
        if services().store.messages.find_with_file(file.key) is None:
            services().files.remove(chat.id, file.key)
    except StoreUnavailable as error:
        log.error("a file without a message may stay until the next sweep: %s", error)


def keep_file(upload: Upload, chat: Chat) -> File:
    size, name = upload.file.size, upload.name
    media = media_type(name, upload.head)
    kind = media.partition("/")[0]
    kind = kind if kind in ("image", "video", "audio") and media != "image/heic" else "file"
    key = services().files.keep(upload.file, chat.id)
    address = f"{services().settings.public_url}/ajax?type=file&key={key}"
    return File(name, kind, address, size, key, media)


def read_upload() -> Upload:
    """The upload of this request, which was checked while it came; raises Problem."""
    if not services().settings.files.enabled:
        raise Problem("errors.files_off", 403)
    upload = cast(FormRequest, request).upload
    if upload is None:
        raise Problem("errors.file_missing", 400)
    if upload.file.size == 0:
        raise Problem("errors.file_empty", 400)
    return judged(upload)


def judged(upload: Upload) -> Upload:
    """The upload under the name that its content asks for; raises Problem if that is not taken.

    Only a picture under the name of a picture, or under one that would not be taken, is judged.
    """
    types = services().settings.files.types
    head = upload.file.head
    media, end = picture_type(head), ending(upload.name)
    if media and (end in PICTURE_ENDINGS or end not in types):
        if not is_allowed(media, types):
            raise wrong_type()
        return replace(upload, name=name_of_picture(upload.name, media), head=head)
    return replace(upload, head=head)


def visitors_file(key: str) -> ResponseReturnValue:
    """A visitor's file, for the portal and everybody else who has its address."""
    message = services().store.messages.find_with_file(key)
    file = next(iter(message.files), None) if message else None
    if message is None or file is None:
        abort(404)
    if connection := connection_of(request.environ):
        connection.connections.opens_file(connection)
    found = services().files.open(message.chat_id, key)
    if found is None:
        abort(404)
    answer = send_file(
        found.file,
        mimetype=file.media_type,
        as_attachment=file.type != "image",
        download_name=file.name,
        conditional=False,  # what follows is asked of a path alone
        etag=blake2b(key.encode(), digest_size=16).hexdigest(),  # what a key names never changes
        last_modified=found.kept_at,
    )
    answer.content_length = found.size
    try:
        answer.make_conditional(request.environ, accept_ranges=True, complete_length=found.size)
    except RequestedRangeNotSatisfiable:
        found.file.close()
        raise
    answer.headers["Cache-Control"] = "private, max-age=86400, no-transform"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    # Pages of other origins may show the file: a saved conversation does.
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer
