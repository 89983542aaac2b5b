"""A head that would take long to read is refused or shortened before anybody reads it."""

from pathlib import Path
from typing import Any

import pytest
from apps import storage_in
from flask.testing import FlaskClient

from app import create_app
from settings import Settings
from web.heads import HEADER_LIMIT


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    storage = storage_in(tmp_path)
    app = create_app(Settings(storage=storage))
    return app.test_client(use_cookies=False)  # a test may send any header of that name


@pytest.mark.parametrize("name", ["Cookie", "Accept", "Accept-Language", "X-Chat-Token", "Range"])
@pytest.mark.parametrize("path", ["/", "/ajax", "/static/chat.js"])
def test_a_header_longer_than_a_line_may_be_is_refused(
    client: FlaskClient, name: str, path: str
) -> None:
    answer = client.get(path, headers={name: "a" * (HEADER_LIMIT + 1)})

    assert answer.status_code == 431
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(path, headers={name: "a" * HEADER_LIMIT}).status_code < 431


def test_the_first_of_many_languages_count(client: FlaskClient) -> None:
    languages = "ru," + "de;q=0.1," * 800

    assert '<html lang="ru">' in client.get("/", headers={"Accept-Language": languages}).text


def test_one_endless_language_is_none(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Accept-Language": "ru" + "-a" * 2_000})

    assert '<html lang="en">' in answer.text


def posted(client: FlaskClient, **options: Any) -> Any:
    return client.post("/ajax", **options).get_json()["result"]


def test_a_visitors_form_has_few_fields(client: FlaskClient) -> None:
    fields = {f"a{number}": "x" for number in range(198)} | {"type": "forget"}

    assert posted(client, data=fields) == {}
    assert posted(client, data=fields | {"b": "x", "c": "x"})["error"] == "BAD_REQUEST"


@pytest.mark.parametrize("field", ["email", "phone"])
def test_a_value_longer_than_it_can_be_is_left_out(client: FlaskClient, field: str) -> None:
    values = {"email": "a@" + "b." * 200 + "example", "phone": "1" * 300}
    fields = {"type": "send_message", "message": "x", field: values[field]}

    assert posted(client, data=fields)["left_out"] == [field]
