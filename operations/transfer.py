"""Export and import: all that is kept as lines of JSON, a message on each, to go on elsewhere.

Each line is an object with one name, its kind. The last line says how many messages there are, so
that a file that was cut off is known for one. A line that cannot be taken in is named and left.
"""

import base64
import binascii
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from delivery.reaction import RESTORED
from files import Files
from operations.archive import Stopped
from operations.kept_files import FilesToCopy
from portal.inbox import html_below, text_html
from storage import Store
from store.rows import files_of
from store.schema import MIGRATIONS
from store.transfer import CHAT_ID, INTO, KEY, Arrival, Record, Unfit, is_moment
from texts import Wrong

FORMAT = 1
TOGETHER = 100  # lines in one transaction
LONGEST_LINE = 1 << 30  # bytes; a file of a visitor is a third longer on its line


def export(store: Store, files: FilesToCopy | None, program: str) -> Iterator[str]:
    """The lines, without their ends. `files` are those that `store` has not; None: without any.

    `store` must not change meanwhile: it is a copy.
    """
    schema = len(MIGRATIONS)
    yield _line("sitechat", {
        "format": FORMAT, "schema": schema, "exported_at": time.time(), "program": program,
    })  # fmt: skip
    yield _line("secrets", store.transfer.secrets())
    for kind, record in store.transfer.records():
        yield _line(kind, record)
    count = 0
    for record in store.transfer.messages():
        contents = _contents(record, store, files) if files else {}
        yield _line("message", record, **({"contents": contents} if contents else {}))
        count += 1
    yield _line("end", {"messages": count})


def _line(kind: str, value: object, **besides: object) -> str:
    return json.dumps({kind: value} | besides, ensure_ascii=False, separators=(",", ":"))


def _contents(record: Record, store: Store, files: FilesToCopy) -> dict[str, str]:
    """The contents of a message's files by their keys, without those that are gone."""
    found = {}
    for file in files_of(record["files"]):
        if file.key:
            kept = store.contents.open(record["chat_id"], file.key)
            source = kept.file if kept else files.open(record["chat_id"], file.key)
            if source is not None:
                with source:
                    found[file.key] = base64.b64encode(source.read()).decode()
    return found


@dataclass
class Imported:
    chats: int = 0
    messages: int = 0
    files: int = 0
    known: int = 0  # records that were here already
    same_key: bool = True  # whether visitors' cookies of there are good here
    problems: list[tuple[int, Wrong]] = field(default_factory=list)  # by number of the line


class Import:
    """Takes the lines of one export in. Repeating it is harmless: what is here already stays."""

    def __init__(self) -> None:
        self._number = 0  # of the line
        self._exported_at = 0.0
        self._ended = False
        self._waiting: list[tuple[int, Arrival]] = []
        self._written: list[tuple[str, str]] = []  # files of those that wait: chat and key
        self.result = Imported()

    def begin(self, lines: Iterator[bytes]) -> None:
        """Read the first line alone, before a store is made. Raises Stopped for no export."""
        for line in lines:
            self._number += 1
            if not line.strip():
                continue
            try:
                kind, value, _ = _parsed(line)
                self._begin(kind, value)
            except Unfit:
                break
            return
        raise Stopped("no_export")

    def read(self, store: Store, files: Files, lines: Iterator[bytes]) -> Imported:
        """Take in the lines after the first one. Raises StoreUnavailable and OSError."""
        self._store, self._files = store, files
        files.make_folder()  # also where the export has no files, but messages that name some
        for line in lines:
            self._number += 1
            if not line.strip():
                continue
            try:
                self._take(self._number, *_parsed(line))
            except Unfit as error:
                self._leave(self._number, error)
        self._write()
        if not self._ended:
            self._leave(0, Unfit("record_cut_off"))
        return self.result

    def _begin(self, kind: str, value: Any) -> None:
        try:
            if kind != "sitechat" or not isinstance(value, dict):
                raise Unfit("record_shape")
            if value["format"] > FORMAT or value["schema"] > len(MIGRATIONS):
                if isinstance(program := value.get("program"), str) and program.strip():
                    raise Stopped("archive_newer", program=program[:50])
                raise Stopped("archive_newer_unnamed")
            exported_at = value["exported_at"]
            if not is_moment(exported_at):
                raise Unfit("record_value", column="exported_at")
            self._exported_at = float(exported_at) or 1.0
        except (KeyError, TypeError, ValueError):
            raise Unfit("record_shape") from None

    def _take(self, number: int, kind: str, value: Any, besides: Record) -> None:
        if kind == "end":
            self._ended = True
        elif kind == "secrets":
            if not isinstance(value, dict):
                raise Unfit("record_shape")
            self.result.same_key = self._store.transfer.add_secrets(value)
        elif kind not in INTO or kind == "delivery":
            raise Unfit("record_kind", kind=kind[:50])
        elif not isinstance(value, dict):
            raise Unfit("record_shape")
        else:
            if kind == "message":
                self._keep_files(value, besides.get("contents"))
            html = _html(value) if kind == "message" else ("", "")
            arrival = Arrival(kind, value, html, self._exported_at, RESTORED)
            self._waiting.append((number, arrival))
            if len(self._waiting) >= TOGETHER:
                self._write()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        results = self._store.transfer.add([arrival for _, arrival in waiting]) if waiting else []
        for (number, arrival), added in zip(waiting, results, strict=True):
            if isinstance(added, Unfit):
                self._leave(number, added)
            elif not added:
                self.result.known += 1
            elif arrival.kind in ("chat", "message"):
                count = f"{arrival.kind}s"
                setattr(self.result, count, getattr(self.result, count) + 1)
        self._remove_strays()

    def _remove_strays(self) -> None:
        """Remove the files just written that no message here has: of a deleted chat, say."""
        written, self._written = self._written, []
        for chat_id, key in written:
            if key in (self._store.chats.file_keys(chat_id) or ()):
                self.result.files += 1
                continue
            self._files.remove(chat_id, key)

    def _keep_files(self, record: Record, contents: Any) -> None:
        """Write a message's files before the message: it must never be there without them."""
        chat_id = record.get("chat_id")
        if contents is None:
            return
        if not isinstance(contents, dict) or not _matches(CHAT_ID, chat_id):
            raise Unfit("record_value", column="contents")
        for key, content in contents.items():
            if not key or not _matches(KEY, key) or not isinstance(content, str):
                raise Unfit("record_value", column="contents")
            try:
                data = base64.b64decode(content, validate=True)
            except binascii.Error:
                raise Unfit("record_value", column="contents") from None
            if self._keep_file(str(chat_id), key, data):
                self._written.append((str(chat_id), key))

    def _keep_file(self, chat_id: str, key: str, data: bytes) -> bool:
        """Keep a file that is not there yet; returns whether it was not."""
        message = self._store.messages.find_with_file(key)
        is_anothers = message is not None and message.chat_id != chat_id
        if is_anothers or any(key == written for _, written in self._written):
            return False
        if found := self._files.open(chat_id, key):
            found.file.close()
            return False
        arrival = self._files.arriving(len(data))
        try:
            arrival.write(data)
            self._files.keep(arrival, chat_id, key)
        finally:
            self._files.discard(arrival)
        return True

    def _leave(self, number: int, error: Unfit) -> None:
        self.result.problems.append((number, Wrong(f"commands.{error.key}", **error.values)))


def _matches(pattern: Any, value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _html(record: Record) -> tuple[str, str]:
    """A message's HTML, which is not taken from a file that anybody may have changed."""
    text, attached, files = (record.get(name, "") for name in ("text", "attached", "files"))
    if not (isinstance(text, str) and isinstance(attached, str) and isinstance(files, str)):
        raise Unfit("record_shape")
    try:
        return text_html(text), html_below(attached, files_of(files or "[]"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Unfit("record_value", column="files") from None


def _parsed(line: bytes) -> tuple[str, Any, Record]:
    """The kind of a line, its record, and what stands beside it."""
    try:
        value = json.loads(line.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Unfit("record_json") from None
    if not isinstance(value, dict) or not value:
        raise Unfit("record_shape")
    kind, *others = value
    if others not in ([], ["contents"]):
        raise Unfit("record_shape")
    return kind, value[kind], {name: value[name] for name in others}


def _no_number(name: str) -> float:
    raise ValueError(name)


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, none longer than LONGEST_LINE."""
    while line := file.readline(LONGEST_LINE):
        yield line
