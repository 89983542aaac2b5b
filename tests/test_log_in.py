"""A site's customer logs in by a signed e-mail, and out again."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from bbcode import RENDERER
from settings import ChatSettings, Settings, StorageSettings
from storage import Store
from web import identity
from web.visitor import LOGINS_KEPT_DAYS, chat_id_of

OWN, SHOP, BLOG = "https://chat.example", "https://shop.example", "https://blog.example"
SECRET = "a secret that only the shop's server knows"
ANN = "ann@example.com"
DAY = 86_400
START = time.time()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    folder = tmp_path_factory.mktemp("app")
    return create_app(
        Settings(
            public_url=OWN,
            chat=ChatSettings(sites=(SHOP, BLOG), identity_secret=SECRET),  # type: ignore[arg-type]
            storage=StorageSettings(url=f"sqlite:///{folder}/chats.db", files=f"{folder}/f"),
        )
    )


@pytest.fixture
def email() -> str:
    """The e-mail of a customer of the test's own, not in its normal form."""
    return f"Ann.{uuid.uuid4().hex}@Example.com"


@pytest.fixture
def store(app: Flask) -> Iterator[Store]:
    """The store past the application."""
    path = Path(app.extensions["sitechat"].store.database.path)
    with closing(Store(f"sqlite:///{path}", Path("/"), RENDERER)) as store:
        store.open()
        yield store


def ask(client: FlaskClient, token: str = "", site: str = SHOP, **fields: str) -> TestResponse:
    headers = {"Origin": OWN, "X-Chat-Site": site} | ({"X-Chat-Token": token} if token else {})
    return client.post("/ajax", data=fields, headers=headers, base_url=OWN)


def log_in(
    client: FlaskClient, email: str, token: str = "", signed: str = "", **more: str
) -> TestResponse:
    signature = identity.signature(SECRET, SHOP, signed or email, more.get("until", ""))
    return ask(client, token, type="identify", email=email, signature=signature, **more)


def token_of(client: FlaskClient, email: str, token: str = "") -> str:
    answer = log_in(client, email, token)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    return str(answer.json["result"]["token"])


def error_of(answer: TestResponse) -> str:
    assert answer.json is not None
    return str(answer.json["result"].get("error", ""))


def write(client: FlaskClient, token: str, text: str) -> TestResponse:
    answer = ask(client, token, type="send_message", message=text)
    assert answer.status_code == 200, answer.text
    return answer


def history(client: FlaskClient, token: str) -> str:
    return ask(client, token, type="chat_history").text


# -- a signature may end


@pytest.mark.parametrize("ends_in", [3600.0, 10 * 365 * DAY, 1.0, -(identity.GRACE_SECONDS - 10)])
def test_a_signature_is_good_until_its_end_and_a_minute_more(app: Flask, ends_in: float) -> None:
    until = str(int(time.time() + ends_in))

    assert log_in(app.test_client(), ANN, until=until).status_code == 200


@pytest.mark.parametrize("seconds_ago", [70, 10 * DAY, 10_000 * DAY])
def test_a_signature_that_has_ended_is_refused_and_the_answer_says_so(
    app: Flask, seconds_ago: int
) -> None:
    until = str(int(time.time()) - seconds_ago)
    client = app.test_client()

    answer = log_in(client, ANN, until=until)

    assert answer.status_code == 403
    assert error_of(answer) == "SIGNATURE_ENDED"
    assert answer.json is not None
    if until == "1700000000":
        assert "2023-11-14 22:13:20 UTC" in answer.json["result"]["error_description"]
    assert history(client, "") == ""


def test_the_end_of_a_signature_is_signed(app: Flask) -> None:
    client, until = app.test_client(), str(int(time.time()) + 60)
    signature = identity.signature(SECRET, SHOP, ANN, until)
    endless = identity.signature(SECRET, SHOP, ANN)

    def answer(**fields: str) -> str:
        return error_of(ask(client, type="identify", email=ANN, **fields))

    assert answer(signature=signature, until=until) == ""
    assert answer(signature=endless) == ""
    assert answer(signature=signature) == "SIGNATURE"
    assert answer(signature=signature, until=f"{until}0") == "SIGNATURE"
    assert answer(signature=endless, until=until) == "SIGNATURE"
    # A wrong signature is not told whether it would have ended.
    assert answer(signature=endless, until="1") == "SIGNATURE"
    ending = f"{ANN} {until}"
    assert error_of(ask(client, type="identify", email=ending, signature=signature)) == "SIGNATURE"


@pytest.mark.parametrize("until", ["soon", "-1", "1e9", "1790000000.5", "١٧٩٠٠٠٠٠٠٠", "9" * 16])
def test_an_end_that_is_no_time_is_explained(app: Flask, until: str) -> None:
    answer = log_in(app.test_client(), ANN, until=until)

    assert answer.status_code == 400
    assert error_of(answer) == "SIGNATURE_UNTIL"


# -- one customer, however the e-mail is spelled


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("ann@x.com", "ann@x.com"),
        (" Ann@X.com\n", "ann@x.com"),
        ("J\u00fcrgen@x.com", "j\u00fcrgen@x.com"),
        ("Ju\u0308rgen@x.com", "j\u00fcrgen@x.com"),
        ("ann@B\u00dcCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("Анна@ПРИМЕР.рф", "анна@xn--e1afmkfd.xn--p1ai"),
        ("ann@my_host.example", "ann@my_host.example"),
        ("ann+shop@x.com", "ann+shop@x.com"),
        ("", ""),
        ("@", "@"),
    ],
)
def test_an_e_mail_has_one_normal_form(given: str, normal: str) -> None:
    assert identity.normal_email(given) == normal
    assert identity.normal_email(normal) == normal


def test_however_the_e_mail_is_spelled_the_customer_is_one(app: Flask, email: str) -> None:
    phone, laptop = app.test_client(), app.test_client()
    write(phone, token_of(phone, email), "from the phone")

    for spelling in (email, email.lower(), email.upper(), f"  {email}\t"):
        for signed in (spelling, spelling.strip(), identity.normal_email(email)):
            answer = log_in(laptop, spelling, signed=signed)
            assert answer.status_code == 200, (spelling, signed)
            assert answer.json is not None
            assert "from the phone" in history(laptop, answer.json["result"]["token"])
    assert log_in(laptop, email.lower(), signed=email).status_code == 403, "neither of the two"


@pytest.mark.parametrize(
    "wrong", ["a@b@x.com", "a b@x.com", "a@x", f"{'a' * 400}@x.com", "a@x.com."]
)
def test_what_is_no_e_mail_is_no_customer(app: Flask, wrong: str) -> None:
    assert log_in(app.test_client(), wrong).status_code == 403


def older_token(store: Store, email: str) -> str:
    """A customer's token as earlier releases gave it: by this very spelling, without a log-in."""
    key = store.portal.secret_key()
    name = identity.customer(key, SHOP, email)
    return identity.issue(key, SHOP, identity.Bearer(name, ""))


def test_a_conversation_under_an_older_spelling_goes_on(
    app: Flask, store: Store, email: str
) -> None:
    older = older_token(store, email)
    phone, laptop = app.test_client(), app.test_client()
    write(phone, older, "before the update")
    write(laptop, token_of(laptop, email.lower()), "in between")

    token = token_of(laptop, email)

    for text in ("before the update", "in between"):
        assert text in history(laptop, token)
        assert text in history(phone, older), "the phone has not logged in again"
    write(phone, older, "from the phone")
    assert "from the phone" in history(laptop, token)
    ask(laptop, token, type="delete_conversation")
    write(laptop, token, "a new one")
    assert history(phone, older).count("<article") == 1
    assert "a new one" in history(phone, older)


def test_a_site_that_signs_the_normal_form_from_now_on_loses_no_conversation(
    app: Flask, store: Store, email: str
) -> None:
    older, client = older_token(store, email), app.test_client()
    ask(client, older, type="send_message", message="before the update", email=email)
    stranger = app.test_client()  # who only says that this is their e-mail
    ask(stranger, type="send_message", message="a stranger's", email=email.upper())

    token = token_of(client, email.lower())

    assert "before the update" in history(client, token)
    assert "before the update" in history(client, older)
    assert "a stranger's" not in history(client, token)
    assert "a stranger's" in history(stranger, "")


def test_a_log_in_beside_the_older_token_is_the_same_customers(
    app: Flask, store: Store, email: str
) -> None:
    client = app.test_client()
    older = older_token(store, email)
    write(client, older, "before the update")

    answer = log_in(client, email, older).json

    assert answer is not None
    assert answer["result"]["goes_on"] is True
    assert "before the update" in history(client, answer["result"]["token"])


# -- a log-out


def test_after_a_log_out_no_token_of_the_log_in_is_anybody(app: Flask, email: str) -> None:
    laptop, phone = app.test_client(), app.test_client()
    token = token_of(laptop, email)
    renewed = write(laptop, token, "private").headers["X-Chat-Token"]
    again = token_of(laptop, email, renewed)  # the site's next page
    on_phone = token_of(phone, email)

    assert ask(laptop, again, type="forget").status_code == 200

    for client in (laptop, app.test_client()):
        for each in (token, renewed, again):
            answer = ask(client, each, type="chat_history")
            assert (answer.text, "X-Chat-Token" in answer.headers) == ("", False)
            for kind in ("send_message", "upload_file"):
                refused = ask(client, each, type=kind, message="as her")
                assert refused.status_code in (400, 403)
                assert "X-Chat-Token" not in refused.headers
                assert "Set-Cookie" not in refused.headers
            assert ask(client, each, type="save_conversation").status_code == 404
            deleted = ask(client, each, type="delete_conversation").json
            assert deleted is not None
            assert deleted["result"] == {"deleted": False}
            headers = {"X-Chat-Token": each, "X-Chat-Site": SHOP}
            stream = client.get("/ajax?type=chat_stream", headers=headers, base_url=OWN)
            assert stream.status_code == 204
    assert "private" in history(phone, on_phone)
    assert "as her" not in history(phone, on_phone)
    assert "private" in history(laptop, token_of(laptop, email, again)), "she logs in again"


def test_a_message_after_the_log_out_is_refused_and_explained(app: Flask, email: str) -> None:
    client = app.test_client()
    token = token_of(client, email)
    ask(client, token, type="forget")

    answer = ask(client, token, type="send_message", message="as her")

    assert answer.status_code == 403
    assert error_of(answer) == "LOGGED_OUT"


def test_a_log_out_ends_the_cookie_too(app: Flask, email: str) -> None:
    client, thief = app.test_client(), app.test_client()
    token = token_of(client, email)
    cookie = write(client, token, "private").headers["Set-Cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    thief.set_cookie(name, value, domain="chat.example")
    assert "private" in history(thief, "")

    ask(client, token, type="forget")

    assert history(client, "") == ""
    assert history(thief, "") == ""


def test_a_log_out_by_the_cookie_alone_ends_the_token(app: Flask, email: str) -> None:
    client = app.test_client()
    token = token_of(client, email)
    write(client, token, "private")

    ask(client, type="forget")

    assert history(app.test_client(), token) == ""


def test_a_log_out_ends_open_streams(app: Flask, email: str) -> None:
    client, other = app.test_client(), app.test_client()
    token, others = token_of(client, email), token_of(other, email)
    write(client, token, "private")
    headers = {"X-Chat-Token": token, "X-Chat-Site": SHOP, "Last-Event-ID": "0"}
    stream = client.get("/ajax?type=chat_stream", headers=headers, base_url=OWN)
    events = iter(stream.response)
    assert next(events) == b":\n\n"
    assert b"private" in next(events)
    ask(app.test_client(), token, type="forget")

    write(other, others, "after the log-out")

    assert list(events) == []


def test_log_outs_end_what_an_earlier_release_gave(app: Flask, store: Store, email: str) -> None:
    """Its tokens name no log-in: each one ends by itself, with all that was renewed from it."""
    older = older_token(store, email)
    client = app.test_client()
    renewed = write(client, older, "private").headers["X-Chat-Token"]
    assert "private" in history(client, renewed)

    ask(client, renewed, type="forget")

    for token in (older, renewed):
        assert history(app.test_client(), token) == ""


def test_log_outs_end_the_cookies_of_an_earlier_release(
    app: Flask, store: Store, email: str
) -> None:
    """Each by itself, also after it was renewed; other browsers' stay."""
    name = identity.customer(store.portal.secret_key(), SHOP, email)
    older = [older_cookie(app, name, minutes) for minutes in (10, 100)]
    thief = older_cookie(app, name, 100)
    write(older[0], "", "private")
    assert "Set-Cookie" in ask(older[1], type="chat_history").headers
    assert "private" in history(older[1], "")

    ask(older[1], type="forget")

    assert history(thief, "") == ""
    assert "private" in history(older[0], "")


def older_cookie(app: Flask, name: str, minutes: int) -> FlaskClient:
    """A browser in which an earlier release kept the customer, so many minutes ago."""
    client = app.test_client()
    with app.test_request_context("/", base_url=OWN, headers={"X-Chat-Site": SHOP}):
        app.preprocess_request()
        signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        cookie_name = app.session_interface.get_cookie_name(app)
    begun = START - minutes * 60
    cookie = signer.dumps({"visitor": name, "renewed": begun, "_permanent": True})
    client.set_cookie(cookie_name, cookie, domain="chat.example")
    return client


def test_a_log_out_of_nobody_is_not_kept(app: Flask, store: Store) -> None:
    def ended() -> int:
        row = store.database.row("select count(*) as number from ended_logins")
        assert row is not None
        return int(row["number"])

    before, client = ended(), app.test_client()
    anonymous = write(client, "", "hello").headers["X-Chat-Token"]

    for token in ("", anonymous, "forged.x.y"):
        assert ask(app.test_client(), token, type="forget").status_code == 200

    assert ended() == before


def test_a_log_in_that_ended_long_ago_is_forgotten(app: Flask, store: Store, email: str) -> None:
    long_ago = time.time() - (LOGINS_KEPT_DAYS + 1) * DAY
    store.logins.end({"long ago"}, long_ago, LOGINS_KEPT_DAYS * DAY)
    client = app.test_client()

    ask(client, token_of(client, email), type="forget")

    assert not store.logins.has_ended("long ago")


def test_a_chat_of_a_customer_keeps_its_id(app: Flask, store: Store) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    name = identity.customer(store.portal.secret_key(), SHOP, email)

    answer = log_in(app.test_client(), email).json

    assert answer is not None
    assert answer["chat"] == chat_id_of(SHOP, name)
