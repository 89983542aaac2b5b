"""The parts of `make bench`: its table, its picture, its load, and those that it compares with."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests
from stage import HOST, free_port, wait_until

from bench import load
from bench.contestants import LAST, answers
from bench.facts import find
from bench.ladder import ladder
from bench.load import Ask
from bench.picture import picture
from bench.plain import Plan, Samples
from bench.processes import memory_kb, processor_seconds, running
from bench.results import (
    MISSED,
    PARTLY,
    REACHED,
    Row,
    as_markdown,
    as_text,
    in_columns,
    p95,
    report,
)
from bench.standins import FlaskPolling, Php, portal
from bench.wheel import server_maker

NAMES = ["ours, SQLite", "PHP tutorial"]


@pytest.fixture
def row() -> Row:
    return Row(
        "a poll", "≥ 2 times", {NAMES[0]: "300 a second", NAMES[1]: "100 a second"}, ratio=3.0,
        pictured="Polls <a second>", figures={NAMES[0]: 300.0, NAMES[1]: 100.0},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "factor", "ratio", "verdict"),
    [
        (True, 0.0, None, REACHED),
        (False, 0.0, None, MISSED),
        (True, 2.0, 3.0, REACHED),
        (True, 4.0, 3.0, MISSED),
        (False, 2.0, 3.0, MISSED),
        (True, 2.0, None, PARTLY),
    ],
)
def test_a_row_is_reached_if_our_figures_and_the_ratio_are(
    own: bool, factor: float, ratio: float | None, verdict: str
) -> None:
    row = Row("a poll", "≥ 2 times", ratio=ratio)

    row.judge(own, factor)

    assert row.verdict == verdict


def test_the_table_has_every_contestant_also_one_who_is_absent(row: Row) -> None:
    row.judge(own=True, factor=2.0)
    names = [*NAMES, "Flask tutorial"]

    assert as_markdown([row], names).splitlines()[-1] == (
        "| a poll | ≥ 2 times | 300 a second | 100 a second | – | 3 times | reached |"
    )
    assert "Flask" not in as_text([row], names)
    parts = [["Time", *NAMES], ["a poll", "300", "–"]]
    text = report([row], names, parts, {"memory": "24 GB"}, ["a note"])
    assert all(part in text for part in ("- memory: 24 GB", "- a note", "(results.svg)"))
    assert "| a poll | 300 | – |" in text
    assert in_columns([["a", "b"], ["long", ""]]) == "a     b\nlong"


def test_what_a_request_is_made_of_begins_with_the_server_and_flask_alone(tmp_path: Path) -> None:
    plan = Plan(rounds=1, seconds=1, lengths=(), quick=True)

    steps = ladder([], Samples(), tmp_path, plan)[1:3]

    server, flask = (float(step[1].replace(",", "")) for step in steps)  # 1,280 on a slow machine
    assert 0 < server < flask


def test_a_percentile_of_few_is_none_that_nobody_measured() -> None:
    assert p95([1.0, 2.0]) <= 2.0
    assert p95([3.0]) == 3.0


def test_the_picture_is_an_svg_for_light_and_dark(row: Row) -> None:
    text = picture([row, Row("without figures", "", pictured="Nothing")], NAMES, "a & b")

    root = ElementTree.fromstring(text)
    said = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert said[0] == "Polls <a second>"
    assert {*NAMES, "300", "100", "a & b"} <= {*said}
    assert "Nothing" not in said
    assert "prefers-color-scheme: dark" in text


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with portal(tmp_path_factory.mktemp("portal"), 0, keeps=True) as address:
        yield address


@pytest.mark.parametrize("generator", ["wrk", "ours"])
def test_an_answer_that_is_not_as_expected_counts_as_failed(
    served: str, generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if generator == "wrk" and find("wrk") is None:
        pytest.skip("wrk is not on this machine")
    if generator == "ours":
        monkeypatch.setattr("bench.load.find", lambda name: None)
    url, clients = f"{served}/rest/imconnector.send.messages.json", [{"Cookie": 'a="1"'}]
    form = "MESSAGES[0][message][text]=COUNT UUID"

    good = load.load(Ask(url, clients, form, holds="SUCCESS"), 2, 0.3)
    bad = load.load(Ask(url, clients, form, holds="no such word"), 2, 0.3)
    other = load.load(Ask(url, clients, form, holds="SUCCESS", status=201), 2, 0.3)

    assert good.failed == 0
    assert good.rate > 10
    assert 0 < good.p50 <= good.p95 <= good.p99
    assert (bad.rate, other.rate) == (0, 0)
    assert bad.failed == bad.requests > 0
    texts = requests.get(f"{served}/texts", timeout=30).json()
    assert len(texts) == len({*texts}), "each message has a text of its own"


@pytest.mark.parametrize("kind", [Php, FlaskPolling])
def test_a_stand_in_does_what_the_tutorial_does(
    kind: type[Php | FlaskPolling], tmp_path: Path
) -> None:
    one = kind(tmp_path)
    if why := one.missing():
        pytest.skip(why)

    with one.writing(0, keeps=True) as up:
        [visitor] = up.send()
        answer = requests.post(up.handler, up.answer(visitor, 5), timeout=30)
        assert answer.status_code == 200
        form = {"type": "send_message", "name": "Anna", "message": "<b>2"}
        sent = requests.post(up.ajax, form, headers=visitor.client, timeout=30)
        up.again()  # after kill -9 the files are there

        kept = up.kept(visitor)
        assert kept == [LAST, "[b]Olga Petrova:[/b] [br]answer 5", "&lt;b&gt;2"]
        assert up.at_portal(visitor.chat) == [LAST, "&lt;b&gt;2"]
        assert sent.json()["chat"] == visitor.chat
        assert up.stored in sent.text
        shown = requests.post(
            up.ajax, {"type": "chat_history"}, headers=visitor.client, timeout=30
        ).text
        assert shown.index(LAST) < shown.index("<b>Olga Petrova:</b>") < shown.index("&lt;b&gt;2")
        assert 'class="message operator"' in shown
        assert "setInterval(poll, 5000)" in requests.get(up.page, timeout=30).text
        assert requests.post(up.ajax, {"type": "chat_history"}, timeout=30).text == ""
        assert memory_kb(up.roots) > 1_000
        assert processor_seconds(up.roots) > 0
        page = up.page
    with pytest.raises(requests.ConnectionError):
        requests.get(page, timeout=5)


def test_nothing_is_left_of_a_process_and_what_it_began(tmp_path: Path) -> None:
    port = free_port()
    serve = ["-m", "http.server", "--bind", HOST, str(port)]
    code = f"import subprocess, sys; subprocess.run([sys.executable, *{json.dumps(serve)}])"

    with running([sys.executable, "-c", code], tmp_path):
        wait_until(answers(f"http://{HOST}:{port}/"), 30)

    assert not answers(f"http://{HOST}:{port}/")()


@pytest.mark.parametrize("given", [{}, {"XDG_RUNTIME_DIR": "/tmp/mine"}])
def test_the_server_that_is_measured_leaves_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)

    server_maker(tmp_path / "run")

    assert dict(os.environ) == before
