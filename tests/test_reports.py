"""What an administrator reads about a fault of delivery, and what to do about it."""

from pathlib import Path

import pytest

from app import create_app
from rest.errors import MEANINGS, OAUTH, RENEWAL_LOST, SetupFault
from settings import Bitrix24Settings, Settings, StorageSettings
from store.records import Portal, ReportedFault
from web.asking import services
from web.verdict import verdict

FAULTS = sorted(code for code, meaning in MEANINGS.items() if meaning.kind is SetupFault)


KNOWN = Portal("member", 1, "access", "refresh", 4e9, "token", False, 1.0)


def told(folder: Path, code: str, language: str = "en") -> str:
    """What the page says of delivery while this fault stands in its way."""
    app = create_app(
        Settings(
            bitrix24=Bitrix24Settings(portal="https://b24.example"),
            storage=StorageSettings(
                url=f"sqlite:///{folder}/chats.db", files=str(folder / "files")
            ),
        )
    )
    with app.test_request_context(f"/handler?LANG={language}", method="POST"):
        services().store.portal.save(KNOWN)
        services().store.notes.registered.set("digest")
        services().store.notes.fault.set(ReportedFault(OAUTH, code))
        found = [one for one in verdict().findings if one.check in ("delivery", "secret")]
    fault = found[0]  # the worst is first
    assert fault.level == "broken"
    return fault.text


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_of_the_set_up_comes_with_its_cure(tmp_path: Path, code: str) -> None:
    fault = told(tmp_path, code)

    assert code in fault
    cures = ("press Reinstall", "reinstall it", "restart the service", "into the settings",
             "Correct", "Renew", "Only its support", "confirm the new address", "go on by",
             "Install", "authority")  # fmt: skip
    assert [cure for cure in cures if cure in fault]


def test_a_lost_token_asks_for_a_reinstall(tmp_path: Path) -> None:
    assert "reinstall" in told(tmp_path, "INVALID_GRANT")
    assert "were lost on the way" in told(tmp_path, RENEWAL_LOST)


@pytest.mark.parametrize("code", ["NOT_ACTIVE_LINE", "SOMETHING_NEW"])
def test_another_fault_is_named(tmp_path: Path, code: str) -> None:
    assert code in told(tmp_path, code)
