"""What an administrator reads about a fault, and what to do about it."""

from pathlib import Path

import pytest
from web.reports import reports

from app import create_app
from rest.errors import MEANINGS, OAUTH, RENEWAL_LOST, SetupFault
from settings import Bitrix24Settings, Settings, StorageSettings
from store.records import ReportedFault
from web.asking import services

FAULTS = sorted(code for code, meaning in MEANINGS.items() if meaning.kind is SetupFault)


def lines(folder: Path, code: str) -> list[str]:
    app = create_app(
        Settings(
            bitrix24=Bitrix24Settings(portal="https://b24.example"),
            storage=StorageSettings(
                url=f"sqlite:///{folder}/chats.db", files=str(folder / "files")
            ),
        )
    )
    with app.test_request_context("/handler"):
        services().store.notes.registered.set("digest")
        services().store.notes.fault.set(ReportedFault(OAUTH, code))
        return reports()


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_of_the_set_up_comes_with_its_cure(tmp_path: Path, code: str) -> None:
    fault, *cure = lines(tmp_path, code)

    if code == RENEWAL_LOST:
        assert "were lost on the way" in fault
        assert "press Reinstall" in fault
        assert cure == []
    else:
        assert fault.startswith(f"Delivery stands still: oauth/token answered {code}.")
        assert code in cure[0]


def test_a_lost_token_asks_for_a_reinstall(tmp_path: Path) -> None:
    assert "then reinstall the application" in lines(tmp_path, "INVALID_GRANT")[1]


@pytest.mark.parametrize("code", ["NOT_ACTIVE_LINE", "SOMETHING_NEW"])
def test_another_fault_is_only_named(tmp_path: Path, code: str) -> None:
    assert len(lines(tmp_path, code)) == 1
