"""How one sandbox portal is set up, and how its parts say that a call cannot be done."""

from dataclasses import dataclass


class RestError(Exception):
    """The portal refuses a call; `code` and `status` are those of its answer."""

    def __init__(self, code: str, description: str = "", status: int = 400) -> None:
        super().__init__(description or code)
        self.code = code
        self.description = description or code
        self.status = status

    def fields(self) -> dict[str, str]:
        """The two fields of an answer that name the error."""
        return {"error": self.code, "error_description": self.description}


class NotFound(Exception):
    """No such line, dialog, message or user in this portal."""


@dataclass(frozen=True)
class Options:
    """`oauth_url` is the address of the OAuth server, which may be the portal's own."""

    base_url: str
    oauth_url: str
    app_url: str
    client_id: str = "local.sandbox"
    client_secret: str = "sandbox-secret"
    lang: str = "en"
    limit: bool = True

    @property
    def domain(self) -> str:
        return self.base_url.partition("://")[2]
