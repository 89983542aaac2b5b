"""The HTTP requests that the portal makes: events, downloads, and pages that tests open.

It uses urllib3 without requests on top: importing requests takes a sixth of
the sandbox's start, and every test module starts one.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import urllib3

REDIRECTS = 30
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class NoReply(Exception):
    """Nobody answered, or not in time; the text names the kind of failure."""


@dataclass(frozen=True)
class Reply:
    status: int
    content: bytes
    content_type: str

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


class Client:
    """Makes requests one after the other; connections stay open until the `with` block ends."""

    def __init__(self, user_agent: str, timeout_seconds: float, check_tls: bool = True) -> None:
        headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
        self._pools = urllib3.PoolManager(
            headers=headers,
            timeout=timeout_seconds,
            cert_reqs="CERT_REQUIRED" if check_tls else "CERT_NONE",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pools.clear()

    def post(self, address: str, form: str) -> Reply:
        """POST an encoded form once; a redirect is not followed. NoReply."""
        return self._request("POST", address, form.encode(), FORM, urllib3.Retry(0, redirect=False))

    def get(self, address: str) -> Reply:
        """GET an address and follow its redirects. NoReply."""
        redirects = urllib3.Retry(
            REDIRECTS, connect=0, read=0, status=0, other=0, respect_retry_after_header=False
        )
        return self._request("GET", address, None, {}, redirects)

    def _request(
        self,
        method: str,
        address: str,
        body: bytes | None,
        headers: dict[str, str],
        retries: urllib3.Retry,
    ) -> Reply:
        if not address.lower().startswith(("http://", "https://")):
            raise NoReply("NoWebAddress")
        try:
            answer = self._pools.request(
                method,
                address,
                body=body,
                headers={**self._pools.headers, **headers},
                retries=retries,
            )
        except urllib3.exceptions.MaxRetryError as error:
            raise NoReply(type(error.reason or error).__name__) from None
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise NoReply(type(error).__name__) from None
        return Reply(answer.status, answer.data, answer.headers.get("Content-Type", ""))
