"""Facts of a chat at which nothing is wrong, to be changed by each test."""

from typing import Any

from operations.facts import Disk, Facts, Kept
from operations.front import FrontReport
from portal.presence import EVENTS
from rest.examination import Examination, Line
from rest.replies import TokenHome
from settings import Settings
from store.overview import LastMessages
from store.records import LastRecovery, Portal

NOW = 1_790_000_000.0
DAY = 86_400.0
CLIENT = "local.client"
LINE, OTHER_LINE = 7, 12
PORTAL = "https://b24.example"
OAUTH = "https://oauth.bitrix24.tech"
URL = "https://chat.example/live"
HANDLER = f"{URL}/handler"
INSTALLED = Portal("member", 1, "access", "refresh", NOW + 3000, "token", False, NOW - DAY)
BOUND = tuple((event.upper(), HANDLER) for event in EVENTS)
RIGHTS = frozenset({"imopenlines", "imconnector", "im", "user_brief", "placement"})


def settings(**others: Any) -> Settings:
    values: dict[str, Any] = {
        "public_url": URL,
        "bitrix24": {"portal": PORTAL, "client_id": CLIENT, "client_secret": "s"},
        "chat": {"sites": ["https://shop.example"]},
    }
    return Settings(**values | others)


def kept(**others: Any) -> Kept:
    values: dict[str, Any] = {
        "portal": INSTALLED,
        "portal_address": PORTAL,
        "worker_runs": True,
        "worker_up_at": NOW - 1,
        "active_lines": (LINE,),
        "known_lines": (LINE,),
        "last": LastMessages(NOW - 60, NOW - 59, NOW - 30),
        "last_event_at": NOW - 30,
        "recovery": LastRecovery(0, 3, 0, NOW - 100),
        "secret_is_proved": True,
        "secret_proved_at": NOW - 1800,
    }
    return Kept(**values | others)


def examined(**others: Any) -> Examination:
    values: dict[str, Any] = {
        "installed": True,
        "language": "ru",
        "rights": RIGHTS,
        "bindings": BOUND,
        "connectors": frozenset({"example_connector_1", "livechat"}),
        "statuses": {LINE: True},
        "lines": {LINE: Line("Sales", True)},
        "clock_seconds": 0.4,
    }
    return Examination(**values | others)


def facts(**others: Any) -> Facts:
    """Those of a healthy chat; each name may be given another value, or values of a part of it."""
    of_kept, of_portal = others.pop("of_kept", {}), others.pop("of_portal", {})
    given = others.pop("settings", None) or settings()
    values: dict[str, Any] = {
        "settings": given,
        "chat": given.chat,
        "now": NOW,
        "kept": kept(**of_kept),
        "place": "/var/lib/sitechat/chats",
        "disks": (Disk("/var/lib/sitechat/chats", 20 << 30, 40 << 30),),
        "files_folder": "/var/lib/sitechat/chats/files",
        "portal": examined(**of_portal),
        "oauth": TokenHome(CLIENT, "member", PORTAL),
        "front": FrontReport(status=200, forwarded=0, is_buffered=False, is_too_large=False),
    }
    return Facts(**values | others)
