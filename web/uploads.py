"""Receives multipart forms. Only an upload may bring a file: one, checked before its bytes come.

What can be known of an upload before its bytes, is checked before them: which field it is in, its
name's ending (of a picture under another ending the first bytes decide), its length, the other
fields that came before it, how many messages its visitor may still send, and the room on the disk.
The bytes go to the disk, where they stay unless the database keeps files. Any other file is refused
before anything is opened for it. Too many uploads at once end the one that `under_way.py` chooses,
so that slow ones keep nobody out; its page tries again.
"""

from dataclasses import dataclass, replace
from typing import IO, Any, cast

from flask import Request
from werkzeug.datastructures import ImmutableMultiDict, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_cookie
from werkzeug.sansio.multipart import Data, Epilogue, Field, MultipartDecoder, NeedData, State
from werkzeug.sansio.multipart import File as FilePart
from werkzeug.utils import cached_property

from files import (
    PICTURES,
    ending,
    is_allowed,
    may_become_picture,
    picture_type,
    safe_name,
)
from portal import forms
from portal.forms import Form
from rates import TooOften
from store.file_folder import HEAD_BYTES as HEAD
from store.file_folder import Arrival
from turns import Turns
from under_way import WAIT_SECONDS, Place
from web.asking import MAX_BODY_BYTES, Problem, known_address, services
from web.bodies import Body
from web.messages import check_before_file
from web.visitor import current_visitor

MAX_PARTS = 64  # fields and files of a multipart form; the chat page sends about ten
PIECE_BYTES = 64 << 10
HEAD_BYTES = 8 << 10  # of a part


@dataclass(frozen=True)
class Upload:
    """A received file. The request discards it at its end, unless the chat has kept it."""

    name: str
    file: Arrival
    head: bytes = b""  # its first bytes


class FormRequest(Request):
    """A request whose multipart form brings at most one file, in `upload`."""

    upload: Upload | None = None
    fields: tuple[tuple[str, str], ...] = ()  # those that have come, also where the form failed
    _failure: Exception | None = None
    _file: Arrival | None = None
    _place: Place | None = None

    @cached_property
    def cookies(self) -> ImmutableMultiDict[str, str]:
        """As werkzeug's own, which looks through all headers for several; a server joins these."""
        found = parse_cookie(self.environ, self.dict_storage_class)
        return cast("ImmutableMultiDict[str, str]", found)

    def make_form_data_parser(self) -> FormDataParser:
        return _FormParser(self)

    def _load_form_data(self) -> None:
        """Read the form, once: after a failure the rest of the body would be another form."""
        if self._failure is not None:
            raise self._failure
        try:
            super()._load_form_data()
        except Exception as failure:
            self._failure = failure
            raise
        finally:
            if self._place is not None:
                self._place.waits = False  # for its client

    def check_file(self, part: FilePart) -> bool:
        """Raise Problem for a file that cannot be taken; False for an empty field."""
        if self._file is not None:
            raise Problem("errors.one_file", 400)
        self._check_file(part, forms.nested(self.fields, Turns()))
        return bool(safe_name(part.filename))

    def begin_file(self) -> Arrival:
        """The file for the part that was checked."""
        self._take_place()
        largest = services().settings.files.largest_bytes
        expected = min(self.content_length or MAX_BODY_BYTES, largest)
        self._file = services().files.arriving(expected)
        return self._file

    def _take_place(self) -> None:
        """Count this upload, until `close`; raises Problem."""
        visitor = current_visitor()
        place = Place(known_address(), visitor.chat_id if visitor else None, self._give_up)
        try:
            services().uploads.begin(place)
        except TooOften:
            raise many_uploads() from None
        self._place = place

    def _give_up(self) -> None:
        """End this upload for another one. Its next step is to read its body, which fails."""
        self._discard()
        cast(Body, self.environ["wsgi.input"]).fail(many_uploads())

    def _discard(self) -> None:
        if self._file is not None:
            services().files.discard(self._file)

    def _check_file(self, part: FilePart, form: Form) -> None:
        length = self.content_length or 0
        kind = form.get("type", "upload_file")  # the field may come after the file
        rules = services().settings.files
        if self.endpoint != "ajax" or kind != "upload_file":
            if length > MAX_BODY_BYTES:
                raise Problem("errors.too_large", 413)
            if part.filename:
                raise Problem("errors.no_file_here", 400)
        elif not rules.enabled:
            raise Problem("errors.files_off", 403)
        elif part.name != "file":
            raise Problem("errors.one_file", 400)
        elif not part.filename:
            raise Problem("errors.file_missing", 400)
        elif part.headers.get("Content-Length", 0, type=int) > rules.largest_bytes:
            raise Problem("errors.file_large", 413, megabytes=rules.megabytes)
        else:
            check_before_file(form)

    def take(self, file: Arrival, data: bytes) -> None:
        """Write a piece of the file."""
        rules = services().settings.files
        if file.size + len(data) > rules.largest_bytes:
            raise Problem("errors.file_large", 413, megabytes=rules.megabytes)
        file.write(data)

    def close(self) -> None:
        self._discard()
        if self._place is not None:
            services().uploads.end(self._place)
        super().close()


class _FormParser(FormDataParser):
    """werkzeug's parser, but a file part goes to the request, which may refuse it."""

    def __init__(self, request: FormRequest) -> None:
        super().__init__(
            max_form_memory_size=request.max_form_memory_size,
            max_content_length=request.max_content_length,
            max_form_parts=request.max_form_parts,
            cls=request.parameter_storage_class,
        )
        self._request = request

    def _parse_multipart(
        self, stream: IO[bytes], mimetype: str, length: int | None, options: dict[str, str]
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, Any]]:
        boundary = options.get("boundary", "").encode("ascii")
        if not boundary:
            raise ValueError("the form names no boundary")
        decoder = MultipartDecoder(
            boundary, self.max_form_memory_size, max_parts=self.max_form_parts
        )
        _Parts(self._request).read(stream, decoder)
        return stream, self.cls(self._request.fields), self.cls()


class _Parts:
    """The parts of one form, as they come."""

    def __init__(self, request: FormRequest) -> None:
        self._request = request
        self._memory = 0  # bytes of all fields
        self._value = bytearray()
        self._field: str | None = None  # None while the part is a file
        self._file: Arrival | None = None  # None also for a file's field that is empty
        self._file_name = ""
        self._head: bytearray | None = None  # of a file that its name does not allow

    def read(self, stream: IO[bytes], decoder: MultipartDecoder) -> None:
        while data := stream.read(PIECE_BYTES):
            decoder.receive_data(data)
            self._take_events(decoder)
            if decoder.state is State.PART and len(decoder.buffer) > HEAD_BYTES:
                raise RequestEntityTooLarge  # reading the head of a part would take long
        decoder.receive_data(None)
        self._take_events(decoder)

    def _take_events(self, decoder: MultipartDecoder) -> None:
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            if isinstance(event, Field):
                self._field, self._value = event.name, bytearray()
            elif isinstance(event, FilePart):
                self._field, self._file_name = None, safe_name(event.filename)
                if self._request.check_file(event):
                    self._begin_file()
            elif isinstance(event, Data):
                self._take(event)

    def _begin_file(self) -> None:
        """Open a file for what its name allows. Of any other the first bytes decide."""
        types = services().settings.files.types
        if ending(self._file_name) in types:
            self._file = self._request.begin_file()
        elif any(is_allowed(media, types) for media in PICTURES):
            self._head = bytearray()
        else:
            raise wrong_type()

    def _judge(self, event: Data) -> Data:
        """Open a file for a picture under another name; raises Problem for anything else."""
        if self._head is None:
            return event
        self._head += event.data
        head = bytes(self._head)
        if is_allowed(picture_type(head[:HEAD]), services().settings.files.types):
            self._head, self._file = None, self._request.begin_file()
            return replace(event, data=head)
        if not (event.more_data and len(head) < HEAD and may_become_picture(head)):
            raise wrong_type()
        return replace(event, data=b"")

    def _take(self, event: Data) -> None:
        if self._field is None:
            event = self._judge(event)
            if self._file is not None:
                self._request.take(self._file, event.data)
                if not event.more_data:
                    self._request.upload = Upload(self._file_name, self._file)
            return
        self._memory += len(event.data)
        if self._memory > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
        self._value += event.data
        if not event.more_data:
            value = self._value.decode("utf-8", "replace")
            self._request.fields += ((self._field, value),)


def wrong_type() -> Problem:
    types = ", ".join(services().settings.files.types)
    return Problem("errors.file_type", 415, types=types)


def many_uploads() -> Problem:
    return Problem("errors.many_uploads", 429, seconds=WAIT_SECONDS)


def fields_of(request: Request) -> Form:
    """The fields that have come of a form that failed."""
    return forms.nested(cast(FormRequest, request).fields, Turns())
