"""The page and the doctor say every fault in the same words, the worst first."""

import re
from typing import Any

import pytest
from doctor_parts import facts
from fault_table import FAULTS
from markupsafe import Markup

from cli.doctor import MARKS, report
from operations.doctor import ALL, findings
from operations.findings import Level, worst
from web.verdict import NEXT_STEPS, ShownFinding, verdict

PAGES_TIME = re.compile(r"<time[^>]*>[^<]*</time>")
DOCTORS_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d \w+")
TROUBLES = {MARKS[Level.BROKEN], MARKS[Level.ATTENTION]}


def sentence(shown: ShownFinding) -> str:
    return f"{shown.heading}: {Markup(PAGES_TIME.sub('', shown.text)).unescape()}"


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    "changes",
    [row[0] for row in FAULTS if row[3] not in NEXT_STEPS],
    ids=[f"{row[3]}-{row[1].name}" for row in FAULTS if row[3] not in NEXT_STEPS],
)
def test_the_page_says_each_fault_as_the_doctor_does(
    changes: dict[str, Any], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.verdict.language", lambda: language)  # that of the request
    found = findings(facts(**changes), ALL)

    page = verdict(found)

    lines = DOCTORS_TIME.sub("", report(found, language)).splitlines()
    told = [line[2:] for line in lines if line[:1] in TROUBLES]
    assert [sentence(one) for one in page.troubles if one.level != "next"] == told
    assert page.level is worst(found)
    assert not page.is_well
