"""Who makes a REST call, and what each method of the portal is to the REST interface."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .options import RestError
from .portal import User
from .tokens import Token


@dataclass(frozen=True)
class Caller:
    user: User
    token: Token

    def must_be_admin(self) -> None:
        if not self.user.admin:
            raise RestError("ACCESS_DENIED", "Access denied", 403)


@dataclass(frozen=True)
class Page:
    """A part of a list; the answer says beside it how long the list is, and where it goes on."""

    items: list[Any]
    total: int
    next: int | None = None

    def fields(self) -> dict[str, int]:
        """The fields of the answer beside `result`."""
        return {"total": self.total} | ({} if self.next is None else {"next": self.next})


# The parameters have their official case and are checked; RestError refuses the call. The result
# may be a Page.
Method = Callable[[Caller, dict[str, Any]], Any]
