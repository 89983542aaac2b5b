"""E-mail and telephone of a visitor: a wrong one costs the field, never the message."""

from typing import Any

import pytest
from stage import Stage, wait_until

from portal.contacts import portal_email, portal_phone
from visible import is_visible


@pytest.mark.parametrize(
    "text", ["👩\u200d💻", "می\u200cخواهم", "❤\ufe0f", "1\ufe0f\u20e3", "\u0301e\u0301", ".", "ㅤ가"]
)
def test_what_can_be_seen_is_taken_as_typed(stage: Stage, text: str) -> None:
    assert stage.visitor().send(text)["post"]["message"] == text


@pytest.mark.parametrize(
    "text",
    [
        *("", " \n\t\u00a0", "\u200d\u200c\ufe0f", "\u3164\u2800\uffa0 \u115f", "\u0301\u20dd"),
        *("\ufdd0\ufdef", "\U0001fffe\U0010ffff", "\u0600\u06dd\U00013430", "\u180e\u034f\u2028"),
    ],
)
def test_what_holds_nothing_to_see_is_empty(text: str) -> None:
    """The same ones as in tests/js/visible.test.js."""
    assert not is_visible(text)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        *[("email", one) for one in ("nobody", "a..b@x.example", "a@-x.example", "a@localhost")],
        *[("email", one) for one in ("иван@x.example", "Ann <a@x.example>", "a@x_y.example")],
        ("email", "x" * 65 + "@x.example"),
        ("email", "a@" + "x" * 300 + ".example"),
        *[("phone", one) for one in ("call me", "()()()", "112", "+7 999 12x", "1" * 16)],
    ],
)
def test_a_contact_that_bitrix24_would_refuse_costs_the_field_alone(
    stage: Stage, field: str, given: str
) -> None:
    visitor, text = stage.visitor(), f"{field} {given}"[:60]

    answer = visitor.send(text, **{field: given})

    assert answer["result"]["left_out"] == [field]
    wait_until(lambda: text in stage.texts(answer["chat"]), why="at the portal")


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("Ann.Lee+1@X.example", "Ann.Lee+1@x.example"),
        ("ivan@лампы.рф", "ivan@xn--80avem4d.xn--p1ai"),
        ("a@b.museum", "a@b.museum"),
        ("a@b.xn--vermgensberatung-pwb", ""),
        ('"a b"@x.example', ""),
    ],
)
def test_an_e_mail_goes_as_the_portal_takes_it(typed: str, sent: str) -> None:
    assert portal_email(typed) == sent


@pytest.mark.parametrize(
    "typed",
    [
        *("ivan@x.ru.", "ivan@x.ru,", "mailto:ivan@x.ru", "<ivan@x.ru>", "ivan@x.ru\u200b"),
        *("\u202aivan@x.ru\u202c", "ivan@x.ru\xa0", "\ufeffivan@x.ru;"),
    ],
)
def test_an_e_mail_that_was_pasted_from_a_page_is_taken(typed: str) -> None:
    assert portal_email(typed) == "ivan@x.ru"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("+7\xa0999\xa0123\u201145\u201167", "+7 999 123-45-67"),
        ("+7 (999) 123\u201345\u201367", "+7 (999) 123-45-67"),
        ("+7 999 123\u221245\u221267", "+7 999 123-45-67"),
        ("\u202a+7 999 1234567\u202c", "+7 999 1234567"),
        ("+79991234567\u200b;", "+79991234567"),
        ("тел. +79991234567", "+79991234567"),
        ("Tel: +79991234567", "+79991234567"),
        ("tel:+79991234567", "+79991234567"),
        ("+7 999 123 45 67 доб. 5", "+7 999 123 45 67"),
        ("+7 999 123 45 67 (доб. 5)", "+7 999 123 45 67"),
        ("+7 999 123 45 67, ext. 15", "+7 999 123 45 67"),
        ("+7 999 123 45 67 Анна", "+7 999 123 45 67"),
        ("+7 999 1234567, 1234568", "+7 999 1234567"),
        ("８９９９１２３４５６７", "89991234567"),
        ("+7 999 12x", ""),
        ("1" * 100_000, ""),
        ("112", ""),
        ("", ""),
    ],
)
def test_a_telephone_that_was_pasted_from_a_page_is_taken(typed: str, sent: str) -> None:
    assert portal_phone(typed) == sent


def users_sent(stage: Stage, chat: str) -> list[dict[str, Any]]:
    """The `user` of each message of a chat, as the calls brought them."""
    items = [
        item
        for call in stage.calls("imconnector.send.messages")
        if call["status"]
        for item in call["params"]["MESSAGES"]
    ]
    return [item["user"] for item in items if item["chat"]["id"] == chat]


@pytest.mark.parametrize("reason", ["", "Fehler 5"])
def test_what_bitrix24_refuses_is_left_out_from_then_on(stage: Stage, reason: str) -> None:
    """Nothing is doubled, the order stays, and a changed contact is sent again."""
    bad, word = f"bad{len(reason)}@x.example", f"bad{len(reason)}"
    stage.trouble(refuse_contacts=word, refuse_contacts_as=reason)
    visitor, texts = stage.visitor(), [f"{word} {number}" for number in range(4)]
    stage.trouble(down=True)
    sent = [visitor.send(text, email=bad, phone="+7 999 1234567") for text in texts]
    stage.trouble(down=False)

    chat = sent[0]["chat"]
    wait_until(lambda: stage.texts(chat) == texts, 30, why="all messages, once and in order")
    assert visitor.send("one more", email=bad)["result"]["state"] == "stored"
    wait_until(lambda: stage.texts(chat) == [*texts, "one more"], why="the next one")
    users = users_sent(stage, chat)
    assert [user.get("email") for user in users].count(bad) == 1
    assert "email" not in users[-1]
    assert ("phone" in users[-1]) == (not reason)
    stage.trouble(refuse_contacts="")
    visitor.send("changed", email="good@x.example")
    wait_until(lambda: stage.texts(chat)[-1] == "changed", why="the last one")
    assert users_sent(stage, chat)[-1]["email"] == "good@x.example"
