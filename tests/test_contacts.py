"""E-mail and telephone of a visitor: a wrong one costs the field, never the message."""

from typing import Any

import pytest
from stage import Stage, wait_until

from portal.contacts import portal_email


@pytest.mark.parametrize(
    "text", ["👩\u200d💻", "می\u200cخواهم", "❤\ufe0f", "1\ufe0f\u20e3", "\u0301e\u0301", ".", "ㅤ가"]
)
def test_what_can_be_seen_is_taken_as_typed(stage: Stage, text: str) -> None:
    assert stage.visitor().send(text)["post"]["message"] == text


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
