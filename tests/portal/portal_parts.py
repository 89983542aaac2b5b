"""What the tests of the connector share: a portal that answers as told, the parts at work on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portal.connector import Claim, Connector
from portal.events import Auth, Event
from portal.install_error import InstallError
from portal.proof import Proof
from rest.errors import BitrixError
from rest.replies import Grant
from settings import Settings
from storage import Store
from store.records import Portal

NOW = 1_790_000_000.0
LINE = 7
CHAT = "chat" + "a" * 64
CLIENT = "local.client"
HANDLER = "https://chat.example/live/handler"
KNOWN = Portal("member", 1, "access", "refresh", NOW, "the-token", False, NOW)
CLAIM = Claim(Grant("new-access", "new-refresh", NOW + 3600), "member", "new-token")


class FakePortal:
    """Records what it is asked; each error is raised once, by the method's name."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.errors: dict[str, BitrixError] = {}
        self.app = CLIENT  # to which every token belongs
        self.administrator = True
        self.bound: list[tuple[str, str]] = []
        self.inactive: set[int] = set()
        self.registered = {"livechat", "example_connector_1"}
        self.finished = True
        self.unregisters = True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*values: Any) -> Any:
            self.asked.append((name, *values))
            if name in self.errors:
                raise self.errors.pop(name)
            answers: dict[str, Callable[[], Any]] = {
                "app_of_token": lambda: self.app,
                "is_administrator": lambda: (self.administrator, 5),
                "bound_events": lambda: list(self.bound),
                "bind_event": lambda: self.bound.append((values[0].upper(), values[1])),
                "unbind_event": lambda: self.bound.remove((values[0].upper(), values[1])),
                "is_installed": lambda: self.finished,
                "connectors": lambda: self.registered,
                "unregister": lambda: self.unregisters,
                "connector_status": lambda: values[1] not in self.inactive,
            }
            return answers.get(name, lambda: None)()

        return method

    def calls(self, name: str) -> list[list[Any]]:
        return [values for called, *values in self.asked if called == name]


def settings(**others: Any) -> Settings:
    values: dict[str, Any] = {
        "public_url": "https://chat.example/live",
        "bitrix24": {"portal": "https://b24.example", "client_id": CLIENT, "client_secret": "s"},
    }
    return Settings(**values | others)


def made_proof(store: Store, portal: FakePortal, **others: Any) -> Proof:
    return Proof(settings(**others), store, portal)  # type: ignore[arg-type]


def made(store: Store, portal: FakePortal, **others: Any) -> Connector:
    proof = made_proof(store, portal, **others)
    return Connector(settings(**others), store, portal, proof)  # type: ignore[arg-type]


@contextmanager
def fault(key: str, status: int) -> Iterator[pytest.ExceptionInfo[InstallError]]:
    with pytest.raises(InstallError) as raised:
        yield raised
    assert (raised.value.key, raised.value.status) == (key, status)


def event(name: str = "ONIMCONNECTORMESSAGEADD", token: str = "the-token", **auth: Any) -> Event:
    values: dict[str, Any] = {"member_id": "member", "access_token": "access", "fields": {}}
    return Event(name, {}, Auth(application_token=token, **values | auth), 0)
