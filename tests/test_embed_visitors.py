"""Who an embedded visitor is, as the server sees it: by cookie, by token, by a site's signature."""

import hmac
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from settings import ChatSettings, Settings, StorageSettings

SHOP, BLOG = "https://shop.example", "https://blog.example"
LAMPS = "xn--80avem4d.xn--p1ai"  # лампы.рф
SECRET = "a secret that only the shop's server knows"


def signed(site: str, email: str) -> str:
    """What a site's server does."""
    return hmac.new(SECRET.encode(), f"{site} {email}".encode(), "sha256").hexdigest()


@pytest.fixture
def application(tmp_path: Path) -> Callable[[], FlaskClient]:
    """Makes browsers of an application that two other sites embed."""
    app = create_app(
        Settings(
            public_url="https://chat.example",
            chat=ChatSettings(sites=(SHOP, BLOG, "https://*.лампы.рф"), identity_secret=SECRET),  # type: ignore[arg-type]
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db"),
        )
    )
    return app.test_client


def ask(client: FlaskClient, site: str = "", token: str = "", **fields: str) -> TestResponse:
    """A request of the chat page in its frame on `site`."""
    headers = {"Origin": "https://chat.example", "X-Chat-Site": site, "X-Chat-Token": token}
    given = {name: value for name, value in headers.items() if value}
    return client.post("/ajax", data=fields, headers=given, base_url="https://chat.example")


def write(client: FlaskClient, site: str = "", token: str = "", text: str = "hello") -> str:
    """Send a message; returns the token that came back."""
    answer = ask(client, site, token, type="send_message", message=text)
    assert answer.status_code == 200
    return answer.headers.get("X-Chat-Token", "")


def history(client: FlaskClient, site: str = "", token: str = "") -> str:
    return ask(client, site, token, type="chat_history").text


def test_the_token_alone_is_the_visitor_again(application: Callable[[], FlaskClient]) -> None:
    token = write(application(), SHOP, text="remember me")

    assert "remember me" in history(application(), SHOP, token)
    assert write(application(), SHOP, token, "and me")
    assert history(application(), SHOP, token).count("<article") == 2


def test_the_token_of_one_site_is_nobody_on_another(
    application: Callable[[], FlaskClient],
) -> None:
    token = write(application(), SHOP, text="for the shop")

    for site in (BLOG, ""):
        assert history(application(), site, token) == ""
        write(application(), site, token, "for another")
    assert history(application(), SHOP, token).count("<article") == 1


def test_a_changed_token_is_nobody(application: Callable[[], FlaskClient]) -> None:
    token = write(application(), SHOP)
    payload, signature = token.split(".", 1)

    for forged in (token[:-2], f"{payload}x.{signature}", payload, "a.b.c", "\x7f"):
        assert history(application(), SHOP, forged) == ""


def test_our_own_page_is_given_no_token(application: Callable[[], FlaskClient]) -> None:
    assert write(application()) == ""


def test_the_chat_is_bound_to_the_site_and_the_visitor(
    application: Callable[[], FlaskClient],
) -> None:
    client = application()
    chats = [
        ask(client, site, type="send_message", message="hello").json["chat"]  # type: ignore[index]
        for site in ("", SHOP, BLOG, SHOP)
    ]

    assert [chat[:36] for chat in chats].count(chats[1][:36]) == 2
    assert chats[1] == chats[3]
    assert len({*chats}) == 3


def test_a_site_that_is_not_named_is_refused(application: Callable[[], FlaskClient]) -> None:
    for site in ("https://evil.example", "null", f"{SHOP}.evil.example", "*"):
        for kind in ("send_message", "chat_history", "identify", "forget"):
            assert ask(application(), site, type=kind, message="x").status_code == 403


def test_each_subdomain_of_a_wildcard_is_a_site_of_its_own(
    application: Callable[[], FlaskClient],
) -> None:
    token = write(application(), f"https://ru.{LAMPS}", text="for ru")

    assert "for ru" in history(application(), f"https://ru.{LAMPS}", token)
    assert history(application(), f"https://de.{LAMPS}", token) == ""
    for site in (f"https://{LAMPS}", f"https://ru.{LAMPS}:444", f"https://.{LAMPS}"):
        assert ask(application(), site, type="chat_history").status_code == 403


def test_a_site_signs_its_name_in_letters_or_in_ascii(
    application: Callable[[], FlaskClient],
) -> None:
    for signed_site in (f"https://ru.{LAMPS}", "https://ru.лампы.рф"):
        answer = ask(
            application(),
            f"https://ru.{LAMPS}",
            type="identify",
            email="anna@example.com",
            signature=signed(signed_site, "anna@example.com"),
        )
        assert answer.status_code == 200
    another = signed("https://de.лампы.рф", "anna@example.com")
    fields = {"type": "identify", "email": "anna@example.com", "signature": another}
    assert ask(application(), f"https://ru.{LAMPS}", **fields).status_code == 403


def test_a_sites_own_script_cannot_pass_for_another_site(
    application: Callable[[], FlaskClient],
) -> None:
    client = application()
    token = write(client, SHOP, text="for the shop")

    headers = {"Origin": BLOG, "X-Chat-Site": SHOP, "X-Chat-Token": token}
    answer = client.post(
        "/ajax",
        data={"type": "chat_history"},
        headers=headers,
        base_url="https://chat.example",
    )

    assert "for the shop" not in answer.text
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_embedded_cookie_is_partitioned_and_each_sites_own(
    application: Callable[[], FlaskClient],
) -> None:
    own, shop, blog = (
        ask(application(), site, type="send_message", message="x").headers["Set-Cookie"]
        for site in ("", SHOP, BLOG)
    )

    for cookie in (shop, blog):
        assert "SameSite=None" in cookie
        assert "Partitioned" in cookie
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
    assert len({cookie.partition("=")[0] for cookie in (own, shop, blog)}) == 3
    assert "SameSite=Lax" in own
    assert "Partitioned" not in own


def test_the_cookie_is_second_where_the_token_is_lost(
    application: Callable[[], FlaskClient],
) -> None:
    client = application()
    write(client, SHOP, text="kept by the cookie")

    assert "kept by the cookie" in history(client, SHOP)

    assert ask(client, SHOP, type="forget").status_code == 200
    assert history(client, SHOP) == ""


def test_a_signed_customer_has_one_chat_on_every_device(
    application: Callable[[], FlaskClient],
) -> None:
    email = "anna@example.com"

    def token_at(client: FlaskClient, site: str) -> str:
        fields = {"type": "identify", "email": email, "signature": signed(site, email)}
        answer = ask(client, site, **fields)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers  # nothing is kept until she writes
        assert answer.json is not None
        return str(answer.json["result"]["token"])

    phone, laptop = application(), application()
    write(phone, SHOP, token_at(phone, SHOP), "from the phone")

    assert "from the phone" in history(laptop, SHOP, token_at(laptop, SHOP))
    assert "from the phone" not in history(laptop, BLOG, token_at(laptop, BLOG))


def test_a_customer_who_deletes_goes_on_in_one_chat_on_every_device(
    application: Callable[[], FlaskClient],
) -> None:
    fields = {"email": "anna@example.com", "signature": signed(SHOP, "anna@example.com")}
    phone, laptop = application(), application()
    answer = ask(phone, SHOP, type="identify", **fields).json
    assert answer is not None
    token = str(answer["result"]["token"])

    for number in range(2):
        write(phone, SHOP, token, f"before {number}")
        ask(laptop, SHOP, token, type="delete_conversation")
        assert history(phone, SHOP, token) == ""
    write(phone, SHOP, token, "from the phone")
    write(laptop, SHOP, token, "from the laptop")

    for text in ("from the phone", "from the laptop"):
        assert text in history(application(), SHOP, token)


def identified(client: FlaskClient, email: str, token: str = "") -> tuple[str, str]:
    """The token of a customer of the shop, and the id of their chat."""
    fields = {"type": "identify", "email": email, "signature": signed(SHOP, email)}
    answer = ask(client, SHOP, token, **fields).json
    assert answer is not None
    return str(answer["result"]["token"]), str(answer["chat"])


def test_what_a_customer_began_before_the_log_in_goes_on(
    application: Callable[[], FlaskClient],
) -> None:
    laptop, phone = application(), application()
    anonymous = write(laptop, SHOP, text="before I logged in")

    token, _ = identified(laptop, "anna@example.com", anonymous)

    began = ask(laptop, SHOP, anonymous, type="send_message", message="not hers").json
    went_on = ask(laptop, SHOP, token, type="send_message", message="and after").json
    assert began is not None
    assert went_on is not None
    on_phone, _ = identified(phone, "anna@example.com")
    for client, hers in ((laptop, token), (phone, on_phone)):
        assert "before I logged in" in history(client, SHOP, hers)
        assert "and after" in history(client, SHOP, hers)
        assert "not hers" not in history(client, SHOP, hers)
    # Whoever still holds the anonymous token is somebody else now.
    assert history(application(), SHOP, anonymous).count("<article") == 1
    assert began["chat"] != went_on["chat"]

    ask(phone, SHOP, on_phone, type="delete_conversation")

    assert history(laptop, SHOP, token) == ""


def test_a_customer_with_a_history_goes_on_there_and_keeps_what_they_began_before(
    application: Callable[[], FlaskClient],
) -> None:
    client = application()
    hers, _ = identified(client, "anna@example.com")
    write(client, SHOP, hers, "first")
    fresh = application()
    anonymous = write(fresh, SHOP, text="second")

    token, chat = identified(fresh, "anna@example.com", anonymous)

    assert ask(fresh, SHOP, token, type="send_message", message="third").json["chat"] == chat  # type: ignore[index]
    assert re.findall("first|second|third", history(client, SHOP, hers)) == [
        "first",
        "second",
        "third",
    ]


def test_one_customers_chat_never_becomes_anothers(
    application: Callable[[], FlaskClient],
) -> None:
    client = application()
    annas, _ = identified(client, "anna@example.com")
    write(client, SHOP, annas, "Anna's")
    ask(client, SHOP, annas, type="delete_conversation")
    write(client, SHOP, annas, "Anna's again")

    boriss, _ = identified(client, "boris@example.com", annas)

    assert history(client, SHOP, boriss) == ""
    assert "Anna's again" in history(client, SHOP, annas)


def test_a_first_message_that_is_repeated_after_the_deletion_begins_anew(
    application: Callable[[], FlaskClient],
) -> None:
    """Its answer, and the cookie with it, was lost; what was deleted takes no answers."""
    fields = {"type": "send_message", "message": "hello", "client_id": str(uuid.uuid4())}
    first = application()
    deleted = ask(first, **fields).json
    ask(first, type="delete_conversation")

    again = application()
    repeated = ask(again, **fields).json

    assert deleted is not None
    assert repeated is not None
    assert repeated["chat"] != deleted["chat"]
    assert history(again).count("<article") == 1


@pytest.mark.parametrize(
    ("email", "signature"),
    [
        ("anna@example.com", signed(SHOP, "boris@example.com")),
        ("anna@example.com", signed(BLOG, "anna@example.com")),
        ("anna@example.com", ""),
        ("anna@example.com", "é" * 64),
        ("", signed(SHOP, "")),
        ("Anna@example.com", signed(SHOP, "ANNA@example.com")),
    ],
)
def test_a_wrong_signature_changes_nothing(
    application: Callable[[], FlaskClient], email: str, signature: str
) -> None:
    client = application()
    token = write(client, SHOP, text="as I was")

    answer = ask(client, SHOP, token, type="identify", email=email, signature=signature)

    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["result"]["error"] == "SIGNATURE"
    assert "as I was" in history(client, SHOP, token)


def test_without_a_secret_no_signature_is_right(tmp_path: Path) -> None:
    app = create_app(
        Settings(
            public_url="https://chat.example",
            chat=ChatSettings(sites=(SHOP,)),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db"),
        )
    )
    nothing = hmac.new(b"", f"{SHOP} a@example.com".encode(), "sha256").hexdigest()

    answer = ask(app.test_client(), SHOP, type="identify", email="a@example.com", signature=nothing)

    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["result"]["error"] == "IDENTIFY_OFF"
