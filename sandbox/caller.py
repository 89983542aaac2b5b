"""Who makes a REST call, and what each method of the portal is to the REST interface."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .portal import RestError, Token, User


@dataclass(frozen=True)
class Caller:
    user: User
    token: Token

    def must_be_admin(self) -> None:
        if not self.user.admin:
            raise RestError("ACCESS_DENIED", "Access denied", 403)


# The parameters have their official case and are checked; RestError refuses the call.
Method = Callable[[Caller, dict[str, Any]], Any]
