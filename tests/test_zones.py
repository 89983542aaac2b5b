"""A saved conversation has the times of the visitor's own zone, in their language."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apps import services_of, storage_in
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from settings import Settings
from texts import all_texts
from web.zones import clock_of

# Around the end of summer time in Berlin, at 01:00 UTC: 02:30 comes twice.
TIMES = ["2026-07-01T22:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T12:00"]


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(Settings(storage=storage_in(tmp_path)))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    for number, time in enumerate(TIMES):
        text = f"[timestamp=1800000000] no. {number}"
        client.post("/ajax", data={"type": "send_message", "message": text})
        at = datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()
        with services_of(app).store.database.write() as db:
            last = "(select max(id) from messages)"
            db.execute(f"update messages set sent_at = ? where id = {last}", (at,))
    return client


def saved(client: FlaskClient, language: str = "en", **fields: str) -> tuple[list[str], list[str]]:
    """The times of the messages, with what is said of the zone between them; times in the texts."""
    form = {"type": "save_conversation", **fields}
    answer = client.post("/ajax", data=form, headers={"Accept-Language": language})
    assert answer.status_code == 200
    heads = re.findall(r'<p class="zone">(.*?)</p>|<header>.*<time [^>]*>(.*?)</time>', answer.text)
    return [note or time for note, time in heads], re.findall(
        r'<div[^>]*><time datetime="2027-01-15T08:00:00Z">(.*?)</time>', answer.text
    )


def test_the_visitors_clock_is_right_over_a_change_of_summer_time(client: FlaskClient) -> None:
    times, inside = saved(client, zone="Europe/Berlin")

    assert times == [
        "Times are those of Europe/Berlin (UTC+02:00, CEST).",
        "2 July 2026, 00:30",
        "25 October 2026, 02:30",
        "From here on times are UTC+01:00, CET.",
        "25 October 2026, 02:30",
        "25 October 2026, 13:00",
    ]
    assert (
        inside == ["15 January 2027, 09:00 (UTC+01:00, CET)"] * 2 + ["15 January 2027, 09:00"] * 2
    )


def test_dates_are_in_the_visitors_language(client: FlaskClient) -> None:
    times, _ = saved(client, "ru", zone="Asia/Vladivostok")

    assert times[:2] == [
        "Время указано по часовому поясу Asia/Vladivostok (UTC+10:00).",
        "2 июля 2026 г., 08:30",
    ]
    assert len(times) == 1 + len(TIMES)


@pytest.mark.parametrize(
    "zone",
    [
        *(
            "",
            "Mars/Olympus",
            "Europe",
            "../../etc/passwd",
            "/etc/localtime",
            "localtime",
            "Factory",
        ),
        *("Europe/../Europe/Berlin", "Europe/Berlin\n", "a" * 5000, "<script>", "leapseconds", "é"),
        *("tzdata.zi", "posixrules", "C:/x", "con", "Factory"),
    ],
)
def test_an_unknown_zone_is_utc_and_says_so(client: FlaskClient, zone: str) -> None:
    times, inside = saved(client, zone=zone)

    assert times[:2] == ["Times are those of UTC.", "1 July 2026, 22:30 UTC"]
    assert inside[0] == "15 January 2027, 08:00 UTC"


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        *(("Asia/Kolkata", "UTC+05:30, IST"), ("Asia/Calcutta", "UTC+05:30, IST")),
        *(("Etc/GMT+12", "UTC-12:00"), ("America/Argentina/Buenos_Aires", "UTC-03:00")),
        *(("UTC", "UTC"), ("Etc/UTC", "UTC"), ("Europe/Kyiv", "UTC+02:00, EET")),
        ("Africa/Monrovia", "UTC-00:44, MMT"),
    ],
)
def test_a_zone_is_named_with_its_offset(zone: str, offset: str) -> None:
    clock = clock_of(zone, all_texts("en")["page"])
    year = 1971 if zone == "Africa/Monrovia" else 2026

    assert clock.name == zone
    assert clock.offset(clock.at(datetime(year, 1, 10, tzinfo=UTC).timestamp())) == offset
