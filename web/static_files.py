"""Serves `static/`: small, compressed, and named by its content, so that browsers may keep it.

The sources are written for people. At its start each process makes them small and keeps what it
serves in memory. whitenoise answers from there, at two kinds of addresses:

- `/static/<digest>/<name>`, where the digest is that of all files together. What stands there never
  changes, so browsers keep it for a year and do not ask again.
- `/static/<name>` for those who cannot know the digest: sites that include `loader.js`. Browsers
  ask each time whether it has changed.

During an update processes of two releases are at work, behind one address, and a page that stays
open asks for what it needs later. So each process keeps the files of its release in the store, and
answers with those of another release what is asked by the digest of that one.

A proxy in front may let browsers keep all of it for a month (nginx: `expires 30d`, which replaces
our Cache-Control). So no answer is given with 200 at an address that means another content, and a
loader of a month ago works with the files of today.

Knows nothing of Flask, the chat or the settings.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from rcssmin import cssmin  # type: ignore[import-untyped]
from rjsmin import jsmin  # type: ignore[import-untyped]
from whitenoise import WhiteNoise  # type: ignore[import-untyped]
from whitenoise.compress import Compressor  # type: ignore[import-untyped]
from whitenoise.media_types import MediaTypes  # type: ignore[import-untyped]
from whitenoise.responders import Response, StaticFile  # type: ignore[import-untyped]

from rates import Rates
from store.database import StoreUnavailable
from store.records import TooMany
from store.releases import ReleaseTables

SOURCES = Path(__file__).parent.parent / "static"
DIGEST_LENGTH = 12  # hex digits: 48 bits, enough to tell one release from another
PLACEHOLDER = b"DIGEST"  # stands in loader.js for the digest
STYLE_PLACEHOLDER = b"LAUNCHER_CSS"  # stands there for launcher.css
KEPT_FOR_GOOD = "public, max-age=31536000, immutable"  # a year, the longest that caches honour
ASKED_FOR_ANEW = "no-cache"  # kept, but used only after we said that it has not changed
LOOKS = 10, 2.0  # of a process for files of other releases: at once, and a second in the long run
MEDIA_TYPES = MediaTypes()
DIGEST_IN_PATH = re.compile(rf"/static/([0-9a-f]{{{DIGEST_LENGTH}}})/")
CSS_IMPORT = re.compile(r'@import "([\w.]+)";')

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclass(frozen=True)
class Release:
    """The files as they are served, by name, and the digest of them all."""

    contents: Mapping[str, bytes]
    digest: str

    @cached_property
    def files(self) -> Mapping[str, "FileInMemory"]:
        """Each file at both of its addresses; compressed once in each process, for both."""
        found = {}
        for name, content in self.contents.items():
            compressed = Compressor.compress_gzip(content)
            for folder, kept in (("", ASKED_FOR_ANEW), (f"{self.digest}/", KEPT_FOR_GOOD)):
                file = file_in_memory(name, content, compressed, kept)
                found[f"/static/{folder}{name}"] = file
        return found


@cache
def release() -> Release:
    """Make all files small, once in each process; it takes about a hundredth of a second."""
    contents = {
        path.relative_to(SOURCES).as_posix(): made_small(path)
        for path in sorted(SOURCES.rglob("*"))
        if path.is_file()
    }
    style = contents["launcher.css"]
    contents["loader.js"] = contents["loader.js"].replace(STYLE_PLACEHOLDER, style)
    together = hashlib.sha256()
    for name, content in contents.items():
        together.update(f"{name} {len(content)} ".encode() + content)
    digest = together.hexdigest()[:DIGEST_LENGTH]
    # The loader's own address never changes, so it has to be told where the other files are.
    contents["loader.js"] = contents["loader.js"].replace(PLACEHOLDER, digest.encode())
    return Release(contents, digest)


def made_small(path: Path) -> bytes:
    """The file without comments and needless blanks; a style with the styles that it imports."""
    if path.suffix == ".js":
        return bytes(jsmin(path.read_bytes()))
    if path.suffix == ".css":
        return bytes(cssmin(with_imports(path)))
    return path.read_bytes()


def with_imports(path: Path) -> bytes:
    """The style with each imported file in place of its import: one request instead of several."""
    text = path.read_text("utf-8")
    return CSS_IMPORT.sub(
        lambda match: with_imports(path.parent / match[1]).decode(), text
    ).encode()


FOR_OTHER_SITES = {
    "Access-Control-Allow-Origin": "*",  # the loader imports modules on other sites
    "Cross-Origin-Resource-Policy": "cross-origin",  # for sites with a COEP
}


class FileInMemory(StaticFile):  # type: ignore[misc]  # whitenoise has no types
    """One file, plain and compressed, read from memory; all else is whitenoise's own.

    Files in /tmp would be no good, because systems remove unused ones after some days.
    """

    def __init__(self, name: str, content: bytes, compressed: bytes, headers: Headers) -> None:
        self._contents = {name: content}
        if len(compressed) < len(content):
            self._contents[f"{name}.gz"] = compressed
        sizes = {path: size_as_stat(len(body)) for path, body in self._contents.items()}
        super().__init__(name, headers.items(), {"gzip": f"{name}.gz"}, sizes)
        # Browsers look at them in a 304 as well, before they use what they have kept.
        self.not_modified_response.headers.extend((key, headers[key]) for key in FOR_OTHER_SITES)

    def get_response(self, method: str, request_headers: dict[str, Any]) -> Response:
        if method != "GET" or self.is_not_modified(request_headers):
            return super().get_response(method, request_headers)
        path, headers = self.get_path_and_headers(request_headers)
        file = BytesIO(self._contents[path])
        with suppress(KeyError, ValueError):  # the request has no range, or not a valid one
            return self.get_range_response(request_headers["HTTP_RANGE"], headers, file)
        return Response(HTTPStatus.OK, headers, file)


def file_in_memory(
    name: str, content: bytes, compressed: bytes, cache_control: str
) -> FileInMemory:
    """The file with the headers of its kind."""
    headers = Headers([])
    media_type = MEDIA_TYPES.get_type(name)
    params = {"charset": "utf-8"} if media_type.startswith("text/") else {}
    headers.add_header("Content-Type", media_type, **params)
    headers["Cache-Control"] = cache_control
    headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    for key, value in FOR_OTHER_SITES.items():
        headers[key] = value
    headers["Accept-Ranges"] = "bytes"
    return FileInMemory(name, content, compressed, headers)


def size_as_stat(size: int) -> os.stat_result:
    """What whitenoise reads of a file: that it is a regular file, its size, no time of change."""
    return os.stat_result((stat.S_IFREG, 0, 0, 0, 0, 0, size, 0, 0, 0))


class Releases:
    """The files of the releases that serve the same store, as far as they are kept there."""

    def __init__(self, tables: ReleaseTables) -> None:
        self.own = release()
        self._tables = tables
        self._looks = Rates(*LOOKS)  # anybody can ask for what is not there
        self._is_kept = False  # ours is
        self._files: dict[str, dict[str, FileInMemory]] = {}  # by digest and name

    def keep_ours(self) -> None:
        """Keep the files of this release for others; tried again later if the store is away."""
        if self._is_kept:
            return
        try:
            self._looks.take("keep")
            self._tables.keep(self.own.digest, self.own.contents, self._tables.database.now())
            self._is_kept = True
        except (TooMany, StoreUnavailable):
            return

    def find(self, digest: str, name: str) -> FileInMemory | None:
        """A file of another release; None where that is not known, or has no such file."""
        if digest not in self._files:
            try:
                self._looks.take("find")
                self._look()
            except (TooMany, StoreUnavailable):
                return None
        return self._files.get(digest, {}).get(name)

    def _look(self) -> None:
        """Read what is new in the store. It holds few releases, whatever is asked for."""
        kept = self._tables.digests() - {self.own.digest}
        new = {digest: self._tables.find(digest) for digest in kept - self._files.keys()}
        self._files = {digest: self._files[digest] for digest in kept & self._files.keys()}
        for digest, contents in new.items():
            self._files[digest] = {
                name: file_in_memory(
                    name, content, Compressor.compress_gzip(content), KEPT_FOR_GOOD
                )
                for name, content in (contents or {}).items()
            }


class StaticFiles(WhiteNoise):  # type: ignore[misc]
    """Answers `/static/…` and leaves all else to the application behind it.

    Whoever asks by the digest of another release gets the file of that release. Where the store
    does not have it, or is away, it is the one of this process, which nobody may use under that
    address again without asking: a missing module would break the page for certain, another one
    seldom does. The status is 203 then, because a proxy that lets browsers keep static files for
    long does so with 200, 206 and 304. Browsers take every 2xx for a success.
    """

    def __init__(
        self,
        app: Application,
        headers: Callable[[], Mapping[str, str]],
        releases: Releases,
    ) -> None:
        """What `headers` gives now goes with every answer, whatever its status."""
        super().__init__(app)
        self._headers = headers
        self._releases = releases
        self._digest = releases.own.digest
        self.files.update(releases.own.files)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        match = DIGEST_IN_PATH.match(path)
        static_file, is_another = self.files.get(path), False
        if match and match[1] != self._digest:
            name = path[match.end() :]
            static_file = self._releases.find(match[1], name)
            if static_file is None:
                static_file, is_another = self.files.get(f"/static/{name}"), True
                environ = whole(environ)
        elif match:
            self._releases.keep_ours()
        if static_file is None:
            return self.application(environ, start_response)  # type: ignore[no-any-return]
        if etag := environ.get("HTTP_IF_NONE_MATCH"):  # a proxy that compresses makes it weak
            environ["HTTP_IF_NONE_MATCH"] = etag.removeprefix("W/")

        def start(status: str, headers: list[tuple[str, str]]) -> Any:
            if is_another and status.startswith("200"):
                status = "203 Non-Authoritative Information"
                headers = [one for one in headers if one[0] != "ETag"]
            return start_response(status, [*headers, *self._headers().items()])

        return self.serve(static_file, environ, start)  # type: ignore[no-any-return]


def whole(environ: dict[str, Any]) -> dict[str, Any]:
    """The same request, but for the whole file, whatever of it the browser has already."""
    conditions = ("HTTP_RANGE", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE")
    return {name: value for name, value in environ.items() if name not in conditions}
