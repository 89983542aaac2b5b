"""The portal's disk: bytes with an id and a public short link."""

import mimetypes
import secrets
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .outgoing import Client, NoReply

USER_AGENT = "Bitrix Connector Client"
DOWNLOAD_SECONDS = 30
NAME_CHARACTERS = 50  # of a longer file name the last ones are kept (bitrix24.md 5.16)
KINDS = ("image", "video", "audio")
FIRST_ID = 5400


@dataclass(frozen=True)
class File:
    id: int
    name: str
    content: bytes
    mime: str
    code: str
    external: str = ""  # the address, if the file is not on the portal's disk
    stored_at: float = field(default_factory=time.time)

    @property
    def kind(self) -> str:
        kind = self.mime.partition("/")[0]
        return kind if kind in KINDS else "file"

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Width and height of a PNG or GIF; other pictures are not measured."""
        head = self.content[:24]
        if head.startswith(b"\x89PNG") and len(head) == 24:
            width, height = struct.unpack(">II", head[16:24])
            return width, height
        if head.startswith(b"GIF8") and len(head) >= 10:
            width, height = struct.unpack("<HH", head[6:10])
            return width, height
        return None


class Disk:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[int, File] = {}
        self._codes: dict[str, File] = {}

    def add(self, name: str, content: bytes, mime: str = "", external: str = "") -> File:
        name = (name or "file")[-NAME_CHARACTERS:]
        mime = mime or mimetypes.guess_type(name)[0] or "application/octet-stream"
        with self._lock:
            file_id = FIRST_ID + len(self._files)
            file = File(file_id, name, content, mime, secrets.token_urlsafe(6), external)
            self._files[file_id] = self._codes[file.code] = file
        return file

    def get(self, file_id: int) -> File | None:
        return self._files.get(file_id)

    def by_code(self, code: str) -> File | None:
        return self._codes.get(code)

    def download(self, link: dict[str, Any]) -> File | None:
        """Fetch a visitor's file as the portal does (bitrix24.md 5.14); None on any failure."""
        url = str(link.get("url") or "")
        try:
            with Client(USER_AGENT, DOWNLOAD_SECONDS, check_tls=False) as client:
                reply = client.get(url)
        except NoReply:
            return None
        if reply.status != 200 or not reply.content:
            return None
        name = str(link.get("name") or url.partition("?")[0].rpartition("/")[2])
        return self.add(name, reply.content, reply.content_type.partition(";")[0])


def readable_size(size: int) -> str:
    """Such as "512 B" or "1.50 MB", from a number of bytes."""
    amount = float(size)
    for unit in ("B", "KB", "MB"):
        if amount < 1024 or unit == "MB":
            return f"{amount:.2f} {unit}" if unit != "B" else f"{size} B"
        amount /= 1024
    return ""
