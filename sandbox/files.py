"""The portal's disk: bytes with an id and a public short link."""

import mimetypes
import secrets
import struct
import threading
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

AGENT = "Bitrix Connector Client"
DOWNLOAD_SECONDS = 30
NAME_KEPT = 50  # the last characters of a file's name, section 5
KINDS = ("image", "video", "audio")

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


@dataclass(frozen=True)
class File:
    id: int
    name: str
    content: bytes
    mime: str
    code: str
    external: str = ""  # a link of someone else's, kept as it is

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
        name = (name or "file")[-NAME_KEPT:]
        mime = mime or mimetypes.guess_type(name)[0] or "application/octet-stream"
        with self._lock:
            file_id = 5400 + len(self._files)
            file = File(file_id, name, content, mime, secrets.token_urlsafe(6), external)
            self._files[file_id] = self._codes[file.code] = file
        return file

    def get(self, file_id: int) -> File | None:
        return self._files.get(file_id)

    def by_code(self, code: str) -> File | None:
        return self._codes.get(code)

    def download(self, link: dict[str, Any]) -> File | None:
        """Fetch a visitor's file as the portal does; None on any failure, silently."""
        url = str(link.get("url") or "")
        try:
            answer = requests.get(
                url, headers={"User-Agent": AGENT}, timeout=DOWNLOAD_SECONDS, verify=False
            )
        except (requests.RequestException, ValueError):
            return None
        if answer.status_code != 200 or not answer.content:
            return None
        name = str(link.get("name") or url.partition("?")[0].rpartition("/")[2])
        mime = answer.headers.get("Content-Type", "").partition(";")[0]
        return self.add(name, answer.content, mime)


def readable_size(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KB", "MB"):
        if amount < 1024 or unit == "MB":
            return f"{amount:.2f} {unit}" if unit != "B" else f"{size} B"
        amount /= 1024
    return ""
