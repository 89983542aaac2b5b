"""Who asks: the address as the limits count it."""

import pytest
from flask import Flask

from web.asking import address, known_address


def asked_from(remote: str | None) -> tuple[str, str | None]:
    app = Flask(__name__)
    app.secret_key = "a key"
    environ = {} if remote is None else {"REMOTE_ADDR": remote}
    with app.test_request_context("/", environ_overrides=environ):
        return address(), known_address()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),  # one subscriber's network
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        # As proxies write an address with its port, and IPv4 in a network that has none.
        ("203.0.113.7", "203.0.113.7:4711", True),
        ("203.0.113.7:4711", "203.0.113.8:4711", False),
        ("2001:db8:1:2::1", "[2001:db8:1:2::5]:4711", True),
        ("2001:db8:1:2::1", "[2001:db8:1:2::5]", True),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::5", True),
        ("203.0.113.7", "64:ff9b::203.0.113.7", True),
        ("64:ff9b::203.0.113.7", "64:ff9b::203.0.113.8", False),
    ],
)
def test_one_subscriber_is_one_address(one: str, other: str, same: bool) -> None:
    assert (asked_from(one) == asked_from(other)) is same
    assert asked_from(one)[0] == asked_from(one)[1]


@pytest.mark.parametrize(
    "remote",
    [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
        "::ffff:127.0.0.1",
        "[::1]:80",
        "127.0.0.1:80",
        "",
        "x",
        "[x]:1",
        "unknown",
    ],
)
def test_an_address_that_names_nobody_is_not_known(remote: str) -> None:
    assert asked_from(remote)[1] is None
    assert asked_from(remote)[0] != asked_from("203.0.113.7")[0]
